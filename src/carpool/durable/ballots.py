"""What each vote of a run changed: who would have won after the first, the second, the k-th.

Told from a document, which doesn't say which patterns are votes: one is recognised by its name, if that is the one
that a :class:`~carpool.patterns.Vote` has by itself, or by the task of its synthesizer. Votes are counted as
``Vote`` counts them by default, in the order in which they were asked for; where somebody votes who is a pattern,
the document doesn't have all the votes, and there is nothing to tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from .. import prompts
from ..patterns.answers import normalise
from ..types import TokenAccounting
from .document import AgentRecord, RunDocument
from .readings import answered, scope_of

__all__ = ["Ballot", "VoteCast", "ballots_of"]

_COUNTED = prompts.verdict_on_votes("", {}, ()).strip().partition("\n")[0]
"""What a synthesizer of votes is told, and nobody else."""


class VoteCast(Struct, frozen=True, kw_only=True):
    """``answer`` is empty for who gave none; ``winner`` is who would have won after it, as its first voter put it."""

    voter: str
    answer: str
    winner: str
    changed: bool
    tokens: TokenAccounting


class Ballot(Struct, frozen=True, kw_only=True):
    """One vote of many.

    - ``settled_after``: the last vote that changed who wins; ``0`` if nobody won
    - ``decided_after``: the first after which those still out, had they all agreed, could not have changed it
    - ``surplus``: what the votes after that cost
    """

    path: str
    votes: list[VoteCast]
    winner: str
    winner_votes: int
    settled_after: int
    decided_after: int
    surplus: TokenAccounting


def ballots_of(document: RunDocument) -> list[Ballot]:
    scopes: dict[str, list[AgentRecord]] = {}
    for agent in document.agents:
        scopes.setdefault(scope_of(agent.path), []).append(agent)
    inner = {scope_of(scope) for scope, members in scopes.items() if members[0].parent is None}
    return [
        _counted(path, voters)
        for path, members in scopes.items()
        if path not in inner and (voters := _voters(path, members, document))
    ]


def _voters(path: str, members: Sequence[AgentRecord], document: RunDocument) -> list[AgentRecord]:
    voters = [agent for agent in members if _COUNTED not in agent.task]
    named = scope_of(members[0].roles).rpartition("/")[2] == "vote"
    return voters if named or len(voters) < len(members) else []


def _counted(path: str, voters: Sequence[AgentRecord]) -> Ballot:
    count = _Count()
    votes: list[VoteCast] = []
    settled = decided = 0
    for number, voter in enumerate(voters, 1):
        answer = voter.output.answer if voter.output is not None and answered(voter) else ""
        changed = bool(answer) and count.add(answer)
        settled = number if changed else settled
        if not decided and count.is_safe(len(voters) - number):
            decided = number
        votes.append(
            VoteCast(voter=voter.path, answer=answer, winner=count.winner, changed=changed, tokens=voter.spent)
        )
    surplus = [vote.tokens for vote in votes[decided:]] if decided else []
    return Ballot(
        path=path,
        votes=votes,
        winner=count.winner,
        winner_votes=count.first,
        settled_after=settled,
        decided_after=decided or len(votes),
        surplus=sum(surplus, TokenAccounting()),
    )


class _Count:
    """Votes, counted as they come; who is ahead stays so in a tie."""

    def __init__(self) -> None:
        self.winner = ""  # as its first voter put it
        self.first = 0
        self._second = 0
        self._leader: str | None = None
        self._counts: Counter[str] = Counter()
        self._wording: dict[str, str] = {}

    def add(self, answer: str) -> bool:
        """Whether somebody else is ahead now."""
        key = normalise(answer)
        self._wording.setdefault(key, answer)
        self._counts[key] += 1
        count = self._counts[key]
        if key == self._leader:
            self.first = count
        elif count > self.first:
            self._leader, self.winner, self.first, self._second = key, self._wording[key], count, self.first
            return True
        else:
            self._second = max(self._second, count)
        return False

    def is_safe(self, still_out: int) -> bool:
        """Whether nobody can overtake who is ahead."""
        return self._leader is not None and self.first >= self._second + still_out
