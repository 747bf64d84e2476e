"""AdversarialReview: a reviewer looks for what is wrong with a work, criterion by criterion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from .. import prompts
from ..results import CoordinationResult
from ..spawn import Member, Run
from ..types import AgentOutput, BudgetLimits
from .answers import normalise
from .endings import carrying
from .members import members_of
from .pattern import Pattern
from .plan import Plan, plan_of
from .verdicts import Findings, Reading, Reported, Severity, ask

__all__ = ["AdversarialReview", "AdversarialReviewResult", "Finding"]

NO_FINDING = "The reviewer gave no finding."


class Finding(Struct, frozen=True, kw_only=True):
    """What is said of one criterion, or of something else that is wrong."""

    criterion: str
    passed: bool
    evidence: str
    severity: Severity


class AdversarialReviewResult(CoordinationResult, kw_only=True):
    """``findings``: those on the criteria, in the order of the criteria, then further ones. ``inconclusive``: no
    reply could be read, so that nothing is known of the work. ``answer`` is the report as text."""

    passed: bool = False
    inconclusive: bool = False
    findings: list[Finding] = []
    blocker_count: int = 0


class AdversarialReview(Pattern[AdversarialReviewResult]):
    """The ``reviewer`` judges the task, which is the work, by ``criteria``, and sees nothing else.

    A work passes when each criterion has a finding, with evidence, and all of them passed. What else the reviewer
    finds wrong is reported, and with ``fail_on_blockers`` a blocker among it fails the work too. A reply that can't
    be read is asked for once more, then the review is inconclusive, and the work has not passed.

    The reviewer is load-bearing: the budget's refusal of it ends the run with that ``BudgetError``, its failure
    with ``AgentFailed``. Agents: the reviewer, once or twice.
    """

    def __init__(
        self,
        reviewer: Member,
        criteria: Sequence[str],
        fail_on_blockers: bool = True,
        *,
        name: str | None = None,
        budget: BudgetLimits | None = None,
        quote_limit: int | None = None,
    ) -> None:
        super().__init__(name=name, budget=budget, quote_limit=quote_limit)
        if isinstance(criteria, str):
            raise TypeError("criteria is one string; pass a list of them")
        if not criteria or not all(map(normalise, criteria)):
            raise ValueError(f"a review needs criteria, and each must say something: {list(criteria)!r}")
        if len({normalise(criterion) for criterion in criteria}) < len(criteria):
            raise ValueError(f"two criteria are the same: {list(criteria)!r}")
        (self.reviewer,) = members_of(self.kind, [reviewer])
        self.criteria = list(criteria)
        self.fail_on_blockers = fail_on_blockers

    async def execute(self, run: Run, task: str) -> AdversarialReviewResult:
        outputs: list[AgentOutput] = []

        def partial(stop_reason: str | None) -> AdversarialReviewResult:
            return run.result(
                of=AdversarialReviewResult, task=task, answer="", outputs=outputs, stop_reason=stop_reason
            )

        with carrying(partial):
            prompt = prompts.review(self.criteria, task, self.quote_limit)
            (reading,) = await ask(run, [(self.reviewer, prompt)], Findings, outputs)
            if reading.error is not None:
                raise reading.error
        return self._result(run, task, outputs, reading)

    def _result(
        self, run: Run, task: str, outputs: list[AgentOutput], reading: Reading[Findings]
    ) -> AdversarialReviewResult:
        if reading.verdict is None:
            return run.result(
                of=AdversarialReviewResult,
                task=task,
                answer=f"inconclusive: the review could not be read: {reading.unreadable}",
                outputs=outputs,
                stop_reason="failed",
                inconclusive=True,
            )
        asked, further = self._sorted(reading.verdict.findings)
        blockers = sum(not finding.passed and finding.severity == "blocker" for finding in [*asked, *further])
        passed = all(finding.passed for finding in asked) and not (blockers and self.fail_on_blockers)
        return run.result(
            of=AdversarialReviewResult,
            task=task,
            answer=_report(passed, [*asked, *further]),
            outputs=outputs,
            passed=passed,
            findings=[*asked, *further],
            blocker_count=blockers,
        )

    def _sorted(self, reported: Sequence[Reported]) -> tuple[list[Finding], list[Finding]]:
        """The findings on the criteria, at least one for each and in their order, and the further ones."""
        asked: list[Finding] = []
        own = {normalise(criterion): criterion for criterion in self.criteria}
        for key, criterion in own.items():
            about = [_finding(each, criterion) for each in reported if normalise(each.criterion) == key]
            asked += about or [Finding(criterion=criterion, passed=False, evidence=NO_FINDING, severity="major")]
        further = [_finding(each, each.criterion) for each in reported if normalise(each.criterion) not in own]
        return asked, further

    def plan(self, task: str = "", **inputs: Any) -> Plan:
        return plan_of(self.reviewer).times(1, 2)


def _finding(reported: Reported, criterion: str) -> Finding:
    """What was reported; passed only with evidence."""
    return Finding(
        criterion=criterion,
        passed=reported.passed and bool(reported.evidence.strip()),
        evidence=reported.evidence,
        severity=reported.severity,
    )


def _report(passed: bool, findings: Sequence[Finding]) -> str:
    lines = [
        f"- {'passed' if each.passed else f'not passed ({each.severity})'}: {each.criterion}: {each.evidence}"
        for each in findings
    ]
    return "\n".join(["passed" if passed else "not passed", *lines])
