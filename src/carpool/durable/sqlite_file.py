"""The file of a SQLite journal: how it is opened, locked, sealed, and found damaged.

SQLite before 3.51.3 can corrupt a file in WAL mode when two connections write or checkpoint at the same moment. So
whoever writes does so under a lock of the operating system, on a small file beside it; readers open it read-only and
never checkpoint. The same small file carries a seal: how many transactions there have been. It is written after each,
and not forced to the disk, so that it is never ahead of what is durable; a file that has fewer has lost some.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from errno import ENOSPC
from pathlib import Path
from typing import Any
from zlib import crc32

from ..clock import SystemClock
from ..errors import JournalCorrupt, JournalError
from .records import FORMAT

__all__ = ["SqliteFile", "was_made"]

BUSY_S = 30.0
"""How long a writer waits for another process's transaction before it gives up."""

_FULL = "the disk is full; make room and run again under the same run_id"
_LEAST_FREE = 2**16
"""Bytes; of the file that readers and writers share, SQLite wants half as many at a time."""

_SCHEMA = f"""
CREATE TABLE journal (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, updated REAL NOT NULL,
    header BLOB NOT NULL, digest BLOB NOT NULL
) STRICT;
CREATE TABLE rows (id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
INSERT INTO journal VALUES ('format', {FORMAT}), ('transactions', 0), ('runs', 0), ('last_number', 0);
"""  # noqa: S608 - a constant
_ONE_MORE = "UPDATE journal SET value = value + 1 WHERE name = 'transactions' RETURNING value"


