"""Vote: several agents answer the same question; the answer that most of them give wins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .. import prompts
from ..results import CoordinationResult
from ..spawn import Member, Run
from ..types import AgentOutput, BudgetLimits
from .answers import normalise
from .members import members_of
from .pattern import Pattern
from .plan import Plan, plan_of

__all__ = ["Vote", "VoteResult", "normalise"]


class VoteResult(CoordinationResult, kw_only=True):
    """``votes``: the outputs of those who were asked, in agent order. ``tally``: votes per answer, as its first
    voter put it, most first. ``agreement_ratio``: the winner's votes among all successful ones."""

    votes: list[AgentOutput] = []
    winner: str = ""
    agreement_ratio: float = 0.0
    tally: dict[str, int] = {}


class Vote(Pattern[VoteResult]):
    """All of ``agents`` on the same task, and the majority's answer.

    Answers are counted after ``normalize``. A tie goes to the answer that reached its count first in the order
    of the agents, so that nothing depends on who is fastest. With ``stop_when_decided`` and fewer slots than
    voters, votes that can no longer change the winner are not started. Fewer successful votes than ``quorum``
    make no winner. A ``synthesizer`` words the answer; denied or failed, the winner stands as it is.

    Agents: one per vote, and the synthesizer.
    """

    def __init__(
        self,
        agents: Sequence[Member],
        synthesizer: Member | None = None,
        max_concurrent: int | None = None,
        normalize: Callable[[str], str] = normalise,
        quorum: int | None = None,
        stop_when_decided: bool = True,
        *,
        reserve_for_finalizer: bool | None = None,
        name: str | None = None,
        budget: BudgetLimits | None = None,
        quote_limit: int | None = None,
    ) -> None:
        super().__init__(name=name, budget=budget, quote_limit=quote_limit)
        if max_concurrent is not None and max_concurrent < 1:
            raise ValueError(f"max_concurrent must be 1 or more, not {max_concurrent!r}")
        if quorum is not None and not 1 <= quorum <= len(agents):
            raise ValueError(f"quorum must be between 1 and the {len(agents)} agents, not {quorum!r}")
        everyone = members_of(self.kind, [*agents, *([] if synthesizer is None or not agents else [synthesizer])])
        self.agents = everyone[: len(agents)]
        self.synthesizer = everyone[-1] if synthesizer is not None else None
        self.max_concurrent = max_concurrent
        self.normalize = normalize
        self.quorum = quorum
        self.stop_when_decided = stop_when_decided
        self.reserve_for_finalizer = reserve_for_finalizer

    async def execute(self, run: Run, task: str) -> VoteResult:
        voters = run
        if self.synthesizer is not None:
            voters = run.keeping_back(self.synthesizer, when=self.reserve_for_finalizer)
        ballots = self._ballots(task, voters.finished)
        votes = await voters.fan_out(ballots, self.max_concurrent or len(self.agents))

        good = [vote for vote in votes if vote.succeeded]
        tally = self._count(good)
        outputs = list(votes)
        if not good or len(good) < (self.quorum or 1):
            reason = None if run.denied else "no_output"
            return run.result(
                of=VoteResult, task=task, answer="", outputs=outputs, stop_reason=reason, votes=votes, tally=tally
            )
        answer = winner = next(iter(tally))
        if self.synthesizer is not None:
            made = await run.agent(self.synthesizer, prompts.verdict_on_votes(task, tally, good, self.quote_limit))
            outputs.append(made)
            answer = made.answer if made.succeeded else winner
        return run.result(
            of=VoteResult,
            task=task,
            answer=answer,
            outputs=outputs,
            votes=votes,
            winner=winner,
            agreement_ratio=tally[winner] / len(good),
            tally=tally,
        )

    @property
    def _may_stop_early(self) -> bool:
        return self.stop_when_decided and self.max_concurrent is not None and self.max_concurrent < len(self.agents)

    def _ballots(self, task: str, finished: Sequence[AgentOutput]) -> Iterator[tuple[Member, str]]:
        """The voters, one whenever a slot opens, until nobody left could change the winner; ``finished`` grows."""
        lead, quorum, seen = _Lead(), self.quorum or 1, len(finished)
        already = seen
        for agent in self.agents:
            while self._may_stop_early and seen < len(finished):
                vote, seen = finished[seen], seen + 1
                if vote.succeeded:
                    lead.add(self.normalize(vote.answer))
            still_out = len(self.agents) - (seen - already)
            if self._may_stop_early and lead.is_final(still_out, quorum):
                return
            yield agent, task

    def _count(self, good: Sequence[AgentOutput]) -> dict[str, int]:
        """Votes per answer, worded as its first voter worded it; most first, ties by who got there first."""
        counts: Counter[str] = Counter()
        wording: dict[str, str] = {}
        reached: dict[str, int] = {}
        for place, vote in enumerate(good):
            key = self.normalize(vote.answer)
            wording.setdefault(key, vote.answer)
            counts[key] += 1
            reached[key] = place
        ranked = sorted(counts, key=lambda key: (-counts[key], reached[key]))
        return {wording[key]: counts[key] for key in ranked}

    def plan(self, task: str = "", **inputs: Any) -> Plan:
        self.over(**inputs)
        everyone = sum(map(plan_of, self.agents), Plan())
        if self._may_stop_early:
            # The least: all of the first ones agree, and the slots that were open are not taken back.
            needed = max(len(self.agents) // 2 + 1, self.quorum or 1)
            least = sum(sorted(plan_of(agent).agents_min for agent in self.agents)[:needed])
            everyone = Plan(
                agents_min=least,
                agents_max=everyone.agents_max,
                spend=everyone.spend,
                unestimated=everyone.unestimated,
            )
        return everyone if self.synthesizer is None else everyone + plan_of(self.synthesizer)


class _Lead:
    """How far the leading answer is ahead, kept vote by vote."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._leader = ""
        self._first = self._second = self._good = 0

    def add(self, answer: str) -> None:
        self._counts[answer] += 1
        self._good += 1
        count = self._counts[answer]
        if answer == self._leader:
            self._first = count
        elif count > self._first:
            self._leader, self._first, self._second = answer, count, self._first
        else:
            self._second = max(self._second, count)

    def is_final(self, still_out: int, quorum: int) -> bool:
        """Whether votes that are still out can change anything. A tie would be decided by the order of the agents:
        only a lead that can't be caught up is safe."""
        if self._good < quorum:
            return self._good + still_out < quorum  # no winner any more, whoever is still asked
        return self._first - self._second > still_out
