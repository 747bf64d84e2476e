"""Tournament: competitors answer once; a judge compares them two by two until one is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from .. import prompts
from ..errors import NoOutput
from ..results import CoordinationResult
from ..spawn import Member, Run
from ..types import AgentOutput, BudgetLimits
from .endings import carrying
from .members import members_of, renamed
from .pattern import Pattern
from .plan import Plan, plan_of
from .verdicts import Judgement, Reading, ask

__all__ = ["Match", "Tournament", "TournamentResult"]


class Match(Struct, frozen=True, kw_only=True):
    """One match; ``a``, ``b`` and ``winner`` are names, ``a`` the better seed. With ``decided=False`` no judge could
    be read, or they disagreed to the end: the better seed went on."""

    round: int
    a: str
    b: str
    winner: str
    rationale: str = ""
    decided: bool = True


class TournamentResult(CoordinationResult, kw_only=True):
    """``candidates``: the competitors' outputs, in their order. ``matches``: round by round. ``ranking``: the names
    of all who answered, best to worst, by the round they reached, then by their order."""

    candidates: list[AgentOutput] = []
    matches: list[Match] = []
    winner_name: str = ""
    winner_answer: str = ""
    ranking: list[str] = []


class Tournament(Pattern[TournamentResult]):
    """``competitors`` answer side by side; then single elimination, ceil(log2 n) rounds, by a ``judge``.

    A competitor's place in the list is its seed. Who gave no answer is out. Neighbours meet; of an odd number the
    best seed among those with the fewest byes goes on without a match. Each match has a fresh judge, called
    ``<judge>_r<round>_m<match>``, who sees answers without names; matches of a round run side by side.

    With ``both_orders`` each match is judged twice, with sides swapped. Where the two disagree, a tie-break is
    judged in both orders too, with their reasons shown: only agreement decides, so that a judge who always says "a"
    decides nothing. Undecided, the better seed goes on. One who is left wins unjudged; nobody is :class:`NoOutput`.

    The judge is load-bearing: the budget's refusal of one ends the run with that ``BudgetError``, its failure with
    ``AgentFailed``; both carry the matches so far. Agents: n, and n - 1 judgements, each asked once or twice; with
    ``both_orders`` 2 to 4 for each match.
    """

    def __init__(
        self,
        competitors: Sequence[Member],
        judge: Member,
        both_orders: bool = False,
        max_concurrent: int | None = None,
        *,
        name: str | None = None,
        budget: BudgetLimits | None = None,
        quote_limit: int | None = None,
    ) -> None:
        super().__init__(name=name, budget=budget, quote_limit=quote_limit)
        if max_concurrent is not None and max_concurrent < 1:
            raise ValueError(f"max_concurrent must be 1 or more, not {max_concurrent!r}")
        *self.competitors, self.judge = members_of(self.kind, [*competitors, judge] if competitors else [])
        self.both_orders = both_orders
        self.max_concurrent = max_concurrent

    async def execute(self, run: Run, task: str) -> TournamentResult:
        candidates = await run.fan_out([(each, task) for each in self.competitors], self.max_concurrent)
        outputs = list(candidates)
        bracket = _Bracket([output for output in candidates if output.succeeded])

        def result(stop_reason: str | None = None) -> TournamentResult:
            winner = bracket.standing[0] if len(bracket.standing) == 1 else None
            return run.result(
                of=TournamentResult,
                task=task,
                answer=winner.answer if winner else "",
                outputs=outputs,
                stop_reason=stop_reason,
                candidates=candidates,
                matches=bracket.matches,
                winner_name=winner.name if winner else "",
                winner_answer=winner.answer if winner else "",
                ranking=bracket.ranking(),
            )

        with carrying(result):
            if not bracket.standing:
                raise NoOutput(f"none of {len(candidates)} competitors gave an answer; see partial for why")
            while len(bracket.standing) > 1:
                await self._play_round(run, task, bracket, outputs)
        return result()

    async def _play_round(self, run: Run, task: str, bracket: _Bracket, outputs: list[AgentOutput]) -> None:
        meetings = [_Meeting(number, a, b) for number, (a, b) in enumerate(bracket.pairs(), 1)]
        judge = _Judge(self, run, task, bracket.round, outputs)
        try:
            await judge.decide(meetings)
            if self.both_orders:
                await judge.decide([each for each in meetings if each.is_split], tie_break=True)
        finally:
            bracket.matches += [each.match(bracket.round) for each in meetings if each.is_over(self.both_orders)]
        bracket.advance([each.winner for each in meetings])

    def plan(self, task: str = "", **inputs: Any) -> Plan:
        matches = len(self.competitors) - 1
        judgements = (2, 8) if self.both_orders else (1, 2)
        judging = plan_of(self.judge).times(matches * judgements[0], matches * judgements[1])
        return sum(map(plan_of, self.competitors), Plan()) + judging


class _Bracket:
    """Who is still in, and how it came to that."""

    def __init__(self, survivors: Sequence[AgentOutput]) -> None:
        self.survivors = survivors  # in the order of their seeds
        self.standing = list(survivors)
        self.round = 1
        self.matches: list[Match] = []
        self._reached = {each.name: 1 for each in survivors}
        self._byes = {each.name: 0 for each in survivors}

    def pairs(self) -> list[tuple[AgentOutput, AgentOutput]]:
        playing = list(self.standing)
        if len(playing) % 2:
            bye = min(playing, key=lambda each: self._byes[each.name])  # the first of these is the best seed
            playing.remove(bye)
            self._byes[bye.name] += 1
        return list(zip(playing[::2], playing[1::2], strict=True))

    def advance(self, winners: Sequence[AgentOutput]) -> None:
        """The next round, for these and whoever has not played."""
        played = {name for match in self.matches if match.round == self.round for name in (match.a, match.b)}
        on = {each.name for each in winners} | {each.name for each in self.standing} - played
        self.standing = [each for each in self.standing if each.name in on]
        self.round += 1
        for each in self.standing:
            self._reached[each.name] = self.round

    def ranking(self) -> list[str]:
        # Sorting is stable: among equals the order of the seeds stays.
        return sorted((each.name for each in self.survivors), key=lambda name: -self._reached[name])


class _Meeting:
    """One match while it is judged. Each pair of judgements is told in terms of ``a``, the better seed."""

    def __init__(self, number: int, a: AgentOutput, b: AgentOutput) -> None:
        self.number = number
        self.a = a
        self.b = b
        self.said: list[tuple[str, str] | None] = []  # the side and the reason, by each judge; None: not readable

    def hear(self, reading: Reading[Judgement], *, swapped: bool) -> None:
        verdict = reading.verdict
        if verdict is None:
            self.said.append(None)
            return
        side: str = verdict.winner
        if swapped:
            side = "b" if side == "a" else "a"
        self.said.append((side, verdict.rationale))

    @property
    def is_split(self) -> bool:
        return len({each[0] for each in self.said if each}) == 2

    def is_over(self, both_orders: bool) -> bool:
        """Whether nothing more will be heard: after a split, the tie-break is."""
        return len(self.said) == (1 if not both_orders else 4 if self.is_split else 2)

    @property
    def _decision(self) -> tuple[str, str] | None:
        """The side on which the last judges agree, and the first one's reason."""
        last = self.said[-2:]
        return last[0] if last[0] and all(each and each[0] == last[0][0] for each in last) else None

    @property
    def winner(self) -> AgentOutput:
        decision = self._decision
        return self.b if decision and decision[0] == "b" else self.a

    def match(self, number: int) -> Match:
        decision = self._decision
        return Match(
            round=number,
            a=self.a.name,
            b=self.b.name,
            winner=self.winner.name,
            rationale=decision[1] if decision else "",
            decided=decision is not None,
        )


