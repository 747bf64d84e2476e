"""What every table of a team file is, and the kinds of values that stand in several."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ..types import BudgetLimits

__all__ = ["Budget", "NotNegative", "Positive", "Seconds", "Table", "Text"]

Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Text = Annotated[str, Meta(min_length=1)]
Budget = str | BudgetLimits


class Table(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Has its own keys and no others."""
