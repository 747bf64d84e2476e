"""What a run came to: a fold over its events, and its wording. Pure, so that it works on a stored log as well."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct, field

from .. import events
from ..types import BudgetLimits, BudgetSnapshot, TokenAccounting
from .amounts import counted, dollars, seconds
from .refusals import first_of_each

__all__ = ["Bill", "bill_of", "why_withdrawn", "wording"]


class Bill(Struct, frozen=True, kw_only=True):
    """Agents by how they ended, and what all of them spent.

    ``started`` counts starts, retries among them; ``refused`` the agents that the budget kept out, ``withdrawn``
    those that were cancelled before they started. ``refusals`` are what the budget said no to, in its own words: its
    first no for each limit, to starts and to what agents asked for while they ran.

    ``recalled`` is what of ``usage`` is the price of answers that earlier processes had.

    What no event tells of: ``before``, all that earlier processes of the run spent; ``in_vain``, what of it went to
    starts that came to nothing; and ``purse``, the budget as it stood in the end, with what was spent before.
    """

    started: int = 0
    retried: int = 0
    finished: int = 0
    failed: int = 0
    refused: int = 0
    withdrawn: int = 0
    cancelled: int = 0
    replayed: int = 0
    usage: TokenAccounting = field(default_factory=TokenAccounting)
    recalled: TokenAccounting = field(default_factory=TokenAccounting)
    before: TokenAccounting = field(default_factory=TokenAccounting)
    in_vain: TokenAccounting = field(default_factory=TokenAccounting)
    purse: BudgetSnapshot | None = None
    refusals: tuple[str, ...] = ()
    stop_reason: str = ""
    error: str | None = None
    wall_s: float = 0.0

    @property
    def unused(self) -> TokenAccounting:
        """What earlier processes spent on answers that this one had no use for."""
        told = self.recalled + self.in_vain
        return TokenAccounting(
            input_tokens=max(0, self.before.input_tokens - told.input_tokens),
            output_tokens=max(0, self.before.output_tokens - told.output_tokens),
            cost_usd=max(0.0, round(self.before.cost_usd - told.cost_usd, 9)),  # to what a purse counts in
        )


def bill_of(facts: Iterable[events.Event]) -> Bill:
    """The bill of the run that ``facts`` tell of, whether or not it has ended."""
    counts: dict[str, Any] = {}
    usage = recalled = TokenAccounting()
    refusals: list[str] = []
    stop_reason = ""
    error: str | None = None
    began = latest = None
    for fact in facts:
        latest = fact.timestamp or latest
        began = began or fact.timestamp
        counted_as = _COUNTED_AS.get(fact.kind)
        if isinstance(fact, events.AgentReplayed):
            recalled += fact.tokens or TokenAccounting()
        if isinstance(fact, events.AgentFailed) and fact.error.startswith(_REFUSED_AT_WORK):
            refusals.append(fact.error.removeprefix(_REFUSED_AT_WORK))
        match fact:
            case events.AgentFinished() | events.AgentFailed() | events.AgentCancelled() | events.AgentReplayed():
                usage += fact.tokens or TokenAccounting()
            case events.AgentSkipped() if why_withdrawn(fact) is not None:
                counted_as = "withdrawn"
            case events.AgentSkipped() | events.BudgetExhausted():
                refusals.append(fact.reason)
            case events.RunFinished():
                stop_reason, error = fact.stop_reason, fact.error
            case _:
                pass
        if counted_as is not None:
            counts[counted_as] = counts.get(counted_as, 0) + 1
    return Bill(
        **counts,
        usage=usage,
        recalled=recalled,
        refusals=first_of_each(refusals),
        stop_reason=stop_reason,
        error=error,
        wall_s=(latest - began).total_seconds() if began and latest else 0.0,
    )


_COUNTED_AS = {
    events.AgentStarted.kind: "started",
    events.AgentRetrying.kind: "retried",
    events.AgentFinished.kind: "finished",
    events.AgentFailed.kind: "failed",
    events.AgentSkipped.kind: "refused",
    events.AgentCancelled.kind: "cancelled",
    events.AgentReplayed.kind: "replayed",
}
_REFUSED_AT_WORK = "BudgetExhausted: "
"""How the error of an agent begins that the budget refused something while it ran, a model call for instance."""

_WITHDRAWN = "never started: "
"""How the reason of an ``agent_skipped`` begins where it was not the budget that said no."""


def why_withdrawn(skipped: events.AgentSkipped) -> str | None:
    """Why an agent never started, where it was not the budget that said no; empty where it was cancelled before."""
    if not skipped.reason.startswith(_WITHDRAWN):
        return None
    why = skipped.reason.removeprefix(_WITHDRAWN)
    return "" if why in _CANCELLATIONS else why


_CANCELLATIONS = ("CancelledError", "Cancelled")  # of asyncio and of trio


def wording(bill: Bill, limits: BudgetLimits) -> list[tuple[str, str]]:
    """The bill as rows of a label and a text; rows that would say nothing are left out."""
    agents = [counted(bill.started, "start")] + [
        f"{number:,} {what}"
        for number, what in (
            (bill.finished, "finished"),
            (bill.failed, "failed"),
            (bill.cancelled, "cancelled"),
            (bill.refused, "refused by the budget"),
            (bill.withdrawn, "never started"),
            (bill.replayed, "recalled"),
            (bill.retried, "retried"),
        )
        if number
    ]
    usage = bill.usage
    rows = [
        ("agents", " · ".join(agents)),
        ("tokens", f"{usage.input_tokens:,} in · {usage.output_tokens:,} out"),
        ("cost", dollars(usage.cost_usd) if usage.priced else f"{dollars(usage.cost_usd)} and what has no known price"),
    ]
    rows += _labelled("before", _before(bill))
    rows += _labelled("budget", _against(bill, limits))
    return [*rows, ("time", seconds(bill.wall_s))]


def _labelled(label: str, texts: list[str]) -> list[tuple[str, str]]:
    return [(label if place == 0 else "", text) for place, text in enumerate(texts)]


def _before(bill: Bill) -> list[str]:
    """What earlier processes spent, beyond the answers that were recalled."""
    return [
        f"{tokens.total_tokens:,} tokens · {dollars(tokens.cost_usd)}, on {what}"
        for tokens, what in (
            (bill.in_vain, "starts that were lost, failed or cancelled"),
            (bill.unused, "answers no longer used"),
        )
        if tokens.total_tokens or tokens.cost_usd
    ]


def _against(bill: Bill, limits: BudgetLimits) -> list[str]:
    """Each limit that is set: what of it is used, and what is left."""
    usage = bill.purse or bill.usage + bill.in_vain
    starts = bill.purse.agents_started if bill.purse else bill.started + bill.replayed
    rows = [
        f"{used:,} of {most:,} {what} · {max(0, most - used):,} left"
        for used, most, what in (
            (usage.total_tokens, limits.max_total_tokens, "tokens"),
            (usage.input_tokens, limits.max_input_tokens, "input tokens"),
            (usage.output_tokens, limits.max_output_tokens, "output tokens"),
            (starts, limits.max_agents, "starts"),
        )
        if most is not None
    ]
    if (dollars_at_most := limits.max_cost_usd) is not None:
        left = max(0.0, dollars_at_most - usage.cost_usd)
        rows.append(f"{dollars(usage.cost_usd)} of {dollars(dollars_at_most)} · {dollars(left)} left")
    if (seconds_at_most := limits.max_seconds) is not None:
        took = bill.purse.elapsed_s if bill.purse else bill.wall_s
        left = max(0.0, seconds_at_most - took)
        rows.append(f"{seconds(took)} of {seconds(seconds_at_most)} · {seconds(left)} left")
    return rows
