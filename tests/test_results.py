"""The folding of outputs into one result."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.budget import budget_skipped_output
from carpool.errors import AgentLimitReached, BudgetExhausted
from carpool.results import STOP_REASONS, CoordinationResult, stop_reason_of, usage_of
from carpool.types import AgentOutput, BudgetLimits, BudgetSnapshot, TokenAccounting

ANSWERED = AgentOutput(name="a", answer="x", tokens=TokenAccounting(input_tokens=1))
EMPTY = AgentOutput(name="b")
FAILED = AgentOutput(name="c", answer="half", error="ValueError: no")
DENIED = [
    budget_skipped_output("d", AgentLimitReached(1, 1)),
    budget_skipped_output("e", BudgetExhausted("no more tokens")),
]
REPORTS = st.builds(
    TokenAccounting,
    input_tokens=st.integers(0, 2**70),
    output_tokens=st.integers(0, 2**70),
    cost_usd=st.floats(0, 1e6),
    cache_read_tokens=st.integers(0, 9),
    cache_write_tokens=st.integers(0, 9),
    priced=st.booleans(),
)


def costing(tokens: TokenAccounting | None) -> AgentOutput:
    return AgentOutput(name="a", tokens=tokens)


def test_nobody_costs_nothing() -> None:
    assert usage_of([]) == usage_of([EMPTY, FAILED]) == TokenAccounting()


@settings(deadline=None, max_examples=100)
@given(st.lists(st.none() | REPORTS, max_size=8))
def test_usage_is_the_sum_of_every_report_in_any_order(reports: list[TokenAccounting | None]) -> None:
    known = [report for report in reports if report is not None]

    usage = usage_of(map(costing, reports))

    for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"):
        assert getattr(usage, name) == sum(getattr(report, name) for report in known)
    assert usage.cost_usd == math.fsum(report.cost_usd for report in known)
    assert usage.priced == all(report.priced for report in known)
    assert usage == usage_of(map(costing, reversed(reports)))


def test_a_thousand_small_costs_do_not_drift() -> None:
    assert usage_of([costing(TokenAccounting(cost_usd=0.1))] * 1_000).cost_usd == 100.0


def test_what_failed_agents_cost_is_counted() -> None:
    failed = AgentOutput(name="a", error="ValueError: no", tokens=TokenAccounting(input_tokens=7))

    assert usage_of([ANSWERED, failed]).input_tokens == 8


def test_one_unpriced_report_leaves_the_sum_unpriced() -> None:
    assert not usage_of([ANSWERED, costing(TokenAccounting(input_tokens=1, priced=False))]).priced


def test_costs_beyond_every_float_do_not_lose_the_result() -> None:
    usage = usage_of([costing(TokenAccounting(input_tokens=1, cost_usd=1.7e308))] * 3)

    assert usage.input_tokens == 3
    assert 1.7e308 <= usage.cost_usd < math.inf


@pytest.mark.parametrize(
    ("outputs", "denied", "reason"),
    [
        ([], False, "no_output"),
        ([ANSWERED], False, "completed"),
        ([EMPTY], False, "no_output"),
        ([FAILED], False, "no_output"),
        ([EMPTY, FAILED], False, "no_output"),
        ([FAILED, ANSWERED], False, "completed"),
        ([ANSWERED, DENIED[0]], False, "budget_exhausted"),
        ([DENIED[1], ANSWERED], False, "budget_exhausted"),
        (DENIED, False, "budget_exhausted"),
        ([], True, "budget_exhausted"),
        ([ANSWERED], True, "budget_exhausted"),
    ],
)
def test_why_it_stopped(outputs: list[AgentOutput], denied: bool, reason: str) -> None:
    assert stop_reason_of(outputs, denied=denied) == reason
    assert reason in STOP_REASONS


def test_an_answer_that_only_speaks_of_the_budget_is_no_denial() -> None:
    output = AgentOutput(name="a", answer="budget exhausted: no more tokens", error=None)

    assert stop_reason_of([output], denied=False) == "completed"


def test_results_of_the_same_run_do_not_share_their_lists() -> None:
    one, other = CoordinationResult(task="t", run_id="r"), CoordinationResult(task="t", run_id="r")

    one.outputs.append(ANSWERED)
    one.failed.append("a")
    one.nested["a"] = []

    assert (other.outputs, other.failed, other.nested) == ([], [], {})


def test_a_result_survives_json_with_all_that_is_nested_in_it() -> None:
    inner = CoordinationResult(task="t", run_id="r", answer="x", outputs=[ANSWERED, *DENIED], skipped=["d", "e"])
    result = CoordinationResult(
        task="t",
        run_id="r",
        answer="é",
        outputs=[ANSWERED, FAILED],
        usage=usage_of([ANSWERED]),
        budget=BudgetSnapshot(limits=BudgetLimits(max_cost_usd=1.5), exhausted=True),
        stop_reason="budget_exhausted",
        failed=["c"],
        nested={"inner": [inner, inner]},
    )

    assert msgspec.json.decode(msgspec.json.encode(result), type=CoordinationResult) == result
