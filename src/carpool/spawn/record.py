"""What has come of one place so far: what its result, and an error on the way out of it, are made of."""

from __future__ import annotations

from ..errors import BudgetError
from ..results import CoordinationResult
from ..types import AgentOutput

__all__ = ["Record"]


class Record:
    """Outputs in the order in which they ended. What ends in a place has ended in every place above it too."""

    __slots__ = ("_above", "agents", "denials", "denied", "members", "nested", "result")

    def __init__(self, above: Record | None = None) -> None:
        self._above = above
        self.members: list[AgentOutput] = []  # of whoever was asked for in this place, agent or pattern
        self.agents: list[AgentOutput] = []  # of every agent, here and below
        self.nested: dict[str, list[CoordinationResult]] = {}  # of members that are patterns, by their name
        self.denied = False  # whether the budget refused anything, here or below
        self.denials: dict[str, BudgetError] = {}  # the last refusal of each role that was asked for in this place
        self.result: CoordinationResult | None = None  # the last one that was made here

    def keep(self, output: AgentOutput) -> AgentOutput:
        """Count an agent as ended."""
        self.members.append(output)
        self.agents.append(output)
        above = self._above
        while above is not None:
            above.agents.append(output)
            above = above._above
        return output

    def deny(self, roles: str, denial: BudgetError) -> None:
        """Note that the budget refused a start of this role path."""
        self.denials[roles] = denial.with_traceback(None)  # whose frames would live as long as this does
        place: Record | None = self
        while place is not None:
            place.denied = True
            place = place._above
