"""The tables of a PostgreSQL journal: headers and rows put in, and read out again only as they were put in.

Bodies are ``bytea``: the chain over them needs the very bytes, and ``jsonb`` and ``text`` would change or refuse some.
Every header has a digest over itself and its run's id; every run's rows a chain that ends in its header.

A journal that has runs holds an advisory lock for the length of its session, so that all can see in ``pg_locks``
whether that session lives: it ends with the process, whichever host that was on. ``session`` is the number of the lock,
and null where there is none: a run that is closed, or an owner behind a pooler, whose sessions are not its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any, LiteralString

import msgspec
import psycopg
from msgspec.structs import replace
from psycopg.sql import SQL, Composed, Identifier

from ..errors import JournalCorrupt, JournalError
from .journal import StoredRun
from .postgres_database import PATIENCE_S, Connection
from .postgres_group import Found, Writes
from .records import FORMAT, Row, RunHeader, encode_json, verified

__all__ = ["Tables"]

_IDLE_S = 10
"""After how long the server ends a transaction whose process was stopped in its middle: before the run may be taken
over, or whoever takes it would find it locked."""

_MAKE = SQL("""
CREATE TABLE {schema}.journal (name text PRIMARY KEY, value bigint NOT NULL);
INSERT INTO {schema}.journal VALUES ('format', {format});
CREATE TABLE {schema}.runs (
    run_id bytea PRIMARY KEY, updated timestamptz NOT NULL, session bigint, header bytea NOT NULL, digest bytea NOT NULL
) WITH (fillfactor = 50); -- a header that is replaced stays in its page
CREATE TABLE {schema}.rows (
    run_id bytea, number bigint, stream smallint NOT NULL, body bytea NOT NULL, PRIMARY KEY (run_id, number)
);
""")

_FIND = """
SELECT run_id, header, digest, session IS NOT NULL, extract(epoch FROM clock_timestamp())::float8,
    CASE WHEN session <> %s THEN session <> ALL (ARRAY(
        SELECT classid::bigint << 32 | objid::bigint FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )) ELSE false END
FROM {schema}.runs"""
_ONE = SQL(_FIND + " WHERE run_id = %s")
_ALL = SQL(_FIND + " ORDER BY updated DESC, run_id")
_ROWS = SQL("SELECT stream, body FROM {schema}.rows WHERE run_id = %s AND number > %s ORDER BY number")

# What is set is so in this transaction only: behind a pooler it holds as well, and no other session is changed.
# Headers are locked in one order: whoever locks several waits for nobody who waits for one of them.
_BEGIN = SQL(
    """
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SELECT pg_current_xact_id()::text, extract(epoch FROM clock_timestamp())::float8,
    set_config('idle_in_transaction_session_timeout', %s, true),
    set_config('lock_timeout', %s, true),
    set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), true);
"""  # noqa: S608 - of constants
    + _FIND
    + """
WHERE run_id = ANY (ARRAY(SELECT decode(name, 'hex') FROM unnest(%s::text[]) AS name))
ORDER BY run_id FOR UPDATE"""
)

_INSERT = SQL("""
INSERT INTO {schema}.runs (run_id, updated, header, digest, session)
SELECT run_id, updated, header, digest, nullif(session, 0)
FROM unnest(%b::bytea[], %b::timestamptz[], %b::bytea[], %b::bytea[], %b::bigint[], %b::boolean[])
    AS new (run_id, updated, header, digest, session, ours)
