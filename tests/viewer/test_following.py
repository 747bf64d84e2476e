"""Following a run: once for all who look, no oftener than need be, to its end, and no further than it goes."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from carpool.durable import MemoryJournal, RunHeader, StoredRun
from carpool.errors import JournalCorrupt, RunNotFound
from carpool.viewer.following import Following
from carpool.viewer.rows import Page

from .runs import every_outcome


class Clock:
    """Goes on when it is told to, and while a journal is read."""

    def __init__(self) -> None:
        self.time = 100.0

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


class Growing(MemoryJournal):
    """Shows so many rows of its one run, which lives until it is let end; counts how often it is read."""

    def __init__(self, clock: Clock | None = None, takes_s: float = 0.0) -> None:
        super().__init__()
        self.shown = 0
        self.lives = True
        self.reads = 0
        self.clock = clock
        self.takes_s = takes_s

    async def header(self, run_id: str) -> RunHeader | None:
        header = await super().header(run_id)
        return header and replace(header, rows=min(self.shown, header.rows))

    async def read(self, run_id: str) -> StoredRun:
        self.reads += 1
        if self.clock is not None:
            self.clock.time += self.takes_s
        run = await super().read(run_id)
        return StoredRun(replace(run.header, rows=min(self.shown, run.header.rows)), run.rows[: self.shown])

    def is_live(self, header: RunHeader) -> bool:
        return self.lives


async def growing(**fields: Any) -> Growing:
    journal = Growing(**fields)
    journal.shown = 10**9
    await every_outcome(journal)
    return journal


def taken(picture: Any, live: bool) -> int:
    return picture.taken


async def test_however_many_look_at_once_the_run_is_read_once() -> None:
    journal = await growing()
    following = Following(journal)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(following.look, "r", taken)

    assert journal.reads == 1


async def test_it_is_looked_at_again_when_it_has_changed_and_some_time_has_passed() -> None:
    clock = Clock()
    journal = await growing(clock=clock)
    following = Following(journal, clock)
    seen = []
    for shown, passes_s in ((5, 0.0), (7, 0.01), (9, 1.0), (9, 1.0), (11, 1.0)):
        journal.shown = shown
        clock.time += passes_s
        seen.append(await following.look("r", taken))

    assert seen == [5, 5, 9, 9, 11]
    assert journal.reads == 3


async def test_looks_that_take_long_are_seldom() -> None:
    clock = Clock()
    journal = await growing(clock=clock, takes_s=2.0)
    following = Following(journal, clock)
    journal.shown = 5
    await following.look("r", taken)
    journal.shown = 9

    clock.time += 7.0
    assert await following.look("r", taken) == 5
    clock.time += 2.0
    assert await following.look("r", taken) == 9


async def test_a_run_that_goes_on_is_followed_to_its_end() -> None:
    journal = await growing()
    everything = len((await MemoryJournal.read(journal, "r")).rows)
    journal.shown = 1
    known: dict[int, Any] = {}
    last: Page | None = None

    async with aclosing(Following(journal).pages("r", "")) as pages:
        async for page in pages:
            if page is not None:
                last = page
                known |= {row.n: row for row in page.agents}
            journal.shown += 20
            journal.lives = journal.shown < everything

    assert last is not None
    assert not last.run.live
    assert {row.status for row in known.values()} == {"completed", "failed", "refused"}


async def test_who_comes_back_with_a_cursor_is_told_the_rest() -> None:
    journal = await growing()
    journal.lives = False
    following = Following(journal)
    async with aclosing(following.pages("r", "")) as pages:
        first = await anext(pages)
    assert first is not None
    assert first.agents

    async with aclosing(following.pages("r", first.cursor)) as pages:
        again = [page async for page in pages]

    assert [page.agents for page in again if page is not None] == [[]]  # how it stands, and nothing new


async def test_closing_lets_everybody_come_to_the_end() -> None:
    following = Following(await growing())
    with anyio.fail_after(5):
        async with aclosing(following.pages("r", "")) as pages:
            async for _ in pages:
                following.close()


async def test_a_run_that_is_not_there_or_no_longer_is_an_error() -> None:
    journal = await growing()
    journal.lives = False
    following = Following(journal, clock := Clock())
    with pytest.raises(RunNotFound):
        await following.look("none", taken)
    await following.look("r", taken)

    await journal.remove("r")
    clock.time += 1

    with pytest.raises(RunNotFound):
        await following.look("r", taken)
    with pytest.raises(RunNotFound):
        await following.worth("r")


async def test_a_run_that_was_made_anew_under_its_name_is_shown_anew() -> None:
    journal = await growing()
    journal.lives = False
    following = Following(journal, clock := Clock())
    before = await following.look("r", lambda picture, live: picture.page("", 1000, live=live))

    await journal.remove("r")
    await every_outcome(journal)
    clock.time += 1
    after = await following.look("r", lambda picture, live: picture.page(before.cursor, 1000, live=live))

    assert after.fresh
    assert len(after.agents) == len(before.agents)


async def test_damage_is_told_and_not_remembered() -> None:
    journal = await growing()
    journal.lives = False
    following = Following(journal)
    rows = journal._rows["r"]
    rows[5], kept = rows[4], rows[5]
    with pytest.raises(JournalCorrupt):
        await following.look("r", taken)

    rows[5] = kept

    assert await following.look("r", taken) == len(rows)


async def test_the_value_report_is_made_once_for_each_state_of_the_run() -> None:
    clock = Clock()
    journal = await growing(clock=clock)
    following = Following(journal, clock)
    first = await following.worth("r")
    assert await following.worth("r") is first

    journal.lives = False
    clock.time += 1
    ended = await following.worth("r")

    assert ended is not first
    assert ended["report"]["status"] == "budget_exhausted"
    assert set(ended["fates"].values()) >= {"answer", "nothing"}


async def test_readers_are_told_by_the_numbers_that_agents_have_on_the_page() -> None:
    journal = await growing()
    journal.lives = False
    following = Following(journal)
    page = await following.look("r", lambda picture, live: picture.page("", 1000, live=live))

    worth = await following.worth("r")

    names = {row.n: row.name for row in page.agents}
    started = {row.n for row in page.agents if row.starts}
    assert {int(number) for number in worth["fates"]} == started
    assert all(names[reader] for readers in worth["readers"].values() for reader in readers)


async def test_only_so_many_runs_are_remembered() -> None:
    journal = MemoryJournal()
    for number in range(12):
        await every_outcome(journal, f"r{number}")
    following = Following(journal)

    for number in range(12):
        await following.look(f"r{number}", taken)

    assert len(following._runs) == 8


async def test_who_gives_up_while_it_is_read_leaves_it_whole_for_the_next() -> None:
    for steps in range(12):
        journal = await growing()
        following = Following(journal)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(following.look, "r", taken)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()

        with anyio.fail_after(5):
            assert await following.look("r", taken) == len(journal._rows["r"])
            assert (await following.worth("r"))["report"]["agents"] > 0
