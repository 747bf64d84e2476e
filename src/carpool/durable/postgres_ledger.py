"""A budget that processes of several machines share: a row in a PostgreSQL database, changed by one of them at a time.

Whoever has the turn has the row locked. What a budget was asked or told is durable when the call returns: a few
messages to the server and back, and its disk. The clock is the server's.

A process is alive as long as it holds an advisory lock, for which it has a session of its own: that takes a direct
connection, or a pooler that gives each connection a session to itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

from ..budget.ledger import Changes, Page
from ..clock import SystemClock
from ..errors import ConfigError, JournalCorrupt, JournalError

try:
    import psycopg
    from psycopg.pq import TransactionStatus
    from psycopg.sql import SQL, Identifier
except ImportError:
    raise ConfigError("PostgresLedger needs the extra postgres: pip install 'carpool[postgres]'") from None

from .postgres_database import Connection, Database
from .postgres_life import Life, let_go, lock_of

__all__ = ["PostgresLedger"]

FORMAT = 1
"""The version of the tables. A newer one is refused without touching it."""

_BURIED_AT_MOST = 1000
"""How many shares are kept of members that were taken for dead, for each purse."""


class PostgresLedger:
    """``CoordinationBudget(limits, ledger=PostgresLedger("postgresql://user@host/database"))``.

    Needs the extra ``postgres``, and PostgreSQL 13 or later. ``dsn`` is what libpq takes; ``name`` tells several purses
    of one database apart. The tables are made when first needed, in ``schema``. ``timeout_s`` is how long to wait for a
    turn, ``dead_after_s`` how long a member must have been without its lock to be taken for dead: longer than a server
    takes to restart, or than a network is away. One that comes back after that is what it was before.

    :raises ValueError: for a dsn that can't be read.
    """

    def __init__(
        self,
        dsn: str,
        *,
        name: str = "purse",
        schema: str = "carpool",
        timeout_s: float = 30.0,
        dead_after_s: float = 10.0,
    ) -> None:
        self._connection: Connection | None = None
        self._pid = os.getpid()
        self._database = Database(dsn)
        self.name = name
        self.schema = schema
        self.timeout_s = timeout_s
        self.dead_after_s = dead_after_s
        self._life: Life | None = None
        self._missing: dict[str, float] = {}  # since when
        # A process that was stopped in its turn loses it before those who wait give up.
        self._patience = [f"{timeout_s * 1e3:.0f}ms", f"{timeout_s * 5e2:.0f}ms"]
        self._sql = {statement: SQL(statement).format(schema=Identifier(schema)) for statement in _STATEMENTS}

    @property
    def place(self) -> str:
        return f"{self._database.place}, purse {self.name!r}"

    # Membership

    def join(self, member: str) -> None:
        if self._life is not None:
            raise ValueError(f"{self.place}: this PostgresLedger serves a budget already; make another one")
        try:
            self._database.persist(self._prepare)
            self._life = Life(self._database, lock_of(self.schema, self.name, member))
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        life, self._life = self._life, None
        if life is not None:
            life.end()
        self.abandon()  # at once: its end takes the server a moment
        self._hang_up()

    def forget(self) -> None:
        if self._life is not None:
            self._life.forget()
        if self._connection is not None:
            let_go(self._connection)
        self._life = self._connection = None
        self._pid = os.getpid()

    def __del__(self) -> None:
        if self._pid == os.getpid():
            self._hang_up()

    # Turns

    def begin(self, *, wait: bool) -> Page:
        if self._life is None:
            raise JournalError(f"{self.place}: the ledger is not open; a budget on it opens it")
        return self._database.persist(lambda: self._begin(wait), patient=wait)

    def commit(self, changes: Changes) -> None:
        writes: list[tuple[str, tuple[Any, ...]]] = [(_WRITE, (changes.purse, self.name))]
        for member, body in changes.shares.items():
            writes.append((_REMOVE, (self.name, member)) if body is None else (_PUT, (self.name, member, body)))
        for member, body in changes.buried.items():
            writes.append((_UNBURY, (self.name, member)) if body is None else (_BURY, (self.name, member, body)))
        if changes.buried:
            writes.append((_FORGET, (self.name, self.name, _BURIED_AT_MOST)))
        with self._told() as connection:
            self._as_one(connection, [*writes, (_COMMIT, ())])

    def abandon(self) -> None:
        connection = self._connection
        if connection is None or connection.info.transaction_status == TransactionStatus.IDLE:
            return
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            self._hang_up()

    def dead(self, members: Collection[str]) -> Collection[str]:
        """Those whose lock has been free for long enough, as far as this process has seen."""
        with self._told():
            found = self._do(_FREE, list(members), [lock_of(self.schema, self.name, member) for member in members])
            free = [member for (member,) in found.fetchall()]
        now = SystemClock.monotonic()
        self._missing = {member: self._missing.get(member, now) for member in free}
        return [member for member, since in self._missing.items() if now - since >= self.dead_after_s]

    def buried(self, member: str) -> str | None:
        with self._told():
            found = self._do(_BURIED, self.name, member).fetchone()
            return None if found is None else found[0]

    # The connection

    def _begin(self, wait: bool) -> Page:
        if self._connection is None:
            self._connection = self._database.connect()
        connection = self._connection
        lock = _LOCK if wait else _LOCK_NOW
        whose = (self.name,)
        try:
            found = self._as_one(connection, [(_BEGIN, self._patience), (lock, whose), (_SHARES, whose), (_NOW, ())])
        except psycopg.Error:
            self._end_turn(connection)
            raise
        purse, shares, ((now,),) = found[-3:]
        if not purse:
            self.abandon()
            raise JournalCorrupt(self.place, "the purse was removed while it was in use; restore it from a copy")
        return Page(purse[0][0], dict(shares), now)

    def _as_one(
        self, connection: Connection, statements: Sequence[tuple[str, Sequence[Any]]]
    ) -> list[list[tuple[Any, ...]]]:
        """Send them all at once, because the way there takes longer than the work; what each of them found."""
        cursor = psycopg.ClientCursor(connection)
        texts = [cursor.mogrify(self._sql[statement], values) for statement, values in statements]
        cursor.execute("; ".join(texts).encode(connection.info.encoding))
        found = [cursor.fetchall() if cursor.description else []]
        while cursor.nextset():
            found.append(cursor.fetchall() if cursor.description else [])
        return found

    def _prepare(self) -> None:
        connection = self._connection = self._database.connect()
        name = Identifier(self.schema).as_string()
        with connection.transaction():
            # Of two who come first, one makes them. The journal's tables are in the same schema, under the same lock.
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('carpool'), hashtext(%s))", [name])
            found = connection.execute(_FOUND, [name, f"{name}.purses"]).fetchone()
            has_schema, has_tables = found or (False, False)
            if not has_schema:
                connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(self.schema)))
            if not has_tables:
                for statement in _MAKE:
                    self._do(statement)
            self._do(_OPEN, self.name, FORMAT)
            row = self._do(_FORMAT, self.name).fetchone()
        if row is None or row[0] > FORMAT:
            raise JournalError(f"{self.place}: a newer carpool wrote it; this one reads up to {FORMAT}: update it")

    def _do(self, statement: str, *values: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        if self._connection is None:
            raise JournalError(f"{self.place}: the connection was lost; ask again")
        return self._connection.execute(self._sql[statement], values)

    def _end_turn(self, connection: Connection) -> None:
        if connection.broken:
            self._hang_up()
        else:
            self.abandon()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _told(self) -> Generator[Connection]:
        """The connection of this turn. A fault in the block is not repeated: it ends the turn, and is told."""
        connection = self._connection
        if connection is None:
            raise JournalError(f"{self.place}: the connection was lost; ask again")
        try:
            yield connection
        except psycopg.Error as error:
            self._end_turn(connection)
            self._database.persist(_raising(error), patient=False)


def _raising(error: psycopg.Error) -> Callable[[], None]:
    def again() -> None:
        raise error

    return again


# What is set is so in this transaction only: behind a pooler it holds as well, and no other session is changed.
_BEGIN = """BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SELECT set_config('lock_timeout', %s, true), set_config('idle_in_transaction_session_timeout', %s, true),
set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), true)"""
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"
_COMMIT = "COMMIT"
_FOUND = "SELECT to_regnamespace(%s) IS NOT NULL, to_regclass(%s) IS NOT NULL"

_MAKE = (
    "CREATE TABLE {schema}.purses (name text PRIMARY KEY, format integer NOT NULL, body text)",
    "CREATE TABLE {schema}.shares (purse text, member text, body text NOT NULL, PRIMARY KEY (purse, member))",
    """CREATE TABLE {schema}.buried_shares (
        purse text, number bigserial, member text NOT NULL, body text NOT NULL, PRIMARY KEY (purse, number))""",
)
_OPEN = "INSERT INTO {schema}.purses (name, format) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_FORMAT = "SELECT format FROM {schema}.purses WHERE name = %s"
_LOCK = "SELECT body FROM {schema}.purses WHERE name = %s FOR UPDATE"
_LOCK_NOW = "SELECT body FROM {schema}.purses WHERE name = %s FOR UPDATE NOWAIT"
_SHARES = "SELECT member, body FROM {schema}.shares WHERE purse = %s"
_WRITE = "UPDATE {schema}.purses SET body = %s WHERE name = %s"
_PUT = """INSERT INTO {schema}.shares (purse, member, body) VALUES (%s, %s, %s)
ON CONFLICT (purse, member) DO UPDATE SET body = excluded.body"""
_REMOVE = "DELETE FROM {schema}.shares WHERE purse = %s AND member = %s"
_BURY = "INSERT INTO {schema}.buried_shares (purse, member, body) VALUES (%s, %s, %s)"
_UNBURY = "DELETE FROM {schema}.buried_shares WHERE purse = %s AND member = %s"
_BURIED = "SELECT body FROM {schema}.buried_shares WHERE purse = %s AND member = %s ORDER BY number DESC LIMIT 1"
_FORGET = """DELETE FROM {schema}.buried_shares WHERE purse = %s AND number <=
(SELECT number FROM {schema}.buried_shares WHERE purse = %s ORDER BY number DESC OFFSET %s LIMIT 1)"""
_FREE = """SELECT member FROM unnest(%s::text[], %s::bigint[]) AS asked (member, lock)
WHERE pg_try_advisory_xact_lock(lock)"""

_STATEMENTS: tuple[LiteralString, ...] = (
    *(*_MAKE, _OPEN, _FORMAT),
    *(_BEGIN, _LOCK, _LOCK_NOW, _SHARES, _NOW, _BURIED, _FREE),
    *(_WRITE, _PUT, _REMOVE, _BURY, _UNBURY, _FORGET, _COMMIT),
)
