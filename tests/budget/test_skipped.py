"""What stands in for an agent that the budget kept out: told apart by its evidence, never by its text."""

from __future__ import annotations

import msgspec
import pytest

from carpool.budget import CoordinationBudget, budget_skipped_output, is_budget_skipped
from carpool.errors import AgentLimitReached, BudgetError
from carpool.types import (
    AgentOutcome,
    AgentOutput,
    BudgetLimits,
    Evidence,
    EvidenceKind,
    OutcomeStatus,
    TokenAccounting,
)


def denied(limits: BudgetLimits) -> BudgetError:
    with pytest.raises(BudgetError) as denial:
        CoordinationBudget(limits).try_begin_agent()
    return denial.value


DENIALS = pytest.mark.parametrize(
    "limits", [BudgetLimits(max_agents=0), BudgetLimits(max_cost_usd=0.0), BudgetLimits(max_depth=0)]
)


@DENIALS
def test_a_skipped_output_has_no_answer_and_the_denials_text(limits: BudgetLimits) -> None:
    error = denied(limits)

    output = budget_skipped_output("reader", error)

    assert (output.name, output.answer, output.error) == ("reader", "", str(error))
    assert not output.succeeded
    assert (output.turns, output.tool_calls, output.tokens, output.tools_used) == (0, 0, None, [])


@DENIALS
def test_a_skipped_output_gives_up_with_one_piece_of_evidence(limits: BudgetLimits) -> None:
    outcome = budget_skipped_output("reader", denied(limits)).outcome

    assert outcome is not None
    assert outcome.status is OutcomeStatus.GIVE_UP
    assert [(each.kind, each.data) for each in outcome.evidence] == [
        (EvidenceKind.STOP_REASON, {"budget_skipped": True})
    ]


@DENIALS
def test_a_skipped_output_is_known_also_after_a_journey_as_json(limits: BudgetLimits) -> None:
    output = budget_skipped_output("reader", denied(limits))

    arrived = msgspec.json.decode(msgspec.json.encode(output), type=AgentOutput)

    assert arrived == output
    assert is_budget_skipped(output)
    assert is_budget_skipped(arrived)


def test_a_text_may_be_given_instead_of_an_error() -> None:
    output = budget_skipped_output("reader", "no room")

    assert output.error == "no room"
    assert is_budget_skipped(output)


def test_two_skipped_outputs_share_nothing_that_can_be_changed() -> None:
    one, other = (budget_skipped_output("reader", AgentLimitReached(1, 1)) for _ in range(2))
    assert one.outcome is not None
    assert other.outcome is not None

    one.outcome.evidence[0].data["budget_skipped"] = False
    one.outcome.evidence.clear()

    assert is_budget_skipped(other)
    assert is_budget_skipped(budget_skipped_output("reader", AgentLimitReached(1, 1)))


def stopped(data: object, kind: EvidenceKind = EvidenceKind.STOP_REASON) -> AgentOutput:
    evidence = Evidence(kind=kind, description="stopped", data=data)
    outcome = AgentOutcome(status=OutcomeStatus.GIVE_UP, evidence=[evidence])
    return AgentOutput(name="reader", error="stopped", outcome=outcome)


@pytest.mark.parametrize(
    "output",
    [
        AgentOutput(name="reader", answer="fine"),
        AgentOutput(name="reader"),
        AgentOutput(name="reader", error="max_agents reached: budget_skipped"),
        AgentOutput(name="reader", error="budget_skipped", outcome=AgentOutcome.give_up("budget_skipped: true")),
        AgentOutput(name="reader", error="agent limit reached", outcome=AgentOutcome.timeout("budget_skipped", 3, 3)),
        stopped(None),
        stopped({}),
        stopped({"budget_skipped": False}),
        stopped("budget_skipped"),
        stopped(["budget_skipped"]),
        stopped({"budget_skipped": True}, EvidenceKind.TOOL_RESULT),
        AgentOutput(name="reader", error=budget_skipped_output("x", AgentLimitReached(1, 1)).error),
    ],
)
def test_no_other_output_passes_for_a_skipped_one(output: AgentOutput) -> None:
    assert not is_budget_skipped(output)


def test_a_skipped_output_costs_the_budget_nothing() -> None:
    budget = CoordinationBudget()

    budget.record_output(budget_skipped_output("reader", AgentLimitReached(1, 1)))

    assert budget.snapshot().total_tokens == 0
    assert budget.snapshot().held == TokenAccounting()
