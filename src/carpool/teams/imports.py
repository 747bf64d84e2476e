"""Python objects by import path, ``module:attribute``: the one place where a team file leads to code being run."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import ConfigError

__all__ = ["named_object", "refuse_unless_path"]


def named_object(path: str, folder: Path) -> Any:
    """What ``path`` names, in a module that is installed or lies in ``folder``.

    The folder is looked in last: no file that lies there, and that nobody named, can take the place of an installed
    module. Where it has a module of that name and another is found, that is an error, never a silent choice.

    :raises ConfigError: when there is none, or importing it fails.
    """
    refuse_unless_path(path)
    module_name, _, attribute = path.partition(":")
    module = _imported(path, module_name, folder.absolute())
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            where = getattr(module, "__file__", None)
            raise ConfigError(f"{path}: {module_name} has no {attribute!r}{f' ({where})' if where else ''}")
        found = getattr(found, part)
    return found


def refuse_unless_path(path: str) -> None:
    """:raises ConfigError: for what is no ``module:attribute``, which can be said without importing it."""
    module_name, _, attribute = path.partition(":")
    names = (*module_name.split("."), *attribute.split("."))
    if not all(name.isidentifier() for name in names) or module_name.endswith(".py"):
        raise ConfigError(f"{path!r}: write module:attribute, for example my_agents:runner")


def _imported(path: str, module_name: str, folder: Path) -> Any:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        module = import_module(module_name)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            raise ConfigError(f"{path}: no module {module_name!r}, in {folder} or installed") from None
        raise ConfigError(f"{path}: {module_name} can't be loaded: {type(error).__name__}: {error}") from None
    _refuse_another(path, module_name, folder)
    return module


def _refuse_another(path: str, module_name: str, folder: Path) -> None:
    first = module_name.partition(".")[0]
    found = getattr(sys.modules.get(first), "__file__", None)
    for own in (folder / f"{first}.py", folder / first / "__init__.py"):
        if own.is_file() and not (found is not None and Path(found).exists() and own.samefile(found)):
            other = found or "built into Python"
            raise ConfigError(f"{path}: {first} is {other}, and not {own}, which has the same name; rename it")
