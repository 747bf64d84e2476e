"""The bill: a fold over events, whether or not the run has ended."""

from datetime import UTC, datetime, timedelta

import pytest

from carpool import AgentSpec, BudgetLimits, SharedInfra, Swarm, TokenAccounting
from carpool.cli.bill import Bill, bill_of, wording
from carpool.events import (
    AgentCancelled,
    AgentFailed,
    AgentFinished,
    AgentReplayed,
    AgentRetrying,
    AgentSkipped,
    AgentStarted,
    BudgetExhausted,
    Event,
    RunFinished,
    RunStarted,
)

SPENT = TokenAccounting(input_tokens=100, output_tokens=20, cost_usd=0.5)


def test_nothing_happened_and_nothing_is_owed() -> None:
    assert bill_of([]) == Bill()


def test_agents_are_counted_by_how_they_ended_and_all_spend_counts() -> None:
    facts = [
        RunStarted(),
        AgentStarted(),
        AgentFinished(tokens=SPENT),
        AgentStarted(),
        AgentRetrying(),
        AgentStarted(attempt=2),
        AgentFailed(tokens=SPENT),
        AgentStarted(),
        AgentCancelled(tokens=SPENT),
        AgentReplayed(tokens=SPENT),
        AgentFinished(tokens=None),
    ]

    bill = bill_of(facts)

    assert (bill.started, bill.retried) == (4, 1)
    assert (bill.finished, bill.failed, bill.cancelled, bill.replayed) == (2, 1, 1, 1)
    assert bill.usage == TokenAccounting(input_tokens=400, output_tokens=80, cost_usd=2.0)


def test_who_was_refused_is_told_from_who_was_cancelled_in_the_line() -> None:
    facts = [
        BudgetExhausted(reason="the limit is reached"),
        AgentSkipped(reason="the limit is reached"),
        AgentSkipped(reason="never started: CancelledError"),
        BudgetExhausted(reason="and again"),
    ]

    bill = bill_of(facts)

    assert (bill.refused, bill.withdrawn, bill.refusal) == (1, 1, "the limit is reached")


def test_the_time_is_from_the_first_event_to_the_latest() -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    facts = [RunStarted(timestamp=began), AgentStarted(timestamp=began + timedelta(seconds=90))]

    assert bill_of(facts).wall_s == 90


def test_how_the_run_ended_is_its_last_event() -> None:
    bill = bill_of([RunFinished(stop_reason="failed", error="CancelledError")])

    assert (bill.stop_reason, bill.error) == ("failed", "CancelledError")


async def test_the_bill_of_a_run_agrees_with_its_result() -> None:
    async def runner(spec, task, runtime, mailbox) -> str:
        runtime.lease.charge(SPENT)
        return "yes"

    infra = SharedInfra(budget=BudgetLimits(max_agents=2))
    team = [AgentSpec(name, "") for name in ("a", "b", "c")]

    result = await Swarm(team).run("Well?", runner=runner, infra=infra)

    bill = bill_of(infra.log.events())
    assert bill.usage == result.usage
    assert (bill.started, bill.finished, bill.refused) == (2, 2, len(result.skipped))
    assert bill.stop_reason == result.stop_reason == "budget_exhausted"


def rows(bill: Bill, budget: str = "") -> dict[str, str]:
    return dict(wording(bill, BudgetLimits.parse(budget)))


def test_what_did_not_happen_is_not_worded() -> None:
    assert rows(Bill(started=1, finished=1)) == {
        "agents": "1 start · 1 finished",
        "tokens": "0 in · 0 out",
        "cost": "$0",
        "time": "0 ms",
    }


@pytest.mark.parametrize(
    ("budget", "row"),
    [
        ("150 tokens", "120 of 150 tokens · 30 left"),
        ("100 input tokens", "100 of 100 input tokens · 0 left"),
        ("10 output tokens", "20 of 10 output tokens · 0 left"),
        ("$0.75", "$0.50 of $0.75 · $0.25 left"),
        ("5 agents", "3 of 5 starts · 2 left"),
        ("10m", "30.0 s of 10 m 00 s · 9 m 30 s left"),
    ],
)
def test_each_limit_says_what_is_left_of_it(budget: str, row: str) -> None:
    assert rows(Bill(started=3, usage=SPENT, wall_s=30), budget)["budget"] == row


def test_the_second_limit_stands_below_the_first() -> None:
    labels = [label for label, _ in wording(Bill(), BudgetLimits.parse("5 agents, 1k tokens"))]

    assert labels == ["agents", "tokens", "cost", "budget", "", "time"]


def test_a_price_that_is_not_known_is_no_zero() -> None:
    unpriced: list[Event] = [AgentFinished(tokens=TokenAccounting(input_tokens=5, priced=False))]

    assert rows(bill_of(unpriced))["cost"] == "$0 and what has no known price"
