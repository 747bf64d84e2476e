"""A place in the tree of patterns: the two verbs, nesting, and the folding of outputs into a result."""

from __future__ import annotations

from collections.abc import AsyncIterable, Coroutine, Iterable, Sequence
from typing import Any, Protocol, Self, TypeVar

from msgspec.structs import replace

from ..bounded import bounded_map
from ..budget import CoordinationBudget, budget_skipped_output, is_budget_skipped
from ..errors import AgentFailed, BudgetError, JournalError, worded
from ..infra import SharedInfra
from ..isolation import Isolation
from ..results import CoordinationResult, checked_result, stop_reason_of, usage_of
from ..runtime import Runtime
from ..types import AgentOutcome, AgentOutput, AgentSpec, BudgetLimits
from .door import ToolsOfOneStart
from .record import Record
from .shared import Shared

__all__ = ["Member", "Run", "Team"]


class Team(Protocol):
    """A pattern, as the door sees it: a member that is itself a coordination."""

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def is_unnamed(self) -> bool: ...
    @property
    def budget(self) -> BudgetLimits | None: ...
    def named(self, name: str) -> Self: ...
    def plan(self, task: str = "", **inputs: Any) -> Any: ...
    async def execute(self, run: Run, task: str) -> CoordinationResult: ...


Member = AgentSpec | Team
R = TypeVar("R", bound=CoordinationResult)


