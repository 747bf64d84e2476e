"""What the budget said no to, told once for each limit, and who could raise that. Pure functions over its words."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..types import BudgetLimits

__all__ = ["first_of_each", "held_down", "worded"]

_REACHED = re.compile(r"(?:max_(?P<limit>\w+)|agent limit) reached: .*\bof (?:at most )?\$?(?P<most>[\d,]+(?:\.\d+)?)")
_ADVICE = re.compile(r"; raise max_\w+ to go on$")
_CEILING = "CARPOOL_MAX_BUDGET"


def first_of_each(refusals: Iterable[str]) -> tuple[str, ...]:
    """The first of ``refusals`` for each limit: they differ in what was spent by then, and say the same."""
    first: dict[str, str] = {}
    for refusal in refusals:
        first.setdefault(refusal.partition(" reached:")[0], refusal)
    return tuple(first.values())


def held_down(refusals: Iterable[str], ceiling: BudgetLimits | None) -> list[str]:
    """Those of ``refusals`` that are the operator's: the limit which they name is the ceiling, so that who runs this
    can't raise it."""
    return [refusal for refusal in refusals if ceiling is not None and _is_at(ceiling, refusal)]


def worded(refusals: Iterable[str], ceiling: BudgetLimits | None) -> str:
    """All of ``refusals`` in a line; of a limit that is the ceiling nobody is told to raise it."""
    return "; and ".join(
        _ADVICE.sub(f"; {_CEILING} allows no more", refusal) if held_down([refusal], ceiling) else refusal
        for refusal in refusals
    )


def _is_at(ceiling: BudgetLimits, refusal: str) -> bool:
    found = _REACHED.match(refusal)
    if found is None:
        return False
    most = getattr(ceiling, f"max_{found['limit'] or 'agents'}", None)
    return most is not None and float(found["most"].replace(",", "")) == most  # a purse inside may be tighter
