"""What a model call may cost at most, and how much of it still fits into the budget."""

from __future__ import annotations

from ...budget import Lease
from ...types import BudgetLimits, TokenAccounting
from ..prices import ModelPrice

__all__ = ["WorstCase"]

_NANO = 1_000_000_000
_NOTHING = TokenAccounting()


class WorstCase:
    """For one model and one lease. ``price`` is ``None`` where nobody knows it: then tokens count and dollars don't."""

    __slots__ = ("_lease", "_price", "_writes_cache")

    def __init__(self, lease: Lease, price: ModelPrice | None, *, writes_cache: bool) -> None:
        self._lease = lease
        self._price = price
        self._writes_cache = writes_cache

    def of(self, input_tokens: int, output_tokens: int) -> TokenAccounting:
        """A call with so much input, none of it cached, that generates as much as it may."""
        return worst_case(self._price, input_tokens, output_tokens, writes_cache=self._writes_cache)

    def fits(self, wanted: TokenAccounting, times: int = 1) -> bool:
        """Whether ``wanted``, so many ``times`` over, is still there: beyond what others spent and hold, and with
        what this lease itself holds and has not used."""
        left, own = self._left()
        inputs, outputs = times * wanted.input_tokens, times * wanted.output_tokens
        more_input, more_output = max(0, inputs - own.input_tokens), max(0, outputs - own.output_tokens)
        return (
            (left.max_input_tokens is None or more_input <= left.max_input_tokens)
            and (left.max_output_tokens is None or more_output <= left.max_output_tokens)
            and (left.max_total_tokens is None or more_input + more_output <= left.max_total_tokens)
            and (left.max_cost_usd is None or times * wanted.cost_usd - own.cost_usd <= left.max_cost_usd)
        )

    def output_that_fits(self, input_tokens: int, most: int) -> int:
        """How many tokens, at most ``most``, may be generated after so much input; below 0 where even that is too
        much."""
        left, own = self._left()
        room = most
        if left.max_output_tokens is not None:
            room = min(room, left.max_output_tokens + own.output_tokens)
        if left.max_total_tokens is not None:
            more_input = max(0, input_tokens - own.input_tokens)
            room = min(room, left.max_total_tokens + own.output_tokens - more_input)
        if left.max_cost_usd is not None and self._price is not None:
            price = self._price.at(input_tokens)
            dollars = left.max_cost_usd + own.cost_usd - self.of(input_tokens, 0).cost_usd
            if dollars < 0:
                return -1
            if price.output > 0:
                # A nano-dollar less, for the rounding on the way.
                room = min(room, int((dollars - 1 / _NANO) * 1_000_000 / price.output))
        return room

    def _left(self) -> tuple[BudgetLimits, TokenAccounting]:
        """What is neither spent nor held in any purse above, and what of this lease's own hold is not used."""
        hold, charged = self._lease.hold, self._lease.charged
        own = _NOTHING
        if hold.total_tokens or hold.cost_usd:
            own = TokenAccounting(
                input_tokens=max(0, hold.input_tokens - charged.input_tokens),
                output_tokens=max(0, hold.output_tokens - charged.output_tokens),
                cost_usd=max(0.0, hold.cost_usd - charged.cost_usd),
            )
        return self._lease.purse.remaining(), own


def worst_case(
    price: ModelPrice | None, input_tokens: int, output_tokens: int, *, writes_cache: bool
) -> TokenAccounting:
    cost = 0.0
    if price is not None:
        at = price.at(input_tokens)
        cost = (input_tokens * at.most_for_input(writes_cache) + output_tokens * at.output) / 1_000_000
    return TokenAccounting(
        input_tokens=input_tokens, output_tokens=output_tokens, cost_usd=cost, priced=price is not None
    )
