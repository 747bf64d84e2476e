"""Amounts as people read them: the counterpart of ``carpool.quantities``. Pure functions."""

from __future__ import annotations

from ..types import BudgetLimits

__all__ = ["counted", "dollars", "limits", "seconds"]


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """``1 agent``, ``1,204 agents``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def dollars(amount: float) -> str:
    """``$0``, ``$0.0125``, ``$12.50``: cents at least, and of a fraction of a dollar six digits at most."""
    if not amount:
        return "$0"
    if amount >= 1:
        return f"${amount:,.2f}"
    if amount < 0.000_001:
        return "less than $0.000001"
    whole, _, fraction = f"{amount:.6f}".partition(".")
    return f"${whole}.{fraction.rstrip('0'):0<2}"


def seconds(amount: float) -> str:
    """``420 ms``, ``4.2 s``, ``3 m 05 s``, ``1 h 02 m``."""
    if amount < 0.9995:
        return f"{amount * 1e3:.0f} ms"
    if amount < 59.95:
        return f"{amount:.1f} s"
    minutes, left = divmod(round(amount), 60)
    if minutes < 60:
        return f"{minutes} m {left:02} s"
    return f"{minutes // 60} h {minutes % 60:02} m"


def limits(given: BudgetLimits) -> str:
    """The limits that are set, as they could have been typed; ``no limits`` if none is."""
    parts = [
        f"{most:,} {kind}"
        for most, kind in (
            (given.max_total_tokens, "tokens"),
            (given.max_input_tokens, "input tokens"),
            (given.max_output_tokens, "output tokens"),
        )
        if most is not None
    ]
    if given.max_cost_usd is not None:
        parts.append(dollars(given.max_cost_usd))
    if given.max_agents is not None:
        parts.append(counted(given.max_agents, "agent"))
    if given.max_seconds is not None:
        parts.append(seconds(given.max_seconds))
    if given.max_depth is not None:
        parts.append(f"depth {given.max_depth}")
    return ", ".join(parts) or "no limits"
