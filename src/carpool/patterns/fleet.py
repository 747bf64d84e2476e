"""Fleet: independent agents, each on a mission of its own, in one state, one log and one mail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
from msgspec.structs import replace

from .. import prompts
from ..results import CoordinationResult
from ..spawn import Member, Run
from ..types import AgentSpec, BudgetLimits
from .members import members_of
from .pattern import Pattern
from .plan import Plan, plan_of

__all__ = ["Fleet", "FleetResult"]


class FleetResult(CoordinationResult, kw_only=True):
    """``answer``: the good answers under their agents' names. ``failed_count`` counts those that the budget kept
    out too."""

    succeeded_count: int = 0
    failed_count: int = 0


class Fleet(Pattern[FleetResult]):
    """Each of ``agents``, pairs of a member and its mission, for itself, at most ``max_concurrent`` at a time.

    They share state, log and mailbox, and may write to each other. A failure or a timeout touches nobody else. An
    agent is stopped ``agent_timeout_s`` seconds after its start (each start, if it has retries), or after its own
    ``timeout_s`` if that is less; a pattern, after it was asked, with what its agents had ended kept in ``nested``.

    ``run()`` needs no task; one that is given, by a pattern around this one for instance, is shown below each
    mission. Agents: one per mission.
    """

    def __init__(
        self,
        agents: Sequence[tuple[Member, str]],
        agent_timeout_s: float | None = None,
        max_concurrent: int | None = None,
        *,
        name: str | None = None,
        budget: BudgetLimits | None = None,
        quote_limit: int | None = None,
    ) -> None:
        super().__init__(name=name, budget=budget, quote_limit=quote_limit)
        if agent_timeout_s is not None and not 0 < agent_timeout_s < float("inf"):
            raise ValueError(f"agent_timeout_s must be above 0 seconds, not {agent_timeout_s!r}")
        if max_concurrent is not None and max_concurrent < 1:
            raise ValueError(f"max_concurrent must be 1 or more, not {max_concurrent!r}")
        members = members_of(self.kind, [member for member, _ in agents])
        self.agents = [(member, mission) for member, (_, mission) in zip(members, agents, strict=True)]
        self.agent_timeout_s = agent_timeout_s
        self.max_concurrent = max_concurrent

    async def execute(self, run: Run, task: str) -> FleetResult:
        jobs = [(self._timed(member), prompts.mission(mission, task)) for member, mission in self.agents]
        outputs = await run.fan_out(jobs, self.max_concurrent)
        good = [output for output in outputs if output.succeeded]
        return run.result(
            of=FleetResult,
            task=task,
            answer="\n\n".join(f"{output.name}:\n{output.answer}" for output in good),
            outputs=outputs,
            succeeded_count=len(good),
            failed_count=len(outputs) - len(good),
        )

    def _timed(self, member: Member) -> Member:
        seconds = self.agent_timeout_s
        if seconds is None:
            return member
        if isinstance(member, AgentSpec):
            return replace(member, timeout_s=min(seconds, member.timeout_s or seconds))
        return _Timed(member, seconds)

    def plan(self, task: str = "", **inputs: Any) -> Plan:
        return sum((plan_of(member) for member, _ in self.agents), Plan())


class _Timed(Pattern[CoordinationResult]):
    """A pattern that is stopped after some seconds."""

    def __init__(self, member: Any, seconds: float) -> None:
        super().__init__(name=member.name, budget=member.budget)
        self._role = member.role
        self._member = member
        self._seconds = seconds

    async def execute(self, run: Run, task: str) -> CoordinationResult:
        with anyio.move_on_after(self._seconds):
            return await self._member.execute(run, task)
        raise TimeoutError(f"timed out after {self._seconds:g} s (agent_timeout_s)")
