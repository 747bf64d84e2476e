"""A run with a journal, cancelled at every await: nothing is lost, nobody keeps it, and it can go on at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest

from carpool import BudgetLimits, Delegator, MapReduce, Pattern, Pipeline, SharedInfra, Swarm, Vote
from carpool.durable import Journal, MemoryJournal, SqliteJournal
from carpool.errors import JournalError
from carpool.testing import Ended, Reply, ScriptedRunner, VirtualClock, cancel_at_every_await
from carpool.testing.journal_desk import COST, agent, agents, calling, require_whole_lives

from ..scenes import answers, assert_nothing_left
from .quick import quick_folder

TEAMS: dict[str, Pattern[Any]] = {
    "swarm": Swarm(agents("abc", estimate=COST), max_concurrent=2),
    "retries": Swarm([agent("f", retries=1, estimate=COST), agent("a", estimate=COST)]),
    "map-reduce": MapReduce(agent("m", estimate=COST), agent("r", estimate=COST), 2).over(items=["1", "2", "2"]),
    "delegator": Delegator(agent("d"), {"x": agent("x", estimate=COST)}),
    "teams": Vote([Pipeline(agents("ab")), agent("c")]),
    "isolated": Swarm(agents("ab"), isolated=True),
}


def script(*, fails: bool) -> dict[str, Any]:
    broken = [Reply(model_calls=[COST], raises=OSError("once"), after_s=0), Reply("f", model_calls=[COST], after_s=0)]
    return {
        "f": broken if fails else broken[1],
        "d": calling("delegate", {"specialist": "x", "task": "1"}, {"specialist": "x", "task": "2"}),
    }


def infra(journal: Journal, clock: VirtualClock | None = None) -> SharedInfra:
    return SharedInfra(journal=journal, clock=clock, budget=BudgetLimits(max_total_tokens=10_000))


def runner(*, fails: bool) -> ScriptedRunner:
    return ScriptedRunner(script(fails=fails), default=Reply("x", model_calls=[COST], after_s=0))


WHOLE = {name: team.run_sync("t", runner=runner(fails=False)) for name, team in TEAMS.items()}


class InMemory:
    """A team that is run on a journal, and, however it ended, is run again on it."""

    def __init__(self, name: str, clock: VirtualClock) -> None:
        self.name = name
        self.team = TEAMS[name]
        self.journal: Journal = MemoryJournal()
        self.infra = infra(self.journal, clock)
        self.runner = runner(fails=True)

    async def run(self) -> object:
        return await self.team.run("t", runner=self.runner, infra=self.infra, run_id="run")

    def check(self, ended: Ended) -> None:
        assert ended.error is None or isinstance(ended.error, asyncio.CancelledError)
        assert_nothing_left(self.infra)
        assert self.journal.claims == {}
        anyio.run(self.look)

    async def look(self) -> None:
        header = await self.journal.header("run")
        if header is not None:
            assert not self.journal.is_live(header)
            there = await self.journal.holdings("run")
            assert there.lost == 0
            spent = self.infra.budget.snapshot().total_tokens
            assert there.spent.total_tokens == spent
            # One that was cancelled while it held something and had charged nothing is booked at its hold.
            assert self.runner.bill.total.total_tokens <= spent
            require_whole_lives((await self.journal.read("run")).events())
        again = runner(fails=False)
        result = await self.team.run("t", runner=again, infra=infra(self.journal), run_id="run")
        whole = WHOLE[self.name]
        assert answers(result.outputs) == answers(whole.outputs)
        assert (result.answer, result.stop_reason) == (whole.answer, whole.stop_reason)
        assert len((await self.journal.read("run")).events()) > 0


@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize("name", TEAMS)
def test_in_memory(name: str, how: Any) -> None:
    assert cancel_at_every_await(lambda clock: InMemory(name, clock), how=how) > 5


@pytest.mark.parametrize("name", ["swarm", "retries", "delegator"])
def test_in_memory_by_somebody_impatient(name: str) -> None:
    cancel_at_every_await(lambda clock: InMemory(name, clock), times=3)


class InAFile(InMemory):
    """In real time, because a thread writes: the steps are not quite the same in every go, and there are many goes."""

    def __init__(self, name: str, clock: VirtualClock, path: Path) -> None:
        super().__init__(name, clock)
        self.clock = clock
        self.path = path
        self.journal = SqliteJournal(path)
        self.infra = infra(self.journal, clock)

    async def run(self) -> object:
        with self.clock.real_time():
            async with self.journal:
                return await super().run()

    async def look(self) -> None:
        await self.journal.aclose()
        self.journal = SqliteJournal(self.path)
        async with self.journal:
            await super().look()


@pytest.fixture
def paths() -> Iterator[Callable[[], Path]]:
    numbers = count()
    with quick_folder() as folder:
        yield lambda: folder / f"{next(numbers)}.db"


@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize("name", ["swarm", "delegator"])
def test_in_a_file(name: str, how: Any, paths: Callable[[], Path]) -> None:
    cancel_at_every_await(lambda clock: InAFile(name, clock, paths()), how=how)


def test_in_a_file_by_somebody_impatient(paths: Callable[[], Path]) -> None:
    cancel_at_every_await(lambda clock: InAFile("retries", clock, paths()), times=3, every=2)


async def test_a_journal_that_is_closed_under_a_run_ends_it_and_keeps_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    for journal, other in ((MemoryJournal(), None), (SqliteJournal(path), SqliteJournal(path))):

        async def closes(spec: Any, *_: Any, journal: Journal = journal) -> str:
            if spec.name == "b":
                await journal.aclose()
            return "x"

        with pytest.raises(JournalError, match="closed") as caught:
            await Pipeline(agents("abc")).run("t", runner=closes, infra=infra(journal), run_id="run")
        assert len(caught.value.partial.outputs) == 2
        if other is not None:
            async with other:
                again = ScriptedRunner(default="x")
                await Pipeline(agents("abc")).run("t", runner=again, infra=infra(other), run_id="run")
                assert again.bill.agents == ["b", "c"]
