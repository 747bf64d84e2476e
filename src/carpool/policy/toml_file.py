"""Policy files: CAR's TOML format, and carpool's few additions to it.

At the top stand rules by name, each with a list. A rule of one argument takes plain texts (``deny_tool =
["deploy"]``); every rule takes tables, whose keys are its arguments (``[[deny_tool_param]]``). carpool adds the
keys ``name`` and ``description`` to each table, the rule ``require_state``, and ``[[policy]]`` tables, in which
the key ``rule`` says which. A file without those additions is one that CAR reads as well.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

from ..clock import Clock
from ..errors import ConfigError
from . import rules
from .checks import Policy

__all__ = ["read_policies"]


class _Rule(NamedTuple):
    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()


_RULES = {
    "deny_tool": _Rule(("tool",)),
    "deny_keyword": _Rule(("word",)),
    "deny_tool_param": _Rule(("tool", "param"), ("equals", "contains")),
    "allow_tool_param": _Rule(("tool", "param", "allow")),
    "deny_tool_param_matching": _Rule(("tool", "param", "matches")),
    "rate_limit_tool": _Rule(("tool", "max_calls", "interval_s")),
    "require_state": _Rule(("key", "value")),
}
_ABOUT = ("name", "description")
_SAME = {"interval_secs": "interval_s"}  # CAR's name, and carpool's


def read_policies(path: str | Path, clock: Clock | None = None) -> list[Policy]:
    """The policies of the file at ``path``, in its order. One without a ``name`` is called by its place.

    :raises ConfigError: naming the file, and the line, or the entry and the key.
    """
    found: list[Policy] = []
    taken: set[str] = set()
    for entry in _entries(str(path), _load(Path(path))):
        policy = entry.policy(clock)
        if policy.name in taken:
            entry.refuse("key 'name': another entry has the same name")
        taken.add(policy.name)
        found.append(policy)
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror or type(error).__name__}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: it is not UTF-8 at byte {error.start}") from None
    except ValueError:
        raise ConfigError(f"{str(path)!r}: is no name of a file") from None
    try:
        return tomllib.loads(text)
    except ValueError as error:  # a number of many thousand digits is one that is no TOMLDecodeError
        last = text.count("\n") + (not text.endswith("\n"))
        where = str(error).replace("at end of document", f"at line {last}, the end of the document")
        raise ConfigError(f"{path}: is not TOML: {where}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is not TOML that can be read: it is nested too deep") from None


class _Entry:
    """One rule of the file, and where it stands there."""

    def __init__(self, file: str, table: str, index: int, keys: dict[str, Any]) -> None:
        self.file = file
        self.table = table
        self.index = index
        self.keys = keys

    def policy(self, clock: Clock | None) -> Policy:
        """What it asks for."""
        rule = self._rule()
        known = _RULES[rule]
        keys = {_SAME.get(key, key): value for key, value in self.keys.items()}
        if len(keys) < len(self.keys):
            self.refuse("keys 'interval_s' and 'interval_secs' are one and the same; give one of them")
        for key in keys:
            if key not in (*known.needed, *known.optional, *_ABOUT):
                self.refuse(f"unknown key {key!r}; {_suggestion(key, (*known.needed, *known.optional, *_ABOUT))}")
        for key in known.needed:
            if key not in keys:
                self.refuse(f"missing key {key!r}, which {rule} needs")

        name, description = (self._text(keys, key) for key in _ABOUT)
        if rule == "rate_limit_tool":
            keys["clock"] = clock
        try:
            check = getattr(rules, rule)(**keys)
        except ValueError as error:
            self.refuse(f"key {error}")  # which begins with the name of the argument
        return Policy(name or f"{self.table}[{self.index}]", check, description or "")

    def refuse(self, why: str) -> NoReturn:
        name = self.keys.get("name")
        named = f" ({name!r})" if isinstance(name, str) else ""
        raise ConfigError(f"{self.file}: {self.table}, entry {self.index}{named}: {why}")

    def _rule(self) -> str:
        if self.table != "policy":
            return self.table
        if "rule" not in self.keys:
            self.refuse(f"missing key 'rule'; rules are: {', '.join(_RULES)}")
        rule: object = self.keys.pop("rule")
        if not isinstance(rule, str) or rule not in _RULES:
            self.refuse(f"key 'rule': unknown rule; {_suggestion(str(rule), tuple(_RULES))}")
        return rule

    def _text(self, keys: dict[str, Any], key: str) -> str | None:
        if key not in keys:
            return None
        value: object = keys.pop(key)
        if not isinstance(value, str) or not value.strip():
            self.refuse(f"key {key!r} must be a text that is not empty")
        return value


def _entries(file: str, document: dict[str, Any]) -> Iterator[_Entry]:
    for table, content in document.items():
        if table != "policy" and table not in _RULES:
            raise ConfigError(f"{file}: unknown key {table!r}; {_suggestion(table, ('policy', *_RULES))}")
        if not isinstance(content, list):
            kind = f"a list of tables, [[{table}]]" if isinstance(content, dict) else "a list"
            raise ConfigError(f"{file}: key {table!r} must be {kind}")
        for index, item in enumerate(cast("list[Any]", content), 1):
            yield _Entry(file, table, index, _keys(file, table, index, item))


def _keys(file: str, table: str, index: int, item: Any) -> dict[str, Any]:
    if isinstance(item, dict):
        return cast("dict[str, Any]", item)
    needed = _RULES[table].needed if table in _RULES else ()
    if isinstance(item, str) and len(needed) == 1:
        return {needed[0]: item}
    kinds = "a text or a table" if len(needed) == 1 else "a table"
    raise ConfigError(f"{file}: {table}, entry {index}: must be {kinds}, not a {type(item).__name__}")


def _suggestion(word: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(word, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}"
