"""A run as it is drawn: a fold over the rows of its journal, which goes on where it stopped when there are more.

Nothing is read twice: of a run that goes on, each look costs what is new. Numbers of agents depend on the rows alone,
so that every picture of a run has the same.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from ..clock import utc_now
from ..durable import RunHeader, StoredRun
from ..durable.history import History
from ..durable.records import ENTRY, Ended, Entry, Opened, Started, decode_entry
from ..errors import JournalCorrupt
from ..events import AgentRetrying, AgentSkipped, LimitsRaised
from ..types import BudgetLimits
from .burn import Burn
from .place import Place, label_in, row_of
from .rows import AgentRow, LimitsRow, Page, epoch_ms, ms_between, shortened
from .summary import summary_of

__all__ = ["Picture"]


class Picture:
    """``take`` every look at the run; ``page`` tells what is new since the one before."""

    def __init__(self, header: RunHeader) -> None:
        self.header = header
        self.created = header.created
        self.taken = 0  # rows
        self.places: list[Place] = []
        self.history = History()
        self.burn = Burn()
        self._limits: list[tuple[int, LimitsRow]] = []
        self._notes: list[tuple[int, dict[str, Any]]] = []
        self._changes: list[tuple[int, Place]] = []
        self._by_key: dict[str, Place] = {}
        self._by_path: dict[str, Place] = {}
        self._told = 0
        # As in every telling of events: a further attempt is told of once the log says that it is one.
        self._retried: dict[str, tuple[Place, float, Started]] = {}

    @property
    def edition(self) -> str:
        """Tells this run from one that had its name before it."""
        return f"{epoch_ms(self.created):.0f}"

    def is_of(self, header: RunHeader) -> bool:
        """Whether ``header`` is of the run that was taken so far."""
        return header.created == self.created and header.rows >= self.taken

    def take(self, stored: StoredRun) -> None:
        """Fold in what is new.

        :raises JournalCorrupt: for a row that can't be read.
        """
        self.header = stored.header
        run = f"run {stored.header.run_id!r}"
        for stream, body in stored.rows[self.taken - stored.before :]:
            self.taken += 1
            if stream == ENTRY:
                self._take_entry(decode_entry(f"{run}, row {self.taken}", body))
            else:
                try:
                    self._take_event(_decoder.decode(body), body)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise JournalCorrupt(f"{run}, row {self.taken}", f"not an event: {error}") from None

    # What is told of it

    def page(self, cursor: str, most: int, *, live: bool) -> Page:
        """What has changed since ``cursor``, of at most ``most`` agents (of more only where one row changed them)."""
        edition, _, since = cursor.partition("-")
        fresh = edition != self.edition
        after = 0 if fresh or not since.isdecimal() else int(since)
        found: list[AgentRow] = []
        until = self.taken
        for number, place in self._changes[bisect_right(self._changes, after, key=_number) :]:
            if len(found) >= most and number != until:
                break
            until = number
            if place.changed == number:
                found.append(row_of(place, self.history.specs, self.created))
        else:
            until = self.taken
        return Page(
            run=summary_of(self.header, live=live),
            cursor=f"{self.edition}-{until}",
            now=epoch_ms(utc_now()),
            fresh=fresh,
            more=until < self.taken,
            agents=found,
            burn=self.burn.between(after, until),
            limits=[row for number, row in self._limits if after < number <= until],
            notes=[note for number, note in self._notes if after < number <= until],
        )

    # Entries

    def _take_entry(self, entry: Entry) -> None:
        if isinstance(entry, Started):
            self._start(entry)
        elif isinstance(entry, Ended):
            if (place := self._by_key.get(entry.key)) is not None:
                self._tell_retried(place.path)
                self.history.tell(entry)
                self.burn.end(entry.key, entry.output.tokens)
                self._happened(place, self._since(entry.at), entry)
        else:
            if isinstance(entry, Opened):
                self._open(entry)
            self.history.tell(entry)
            return
        self.burn.mark(self.taken, self._since(entry.at))

    def _start(self, entry: Started) -> None:
        self.history.tell(entry)
        place = self._by_key.get(entry.key)
        if place is None:
            place = self._by_path.get(entry.path)
            if place is None or place.fate is not None:  # somebody else was there in an earlier process
                place = self._new(entry.path)
            self._by_key[entry.key] = place
            place.fate = self.history.fates[entry.key]
            place.label = label_in(place.fate.task)
        self._by_path[entry.path] = place
        place.path = entry.path
        self.burn.start(entry.key, entry.hold, entry.earlier)
        if entry.attempt > 1:
            self._retried[entry.path] = place, self._since(entry.at), entry
            self._change(place)
        else:
            self._happened(place, self._since(entry.at), entry)

    def _open(self, entry: Opened) -> None:
        """A process takes the run: what an earlier one had in flight is lost."""
        for path in list(self._retried):
            self._tell_retried(path)
        for place in self.places:
            if place.fate is not None and place.fate.status == "running":
                self._change(place)
        self.burn.lose(slots=sum(past.slots for past in self.history.past))
        self.burn.mark(self.taken, self._since(entry.at))
        self._limit(entry.limits, self._since(entry.at))

    # Events

    def _take_event(self, event: _Told, body: bytes) -> None:
        moment = 0.0 if event.timestamp is None else self._since(event.timestamp)
        if not event.path:
            self._told += 1
            self._note(event, moment, body)
            return
        place = self._by_path.get(event.path)
        if place is None and event.kind == AgentSkipped.kind:
            place = self._by_path[event.path] = self._new(event.path)
        if place is None:
            self._told += 1
            return
        if event.kind == AgentSkipped.kind and place.fate is None:
            place.reason, place.parent, place.at = event.reason, event.parent, moment
        self._happened(place, moment, body)
        if event.kind == AgentRetrying.kind:
            self._tell_retried(event.path)

    def _note(self, event: _Told, moment: float, body: bytes) -> None:
        told = msgspec.json.decode(body)
        note = {name: value for name, value in told.items() if name in _TOLD_OF_A_RUN}
        note = {name: shortened(value, 500) if isinstance(value, str) else value for name, value in note.items()}
        self._notes.append((self.taken, note | {"seq": self._told, "t": moment}))
        if event.kind == LimitsRaised.kind and event.snapshot is not None:
            self._limit(event.snapshot.limits, moment)

    # What both do

    def _new(self, path: str) -> Place:
        place = Place(len(self.places), path)
        self.places.append(place)
        return place

    def _happened(self, place: Place, moment: float, what: Entry | bytes) -> None:
        self._told += 1
        place.events.append((self._told, moment, what))
        self._change(place)

    def _tell_retried(self, path: str) -> None:
        if path in self._retried:
            self._happened(*self._retried.pop(path))

    def _change(self, place: Place) -> None:
        place.changed = self.taken
        self._changes.append((self.taken, place))

    def _limit(self, limits: BudgetLimits, moment: float) -> None:
        row = LimitsRow(
            t=moment,
            total=limits.max_total_tokens,
            input=limits.max_input_tokens,
            output=limits.max_output_tokens,
            usd=limits.max_cost_usd,
            agents=limits.max_agents,
            seconds=limits.max_seconds,
        )
        self._limits.append((self.taken, row))

    def _since(self, moment: datetime) -> float:
        return ms_between(self.created, moment)


def _number(change: tuple[int, Place]) -> int:
    return change[0]


class _Limited(Struct):
    limits: BudgetLimits


class _Told(Struct):
    """What is looked at of an event."""

    kind: str = ""
    path: str = ""
    parent: str | None = None
    timestamp: datetime | None = None
    reason: str = ""
    snapshot: _Limited | None = None


_decoder = msgspec.json.Decoder(_Told)
_TOLD_OF_A_RUN = frozenset(
    ("kind", "pattern", "stop_reason", "error", "duration_ms", "dimension", "spent", "limit", "reason")
)
