"""From what names a runner to the runner: one that carpool brings, or an object of the user's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from msgspec.structs import asdict, replace

from ..errors import ConfigError
from ..runner import RunnerLike
from .imports import named_object, refuse_unless_path
from .paths import path_in, program_in
from .runner_table import CommandTable, JsonOutputTable, ModelTable, OutputTable, PriceTable, RunnerTable, UsageTable

__all__ = ["RUNNERS", "check_runner", "runner_from"]

RUNNERS = {"extractive": "carpool.runners.extractive:ExtractiveRunner"}
"""The runners that need no arguments, and where each is; loaded when it is asked for."""

_ARGUMENTS = ("spec", "task", "runtime", "mailbox")


def runner_from(choice: str | RunnerTable, folder: Path) -> RunnerLike:
    """The runner that ``choice`` names: ``extractive``, ``module:attribute`` (a class there is called without
    arguments), or a table. Imports it; modules and relative paths are looked for in ``folder``.

    :raises ConfigError: when there is none, what is there can't be a runner, or an extra or a key is missing.
    """
    if isinstance(choice, str):
        return _named_runner(choice, folder)
    if choice.command is not None:
        return _command_runner(choice.command, folder)
    return _model_runner(choice.model or ModelTable())


def check_runner(choice: str | RunnerTable | None, folder: Path) -> None:
    """Whether ``choice`` can be a runner, as far as that can be said without importing anything that it names.

    :raises ConfigError: when it can't.
    """
    if isinstance(choice, str) and choice not in RUNNERS:
        _refuse_unless_name(choice)
    if isinstance(choice, RunnerTable) and choice.command is not None:
        _command_runner(choice.command, folder)
    if isinstance(choice, RunnerTable) and choice.model is not None:
        _model_runner(replace(choice.model, api_key_env=None))  # who checks a file need not have the key


# One of the user's own


def _named_runner(name: str, folder: Path) -> RunnerLike:
    if name not in RUNNERS:
        _refuse_unless_name(name)
    found: Any = named_object(RUNNERS.get(name, name), folder)
    if isinstance(found, type):
        try:
            found = found()
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise ConfigError(f"{name}: can't be made without arguments: {said}") from None
    _refuse_unless_runner(name, found)
    return found


def _refuse_unless_name(name: str) -> None:
    if ":" not in name:
        raise ConfigError(f"no runner {name!r}; there are: {', '.join(RUNNERS)}; or name your own: module:attribute")
    refuse_unless_path(name)


def _refuse_unless_runner(name: str, found: Any) -> None:
    import inspect  # slow to load, and only who names a runner needs it

    wanted = f"a runner is an async function ({', '.join(_ARGUMENTS)}), or has one as its run"
    function: Any = getattr(found, "run", found)
    if not callable(function):
        kind = "None" if found is None else f"of type {type(found).__qualname__}"
        raise ConfigError(f"{name}: is {kind}; {wanted}")
    if inspect.isfunction(inspect.unwrap(function)) and not inspect.iscoroutinefunction(inspect.unwrap(function)):
        raise ConfigError(f"{name}: is not async; {wanted}")
    try:
        inspect.signature(function).bind(*_ARGUMENTS)
    except TypeError as error:
        raise ConfigError(f"{name}: can't be called with four arguments ({error}); {wanted}") from None
    except ValueError:
        pass  # a signature that can't be seen is found out by calling it


# A command


def _command_runner(table: CommandTable, folder: Path) -> RunnerLike:
    from ..runners.command import CommandRunner

    arguments: dict[str, Any] = asdict(table)
    arguments["output"] = _output(table.output)
    program = table.argv[0]
    if isinstance(program, str):
        arguments["argv"] = [program_in(folder, program), *table.argv[1:]]
    if table.cwd is not None:
        arguments["cwd"] = path_in(folder, table.cwd).absolute()
    if table.env is None:
        del arguments["env"]
    return CommandRunner(**arguments)


def _output(output: str | OutputTable) -> Any:
    from ..runners.command_output import CLAUDE_JSON, CODEX_JSON_LINES, JsonLines, JsonOutput, TextOutput

    if isinstance(output, str):
        return {"text": TextOutput(), "claude_json": CLAUDE_JSON, "codex_json_lines": CODEX_JSON_LINES}[output]
    kind, table = (JsonOutput, output.json) if output.json_lines is None else (JsonLines, output.json_lines)
    usage = asdict((table and table.usage) or UsageTable())
    arguments: dict[str, Any] = asdict(table or JsonOutputTable(answer=""))
    arguments["usage"] = {amount: where for amount, where in usage.items() if where is not None}
    return kind(**arguments)


# Models


def _model_runner(table: ModelTable) -> RunnerLike:
    from ..runners.model import ModelRunner, RateLimits

    arguments: dict[str, Any] = asdict(table)
    keys, by_provider = arguments.pop("api_key_env"), arguments.pop("rate_limits_by")
    if keys is not None:
        arguments["api_key"] = _key(keys) if isinstance(keys, str) else {each: _key(keys[each]) for each in keys}
    if table.rate_limits is not None:
        arguments["rate_limits"] = RateLimits(**asdict(table.rate_limits))
    elif by_provider:
        arguments["rate_limits"] = {each: RateLimits(**asdict(limits)) for each, limits in by_provider.items()}
    arguments["prices"] = {name: _price(price) for name, price in table.prices.items()}
    return ModelRunner(**arguments)


def _key(variable: str) -> str:
    if not (value := os.environ.get(variable)):
        raise ConfigError(f"api_key_env: the environment variable {variable} is not set")
    return value


def _price(table: PriceTable) -> Any:
    from ..runners.model import ModelPrice

    arguments: dict[str, Any] = asdict(table)
    arguments["above"] = tuple((each.tokens, _price(each.price)) for each in table.above)
    return ModelPrice(**arguments)
