"""Advisor: whoever does the work may ask for advice, a bounded number of times."""

from __future__ import annotations

from copy import copy
from typing import Annotated, Any, Self

from msgspec import Meta, Struct

from .. import prompts
from ..budget import is_budget_skipped
from ..errors import AdvisorExhausted, AgentFailed, BudgetError, ToolError
from ..infra import SharedInfra
from ..results import CoordinationResult
from ..runner import RunnerLike
from ..runtime import Runtime
from ..spawn import Member, Run, open_run
from ..types import AgentOutput, AgentSpec, BudgetLimits
from .asking import AskingTool, agent_with_tool
from .endings import carrying
from .members import members_of, renamed
from .pattern import Pattern
from .plan import Plan, plan_of
from .verdicts import Advice, AdvisorVerdict, ask

__all__ = ["Advisor", "AdvisorResult"]

TOOL = "consult_advisor"


class AdvisorResult(CoordinationResult, kw_only=True):
    """``verdict`` and ``guidance`` of the latest consultation; ``None`` and empty if there was none. ``used``
    consultations were made of at most ``max_uses``. ``answer``: the executor's, or without one the guidance."""

    verdict: AdvisorVerdict | None = None
    guidance: str = ""
    used: int = 0
    max_uses: int = 0


class Advisor(Pattern[AdvisorResult]):
    """An ``advisor`` who is asked at most ``max_uses`` times, and says ``continue``, ``plan``, ``correction``,
    ``stop`` or ``uncertain``, with guidance. The advisor has no tools. A reply that can't be read is asked for once
    more, then it is ``uncertain``, with the reply as guidance.

    By itself, ``consult`` asks one question; uses are counted on this object. As a pattern, the ``executor`` works
    on the task with a tool ``consult_advisor(question)`` beside its own; uses are counted for each run anew, and a
    refusal or failure of the advisor is a ``ToolError`` that the executor can react to. Without an executor, the
    task is the question.

    Only consultations that were made count: one that the budget refused does not. Executor and, where it is asked
    directly, advisor are load-bearing: the budget's refusal ends the run with that ``BudgetError``, a failure with
    ``AgentFailed``. Agents: the executor, and the advisor once or twice per consultation.
    """

    def __init__(
        self,
        advisor: Member,
        max_uses: int,
        executor: Member | None = None,
        *,
        name: str | None = None,
        budget: BudgetLimits | None = None,
        quote_limit: int | None = None,
    ) -> None:
        super().__init__(name=name, budget=budget, quote_limit=quote_limit)
        if max_uses < 1:
            raise ValueError(f"max_uses must be 1 or more, not {max_uses!r}")
        self.executor = None if executor is None else agent_with_tool(self.kind, executor, TOOL)
        self.advisor = members_of(self.kind, [advisor, *([] if self.executor is None else [self.executor])])[0]
        if isinstance(self.advisor, AgentSpec) and self.advisor.tools:
            raise ValueError(f"{self.kind}: {self.advisor.name!r} names tools; an advisor has none, it is asked")
        self.max_uses = max_uses
        self._uses = _Uses(max_uses)

    def named(self, name: str) -> Self:
        other = super().named(name)
        other._uses = copy(self._uses)
        return other

    @property
    def used(self) -> int:
        """Consultations that were made by ``consult``."""
        return self._uses.used

    async def consult(
        self,
        question: str,
        *,
        runner: RunnerLike,
        infra: SharedInfra | None = None,
        run_id: str | None = None,
    ) -> AdvisorResult:
        """Ask one question, in a run of its own.

        :raises AdvisorExhausted: when ``max_uses`` consultations were made, or are under way; nothing changes.
        :raises BudgetError: when the budget refuses; that consultation does not count.
        :raises AgentFailed: when the advisor fails.
        """
        self._uses.refuse_if_none_is_left()
        async with open_run(runner=runner, infra=infra, run_id=run_id, name=self.name, budget=self.budget) as run:
            return await self._asked_directly(run, question, self._uses)

    async def execute(self, run: Run, task: str) -> AdvisorResult:
        if self.executor is None:
            return await self._asked_directly(run, task, _Uses(self.max_uses))
        desk = _Desk(self, run)
        outputs: list[AgentOutput] = []

        def result(stop_reason: str | None = None) -> AdvisorResult:
            answer = outputs[0].answer if outputs and outputs[0].succeeded else ""
            everyone = [*outputs, *desk.outputs]
            return self._result(run, task, answer, everyone, desk.latest, desk.uses, stop_reason)

        with carrying(result):
            outputs.append(await run.agent(self.executor, task, tools=lambda runtime: [desk.tool(runtime)]))
            if not outputs[0].succeeded:
                raise run.error_of(self.executor, outputs[0])
        return result()

    async def _asked_directly(self, run: Run, question: str, uses: _Uses) -> AdvisorResult:
        outputs: list[AgentOutput] = []

        def result(stop_reason: str | None = None, advice: Advice | None = None) -> AdvisorResult:
            answer = advice.guidance if advice is not None else ""
            return self._result(run, question, answer, outputs, advice, uses, stop_reason)

        with carrying(result):
            prompt = prompts.consultation(question, self.quote_limit)
            advice = await _advice(run, self.advisor, prompt, uses, outputs)
        return result(None, advice)

    def _result(
        self,
        run: Run,
        task: str,
        answer: str,
        outputs: list[AgentOutput],
        advice: Advice | None,
        uses: _Uses,
        stop_reason: str | None,
    ) -> AdvisorResult:
        return run.result(
            of=AdvisorResult,
            task=task,
            answer=answer,
            outputs=outputs,
            stop_reason=stop_reason,
            verdict=advice.verdict if advice is not None else None,
            guidance=advice.guidance if advice is not None else "",
            used=uses.used,
            max_uses=self.max_uses,
        )

    def plan(self, task: str = "", **inputs: Any) -> Plan:
        if self.executor is None:
            return plan_of(self.advisor).times(1, 2)
        return plan_of(self.executor) + plan_of(self.advisor).times(0, 2 * self.max_uses)