class Run:
    """A place in the tree of patterns from which agents are started. Patterns get one, and pass it on.

    ``run.agent`` starts one member, ``run.fan_out`` many; ``run.result`` folds outputs into a result.
    """

    def __init__(
        self,
        shared: Shared,
        purse: CoordinationBudget,
        path: str,
        roles: str,
        *,
        depth: int = 1,
        parent: str | None = None,
        ancestors: tuple[int, ...] = (),
        record: Record | None = None,
        settled: bool = False,
    ) -> None:
        self.shared = shared
        self.purse = purse
        self.path = path
        self.roles = roles  # the path in roles, without indexes: what a journal recognises
        self.depth = depth
        self.parent = parent  # the path of the agent inside which this place works
        self.ancestors = ancestors  # the numbers of the leases inside which it works
        self.record = record or Record()
        self.settled = settled  # inside an agent that is remembered, nobody starts: what was is told again
        self._began = shared.clock.monotonic()

    @property
    def run_id(self) -> str:
        return self.shared.run_id

    @property
    def infra(self) -> SharedInfra:
        return self.shared.infra

    @property
    def finished(self) -> Sequence[AgentOutput]:
        """The outputs of every member that has ended in this scope, in order of their ending."""
        return self.record.members

    # The two verbs

    def agent(
        self,
        member: Member,
        task: str,
        *,
        tools: ToolsOfOneStart = (),
        gated: bool = True,
        isolation: Isolation | None = None,
    ) -> Coroutine[Any, Any, AgentOutput]:
        """Start ``member``, a spec or a pattern, on ``task``; awaited, it returns what came of it.

        Waits while only the holds of agents in flight keep it out. Never raises for what is the member's own
        failure; lets a cancellation through. For a spec: ``tools`` (or what ``tools(runtime)`` returns) are tools
        of this start alone; one that is not ``gated`` is not asked about, takes no slot, and is booked;
        ``isolation`` gives it surroundings of its own.
        """
        if isinstance(member, AgentSpec):
            # Not a coroutine around the door's: that would be one more for every agent.
            return self.shared.start(self, member, task, tools, gated, isolation).output()
        if isolation is not None:
            raise ValueError(f"{member.name!r} is a pattern, and only agents can be isolated")
        return self._team(member, task)

    async def fan_out(
        self,
        jobs: Iterable[tuple[Member, str]] | AsyncIterable[tuple[Member, str]],
        max_concurrent: int | None,
        *,
        stop_on_denial: bool = False,
        isolation: Isolation | None = None,
    ) -> list[AgentOutput]:
        """Start many ``(member, task)``, at most ``max_concurrent`` at a time; outputs in input order.

        The budget is asked when a slot opens, not before. ``jobs`` may be any iterable, async or endless;
        ``stop_on_denial`` takes no further job after a denial. ``None`` opens a slot for each job.

        :raises ValueError: when ``max_concurrent`` is below 1. What the source of the jobs raises is raised
            after those in flight have ended.
        """
        if isinstance(jobs, list | tuple):
            # Whoever is known from the start can be written to from the start.
            for member, _ in jobs:
                if isinstance(member, AgentSpec):
                    self.shared.mailbox.admit(member.name)

        def start(job: tuple[Member, str]) -> Coroutine[Any, Any, AgentOutput]:
            return self.agent(job[0], job[1], isolation=isolation)

        return await bounded_map(jobs, max_concurrent, start, is_budget_skipped if stop_on_denial else None)

    # Nesting

    def scope(self, name: str, *, role: str | None = None, budget: BudgetLimits | None = None) -> Run:
        """A place one level down, for a pattern inside this one; with ``budget``, in a child purse."""
        purse = self.purse if budget is None else self.purse.child(budget)
        return self._at(purse, f"{self.path}/{name}", f"{self.roles}/{role or name}", Record(self.record))

    def keeping_back(self, finalizer: Member, *, when: bool | None) -> Run:
        """This place, in a purse that leaves one start and the finalizer's estimate to ``self``.

        ``when`` is the pattern's ``reserve_for_finalizer``; ``None`` means if the finalizer has an estimate.
        """
        estimate = finalizer.estimate if isinstance(finalizer, AgentSpec) else None
        if not (estimate is not None if when is None else when):
            return self
        return self._at(self.purse.keeping_back(estimate), self.path, self.roles, self.record)

    def inside(self, runtime: Runtime, *, role: str | None = None) -> Run:
        """The place from which the agent of ``runtime`` asks for others: one deeper, under its path, and in its
        own purse, if it has one. ``role`` is the agent's, where its name is another."""
        whose, lease = runtime.whose, runtime.lease
        purse = self.purse if lease is None else lease.purse
        here = self._at(purse, whose.path, f"{self.roles}/{role or whose.agent}", Record(self.record))
        here.record.nested = self.record.nested  # it is this pattern that has the results
        here.depth, here.parent = self.depth + 1, whose.path
        here.settled = self.settled or runtime.recalled
        if lease is not None:
            here.ancestors = (*self.ancestors, lease.number)
        return here

    def _at(self, purse: CoordinationBudget, path: str, roles: str, record: Record) -> Run:
        return Run(
            self.shared,
            purse,
            path,
            roles,
            depth=self.depth,
            parent=self.parent,
            ancestors=self.ancestors,
            record=record,
            settled=self.settled,
        )

    async def _team(self, member: Team, task: str) -> AgentOutput:
        """A member that is a pattern: its own end, whatever it is, touches nobody else here."""
        scope = self.scope(member.name, role=member.role, budget=member.budget)
        try:
            result = checked_result(member.name, await member.execute(scope, task))
        except JournalError:
            raise
        except Exception as error:
            partial = getattr(error, "partial", None)
            result = partial if isinstance(partial, CoordinationResult) else scope.partial()
            output = scope._failed_team(member.name, error)
            if isinstance(error, BudgetError):
                self.record.deny(f"{self.roles}/{member.role}", error)
        else:
            output = _output_of(member.name, result)
        self.record.nested.setdefault(member.name, []).append(result)
        self.record.members.append(output)
        return output

    def _failed_team(self, name: str, error: Exception) -> AgentOutput:
        text = worded(error)
        if isinstance(error, BudgetError):
            output = budget_skipped_output(name, error)
        else:
            output = AgentOutput(name=name, error=text, outcome=AgentOutcome.failure(text))
        return replace(output, tokens=usage_of(self.record.agents), duration_ms=self._elapsed_ms())

    # Results

    def result(
        self,
        *,
        task: str,
        answer: str,
        outputs: Sequence[AgentOutput],
        of: type[R] = CoordinationResult,
        stop_reason: str | None = None,
        **fields: Any,
    ) -> R:
        """A result ``of`` this type: what every result has is filled in from ``outputs`` and the budget."""
        nested = self.record.nested
        bad = [output for output in outputs if output.error is not None or not output.answer]
        skipped = [output.name for output in bad if is_budget_skipped(output)]
        self.record.result = result = of(
            task=task,
            run_id=self.run_id,
            answer=answer,
            outputs=list(outputs),
            usage=usage_of(outputs),
            budget=self.purse.snapshot(),
            duration_ms=self._elapsed_ms(),
            stop_reason=stop_reason or stop_reason_of(outputs, denied=self.denied),
            all_succeeded=bool(outputs) and not bad,
            failed=[output.name for output in bad if not is_budget_skipped(output)],
            skipped=skipped,
            nested={output.name: nested[output.name] for output in outputs if output.name in nested},
            **fields,
        )
        return result

    def bound(self) -> str:
        """How far the spend limits can be overshot at this moment, as a sentence."""
        limits = self.purse.remaining()
        shared = self.shared
        if not self.purse.has_spend_limit:
            return "no spend limit is set: nothing bounds what this run may spend"
        largest = max((most.total_tokens for most in shared.largest.values()), default=0)
        return (
            f"at most the limits ({self.purse.limits!r}, left: {limits!r}) plus what each of "
            f"{self.purse.in_flight} agents in flight spends beyond its hold"
            + (f"; the largest start so far spent {largest:,} tokens" if largest else "")
        )

    def partial(self, stop_reason: str = "failed") -> CoordinationResult:
        """What has ended in this place so far, as a result without an answer. What cancelled agents spent is in
        the budget and in their events: they have no output."""
        result = self.result(task=self.shared.task, answer="", outputs=self.record.agents, stop_reason=stop_reason)
        result.all_succeeded = False  # it broke off
        return result

    def error_of(self, member: Member, output: AgentOutput) -> BudgetError | AgentFailed:
        """Why a run can't go on whose ``member`` came to this ``output``: the very refusal that kept it out, or
        its failure."""
        denial = self.record.denials.get(f"{self.roles}/{member.role or member.name}")
        if denial is not None and is_budget_skipped(output):
            return denial
        return AgentFailed(output.name, output.error or "it gave an empty answer")

    @property
    def denied(self) -> bool:
        """Whether the budget refused anything, here or below."""
        return self.record.denied

    def _elapsed_ms(self) -> float:
        return (self.shared.clock.monotonic() - self._began) * 1e3


def _output_of(name: str, result: CoordinationResult) -> AgentOutput:
    """A nested result as the output of one member."""
    error = None if result.answer else f"{name} gave no answer: {result.stop_reason}"
    tokens = result.usage
    return AgentOutput(
        name=name,
        answer=result.answer,
        error=error,
        turns=sum(output.turns for output in result.outputs),
        tool_calls=sum(output.tool_calls for output in result.outputs),
        duration_ms=result.duration_ms,
        tokens=tokens,
        outcome=None if error is None else AgentOutcome.failure(error),
    )
