"""The jobs of one transaction on a PostgreSQL journal: done in memory, on headers that were locked; then written.

So a transaction is short, a job that is refused has changed nothing, and the whole can be done again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from msgspec.structs import replace

from ..errors import JournalCorrupt
from .claim import Claim, Step
from .records import Entry, Row, RunHeader
from .writer import Job

__all__ = ["Append", "Change", "Erase", "Found", "Group", "Work", "Writes"]


class Found(NamedTuple):
    """A run's header. Where the session of its owner is gone, its ``beat`` is 0, as if that had never been heard of;
    ``beat`` is what was written. ``watched``: it would be seen if the session were gone."""

    header: RunHeader
    beat: float
    watched: bool


class Writes(NamedTuple):
    """What a transaction leaves, by run: headers, each with whether the run is this journal's; rows, with the number
    of rows that stand before them. Those that are erased are erased first."""

    erased: Sequence[str]
    inserted: dict[str, tuple[RunHeader, bool]]
    updated: dict[str, tuple[RunHeader, bool]]
    rows: dict[str, tuple[int, Sequence[Row]]]


class Append(NamedTuple):
    """The usual job: those for one run that follow each other are done as one."""

    claim: Claim
    entries: Sequence[Entry]

    @property
    def run_id(self) -> str:
        return self.claim.opening.run_id

    def __call__(self, group: Group) -> None:
        group.append(self.claim, self.entries)


class Change(NamedTuple):
    run_id: str
    step: Callable[[RunHeader | None], Step]

    def __call__(self, group: Group) -> RunHeader:
        return group.change(self.run_id, self.step)


class Erase(NamedTuple):
    run_id: str
    check: Callable[[RunHeader | None], None]

    def __call__(self, group: Group) -> None:
        group.erase(self.run_id, self.check)


Work = Append | Change | Erase


class Group:
    """What becomes of the runs that ``find`` tells of, in the hands of the journal ``journal`` and by its clock.

    ``durable`` is how many rows of its open runs were promised to be durable: a server that has fewer has lost some.
    """

    def __init__(
        self, find: Callable[[str], Found | None], journal: str, now: Callable[[], float], durable: dict[str, int]
    ) -> None:
        self._find = find
        self._journal = journal
        self._now = now
        self._durable = durable
        self._found: dict[str, Found | None] = {}
        self._headers: dict[str, RunHeader | None] = {}
        self._rows: dict[str, list[Row]] = {}  # of all runs that were changed
        self._erased: set[str] = set()

    def do(self, jobs: Iterable[Job[Any]]) -> None:
        """In their order, but for appends, which come together. What a job raises is its own failure."""
        appends: dict[Claim, tuple[list[Entry], list[Job[Any]]]] = {}
        for job in jobs:
            job.result = job.error = None  # of an earlier attempt
            if isinstance(job.work, Append):
                entries, together = appends.setdefault(job.work.claim, ([], []))
                entries += job.work.entries
                together.append(job)
            else:
                self._append_all(appends)
                with _failing([job]):
                    job.result = job.work(self)
        self._append_all(appends)

    def _append_all(self, appends: dict[Claim, tuple[list[Entry], list[Job[Any]]]]) -> None:
        for claim, (entries, jobs) in appends.items():
            with _failing(jobs):
                self.append(claim, entries)
        appends.clear()

    def append(self, claim: Claim, entries: Sequence[Entry]) -> None:
        self.change(claim.opening.run_id, lambda header: claim.append(header, entries, self._now()))

    def change(self, run_id: str, step: Callable[[RunHeader | None], Step]) -> RunHeader:
        header, rows = step(self._header(run_id))
        self._headers[run_id] = header
        self._rows.setdefault(run_id, []).extend(rows)
        return header

    def erase(self, run_id: str, check: Callable[[RunHeader | None], None]) -> None:
        check(self._header(run_id))
        self._headers[run_id] = None
        self._rows.pop(run_id, None)
        if self._found[run_id] is not None:
            self._erased.add(run_id)
            self._found[run_id] = None

    def _header(self, run_id: str) -> RunHeader | None:
        if run_id not in self._found:
            found = self._find(run_id)
            if found is not None and self._has(found.header):
                missing = self._durable.get(run_id, 0) - found.header.rows
                if missing > 0:
                    raise JournalCorrupt(
                        f"run {run_id!r}",
                        f"its last {missing} rows are gone, as if a standby had taken over that did not have them yet; "
                        "run again under the same run_id",
                    )
            self._found[run_id] = found
            self._headers[run_id] = found and found.header
        return self._headers[run_id]

    def _has(self, header: RunHeader) -> bool:
        """Whether this journal has the run."""
        return header.owner is not None and header.owner.journal == self._journal

    def writes(self) -> Writes | None:
        """What there is to write, if anything."""
        writes = Writes(list(self._erased), {}, {}, {})
        for run_id, rows in self._rows.items():
            found, header = self._found[run_id], self._headers[run_id]
            if header is None:
                continue
            if found is not None and header.beat == found.header.beat:
                header = replace(header, beat=found.beat)  # as it was written, and not as it is seen here
            (writes.inserted if found is None else writes.updated)[run_id] = header, self._has(header)
            if rows:
                writes.rows[run_id] = header.rows - len(rows), rows
        return writes if any(writes) else None

    def seal(self) -> None:
        """What there was to write is durable."""
        for run_id, header in self._headers.items():
            if header is not None and header.open and self._has(header):
                self._durable[run_id] = header.rows
            else:
                self._durable.pop(run_id, None)


@contextmanager
def _failing(jobs: Iterable[Job[Any]]) -> Generator[None]:
    """What is raised in the block is the error of these jobs alone."""
    try:
        yield
    except Exception as error:
        for job in jobs:
            job.error = error
