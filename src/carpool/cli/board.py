"""What there is to see of a run at one moment: a fold over its events. Pure, and cheap for every event."""

from __future__ import annotations

from collections import deque
from datetime import datetime

from msgspec import Struct

from .. import events
from ..types import TokenAccounting
from .bill import why_withdrawn

__all__ = ["Board", "Place"]

_NOTHING = TokenAccounting()
_REMEMBERED = 64  # of those who have ended, for a screen of any height


class Place(Struct, kw_only=True):
    """One agent. ``state``: ``running``, ``finished``, ``failed``, ``cancelled``, ``refused``, ``withdrawn``,
    ``recalled``."""

    agent: str
    path: str
    parent: str | None = None
    state: str = "running"
    since: datetime | None = None
    attempt: int = 1
    seconds: float | None = None  # how long it took, once it has ended
    tokens: TokenAccounting = _NOTHING
    held: TokenAccounting = _NOTHING
    note: str = ""


class Board:
    """Counts of all agents, and the places of those that run and of those that ended last.

    While there are few agents, ``all`` has everyone; beyond ``few`` it is given up, and what is kept does not grow
    with the number of agents. ``spent`` is what these agents cost, ``booked`` what the budget has spent.
    """

    def __init__(self, few: int = 48, *, before: TokenAccounting | None = None) -> None:
        """``before`` is what earlier processes of the run have spent, on answers that are recalled too."""
        self.counts: dict[str, int] = {}
        self.running: dict[str, Place] = {}
        self.ended: deque[Place] = deque(maxlen=_REMEMBERED)
        self.bad: deque[Place] = deque(maxlen=_REMEMBERED)
        self.all: dict[str, Place] | None = {}
        self.spent = _NOTHING
        self.booked = before or _NOTHING
        self.began: datetime | None = None
        self.latest: events.Event | None = None
        self.notice = ""
        self._few = few
        self._held: dict[str, TokenAccounting] = {}

    @property
    def held(self) -> TokenAccounting:
        """What the agents that run hold of the budget, as it was when they were let in."""
        return sum((place.held for place in self.running.values()), _NOTHING)

    @property
    def ended_count(self) -> int:
        """Agents that have ended after a start, now or in an earlier process."""
        return sum(self.counts.get(state, 0) for state in ("finished", "failed", "cancelled", "recalled"))

    @property
    def kept_out_count(self) -> int:
        """Agents that never started: refused by the budget, or withdrawn."""
        return self.counts.get("refused", 0) + self.counts.get("withdrawn", 0)

    def tell(self, event: events.Event) -> None:
        """The next event of the log."""
        self.began = self.began or event.timestamp
        self.latest = event
        match event:
            case events.AgentStarted():
                self._start(event)
            case events.AgentFinished():
                self._end(event, "finished", event.duration_ms, event.tokens)
            case events.AgentFailed():
                self._end(event, "failed", event.duration_ms, event.tokens, event.error)
            case events.AgentCancelled():
                self._end(event, "cancelled", event.duration_ms, event.tokens)
            case events.AgentReplayed():
                self._end(event, "recalled", None, event.tokens)
            case events.AgentSkipped():
                why = why_withdrawn(event)
                self._end(
                    event, "refused" if why is None else "withdrawn", None, None, event.reason if why is None else why
                )
            case events.AgentRetrying():
                self.notice = f"{event.agent}: start {event.attempt}, after {event.error}"
            case events.BudgetExhausted():
                self.notice = event.reason
            case events.ActionExecuting():
                if (place := self.running.get(event.path)) is not None:
                    place.note = event.tool or ""
            case _:
                pass

    def _start(self, event: events.AgentStarted) -> None:
        place = Place(
            agent=event.agent,
            path=event.path,
            parent=event.parent,
            since=event.timestamp,
            attempt=event.attempt,
            held=event.held or _NOTHING,
        )
        self.running[event.path] = place
        self._keep(place)

    def _end(
        self,
        event: events.AgentEvent,
        state: str,
        duration_ms: float | None,
        tokens: TokenAccounting | None,
        note: str = "",
    ) -> None:
        place = self.running.pop(event.path, None) or Place(agent=event.agent, path=event.path, parent=event.parent)
        place.state, place.note = state, note
        place.seconds = None if duration_ms is None else duration_ms / 1e3
        place.tokens = tokens or _NOTHING
        self.spent += place.tokens
        if state != "recalled":
            self.booked += place.tokens
        self.counts[state] = self.counts.get(state, 0) + 1
        self.ended.append(place)
        if state in ("failed", "refused") or (state == "withdrawn" and note):
            self.bad.append(place)
        self._keep(place)

    def _keep(self, place: Place) -> None:
        if self.all is not None:
            self.all[place.path] = place
            if len(self.all) > self._few:
                self.all = None
