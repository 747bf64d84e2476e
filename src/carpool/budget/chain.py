"""A purse and all above it, from the root down: what a start or a model call meets there, and what is left to it.

Each function is called within a step, and changes nothing.
"""

from __future__ import annotations

from ..clock import Clock
from ..errors import AgentLimitReached, BudgetError, BudgetExhausted
from ..types import BudgetLimits
from .account import Account, Refusal
from .amount import Amount

__all__ = ["Chain", "call_denial", "near_limits", "remaining", "start_denial"]

Chain = tuple[tuple[Account, tuple[Amount, int]], ...]
"""Each account with what must be left of it to others: an amount, and a number of starts."""


def start_denial(chain: Chain, clock: Clock, hold: Amount, depth: int) -> BudgetError | None:
    """The error that a start would meet now, or ``None``."""
    now = 0.0
    for account, kept in chain:
        if account.unlimited:
            continue
        if account.limits.max_seconds is not None:
            now = clock.monotonic()
        refusal = account.refusal(hold, depth, now, kept)
        if refusal is not None:
            held_back = refusal.held > 0 and not any(
                other.refusal(hold, depth, now, its_kept, ignore_holds=True) for other, its_kept in chain
            )
            return _error(account, refusal, clock, held_back=held_back)
    return None


def call_denial(chain: Chain, clock: Clock, mine: Amount, wish: Amount | None) -> BudgetError | None:
    """The error that a model call would meet whose lease holds ``mine`` and asks for ``wish`` instead, or ``None``."""
    now = clock.monotonic()
    for account, kept in chain:
        if not account.unlimited and (refusal := account.call_refusal(mine, wish, now, kept[0])):
            return _error(account, refusal, clock, held_back=False)
    return None


def remaining(chain: Chain, clock: Clock) -> BudgetLimits:
    """Per dimension the least that is left in any of them, neither spent nor held nor kept back."""
    now = clock.monotonic()
    left: dict[str, float | int] = {}
    for account, kept in chain:
        for name, value in account.left(now, kept).items():
            left[name] = min(value, left.get(name, value))
    return BudgetLimits(**left)  # pyright: ignore[reportArgumentType]


def near_limits(chain: Chain, share: float) -> list[tuple[str, float, float]]:
    """The spend limits of which at least ``share`` is spent: dimension, spent, limit."""
    near: list[tuple[str, float, float]] = []
    for account, _ in chain:
        for name, index, cap in account.caps:
            if account.spent[index] >= cap * share:
                unit = 1e9 if name == "cost_usd" else 1
                near.append((name, account.spent[index] / unit, cap / unit))
    return near


def _error(account: Account, refusal: Refusal, clock: Clock, *, held_back: bool) -> BudgetError:
    snapshot = account.snapshot(clock.monotonic(), account.exhausted)
    if refusal.dimension == "agents":
        return AgentLimitReached(int(refusal.limit), int(refusal.spent), snapshot)
    return BudgetExhausted(refusal.sentence(), snapshot, dimension=refusal.dimension, held_back=held_back)
