"""A PostgreSQL database, seen from outside: how it is reached, which of its faults pass, and how they are told.

A fault passes if the server, the network or another session may be over it in a moment: a restart, a failover, a
connection that was cut, a deadlock. Whatever failed by one is tried again as a whole, for up to half a minute. Until
the database was reached for the first time nothing is tried twice: then it is more likely the address that is wrong.
What is told names host, port and database; a password, from wherever it came, is in no text, log or ``repr``.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from ..clock import SystemClock
from ..errors import JournalCorrupt, JournalError

__all__ = ["PATIENCE_S", "Connection", "Database"]

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]

PATIENCE_S = 30.0
"""For how long what failed by a passing fault is tried again."""

_LONGEST_PAUSE_S = 0.5  # below RECONNECTED_S, so that whoever lives is back by then
_OLDEST = 130_000
"""PostgreSQL 13: the first in which a transaction can be asked about by ``pg_xact_status(xid8)``."""

_DEFAULTS = {
    "application_name": "carpool",
    "client_encoding": "utf8",
    "connect_timeout": "10",
    # A server that is gone without a word is found out in about 15 seconds, whether we wait for it or speak to it.
    "keepalives_idle": "5",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "15000",
}
"""What a dsn does not say itself."""

_PASSING = ("08", "40", "57", "25P03", "25P04", "25006", "23505", "53300")
"""How an SQLSTATE that passes begins: connection, rollback, operator intervention (a shutdown, a timeout), a session
that was ended while it idled, a server that is being failed over to, two who made the same run, no connection left."""

_ADVICE = {
    "25006": "it takes no writes, as a standby does not; add target_session_attrs=read-write and its other hosts",
    "3D000": "create the database, or name another one",
    "42501": "grant its role what it lacks: CREATE on the database, or a schema of its own",
    "53100": "the server's disk is full; make room and run again under the same run_id",
    "53300": "raise max_connections, or connect through a pooler",
    "55P03": "another session keeps its tables locked; end that",
    "57014": "raise statement_timeout for its role",
}
_NOT_OURS = ("3F", "42P01", "42703", "42804", "42883")


class Database:
    """Where ``dsn`` leads: a URI or ``name=value`` pairs, as libpq takes them; what it leaves out libpq takes from its
    environment variables, service and password files.

    :raises ValueError: for a dsn that can't be read, without saying what is in it.
    """

    def __init__(self, dsn: str) -> None:
        if not isinstance(dsn, str):
            raise TypeError(f"dsn must be a str, not a {type(dsn).__name__}")
        given = _read(dsn)
        options = {option.keyword.decode(): option for option in Conninfo.get_defaults()}
        known = {name: (option.val or b"").decode() for name, option in options.items()} | given
        self._secrets = [known[name] for name, option in options.items() if option.dispchar == b"*" and known[name]]
        self._conninfo = make_conninfo(dsn, **{name: value for name, value in _DEFAULTS.items() if name not in given})
        self.place = f"postgresql://{known['host'] or 'localhost'}:{known['port']}/{known['dbname']}"
        self._closed = Event()
        self._was_reached = False

    def __repr__(self) -> str:
        return f"Database({self.place!r})"

    def connect(self) -> Connection:
        """A connection that commits what it is told to, and prepares nothing: behind a pooler that gives each
        transaction another session, a prepared statement is not there the next time.

        :raises psycopg.Error: when it can't be had.
        """
        connection = psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None)
        if connection.info.server_version < _OLDEST:
            connection.close()
            raise JournalError(f"{self.place}: it is older than PostgreSQL {_OLDEST // 10_000}; update the server")
        self._was_reached = True
        return connection

    def persist(self, attempt: Callable[[], T], *, patient: bool = True) -> T:
        """What ``attempt`` returns, in the end: after a fault that passes it is made again, once at once, and then, if
        ``patient``, for ``PATIENCE_S`` seconds. It must be such that it can be. Blocks its thread.

        :raises JournalError: when the fault does not pass.
        """
        deadline = SystemClock.monotonic() + (PATIENCE_S if patient else 0.0)
        pause = 0.0
        while True:
            try:
                return attempt()
            except psycopg.Error as error:
                if not (self._was_reached and _passes(error)):
                    raise self._told(error) from None
                if pause and (SystemClock.monotonic() + pause > deadline or self._closed.wait(pause)):
                    raise self._told(error) from None
            pause = min(_LONGEST_PAUSE_S, pause * 2 or 0.02)

    def close(self) -> None:
        """From now on nobody waits for a fault to pass."""
        self._closed.set()

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    def _told(self, error: psycopg.Error) -> JournalError:
        state = error.sqlstate or ""
        said = " ".join((error.diag.message_primary or str(error)).split()) or type(error).__name__
        for secret in self._secrets:
            said = said.replace(secret, "***")
        if state.startswith(_NOT_OURS):
            return JournalCorrupt(self.place, f"{said}: its tables are not as they were made")
        advice = _ADVICE.get(state, "see to the server and the way to it, and run again under the same run_id")
        return JournalError(f"{self.place}: {said}{f' ({state})' if state else ''}; {advice}")


def _read(dsn: str) -> dict[str, str]:
    if "\0" in dsn:
        raise ValueError(_UNREADABLE)
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    except (psycopg.Error, UnicodeError):
        raise ValueError(_UNREADABLE) from None
    # In a URI a password with an @ or a / in it is taken for a host, and would be told as one.
    ports = given.get("port", "")
    if dsn.startswith(("postgres:", "postgresql:")) and (
        "@" in given.get("host", "") + given.get("dbname", "") or (ports and not ports.replace(",", "").isdigit())
    ):
        raise ValueError(_UNREADABLE)
    return given


_UNREADABLE = (
    "the dsn can't be read (it is not shown: it may hold a password); write it as postgresql://user:password@host:port/"
    "database with what is special in the password percent-encoded (@ is %40, / is %2F), or as host=… port=… dbname=…"
)


def _passes(error: psycopg.Error) -> bool:
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)  # told by this side of the connection
    return error.sqlstate.startswith(_PASSING)
