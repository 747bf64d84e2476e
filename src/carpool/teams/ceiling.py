"""An operator's ceiling on what others may spend: of two limits the lower one wins, dimension by dimension."""

from __future__ import annotations

from typing import Any

from ..types import BudgetLimits

__all__ = ["lower_of"]


def lower_of(limits: BudgetLimits, ceiling: BudgetLimits) -> BudgetLimits:
    """The limits that keep to both; ``None`` is no limit, so that the other one counts.

    Spend of unknown price is allowed only if each of the two that limits the cost allows it: who sets no cost limit
    has no say in it.
    """
    lower: dict[str, Any] = {}
    for name in BudgetLimits.__struct_fields__:
        if name != "unpriced":
            given = [limit for limit in (getattr(limits, name), getattr(ceiling, name)) if limit is not None]
            lower[name] = min(given, default=None)
    said = {each.unpriced for each in (limits, ceiling) if each.max_cost_usd is not None} or {limits.unpriced}
    return BudgetLimits(**lower, unpriced="refuse" if "refuse" in said else "allow")
