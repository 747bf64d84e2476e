"""Room in the budget that only model calls in flight keep: agents wait for it, first come, first served."""

from __future__ import annotations

from collections import deque
from threading import Lock

from ...wakeup import Wakeup

__all__ = ["CallsInFlight"]


class CallsInFlight:
    """The calls that are out on one budget; and agents that wait for one of them to end, because what it holds and
    does not use is what they lack. Safe from any thread."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = Lock()
        self._line: deque[Wakeup] = deque()

    @property
    def waiting(self) -> int:
        return len(self._line)

    def begin(self) -> None:
        with self._lock:
            self.count += 1

    def end(self) -> None:
        with self._lock:
            self.count -= 1
        self.wake_first()

    def wake_first(self) -> None:
        with self._lock:
            if self._line:
                self._line.popleft().set()

    async def one_ended(self, *, again: bool) -> None:
        """Return when a call has ended, or when none is out; who comes ``again`` has kept its place."""
        wakeup = Wakeup()
        with self._lock:
            if not self.count:
                return
            if again:
                self._line.appendleft(wakeup)
            else:
                self._line.append(wakeup)
        try:
            await wakeup.wait()
        except BaseException:
            with self._lock:
                waited = wakeup in self._line
                if waited:
                    self._line.remove(wakeup)
            if not waited:
                self.wake_first()  # somebody else can use what this one was woken for
            raise