class SqliteFile:
    """An open journal file, for one thread. ``writable`` makes it, with mode 0600, in a folder of mode 0700; one that
    is only to be read may not be ``made`` yet.

    :raises JournalError: naming the path, when it can't be opened, or a newer carpool wrote it.
    :raises JournalCorrupt: when it is no journal, or lacks what had been written.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self.made = True
        self._seal = -1
        with self.told(), ExitStack() as opened:
            opened.callback(self._close_seal)
            if writable:
                self._refuse_strange()
                self._prepare()
            self.connection = self._connect(writable)
            opened.callback(self._close_connection)
            self._set_up(writable)
            self._check(writable)
            opened.pop_all()

    def _refuse_strange(self) -> None:
        """Look before anything is changed: what is no journal, or a newer one, stays as it is to the last byte."""
        if self.path.exists() and self.path.stat().st_size > 0:
            SqliteFile(self.path, writable=False).close()

    def _prepare(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._seal = os.open(self._seal_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with self.locked():
            there = self.path.exists() and self.path.stat().st_size > 0
            if not there and not self._sealed():
                self._make_aside()
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _make_aside(self) -> None:
        """Make the file under another name, and move it to its place when it is whole: one that a kill left half made
        could be told from no other file, and would be refused ever after."""
        place = Path(os.path.realpath(self.path))
        half = place.with_name(place.name + "-new")
        half.unlink(missing_ok=True)
        for file in (half, place):  # what lies beside them belongs to one that is gone, and would be taken for theirs
            for ending in ("-journal", "-wal", "-shm"):
                file.with_name(file.name + ending).unlink(missing_ok=True)
        os.close(os.open(half, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(half, isolation_level=None)
        try:
            # No write-ahead log yet: merging it on closing might fail, on a full disk, and nobody would be told. It
            # gets one before it is moved: a kill during that change leaves behind what a reader may not repair.
            connection.execute("PRAGMA synchronous = FULL")
            _make(connection)
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
        half.replace(place)
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @property
    def _seal_path(self) -> Path:
        return _seal_path(self.path)

    def _connect(self, writable: bool) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode={'rw' if writable else 'ro'}"
        if not writable and not self._is_in_use() and not os.access(self.path.parent, os.W_OK):
            uri += "&immutable=1"  # else it would want to make the files that it shares with writers
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S, check_same_thread=False)

    def _set_up(self, writable: bool) -> None:
        connection = self.connection
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA mmap_size = 0")
        if not writable:
            connection.execute("PRAGMA query_only = ON")
            return
        with self.locked():
            # The files beside it get the mode of the file itself.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._inode = os.stat(self.path).st_ino  # noqa: PTH116 - as below

    def _is_in_use(self) -> bool:
        return self.path.with_name(self.path.name + "-wal").exists()

    def _check(self, writable: bool) -> None:
        with self.locked():
            made = self.connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] > 0
            sealed = self._sealed()
            if not made and not sealed:
                self.made = writable
                if writable:
                    _make(self.connection)
                return
            if not made:
                raise JournalCorrupt(str(self.path), "it is empty, and was not; restore it from a copy")
            try:
                found = self.number("format")
                transactions = self.number("transactions")
            except sqlite3.OperationalError:
                raise JournalCorrupt(str(self.path), "it is no journal of carpool; choose another path") from None
            if found > FORMAT:
                raise JournalError(
                    f"{self.path}: a newer carpool wrote it (format {found}); this one reads up to {FORMAT}: update it"
                )
            if found < 1:
                raise JournalCorrupt(str(self.path), f"there is no format {found}; restore it from a copy")
            if sealed > transactions:
                raise JournalCorrupt(
                    str(self.path),
                    f"the last {sealed - transactions} of {sealed} transactions are gone; restore it from a copy, or, "
                    f"if it was you who put an older file here, remove {self._seal_path.name}",
                )

    def number(self, name: str) -> int:
        """One of the numbers that the journal keeps of itself."""
        return self._number(self.connection.execute("SELECT value FROM journal WHERE name = ?", (name,)).fetchone())

    def _number(self, found: Any) -> int:
        """On a damaged page it may be missing, or be anything."""
        if found is None or type(found[0]) is not int:
            raise JournalCorrupt(str(self.path), "a number that it keeps of itself is gone; restore it from a copy")
        return found[0]

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """A transaction that is durable after the block, and did not happen if it raises."""
        with self.told(), self.locked():
            self._refuse_if_moved()
            connection = self.connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                transactions = self._number(connection.execute(_ONE_MORE).fetchone())
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise
            self._write_seal(transactions)

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """All that is read in the block is as of one instant."""
        with self.told():
            self.connection.execute("BEGIN")
            try:
                yield self.connection
            finally:
                if self.connection.in_transaction:
                    self.connection.execute("COMMIT")

    @contextmanager
    def told(self) -> Generator[None]:
        """What SQLite and the operating system raise in the block, as errors that name the file."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._error(error) from error
        except UnicodeDecodeError as error:  # SQLite's own text about a table that it can't make out
            raise JournalCorrupt(
                str(self.path), "its tables are not as they were made; restore it from a copy"
            ) from error
        except OSError as error:
            if error.errno == ENOSPC:
                raise JournalError(f"{self.path}: {_FULL}") from error
            raise JournalError(f"{self.path}: {error.strerror or error}; see to the folder and its rights") from error

    def _error(self, error: sqlite3.DatabaseError) -> JournalError:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return JournalCorrupt(str(self.path), f"{error}; restore it from a copy")
        # For the files that it shares with readers SQLite has another word.
        if name.startswith("SQLITE_FULL") or (name.startswith("SQLITE_IOERR") and self._is_full()):
            return JournalError(f"{self.path}: {_FULL}")
        if name.startswith("SQLITE_READONLY"):
            return JournalError(f"{self.path}: it is read-only; change its rights, or choose another path")
        if name.startswith("SQLITE_BUSY"):
            return JournalError(f"{self.path}: another process has kept it locked for {BUSY_S:g} s")
        if not name or name.startswith(("SQLITE_ERROR", "SQLITE_MISUSE", "SQLITE_CONSTRAINT", "SQLITE_MISMATCH")):
            return JournalCorrupt(str(self.path), f"{error}: its tables are not as they were made")
        return JournalError(f"{self.path}: {error} ({name}); see to the disk, the folder and its rights")

    def _is_full(self) -> bool:
        try:
            found = os.statvfs(self.path.parent)
        except OSError:
            return False
        return found.f_bavail * found.f_frsize < _LEAST_FREE

    def close(self) -> None:
        """Give it up; the last one to leave merges the write-ahead log into the file."""
        self._close_connection()
        self._close_seal()

    def _close_connection(self) -> None:
        with suppress(sqlite3.Error, OSError, JournalError), self.locked():
            self.connection.close()
        self.connection.close()

    def _close_seal(self) -> None:
        if self._seal >= 0:
            os.close(self._seal)
            self._seal = -1

    # The lock and the seal

    @contextmanager
    def locked(self) -> Generator[None]:
        """No other process writes or checkpoints during the block. A reader needs no lock."""
        if self._seal < 0:
            yield
            return
        deadline = SystemClock.monotonic() + BUSY_S
        while True:
            try:
                fcntl.flock(self._seal, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if SystemClock.monotonic() > deadline:
                    raise JournalError(f"{self.path}: another process has kept it locked for {BUSY_S:g} s") from None
                time.sleep(0.001)  # noqa: TID251 - in the writing thread: no loop waits for it
        try:
            yield
        finally:
            fcntl.flock(self._seal, fcntl.LOCK_UN)

    def _sealed(self) -> int:
        return _sealed(self.path)

    def _write_seal(self, transactions: int) -> None:
        count = transactions.to_bytes(8)
        # Full or failing, it is only the older seal that stays.
        with suppress(OSError):
            os.pwrite(self._seal, count + crc32(count).to_bytes(4), 0)

    def _refuse_if_moved(self) -> None:
        """A file that was removed takes writes as before, and nobody will ever read them."""
        try:
            # For every transaction, and so at half the price of a Path's; without its lock file it has no lock either.
            same = os.stat(self.path).st_ino == self._inode and os.fstat(self._seal).st_nlink > 0  # noqa: PTH116
        except FileNotFoundError:
            same = False
        if not same:
            raise JournalError(
                f"{self.path}: it, or {self._seal_path.name}, was removed or replaced while it was in use; run again"
            )


def was_made(path: Path) -> bool:
    """Whether there is a file, or was one that something was written to."""
    return path.exists() or _sealed(path) > 0


def _seal_path(path: Path) -> Path:
    return path.with_name(path.name + "-lock")


def _sealed(path: Path) -> int:
    """How many transactions there had been; 0 where that can't be read."""
    try:
        seal = _seal_path(path).read_bytes()
    except OSError:
        return 0
    count, check = seal[:8], seal[8:12]
    return int.from_bytes(count) if crc32(count) == int.from_bytes(check) and len(seal) >= _SEAL else 0


def _make(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute("COMMIT")


_SEAL = 12
