"""Pipeline: each stage works on the answer of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from .. import prompts
from ..budget import is_budget_skipped
from ..results import CoordinationResult
from ..spawn import Member, Run
from ..types import AgentOutput, BudgetLimits
from .members import members_of
from .pattern import Pattern
from .plan import Plan, plan_of

__all__ = ["Pipeline", "PipelineResult"]


class PipelineResult(CoordinationResult, kw_only=True):
    """``stages``: the outputs of the stages that were asked, in order. ``final_answer``: the last stage's."""

    stages: list[AgentOutput] = []
    final_answer: str = ""


class Pipeline(Pattern[PipelineResult]):
    """``stages`` one after the other; the first gets the task, each later one the answer before it as well.

    A stage that fails or is refused ends the pipeline (``on_failure="stop"``) or is passed over
    (``"continue"``: the next one is given the last good answer). Agents: one per stage. Nothing is in flight
    beside a stage, so that a spend limit can be overshot by one stage at most.
    """

    def __init__(
        self,
        stages: Sequence[Member],
        on_failure: Literal["stop", "continue"] = "stop",
        *,
        name: str | None = None,
        budget: BudgetLimits | None = None,
        quote_limit: int | None = None,
    ) -> None:
        super().__init__(name=name, budget=budget, quote_limit=quote_limit)
        if on_failure not in ("stop", "continue"):
            raise ValueError(f"on_failure must be 'stop' or 'continue', not {on_failure!r}")
        self.stages = members_of(self.kind, stages)
        self.on_failure = on_failure

    async def execute(self, run: Run, task: str) -> PipelineResult:
        outputs: list[AgentOutput] = []
        last_good: AgentOutput | None = None
        for stage in self.stages:
            prompt = task
            if last_good is not None:
                prompt = prompts.next_stage(task, last_good.name, last_good.answer, self.quote_limit)
            output = await run.agent(stage, prompt)
            outputs.append(output)
            if output.succeeded:
                last_good = output
            elif self.on_failure == "stop":
                break

        final = outputs[-1].answer if len(outputs) == len(self.stages) and outputs[-1].succeeded else ""
        denied = run.denied or any(map(is_budget_skipped, outputs))
        return run.result(
            of=PipelineResult,
            task=task,
            answer=final,
            outputs=outputs,
            stop_reason=None if final or denied or last_good is None else "failed",
            stages=outputs,
            final_answer=final,
        )

    def plan(self, task: str = "", **inputs: Any) -> Plan:
        self.over(**inputs)
        return sum(map(plan_of, self.stages), Plan())
