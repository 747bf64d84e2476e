"""A journal in one SQLite file: the embedded default. Survives ``kill -9``, and power loss as far as the disk does.

Write-ahead log with ``synchronous=FULL``: what a run is told is durable has been forced to the disk. One thread
writes; starts and ends that come at the same time share a transaction. Any number of processes may have runs in one
file, each process different runs; they take turns at writing. For a local file system: on one that machines share,
locks and the write-ahead log are not to be relied on.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import CoroutineType
from typing import Any, NamedTuple, TypeVar

from ..clock import SystemClock
from ..errors import JournalError, RunNotFound
from .claim import Claim, Step
from .history import History
from .journal import Journal, StoredRun
from .ownership import BEAT_S
from .records import Entry, RunHeader
from .sqlite_file import SqliteFile, was_made
from .sqlite_tables import Tables
from .writer import Job, Writer

__all__ = ["SqliteJournal"]

T = TypeVar("T")

_TICK_S = 0.25  # how soon events are stored of a run in which nothing starts or ends


class SqliteJournal(Journal):
    """``SqliteJournal("runs.db")``. The file is made when first used; so is the thread that writes it.

    Of a process that forks, each side needs a journal of its own.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = Path(path).absolute()  # whatever folder the process is in later
        self._file: SqliteFile | None = None
        self._writer = Writer(f"journal {self.path}", self._write, self._tick, self._close, tick_s=_TICK_S)

    # What a journal needs

    async def change(self, run_id: str, step: Callable[[RunHeader | None], Step]) -> RunHeader:
        return await self._do(lambda group: group.change(run_id, step))

    def append(self, claim: Claim, entries: Sequence[Entry]) -> CoroutineType[Any, Any, None]:
        return self._do(_Append(claim, entries))  # not awaited here: each level of that is paid for by every agent

    async def header(self, run_id: str) -> RunHeader | None:
        return await self._look(lambda tables: tables.header(run_id), None)

    async def read(self, run_id: str) -> StoredRun:
        found = await self._look(lambda tables: tables.run(run_id), None)
        if found is None:
            raise RunNotFound(run_id)
        return found

    async def read_on(self, known: RunHeader) -> StoredRun:
        found = await self._look(lambda tables: tables.run(known.run_id, known), None)
        if found is None:
            raise RunNotFound(known.run_id)
        return found

    async def recollect(self, run_id: str) -> tuple[RunHeader, History]:
        def work(tables: Tables) -> tuple[RunHeader, History] | None:
            stored = tables.run(run_id)
            return None if stored is None else (stored.header, stored.history())

        found = await self._look(work, None)
        if found is None:
            raise RunNotFound(run_id)
        return found

    async def runs(self) -> list[RunHeader]:
        return await self._look(lambda tables: tables.headers(), [])

    async def erase(self, run_id: str, check: Callable[[RunHeader | None], None]) -> None:
        await self._do(lambda group: group.erase(run_id, check))

    async def aclose(self) -> None:
        await super().aclose()
        await self._writer.close()

    def _do(self, work: Callable[[_Group], T]) -> CoroutineType[Any, Any, T]:
        if os.getpid() != self.owner.pid:
            raise JournalError(f"{self.path}: this journal was opened before a fork; make a new one in each process")
        return self._writer.do(work)

    async def _look(self, work: Callable[[Tables], T], none: T) -> T:
        """What ``work`` finds as of one instant, over a connection that can't write; ``none`` where there is no file
        yet. A reader keeps nobody from writing."""
        from anyio import to_thread  # loaded with the first look into a journal, not with carpool

        def look() -> T:
            if not was_made(self.path):
                return none
            file = SqliteFile(self.path, writable=False)
            try:
                if not file.made:
                    return none
                with file.reading() as connection:
                    return work(Tables(connection, str(self.path)))
            finally:
                file.close()

        return await to_thread.run_sync(look)

    # In the writing thread

    def _write(self, jobs: Sequence[Job[Any]]) -> None:
        """All jobs in one transaction. What a job raises is its own failure, because then it has changed nothing."""
        if self._file is None:
            self._file = SqliteFile(self.path, writable=True)
        with self._file.transaction() as connection:
            group = _Group(connection, str(self.path))
            for job in jobs:
                if isinstance(job.work, _Append):
                    group.gather(job.work, job)
                else:
                    group.append_gathered()
                    with _failing([job]):
                        job.result = job.work(group)
            group.append_gathered()
            group.finish()

    def _tick(self) -> bool:
        """Signs of life, what agents in flight have charged, and events of runs in which nothing starts or ends. What
        fails here fails loudly with the next entry."""
        # ``tuple`` takes them in one step, whatever the loop does meanwhile.
        claims = [claim for claim in tuple(self.claims.values()) if claim.epoch and not claim.lost]
        now = SystemClock.monotonic()
        due = [claim for claim in claims if claim.has_news() or now - claim.last_beat >= BEAT_S]
        if due and self._file is not None:
            try:
                with self._file.transaction() as connection:
                    group = _Group(connection, str(self.path))
                    for claim in due:
                        with _failing(()):  # one that was taken over does not keep the others from their signs of life
                            beat = partial(claim.append, entries=claim.stakes.news(), now=now)
                            group.change(claim.opening.run_id, beat)
                    group.finish()
            except JournalError:
                for claim in due:
                    claim.stakes.retell()
        return bool(claims)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


