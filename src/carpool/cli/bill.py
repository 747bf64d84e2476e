"""What a run came to: a fold over its events, and its wording. Pure, so that it works on a stored log as well."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct, field

from .. import events
from ..types import BudgetLimits, TokenAccounting
from .amounts import counted, dollars, seconds

__all__ = ["Bill", "bill_of", "why_withdrawn", "wording"]


class Bill(Struct, frozen=True, kw_only=True):
    """Agents by how they ended, and what all of them spent.

    ``started`` counts starts, retries among them; ``refused`` the agents that the budget kept out, ``withdrawn``
    those that were cancelled before they started. ``refusal`` is the budget's first no, in its own words. ``in_vain``
    is what earlier processes of the run spent on starts that came to nothing; no event of this one tells of it.
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
    in_vain: TokenAccounting = field(default_factory=TokenAccounting)
    refusal: str = ""
    stop_reason: str = ""
    error: str | None = None
    wall_s: float = 0.0


def bill_of(facts: Iterable[events.Event]) -> Bill:
    """The bill of the run that ``facts`` tell of, whether or not it has ended."""
    counts: dict[str, Any] = {}
    usage = TokenAccounting()
    refusal = stop_reason = ""
    error: str | None = None
    began = latest = None
    for fact in facts:
        latest = fact.timestamp or latest
        began = began or fact.timestamp
        counted_as = _COUNTED_AS.get(fact.kind)
        match fact:
            case events.AgentFinished() | events.AgentFailed() | events.AgentCancelled() | events.AgentReplayed():
                usage += fact.tokens or TokenAccounting()
            case events.AgentSkipped() if why_withdrawn(fact) is not None:
                counted_as = "withdrawn"
            case events.BudgetExhausted():
                refusal = refusal or fact.reason
            case events.RunFinished():
                stop_reason, error = fact.stop_reason, fact.error
            case _:
                pass
        if counted_as is not None:
            counts[counted_as] = counts.get(counted_as, 0) + 1
    return Bill(
        **counts,
        usage=usage,
        refusal=refusal,
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
    if bill.in_vain != TokenAccounting():
        lost = f"{bill.in_vain.total_tokens:,} tokens · {dollars(bill.in_vain.cost_usd)}"
        rows.append(("before", f"{lost}, on starts that were lost, failed or cancelled"))
    rows += [("budget" if place == 0 else "", row) for place, row in enumerate(_against(bill, limits))]
    return [*rows, ("time", seconds(bill.wall_s))]


def _against(bill: Bill, limits: BudgetLimits) -> list[str]:
    """Each limit that is set: what of it is used, and what is left."""
    usage = bill.usage + bill.in_vain
    rows = [
        f"{used:,} of {most:,} {what} · {max(0, most - used):,} left"
        for used, most, what in (
            (usage.total_tokens, limits.max_total_tokens, "tokens"),
            (usage.input_tokens, limits.max_input_tokens, "input tokens"),
            (usage.output_tokens, limits.max_output_tokens, "output tokens"),
            (bill.started + bill.replayed, limits.max_agents, "starts"),
        )
        if most is not None
    ]
    if (dollars_at_most := limits.max_cost_usd) is not None:
        left = max(0.0, dollars_at_most - usage.cost_usd)
        rows.append(f"{dollars(usage.cost_usd)} of {dollars(dollars_at_most)} · {dollars(left)} left")
    if (seconds_at_most := limits.max_seconds) is not None:
        left = max(0.0, seconds_at_most - bill.wall_s)
        rows.append(f"{seconds(bill.wall_s)} of {seconds(seconds_at_most)} · {seconds(left)} left")
    return rows
