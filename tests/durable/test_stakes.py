"""What agents in flight have charged is on record before they end, so that it is booked when their process dies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from carpool import AgentOutput, BudgetLimits, SharedInfra, Swarm, TokenAccounting
from carpool.durable import Journal, SqliteJournal
from carpool.durable.stakes import Stakes
from carpool.errors import RunInUse
from carpool.recall import Attempt
from carpool.testing.journal_desk import Desk

from ..scenes import spec, specs, tokens


class Spending:
    """An attempt that holds 10 and has spent what is set."""

    def __init__(self) -> None:
        self.now = tokens(10)
        self.attempt = Attempt(number=1, hold=self.now, earlier=tokens(0), at_stake=lambda: self.now)


def told(stakes: Stakes) -> list[tuple[str, int]]:
    return [(entry.key, entry.spent.input_tokens) for entry in stakes.news()]  # type: ignore[attr-defined]


def test_what_is_held_is_no_news() -> None:
    stakes = Stakes()
    stakes.begin("a", Spending().attempt)

    assert not stakes.has_news()
    assert told(stakes) == []


def test_a_change_is_told_once_and_again_if_it_was_not_written() -> None:
    stakes, one, other = Stakes(), Spending(), Spending()
    stakes.begin("a", one.attempt)
    stakes.begin("b", other.attempt)
    one.now = tokens(30)

    assert stakes.has_news()
    assert told(stakes) == [("a", 30)]
    assert not stakes.has_news()
    stakes.retell()
    assert told(stakes) == [("a", 30), ("b", 10)]


def test_another_attempt_of_one_agent_is_not_taken_for_the_one_before() -> None:
    stakes, first, second = Stakes(), Spending(), Spending()
    stakes.begin("a", first.attempt)
    first.now = tokens(5_000)
    stakes.end("a")  # its next attempt is being written, with all that the first one has cost
    assert told(stakes) == []
    stakes.begin("a", second.attempt)

    assert told(stakes) == []


def test_who_has_ended_is_not_told_of() -> None:
    stakes, one = Stakes(), Spending()
    stakes.begin("a", one.attempt)
    one.now = tokens(30)
    stakes.end("a")

    assert not stakes.has_news()
    assert told(stakes) == []


# In a journal


@pytest.fixture(params=["sqlite", "postgres"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Journal]:
    if request.param == "sqlite":
        return lambda: SqliteJournal(tmp_path / "runs.db")
    dsn = request.getfixturevalue("postgres_dsn")
    from carpool.durable import PostgresJournal

    return lambda: PostgresJournal(dsn)


async def killed_after(
    make: Callable[[], Journal], spend: Callable[[Any], Any], at_stake: int, estimate: TokenAccounting | None = None
) -> int:
    """What the budget starts with after a process has died in which an agent had done ``spend`` on its lease, once it
    is on record that ``at_stake`` tokens are at stake."""
    async with make() as journal:

        async def runner(spec: Any, task: str, runtime: Any, mailbox: Any) -> str:
            spend(runtime.lease)
            for _ in range(1_000):
                if (await journal.holdings("r")).spent.total_tokens == at_stake:
                    break
                await anyio.sleep(0.01)
            await Desk(journal).kill("r")
            return "nobody hears it"

        with pytest.raises(RunInUse):
            await Swarm([spec("a", estimate=estimate)]).run(
                "t", runner=runner, infra=SharedInfra(journal=journal), run_id="r"
            )
    async with make() as journal:
        infra = SharedInfra(journal=journal, budget=BudgetLimits(max_total_tokens=1_000))

        async def done(spec: Any, task: str, runtime: Any, mailbox: Any) -> AgentOutput:
            return AgentOutput(name=spec.name, answer="done", tokens=tokens(1))

        result = await Swarm(specs("a", estimate=estimate)).run("t", runner=done, infra=infra, run_id="r")
        assert result.outputs[0].answer == "done"
        header = await journal.header("r")
        assert header is not None
        assert header.spent.total_tokens == infra.budget.snapshot().total_tokens
        return infra.budget.snapshot().total_tokens - 1


async def test_what_was_charged_is_booked_when_its_process_dies(make: Callable[[], Journal]) -> None:
    def spend(lease: Any) -> None:
        for _ in range(3):
            lease.reserve(tokens(30))
            lease.charge(tokens(30))

    assert await killed_after(make, spend, 90) == 90


async def test_a_call_that_was_out_is_booked_at_its_reservation(make: Callable[[], Journal]) -> None:
    def spend(lease: Any) -> None:
        lease.reserve(tokens(30))
        lease.charge(tokens(20))
        lease.reserve(tokens(50))

    assert await killed_after(make, spend, 70) == 70


async def test_what_an_attempt_reported_is_booked_when_its_process_dies_before_the_next(
    make: Callable[[], Journal],
) -> None:
    """It waits for room, behind another agent, for as long as that takes."""
    async with make() as journal:
        limits = BudgetLimits(max_total_tokens=600)

        async def runner(spec: Any, task: str, runtime: Any, mailbox: Any) -> AgentOutput:
            if spec.name == "a":
                return AgentOutput(name="a", error="no", tokens=tokens(500))
            for _ in range(1_000):
                if (await journal.holdings("r")).spent.total_tokens == 500 + 90:
                    break
                await anyio.sleep(0.01)
            await Desk(journal).kill("r")
            return AgentOutput(name="b", answer="nobody hears it", tokens=tokens(0))

        team = Swarm([spec("a", estimate=tokens(50), retries=1), spec("b", estimate=tokens(90))], "parallel")
        with pytest.raises(RunInUse):
            await team.run("t", runner=runner, infra=SharedInfra(journal=journal, budget=limits), run_id="r")
        assert (await journal.holdings("r")).spent.total_tokens == 590


async def test_it_is_charged_at_its_hold_when_it_has_spent_less(make: Callable[[], Journal]) -> None:
    assert await killed_after(make, lambda lease: lease.charge(tokens(20)), 40, tokens(40)) == 40


async def test_it_is_charged_at_what_it_spent_when_that_is_more_than_its_hold(make: Callable[[], Journal]) -> None:
    assert await killed_after(make, lambda lease: lease.charge(tokens(90)), 90, tokens(40)) == 90
