"""Events told from entries: that an agent started and ended is on record already, and is not stored twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from ..errors import JournalCorrupt
from ..events import AgentCancelled, AgentEvent, AgentFailed, AgentFinished, AgentRetrying, AgentStarted, Event, decode
from .records import ENTRY, Ended, Entry, Opened, Row, Started, decode_entry

__all__ = ["TOLD_BY_ENTRIES", "Teller"]

TOLD_BY_ENTRIES = frozenset(kind.kind for kind in (AgentStarted, AgentFinished, AgentFailed, AgentCancelled))
"""The kinds of events that are not stored."""


class Teller:
    """Tells the events of one run from its rows, as they come; ``told`` is how many there were."""

    def __init__(self, run_id: str) -> None:
        self.told = 0
        self._run_id = run_id
        self._rows = 0
        self._events: list[Event] = []
        self._starts: dict[str, Started] = {}
        # A further attempt is on record before its log can say that it is retried: it is told of after that, by its
        # path.
        self._retried: dict[str, AgentStarted] = {}

    def tell(self, rows: Sequence[Row]) -> list[Event]:
        """The events of the next ``rows``, in their order, numbered from 1 on over all processes that ran it.

        :raises JournalCorrupt: for a row that can't be read.
        """
        self._events = []
        for stream, body in rows:
            self._rows += 1
            place = f"run {self._run_id!r}, row {self._rows}"
            if stream == ENTRY:
                self._tell_entry(decode_entry(place, body))
            else:
                event = _decoded(place, body)
                self._events.append(event)
                if isinstance(event, AgentRetrying):
                    self._tell_retried(event.path)
        first = self.told + 1
        self.told += len(self._events)
        return [replace(event, seq=number) for number, event in enumerate(self._events, first)]

    def _tell_entry(self, entry: Entry) -> None:
        if isinstance(entry, Started):
            self._starts[entry.key] = entry
            if entry.attempt > 1:
                self._retried[entry.path] = _started(self._run_id, entry)
            else:
                self._events.append(_started(self._run_id, entry))
        elif isinstance(entry, Ended) and (start := self._starts.get(entry.key)) is not None:
            self._tell_retried(start.path)
            self._events.append(_ended(self._run_id, start, entry))
        elif isinstance(entry, Opened):
            for path in list(self._retried):
                self._tell_retried(path)

    def _tell_retried(self, path: str) -> None:
        if path in self._retried:
            self._events.append(self._retried.pop(path))


def _decoded(place: str, body: bytes) -> Event:
    try:
        return decode(body)
    except ValueError as error:
        raise JournalCorrupt(place, f"not an event: {error}") from None


def _started(run_id: str, entry: Started) -> AgentStarted:
    return AgentStarted(
        run=run_id,
        timestamp=entry.at,
        agent=entry.agent,
        path=entry.path,
        parent=entry.parent,
        attempt=entry.attempt,
        held=entry.hold,
    )


def _ended(run_id: str, start: Started, entry: Ended) -> AgentEvent:
    output = entry.output

    def of(kind: Callable[..., AgentEvent], **fields: object) -> AgentEvent:
        return kind(
            run=run_id,
            timestamp=entry.at,
            agent=start.agent,
            path=start.path,
            parent=start.parent,
            duration_ms=output.duration_ms,
            tokens=output.tokens,
            **fields,
        )

    if entry.status == "cancelled":
        return of(AgentCancelled)
    if entry.status == "failed":
        return of(AgentFailed, error=output.error or "")
    return of(AgentFinished, turns=output.turns, tool_calls=output.tool_calls, answer_chars=len(output.answer))
