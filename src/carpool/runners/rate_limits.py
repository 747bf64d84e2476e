"""A provider's limits, shared by a team: requests and tokens per minute, requests in flight, and its wish to be
left alone for a while."""

from __future__ import annotations

from collections import deque
from threading import Lock

import anyio

from ..wakeup import Wakeup

__all__ = ["RateLimits", "Slot"]

_WINDOW_S = 60.0


class RateLimits:
    """Who calls the provider waits here until there is room, first come, first served.

    In no 60 seconds more than ``requests_per_minute`` calls begin, or calls that come to more than
    ``tokens_per_minute``: a call counts at what it is thought to use when it begins, and at what it has used once
    it has ended. One that is larger than a whole minute's tokens begins when nothing else counts. At most
    ``in_flight`` calls are out at a time. ``None`` is no limit. A provider may count shorter stretches than a minute;
    then it refuses, says when to come back, and ``pause`` keeps everybody here until then.

    One object serves any number of agents, runs, event loops and threads. Time is the event loop's, so that virtual
    time works; loops that share one object must share their clock, as those of one process do. Cancelled while
    waiting, one is out of the line and has used nothing up.

    :raises ValueError: for a limit that is not above 0.
    """

    def __init__(
        self,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        in_flight: int | None = None,
    ) -> None:
        limits = (
            ("requests_per_minute", requests_per_minute),
            ("tokens_per_minute", tokens_per_minute),
            ("in_flight", in_flight),
        )
        for name, limit in limits:
            if limit is not None and (type(limit) is not int or limit < 1):
                raise ValueError(f"{name} must be a whole number above 0, or None for no limit, not {limit!r}")
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self.most_in_flight = in_flight
        self._lock = Lock()
        self._line: deque[Wakeup] = deque()
        self._counted: deque[Slot] = deque()  # those that began within the last minute, oldest first
        self._tokens = 0  # what they come to
        self._in_flight = 0
        self._paused_until = 0.0

    @property
    def in_flight(self) -> int:
        """Calls that are out now."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Callers in the line."""
        return len(self._line)

    async def enter(self, tokens: int = 0) -> Slot:
        """Wait for room for one call that will use about ``tokens``. Who has a slot must leave it."""
        with self._lock:
            if not self._line and self._wait_s(tokens) <= 0:
                return self._take(tokens)
            wakeup = Wakeup()
            self._line.append(wakeup)
        try:
            return await self._wait_in_line(wakeup, tokens)
        except BaseException:
            with self._lock:
                self._line.remove(wakeup)
                self._wake_first()
            raise

    def pause(self, seconds: float) -> None:
        """Let nobody in for so long: the provider has asked for it. A shorter pause never cuts off a longer one."""
        with self._lock:
            self._paused_until = max(self._paused_until, anyio.current_time() + seconds)
            self._wake_first()

    # In the line

    async def _wait_in_line(self, wakeup: Wakeup, tokens: int) -> Slot:
        while True:
            with self._lock:
                wait_s = float("inf")
                if self._line[0] is wakeup:
                    wait_s = self._wait_s(tokens)
                    if wait_s <= 0:
                        self._line.popleft()
                        slot = self._take(tokens)
                        self._wake_first()
                        return slot
            with anyio.move_on_after(None if wait_s == float("inf") else wait_s):
                await wakeup.wait()

    # Under the lock

    def _wait_s(self, tokens: int) -> float:
        """Seconds until there may be room; infinite where only the end of a call can make it."""
        if self.most_in_flight is not None and self._in_flight >= self.most_in_flight:
            return float("inf")
        now = anyio.current_time()
        self._forget(now)
        until = self._paused_until
        if self.requests_per_minute is not None and len(self._counted) >= self.requests_per_minute:
            until = max(until, self._counted[-self.requests_per_minute].until)
        if self.tokens_per_minute is not None:
            too_many = self._tokens + min(tokens, self.tokens_per_minute) - self.tokens_per_minute
            for slot in self._counted:
                if too_many <= 0:
                    break
                too_many -= slot.tokens
                until = max(until, slot.until)
        return until - now

    def _forget(self, now: float) -> None:
        """What began a minute ago counts no more."""
        while self._counted and self._counted[0].until <= now:
            slot = self._counted.popleft()
            slot.counts = False
            self._tokens -= slot.tokens

    def _take(self, tokens: int) -> Slot:
        slot = Slot(self, tokens, anyio.current_time() + _WINDOW_S)
        self._in_flight += 1
        if self.requests_per_minute is not None or self.tokens_per_minute is not None:
            slot.counts = True
            self._counted.append(slot)
            self._tokens += tokens
        return slot

    def _wake_first(self) -> None:
        if self._line:
            self._line[0].set()

    def _left(self, slot: Slot, tokens: int | None, *, began: bool) -> None:
        with self._lock:
            if slot.is_over:
                return
            slot.is_over = True
            self._in_flight -= 1
            if slot.counts and tokens is not None:
                self._tokens += tokens - slot.tokens
                slot.tokens = tokens
            if slot.counts and not began:
                self._counted.remove(slot)
                slot.counts = False
            self._wake_first()


class Slot:
    """The right to one call. It ends once, by ``leave`` or ``give_back``; after that both do nothing."""

    __slots__ = ("_limits", "counts", "is_over", "tokens", "until")

    def __init__(self, limits: RateLimits, tokens: int, until: float) -> None:
        self._limits = limits
        self.tokens = tokens
        self.until = until  # when it no longer counts
        self.counts = False
        self.is_over = False

    def leave(self, tokens: int | None = None) -> None:
        """The call has ended and used ``tokens``; ``None``: as many as were thought."""
        self._limits._left(self, tokens, began=True)  # pyright: ignore[reportPrivateUsage] - two halves of one thing

    def give_back(self) -> None:
        """The call was never made: it counts for nothing."""
        self._limits._left(self, 0, began=False)  # pyright: ignore[reportPrivateUsage]
