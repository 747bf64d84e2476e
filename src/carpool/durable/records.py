"""What a journal writes down of a run: its header, and entries that are only ever appended. JSON, and nothing else.

The header is one small record that every transaction reads and may replace; the entries are rows of two streams,
``ENTRY`` for the facts from which a run is resumed and ``EVENT`` for what its log said. A SHA-256 chain over all
rows ends in the header, so that a row that was changed, lost or moved is noticed, and so is a header.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple, cast

import msgspec
from msgspec import Struct, field
from msgspec.structs import asdict, replace

from ..errors import JournalCorrupt
from ..recall import Ask, Change, EndStatus
from ..types import AgentOutput, AgentSpec, BudgetLimits, TokenAccounting

__all__ = [
    "ENTRY",
    "EVENT",
    "FORMAT",
    "Approved",
    "AtStake",
    "Closed",
    "Ended",
    "Entry",
    "Opened",
    "Owner",
    "Row",
    "RunHeader",
    "SpecUsed",
    "Started",
    "chained",
    "decode_entry",
    "encode_json",
    "verified",
]

FORMAT = 1
"""The version of what is written. A newer one is refused without touching it."""

ENTRY, EVENT = 0, 1
_STREAMS = {ENTRY: b"0", EVENT: b"1"}


class Row(NamedTuple):
    """One row of a run; they are numbered from 1."""

    stream: int
    body: bytes


class Owner(Struct, frozen=True, kw_only=True):
    """The process that has a run. ``began`` tells it from a later one with its number, ``boot`` and ``space`` (the
    pid namespace) say where the number means anything; ``journal`` is the object in that process."""

    pid: int
    began: str
    boot: str
    space: str
    host: str
    journal: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class RunHeader(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run, as a list of runs shows it.

    ``epoch`` counts the processes that have opened it; ``owner`` has it now, or had it when it died, and ``beat`` is
    when that was last heard of. ``open`` until its pattern has ended. ``rows`` and ``chain`` seal its rows.
    """

    run_id: str
    created: datetime
    updated: datetime
    pattern: str = "run"
    task: str = ""
    epoch: int = 0
    owner: Owner | None = None
    beat: float = 0.0
    open: bool = True
    stop_reason: str = ""
    error: str | None = None
    duration_ms: float = 0.0
    started: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    spent: TokenAccounting = field(default_factory=TokenAccounting)
    limits: BudgetLimits = field(default_factory=BudgetLimits)
    about: dict[str, Any] = {}
    cancel: bool = False
    told: int = 0  # how many events of its owner's log are stored
    rows: int = 0
    chain: str = ""

    def goes_on_from(self, known: RunHeader) -> bool:
        """Whether this is the same run, as it was then or later; not one that was begun under its name since."""
        return self.run_id == known.run_id and self.created == known.created and self.rows >= known.rows

    def status(self, *, live: bool) -> str:
        """``running`` in a living process; ``interrupted`` where that died; ``new`` before any; else how it ended:
        ``cancelled``, the class of the error, or the stop reason."""
        if live:
            return "running"
        if self.open:
            return "interrupted"
        if self.error in ("CancelledError", "Cancelled"):  # of asyncio and of trio
            return "cancelled"
        return self.error or self.stop_reason or "new"


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """A fact that a run is resumed from."""

    at: datetime


class Opened(Entry, frozen=True, tag="opened"):
    """A process took the run; whatever was in flight before that is lost."""

    epoch: int
    owner: Owner
    limits: BudgetLimits = field(default_factory=BudgetLimits)


class SpecUsed(Entry, frozen=True, tag="spec"):
    """The spec that starts name by its ``digest``, written down once."""

    digest: str
    spec: AgentSpec


class Started(Entry, frozen=True, tag="started"):
    """About to run. ``task`` is left out where an earlier start of the same ``key`` has it."""

    key: str
    epoch: int
    roles: str
    path: str
    agent: str
    spec: str
    parent: str | None = None
    task: str | None = None
    attempt: int = 1
    slots: int = 1
    hold: TokenAccounting = field(default_factory=TokenAccounting)
    earlier: TokenAccounting = field(default_factory=TokenAccounting)
    purse: str = ""


class AtStake(Entry, frozen=True, tag="at_stake"):
    """What the running attempt of ``key`` would be booked at by now, if its process died: what it has charged and
    reserved, if that is more than it holds."""

    key: str
    spent: TokenAccounting


class Ended(Entry, frozen=True, tag="ended"):
    """What came of all starts of ``key`` in this epoch."""

    key: str
    status: EndStatus
    output: AgentOutput
    changes: Sequence[Change] = ()
    asks: Sequence[Ask] = ()
    origin: str = ""
    purse: str = ""


class Approved(Entry, frozen=True, tag="approved"):
    request: str


class Closed(Entry, frozen=True, tag="closed"):
    """The pattern ended in this process."""

    epoch: int
    stop_reason: str = ""
    error: str | None = None


_decoder = msgspec.json.Decoder(Opened | SpecUsed | Started | AtStake | Ended | Approved | Closed)
_encoder = msgspec.json.Encoder(enc_hook=repr)
_DEEPEST = 200


def encode_json(value: Any) -> bytes:
    """``value`` as JSON; what is none is told by its ``repr``, and half a character becomes a question mark. Never
    fails: what is written down together must not be lost for the oddity of one."""
    try:
        return _encoder.encode(value)
    except Exception:
        return _encoder.encode(_plain(value, 0))


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, Struct):
        return replace(value, **{name: _plain(held, depth + 1) for name, held in asdict(value).items()})
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if depth > _DEEPEST:
        return "[nested deeper than a journal goes]"
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {
            _plain(key if isinstance(key, str) else repr(key), depth): _plain(held, depth + 1) for key, held in items
        }
    if isinstance(value, list | tuple):
        return [_plain(held, depth + 1) for held in cast("list[Any]", value)]
    return value


def decode_entry(place: str, body: bytes) -> Entry:
    """:raises JournalCorrupt: for what is no entry."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise JournalCorrupt(place, f"not an entry of a run: {error}") from None


def chained(before: str, rows: Iterable[Row]) -> str:
    """The end of the chain after ``rows``: SHA-256 over the digest before and each row in turn, in hexadecimal."""
    link = bytes.fromhex(before)
    for stream, body in rows:
        link = sha256(link + _STREAMS[stream] + body).digest()
    return link.hex()


def verified(place: str, header: RunHeader, rows: Sequence[Row], known: RunHeader | None = None) -> Sequence[Row]:
    """``rows``, which are all of the run, or all since it was as ``known`` says.

    :raises JournalCorrupt: when they are not what was written.
    """
    before, link = (0, "") if known is None else (known.rows, known.chain)
    if before + len(rows) != header.rows:
        left = before + len(rows)
        raise JournalCorrupt(place, f"{left} of {header.rows} rows are left; restore the file from a copy")
    if any(row.stream not in _STREAMS for row in rows) or chained(link, rows) != header.chain:
        raise JournalCorrupt(place, "a row is not as it was written; restore the file from a copy")
    return rows
