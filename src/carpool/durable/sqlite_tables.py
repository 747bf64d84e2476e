"""The tables of a SQLite journal: headers and rows put in, and read out again only as they were put in.

Every header has a digest over itself and its place; every run's rows a chain that ends in its header; the number of
runs is kept. So what damage has changed or taken away is noticed before anybody goes by it, whichever page it hit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from itertools import chain
from typing import Any

import msgspec

from ..errors import JournalCorrupt
from .journal import StoredRun
from .records import Row, RunHeader, encode_json, verified

__all__ = ["Tables"]

_INSERTS = [(size, f"INSERT INTO rows VALUES {', '.join(['(?, ?, ?)'] * size)}") for size in (64, 16, 4, 1)]  # noqa: S608
_RUN = 2**32
"""Row ids are run number * 2**32 + row number: the rows of a run lie together, and are appended at their end."""


class Tables:
    """For the length of one transaction. ``place`` is the file's name, for errors.

    :raises JournalCorrupt: from every method that reads, when what it finds is not what was written.
    """

    def __init__(self, connection: sqlite3.Connection, place: str) -> None:
        self._connection = connection
        self._place = place

    # Reading

    def header(self, run_id: str) -> RunHeader | None:
        found = self.find(run_id)
        return found and found[1]

    def headers(self) -> list[RunHeader]:
        """All, the latest first."""
        return [self._checked(*row) for row in self._all()]

    def run(self, run_id: str, known: RunHeader | None = None) -> StoredRun | None:
        """The header and every row of a run, or those since it was as ``known`` says, if it still is that run."""
        there = self.find(run_id)
        if there is None or (known is not None and not there[1].goes_on_from(known)):
            return None
        number, header = there
        before = 0 if known is None else known.rows
        found = self._rows(
            "SELECT id, stream, body FROM rows WHERE id > ? AND id < ? ORDER BY id",
            (number * _RUN + before, (number + 1) * _RUN),
            (int, int, bytes),
        )
        place = f"{self._place}, run {run_id!r}"
        if any(row_id != number * _RUN + expected for expected, (row_id, _, _) in enumerate(found, before + 1)):
            raise JournalCorrupt(place, "rows are missing; restore the file from a copy")
        rows = [Row(stream, body) for _, stream, body in found]
        return StoredRun(header, verified(place, header, rows, known), before)

    def find(self, run_id: str) -> tuple[int, RunHeader] | None:
        """The number and the header of a run."""
        found = self._rows(
            "SELECT run_id, number, header, digest FROM runs WHERE run_id = ?", (run_id,), (str, int, bytes, bytes)
        )
        if found:
            return found[0][1], self._checked(*found[0])
        # It may be here all the same, under a damaged name or behind a damaged index.
        if any(row[0] == run_id for row in self._all()):
            raise JournalCorrupt(self._place, f"run {run_id!r} is not where it should be; restore the file from a copy")
        return None

    def _all(self) -> list[Any]:
        found = self._rows(
            "SELECT run_id, number, header, digest FROM runs NOT INDEXED ORDER BY updated DESC, number DESC",
            (),
            (str, int, bytes, bytes),
        )
        expected = self._rows("SELECT value FROM journal WHERE name = 'runs'", (), (int,))
        if [(len(found),)] != expected:
            raise JournalCorrupt(
                self._place, f"{len(found)} runs are left, which is not all; restore the file from a copy"
            )
        for run_id, number, body, digest in found:
            self._refuse_damaged(run_id, number, body, digest)
        return found

    def _rows(self, statement: str, values: tuple[Any, ...], kinds: tuple[type, ...]) -> list[Any]:
        """What the statement finds, of these kinds: on a damaged page a value may be anything."""
        found = self._connection.execute(statement, values).fetchall()
        if any(tuple(map(type, row)) != kinds for row in found):
            raise JournalCorrupt(self._place, "a value is not of its kind; restore the file from a copy")
        return found

    def _checked(self, run_id: str, number: int, body: bytes, digest: bytes) -> RunHeader:
        self._refuse_damaged(run_id, number, body, digest)
        try:
            return msgspec.json.decode(body, type=RunHeader)
        except (msgspec.DecodeError, ValueError) as error:
            raise JournalCorrupt(f"{self._place}, run {run_id!r}", f"its header can't be read: {error}") from None

    def _refuse_damaged(self, run_id: str, number: int, body: bytes, digest: bytes) -> None:
        if _digest(run_id, number, body) != digest:
            raise JournalCorrupt(
                f"{self._place}, run {run_id!r}", "its header is not as it was written; restore the file from a copy"
            )

    # Writing

    def new_number(self) -> int:
        """The number of a run that is about to be put in."""
        self._connection.execute("UPDATE journal SET value = value + 1 WHERE name IN ('runs', 'last_number')")
        return self._connection.execute("SELECT value FROM journal WHERE name = 'last_number'").fetchone()[0]

    def numbered(self, number: int, before: int, rows: Sequence[Row]) -> Sequence[tuple[int, int, bytes]]:
        """``rows`` with their ids, as ``append`` takes them; ``before`` rows of the run are there."""
        first = number * _RUN + before
        return [(first + place, stream, body) for place, (stream, body) in enumerate(rows, 1)]

    def append(self, rows: Sequence[tuple[int, int, bytes]]) -> None:
        """Put rows in, many with one statement: between two statements the interpreter's lock is given away, and while
        the loop is busy every getting back of it may take as long as the whole transaction."""
        place = 0
        for size, statement in _INSERTS:
            while len(rows) - place >= size:
                self._connection.execute(statement, tuple(chain.from_iterable(rows[place : place + size])))
                place += size

    def put(self, number: int, header: RunHeader) -> None:
        body = encode_json(header)
        self._connection.execute(
            "INSERT INTO runs VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (run_id) "
            "DO UPDATE SET updated = ?3, header = ?4, digest = ?5",
            (header.run_id, number, header.updated.timestamp(), body, _digest(header.run_id, number, body)),
        )

    def delete(self, run_id: str, number: int) -> None:
        first = number * _RUN
        self._connection.execute("DELETE FROM rows WHERE id > ? AND id < ?", (first, first + _RUN))
        self._connection.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))
        self._connection.execute("UPDATE journal SET value = value - 1 WHERE name = 'runs'")


def _digest(run_id: str, number: int, body: bytes) -> bytes:
    return sha256(f"{run_id}\n{number}\n".encode("utf-8", "replace") + body).digest()
