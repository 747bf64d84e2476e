"""The points at which a process is killed: wrapped round carpool's parts from outside, which know nothing of them.

``ANYWHERE`` is no point: the process says when it has got as far as was asked, and its parent kills it some moment
later, wherever it is then. The others kill from within, by SIGKILL to oneself, which lets nothing more run.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from msgspec import Struct

from carpool.durable import SqliteJournal, sqlite
from carpool.durable.sqlite_file import SqliteFile
from carpool.patterns import pattern
from carpool.recall import Attempt, Call, Ending, Opening, Past, Recall, Recalled
from carpool.spawn.restoring import Restoring
from carpool.state import OverlayState, StateTransition

__all__ = [
    "ANYWHERE",
    "ENDING",
    "MERGING",
    "POINTS",
    "POISON",
    "POISON_AT_ONCE",
    "RESTORING",
    "RESUMING",
    "WORKING",
    "Fuse",
    "Journal",
    "Kill",
    "set_points",
]

ANYWHERE = "anywhere"

RESUMING = ("before the claim", "claim not committed", "claim committed", "while replaying")
RESTORING = ("while restoring",)
WORKING = (
    "before the start is durable",
    "after the start is durable",
    "while it works",
    "after the runner returned",
    "before the commit",
    "committed, not sealed",
    "after the commit",
    "after the end is durable",
)
ENDING = ("before the close", "after the close")
MERGING = ("while merging",)
POISON, POISON_AT_ONCE = "the poison", "the poison, at once"
POINTS = (*RESUMING, *RESTORING, *WORKING, *MERGING, *ENDING)

SHOWN_S = 0.003
"""How long a process lives on that dies just before a commit: were anybody told too early, it would be seen."""


class Kill(Struct, frozen=True):
    """Where one process is to die: at the ``nth`` pass of ``point`` after ``after`` agents have begun to work;
    ``ANYWHERE``, about ``delay_s`` seconds after that."""

    point: str = ""
    after: int = 0
    nth: int = 1
    delay_s: float = 0.0


class Fuse:
    """What kills this process. ``armed`` is the end of a pipe on which the parent is told that ANYWHERE may begin."""

    def __init__(self, kill: Kill, armed: int) -> None:
        self._kill = kill
        self._armed = armed
        self._begun = 0
        self._passed = 0
        self._reached(0)

    def begun(self) -> None:
        """One more agent works."""
        self._begun += 1
        self._reached(self._begun)

    def passes(self, point: str, *, shown_s: float = 0.0) -> None:
        """Does not return if it is here that the process is to die; the loop may go on for ``shown_s`` seconds."""
        if point == self._kill.point and self._begun >= self._kill.after:
            self._passed += 1
            if self._passed >= self._kill.nth:
                time.sleep(shown_s)
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()

    def _reached(self, begun: int) -> None:
        if self._kill.point == ANYWHERE and begun == self._kill.after:
            os.write(self._armed, b"!")


class Journal(SqliteJournal):
    """A journal that gives out memories with points round each call."""

    def __init__(self, path: Any, fuse: Fuse) -> None:
        super().__init__(path)
        self.fuse = fuse

    async def open_run(self, opening: Opening) -> Recall:
        self.fuse.passes("before the claim")
        return _Memory(await super().open_run(opening), self.fuse)


class _Memory:
    def __init__(self, recall: Recall, fuse: Fuse) -> None:
        self._recall = recall
        self._fuse = fuse

    @property
    def past(self) -> Sequence[Past]:
        return self._recall.past

    async def recall(self, call: Call, *, settled: bool = False) -> Recalled:
        known = await self._recall.recall(call, settled=settled)
        if known.output is not None:
            self._fuse.passes("while replaying")
        return known

    async def started(self, call: Call, known: Recalled, attempt: Attempt) -> None:
        self._fuse.passes("before the start is durable")
        await self._recall.started(call, known, attempt)
        self._fuse.passes("after the start is durable")

    async def ended(self, call: Call, known: Recalled, ending: Ending) -> None:
        self._fuse.passes("after the runner returned")
        await self._recall.ended(call, known, ending)
        self._fuse.passes("after the end is durable")

    async def aclose(self, finished: Any) -> None:
        self._fuse.passes("before the close")
        await self._recall.aclose(finished)
        self._fuse.passes("after the close")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recall, name)


def set_points(fuse: Fuse, opened: Any) -> None:
    """Wrap what no port reaches, in this process: the file's transactions, restoring, merging, the opening of a run.
    ``opened`` is called with each run that is open."""

    class File(SqliteFile):
        claims = True  # the first transaction of a process is its claim

        @contextmanager
        def transaction(self) -> Generator[Any]:
            with super().transaction() as connection:
                yield connection
                fuse.passes("claim not committed" if self.claims else "before the commit", shown_s=SHOWN_S)
            fuse.passes("claim committed" if self.claims else "after the commit")
            self.claims = False

        def _write_seal(self, transactions: int) -> None:
            fuse.passes("committed, not sealed")
            super()._write_seal(transactions)

    sqlite.SqliteFile = File

    apply, merge, open_run = Restoring.apply, OverlayState.merge, pattern.open_run

    def restored(self: Restoring, actor: str, known: Recalled) -> None:
        if known.changes:
            fuse.passes("while restoring")
        apply(self, actor, known)

    def merged(self: OverlayState) -> list[StateTransition]:
        fuse.passes("while merging")
        return merge(self)

    @asynccontextmanager
    async def open_and_tell(**how: Any) -> AsyncGenerator[Any]:
        async with open_run(**how) as run:
            opened(run)
            yield run

    Restoring.apply, OverlayState.merge, pattern.open_run = restored, merged, open_and_tell
