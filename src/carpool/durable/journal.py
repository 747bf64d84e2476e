"""The port of a journal: five primitives that a store supplies, and what every journal does with them.

A store keeps one header and the rows of each run. ``change`` is its one transaction on a run: the header as it is
goes into a pure function, and the header and rows that come out are durable when ``change`` returns. All rules stand
in such functions (who may write, what follows what), so that every store has the same ones.

Guarantees, for any store: what a method has returned from is durable; what was refused has changed nothing; a process
that lost its run writes nothing more to it. Safe to share between runs, tasks and event loops of one process.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Self
from weakref import WeakValueDictionary

import anyio
from msgspec.structs import replace

from ..clock import SystemClock, utc_now
from ..errors import JournalError, RunInUse, RunNotFound
from ..events import Event, RunFinished
from ..recall import Holdings, Opening, Recall
from ..types import TokenAccounting
from .claim import Claim, Step
from .history import History
from .ownership import is_alive, this_process
from .recollection import Recollection, Remembering
from .records import ENTRY, Entry, Row, RunHeader, decode_entry
from .telling import Teller

__all__ = ["Journal", "StoredRun"]


class StoredRun(NamedTuple):
    """A run as it was at one instant: its header and its rows, verified; all of them, or those after ``before`` that
    were known."""

    header: RunHeader
    rows: Sequence[Row]
    before: int = 0

    def events(self, since: int = 0) -> list[Event]:
        """Of a run that was read whole: its events after the first ``since``, numbered over all processes that ran it.

        :raises JournalCorrupt: for a row that can't be read.
        """
        return Teller(self.header.run_id).tell(self.rows)[since:]

    def history(self) -> History:
        """Of a run that was read whole: what was asked for, started and ended in it.

        :raises JournalCorrupt: for what is no entry.
        """
        run = f"run {self.header.run_id!r}"
        numbered = [(number, body) for number, (stream, body) in enumerate(self.rows, 1) if stream == ENTRY]
        return History(decode_entry(f"{run}, row {number}", body) for number, body in numbered)


class Journal(ABC):
    """Where runs are written down: what ``SharedInfra(journal=…)`` takes. An async context manager."""

    def __init__(self) -> None:
        self.owner = this_process()
        self.claims: dict[str, Claim] = {}  # of the runs that this object has open
        _here[self.owner.journal] = self

    # What a store supplies

    @abstractmethod
    async def change(self, run_id: str, step: Callable[[RunHeader | None], Step]) -> RunHeader:
        """One transaction: ``step`` gets the header, or ``None``; what it returns is durable when this returns.

        ``step`` is called in any thread, and again when the transaction has to be repeated. What it raises is
        raised here, and nothing has changed.

        :raises JournalError: when nothing could be written.
        """

    async def append(self, claim: Claim, entries: Sequence[Entry]) -> None:
        """``change`` by ``claim.append``; a store that writes several of them at once may do so with one step."""
        await self.change(claim.opening.run_id, lambda header: claim.append(header, entries, self.now()))

    @abstractmethod
    async def header(self, run_id: str) -> RunHeader | None:
        """The header of the run, if there is one."""

    @abstractmethod
    async def read(self, run_id: str) -> StoredRun:
        """The run at one instant.

        :raises RunNotFound: when there is none.
        :raises JournalCorrupt: when it is not what was written.
        """

    async def read_on(self, known: RunHeader) -> StoredRun:
        """The run of ``known``, with the rows alone that came since. A store fetches no others, if it can.

        :raises RunNotFound: when it was removed; another may have its name.
        :raises JournalCorrupt: when it is not what was written.
        """
        header, rows, _ = await self.read(known.run_id)
        if not header.goes_on_from(known):
            raise RunNotFound(known.run_id)
        return StoredRun(header, rows[known.rows :], known.rows)

    @abstractmethod
    async def runs(self) -> list[RunHeader]:
        """The headers of all runs, the latest first."""

    @abstractmethod
    async def erase(self, run_id: str, check: Callable[[RunHeader | None], None]) -> None:
        """Take the run out, rows and all, in one transaction, unless ``check`` of its header raises."""

    async def recollect(self, run_id: str) -> tuple[RunHeader, History]:
        """What is stored of the run, folded. A store that reads in a thread does that there too, for large runs.

        :raises RunNotFound: when there is none.
        :raises JournalCorrupt: when it is not what was written.
        """
        stored = await self.read(run_id)
        return stored.header, stored.history()

    def now(self) -> float:
        """Seconds of the clock by which owners are found silent: one for all who share the store."""
        return SystemClock.monotonic()

    # What follows from that

    async def open_run(self, opening: Opening) -> Recall:
        """Claim the run for this object, and remember what is stored of it.

        :raises RunInUse: at once, when this or another living process has it.
        :raises JournalCorrupt: when what is stored is not what was written; nothing is claimed then.
        """
        run_id = opening.run_id
        if run_id in self.claims:
            raise RunInUse(run_id, str(self.owner))
        claim = Claim(opening, self.owner)
        self.claims[run_id] = claim
        try:
            history = await self._claim(claim)
        except BaseException as error:
            try:
                if isinstance(error, anyio.get_cancelled_exc_class()):
                    await self._give_back(claim, type(error).__name__)
            finally:
                self.claims.pop(run_id, None)
            raise

        def write(entries: Sequence[Entry], finished: RunFinished | None = None) -> Awaitable[None]:
            if self.claims.get(run_id) is not claim:
                raise JournalError(f"run {run_id!r} can't be written: its journal was closed while it was at work")
            return self.append(claim, entries) if finished is None else self._end(claim, finished)

        return Recollection(history, epoch=claim.epoch, purse=opening.purse, stakes=claim.stakes, write=write)

    async def _end(self, claim: Claim, finished: RunFinished) -> None:
        run_id = claim.opening.run_id
        try:
            await self.change(run_id, lambda header: claim.close(header, finished, self.now()))
        finally:
            self.claims.pop(run_id, None)

    async def _claim(self, claim: Claim) -> History:
        """Read first, so that what is damaged is left as it is; whoever writes in between makes it read again."""
        run_id = claim.opening.run_id
        while True:
            header = await self.header(run_id)
            if header is None or not header.rows:
                history, rows = History(), 0
            else:
                self._refuse_others(header)
                header, history = await self.recollect(run_id)
                rows = header.rows

            def step(now: RunHeader | None, rows: int = rows, lost: TokenAccounting = history.at_stake) -> Step:
                if now is not None:
                    self._refuse_others(now)
                if now is not None and now.rows != rows:
                    raise _Changed
                return claim.claim(now, self.now(), lost)

            with suppress(_Changed):
                claim.epoch = (await self.change(run_id, step)).epoch
                return history

    async def _give_back(self, claim: Claim, error: str) -> None:
        """Whoever opens the run next need not wait for somebody who was cancelled before he had it."""
        with anyio.CancelScope(shield=True), suppress(JournalError):
            await self.change(claim.opening.run_id, lambda header: claim.give_back(header, error))

    def _refuse_live(self, header: RunHeader) -> None:
        if self.is_live(header):
            raise RunInUse(header.run_id, str(header.owner))

    def _refuse_others(self, header: RunHeader) -> None:
        """For whoever is about to claim it for this object: if this has it already, it has given it up."""
        if header.owner is None or header.owner.journal != self.owner.journal:
            self._refuse_live(header)

    async def holdings(self, run_id: str) -> Holdings:
        _, history = await self.recollect(run_id)
        memory = Remembering(history)
        return history.holdings(memory)

    async def describe(self, run_id: str, about: dict[str, Any]) -> None:
        """Add ``about``, JSON, to the header of the run, also of one that is yet to begin."""
        at = utc_now()

        def step(header: RunHeader | None) -> Step:
            header = header or RunHeader(run_id=run_id, created=at, updated=at, open=False)
            return Step(replace(header, about={**header.about, **about}))

        await self.change(run_id, step)

    async def request_cancel(self, run_id: str) -> bool:
        """Leave word for the process that has the run to cancel it; whether a living one has it.

        :raises RunNotFound: when there is no such run.
        """

        def step(header: RunHeader | None) -> Step:
            if header is None:
                raise RunNotFound(run_id)
            return Step(replace(header, cancel=self.is_live(header)))

        return (await self.change(run_id, step)).cancel

    async def remove(self, run_id: str) -> None:
        """Take the run out.

        :raises RunNotFound: when there is none.
        :raises RunInUse: while a living process has it.
        """

        def check(header: RunHeader | None) -> None:
            if header is None:
                raise RunNotFound(run_id)
            self._refuse_live(header)

        await self.erase(run_id, check)

    def is_live(self, header: RunHeader) -> bool:
        """Whether a living process has the run of ``header``."""
        owner = header.owner
        if not header.open or owner is None:
            return False
        if owner.pid != os.getpid() or replace(owner, journal=self.owner.journal) != self.owner:
            return is_alive(owner, header.beat, self.now())
        journal = _here.get(owner.journal)  # in this process there is no doubt
        claim = None if journal is None else journal.claims.get(header.run_id)
        return claim is not None and claim.epoch in (0, header.epoch)  # 0: it is being claimed

    async def aclose(self) -> None:
        """Give up what is open. A run that is still at work here can't write any more, as if its process had died."""
        self.claims.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Changed(Exception):
    pass


_here: WeakValueDictionary[str, Journal] = WeakValueDictionary()  # the journals of this process, by their ids
