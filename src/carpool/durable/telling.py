"""Events told from entries: that an agent started and ended is on record already, and is not stored twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import JournalCorrupt
from ..events import AgentCancelled, AgentEvent, AgentFailed, AgentFinished, AgentRetrying, AgentStarted, Event, decode
from .records import ENTRY, Ended, Opened, Row, Started, decode_entry

__all__ = ["TOLD_BY_ENTRIES", "told"]

TOLD_BY_ENTRIES = frozenset(kind.kind for kind in (AgentStarted, AgentFinished, AgentFailed, AgentCancelled))
"""The kinds of events that are not stored."""


def told(run_id: str, rows: Sequence[Row]) -> list[Event]:
    """The events of a run from all its rows, in their order, without numbers. More rows add events at the end.

    :raises JournalCorrupt: for a row that can't be read.
    """
    starts: dict[str, Started] = {}
    # A further attempt is on record before its log can say that it is retried: it is told of after that, by its path.
    retried: dict[str, AgentStarted] = {}
    events: list[Event] = []
    for number, (stream, body) in enumerate(rows, 1):
        place = f"run {run_id!r}, row {number}"
        if stream == ENTRY:
            entry = decode_entry(place, body)
            if isinstance(entry, Started):
                starts[entry.key] = entry
                if entry.attempt > 1:
                    retried[entry.path] = _started(run_id, entry)
                else:
                    events.append(_started(run_id, entry))
            elif isinstance(entry, Ended) and (start := starts.get(entry.key)) is not None:
                _append_retried(events, retried, start.path)
                events.append(_ended(run_id, start, entry))
            elif isinstance(entry, Opened):
                for path in list(retried):
                    _append_retried(events, retried, path)
        else:
            event = _decoded(place, body)
            events.append(event)
            if isinstance(event, AgentRetrying):
                _append_retried(events, retried, event.path)
    return events


def _append_retried(events: list[Event], retried: dict[str, AgentStarted], path: str) -> None:
    if path in retried:
        events.append(retried.pop(path))


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
