"""What stands in for an agent that the budget kept out."""

from __future__ import annotations

from ..errors import BudgetError
from ..types import AgentOutcome, AgentOutput, Evidence, EvidenceKind, OutcomeStatus

__all__ = ["budget_skipped_output", "is_budget_skipped"]

_SKIPPED = {"budget_skipped": True}


def budget_skipped_output(name: str, error: BudgetError | str) -> AgentOutput:
    """The output of an agent that never started: no answer, the denial's text as its error."""
    text = str(error)
    stop = Evidence(kind=EvidenceKind.STOP_REASON, description=text, data=dict(_SKIPPED))
    outcome = AgentOutcome(status=OutcomeStatus.GIVE_UP, summary=text, evidence=[stop])
    return AgentOutput(name=name, error=text, outcome=outcome)


def is_budget_skipped(output: AgentOutput) -> bool:
    """True for such an output. Looks at the evidence, never at the text, which an agent could write itself."""
    if output.outcome is None:
        return False
    return any(each.kind == EvidenceKind.STOP_REASON and each.data == _SKIPPED for each in output.outcome.evidence)
