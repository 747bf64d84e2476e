"""What all purses of one budget tree share: the lock, the clock, the leases in flight and the line."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from ..clock import Clock
from .line import Line, Waiter

if TYPE_CHECKING:
    from .lease import Lease

__all__ = ["Book", "Step", "wake"]


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
    def step(self) -> Generator[Step]:
        """The lock, with what belongs before and after. Starting and settling, the two hot steps, write this
        out themselves."""
        if self.dropped:
            self.settle_dropped()
        step = Step()
        answered: list[Waiter] = []
        try:
            with self.lock:
                try:
                    yield step
                finally:
                    if step.made_room and self.line.waiting:
                        answered = self.ask_line()
        finally:
            wake(answered)
            if self.dropped:
                self.settle_dropped()

    def ask_line(self) -> list[Waiter]:
        return self.line.ask_again(self.live)

    def drop(self, lease: Lease) -> None:
        """Settle a lease that was garbage-collected: at once, or, inside somebody's step, after that."""
        self.dropped.append(lease)
        # The collector runs anywhere, also in a thread that has the lock: never wait for it here.
        self.settle_dropped(blocking=False)

    def settle_dropped(self, *, blocking: bool = True) -> None:
        """Settle what was dropped, and let in who waited for that."""
        while self.dropped and self.lock.acquire(blocking=blocking):
            answered: list[Waiter] = []
            try:
                while self.dropped:
                    self.dropped.popleft().settle_locked(None)
                if self.line.waiting:
                    answered = self.ask_line()
            finally:
                self.lock.release()
            wake(answered)

    def leave(self, waiter: Waiter) -> None:
        """Take ``waiter`` out of the line, and give back what it may just have been given."""
        with self.step() as step:
            self.line.remove(waiter)
            lease, waiter.lease = waiter.lease, None
            step.freed()
        if lease is not None:
            lease.release()


def wake(answered: Iterable[Waiter]) -> None:
    """Wake everybody who has an answer. One that can't be woken keeps nobody else asleep.

    :raises Exception: what the first ``wake`` raised that did, after all were called.
    """
    failure: Exception | None = None
    for waiter in answered:
        try:
            waiter.wake()
        except Exception as error:
            failure = failure or error
    if failure is not None:
        raise failure