@contextmanager
def _failing(jobs: Sequence[Job[Any]]) -> Generator[None]:
    """What is raised in the block is the error of these jobs alone; what SQLite raises, that of all in the
    transaction."""
    try:
        yield
    except sqlite3.Error:
        raise
    except Exception as error:
        for job in jobs:
            job.error = error


class _Append(NamedTuple):
    """The usual job: those for one run that follow each other are done as one."""

    claim: Claim
    entries: Sequence[Entry]

    def __call__(self, group: _Group) -> None:
        raise AssertionError("it is gathered")


class _Group:
    """The jobs of one transaction. A run's header is read once and written once, however many jobs change it."""

    def __init__(self, connection: sqlite3.Connection, place: str) -> None:
        self._tables = Tables(connection, place)
        self._runs: dict[str, tuple[int, RunHeader] | None] = {}  # number and header, of those that were read
        self._changed: set[str] = set()
        self._rows: list[tuple[int, int, bytes]] = []
        self._gathered: dict[str, tuple[Claim, list[Entry], list[Job[Any]]]] = {}

    def gather(self, append: _Append, job: Job[Any]) -> None:
        """Have ``append`` done with the next step of its run."""
        run_id = append.claim.opening.run_id
        _, entries, jobs = self._gathered.setdefault(run_id, (append.claim, [], []))
        entries += append.entries
        jobs.append(job)

    def append_gathered(self) -> None:
        now = SystemClock.monotonic()
        for run_id, (claim, entries, jobs) in self._gathered.items():
            with _failing(jobs):
                self.change(run_id, partial(claim.append, entries=entries, now=now))
        self._gathered = {}

    def change(self, run_id: str, step: Callable[[RunHeader | None], Step]) -> RunHeader:
        known = self._known(run_id)
        header, rows = step(known and known[1])
        if known is None:
            number = self._tables.new_number()
            self._tables.put(number, header)  # now, because the number of runs is counted and compared
        else:
            number = known[0]
        self._rows += self._tables.numbered(number, header.rows - len(rows), rows)
        self._runs[run_id] = number, header
        self._changed.add(run_id)
        return header

    def erase(self, run_id: str, check: Callable[[RunHeader | None], None]) -> None:
        self.finish()
        known = self._known(run_id)
        check(known and known[1])
        if known is not None:
            self._tables.delete(run_id, known[0])
            self._runs[run_id] = None

    def finish(self) -> None:
        """Write what has gathered."""
        self._tables.append(self._rows)
        for run_id in self._changed:
            if (known := self._runs[run_id]) is not None:
                self._tables.put(*known)
        self._rows, self._changed = [], set()

    def _known(self, run_id: str) -> tuple[int, RunHeader] | None:
        if run_id not in self._runs:
            self._runs[run_id] = self._tables.find(run_id)
        return self._runs[run_id]
