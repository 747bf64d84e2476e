"""The bill: a fold over events, whether or not the run has ended."""

from datetime import UTC, datetime, timedelta

import pytest

from carpool import AgentSpec, BudgetLimits, BudgetSnapshot, SharedInfra, Swarm, TokenAccounting
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
    assert bill.recalled == SPENT


def test_who_was_refused_is_told_from_who_was_cancelled_in_the_line() -> None:
    facts = [
        BudgetExhausted(reason="max_agents reached: 2 of 2"),
        AgentSkipped(reason="max_agents reached: 2 of 2"),
        AgentSkipped(reason="never started: CancelledError"),
        BudgetExhausted(reason="max_agents reached: and again"),
    ]

    bill = bill_of(facts)

    assert (bill.refused, bill.withdrawn, bill.refusals) == (1, 1, ("max_agents reached: 2 of 2",))


def test_each_limit_that_said_no_is_told_once_whoever_it_said_it_to() -> None:
    tokens = "max_total_tokens reached: {} spent, of 500; raise max_total_tokens to go on"
    facts = [
        AgentFailed(error=f"BudgetExhausted: {tokens.format(490)}"),
        AgentFailed(error=f"BudgetExhausted: {tokens.format(495)}"),
        AgentFailed(error="RuntimeError: max_cost_usd reached: says an agent"),
        AgentSkipped(reason="agent limit reached: 5 of at most 5 agents started"),
    ]

    told = bill_of(facts).refusals

    assert told == (tokens.format(490), "agent limit reached: 5 of at most 5 agents started")


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


def rows(bill: Bill, budget: str | None = None) -> dict[str, str]:
    return dict(wording(bill, BudgetLimits() if budget is None else BudgetLimits.parse(budget)))


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


PURSE = BudgetSnapshot(
    input_tokens=250, output_tokens=50, total_tokens=300, cost_usd=1.25, agents_started=7, elapsed_s=90
)


@pytest.mark.parametrize(
    ("budget", "row"),
    [
        ("350 tokens", "300 of 350 tokens · 50 left"),
        ("$2", "$1.25 of $2.00 · $0.75 left"),
        ("9 agents", "7 of 9 starts · 2 left"),
        ("10m", "1 m 30 s of 10 m 00 s · 8 m 30 s left"),
    ],
)
def test_what_is_left_is_what_the_purse_has_left_whatever_the_events_tell(budget: str, row: str) -> None:
    assert rows(Bill(started=3, usage=SPENT, wall_s=30, purse=PURSE), budget)["budget"] == row


def test_what_earlier_processes_spent_is_told_by_what_became_of_it() -> None:
    before = TokenAccounting(input_tokens=250, output_tokens=50, cost_usd=1.25)
    lost = TokenAccounting(input_tokens=100, output_tokens=20, cost_usd=0.5)

    told = [text for _, text in wording(Bill(usage=SPENT, recalled=SPENT, before=before, in_vain=lost), BudgetLimits())]

    assert "120 tokens · $0.50, on starts that were lost, failed or cancelled" in told
    assert "60 tokens · $0.25, on answers no longer used" in told


def test_an_overhang_of_a_billionth_of_a_dollar_is_no_answer_that_was_not_used() -> None:
    before = TokenAccounting(input_tokens=100, output_tokens=20, cost_usd=0.5 + 1e-12)

    assert "before" not in rows(Bill(usage=SPENT, recalled=SPENT, before=before))


def test_what_is_booked_late_is_no_answer_that_was_not_used() -> None:
    assert "before" not in rows(Bill(usage=SPENT, purse=PURSE))  # by a thread that was left behind, for example


def test_the_second_limit_stands_below_the_first() -> None:
    labels = [label for label, _ in wording(Bill(), BudgetLimits.parse("5 agents, 1k tokens"))]

    assert labels == ["agents", "tokens", "cost", "budget", "", "time"]


def test_a_price_that_is_not_known_is_no_zero() -> None:
    unpriced: list[Event] = [AgentFinished(tokens=TokenAccounting(input_tokens=5, priced=False))]

    assert rows(bill_of(unpriced))["cost"] == "$0 and what has no known price"
