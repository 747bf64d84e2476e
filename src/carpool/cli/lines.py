"""One line for each change of state: a pure function from an event to what is shown of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from .. import events
from ..types import TokenAccounting
from .amounts import dollars, seconds
from .bill import why_withdrawn
from .terminal import Piece, ending_within, on_one_line, padded, width_of

__all__ = ["Lines"]

_WIDEST = 56  # characters for whom a line is about
_ALL_ELSE = 56  # characters before and after that


class Lines:
    """Lines for the agents of one run, in columns. An agent that works on an item is told by the item's label."""

    def __init__(
        self, names: Iterable[str], labels: Mapping[str, str], width: int | None = None, *, at_least: int = 0
    ) -> None:
        """``names`` are the agents' that are known beforehand, ``labels`` those of items, by the agent's name;
        ``width`` is the terminal's, if there is one; ``at_least`` how wide the column of names is."""
        self._labels = labels
        self._cut = width is not None
        widest = _WIDEST if width is None else min(_WIDEST, max(16, width - _ALL_ELSE))
        shown = (on_one_line(text) for text in (*names, *labels.values()))
        self._width = min(widest, max(at_least, max(map(width_of, shown), default=0)))
        self._began: datetime | None = None

    def of(self, event: events.Event) -> list[Piece] | None:
        """The line that tells ``event``, or ``None`` where it is no change that a reader waits for."""
        if self._began is None:
            self._began = event.timestamp
        word, style, tell = _TOLD.get(event.kind, _UNTOLD)
        if tell is None or (isinstance(event, events.AgentStarted) and event.attempt > 1):
            return None
        if isinstance(event, events.AgentSkipped) and why_withdrawn(event) is not None:
            word = "withdrawn"
        who = self._who(event.agent) if isinstance(event, events.AgentEvent) else ""
        return [(f"{self._moment(event)}  ", "dim"), (f"{word:<10}", style), (who, ""), (tell(event), "dim")]

    def unreadable(self, label: str, reason: str) -> list[Piece]:
        """The line for an item that could not be read; no event tells of it, because no agent was asked."""
        return [("unread".rjust(16).ljust(20), "red"), (self._column(label), ""), (on_one_line(reason), "dim")]

    def _moment(self, event: events.Event) -> str:
        if event.timestamp is None or self._began is None:
            return " " * 8
        return f"{(event.timestamp - self._began).total_seconds():6.2f} s"

    def _who(self, agent: str) -> str:
        return self._column(self._labels.get(agent, agent))

    def _column(self, text: str) -> str:
        text = on_one_line(text)
        text = ending_within(text, self._width) if self._cut else text
        return padded(text, self._width) + "  "  # a name that is wider than its column still ends somewhere


def _started(_: events.AgentStarted) -> str:
    return ""


def _ended(event: events.AgentFinished | events.AgentCancelled) -> str:
    return f"{seconds(event.duration_ms / 1e3):>8} {_spent(event.tokens)}"


def _failed(event: events.AgentFailed) -> str:
    return f"{seconds(event.duration_ms / 1e3):>8} {_spent(event.tokens)}  {on_one_line(event.error)}".rstrip()


def _skipped(event: events.AgentSkipped) -> str:
    return on_one_line(why_withdrawn(event) or "")  # of a refusal it is told once, by the event that the budget is out


def _replayed(event: events.AgentReplayed) -> str:
    return f"{'':>8} {_spent(event.tokens)}"


def _retrying(event: events.AgentRetrying) -> str:
    return f"start {event.attempt}, after {on_one_line(event.error)}"


def _warned(event: events.BudgetWarning) -> str:
    if event.dimension == "cost_usd":
        return f"nearly spent: {dollars(event.spent)} of {dollars(event.limit)}"
    what = event.dimension.removeprefix("total_").replace("_", " ")
    return f"nearly spent: {event.spent:,.0f} of {event.limit:,.0f} {what}"


def _exhausted(event: events.BudgetExhausted) -> str:
    return on_one_line(event.reason)


def _spent(tokens: TokenAccounting | None) -> str:
    if tokens is None or tokens == _NOTHING:
        return ""
    text = f"{tokens.total_tokens:>7,} tokens"
    if not tokens.priced:
        return f"{text} · price unknown"
    return f"{text} · {dollars(tokens.cost_usd)}" if tokens.cost_usd else text


_NOTHING = TokenAccounting()
_Tell = Callable[..., str]
_UNTOLD: tuple[str, str, _Tell | None] = ("", "", None)
_TOLD: dict[str, tuple[str, str, _Tell]] = {
    events.AgentStarted.kind: ("started", "cyan", _started),
    events.AgentFinished.kind: ("finished", "green", _ended),
    events.AgentFailed.kind: ("failed", "red", _failed),
    events.AgentCancelled.kind: ("cancelled", "yellow", _ended),
    events.AgentSkipped.kind: ("refused", "yellow", _skipped),
    events.AgentReplayed.kind: ("recalled", "green", _replayed),
    events.AgentRetrying.kind: ("retrying", "yellow", _retrying),
    events.BudgetWarning.kind: ("budget", "yellow", _warned),
    events.BudgetExhausted.kind: ("budget", "bold yellow", _exhausted),
}
