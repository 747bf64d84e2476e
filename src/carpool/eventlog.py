"""The append-only log of events: dense, in one order, readable while it grows.

Appending never waits: not for a disk, not for a reader. Every event is numbered under one lock, from any
thread; a subscriber has its own place in the log and misses nothing, however slow it is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import force_setattr, replace

from .clock import Clock, SystemClock
from .errors import JournalCorrupt
from .events import Event, decode, encode
from .wakeup import Wakeup

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EventLog", "verify_jsonl"]


class EventLog:
    """Events in memory, oldest first. ``len(log)`` is the ``seq`` of the last one."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._events: list[Event] = []
        self._numbered = 0
        self._lock = Lock()
        self._wakers: set[Callable[[], None]] = set()

    def append(self, event: Event) -> Event:
        """Give ``event`` the next ``seq`` and, if it has none, a timestamp; returns it as it stands in the log.

        An event fresh from its constructor is numbered in place; one that has a number already is copied.
        """
        timestamp = event.timestamp or self._clock.now()
        with self._lock:
            if event.seq:  # asked under the lock: another thread may have appended the same event
                event = replace(event)
            force_setattr(event, "timestamp", timestamp)
            self._events.append(event)
            self._number()
        self._wake()
        return event

    def add(self, event: Event) -> None:
        """``append`` for an event that nobody else has, complete with its timestamp: at a third of the price,
        because a list is appended to in one step, and the number, which is its place, can wait for a reader."""
        self._events.append(event)
        if self._wakers:
            self._wake()

    def _number(self) -> None:
        for place in range(self._numbered, len(self._events)):
            force_setattr(self._events[place], "seq", place + 1)
            self._numbered = place + 1

    def _read(self) -> list[Event]:
        """All events, each with its number."""
        with self._lock:
            self._number()
        return self._events

    def _wake(self) -> None:
        for wake in tuple(self._wakers):
            wake()

    def extend(self, events: Iterable[Event]) -> None:
        """Append each; they keep their timestamps and get this log's numbers."""
        for event in events:
            self.append(event)

    def events(self, *, kind: str | None = None, agent: str | None = None, since: int = 0) -> list[Event]:
        """Those with ``seq > since``, of this ``kind``, about this ``agent``."""
        return [
            event
            for event in self._read()[max(0, since) :]
            if (kind is None or event.kind == kind) and (agent is None or getattr(event, "agent", None) == agent)
        ]

    def __len__(self) -> int:
        return len(self._events)

    async def subscribe(self, since: int = 0) -> AsyncGenerator[Event]:
        """Every event with ``seq > since``, in order and without a gap; then each new one as it comes.

        Never ends by itself: leave the loop, or cancel. Closing the iterator takes the subscription away.
        """
        arrived, position = Wakeup(), max(0, since)
        with self.waking(arrived.set):
            while True:
                events = self._read()
                numbered = len(events)
                while position < numbered:
                    position += 1
                    yield events[position - 1]
                if position >= len(events):
                    await arrived.wait()

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Generator[None]:
        """Within the block, ``wake`` is called after every append, in whatever thread that happens."""
        self._wakers.add(wake)
        try:
            yield
        finally:
            self._wakers.discard(wake)

    def to_jsonl(self, path: str | Path) -> None:
        """Write every event as a line of JSON, each chained to the one before with SHA-256.

        The last line is marked, so that a file that was cut short is told from a whole one. The chain shows
        accidents and edits; it is not a signature: who can write the file can chain it anew.
        """
        events = list(self._read())
        before = ""
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow to load
            for event in events:
                fields = msgspec.json.decode(encode(event), type=dict[str, Any])
                if event.seq == len(events):
                    fields[_LAST] = True
                before = _link(before, fields)
                file.write(msgspec.json.encode(fields | {_LINK: before}).decode() + "\n")

    @classmethod
    def from_jsonl(cls, path: str | Path, *, clock: Clock | None = None) -> EventLog:
        """The log that ``to_jsonl`` wrote, numbers and times as they were; unknown kinds are kept.

        :raises JournalCorrupt: naming the line that is no event. The chain is for ``verify_jsonl``.
        """
        log = cls(clock=clock)
        for number, line in enumerate(_lines(path), start=1):
            try:
                fields = msgspec.json.decode(line, type=dict[str, Any])
                event = decode(msgspec.json.encode({k: v for k, v in fields.items() if k not in (_LINK, _LAST)}))
            except (ValueError, RecursionError) as error:
                raise JournalCorrupt(f"{path}:{number}", f"not an event: {error}") from None
            log.append(event)
        return log


def verify_jsonl(path: str | Path) -> int | None:
    """The first ``seq`` that was changed, is missing or stands out of place; ``None`` when all is as written.

    An empty file is missing its first: nothing in it shows that nothing was taken out.
    """
    before, ended, expected = "", False, 1
    for expected, line in enumerate(_lines(path), start=1):
        try:
            fields = msgspec.json.decode(line, type=dict[str, Any])
            claimed = fields.pop(_LINK, None)
            before = _link(before, fields)
        except (ValueError, RecursionError):
            return expected
        if ended or claimed != before or fields.get("seq") != expected:
            return expected
        ended = bool(fields.get(_LAST, False))
        expected += 1
    return None if ended else expected


# Beside an event's own fields, of which none begins like these.
_LINK, _LAST = "_sha256", "_last"


def _lines(path: str | Path) -> list[bytes]:
    with open(path, "rb") as file:  # noqa: PTH123 - as above
        return file.read().splitlines()


def _link(before: str, fields: dict[str, Any]) -> str:
    from hashlib import sha256  # loads a shared library, and only writing and checking need it

    return sha256(before.encode() + msgspec.json.encode(fields, order="deterministic")).hexdigest()
