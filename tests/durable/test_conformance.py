"""Every built-in journal keeps its promises, and the suite sees one that does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from carpool.durable import Journal, MemoryJournal, SqliteJournal
from carpool.durable.claim import Claim, Step
from carpool.durable.history import History
from carpool.durable.journal import StoredRun
from carpool.durable.recollection import Remembering
from carpool.durable.records import RunHeader
from carpool.testing import check_journal
from carpool.testing.journal_desk import Check
from carpool.testing.journals import JOURNAL_CHECKS
from carpool.types import TokenAccounting

from .quick import quick_folder


class SameMemory(MemoryJournal):
    """Another object on the memory of ``journal``."""

    def __init__(self, journal: MemoryJournal) -> None:
        super().__init__()
        self._lock, self._headers, self._rows = journal._lock, journal._headers, journal._rows


@pytest.mark.parametrize("check", JOURNAL_CHECKS, ids=lambda check: check.__name__)
def test_in_memory(check: Check) -> None:
    check_journal(MemoryJournal, again=SameMemory, checks=(check,))


@pytest.mark.parametrize("check", JOURNAL_CHECKS, ids=lambda check: check.__name__)
def test_in_a_file(check: Check) -> None:
    with quick_folder() as folder:
        check_journal(
            lambda: SqliteJournal(folder / "runs.db"),
            again=lambda journal: SqliteJournal(journal.path),
            checks=(check,),
        )


def test_without_a_second_object_all_is_tried_that_can_be() -> None:
    check_journal(MemoryJournal)


class Own(Journal):
    """A journal as a user might write it: no more than the port asks for."""

    def __init__(self, other: Own | None = None) -> None:
        super().__init__()
        self.runs_here: dict[str, StoredRun] = {} if other is None else other.runs_here

    async def change(self, run_id: str, step: Callable[[RunHeader | None], Step]) -> RunHeader:
        stored = self.runs_here.get(run_id)
        header, rows = step(stored and stored.header)
        self.runs_here[run_id] = StoredRun(header, (*(stored.rows if stored else ()), *rows))
        return header

    async def header(self, run_id: str) -> RunHeader | None:
        return self.runs_here[run_id].header if run_id in self.runs_here else None

    async def read(self, run_id: str) -> StoredRun:
        from carpool.errors import RunNotFound

        if run_id not in self.runs_here:
            raise RunNotFound(run_id)
        return self.runs_here[run_id]

    async def runs(self) -> list[RunHeader]:
        return sorted((run.header for run in self.runs_here.values()), key=lambda header: header.updated, reverse=True)

    async def erase(self, run_id: str, check: Callable[[RunHeader | None], None]) -> None:
        check(await self.header(run_id))
        del self.runs_here[run_id]


def test_a_journal_of_ones_own_can_be_checked() -> None:
    check_journal(Own, again=Own)


# Journals that break a promise


class LosesTheLastRow(Own):
    async def read(self, run_id: str) -> StoredRun:
        header, rows = await super().read(run_id)
        return StoredRun(header, rows[:-1])


class WritesWhatWasRefused(Own):
    async def change(self, run_id: str, step: Callable[[RunHeader | None], Step]) -> RunHeader:
        header = await self.header(run_id)
        try:
            return await super().change(run_id, step)
        except Exception:
            if header is not None:
                await super().change(run_id, lambda _: Step(replace(header, stop_reason="refused")))
            raise


class ListsTheOldestFirst(Own):
    async def runs(self) -> list[RunHeader]:
        return (await super().runs())[::-1]


class LeavesRowsBehind(Own):
    async def erase(self, run_id: str, check: Callable[[RunHeader | None], None]) -> None:
        check(await self.header(run_id))
        left = self.runs_here.pop(run_id)
        self.left = {**getattr(self, "left", {}), run_id: left.rows}

    async def change(self, run_id: str, step: Callable[[RunHeader | None], Step]) -> RunHeader:
        header = await super().change(run_id, step)
        if run_id in getattr(self, "left", {}):
            self.runs_here[run_id] = StoredRun(header, (*self.left.pop(run_id), *self.runs_here[run_id].rows))
        return header


class AsksNobody(Own):
    def is_live(self, header: RunHeader) -> bool:
        return False


class WritesLate(Own):
    """Tells that it is durable, and writes it down with the next change."""

    def __init__(self, other: WritesLate | None = None) -> None:
        super().__init__(other)
        self.late: list[tuple[str, Callable[[RunHeader | None], Step]]] = []

    async def change(self, run_id: str, step: Callable[[RunHeader | None], Step]) -> RunHeader:
        if self.late and self.late[0][0] == run_id:
            await super().change(*self.late.pop())
        self.late = [(run_id, step)]
        return step(await self.header(run_id)).header


@pytest.mark.parametrize(
    ("journal", "promise"),
    [
        (LosesTheLastRow, "what a change returned from is there"),
        (WritesWhatWasRefused, "a step that raises changes nothing"),
        (ListsTheOldestFirst, "runs are listed from the latest to the first"),
        (LeavesRowsBehind, "an erased run is gone with its rows"),
        (AsksNobody, "who has a run is asked to cancel it"),
        (WritesLate, "what a change returned from is there"),
    ],
)
def test_a_journal_that_breaks_a_promise_is_seen(journal: type[Own], promise: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is the journal's affair
        check_journal(journal, again=journal)

    assert caught.value.__notes__ == [f"the journal: {promise}"]


# What every journal shares, broken: is the suite able to see it?


def free(self: History) -> None:
    for fate in self.fates.values():
        if fate.status == "running":
            fate.status, fate.lost = "lost", fate.lost + 1


def never_lost(self: History) -> None:
    pass


def by_place(self: Remembering, digest: str, settled: bool):
    left = next((fates for fates in self._by_content.values() if fates), None)
    return left.popleft() if left else None


def booked_with_every_start(self: History, entry) -> None:
    TELL_START(self, entry)
    self._charge(entry.purse, entry.hold + TokenAccounting(input_tokens=1))


TELL_START = History._start


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (History, "lose", free),  # what is in flight at a crash costs nothing
        (History, "lose", never_lost),
        (Remembering, "_take", by_place),  # calls are told by their order
        (History, "_start", booked_with_every_start),
        (Claim, "_owned", lambda self, header: header),  # nobody asks who has the run
    ],
)
def test_what_all_journals_share_is_seen_when_it_is_broken(owner, name, broken, monkeypatch) -> None:
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(Exception):  # noqa: B017, PT011 - by whichever check comes to it first
        check_journal(MemoryJournal, again=SameMemory)
