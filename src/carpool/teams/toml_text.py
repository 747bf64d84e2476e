"""Team files in TOML: read by tomllib, which tells no lines; they are found by reading beginnings of the file."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from functools import cache
from typing import Any, cast

import msgspec

from ..errors import ConfigError
from .source import DEEPEST, Place, Source

__all__ = ["read_toml", "write_toml"]


def read_toml(text: str, file: str) -> Source:
    """:raises ConfigError: when it is not TOML, with the line."""
    try:
        data = tomllib.loads(text)
    except ValueError as error:  # a number of many thousand digits is one that is no TOMLDecodeError
        found = re.search(r"\(at line (\d+), ", str(error))
        line = int(found[1]) if found else text.count("\n") + (not text.endswith("\n"))
        raise ConfigError(f"{file}:{line}: is not TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{file}: is nested deeper than {DEEPEST} levels") from None
    return Source(file, data, _Lines(text).line)


class _Lines:
    """Where a value stands: in the statement with which the shortest beginning of the file ends that has the value.

    Inside a list or table that is written out over several lines, that is the line where the writing out begins.
    """

    def __init__(self, text: str) -> None:
        self._lines = text.replace("\r\n", "\n").split("\n")
        self._data = cache(self._loaded)

    def line(self, place: Place) -> int | None:
        if not self._has(len(self._lines), place):
            return None
        end = bisect_left(range(len(self._lines)), True, key=lambda end: self._has(end, place))
        begin = self._whole(end - 1) if end else 0
        statement = enumerate(self._lines[begin:end], begin + 1)
        return next((number for number, line in statement if line.strip() and line.lstrip()[0] != "#"), 1)

    def _has(self, end: int, place: Place) -> bool:
        value: Any = self._data(self._whole(end))
        for each in place:
            try:
                value = value[each]
            except (KeyError, IndexError, TypeError):
                return False
        return True

    def _whole(self, end: int) -> int:
        """How many of the first ``end`` lines are whole statements."""
        return next(each for each in range(end, -1, -1) if self._data(each) is not None)

    def _loaded(self, end: int) -> dict[str, Any] | None:
        try:
            return tomllib.loads("\n".join(self._lines[:end]))
        except ValueError:
            return None


# Writing

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_IN_ORDER = ("metadata", "parameters", "specialists")
"""Tables whose keys are read in their order, which a table of its own would not keep."""


def write_toml(document: dict[str, Any]) -> str:
    """``document`` as TOML: tables and lists of tables with headers, whatever else in one line.

    :raises ValueError: for ``None`` in a list or in metadata; TOML has no word for it.
    """
    return "\n".join(_table((), document)).lstrip("\n") + "\n"


def _table(place: tuple[str, ...], table: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    headed: list[str] = []
    for key, value in table.items():
        if isinstance(value, dict) and value and key not in _IN_ORDER:
            inside = _table((*place, key), cast("dict[str, Any]", value))
            headed += inside if inside[0] == "" else ["", f"[{_dotted((*place, key))}]", *inside]
        elif _is_list_of_tables(value):
            for each in cast("list[dict[str, Any]]", value):
                headed += ["", f"[[{_dotted((*place, key))}]]", *_table((*place, key), each)]
        else:
            lines.append(f"{_key(key)} = {_inline(value)}")
    return lines + headed


def _is_list_of_tables(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(isinstance(each, dict) for each in cast("list[Any]", value))


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{_key(key)} = {_inline(each)}" for key, each in cast("dict[str, Any]", value).items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, cast('list[Any]', value)))}]"
    if value is None:
        raise ValueError("there is a null, for which TOML has no word; choose YAML or JSON")
    if isinstance(value, float):
        return repr(value)
    # JSON's words for texts, numbers and truth values are TOML's, but for one control character.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


def _dotted(place: tuple[str, ...]) -> str:
    return ".".join(map(_key, place))


def _key(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else _inline(key)