ORDER BY run_id
""")
_PUT = SQL("""
WITH put AS (
    UPDATE {schema}.runs SET updated = new.updated, header = new.header, digest = new.digest,
        session = CASE WHEN ours THEN nullif(new.session, 0) ELSE runs.session END
    FROM unnest(%b::bytea[], %b::timestamptz[], %b::bytea[], %b::bytea[], %b::bigint[], %b::boolean[])
        AS new (run_id, updated, header, digest, session, ours)
    WHERE runs.run_id = new.run_id
)
INSERT INTO {schema}.rows (run_id, number, stream, body)
SELECT * FROM unnest(%b::bytea[], %b::bigint[], %b::smallint[], %b::bytea[])
""")
_DELETE = SQL(
    "WITH gone AS (DELETE FROM {schema}.rows WHERE run_id = ANY (%b)) DELETE FROM {schema}.runs WHERE run_id = ANY (%b)"
)


class Tables:
    """The tables in ``schema``, over one connection, for one thread. ``place`` is for errors; ``key`` the number of the
    lock by which this journal is seen to live; ``hear`` is told the server's time whenever that is heard.

    Besides what is said, every method raises ``psycopg.Error``. Then nothing has changed, unless ``commit`` lost the
    connection: ``was_committed`` tells over the next one.
    """

    def __init__(
        self, connection: Connection, schema: str, place: str, key: int, hear: Callable[[float], None]
    ) -> None:
        self._connection = connection
        self._client = psycopg.ClientCursor(connection)  # for several statements that go out as one
        self._schema = Identifier(schema)
        self._place = place
        self._key = key
        self._hear = hear
        self._lock: bool | None = None  # whether it is held; none behind a pooler
        self._is_prepared = False

    # The session

    def prepare(self, *, make: bool) -> bool:
        """Whether the tables are there; with ``make`` they are afterwards.

        :raises JournalError: when a newer carpool made them.
        """
        if self._is_prepared:
            return True
        try:
            return self._is_ours()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            if not make:
                return False
        try:
            self._make()
        except BaseException:
            self.abandon()
            raise
        return self._is_ours()

    def _make(self) -> None:
        name = self._schema.as_string()
        self._connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        # Of two who come first, one makes them.
        self._one("SELECT pg_advisory_xact_lock(hashtext('carpool'), hashtext(%s))", (name,))
        if not self._one("SELECT to_regclass(%s) IS NOT NULL", (f"{name}.journal",)):
            if not self._one("SELECT to_regnamespace(%s) IS NOT NULL", (name,)):
                self._connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(self._schema))
            self._client.execute(_MAKE.format(schema=self._schema, format=FORMAT))
        self._connection.execute("COMMIT")

    def _is_ours(self) -> bool:
        found = self._one(SQL("SELECT value FROM {}.journal WHERE name = 'format'").format(self._schema))
        if found is None or found < 1:
            raise JournalCorrupt(self._place, f"there is no format {found}; restore its tables from a copy")
        if found > FORMAT:
            raise JournalError(
                f"{self._place}: a newer carpool wrote it (format {found}); this one reads up to {FORMAT}: update it"
            )
        self._is_prepared = True
        return True

    def live(self) -> None:
        """Let all see that this journal lives, as long as the connection does; if its session can be seen at all: a
        pooler gives it a number that is not the session's."""
        number = self._connection.info.backend_pid
        self._lock = self._one(
            "SELECT CASE WHEN pg_backend_pid() = %s THEN pg_try_advisory_lock(%s) END", (number, self._key)
        )
        if self._lock is not None:
            # It idles to be seen. The setting is there since PostgreSQL 14.
            self._one("SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'")

    def notice(self) -> None:
        """Notice if the connection was lost while nobody spoke over it; and take the lock, if an earlier session held
        it until now because the server had yet to miss us."""
        self._connection.pgconn.consume_input()
        if self._lock is False:
            self.live()

    @property
    def is_lost(self) -> bool:
        return self._connection.closed

    def close(self) -> None:
        self._connection.close()

    # Reading

    def find(self, run_id: str) -> Found | None:
        """The header of a run.

        :raises JournalCorrupt: here and below, for what is not as it was written.
        """
        found = self._all(_ONE, (self._key, _id(run_id)))
        return self.checked(found[0]) if found else None

    def headers(self) -> list[RunHeader]:
        """All, the latest first."""
        return [self.checked(row).header for row in self._all(_ALL, (self._key,))]

    def run(self, run_id: str, known: RunHeader | None = None) -> StoredRun | None:
        """The header and every row of a run as of one instant, or the rows since it was as ``known`` says, if it still
        is that run."""
        before = 0 if known is None else known.rows
        self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        found = self.find(run_id)
        rows = [Row(*row) for row in self._all(_ROWS, (_id(run_id), before))]
        self._connection.execute("COMMIT")
        if found is None or (known is not None and not found.header.goes_on_from(known)):
            return None
        place = f"{self._place}, run {run_id!r}"
        return StoredRun(found.header, verified(place, found.header, rows, known), before)

    def checked(self, row: tuple[Any, ...]) -> Found:
        """What was found of a header."""
        name, body, digest, watched, clock, gone = row
        self._hear(clock)
        run_id = name.decode(errors="surrogatepass")
        place = f"{self._place}, run {run_id!r}"
        if _digest(name, body) != digest:
            raise JournalCorrupt(place, "its header is not as it was written; restore the tables from a copy")
        try:
            header = msgspec.json.decode(body, type=RunHeader)
        except (msgspec.DecodeError, ValueError) as error:
            raise JournalCorrupt(place, f"its header can't be read: {error}") from None
        if gone or header.run_id != run_id:
            return Found(replace(header, run_id=run_id, beat=0.0 if gone else header.beat), header.beat, watched)
        return Found(header, header.beat, watched)

    # Writing

    def begin(self, run_ids: Iterable[str]) -> tuple[str, Callable[[str], Found | None]]:
        """Begin a transaction, and lock the headers of these runs in it: its number, and what was found of each."""
        wanted = [_id(run_id).hex() for run_id in run_ids]  # which reads the same however the server reads strings
        values = (f"{_IDLE_S}s", f"{PATIENCE_S:g}s", self._key, wanted)
        self._client.execute(self._of_schema(_BEGIN), values)
        self._client.nextset()
        number, clock, *_ = self._client.fetchone() or ("", 0.0)
        self._hear(clock)
        self._client.nextset()
        rows = {row[0]: row for row in self._client}

        def found(run_id: str) -> Found | None:
            row = rows.get(_id(run_id))
            return None if row is None else self.checked(row)

        return number, found

    def commit(self, writes: Writes) -> None:
        """Write these, and make all of it durable."""
        if writes.erased:
            erased = [_id(run_id) for run_id in writes.erased]
            self._do(_DELETE, (erased, erased))
        if writes.inserted:
            self._do(_INSERT, self._columns(writes.inserted))
        rows = [
            (_id(run_id), number, *row)
            for run_id, (before, appended) in writes.rows.items()
            for number, row in enumerate(appended, before + 1)
        ]
        self._do(_PUT, self._columns(writes.updated) + _columns(4, rows))
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        self._connection.execute("ROLLBACK")

    def abandon(self) -> bool:
        """Undo what was begun; whether it is known to be undone. Never raises."""
        if self.is_lost:
            return False
        try:
            self.rollback()
        except psycopg.Error:
            self.close()
            return False
        return True

    def was_committed(self, number: str) -> bool:
        """What came of a transaction over an earlier connection.

        :raises psycopg.OperationalError: when the server has yet to miss that, and it is not known.
        """
        try:
            status = self._one("SELECT pg_xact_status(%s::xid8)", (number,))
        except psycopg.errors.InvalidParameterValue:
            return False  # in the future: this server took over, and never got it
        if status == "in progress":
            raise psycopg.OperationalError("it is not known yet whether the last transaction was written")
        return status == "committed"

    def _columns(self, headers: dict[str, tuple[RunHeader, bool]]) -> list[list[Any]]:
        rows: list[tuple[Any, ...]] = []
        for run_id, (header, ours) in headers.items():
            name, body = _id(run_id), encode_json(header)
            session = self._key if ours and header.open and self._lock else 0
            rows.append((name, header.updated, body, _digest(name, body), session, ours))
        return _columns(6, rows)

    # Statements

    def _do(self, statement: SQL, values: Sequence[Any]) -> None:
        self._connection.execute(self._of_schema(statement), values)

    def _all(self, statement: SQL, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._connection.execute(self._of_schema(statement), values, binary=True).fetchall()

    def _one(self, statement: LiteralString | Composed, values: Sequence[Any] = ()) -> Any:
        found = self._connection.execute(statement, values).fetchone()
        return None if found is None else found[0]

    def _of_schema(self, statement: SQL) -> Composed:
        return statement.format(schema=self._schema)


def _columns(count: int, rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [[row[place] for row in rows] for place in range(count)]


def _id(run_id: str) -> bytes:
    return run_id.encode(errors="surrogatepass")


def _digest(name: bytes, body: bytes) -> bytes:
    return sha256(name + b"\n" + body).digest()
