"""What all purses of one budget tree share: the lock, the clock, the leases in flight and the line."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from ..clock import Clock, new_id
from ..types import BudgetLimits
from .account import Account
from .line import Line, Waiter

if TYPE_CHECKING:
    from .lease import Lease
    from .ledger import Ledger

__all__ = ["Book", "Step", "Telling", "open_book", "wake"]


class Step:
    """One atomic step on a budget tree; ``freed()`` says that it may have made room for those who wait. ``undo`` takes
    back what was asked for, if that can't be written on a ledger."""

    __slots__ = ("made_room", "undo")

    def __init__(self) -> None:
        self.made_room = False
        self.undo: Callable[[], None] | None = None

    def freed(self) -> None:
        self.made_room = True


class Telling:
    """Something that a book is told, within a step of somebody else's: ``do``; then ``wake`` is called."""

    __slots__ = ("do", "wake")

    def __init__(self, do: Callable[[], object], wake: Callable[[], None]) -> None:
        self.do = do
        self.wake = wake


class Book:
    """Leases that were dropped are settled at the start of every step; whoever has got an answer from the line
    is woken after the lock is given back, so that a wake may call the budget again.

    ``shared`` says that the purse lies on a ledger (``shared_book``).
    """

    def __init__(self, account: Account, clock: Clock) -> None:
        self.id = new_id()
        self.shared = False
        self.clock = clock
        self.lock = Lock()
        self.line = Line()
        self.live = account.live  # the root's leases in flight, oldest first
        self.dropped: deque[Lease | Waiter] = deque()
        self.last_number = 0

    @contextmanager
    def step(self, *, asking: bool = False) -> Generator[Step]:
        """The lock, with what belongs before and after. Starting and settling, the two hot steps, write this
        out themselves. ``asking`` makes a difference on a ledger only: such a step raises when that can't be read
        or written, and is undone; any other is not."""
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

    def bury_dead(self) -> bool:
        """Within a step: whether leases were in flight of processes that are dead; what they held is spent."""
        return False

    def began(self, lease: Lease) -> None:
        """Within a step of a shared book: ``lease`` is in flight."""

    def holds_unpriced(self, number: int) -> None:
        """Within a step of a shared book: what the lease ``number`` holds has no known price."""

    def ask_soon(self, waiter: Waiter) -> None:
        """Of a shared book: have a thread ask for ``waiter``.

        :raises ValueError: of any other.
        """
        raise ValueError("this purse is not shared: ask it with begin_or_wait, which waits for nobody")

    def tell_soon(self, do: Callable[[], object], wake: Callable[[], None]) -> None:
        """Of a shared book: have a thread ``do`` it within its next step, and ``wake`` when that is over.

        :raises ValueError: of any other.
        """
        raise ValueError("this purse is not shared: tell it at once, which waits for nobody")

    def close(self) -> None:
        """Leave the ledger, if there is one."""

    def drop(self, lease: Lease | Waiter) -> None:
        """Settle a lease that was garbage-collected, or give up a place in the line: at once, or, inside somebody's
        step, after that."""
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
            self.leave_locked(waiter)
            step.freed()

    def leave_locked(self, waiter: Waiter) -> None:
        self.line.remove(waiter)
        lease, waiter.lease = waiter.lease, None
        if lease is not None:
            lease.release_locked()


def open_book(account: Account, limits: BudgetLimits | None, clock: Clock, ledger: Ledger | None) -> Book:
    """The book of a root with ``account``; ``limits`` are what its maker asked for."""
    if ledger is None:
        return Book(account, clock)
    from .shared_book import SharedBook  # with much that most programs never need

    return SharedBook(ledger, account, limits, clock)


def wake(answered: Iterable[Waiter | Telling]) -> None:
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
