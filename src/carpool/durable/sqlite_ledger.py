"""A budget that several processes of one machine share: a small SQLite file, changed by one of them at a time.

Rollback journal with ``synchronous=FULL``: what a budget was asked or told has been forced to the disk when the call
returns, a thousandth of a second or so later. For a local file system: on one that machines share, locks are not to
be relied on.

Beside ``purse.db`` lie ``purse.db-lock``, by which the processes take turns, and ``purse.db-members``, a folder with a
file for each budget that is open on it. That file is locked for as long as its process lives: a lock, other than the
number of a process, can't outlive it and does not come again.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Collection, Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from zlib import crc32

from ..budget.ledger import Changes, Page
from ..errors import JournalCorrupt, JournalError
from .file_lock import FileLock

__all__ = ["SqliteLedger"]

FORMAT = 1
"""The version of the tables. A newer one is refused without touching it."""

_APPLICATION = 0x63707273  # "cprs", in the file's header: a carpool purse

_SCHEMA = f"""
CREATE TABLE purse (number INTEGER PRIMARY KEY CHECK (number = 1), body TEXT NOT NULL, crc INTEGER NOT NULL) STRICT;
CREATE TABLE share (member TEXT PRIMARY KEY, body TEXT NOT NULL, crc INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE buried (
    number INTEGER PRIMARY KEY, member TEXT NOT NULL, body TEXT NOT NULL, crc INTEGER NOT NULL
) STRICT;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {FORMAT}
"""

_BURIED_AT_MOST = 1000
"""How many shares are kept of members that were taken for dead."""


class SqliteLedger:
    """``CoordinationBudget(limits, ledger=SqliteLedger("purse.db"))``; every process makes both for itself.

    The file is made when a budget is, with mode 0600, in a folder that is made with 0700. One ledger serves one
    budget. ``timeout_s`` is how long to wait for a turn: others take theirs in a moment, unless one was stopped in
    the middle of it.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout_s: float = 30.0) -> None:
        self.path = Path(path).absolute()
        self.timeout_s = timeout_s
        self._connection: sqlite3.Connection | None = None
        self._lock: FileLock | None = None
        self._life = -1
        self._member = ""
        self._inode = (0, 0)
        self._has_turn = False
        self._pid = os.getpid()

    @property
    def place(self) -> str:
        return str(self.path)

    # Membership

    def join(self, member: str) -> None:
        if self._connection is not None:
            raise ValueError(f"{self.path}: this SqliteLedger serves a budget already; make another one on the path")
        self._pid = os.getpid()
        try:
            with self._told():
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._members.mkdir(mode=0o700, exist_ok=True)
                self._lock = FileLock(self._beside("-lock"))
                self._take_turn(self.timeout_s)
                self._connection = self._connect()
                self._prepare(self._connection)
                self._live_as(member)
        except BaseException:
            self.leave()
            raise
        self.abandon()

    def leave(self) -> None:
        self.abandon()
        connection, lock, life = self._connection, self._lock, self._life
        self._connection, self._lock, self._life = None, None, -1
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
        if life >= 0:
            (self._members / self._member).unlink(missing_ok=True)
            os.close(life)
        if lock is not None:
            lock.close()

    def forget(self) -> None:
        if self._connection is not None:
            _PARENTS_CONNECTIONS.append(self._connection)
        if self._lock is not None:
            self._lock.close()
        if self._life >= 0:
            os.close(self._life)
        self._connection, self._lock, self._life, self._has_turn = None, None, -1, False

    def __del__(self) -> None:
        if self._pid == os.getpid():
            self.leave()

    # Turns

    def begin(self, *, wait: bool) -> Page:
        with self._told():
            self._take_turn(self.timeout_s if wait else 0.0)
            connection = self._open
            self._refuse_if_moved()
            connection.execute("BEGIN IMMEDIATE")
            purse = connection.execute("SELECT body, crc FROM purse").fetchone()
            shares = connection.execute("SELECT member, body, crc FROM share").fetchall()
            return Page(
                None if purse is None else self._checked("", *purse),
                {member: self._checked(member, body, crc) for member, body, crc in shares},
            )

    def commit(self, changes: Changes) -> None:
        with self._told():
            connection = self._open
            connection.execute("REPLACE INTO purse VALUES (1, ?, ?)", (changes.purse, _crc("", changes.purse)))
            for member, body in changes.shares.items():
                if body is None:
                    connection.execute("DELETE FROM share WHERE member = ?", (member,))
                else:
                    connection.execute("REPLACE INTO share VALUES (?, ?, ?)", (member, body, _crc(member, body)))
            if changes.buried:
                self._bury(connection, changes)
            connection.execute("COMMIT")
        self.abandon()
        self._remove(member for member, body in changes.shares.items() if body is None)

    def abandon(self) -> None:
        if not self._has_turn:
            return
        self._has_turn = False
        try:
            if self._connection is not None and self._connection.in_transaction:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
        finally:
            if self._lock is not None:
                self._lock.release()

    def dead(self, members: Collection[str]) -> Collection[str]:
        with self._told():
            return [member for member in members if not self._is_locked(member)]

    def buried(self, member: str) -> str | None:
        with self._told():
            last = "SELECT body, crc FROM buried WHERE member = ? ORDER BY number DESC LIMIT 1"
            found = self._open.execute(last, (member,)).fetchone()
            return None if found is None else self._checked(member, *found)

    # The file

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise JournalError(f"{self.path}: the ledger is not open; a budget on it opens it")
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        uri = f"{self.path.as_uri()}?mode=rw"
        # Any thread, one at a time: the book's lock sees to that.
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=self.timeout_s, check_same_thread=False
        )
        self._connection = connection
        self._inode = self._identity()
        for setting in ("trusted_schema = OFF", "mmap_size = 0", "synchronous = FULL"):
            connection.execute(f"PRAGMA {setting}")
        # A journal that is truncated: when that is on the disk, so is the commit. One that is deleted could come back.
        mode = connection.execute("PRAGMA journal_mode = TRUNCATE").fetchone()[0]
        if mode != "truncate":
            raise JournalError(f"{self.path}: it is in {mode} mode and can't leave it; close what else has it open")
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make the tables, or see whether they are those of this version."""
        connection.execute("BEGIN IMMEDIATE")
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if not tables and not application and not version:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute("COMMIT")
            return
        if application != _APPLICATION:
            raise JournalError(f"{self.path}: it is no ledger of carpool; choose another path")
        if version > FORMAT:
            raise JournalError(
                f"{self.path}: a newer carpool wrote it (format {version}); this one reads up to {FORMAT}: update it"
            )
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok" or version < 1:
            raise JournalCorrupt(self.place, f"{found} (format {version}); restore it from a copy")

    def _bury(self, connection: sqlite3.Connection, changes: Changes) -> None:
        for member, body in changes.buried.items():
            if body is None:
                connection.execute("DELETE FROM buried WHERE member = ?", (member,))
            else:
                connection.execute("INSERT INTO buried VALUES (NULL, ?, ?, ?)", (member, body, _crc(member, body)))
        connection.execute(
            "DELETE FROM buried WHERE number <= (SELECT max(number) FROM buried) - ?", (_BURIED_AT_MOST,)
        )

    def _checked(self, member: str, body: str, crc: int) -> str:
        if _crc(member, body) != crc:
            raise JournalCorrupt(self.place, "a record is not what was written; restore the file from a copy")
        return body

    def _identity(self) -> tuple[int, int]:
        status = os.stat(self.path)  # noqa: PTH116 - for every transaction, at half the price
        return status.st_dev, status.st_ino

    def _refuse_if_moved(self) -> None:
        """A file that was removed takes writes as before, and nobody else will ever see them."""
        try:
            same = self._identity() == self._inode
        except FileNotFoundError:
            same = False
        if not same:
            raise JournalError(
                f"{self.path}: it was removed or replaced while it was in use; put it back, or run again"
            )

    # Locks

    @property
    def _members(self) -> Path:
        return self._beside("-members")

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def _take_turn(self, timeout_s: float) -> None:
        if self._lock is None:
            raise JournalError(f"{self.path}: the ledger is not open; a budget on it opens it")
        if not self._lock.acquire(timeout_s):
            waited = f"for {timeout_s:g} s, as if it were stopped" if timeout_s else "at this moment"
            raise JournalError(f"{self.path}: another process keeps it locked {waited}; wake that, or end it")
        self._has_turn = True

    def _live_as(self, member: str) -> None:
        """Be alive, as all can see; and clear away what those left who died before they wrote anything."""
        known = {name for (name,) in self._open.execute("SELECT member FROM share")}
        left = [each.name for each in self._members.iterdir()]
        self._remove(name for name in left if name not in known and not self._is_locked(name))
        life = os.open(self._members / member, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(life, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._member, self._life = member, life

    def _is_locked(self, member: str) -> bool:
        try:
            file = os.open(self._members / member, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    def _remove(self, members: Iterable[str]) -> None:
        for member in members:
            with suppress(OSError):
                (self._members / member).unlink(missing_ok=True)

    # Errors

    @contextmanager
    def _told(self) -> Generator[None]:
        """What is raised in the block ends the turn, and names the file."""
        try:
            yield
        except BaseException as error:
            self.abandon()
            if isinstance(error, sqlite3.Error):
                raise self._error(error) from error
            if isinstance(error, UnicodeError):
                raise JournalCorrupt(self.place, f"{error}; restore it from a copy") from error
            if isinstance(error, OSError):
                reason = error.strerror or str(error)
                raise JournalError(f"{self.path}: {reason}; see to the disk, the folder and its rights") from error
            raise

    def _error(self, error: sqlite3.Error) -> JournalError:
        name = getattr(error, "sqlite_errorname", "")
        for start, advice in _ADVICE.items():
            if name.startswith(start):
                return JournalError(f"{self.path}: {error}; {advice}")
        if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_NOMEM", "SQLITE_PROTOCOL")):
            return JournalError(f"{self.path}: {error} ({name}); see to the disk, the folder and its rights")
        return JournalCorrupt(self.place, f"{error}; restore it from a copy, or remove it to begin at nothing spent")


def _crc(member: str, body: str) -> int:
    return crc32(f"{member}\n{body}".encode())


_ADVICE = {
    "SQLITE_FULL": "make room on the disk; what was told meanwhile is kept in memory, and written then",
    "SQLITE_READONLY": "change its rights or those of its folder, or choose another path",
    "SQLITE_BUSY": "something other than carpool keeps it locked; end that",
}

_PARENTS_CONNECTIONS: list[sqlite3.Connection] = []
"""In a forked child: SQLite forbids to use them there, and even to close them."""