class _Judge:
    """The judging of one round."""

    def __init__(
        self, tournament: Tournament, run: Run, task: str, round_number: int, outputs: list[AgentOutput]
    ) -> None:
        self._tournament = tournament
        self._run = run
        self._task = task
        self._round = round_number
        self._outputs = outputs

    async def decide(self, meetings: Sequence[_Meeting], *, tie_break: bool = False) -> None:
        """Have each of ``meetings`` judged, in one order or both.

        :raises BudgetError: when the budget refuses a judge.
        :raises AgentFailed: when a judge fails; the meetings have heard all the others.
        """
        if not meetings:
            return
        orders = (False, True) if self._tournament.both_orders else (False,)
        asked = [(meeting, swapped) for meeting in meetings for swapped in orders]
        jobs = [self._job(meeting, swapped, tie_break) for meeting, swapped in asked]
        readings = await ask(self._run, jobs, Judgement, self._outputs, self._tournament.max_concurrent)
        lost = next((reading.error for reading in readings if reading.error is not None), None)
        for (meeting, swapped), reading in zip(asked, readings, strict=False):
            if reading.error is None and (lost is None or reading.verdict is not None):
                meeting.hear(reading, swapped=swapped)
        if lost is not None:
            raise lost

    def _job(self, meeting: _Meeting, swapped: bool, tie_break: bool) -> tuple[Member, str]:
        tournament = self._tournament
        name = f"{tournament.judge.name}_r{self._round}_m{meeting.number}"
        name += ("_tiebreak" if tie_break else "") + ("_swapped" if swapped else "")
        a, b = (meeting.b, meeting.a) if swapped else (meeting.a, meeting.b)
        if not tie_break:
            prompt = prompts.match(self._task, a.answer, b.answer, tournament.quote_limit)
        else:
            reasons = dict(each for each in meeting.said if each)
            for_a, for_b = (reasons["b"], reasons["a"]) if swapped else (reasons["a"], reasons["b"])
            prompt = prompts.tie_break(self._task, a.answer, b.answer, for_a, for_b, tournament.quote_limit)
        return renamed(tournament.judge, name), prompt
