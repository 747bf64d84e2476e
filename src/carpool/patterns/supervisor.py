"""Supervisor: workers answer, a supervisor approves or says what to do better, round by round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import prompts
from ..results import CoordinationResult
from ..spawn import Member, Run
from ..types import AgentOutput, BudgetLimits
from .endings import carrying
from .members import members_of
from .pattern import Pattern
from .plan import Plan, plan_of
from .verdicts import Approval, Reading, ask

__all__ = ["Supervisor", "SupervisorResult"]


class SupervisorResult(CoordinationResult, kw_only=True):
    """``rounds``: the workers' outputs of each round, in their order. ``supervisor_feedback``: what was said of each
    round that was judged. ``final_answer``: the supervisor's, or the last good answers joined."""

    rounds: list[list[AgentOutput]] = []
    supervisor_feedback: list[str] = []
    approved: bool = False
    final_answer: str = ""
    total_rounds: int = 0


class Supervisor(Pattern[SupervisorResult]):
    """``workers`` side by side on the task, until the ``supervisor`` approves, ``max_rounds`` times at most.

    The supervisor sees every answer and every failure. Its feedback goes to the workers in the next round, to each
    with its own latest answer. Not approved after the last round is a result, no error. A reply that can't be read
    is asked for once more, then never approves; the workers are shown it as it is.

    The supervisor is load-bearing: the budget's refusal of it ends the run with that ``BudgetError``, its failure
    with ``AgentFailed``; both carry the rounds so far. Agents: one per worker and round, and the supervisor once or
    twice a round.
    """

    def __init__(
        self,
        workers: Sequence[Member],
        supervisor: Member,
        max_rounds: int = 3,
        *,
        name: str | None = None,
        budget: BudgetLimits | None = None,
        quote_limit: int | None = None,
    ) -> None:
        super().__init__(name=name, budget=budget, quote_limit=quote_limit)
        if max_rounds < 1:
            raise ValueError(f"max_rounds must be 1 or more, not {max_rounds!r}")
        *self.workers, self.supervisor = members_of(self.kind, [*workers, supervisor] if workers else [])
        self.max_rounds = max_rounds

    async def execute(self, run: Run, task: str) -> SupervisorResult:
        rounds: list[list[AgentOutput]] = []
        outputs: list[AgentOutput] = []
        said: list[Reading[Approval]] = []

        def result(stop_reason: str | None = None) -> SupervisorResult:
            return self._result(run, task, rounds, outputs, said, stop_reason)

        with carrying(result):
            while len(rounds) < self.max_rounds:
                jobs = [(worker, self._assignment(task, worker, rounds, said)) for worker in self.workers]
                rounds.append(await run.fan_out(jobs, None))
                outputs += rounds[-1]
                prompt = prompts.supervision(task, len(rounds), self.max_rounds, rounds[-1], self.quote_limit)
                (reading,) = await ask(run, [(self.supervisor, prompt)], Approval, outputs)
                if reading.error is not None:
                    raise reading.error
                said.append(reading)
                if reading.verdict is not None and reading.verdict.approved:
                    break
        return result()

    def _assignment(
        self, task: str, worker: Member, rounds: Sequence[Sequence[AgentOutput]], said: Sequence[Reading[Approval]]
    ) -> str:
        if not said:
            return task
        place = self.workers.index(worker)
        good = [outputs[place].answer for outputs in rounds if outputs[place].succeeded]
        previous = good[-1] if good else None
        return prompts.revision(task, previous, self.supervisor.name, _feedback(said[-1]), self.quote_limit)

    def _result(
        self,
        run: Run,
        task: str,
        rounds: list[list[AgentOutput]],
        outputs: list[AgentOutput],
        said: Sequence[Reading[Approval]],
        stop_reason: str | None,
    ) -> SupervisorResult:
        last = said[-1].verdict if said else None
        approved = last is not None and last.approved
        answer = (last.answer if last is not None else None) or _joined(rounds)
        if stop_reason is None and not run.denied and not (answer and approved):
            stop_reason = "max_rounds" if answer else "no_output"
        return run.result(
            of=SupervisorResult,
            task=task,
            answer=answer,
            outputs=outputs,
            stop_reason=stop_reason,
            rounds=rounds,
            supervisor_feedback=[_feedback(reading) for reading in said],
            approved=approved,
            final_answer=answer,
            total_rounds=len(rounds),
        )

    def plan(self, task: str = "", **inputs: Any) -> Plan:
        workers = sum(map(plan_of, self.workers), Plan()).times(1, self.max_rounds)
        return workers + plan_of(self.supervisor).times(1, 2 * self.max_rounds)


def _feedback(reading: Reading[Approval]) -> str:
    return reading.verdict.feedback if reading.verdict is not None else reading.reply


def _joined(rounds: Sequence[Sequence[AgentOutput]]) -> str:
    """The good answers of the last round that has any."""
    for outputs in reversed(rounds):
        if good := [output.answer for output in outputs if output.succeeded]:
            return "\n\n".join(good)
    return ""
