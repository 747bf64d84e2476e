"""What all purses of one budget tree share: the lock, the clock, the leases in flight and the line."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from ..clock import Clock
from .line import Line, Waiter

if TYPE_CHECKING:
    from .lease import Lease

__all__ = ["Book", "Step"]


class Step:
    """One atomic step on a budget tree; ``freed()`` says that it may have made room for those who wait."""

    __slots__ = ("made_room",)

    def __init__(self) -> None:
        self.made_room = False

    def freed(self) -> None:
        self.made_room = True


class Book:
    """Leases that were dropped are settled at the start of every step; whoever has got an answer from the line
    is woken after the lock is given back, so that a wake may call the budget again."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lock = Lock()
        self.line = Line()
        self.live: dict[int, float] = {}  # the root's leases in flight, oldest first
        self.dropped: deque[Lease] = deque()
        self.last_number = 0

    @contextmanager
    def step(self) -> Iterator[Step]:
        """The lock, with what belongs before and after. Starting and settling, the two hot steps, write this
        out themselves."""
        step = Step()
        answered: list[Waiter] = []
        with self.lock:
            if self.dropped:
                self.settle_dropped()
            try:
                yield step
            finally:
                if step.made_room and self.line:
                    answered = self.ask_line()
        for waiter in answered:
            waiter.wake()

    def ask_line(self) -> list[Waiter]:
        return self.line.ask_again(self.live)

    def drop(self, lease: Lease) -> None:
        """Settle a lease that was garbage-collected: at once, or, inside somebody's step, in the next one."""
        self.dropped.append(lease)
        # The collector runs anywhere, also in a thread that has the lock: never wait for it here.
        if not self.lock.acquire(blocking=False):
            return
        try:
            self.settle_dropped()
            answered = self.ask_line() if self.line else []
        finally:
            self.lock.release()
        for waiter in answered:
            waiter.wake()

    def leave(self, waiter: Waiter) -> None:
        """Take ``waiter`` out of the line, and give back what it may just have been given."""
        with self.step() as step:
            self.line.remove(waiter)
            lease, waiter.lease = waiter.lease, None
            step.freed()
        if lease is not None:
            lease.release()

    def settle_dropped(self) -> None:
        while self.dropped:
            self.dropped.popleft().settle_locked(None)
