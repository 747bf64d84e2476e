"""What resuming a run would use again, and what it could still cost, told before anything is spent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct, field

from ..budget import CoordinationBudget
from ..clock import new_id
from ..errors import JournalError
from ..events import RunFinished
from ..infra import SharedInfra
from ..recall import Attempt, Call, Ending, Holdings, Opening, Past, Recall, Recalled
from ..spawn import Run, open_run
from ..state import StateStore
from ..types import AgentOutput, BudgetLimits, TokenAccounting
from .plan import Plan, plan_of

__all__ = ["ResumePreview", "preview"]


class ResumePreview(Struct, frozen=True, kw_only=True):
    """What the journal holds of the run, and what is left of the pattern as it now is.

    - ``completed``, ``lost``, ``failed``, ``cancelled``: calls on record; ``spent``: what all of them cost
    - ``reused``: how many of the completed this pattern would use again, as far as that can be told beforehand
    - ``agents_max``, ``spend``, ``unestimated``: starts still to be made at most, their worst case, as in a ``Plan``
    """

    run_id: str
    completed: int = 0
    lost: int = 0
    failed: int = 0
    cancelled: int = 0
    spent: TokenAccounting = field(default_factory=TokenAccounting)
    reused: int = 0
    agents_max: int | None = None
    spend: TokenAccounting = field(default_factory=TokenAccounting)
    unestimated: list[str] = []


async def preview(
    run_id: str, infra: SharedInfra, name: str, task: str, plan: Plan, execute: Callable[[Run], Awaitable[Any]]
) -> ResumePreview:
    """Go through ``execute`` with a memory that is not written to, and see who is remembered.

    For an agent that would have to run an answer is imagined that no agent has ever given: who is shown it is not
    remembered either. Where a plan knows no bound, there may be no end: then the first such agent is refused.
    """
    if infra.journal is None:
        raise ValueError("there is nothing to resume from: this SharedInfra has no journal")
    holdings = await infra.journal.holdings(run_id)
    look = _Look(holdings, imagines=plan.agents_max is not None)
    # Apart from the team's own state and budget: looking changes nothing.
    there = SharedInfra(
        state=StateStore(infra.state.snapshot()),
        policies=infra.policies,
        budget=CoordinationBudget(BudgetLimits(max_agents=0)),
        journal=look,
        tools=infra.tools.values(),
    )
    whole = False
    try:
        async with open_run(runner=_nobody, infra=there, run_id=run_id, name=name, task=task) as run:
            await execute(run)
            whole = not look.missed
    except Exception:
        whole = False  # it can't go on without somebody who would have to run
    left = Plan(agents_max=0) if whole else _less(plan, look.reused_plan)
    return ResumePreview(
        run_id=run_id,
        completed=holdings.completed,
        lost=holdings.lost,
        failed=holdings.failed,
        cancelled=holdings.cancelled,
        spent=holdings.spent,
        reused=look.reused,
        agents_max=left.agents_max,
        spend=left.spend,
        unestimated=left.unestimated,
    )


class _Look:
    """A source of one memory, that counts what is found in it."""

    past: tuple[Past, ...] = ()

    def __init__(self, holdings: Holdings, *, imagines: bool) -> None:
        self._holdings = holdings
        self._imagines = imagines
        self.reused = 0
        self.reused_plan = Plan()
        self.missed = False

    async def open_run(self, opening: Opening) -> Recall:
        return self

    async def holdings(self, run_id: str) -> Holdings:
        return self._holdings

    async def recall(self, call: Call, *, settled: bool = False) -> Recalled:
        known = await self._holdings.memory.recall(call, settled=settled)
        if known.output is not None:
            self.reused += known.output.error is None
            self.reused_plan += plan_of(call.spec)
        elif not settled and known.refusal is None:
            self.missed = True
            if self._imagines:
                return Recalled(output=AgentOutput(name=call.spec.name, answer=f"imagined {new_id(32)}"))
        return known

    async def started(self, call: Call, known: Recalled, attempt: Attempt) -> None:
        raise JournalError(f"{call.path} would start, and this is only a look")

    async def ended(self, call: Call, known: Recalled, ending: Ending) -> None:
        raise JournalError(f"{call.path} ended, and this is only a look")

    def was_approved(self, request: str) -> bool:
        return False

    async def approved(self, request: str) -> None:
        pass

    async def aclose(self, finished: RunFinished) -> None:
        pass


async def _nobody(*_: Any) -> str:
    raise JournalError("nobody runs while a resumption is looked at")


def _less(plan: Plan, reused: Plan) -> Plan:
    """What is left of ``plan`` without ``reused``, in no dimension less than nothing."""
    most = plan.agents_max
    return Plan(
        agents_max=None if most is None else max(0, most - (reused.agents_max or 0)),
        spend=TokenAccounting(
            input_tokens=max(0, plan.spend.input_tokens - reused.spend.input_tokens),
            output_tokens=max(0, plan.spend.output_tokens - reused.spend.output_tokens),
            cost_usd=max(0.0, plan.spend.cost_usd - reused.spend.cost_usd),
            priced=plan.spend.priced,
        ),
        unestimated=plan.unestimated,
    )
