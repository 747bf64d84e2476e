"""How much a tool may do, and how much a team is granted: ``read_only < sandbox_edit < full_access``."""

from __future__ import annotations

from typing import get_args

from ..actions import Tier

__all__ = ["TIERS", "lower_tier", "tier_allows"]

TIERS: tuple[Tier, ...] = get_args(Tier)
"""All tiers, from the lowest up; each includes the ones before it."""


def tier_allows(granted: Tier, needed: Tier) -> bool:
    """Whether a team that is granted ``granted`` may call a tool of tier ``needed`` without being approved.

    :raises ValueError: for a tier that there is none of, on either side.
    """
    return _rank(needed) <= _rank(granted)


def lower_tier(one: Tier, other: Tier) -> Tier:
    """The lower of two: what a child agent has, that is granted ``one`` by a parent that has ``other``.

    :raises ValueError: for a tier that there is none of.
    """
    return one if _rank(one) <= _rank(other) else other


def _rank(tier: str) -> int:
    if tier not in TIERS:
        raise ValueError(f"a tier is one of {', '.join(TIERS)}, not {tier!r}")
    return TIERS.index(tier)
