"""A run that this process has: what is appended to it, as pure steps from one header to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ..clock import utc_now
from ..errors import RunInUse
from ..events import Event, LimitsRaised, RunFinished, encode
from ..recall import Opening
from ..types import TokenAccounting
from .ownership import claimed, refuse_unless_owned
from .records import ENTRY, EVENT, Closed, Ended, Entry, Opened, Owner, Row, RunHeader, Started, chained, encode_json
from .redaction import without_secrets
from .stakes import Stakes
from .telling import TOLD_BY_ENTRIES

__all__ = ["Claim", "Step"]

S = TypeVar("S", bound=Struct)


class Step(NamedTuple):
    """What a transaction on a run leaves: its header, and rows to append."""

    header: RunHeader
    rows: Sequence[Row] = ()


class Claim:
    """``opening`` by ``owner``. Every method that returns a step is pure but for its look at the log; all but the first
    refuse when somebody else has taken the run."""

    def __init__(self, opening: Opening, owner: Owner) -> None:
        self.opening = opening
        self.owner = owner
        self.epoch = 0
        # As of the last step, whether or not that was written: only hints for when to write again.
        self.told = 0
        self.last_beat = 0.0
        self.stakes = Stakes()
        self.lost = False  # it was seen that somebody else has taken it

    def claim(self, header: RunHeader | None, now: float, lost: TokenAccounting) -> Step:
        """Take the run, a new one or one that nobody alive has; ``lost`` is charged for what was in flight in it."""
        opening, at = self.opening, utc_now()
        if header is None:
            header = RunHeader(run_id=opening.run_id, created=at, updated=at, open=False)
        self.last_beat = now
        header = replace(
            claimed(header, self.owner, now),
            updated=at,
            pattern=opening.pattern,
            task=opening.redactor.text(opening.task),
            limits=opening.limits,
            spent=header.spent + lost,
            told=len(opening.log),
            stop_reason="",
            error=None,
        )
        return self._step(header, [Opened(at=at, epoch=header.epoch, owner=self.owner, limits=opening.limits)])

    def append(self, header: RunHeader | None, entries: Sequence[Entry], now: float) -> Step:
        """Append ``entries``, after the events that the log has got meanwhile; counts as a sign of life."""
        header = self._owned(header)
        self.last_beat = now
        return self._step(header, entries, self._news(header), beat=now, updated=utc_now())

    def close(self, header: RunHeader | None, finished: RunFinished, now: float) -> Step:
        """The end of the run in this process."""
        header = self._owned(header)
        at = utc_now()
        closed = Closed(at=at, epoch=self.epoch, stop_reason=finished.stop_reason, error=finished.error)
        return self._step(
            header,
            [closed],
            [*self._news(header), finished],
            beat=now,
            updated=at,
            open=False,
            stop_reason=finished.stop_reason,
            error=finished.error,
            duration_ms=header.duration_ms + finished.duration_ms,
        )

    def give_back(self, header: RunHeader | None, error: str) -> Step:
        """The run was claimed, and its opening did not come to an end; if it was claimed at all."""
        epoch = 0 if header is None else header.epoch
        header = refuse_unless_owned(header, self.opening.run_id, self.owner, epoch)
        return Step(replace(header, open=False, error=error))

    def has_news(self) -> bool:
        """Whether there is something that was not stored when this was last asked to write: events, or what agents in
        flight have charged."""
        return len(self.opening.log) > self.told or self.stakes.has_news()

    def _owned(self, header: RunHeader | None) -> RunHeader:
        try:
            return refuse_unless_owned(header, self.opening.run_id, self.owner, self.epoch)
        except RunInUse:
            self.lost = True
            raise

    def _news(self, header: RunHeader) -> list[Event]:
        return self.opening.log.events(since=header.told)

    def _step(self, header: RunHeader, entries: Sequence[Entry], news: Sequence[Event] = (), **fields: Any) -> Step:
        run = self.opening.run_id
        self.told = header.told + len(news)
        rows = [
            Row(EVENT, self._redacted(event, encode))
            for event in news
            if event.kind not in TOLD_BY_ENTRIES and event.run in (run, "")
        ]
        rows += [Row(ENTRY, self._redacted(entry, encode_json)) for entry in entries]
        for entry in entries:
            _count(header, entry, fields)
        for event in news:
            if isinstance(event, LimitsRaised) and event.snapshot is not None:
                fields["limits"] = event.snapshot.limits
        header = replace(
            header, told=self.told, rows=header.rows + len(rows), chain=chained(header.chain, rows), **fields
        )
        return Step(header, rows)

    def _redacted(self, told: S, encode: Callable[[S], bytes]) -> bytes:
        """``told`` as JSON without secrets; as a rule it has none, and then a look at the text is all."""
        redactor, body = self.opening.redactor, encode(told)
        text = body.decode()
        return body if redactor.text(text) == text else encode(without_secrets(told, redactor))


def _count(header: RunHeader, entry: Entry, fields: dict[str, Any]) -> None:
    """What ``entry`` adds to the counters of ``header``, into ``fields``."""
    if isinstance(entry, Started):
        fields["started"] = fields.get("started", header.started) + 1
    elif isinstance(entry, Ended):
        fields[entry.status] = fields.get(entry.status, getattr(header, entry.status)) + 1
        if entry.output.tokens is not None:
            fields["spent"] = fields.get("spent", header.spent) + entry.output.tokens
