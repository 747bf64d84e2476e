"""Delegator: one agent does the work, and gives parts of it to specialists as it sees fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from .. import prompts
from ..budget import is_budget_skipped
from ..errors import ToolError, UnknownSpecialist
from ..results import CoordinationResult
from ..runtime import Runtime
from ..spawn import Member, Run
from ..types import AgentOutput, AgentSpec, BudgetLimits
from .asking import AskingTool, agent_with_tool, answer_to
from .endings import carrying
from .members import members_of, renamed
from .pattern import Pattern
from .plan import Plan, plan_of

__all__ = ["Delegation", "Delegator", "DelegatorResult"]

TOOL = "delegate"


class Delegation(Struct, frozen=True, kw_only=True):
    """One call of ``delegate``; ``result`` is the specialist's answer, or why there is none."""

    specialist: str
    subtask: str
    result: str = "it was stopped before it ended"
    success: bool = False


class DelegatorResult(CoordinationResult, kw_only=True):
    """``delegations``: in the order in which they were asked for, as ``outputs`` are, main's first."""

    delegations: list[Delegation] = []
    final_answer: str = ""


class Delegator(Pattern[DelegatorResult]):
    """``main`` on the task, with a tool ``delegate(specialist, task)`` beside its own; several calls run at once.

    The tool lists the ``specialists`` with their descriptions: an agent's ``metadata["description"]``, else the
    first line of its system prompt. Each call is a fresh start, called ``<specialist>_<n>``. A name that is not on
    the list, a refusal by the budget, a failure, or more than ``max_delegations`` calls are a ``ToolError`` that main
    can react to, and a delegation with ``success=False``.

    ``main`` is one agent, no pattern, and the entry: the budget is not asked about it, but books it. Its failure ends
    the run with ``AgentFailed``, which carries the delegations. Agents: main, and one per delegation.
    """

    def __init__(
        self,
        main: Member,
        specialists: Mapping[str, Member],
        max_delegations: int | None = None,
        *,
        name: str | None = None,
        budget: BudgetLimits | None = None,
        quote_limit: int | None = None,
    ) -> None:
        super().__init__(name=name, budget=budget, quote_limit=quote_limit)
        if max_delegations is not None and max_delegations < 0:
            raise ValueError(f"max_delegations must be 0 or more, not {max_delegations!r}")
        if not specialists or not all(specialist.strip() for specialist in specialists):
            raise ValueError(f"{self.kind} needs specialists, and each a name, not {list(specialists)!r}")
        self.main = agent_with_tool(self.kind, main, TOOL)
        for member in specialists.values():
            members_of(self.kind, [member])
        if self.main.name in specialists:
            raise ValueError(f"{self.kind}: main and a specialist are both called {self.main.name!r}")
        self.specialists = dict(specialists)
        self.max_delegations = max_delegations

    async def execute(self, run: Run, task: str) -> DelegatorResult:
        desk = _Desk(self, run)
        outputs: list[AgentOutput] = []

        def result(stop_reason: str | None = None) -> DelegatorResult:
            answer = outputs[0].answer if outputs and outputs[0].succeeded else ""
            return run.result(
                of=DelegatorResult,
                task=task,
                answer=answer,
                outputs=[*outputs, *desk.outputs],
                stop_reason=stop_reason,
                delegations=desk.delegations,
                final_answer=answer,
            )

        with carrying(result):
            outputs.append(await run.agent(self.main, task, gated=False, tools=lambda runtime: [desk.tool(runtime)]))
            if not outputs[0].succeeded:
                raise run.error_of(self.main, outputs[0])
        return result()

    def plan(self, task: str = "", **inputs: Any) -> Plan:
        # Which specialist main asks is not known: the largest of each, as if it were one.
        plans = [plan_of(member) for member in self.specialists.values()]
        most = [plan.agents_max for plan in plans if plan.agents_max is not None]
        spend = plans[0].spend
        for plan in plans:
            spend = spend.largest(plan.spend)
        dearest = Plan(
            agents_max=max(most) if len(most) == len(plans) else None,
            spend=spend,
            unestimated=sorted({role for plan in plans for role in plan.unestimated}),
        )
        return plan_of(self.main) + dearest.times(0, self.max_delegations)


class _Arguments(Struct, forbid_unknown_fields=True):
    specialist: str
    task: Annotated[str, Meta(min_length=1)]


class _Desk:
    """Where main's calls arrive, however many at once."""

    def __init__(self, delegator: Delegator, run: Run) -> None:
        self._delegator = delegator
        self._run = run
        self._records: list[Delegation] = []
        self._outputs: dict[int, Sequence[AgentOutput]] = {}
        self._numbers: Counter[str] = Counter()

    @property
    def delegations(self) -> list[Delegation]:
        return list(self._records)

    @property
    def outputs(self) -> list[AgentOutput]:
        return [output for place in sorted(self._outputs) for output in self._outputs[place]]

    def tool(self, runtime: Runtime) -> AskingTool[_Arguments]:
        specialists = self._delegator.specialists
        listed = "\n".join(f"- {name}: {_description(member)}" for name, member in specialists.items())
        properties = {
            "specialist": {"type": "string", "enum": list(specialists)},
            "task": {"type": "string", "description": "all that the specialist needs to know; it sees nothing else"},
        }
        return AskingTool(
            runtime,
            TOOL,
            f"Give a part of your task to a specialist and get its answer. There are:\n{listed}",
            properties,
            _Arguments,
            lambda arguments: self._delegate(runtime, arguments),
        )

    async def _delegate(self, runtime: Runtime, arguments: _Arguments) -> str:
        # Counted before the first await, so that calls at once can't be more than are allowed.
        place = len(self._records)
        self._records.append(Delegation(specialist=arguments.specialist, subtask=arguments.task))
        try:
            output = await self._output(runtime, arguments, place)
            answer = answer_to(TOOL, output, denied=is_budget_skipped(output))
        except ToolError as error:
            self._records[place] = _ended(arguments, error.message, success=False)
            raise
        self._records[place] = _ended(arguments, answer, success=True)
        return prompts.shortened(answer, self._delegator.quote_limit)

    async def _output(self, runtime: Runtime, arguments: _Arguments, place: int) -> AgentOutput:
        specialists, most = self._delegator.specialists, self._delegator.max_delegations
        member = specialists.get(arguments.specialist)
        if member is None:
            raise ToolError(TOOL, str(UnknownSpecialist(arguments.specialist, list(specialists))))
        if most is not None and self._numbers.total() >= most:
            raise ToolError(TOOL, f"all of {most} delegations are used up (max_delegations); do the rest yourself")
        self._numbers[arguments.specialist] += 1
        name = f"{arguments.specialist}_{self._numbers[arguments.specialist]}"
        here = self._run.inside(runtime, role=self._delegator.main.role)
        try:
            output = await here.agent(renamed(member, name), arguments.task)
        except BaseException:
            self._outputs[place] = here.record.agents  # a team was stopped: who had ended in it is paid for
            raise
        self._outputs[place] = [output]
        return output


def _ended(arguments: _Arguments, result: str, *, success: bool) -> Delegation:
    return Delegation(specialist=arguments.specialist, subtask=arguments.task, result=result, success=success)


def _description(member: Member) -> str:
    if not isinstance(member, AgentSpec):
        return f"a team, {member.name}"
    described = member.metadata.get("description")
    text = described if isinstance(described, str) else next(iter(member.system_prompt.strip().splitlines()), "")
    return prompts.shortened(" ".join(text.split()), 200) or member.name
