"""Spend as integers: input, output and total tokens, nano-dollars. Saturating, exact, no floats inside."""

from __future__ import annotations

from math import ceil, floor

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
"""Where every counter stops: a report of 2**80 tokens can't wrap round and reopen the gate."""

_NANO = 1_000_000_000


def amount_of(tokens: TokenAccounting) -> Amount:
    """What ``tokens`` weighs in the books; its cost rounded up to a whole nano-dollar."""
    read, written, cost = tokens.input_tokens, tokens.output_tokens, tokens.cost_usd
    if read + written >= MOST:
        return min(read, MOST), min(written, MOST), MOST, nano_up(cost)
    return read, written, read + written, nano_up(cost) if cost else 0


def tokens_of(amount: Amount, priced: bool = True) -> TokenAccounting:
    """The report that weighs ``amount``."""
    return TokenAccounting(
        input_tokens=amount[0], output_tokens=amount[1], cost_usd=amount[3] / _NANO, priced=priced
    )


def plus(one: Amount, other: Amount) -> Amount:
    """The sum of two amounts; each counter stops at ``MOST``."""
    total = one[2] + other[2]
    nanos = one[3] + other[3]
    if total >= MOST or nanos >= MOST:
        return min(one[0] + other[0], MOST), min(one[1] + other[1], MOST), min(total, MOST), min(nanos, MOST)
    return one[0] + other[0], one[1] + other[1], total, nanos


def minus(one: Amount, other: Amount) -> Amount:
    """What is left of ``one``, of which ``other`` is a part."""
    return one[0] - other[0], one[1] - other[1], one[2] - other[2], one[3] - other[3]


def lacking(wanted: Amount, there: Amount) -> Amount:
    """What of ``wanted`` is not covered by ``there``: input, output and cost each by itself."""
    read, written = max(0, wanted[0] - there[0]), max(0, wanted[1] - there[1])
    return read, written, min(read + written, MOST), max(0, wanted[3] - there[3])


def lesser(one: Amount, other: Amount) -> Amount:
    """What two amounts have in common: input, output and cost each by itself."""
    read, written = min(one[0], other[0]), min(one[1], other[1])
    return read, written, min(read + written, MOST), min(one[3], other[3])


def nano_up(usd: float) -> int:
    """Dollars as nano-dollars, rounded up: what is charged is never too little."""
    nearest = _nearest(usd)
    return nearest if nearest == MOST or nearest / _NANO == usd else min(ceil(usd * _NANO), MOST)


def nano_down(usd: float) -> int:
    """Dollars as nano-dollars, rounded down: what is allowed is never too much."""
    nearest = _nearest(usd)
    return nearest if nearest == MOST or nearest / _NANO == usd else min(floor(usd * _NANO), MOST)


def _nearest(usd: float) -> int:
    # 0.0000004 * 1e9 is 400.00000000000006 in binary; a float that *is* the nearest one to a whole number of
    # nano-dollars means that number, and only what lies in between is rounded.
    nanos = usd * _NANO
    return MOST if nanos >= MOST else round(nanos)
