"""A runner by the name that was typed: one that carpool brings, or an object of the user's own."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from ..runner import RunnerLike
from .usage import UsageError

__all__ = ["RUNNERS", "runner_by_name"]

RUNNERS = {"extractive": "carpool.runners.extractive:ExtractiveRunner"}
"""Where each is; loaded when it is asked for."""

_ARGUMENTS = ("spec", "task", "runtime", "mailbox")


def runner_by_name(name: str) -> RunnerLike:
    """The runner called ``name``, or at ``module:attribute``; a class there is called without arguments.

    :raises UsageError: when there is none, or what is there can't be a runner.
    """
    if ":" not in name and name not in RUNNERS:
        there_are = ", ".join(sorted(RUNNERS))
        raise UsageError(f"--runner: no runner {name!r}; there are: {there_are}; or name your own: module:attribute")
    found: Any = _found(name, RUNNERS.get(name, name))
    if isinstance(found, type):
        found = _made(name, found)
    _refuse_unless_runner(name, found)
    return found


def _found(name: str, place: str) -> Any:
    module_name, _, attribute = place.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"--runner {name}: write module:attribute, for example my_agents:runner")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as for ``python -m``: the console script's own folder stands there instead
    try:
        found: Any = import_module(module_name)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            raise UsageError(f"--runner {name}: no module {module_name!r}, here or installed") from None
        raise UsageError(f"--runner {name}: {module_name} can't be loaded: {_said(error)}") from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(f"--runner {name}: {module_name} has no {attribute!r}")
        found = getattr(found, part)
    return found


def _made(name: str, kind: Any) -> Any:
    try:
        return kind()
    except Exception as error:
        raise UsageError(f"--runner {name}: can't be made without arguments: {_said(error)}") from None


def _refuse_unless_runner(name: str, found: Any) -> None:
    wanted = f"a runner is an async function ({', '.join(_ARGUMENTS)}), or has one as its run"
    function: Any = getattr(found, "run", found)
    if not callable(function):
        raise UsageError(f"--runner {name}: is {_a(found)}; {wanted}")
    if inspect.isfunction(inspect.unwrap(function)) and not inspect.iscoroutinefunction(inspect.unwrap(function)):
        raise UsageError(f"--runner {name}: is not async; {wanted}")
    try:
        inspect.signature(function).bind(*_ARGUMENTS)
    except TypeError as error:
        raise UsageError(f"--runner {name}: can't be called with four arguments ({error}); {wanted}") from None
    except ValueError:
        pass  # a signature that can't be seen is found out by calling it


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _a(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__qualname__}"
