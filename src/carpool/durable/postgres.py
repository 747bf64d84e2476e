"""A journal in a PostgreSQL database: for processes on several machines, each with runs of its own.

One thread writes, over one connection: starts and ends that come at the same time share a transaction, in which the
headers of their runs are locked. Reads have a few connections of their own. A server that restarts, a connection that
is cut, a failover: what was on its way is looked up and repeated as a whole if it is not there, for half a minute;
after that it is a ``JournalError``. What is durable is what the server commits: on its disk, and on those of its
standbys as far as ``synchronous_commit`` says; where that is ``off``, it is ``on`` here.

Nothing is asked of a session but to last as long as its transaction, so any pooler will do. There is one exception: a
process on another machine that died is told by the end of its session, and behind a pooler only by 15 seconds of
silence. The clock is the server's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from threading import Semaphore
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio
from msgspec.structs import replace

from ..clock import SystemClock
from ..errors import ConfigError, JournalError, RunNotFound
from ..recall import Opening, Recall
from .claim import Claim, Step
from .journal import Journal, StoredRun
from .ownership import BEAT_S, is_alive
from .postgres_group import Append, Change, Erase, Group, Work
from .records import Entry, RunHeader
from .writer import Job, Writer

if TYPE_CHECKING:
    from .postgres_tables import Found, Tables

__all__ = ["PostgresJournal"]

T = TypeVar("T")

RECONNECTS_WITHIN_S = 1.0
"""How soon a process has a new session after it lost one, if it lives and the server can be reached."""

_TICK_S = 0.25  # how soon events are stored of a run in which nothing starts or ends, and a lost session is missed
_READERS = 4  # at the same time
_IDLE_READERS = 2


class PostgresJournal(Journal):
    """``PostgresJournal("postgresql://user@host/database")``. Needs the extra ``postgres``, and PostgreSQL 13 or later.

    ``dsn`` is what libpq takes. The tables are made when first written to, in ``schema``; whoever makes them needs the
    right to create that, or is given it empty. Of a process that forks, each side needs a journal of its own.

    :raises ConfigError: without the extra.
    :raises ValueError: for a dsn that can't be read.
    """

    def __init__(self, dsn: str, *, schema: str = "carpool") -> None:
        try:
            from .postgres_database import Database
        except ImportError:
            raise ConfigError("PostgresJournal needs the extra postgres: pip install 'carpool[postgres]'") from None
        super().__init__()
        if not 0 < len(schema.encode(errors="replace")) < 64 or {"\0", "%"} & {*schema}:
            raise ValueError(f"schema must be a name of 1 to 63 bytes, without NUL and %, not {schema!r}")
        self.schema = schema
        self._database = Database(dsn)
        self.place = f"{self._database.place}, schema {schema}"
        self._writer = Writer(f"journal {self.place}", self._write, self._tick, self._hang_up, tick_s=_TICK_S)
        self._session: Tables | None = None  # the writing thread's
        self._durable: dict[str, int] = {}  # and this too: the rows of each open run
        self._idle: list[Tables] = []  # the readers'; one call takes or adds one, which needs no lock
        self._reading = Semaphore(_READERS)
        self._ahead = SystemClock.now().timestamp() - SystemClock.monotonic()

    def __repr__(self) -> str:
        return f"PostgresJournal({self._database.place!r}, schema={self.schema!r})"

    def now(self) -> float:
        """Seconds of the server's clock since 1970, as far as it was heard of."""
        return SystemClock.monotonic() + self._ahead

    # What a journal needs

    async def change(self, run_id: str, step: Callable[[RunHeader | None], Step]) -> RunHeader:
        return await self._do(Change(run_id, step))

    async def append(self, claim: Claim, entries: Sequence[Entry]) -> None:
        await self._do(Append(claim, entries))

    async def erase(self, run_id: str, check: Callable[[RunHeader | None], None]) -> None:
        await self._do(Erase(run_id, check))

    async def header(self, run_id: str) -> RunHeader | None:
        found = await self._look(lambda tables: tables.find(run_id), None)
        return found and found.header

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

    async def runs(self) -> list[RunHeader]:
        return await self._look(lambda tables: tables.headers(), [])

    async def open_run(self, opening: Opening) -> Recall:
        found = None
        if opening.run_id not in self.claims:
            found = await self._look(lambda tables: tables.find(opening.run_id), None)
        if found is not None and (doubt_s := self._doubt_s(found)):
            await anyio.sleep(doubt_s)
        return await super().open_run(opening)

    def _doubt_s(self, found: Found) -> float:
        """For how long to look out for a sign of life from somebody who may have lost no more than its connection, as
        all do when a server starts again, or who seems silent because the server's clock was set."""
        header, owner = found.header, found.header.owner
        if not header.open or owner is None or self.is_live(header):
            return 0.0
        if replace(owner, journal=self.owner.journal) == self.owner or not is_alive(owner, 0.0, 0.0):
            return 0.0  # of this process, and of one on this machine, there is no doubt
        if header.beat != found.beat:  # its session is gone
            return RECONNECTS_WITHIN_S
        return RECONNECTS_WITHIN_S + BEAT_S if found.watched else 0.0

    async def aclose(self) -> None:
        self._database.close()
        await super().aclose()
        await self._writer.close()
        while self._idle:
            self._idle.pop().close()

    # Reading, in worker threads

    async def _look(self, work: Callable[[Tables], T], none: T) -> T:
        """What ``work`` finds; ``none`` where nobody has written anything yet."""
        from anyio import to_thread  # loaded with the first look into a journal, not with carpool

        self._refuse_forked()
        # Who is cancelled need not wait for a server that is away; the thread changes nothing.
        return await to_thread.run_sync(
            self._database.persist, partial(self._found, work, none), abandon_on_cancel=True
        )

    def _found(self, work: Callable[[Tables], T], none: T) -> T:
        with self._borrowed() as tables:
            return none if tables is None else work(tables)

    @contextmanager
    def _borrowed(self) -> Generator[Tables | None]:
        """A connection for the block, if there are tables. One over which anything failed is not used again."""
        with self._reading:
            try:
                tables = self._idle.pop()
            except IndexError:
                tables = self._connect()
            try:
                yield tables if tables.prepare(make=False) else None
            except BaseException:
                tables.close()
                raise
            if len(self._idle) < _IDLE_READERS and not self._database.is_closed:
                self._idle.append(tables)
            else:
                tables.close()

    # In the writing thread

    async def _do(self, work: Callable[[Group], T]) -> T:
        self._refuse_forked()
        return await self._writer.do(work)

    def _write(self, jobs: Sequence[Job[Any]]) -> None:
        self._transact({cast("Work", job.work).run_id for job in jobs}, lambda group: group.do(jobs))

    def _transact(self, run_ids: Collection[str], fill: Callable[[Group], None], *, patient: bool = True) -> None:
        """One transaction on these runs, with what ``fill`` does; again from the start when a passing fault keeps it
        from being made, and never when it was made and only word of it was lost."""
        unsure: list[tuple[str, Group]] = []  # the transaction of which no word has come, by its number

        def attempt() -> None:
            tables = self._open()
            if unsure and tables.was_committed(unsure[0][0]):
                unsure[0][1].seal()
                return
            unsure.clear()
            try:
                number, find = tables.begin(run_ids)
                group = Group(find, self.owner.journal, self.now, self._durable)
                fill(group)
                if (writes := group.writes()) is None:
                    tables.rollback()
                    return
                unsure.append((number, group))
                tables.commit(writes)
                group.seal()
            except BaseException:
                if tables.abandon():
                    unsure.clear()
                raise

        self._database.persist(attempt, patient=patient)

    def _tick(self) -> bool:
        """Signs of life, what agents in flight have charged, and events of runs in which nothing starts or ends. What
        fails here fails loudly with the next entry."""
        # ``tuple`` takes them in one step, whatever the loop does meanwhile.
        claims = [claim for claim in tuple(self.claims.values()) if claim.epoch and not claim.lost]
        now = self.now()
        due = [claim for claim in claims if claim.has_news() or abs(now - claim.last_beat) >= BEAT_S]

        stakes = [(claim, claim.stakes.news()) for claim in due]

        def beat(group: Group) -> None:
            for claim, entries in stakes:
                with suppress(JournalError):  # one that was taken over does not keep the others from theirs
                    group.append(claim, entries)

        try:
            if claims:
                self._database.persist(lambda: self._open().notice(), patient=False)
            if due:
                self._transact({claim.opening.run_id for claim in due}, beat, patient=False)
        except JournalError:
            for claim in due:
                claim.stakes.retell()
        return bool(claims)

    def _open(self) -> Tables:
        if self._session is not None and self._session.is_lost:
            self._hang_up()
        if self._session is None:
            tables = self._connect()
            try:
                tables.prepare(make=True)
                tables.live()
            except BaseException:
                tables.close()
                raise
            self._session = tables
        return self._session

    def _hang_up(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _connect(self) -> Tables:
        from .postgres_tables import Tables

        # The first four digits say carpool to whoever looks at pg_locks.
        key = 0x6370 << 48 | int(self.owner.journal, 16)
        return Tables(self._database.connect(), self.schema, self.place, key, self._hear)

    def _hear(self, clock: float) -> None:
        self._ahead = clock - SystemClock.monotonic()

    def _refuse_forked(self) -> None:
        if os.getpid() != self.owner.pid:
            raise JournalError(f"{self.place}: this journal was opened before a fork; make a new one in each process")
