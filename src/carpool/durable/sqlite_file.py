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
from contextlib import contextmanager, suppress
from pathlib import Path
from zlib import crc32

from ..clock import SystemClock
from ..errors import JournalCorrupt, JournalError
from .records import FORMAT

__all__ = ["SqliteFile"]

BUSY_S = 30.0
"""How long a writer waits for another process's transaction before it gives up."""

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
    """An open journal file, for one thread. ``writable`` makes it, with mode 0600, in a folder of mode 0700.

    :raises JournalError: naming the path, when it can't be opened, or a newer carpool wrote it.
    :raises JournalCorrupt: when it is no journal, or lacks what had been written.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self._seal = -1
        with self.told():
            if writable:
                self._prepare()
            self.connection = self._connect(writable)
            try:
                self._check(writable)
            except BaseException:
                self.close()
                raise

    def _prepare(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._seal = os.open(self._seal_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    @property
    def _seal_path(self) -> Path:
        return self.path.with_name(self.path.name + "-lock")

    def _connect(self, writable: bool) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode={'rw' if writable else 'ro'}"
        if not writable and not self._is_in_use() and not os.access(self.path.parent, os.W_OK):
            uri += "&immutable=1"  # else it would want to make the files that it shares with writers
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S, check_same_thread=False)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA mmap_size = 0")
        if writable:
            with self.locked():
                # The files beside it get the mode of the file itself.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                self._inode = os.stat(self.path).st_ino  # noqa: PTH116 - as below
        else:
            connection.execute("PRAGMA query_only = ON")
        return connection

    def _is_in_use(self) -> bool:
        return self.path.with_name(self.path.name + "-wal").exists()

    def _check(self, writable: bool) -> None:
        with self.locked():
            made = self.connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] > 0
            sealed = self._sealed()
            if not made and not sealed and writable:
                self.connection.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA.split(";"):
                    self.connection.execute(statement)
                self.connection.execute("COMMIT")
                return
            if not made:
                raise JournalCorrupt(str(self.path), "it is empty, and was not; restore it from a copy")
            try:
                found = self.number("format")
                transactions = self.number("transactions")
            except (sqlite3.OperationalError, TypeError):
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
        return self.connection.execute("SELECT value FROM journal WHERE name = ?", (name,)).fetchone()[0]

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """A transaction that is durable after the block, and did not happen if it raises."""
        with self.told(), self.locked():
            self._refuse_if_moved()
            connection = self.connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                (transactions,) = connection.execute(_ONE_MORE).fetchone()
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
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror or error}; see to the folder and its rights") from error

    def _error(self, error: sqlite3.DatabaseError) -> JournalError:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return JournalCorrupt(str(self.path), f"{error}; restore it from a copy")
        if name.startswith("SQLITE_FULL"):
            return JournalError(f"{self.path}: the disk is full; make room and run again under the same run_id")
        if name.startswith("SQLITE_READONLY"):
            return JournalError(f"{self.path}: it is read-only; change its rights, or choose another path")
        if name.startswith("SQLITE_BUSY"):
            return JournalError(f"{self.path}: another process has kept it locked for {BUSY_S:g} s")
        if not name or name.startswith(("SQLITE_ERROR", "SQLITE_MISUSE", "SQLITE_CONSTRAINT", "SQLITE_MISMATCH")):
            return JournalCorrupt(str(self.path), f"{error}: its tables are not as they were made")
        return JournalError(f"{self.path}: {error} ({name}); see to the disk, the folder and its rights")

    def close(self) -> None:
        """Give it up; the last one to leave merges the write-ahead log into the file."""
        with suppress(sqlite3.Error, OSError, JournalError), self.locked():
            self.connection.close()
        self.connection.close()
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
        """How many transactions there had been; 0 where that can't be read."""
        try:
            seal = self._seal_path.read_bytes()
        except OSError:
            return 0
        count, check = seal[:8], seal[8:12]
        return int.from_bytes(count) if crc32(count) == int.from_bytes(check) and len(seal) >= _SEAL else 0

    def _write_seal(self, transactions: int) -> None:
        count = transactions.to_bytes(8)
        # Full or failing, it is only the older seal that stays.
        with suppress(OSError):
            os.pwrite(self._seal, count + crc32(count).to_bytes(4), 0)

    def _refuse_if_moved(self) -> None:
        """A file that was removed takes writes as before, and nobody will ever read them."""
        try:
            same = os.stat(self.path).st_ino == self._inode  # noqa: PTH116 - for every transaction, at half the price
        except FileNotFoundError:
            same = False
        if not same:
            raise JournalError(f"{self.path}: the file was removed or replaced while it was in use; run again")


_SEAL = 12
