"""The provider's invoice: what a runner really did and spent, written down where carpool never looks."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct, field

from ..types import AgentSpec, TokenAccounting

__all__ = ["Bill", "CallMade", "Charge"]


class CallMade(Struct, kw_only=True, eq=False):
    """One call of the runner. ``number`` counts the calls of this agent from 1; times are the loop's, in seconds.

    ``end`` is ``"returned"``, ``"raised"`` or ``"cancelled"``, and ``None`` while it is in flight; ``swallowed``
    counts the cancellations that it ignored.
    """

    spec: AgentSpec
    task: str
    number: int
    began: float
    ended: float | None = None
    end: str | None = None
    spent: TokenAccounting = field(default_factory=TokenAccounting)
    swallowed: int = 0

    @property
    def agent(self) -> str:
        """The name of the agent."""
        return self.spec.name


class Charge(Struct, frozen=True, kw_only=True):
    """One line of the bill: ``agent`` spent ``tokens`` at ``at`` seconds of the loop's time."""

    at: float
    agent: str
    tokens: TokenAccounting


class Bill:
    """Calls in the order in which they began, charges in the order in which they were made."""

    def __init__(self) -> None:
        self.calls: list[CallMade] = []
        self.charges: list[Charge] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._numbers: Counter[str] = Counter()

    @property
    def total(self) -> TokenAccounting:
        """All charges together, of calls that were cancelled or failed too."""
        return sum((charge.tokens for charge in self.charges), TokenAccounting())

    @property
    def agents(self) -> list[str]:
        """The name of the agent of each call, in order; an agent that was started twice stands twice."""
        return [call.agent for call in self.calls]

    def calls_of(self, agent: str) -> list[CallMade]:
        """The calls of ``agent``."""
        return [call for call in self.calls if call.agent == agent]

    # What the runner writes

    def begin(self, spec: AgentSpec, task: str, at: float) -> CallMade:
        self._numbers[spec.name] += 1
        call = CallMade(spec=spec, task=task, number=self._numbers[spec.name], began=at)
        self.calls.append(call)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return call

    def charge(self, call: CallMade, tokens: TokenAccounting, at: float) -> None:
        call.spent = call.spent + tokens
        self.charges.append(Charge(at=at, agent=call.agent, tokens=tokens))

    def end(self, call: CallMade, how: str, at: float) -> None:
        call.end, call.ended = how, at
        self.in_flight -= 1
