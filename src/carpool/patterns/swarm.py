"""Swarm: several agents on one task, side by side, one after the other, or in debate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from .. import prompts
from ..budget import is_budget_skipped
from ..isolation import Apart
from ..results import CoordinationResult
from ..spawn import Member, Run
from ..types import AgentOutput, AgentSpec, BudgetLimits
from .answers import normalise
from .members import members_of
from .pattern import Pattern
from .plan import Plan, plan_of

if TYPE_CHECKING:
    from ..workspace import Workspaces

__all__ = ["Swarm", "SwarmResult"]

Mode = Literal["parallel", "sequential", "debate"]


class SwarmResult(CoordinationResult, kw_only=True):
    """``rounds``: the outputs of each round, in agent order. ``final_summary``: the synthesizer's answer, or
    all answers under their agents' names."""

    rounds: list[list[AgentOutput]] = []
    final_summary: str = ""


class Swarm(Pattern[SwarmResult]):
    """All of ``agents`` on the same task.

    - ``parallel``: all together, on the task as it is
    - ``sequential``: one at a time, each shown the answers before it; a failed one is left out of what is shown
    - ``debate``: round 1 as in parallel; in each later one of ``rounds`` every agent is shown the latest answers
      of all and answers again; over early when all agree

    A ``synthesizer`` makes one answer of the latest ones; denied or failed, it is replaced by the answers under
    their agents' names. Agents: one per agent and round, and the synthesizer.

    With ``isolated``, for ``parallel`` alone, each agent works on an overlay of the state: what those that succeeded
    have written is merged in agent order, once all have ended. A key that an earlier one has changed too makes it that
    agent's error, and nothing of its is merged. A run that is cancelled merges nothing.

    With ``workspaces``, in every mode, each start has a folder of its own: a debate's next round and a retry begin in
    a fresh one. Where there is none to be had, that agent fails and the others go on. A worktree's changes are in the
    output's evidence. The synthesizer, who works on answers alone, has neither overlay nor folder.
    """

    def __init__(
        self,
        agents: Sequence[Member],
        mode: Mode = "parallel",
        synthesizer: Member | None = None,
        rounds: int = 2,
        max_concurrent: int | None = None,
        isolated: bool = False,
        workspaces: Workspaces | None = None,
        *,
        reserve_for_finalizer: bool | None = None,
        name: str | None = None,
        budget: BudgetLimits | None = None,
        quote_limit: int | None = None,
    ) -> None:
        super().__init__(name=name, budget=budget, quote_limit=quote_limit)
        if mode not in ("parallel", "sequential", "debate"):
            raise ValueError(f"mode must be 'parallel', 'sequential' or 'debate', not {mode!r}")
        if rounds < 1:
            raise ValueError(f"rounds must be 1 or more, not {rounds!r}")
        if max_concurrent is not None and max_concurrent < 1:
            raise ValueError(f"max_concurrent must be 1 or more, not {max_concurrent!r}")
        if isolated and mode != "parallel":
            raise ValueError(f"isolated is for mode 'parallel': in {mode!r} agents build on each other; use workspaces")
        everyone = members_of(self.kind, [*agents, *([] if synthesizer is None or not agents else [synthesizer])])
        self.agents = everyone[: len(agents)]
        self.synthesizer = everyone[-1] if synthesizer is not None else None
        if isolated or workspaces is not None:
            _refuse_teams(self.agents)
        self.isolated = isolated
        self.workspaces = workspaces
        self.mode: Mode = mode
        self.rounds = rounds
        self.max_concurrent = max_concurrent
        self.reserve_for_finalizer = reserve_for_finalizer

    async def execute(self, run: Run, task: str) -> SwarmResult:
        workers = run
        if self.synthesizer is not None:
            workers = run.keeping_back(self.synthesizer, when=self.reserve_for_finalizer)

        if self.mode == "sequential":
            rounds = [await self._one_after_the_other(workers, task)]
            latest = rounds[0]
        else:
            rounds, latest = await self._together(workers, task)

        good = [output for output in latest if output.succeeded]
        outputs = [output for each_round in rounds for output in each_round]
        summary = "\n\n".join(f"{output.name}:\n{output.answer}" for output in good)
        if self.synthesizer is not None and good:
            made = await run.agent(self.synthesizer, prompts.synthesis(task, good, self.quote_limit))
            outputs.append(made)
            summary = made.answer if made.succeeded else summary
        return run.result(
            of=SwarmResult, task=task, answer=summary, outputs=outputs, rounds=rounds, final_summary=summary
        )

    async def _one_after_the_other(self, run: Run, task: str) -> list[AgentOutput]:
        outputs: list[AgentOutput] = []
        for agent in self.agents:
            told = prompts.sequel(task, outputs, self.quote_limit)
            outputs.append(await run.agent(agent, told, isolation=self._apart(run)))
        return outputs

    async def _together(self, run: Run, task: str) -> tuple[list[list[AgentOutput]], list[AgentOutput]]:
        """The rounds, and the latest good output of each agent, or its last bad one."""
        rounds = [await self._round(run, [(agent, task) for agent in self.agents])]
        latest = rounds[0]
        while self.mode == "debate" and len(rounds) < self.rounds and _worth_another(latest, rounds[-1]):
            jobs = [(agent, prompts.debate(task, agent.name, latest, self.quote_limit)) for agent in self.agents]
            rounds.append(await self._round(run, jobs))
            latest = [
                new if new.succeeded or not old.succeeded else old for old, new in zip(latest, rounds[-1], strict=True)
            ]
        return rounds, latest

    async def _round(self, run: Run, jobs: list[tuple[Member, str]]) -> list[AgentOutput]:
        apart = self._apart(run)
        outputs = await run.fan_out(jobs, self.max_concurrent, isolation=apart)
        return outputs if apart is None else apart.merge(outputs)

    def _apart(self, run: Run) -> Apart | None:
        if not self.isolated and self.workspaces is None:
            return None
        return Apart(run.infra.state if self.isolated else None, self.workspaces)

    def plan(self, task: str = "", **inputs: Any) -> Plan:
        self.over(**inputs)
        one_round = sum(map(plan_of, self.agents), Plan())
        plan = one_round.times(1, self.rounds if self.mode == "debate" else 1)
        return plan if self.synthesizer is None else plan + plan_of(self.synthesizer)


def _refuse_teams(agents: Sequence[Member]) -> None:
    for member in agents:
        if not isinstance(member, AgentSpec):
            raise ValueError(
                f"swarm: {member.name!r} is a pattern, and only agents can be isolated or have a workspace"
            )


def _worth_another(latest: Sequence[AgentOutput], last_round: Sequence[AgentOutput]) -> bool:
    """Whether a debate can still change anything: somebody to hear, no agreement yet, and money left."""
    good = [output for output in latest if output.succeeded]
    if not good or all(map(is_budget_skipped, last_round)):
        return False
    return len(good) < len(latest) or len({normalise(output.answer) for output in good}) > 1
