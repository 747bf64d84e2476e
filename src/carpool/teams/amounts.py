"""Budgets and estimates as a team file says them: as text or as a table."""

from __future__ import annotations

from ..quantities import parse_limits
from ..types import BudgetLimits, TokenAccounting

__all__ = ["estimate_of", "limits_of"]

_EXAMPLE = "write for example '2k input tokens, 500 output tokens, $0.01'"


def limits_of(budget: str | BudgetLimits | None) -> BudgetLimits | None:
    """:raises ValueError: naming the part that can't be read."""
    return BudgetLimits.parse(budget) if isinstance(budget, str) else budget


def estimate_of(estimate: str | TokenAccounting | None) -> TokenAccounting | None:
    """The most that one start should spend: ``"2k input tokens, 500 output tokens, $0.01"``.

    :raises ValueError: for a text that can't be read, or says anything but input tokens, output tokens and dollars.
    """
    if not isinstance(estimate, str):
        return estimate
    try:
        found = parse_limits(estimate)
    except ValueError as error:
        # What it says of the part is right, and what it says of budgets is not.
        part = str(error).partition(": ")[2].partition("; ")[0]
        raise ValueError(f"{part}; {_EXAMPLE}") from None
    fields = {name.removeprefix("max_"): value for name, value in found.items()}
    if "total_tokens" in fields:
        raise ValueError(f"say whether these are input or output tokens; {_EXAMPLE}")
    if not fields or fields.keys() - {"input_tokens", "output_tokens", "cost_usd"}:
        raise ValueError(f"{estimate!r} says no tokens or dollars, or more than these; {_EXAMPLE}")
    return TokenAccounting(**fields)