class _Uses:
    """How often the advisor was asked."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0

    def refuse_if_none_is_left(self) -> None:
        if self.used >= self.most:
            raise AdvisorExhausted(self.used, self.most)


class _Arguments(Struct, forbid_unknown_fields=True):
    question: Annotated[str, Meta(min_length=1)]


class _Desk:
    """Where the executor's questions arrive, however many at once."""

    def __init__(self, pattern: Advisor, run: Run) -> None:
        self._pattern = pattern
        self._run = run
        self.uses = _Uses(pattern.max_uses)
        self._outputs: list[list[AgentOutput]] = []  # of each question
        self._advice: dict[int, Advice] = {}

    @property
    def outputs(self) -> list[AgentOutput]:
        return [output for outputs in self._outputs for output in outputs]

    @property
    def latest(self) -> Advice | None:
        """The advice on the latest question that got any."""
        return self._advice[max(self._advice)] if self._advice else None

    def tool(self, runtime: Runtime) -> AskingTool[_Arguments]:
        description = (
            f"Ask an experienced advisor what to do, at most {self._pattern.max_uses} times. "
            "The advisor sees your question alone, and says: continue, plan, correction, stop or uncertain."
        )
        properties = {"question": {"type": "string", "description": "with all that the advisor needs to know"}}
        return AskingTool(
            runtime,
            TOOL,
            description,
            properties,
            _Arguments,
            lambda arguments: self._consult(runtime, arguments.question),
        )

    async def _consult(self, runtime: Runtime, question: str) -> dict[str, Any]:
        pattern, place = self._pattern, len(self._outputs)
        self._outputs.append([])
        executor = pattern.executor
        here = self._run.inside(runtime, role=executor.role if executor is not None else None)
        advisor = renamed(pattern.advisor, f"{pattern.advisor.name}_{place + 1}")
        try:
            prompt = prompts.consultation(question, pattern.quote_limit)
            advice = await _advice(here, advisor, prompt, self.uses, self._outputs[place])
        except AdvisorExhausted as error:
            raise ToolError(TOOL, str(error)) from None
        except AgentFailed as error:
            raise ToolError(TOOL, f"{error.name} failed, go on without it: {error.message}") from None
        except BudgetError as error:
            raise ToolError(TOOL, f"the advisor was not asked, go on without it: {error}") from None
        except BaseException:
            self._outputs[place] = here.record.agents  # it was stopped: who had ended by then is paid for
            raise
        self._advice[place] = advice
        guidance = prompts.shortened(advice.guidance, pattern.quote_limit)
        return {"verdict": advice.verdict, "guidance": guidance, "used": self.uses.used, "max_uses": self.uses.most}


async def _advice(run: Run, advisor: Member, prompt: str, uses: _Uses, outputs: list[AgentOutput]) -> Advice:
    """:raises AdvisorExhausted, BudgetError, AgentFailed: when there is none; what was not made does not count."""
    uses.refuse_if_none_is_left()
    uses.used += 1  # before the first await: consultations at once can't be more than are allowed
    began = len(run.infra.log)
    try:
        (reading,) = await ask(run, [(advisor, prompt)], Advice, outputs)
    except BaseException:
        if not _was_started(run, advisor, began):
            uses.used -= 1
        raise
    if all(map(is_budget_skipped, outputs)):
        uses.used -= 1
    if reading.error is not None:
        raise reading.error
    return reading.verdict or Advice(verdict="uncertain", guidance=reading.reply)


def _was_started(run: Run, advisor: Member, since: int) -> bool:
    """Whether the advisor, or anybody in it, was started before all this was cancelled."""
    path = f"{run.path}/{advisor.name}"
    started = run.infra.log.events(kind="agent_started", since=since)
    paths = [getattr(event, "path", "") for event in started if event.run == run.run_id]
    return any(each == path or each.startswith(f"{path}/") for each in paths)
