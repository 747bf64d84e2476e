"""Spend as integers: input, output and total tokens, nano-dollars. Exact, no floats inside."""

from __future__ import annotations

from ..types import TokenAccounting

__all__ = [
    "MOST",
    "NOTHING",
    "Amount",
    "amount_of",
    "lacking",
    "lesser",
    "minus",
    "nano_down",
    "nano_up",
    "plus",
    "tokens_of",
]

Amount = tuple[int, int, int, int]
"""Input, output, input + output, nano-dollars: a plain tuple, because the budget adds and compares millions."""

NOTHING: Amount = (0, 0, 0, 0)

MOST = 2**64 - 1
"""What a counter shows at most, and a report counts for at most: nothing can wrap round and reopen the gate."""

_NANO = 1_000_000_000

_EXACTLY = 2**52 / _NANO  # below this many dollars every whole nano-dollar is a float of its own


def amount_of(tokens: TokenAccounting) -> Amount:
    """What ``tokens`` weighs in the books; its cost rounded up to a whole nano-dollar."""
    read, written, cost = tokens.input_tokens, tokens.output_tokens, tokens.cost_usd
    if read + written > MOST:
        read, written = min(read, MOST), min(written, MOST)
    return read, written, read + written, nano_up(cost) if cost else 0


def tokens_of(amount: Amount, priced: bool = True) -> TokenAccounting:
    """The report that weighs ``amount``, each counter at most ``MOST``."""
    return TokenAccounting(
        input_tokens=min(amount[0], MOST),
        output_tokens=min(amount[1], MOST),
        cost_usd=min(amount[3], MOST) / _NANO,
        priced=priced,
    )


def plus(one: Amount, other: Amount) -> Amount:
    """The sum of two amounts. Sums don't stop at ``MOST``: what is added must come off again exactly."""
    read, written, total, nanos = one
    more_read, more_written, more_total, more_nanos = other
    return read + more_read, written + more_written, total + more_total, nanos + more_nanos


def minus(one: Amount, other: Amount) -> Amount:
    """What is left of ``one``, of which ``other`` is a part."""
    read, written, total, nanos = one
    less_read, less_written, less_total, less_nanos = other
    return read - less_read, written - less_written, total - less_total, nanos - less_nanos


def lacking(wanted: Amount, there: Amount) -> Amount:
    """What of ``wanted`` is not covered by ``there``: input, output and cost each by itself."""
    read, written = max(0, wanted[0] - there[0]), max(0, wanted[1] - there[1])
    return read, written, read + written, max(0, wanted[3] - there[3])


def lesser(one: Amount, other: Amount) -> Amount:
    """What two amounts have in common: input, output and cost each by itself."""
    if one == other:
        return one  # a true estimate; min() takes five times as long
    read, written = min(one[0], other[0]), min(one[1], other[1])
    return read, written, read + written, min(one[3], other[3])


def nano_up(usd: float) -> int:
    """Dollars as nano-dollars, rounded up: what is charged is never too little."""
    nearest = round(usd * _NANO) if usd < _EXACTLY else 0
    if nearest / _NANO == usd:
        return nearest  # as nearly all are
    below, meant = _nanos(usd)
    return min(below + 1 if meant is None else meant, MOST)


def nano_down(usd: float) -> int:
    """Dollars as nano-dollars, rounded down: what is allowed is never too much."""
    below, meant = _nanos(usd)
    return min(below if meant is None else meant, MOST)


def _nanos(usd: float) -> tuple[int, int | None]:
    """The whole number of nano-dollars below ``usd``, and the one that it means, if it means one.

    $0.0000004 is 400 of them, though the float is a little off: it is the float that is nearest to 400. Only
    what lies in between is rounded. In integers, because the product with 1e9 is rounded too.
    """
    numerator, denominator = usd.as_integer_ratio()
    below = numerator * _NANO // denominator
    for near in (below, below + 1):
        if near / _NANO == usd:
            return below, near
    return below, None
