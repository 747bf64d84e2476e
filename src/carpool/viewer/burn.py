"""The burn of a budget, kept as agents start and end: what is spent, what is held, how many are at work."""

from __future__ import annotations

from bisect import bisect_right

from ..types import TokenAccounting
from .rows import BurnPoint

__all__ = ["Burn"]

_Amount = tuple[int, int, float]
_NOTHING: _Amount = (0, 0, 0.0)


class Burn:
    """``mark`` ends what happened at one moment; in between, amounts are added up.

    What an agent's attempts have spent is known when the next one starts or the last one ends, and counts from then on.
    """

    def __init__(self) -> None:
        self._spent: _Amount = _NOTHING
        self._held: _Amount = _NOTHING
        self._starts = 0
        self._at_work: dict[str, tuple[_Amount, _Amount]] = {}  # what each holds, and what of its spend is counted
        self._points: list[BurnPoint] = []
        self._numbers: list[int] = []

    def start(self, key: str, hold: TokenAccounting, earlier: TokenAccounting) -> None:
        """An attempt of ``key``; those before it have spent ``earlier``."""
        held, counted = self._at_work.get(key, (_NOTHING, _NOTHING))
        spent = _amount(earlier)
        self._spent = _changed(self._spent, spent, counted)
        self._held = _changed(self._held, _amount(hold), held)
        self._at_work[key] = _amount(hold), spent
        self._starts += 1

    def end(self, key: str, tokens: TokenAccounting | None) -> None:
        """All attempts of ``key`` have spent ``tokens``."""
        held, counted = self._at_work.pop(key, (_NOTHING, _NOTHING))
        self._held = _changed(self._held, _NOTHING, held)
        self._spent = _changed(self._spent, _amount(tokens), counted)

    def lose(self, *, slots: int) -> None:
        """Whoever is at work is lost, and has spent what it held; ``slots`` starts count from here on."""
        for held, _ in self._at_work.values():
            self._spent = _changed(self._spent, held, _NOTHING)
        self._at_work.clear()
        self._held = _NOTHING
        self._starts = slots

    def mark(self, number: int, t: float) -> None:
        """From ``t`` on it is like this; ``number`` is that of the row that says so."""
        self._numbers.append(number)
        self._points.append(
            BurnPoint(
                t=t,
                input=self._spent[0],
                output=self._spent[1],
                usd=self._spent[2],
                held_input=self._held[0],
                held_output=self._held[1],
                held_usd=self._held[2],
                running=len(self._at_work),
                starts=self._starts,
            )
        )

    def between(self, after: int, until: int) -> list[BurnPoint]:
        """The points of the rows after the first of these numbers, up to the second."""
        return self._points[bisect_right(self._numbers, after) : bisect_right(self._numbers, until)]


def _amount(tokens: TokenAccounting | None) -> _Amount:
    return _NOTHING if tokens is None else (tokens.input_tokens, tokens.output_tokens, tokens.cost_usd)


def _changed(amount: _Amount, more: _Amount, less: _Amount) -> _Amount:
    """Never below nothing: dollars are floats, and what was added comes off with a rest."""
    return (
        amount[0] + more[0] - less[0],
        amount[1] + more[1] - less[1],
        max(0.0, round(amount[2] + more[2] - less[2], 12)),
    )
