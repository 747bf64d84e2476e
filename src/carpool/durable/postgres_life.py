"""A sign of life that all sessions of a PostgreSQL database can see: an advisory lock, held by a session of its own.

The server lets go of it when the session ends, and so when its process does, on whichever host that was. A session may
end otherwise too: the server restarts, a connection is cut. Then the lock is taken again as soon as that can be.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from hashlib import sha256
from threading import Event, Lock, Thread

import psycopg

from ..errors import JournalError
from .postgres_database import Connection, Database

__all__ = ["Life", "let_go", "lock_of"]

BEATS_EVERY_S = 2.0
"""How soon a session that was lost is missed. A lock that is free for a multiple of it is nobody's any more."""

_TAG = 0x6370 << 48  # "cp": so that the locks of others are not met


class Life:
    """Holds ``lock`` until ``end``, or the end of the process.

    :raises JournalError: when the database can't be reached, or gives no connection a session of its own.
    """

    def __init__(self, database: Database, lock: int) -> None:
        self._database = database
        self._lock = lock
        self._session: Connection | None = None
        self._using = Lock()
        self._ended = Event()
        self._pid = os.getpid()
        database.persist(self._beat)
        Thread(target=_keep_beating, args=(weakref.ref(self), self._ended), daemon=True).start()

    def end(self) -> None:
        self._ended.set()
        with self._using:
            if self._session is not None:
                with suppress(psycopg.Error):
                    self._session.execute("SELECT pg_advisory_unlock_all()")  # its end takes the server a moment
            self._hang_up()

    def forget(self) -> None:
        """In a forked child: the session is the parent's."""
        session, self._session = self._session, None
        if session is not None:
            let_go(session)

    def __del__(self) -> None:
        if self._pid == os.getpid():
            self._hang_up()

    def beat(self) -> None:
        """Have a session with the lock, the one that is or a new one; where that can't be, it is tried again later."""
        with suppress(JournalError, psycopg.Error):
            self._beat()

    def _beat(self) -> None:
        with self._using:
            if self._ended.is_set():
                return
            try:
                session = self._session = self._session or self._database.connect()
                # One that was lost without a word may have it still. Then that speaks for us until the server knows.
                own = session.execute(_TAKE, [self._lock]).fetchone()
            except psycopg.Error:
                self._hang_up()
                raise
            if own is None or own[0] != session.info.backend_pid:
                self._hang_up()
                raise JournalError(
                    f"{self._database.place}: there is a pooler that lets connections share their sessions, and then "
                    "nobody sees who lives; connect to the server itself, or have it pool sessions"
                )

    def _hang_up(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


def lock_of(schema: str, purse: str, member: str) -> int:
    """The number of a member's lock: 16 bits that say whose it is, and 48 of its own."""
    digest = sha256(f"{schema}\n{purse}\n{member}".encode()).digest()
    return _TAG | int.from_bytes(digest[:6])


def _keep_beating(life: weakref.ref[Life], ended: Event) -> None:
    while not ended.wait(BEATS_EVERY_S):
        alive = life()
        if alive is None:
            return
        alive.beat()
        del alive


_TAKE = """SELECT pg_backend_pid(), CASE WHEN NOT EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted
) THEN pg_try_advisory_lock(%s) END"""


def let_go(connection: Connection) -> None:
    """In a forked child: give back what it has of its parent's ``connection``, without a word to the server. As long as
    the child had it, the server would not notice the parent's end."""
    with suppress(psycopg.Error, OSError):
        os.close(connection.pgconn.socket)
    _PARENTS_CONNECTIONS.append(connection)


_PARENTS_CONNECTIONS: list[Connection] = []
"""Never closed: that would say goodbye to the server, in the parent's name."""
