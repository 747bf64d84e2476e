"""The bill of a run: what its runner did and what it cost, in a file of which carpool knows nothing.

A line is forced to the disk before each piece of work and after it. A second file, the sights, says what a pattern
was shown and what the budget had booked then; it need outlive no more than a SIGKILL.
"""

from __future__ import annotations

import os
from collections import Counter
from hashlib import sha256
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
from msgspec import Struct

from carpool import TokenAccounting

__all__ = [
    "MOST",
    "Bill",
    "Line",
    "Sight",
    "Sights",
    "content_of",
    "cost_of",
    "counted",
    "lines_of",
    "sights_of",
]

MOST = TokenAccounting(input_tokens=79, output_tokens=19, cost_usd=0.000079)
"""The most that a call costs: an estimate that is true."""


def content_of(role: str, task: str) -> str:
    """What is asked of whom, whatever its present name and place."""
    return sha256(f"{role}\n{task}".encode()).hexdigest()[:20]


def cost_of(content: str) -> TokenAccounting:
    """What a call with this content costs, whenever it is made."""
    number = int(content[:8], 16)
    read = 40 + number % 40
    return TokenAccounting(input_tokens=read, output_tokens=5 + number % 15, cost_usd=read / 1e6)


class Line(Struct, frozen=True, array_like=True):
    """``what`` is ``begins``, ``ends`` or ``fails``; ``process`` counts the processes of a run from 0."""

    process: int
    what: str
    content: str


class Sight(Struct, frozen=True, array_like=True):
    """``what`` is ``opened``, when the run was, or ``seen``, an answer; ``booked`` are input and output tokens and the
    starts in the budget at that time."""

    process: int
    what: str
    booked: tuple[int, int, int]
    content: str = ""
    answer: str = ""


class _Lines:
    def __init__(self, path: Path, process: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._process = process
        self._encoder = msgspec.json.Encoder()

    def _write(self, line: Struct) -> None:
        os.write(self._file, self._encoder.encode(line) + b"\n")


class Bill(_Lines):
    """Written by the runner, each line forced to the disk when ``write`` returns; those that wait at the same time are
    forced together, for on a disk that others use too it takes milliseconds."""

    def __init__(self, path: Path, process: int) -> None:
        super().__init__(path, process)
        self._written = self._forced = 0
        self._forcing = anyio.Lock()

    async def write(self, what: str, content: str) -> None:
        self._write(Line(self._process, what, content))
        self._written = mine = self._written + 1
        async with self._forcing:
            if self._forced < mine:
                there = self._written
                await anyio.to_thread.run_sync(os.fdatasync, self._file)
                self._forced = there


class Sights(_Lines):
    """Written by whoever stands between the door and a pattern."""

    def write(self, what: str, booked: tuple[int, int, int], content: str = "", answer: str = "") -> None:
        self._write(Sight(self._process, what, booked, content, answer))


def lines_of(path: Path) -> list[Line]:
    return _read(path, Line)


def sights_of(path: Path) -> list[Sight]:
    return _read(path, Sight)


def counted(lines: list[Line], what: str) -> Counter[str]:
    """How many lines of this kind each content has."""
    return Counter(line.content for line in lines if line.what == what)


def _read(path: Path, kind: type) -> list:
    decoder = msgspec.json.Decoder(kind)
    return [decoder.decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []
