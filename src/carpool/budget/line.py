"""Who waits for room: starts that only the holds of agents in flight keep out. First come, first served.

A start waits only while some lease is in flight that nobody waits *inside* of: one that can still settle by
itself. When there is none, waiting could never end, and the last-come start among those inside an agent is
refused, so that its agent goes on and settles. Starts are asked in the order in which they came, whenever
room is given back; one that does not fit does not keep out one behind it that does. Of a purse that several
processes share, each process has a line of its own, and the leases of the others count among those that can settle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from ..errors import CarpoolError
from ..types import TokenAccounting
from .amount import NOTHING, Amount, amount_of

if TYPE_CHECKING:
    from .lease import Lease
    from .purse import CoordinationBudget

__all__ = ["Line", "Waiter"]


class Waiter:
    """One start in the line. When ``wake`` has been called, it has a ``lease`` or a ``denial``."""

    __slots__ = ("ancestors", "denial", "depth", "estimate", "hold", "lease", "order", "purse", "wake")

    def __init__(
        self,
        purse: CoordinationBudget,
        estimate: TokenAccounting | None,
        depth: int,
        ancestors: tuple[int, ...],
        wake: Callable[[], None],
    ) -> None:
        self.purse = purse
        self.hold = NOTHING if estimate is None else amount_of(estimate)
        self.estimate = estimate
        self.depth = depth
        self.ancestors = ancestors  # the numbers of the leases inside which it was asked for
        self.wake = wake
        self.order = 0
        self.lease: Lease | None = None
        self.denial: CarpoolError | None = None  # a BudgetError or, where a ledger can't be read, a JournalError

    def leave(self) -> None:
        """Give up the place, or the lease if it has just been granted."""
        self.purse.book.leave(self)

    # What is done with a lease that is dropped, for who is thrown away while it waits

    def settle_locked(self, reported: TokenAccounting | None) -> None:
        self.purse.book.leave_locked(self)

    def release_locked(self) -> None:
        self.lease = None

    # On a ledger

    def leave_soon(self, wake: Callable[[], None]) -> None:
        """``leave`` of a purse that is shared, without waiting for its ledger."""
        book = self.purse.book
        book.tell_soon(partial(book.leave_locked, self), wake)


class Line:
    """The waiting starts of one budget tree. Every method is called under its book's lock."""

    def __init__(self) -> None:
        # Starts that ask the same of the same purse fit or don't fit alike: only the first is asked.
        self.waiting: dict[tuple[int, Amount, int], deque[Waiter]] = {}
        self.able_elsewhere = 0  # leases of other processes that can settle by themselves
        self._inside: dict[int, int] = {}  # lease number -> how many wait inside it
        self._count = 0

    def join(self, waiter: Waiter, live: dict[int, float]) -> bool:
        """Take a place, unless nobody could then ever settle."""
        self._count += 1
        waiter.order = self._count
        self.waiting.setdefault(_kind(waiter), deque()).append(waiter)
        for lease in waiter.ancestors:
            self._inside[lease] = self._inside.get(lease, 0) + 1
        if self._somebody_can_settle(live):
            return True
        self.remove(waiter)
        return False

    def remove(self, waiter: Waiter) -> None:
        key = _kind(waiter)
        if waiter not in self.waiting.get(key, ()):
            return
        self.waiting[key].remove(waiter)
        if not self.waiting[key]:
            del self.waiting[key]
        for lease in waiter.ancestors:
            self._inside[lease] -= 1
            if not self._inside[lease]:
                del self._inside[lease]

    def ask_again(self, live: dict[int, float]) -> list[Waiter]:
        """Let in whom there is room for now, refuse who can't ever be; returns those who have an answer."""
        answered: list[Waiter] = []
        while True:
            self._ask_all(answered)
            if not self.waiting or self._somebody_can_settle(live):
                return answered
            last = max((each for each in self._all() if each.ancestors), key=lambda each: each.order, default=None)
            if last is None:
                return answered
            last.denial = last.purse.deny(last.hold, last.depth)
            self.remove(last)
            answered.append(last)

    def refuse_all(self, error: CarpoolError) -> list[Waiter]:
        """Empty the line: nobody can be let in, because of ``error``."""
        from copy import copy  # only a ledger that fails gets here

        refused = list(self._all())
        for waiter in refused:
            waiter.denial = copy(error)  # what a run notes on its error, the next one's must not have
            self.remove(waiter)
        return refused

    def _ask_all(self, answered: list[Waiter]) -> None:
        """Ask everybody once, in the order in which they came; of those who ask alike, until the first no."""
        refused: set[tuple[int, Amount, int]] = set()
        while asking := [alike for kind, alike in self.waiting.items() if kind not in refused]:
            first = min(asking, key=lambda alike: alike[0].order)[0]
            denial = first.purse.deny(first.hold, first.depth)
            if denial is None:
                first.lease = first.purse.begin(first.hold, first.estimate)
            elif getattr(denial, "held_back", False):
                refused.add(_kind(first))
                continue
            else:
                first.denial = denial
            self.remove(first)
            answered.append(first)

    def able(self, live: dict[int, float]) -> int:
        """How many of ``live`` can settle by themselves."""
        return len(live) - sum(lease in live for lease in self._inside)

    def _somebody_can_settle(self, live: dict[int, float]) -> bool:
        return self.able(live) + self.able_elsewhere > 0

    def _all(self) -> Iterable[Waiter]:
        for waiters in self.waiting.values():
            yield from waiters


def _kind(waiter: Waiter) -> tuple[int, Amount, int]:
    return id(waiter.purse), waiter.hold, waiter.depth
