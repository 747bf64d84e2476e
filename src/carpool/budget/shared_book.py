"""The book of a purse that lies on a ledger: a step is a transaction, and steps that come together share one.

A step that asks (for a start, for a reservation, for other limits) is durable when it returns, or raises and has
changed nothing. A step that tells never fails: what can't be written now stays in memory and is written with the next
step that can; meanwhile nobody starts. A step blocks its thread for one transaction; those of other threads that
arrive meanwhile are done in the next one, all together.

Who waits for room is asked again when one of this process gives room back, and when another process has written: a
thread looks, many times a second, as long as somebody waits. Between processes it is not first come, first served.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from copy import copy
from threading import Event, Lock
from typing import TYPE_CHECKING
from weakref import WeakSet, WeakValueDictionary

from ..clock import Clock
from ..errors import JournalError
from ..types import BudgetLimits
from .account import Account
from .book import Book, Step, Telling, wake
from .clerk import Clerk
from .ledger import Ledger
from .line import Line, Waiter
from .shared_clock import SharedClock
from .sharing import Sharing

if TYPE_CHECKING:
    from .lease import Lease

__all__ = ["SharedBook"]

LOOKS_EVERY_S = 0.025
"""How soon whoever waits hears of room that another process gave back, or that died with it."""

STEPS_AT_ONCE = 256
"""How many steps share a transaction at most, so that none waits for ever newer ones."""


class _Turn:
    """One transaction, and the steps in it. ``error`` says why it could not be begun or written; ``patient`` that it
    waited for the ledger."""

    __slots__ = ("answered", "done", "error", "patient", "steps", "told")

    def __init__(self, patient: bool) -> None:
        self.patient = patient
        self.steps = 0
        self.answered: list[Waiter] = []
        self.told: list[Telling] = []
        self.error: JournalError | None = None
        self.done = Event()


class SharedBook(Book):
    """``account`` is the root's, ``limits`` what its maker asked for.

    :raises JournalError: when the ledger can't be opened.
    :raises ValueError: when the purse there has other limits.
    """

    def __init__(self, ledger: Ledger, account: Account, limits: BudgetLimits | None, clock: Clock) -> None:
        shared_clock = SharedClock(clock)
        super().__init__(account, shared_clock)
        self.shared = True
        self._sharing = Sharing(ledger, account, shared_clock)
        self._leases: WeakValueDictionary[int, Lease] = WeakValueDictionary()
        self._closed = False
        self._forks_safely = True
        self._forking: AbstractContextManager[bool]
        self._start_afresh()
        self._sharing.join(limits, self.line)
        self.id = self._sharing.record.id
        _BOOKS.add(self)

    def _start_afresh(self) -> None:
        """Locks and what they guard: when it is made, and again in a process that was forked."""
        self.lock = Lock()
        self._turn: _Turn | None = None
        self._failing = False
        self._arriving = 0
        self._arrivals = Lock()  # guards the number
        self._asking: deque[Waiter] = deque()  # those for whom the clerk is to ask first
        self._telling: deque[Telling] = deque()  # what the next step has to do before it
        self._clerk = Clerk(self.look, self._wants_clerk, LOOKS_EVERY_S)
        self._looks = 0
        self._asked_at = -1  # the version of the record at which the line was asked last
        self._pid = os.getpid()

    # A step

    @contextmanager
    def step(self, *, asking: bool = False) -> Generator[Step]:
        step = Step()
        turn = self._enter(step, wait=asking or not self._failing)
        if asking and turn.error is not None:
            self._leave(turn)
            raise copy(turn.error)
        try:
            yield step
            if step.made_room and self.line.waiting and turn.error is None:
                turn.answered += self.ask_line()
        finally:
            self._leave(turn)
        self._await(turn)
        if asking and turn.error is not None:
            if step.undo is not None:
                step.undo()
            raise copy(turn.error)

    def _enter(self, step: Step, *, wait: bool) -> _Turn:
        """Get the lock, and a transaction: that of the step before, or a new one."""
        if os.getpid() != self._pid:
            self.forked()
        with self._arrivals:
            self._arriving += 1
        try:
            self.lock.acquire()
        finally:
            with self._arrivals:
                self._arriving -= 1
        try:
            turn = self._turn
            if turn is None or (turn.error is not None and wait and not turn.patient):
                turn = self._begin_turn(wait)
            turn.steps += 1
            while self.dropped:
                self.dropped.popleft().settle_locked(None)
                step.freed()
            while self._telling:
                telling = self._telling.popleft()
                turn.told.append(telling)
                telling.do()
                step.freed()
        except BaseException:
            self._leave(self._turn)
            raise
        return turn

    def _begin_turn(self, wait: bool) -> _Turn:
        """A new turn; if there is one, that has failed, and has no more to do than to wake some."""
        before, turn = self._turn, _Turn(wait)
        if before is not None:
            turn.answered, turn.told = before.answered, before.told
            before.done.set()
        self._turn = turn
        sharing = self._sharing
        try:
            if self._closed:
                raise JournalError(f"{sharing.ledger.place}: this budget was closed; make another one on the ledger")
            if not sharing.member:  # a forked child
                sharing.join(None, self.line)
            sharing.begin(wait=wait)
            self.line.able_elsewhere = sharing.able_elsewhere
        except JournalError as error:
            self._fail(turn, error)
        except BaseException as error:
            self._fail(turn, _interrupted(sharing.ledger, error))
            raise
        return turn

    def _leave(self, turn: _Turn | None) -> None:
        """Give the lock to the next step, which writes for this one too; without one, write for all."""
        if turn is None or (self._arriving and turn.steps < STEPS_AT_ONCE):
            self.lock.release()
        else:
            self._finish(turn)

    def _finish(self, turn: _Turn) -> None:
        try:
            self._write(turn)
        finally:
            wants_clerk = self._wants_clerk()
            self.lock.release()
            if wants_clerk:
                self._clerk.come()
            self._tell(turn)

    def _tell(self, turn: _Turn) -> None:
        """Whoever has got an answer is woken before a step of this transaction returns, as without a ledger."""
        try:
            wake((*turn.answered, *turn.told))
        finally:
            turn.done.set()

    def _write(self, turn: _Turn) -> None:
        try:
            if turn.error is None:
                self._sharing.commit(self.line)
                self._failing = False
        except JournalError as error:
            self._fail(turn, error)
        except BaseException as error:
            self._fail(turn, _interrupted(self._sharing.ledger, error))
            raise
        finally:
            self._turn = None

    def _fail(self, turn: _Turn, error: JournalError) -> None:
        """Nobody starts: who had just been let in is not, and who waits does so in vain."""
        with suppress(JournalError):
            self._sharing.ledger.abandon()
        turn.error = copy(error)  # without its traceback, whose frames would keep a lease alive that is dropped
        self._failing = True
        for waiter in turn.answered:
            if waiter.lease is not None:
                waiter.lease.release_locked()
                waiter.lease, waiter.denial = None, copy(error)
        turn.answered += self.line.refuse_all(copy(error))

    def _await(self, turn: _Turn) -> None:
        """Until it is written, by whoever came last."""
        while not turn.done.wait(_RESCUES_AFTER_S):
            self.lock.acquire()
            if self._turn is turn:  # whoever was to write was interrupted on the way in
                self._finish(turn)
            else:
                self.lock.release()

    # What a book is asked within a step

    def ask_line(self) -> list[Waiter]:
        self._asked_at = self._sharing.record.version
        return super().ask_line()

    def bury_dead(self) -> bool:
        turn = self._turn
        if turn is None or turn.error is not None:
            return False
        try:
            found = self._sharing.bury_dead()
        except JournalError as error:
            self._fail(turn, error)
            return False
        self.line.able_elsewhere = self._sharing.able_elsewhere
        return found

    def began(self, lease: Lease) -> None:
        self._leases[lease.number] = lease
        if not lease.hold.priced:
            self.holds_unpriced(lease.number)

    def holds_unpriced(self, number: int) -> None:
        self._sharing.unpriced.add(number)

    # Between steps

    def drop(self, lease: Lease | Waiter) -> None:
        """Leave it to the clerk: the collector may run anywhere, and must not wait for a disk."""
        self.dropped.append(lease)
        self._clerk.come()

    def settle_dropped(self, *, blocking: bool = True) -> None:
        if self.dropped and blocking:
            with self.step():
                pass

    def ask_soon(self, waiter: Waiter) -> None:
        """Have the clerk ask for ``waiter``, together with all who come meanwhile; it is woken with an answer, after
        it has waited in the line if it may."""
        self._asking.append(waiter)
        if not self._clerk.come(at_once=True):
            self.look()

    def tell_soon(self, do: Callable[[], object], wake: Callable[[], None]) -> None:
        self._telling.append(Telling(do, wake))
        if not self._clerk.come(at_once=True):
            self.look()

    def leave_locked(self, waiter: Waiter) -> None:
        with suppress(ValueError):
            self._asking.remove(waiter)
        super().leave_locked(waiter)

    # The clerk, who asks, looks and writes for others

    def _wants_clerk(self) -> bool:
        unwritten = self._failing and not self._closed and not self._sharing.is_written(self.line)
        return bool(self._asking or self._telling or self.line.waiting or self.dropped or unwritten)

    def look(self) -> None:
        """Ask for those who want it, and again for those who wait, if others have written since, or have died."""
        step = Step()
        turn = self._enter(step, wait=bool(self._asking) or not self._failing)
        try:
            self._looks += 1
            buried = self._looks % _LOOKS_FOR_DEAD_EVERY == 0 and self.bury_dead()
            if (buried or step.made_room or self._asked_at != self._sharing.record.version) and turn.error is None:
                turn.answered += self.ask_line()
            while self._asking:
                waiter = self._asking.popleft()
                if turn.error is not None:
                    waiter.denial = copy(turn.error)
                elif waiter.purse.begin_waiter(waiter):
                    continue
                turn.answered.append(waiter)
        finally:
            self._leave(turn)
        self._await(turn)

    def close(self) -> None:
        """Write the last, and be no member any more. What is still held is booked as spent by the next that looks.

        :raises JournalError: when there is something that can't be written. Then it stays open.
        """
        with self.step():
            pass
        ledger = self._sharing.ledger
        with self._between_turns():
            if not self._closed and not self._sharing.is_written(self.line):
                raise JournalError(
                    f"{ledger.place}: it lacks spend that can't be written now; see to it, and close again"
                )
            self._closed = True
            ledger.leave()

    @contextmanager
    def _between_turns(self, timeout_s: float = -1) -> Generator[bool]:
        """Nobody is in a transaction during the block, if that could be had in time."""
        locked = self.lock.acquire(timeout=timeout_s)
        turn = self._turn if locked else None
        try:
            if turn is not None:
                self._write(turn)
            yield locked
        finally:
            if locked:
                self.lock.release()
            if turn is not None:
                self._tell(turn)

    # Forks

    def before_fork(self) -> None:
        """Nobody may be in a transaction: the child would take it for its own."""
        self._forking = self._between_turns(_FORKS_WITHIN_S)
        self._forks_safely = self._forking.__enter__()

    def after_fork(self) -> None:
        self._forking.__exit__(None, None, None)

    def forked(self) -> None:
        """In the child: its parent's leases have ended here, and those who wait wait there. It becomes a member of its
        own with its first step."""
        for lease in (*self._leases.values(), *self.dropped):
            lease.release_locked()
        self._leases.clear()
        self.dropped.clear()
        self.line = Line()
        self._sharing.forget()
        self._start_afresh()
        self._closed = self._closed or not self._forks_safely


def _interrupted(ledger: Ledger, error: BaseException) -> JournalError:
    return JournalError(f"{ledger.place}: interrupted by {type(error).__name__}; ask again")


_RESCUES_AFTER_S = 0.1
_FORKS_WITHIN_S = 10.0  # then without; a child in whose parent somebody was stuck in a transaction can't go on here
_LOOKS_FOR_DEAD_EVERY = 8  # looking for them costs more than reading

_BOOKS: WeakSet[SharedBook] = WeakSet()


def _for_all(what: Callable[[SharedBook], None]) -> Callable[[], None]:
    def do() -> None:
        for book in list(_BOOKS):
            what(book)

    return do


os.register_at_fork(
    before=_for_all(SharedBook.before_fork),
    after_in_parent=_for_all(SharedBook.after_fork),
    after_in_child=_for_all(SharedBook.forked),
)
