"""A sliding window over the calls of one tool."""

from __future__ import annotations

from collections import deque
from math import ceil
from threading import Lock

from ..actions import Action
from ..clock import Clock, SystemClock
from .checks import StateView

__all__ = ["RateLimit"]


class RateLimit:
    """At most ``max_calls`` calls of ``tool`` in any ``interval_s`` seconds; a check that keeps count.

    Looking and counting are one step, from any thread: under a free-for-all exactly ``max_calls`` pass. It
    remembers the times of the calls in the window, no more than ``max_calls``.
    """

    def __init__(self, tool: str, max_calls: int, interval_s: float, clock: Clock | None = None) -> None:
        self._tool = tool
        self._max_calls = max_calls
        self._interval_s = interval_s
        self._clock = clock or SystemClock()
        self._lock = Lock()
        self._passed: deque[float] = deque()  # when; the oldest first

    def __call__(self, action: Action, state: StateView) -> str | None:
        """Why the call may not be made now; if it may, it counts."""
        return self._ask(count=True) if action.tool == self._tool else None

    def preview(self, action: Action, state: StateView) -> str | None:
        """Why the call may not be made now; nothing counts."""
        return self._ask(count=False) if action.tool == self._tool else None

    def _ask(self, *, count: bool) -> str | None:
        with self._lock:
            now = self._clock.monotonic()
            # The sum, not the difference: a call is as old as its reason says, to the last digit.
            while self._passed and self._passed[0] + self._interval_s <= now:
                self._passed.popleft()
            if len(self._passed) < self._max_calls:
                if count:
                    self._passed.append(now)
                return None
            wait_s = self._passed[0] + self._interval_s - now if self._passed else None
        limit = f"tool {self._tool!r} may be called {self._max_calls} times in {self._interval_s:g} s"
        return f"{limit}; wait {ceil(wait_s)} s for the next call" if wait_s is not None else limit
