"""Team files in JSON: read by msgspec, and gone through once more for lines and for keys that stand there twice."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ..errors import ConfigError
from .source import DEEPEST, Place, Source

__all__ = ["read_json", "write_json"]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_BYTE = re.compile(r"\(byte (\d+)\)")


def read_json(text: str, file: str) -> Source:
    """:raises ConfigError: when it is not JSON, nested too deep, or has a key twice."""
    try:
        data: Any = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError) as error:
        byte = _BYTE.search(str(error))  # not said where the text ends too early
        line = text.rstrip().encode().count(b"\n", 0, int(byte[1]) if byte else None) + 1
        raise ConfigError(f"{file}:{line}: is not JSON: {error}") from None
    except RecursionError:
        raise ConfigError(f"{file}: is nested deeper than {DEEPEST} levels") from None
    lines = _Lines(text, file).all()
    return Source(file, data, lines.get)


def write_json(document: dict[str, Any]) -> str:
    """``document`` as JSON for people."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


class _Lines:
    """Goes through a text that is JSON, token by token."""

    def __init__(self, text: str, file: str) -> None:
        self._tokens = _TOKEN.finditer(text)
        self._text = text
        self._file = file
        self._line = 1
        self._counted = 0
        self._found: dict[Place, int] = {}

    def all(self) -> dict[Place, int]:
        """The line of every key and list entry."""
        self._value((), self._next())
        return self._found

    def _next(self) -> str:
        token = next(self._tokens)
        self._line += self._text.count("\n", self._counted, token.start())
        self._counted = token.start()
        return token[0]

    def _value(self, place: Place, token: str) -> None:
        self._found.setdefault(place, self._line)
        if len(place) > DEEPEST:
            raise ConfigError(f"{self._file}:{self._line}: is nested deeper than {DEEPEST} levels")
        if token == "{":  # noqa: S105 - a piece of JSON
            self._object(place)
        elif token == "[":  # noqa: S105
            self._list(place)

    def _object(self, place: Place) -> None:
        while (token := self._next()) != "}":
            if token == ",":  # noqa: S105
                continue
            key: str = msgspec.json.decode(token)
            if (first := self._found.get((*place, key))) is not None:
                raise ConfigError(f"{self._file}:{self._line}: key {key!r} stands there already, in line {first}")
            self._found[*place, key] = self._line
            self._next()  # the colon
            self._value((*place, key), self._next())

    def _list(self, place: Place) -> None:
        index = 0
        while (token := self._next()) != "]":
            if token == ",":  # noqa: S105
                continue
            self._value((*place, index), token)
            index += 1
