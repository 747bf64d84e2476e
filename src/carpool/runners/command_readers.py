"""Readers of what commands write to standard output: text, a JSON document, or lines of JSON, in bounded memory.

What was paid for is not dropped where it could be kept: an output that can't be read as it should be is itself the
answer, beside the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol, cast

import msgspec
from msgspec import Struct

from ..json_values import json_equal
from ..tools.pipes import Head, Tail
from .json_paths import NOTHING, Amounts, UsagePaths, value_at

__all__ = ["JsonReader", "LinesReader", "Picks", "Reader", "Said", "TextReader"]

_RAW_BYTES = 65_536  # of lines among which there was no answer, their end is kept
_ERROR_CHARACTERS = 4_096
_NAMES = 12  # so many of the names that there are instead are told


class Picks(Struct, frozen=True, kw_only=True):
    """The paths of what is wanted; see ``command_output``."""

    answer: str
    error: str | None = None
    turns: str | None = None
    usage: UsagePaths = {}


class Said(Struct, frozen=True, kw_only=True):
    """What an output said.

    - ``error``: its own word that the agent failed
    - ``unreadable``: why there is no answer; ``answer`` is then the output as it stands
    - ``amounts``: usage by name, what is known of it
    - ``problems``: what could not be read of it, a sentence each
    - ``is_whole``: no further usage would have come, had the command gone on
    """

    answer: str = ""
    error: str | None = None
    unreadable: str | None = None
    turns: int = 0
    amounts: Mapping[str, float] = {}
    problems: list[str] = []
    is_whole: bool = False


class Reader(Protocol):
    """Reads one output."""

    def take(self, chunk: bytes) -> None:
        """The next piece of it."""
        ...

    def said(self) -> Said:
        """What it said. No piece may follow."""
        ...


class TextReader:
    """Keeps the first ``most_bytes``; what was left out is counted at their end."""

    def __init__(self, most_bytes: int) -> None:
        self._head = Head(most_bytes)

    def take(self, chunk: bytes) -> None:
        self._head.take(chunk)

    def said(self) -> Said:
        answer = self._head.text().strip()
        return Said(answer=answer) if answer else _SILENT


class JsonReader:
    """Reads one document of at most ``most_bytes``."""

    def __init__(self, picks: Picks, most_bytes: int) -> None:
        self._picks = picks
        self._head = Head(most_bytes)

    def take(self, chunk: bytes) -> None:
        self._head.take(chunk)

    def said(self) -> Said:
        text, amounts = self._head.text().strip(), Amounts(self._picks.usage)
        if not text:
            return _SILENT
        if self._head.left_out:
            return Said(answer=text, unreadable="standard output is longer than max_output_bytes")
        value = _json(text)
        if value is NOTHING:
            return Said(answer=text, unreadable="standard output is no JSON")
        amounts.look(value)
        answer = _text_at(self._picks.answer, value)
        return Said(
            answer=text if answer is None else answer,
            error=_error_at(self._picks.error, value, answer),
            unreadable=f"no answer at {self._picks.answer!r} in {_outline(value)}" if answer is None else None,
            turns=_count_at(self._picks.turns, value),
            amounts=amounts.found,
            problems=amounts.problems,
            is_whole=True,
        )


class LinesReader:
    """Reads lines as they come. Keeps one line and one answer, each of at most ``most_bytes``."""

    def __init__(self, picks: Picks, where: Mapping[str, Any], most_bytes: int, *, join: bool, add: bool) -> None:
        self._picks = picks
        self._where = where
        self._most_bytes = most_bytes
        self._join = join
        self._line = bytearray()
        self._line_is_long = False
        self._counts = {"read": 0, "no JSON": 0, "too long": 0}
        self._last = Tail(_RAW_BYTES)
        self._answer: Head | None = None
        self._error: str | None = None
        self._turns = 0
        self._amounts = Amounts(picks.usage, add)

    def take(self, chunk: bytes) -> None:
        self._last.take(chunk)
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._extend(end)
            self._end_line()
        self._extend(rest)

    def said(self) -> Said:
        self._end_line()
        problems = self._amounts.problems
        if too_long := self._counts["too long"]:
            problems.append(f"lines longer than max_output_bytes were passed over: {too_long}")
        answer = self._last.text() if self._answer is None else self._answer.text()
        return Said(
            answer=answer,
            error=self._error,
            unreadable=self._why_no_answer() if self._answer is None else None,
            turns=self._turns,
            amounts=self._amounts.found,
            problems=problems,
        )

    def _extend(self, piece: bytes) -> None:
        self._line_is_long = self._line_is_long or len(self._line) + len(piece) > self._most_bytes
        if self._line_is_long:
            self._line.clear()
        else:
            self._line += piece

    def _end_line(self) -> None:
        text = self._line.decode("utf-8", "replace").strip()
        if self._line_is_long:
            self._counts["too long"] += 1
        elif text:
            value = _json(text)
            self._counts["no JSON" if value is NOTHING else "read"] += 1
            if value is not NOTHING:
                self._read(value)
        self._line.clear()
        self._line_is_long = False

    def _read(self, value: Any) -> None:
        self._amounts.look(value)
        self._turns = _count_at(self._picks.turns, value) or self._turns
        answer = None
        if all(json_equal(value_at(path, value), wanted) for path, wanted in self._where.items()):
            answer = _text_at(self._picks.answer, value)
        if answer is not None:
            if self._answer is None or not self._join:
                self._answer = Head(self._most_bytes)
            self._answer.take(answer.encode("utf-8", "replace"))
        self._error = _error_at(self._picks.error, value, answer) or self._error

    def _why_no_answer(self) -> str:
        if not any(self._counts.values()):
            return _SILENT.unreadable or ""
        counts = ", ".join(f"{count} {what}" for what, count in self._counts.items() if count)
        where = f" where {dict(self._where)}" if self._where else ""
        return f"no line with an answer at {self._picks.answer!r}{where} (lines: {counts})"


_SILENT = Said(unreadable="nothing on standard output")


def _json(text: str) -> Any:
    """The value, or ``NOTHING``. By the standard library, which reads the lone surrogates that some programs write."""
    try:
        return json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return NOTHING


def _text_at(path: str, value: Any) -> str | None:
    found = value_at(path, value)
    if found is NOTHING or found is None:
        return None
    return found if isinstance(found, str) else msgspec.json.encode(found).decode()


def _error_at(path: str | None, value: Any, answer: str | None) -> str | None:
    found = None if path is None else value_at(path, value)
    if found is NOTHING or not found:
        return None
    if found is True:
        found = answer or "the command says that it failed"
    text = found if isinstance(found, str) else msgspec.json.encode(found).decode()
    return text[:_ERROR_CHARACTERS]


def _count_at(path: str | None, value: Any) -> int:
    found = 0 if path is None else value_at(path, value)
    return found if type(found) is int and found > 0 else 0


def _outline(value: Any) -> str:
    """What kind of value it is, without telling more than names."""
    if not isinstance(value, dict):
        return f"a JSON {type(value).__name__}"
    names = list(cast("dict[str, Any]", value))
    return f"an object of {', '.join(names[:_NAMES]) or 'nothing'}{', …' if len(names) > _NAMES else ''}"
