"""What a pattern may start and spend, told before anything runs."""

from __future__ import annotations

from msgspec import Struct, field

from ..spawn import Member
from ..types import AgentSpec, TokenAccounting

__all__ = ["Plan", "plan_of"]


class Plan(Struct, frozen=True, kw_only=True):
    """How many agents at least, if nothing fails, and at most, retries included; ``None`` is no bound.

    ``spend`` is the worst case of all starts whose estimate is known; ``unestimated`` names the roles of which
    it is not, so that ``spend`` bounds the run only when that is empty and ``agents_max`` is known.
    """

    agents_min: int = 0
    agents_max: int | None = 0
    spend: TokenAccounting = field(default_factory=TokenAccounting)
    unestimated: list[str] = []

    def __add__(self, other: Plan) -> Plan:
        known = self.agents_max is not None and other.agents_max is not None
        return Plan(
            agents_min=self.agents_min + other.agents_min,
            agents_max=(self.agents_max or 0) + (other.agents_max or 0) if known else None,
            spend=self.spend + other.spend,
            unestimated=sorted({*self.unestimated, *other.unestimated}),
        )

    def times(self, least: int, most: int | None) -> Plan:
        """This plan carried out at least ``least`` and at most ``most`` times."""
        if most is None:
            unknown = [*self.unestimated, *(["more items than are known"] if self.spend != TokenAccounting() else [])]
            return Plan(agents_min=self.agents_min * least, agents_max=None, unestimated=sorted({*unknown}))
        return Plan(
            agents_min=self.agents_min * least,
            agents_max=None if self.agents_max is None else self.agents_max * most,
            spend=_times(self.spend, most),
            unestimated=self.unestimated,
        )


def plan_of(member: Member) -> Plan:
    """The plan of one member asked once."""
    if not isinstance(member, AgentSpec):
        return member.plan()
    starts = 1 + member.retries
    return Plan(
        agents_min=1,
        agents_max=starts,
        spend=_times(member.estimate or TokenAccounting(), starts),
        unestimated=[] if member.estimate is not None else [member.role or member.name],
    )


def _times(tokens: TokenAccounting, factor: int) -> TokenAccounting:
    return TokenAccounting(
        input_tokens=tokens.input_tokens * factor,
        output_tokens=tokens.output_tokens * factor,
        cost_usd=tokens.cost_usd * factor,
        cache_read_tokens=tokens.cache_read_tokens * factor,
        cache_write_tokens=tokens.cache_write_tokens * factor,
        priced=tokens.priced,
    )
