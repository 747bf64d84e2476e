"""Facts as values of attributes: instants, amounts, errors, texts that any exporter can encode.

Names are those of the GenAI conventions as of 2026 (``opentelemetry-util-genai`` 1.3b0 emits the same), spelled out
here because no package has them as constants that are not deprecated. What has no name there begins with ``carpool.``
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ..types import BudgetSnapshot, TokenAccounting

__all__ = ["Attributes", "Failure", "amounts", "count", "failure", "instant", "snapshot", "spent", "text", "usage"]

Attributes = dict[str, str | bool | int | float]
Failure = tuple[str, str]
"""``error.type`` and the description of the status."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST = 2**63 - 1  # of the protocol's integers
_MOST_CHARACTERS = 1_000  # of an error or a reason: an exception may quote megabytes

_TIMED_OUT = re.compile(r"timed out after \S+ s \(timeout_s\)")
_CLASS = re.compile(r"([A-Za-z_]\w{0,99})(?:$|: )")


def instant(at: datetime) -> int:
    """Nanoseconds since 1970, exact to the microsecond that ``at`` has; never below zero."""
    passed = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)) - _EPOCH
    return max(0, ((passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds) * 1_000)


def text(value: str) -> str:
    """``value`` without half characters, which protobuf refuses, and cut where it is longer than a reader wants."""
    if len(value) > _MOST_CHARACTERS:
        value = f"{value[:_MOST_CHARACTERS]}… ({len(value):,} characters)"
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def count(number: int) -> int:
    """``number``, or the largest that can be sent: one beyond it would cost the whole batch."""
    return min(number, _LARGEST)


def failure(error: str) -> Failure:
    """Of an error as the log has it: ``TypeName: text``, the name of a class alone, or the door's own timeout."""
    if _TIMED_OUT.fullmatch(error):
        return "timeout", error
    found = _CLASS.match(error)
    return (found[1] if found else "_OTHER"), text(error)


def usage(tokens: TokenAccounting | None) -> Attributes:
    """What an agent spent, in the names that backends add up."""
    if tokens is None:
        return {}
    counts = {
        "gen_ai.usage.input_tokens": tokens.input_tokens,
        "gen_ai.usage.output_tokens": tokens.output_tokens,
    }
    if tokens.cache_read_tokens:
        counts["gen_ai.usage.cache_read.input_tokens"] = tokens.cache_read_tokens
    if tokens.cache_write_tokens:
        counts["gen_ai.usage.cache_creation.input_tokens"] = tokens.cache_write_tokens
    return {name: count(number) for name, number in counts.items()} | _cost("carpool.usage", tokens)


def spent(tokens: TokenAccounting | None) -> Attributes:
    """What others have spent already, or in another process: in names that nobody adds to the rest."""
    return {} if tokens is None else amounts("carpool.usage", tokens)


def amounts(prefix: str, tokens: TokenAccounting) -> Attributes:
    return {
        f"{prefix}.input_tokens": count(tokens.input_tokens),
        f"{prefix}.output_tokens": count(tokens.output_tokens),
    } | _cost(prefix, tokens)


def snapshot(purse: BudgetSnapshot | None) -> Attributes:
    """A purse at one instant."""
    if purse is None:
        return {}
    return {
        "carpool.budget.limits": text(repr(purse.limits)),
        "carpool.budget.spent_tokens": count(purse.total_tokens),
        "carpool.budget.spent_cost_usd": float(purse.cost_usd),
        "carpool.budget.held_tokens": count(purse.held.total_tokens),
        "carpool.budget.agents_started": count(purse.agents_started),
    }


def _cost(prefix: str, tokens: TokenAccounting) -> Attributes:
    cost: Attributes = {f"{prefix}.cost_usd": float(tokens.cost_usd)}
    if not tokens.priced:
        cost[f"{prefix}.priced"] = False
    return cost
