"""Recorded calls of agents, found by their content, each given out once; read from a file, and added to it.

What stands in the file, and what becomes of it when a process is killed, is the affair of ``cassette_file``.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from threading import Lock
from typing import Literal

from .cassette_file import append, read, refuse_other_file
from .nearest import Nearest, difference
from .recorded_call import Recorded, Request, encode

__all__ = ["Cassette", "Mode"]

Mode = Literal["none", "missing", "all"]


class Cassette:
    """The calls in the file ``path``, each given out once, and new ones added behind them.

    ``record``: ``"none"`` reads only; ``"missing"`` gives out what is there and adds the rest; ``"all"`` gives out
    nothing and, with the first call, begins the file anew. Several runners may share one.

    :raises ConfigError: for a file that is missing, though nothing is to be recorded; that is no cassette, in every
        mode, so that no other file is ever overwritten; or that has a line that is no call, with its number, unless
        it begins anew.
    """

    def __init__(self, path: str | os.PathLike[str], record: Mode = "none") -> None:
        if record not in ("none", "missing", "all"):
            raise ValueError(f"record must be 'none', 'missing' or 'all', not {record!r}")
        self.path = Path(path)
        self.record = record
        self.missed: list[str] = []
        self._anew = record == "all"
        self._calls: list[Recorded] = []
        if self._anew:
            refuse_other_file(self.path)
        else:
            self._calls = sorted(read(self.path, must_exist=record == "none"), key=lambda each: each.count)
        self._by_digest: dict[str, list[Recorded]] = {}
        for each in self._calls:
            self._by_digest.setdefault(each.digest, []).append(each)
        self._asked: Counter[str] = Counter()
        self._nearest = Nearest(self._calls)
        self._lock = Lock()

    @property
    def unused(self) -> list[Recorded]:
        """What is recorded and was not asked for, in the order of the file."""
        left = (each for digest, calls in self._by_digest.items() for each in calls[self._asked[digest] :])
        return sorted(left, key=lambda each: each.line)

    def take(self, request: Request) -> tuple[int, Recorded | None]:
        """How many times this was asked by now, and the call that was recorded as that one, if any.

        A gap in the recorded counts is closed: there is none for a call that was cancelled.
        """
        with self._lock:
            self._asked[request.digest] += 1
            number = self._asked[request.digest]
        calls = self._by_digest.get(request.digest, [])
        return number, calls[number - 1] if number <= len(calls) else None

    def miss(self, request: Request, number: int) -> str:
        """Why there is nothing for ``request``, and what is nearest to it; kept in ``missed`` too."""
        text = f"{self.path}: {self._why(request, number)}"
        self.missed.append(text)
        return text

    def _why(self, request: Request, number: int) -> str:
        known = len(self._by_digest.get(request.digest, []))
        if known:
            return (
                f"agent {request.agent!r} was recorded with this task {known} time{'s' * (known > 1)}, and this is "
                f"call {number}; record what is missing, or read the cassette anew for a second run"
            )
        nearest = self._nearest.to(request)
        if not isinstance(nearest, Recorded):
            return f"nothing is recorded, so nothing for agent {request.agent!r}; record what is missing"
        return (
            f"agent {request.agent!r} is not recorded with this spec and this task; record what is missing "
            "(a call that was cancelled or timed out while it was recorded is missing too). "
            f"Nearest is agent {nearest.agent!r}, line {nearest.line}:\n"
            f"--- recorded\n+++ asked\n{difference(nearest, request)}"
        )

    def make_ready(self) -> None:
        """Make sure that the file can be written to, before anything is paid for.

        :raises OSError: when it can't.
        """
        with self._lock:
            append(self.path, anew=self._anew)
            self._anew = False

    def add(self, call: Recorded) -> None:
        """Write ``call`` behind the others; on return it has left this process, whole.

        :raises OSError: when it can't be written; the file is as before.
        :raises ValueError: when it can't be told in JSON.
        """
        line = encode(call)
        with self._lock:
            append(self.path, line)
