"""A run that this process has: what is appended to it, as pure steps from one header to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from ..clock import utc_now
from ..events import Event, RunFinished, encode
from ..recall import Opening
from .ownership import claimed, refuse_unless_owned
from .records import ENTRY, EVENT, Closed, Ended, Entry, Opened, Owner, Row, RunHeader, Started, encode_json, sealed

__all__ = ["Claim", "Step"]


class Step(NamedTuple):
    """What a transaction on a run leaves: its header, and rows to append."""

    header: RunHeader
    rows: Sequence[Row] = ()


class Claim:
    """``opening`` by ``owner``. Every method that returns a step is pure but for its look at the log, and refuses when
    somebody else has taken the run."""

    def __init__(self, opening: Opening, owner: Owner) -> None:
        self.opening = opening
        self.owner = owner
        self.epoch = 0
        # As of the last step, whether or not that was written: only hints for when to write again.
        self.told = 0
        self.last_beat = 0.0

    def claim(self, header: RunHeader | None, now: float) -> Step:
        """Take the run, a new one or one that nobody alive has.

        :raises RunInUse: when somebody does.
        """
        opening, at = self.opening, utc_now()
        if header is None:
            header = RunHeader(run_id=opening.run_id, created=at, updated=at, open=False)
        header = replace(
            claimed(header, self.owner, now),
            updated=at,
            pattern=opening.pattern,
            task=opening.redactor.text(opening.task),
            limits=opening.limits,
            told=len(opening.log),
            stop_reason="",
            error=None,
        )
        return self._step(header, [Opened(at=at, epoch=header.epoch, owner=self.owner, limits=opening.limits)])

    def append(self, header: RunHeader | None, entries: Sequence[Entry], now: float) -> Step:
        """Append ``entries``, after the events that the log has got meanwhile; counts as a sign of life."""
        header = self._mine(header, now)
        return self._step(header, entries, self._news(header))

    def close(self, header: RunHeader | None, finished: RunFinished, now: float) -> Step:
        """The end of the run in this process."""
        header = self._mine(header, now)
        news = self._news(header)
        closed = Closed(at=utc_now(), epoch=self.epoch, stop_reason=finished.stop_reason, error=finished.error)
        after = replace(
            header,
            open=False,
            stop_reason=finished.stop_reason,
            error=finished.error,
            duration_ms=header.duration_ms + finished.duration_ms,
        )
        return self._step(after, [closed], [*news, finished])

    def has_news(self) -> bool:
        """Whether the log has events that were not stored when this was last asked to write."""
        return len(self.opening.log) > self.told

    def _mine(self, header: RunHeader | None, now: float) -> RunHeader:
        header = refuse_unless_owned(header, self.opening.run_id, self.owner, self.epoch)
        self.last_beat = now
        return replace(header, beat=now, updated=utc_now())

    def _news(self, header: RunHeader) -> list[Event]:
        return self.opening.log.events(since=header.told)

    def _step(self, header: RunHeader, entries: Sequence[Entry], news: Sequence[Event] = ()) -> Step:
        run, told = self.opening.run_id, header.told + len(news)
        self.told = told
        rows = [Row(EVENT, self._redacted(encode(event))) for event in news if event.run in (run, "")]
        rows += [Row(ENTRY, self._redacted(encode_json(entry))) for entry in entries]
        return Step(sealed(_counted(replace(header, told=told), entries), rows), rows)

    def _redacted(self, body: bytes) -> bytes:
        """``body`` without secrets; as a rule it has none, and then a look at the text is all."""
        redactor, text = self.opening.redactor, body.decode()
        if redactor.text(text) == text:
            return body
        return encode_json(redactor.value(msgspec.json.decode(body)))


def _counted(header: RunHeader, entries: Sequence[Entry]) -> RunHeader:
    """``header`` with its counters brought up to ``entries``."""
    started, completed, failed, cancelled = header.started, header.completed, header.failed, header.cancelled
    spent = header.spent
    for entry in entries:
        if isinstance(entry, Started):
            started += 1
        elif isinstance(entry, Ended):
            completed += entry.status == "completed"
            failed += entry.status == "failed"
            cancelled += entry.status == "cancelled"
            if entry.output.tokens is not None:
                spent += entry.output.tokens
    return replace(header, started=started, completed=completed, failed=failed, cancelled=cancelled, spent=spent)
