"""The shared budget: purses within purses, asked before every start. Decides; records no events.

Asking raises, telling never does. A start is asked of every purse from the root down and is granted by all or
by none, in one step under one lock; a denial leaves every purse as it was. A root that lies on a ledger is shared
with other processes, with the same promises: then a step is a transaction, and blocks its thread for as long.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..clock import Clock, SystemClock
from ..errors import BudgetError, BudgetExhausted
from ..types import AgentOutput, BudgetLimits, BudgetSnapshot, TokenAccounting, refuse_unless_limits
from .account import Account
from .amount import NOTHING, Amount, amount_of, plus
from .book import Book, open_book
from .chain import Chain, call_denial, near_limits, remaining, start_denial
from .lease import Lease
from .line import Waiter

if TYPE_CHECKING:
    from .ledger import Ledger

__all__ = ["CoordinationBudget"]

_NOT_KEPT = (NOTHING, 0)


class CoordinationBudget:
    """A purse with limits, on its own or inside a parent. Safe from any thread.

    ``clock`` counts for a root only; a child has its root's. So does ``ledger``, by which a root is shared with
    other processes: what is spent and held, the agents that were started, the limits and ``max_seconds`` are all
    of theirs together; purses inside it are each process's own. ``limits`` are then those that the purse is made
    with, by whoever comes first; later ones give the same, those that it has now, or none. Asking may also raise
    ``JournalError``, when the ledger can't be read or written; what is told meanwhile is kept, and written later.
    What a process holds when it dies is booked as spent. A child that is forked has none of its parent's leases:
    to them it can tell nothing.

    :raises JournalError: when the ledger can't be opened.
    :raises ValueError: when the purse on the ledger has other limits.
    """

    def __init__(
        self,
        limits: BudgetLimits | None = None,
        *,
        parent: CoordinationBudget | None = None,
        clock: Clock | None = None,
        ledger: Ledger | None = None,
        _kept: tuple[Amount, int] = _NOT_KEPT,
    ) -> None:
        if parent is not None and ledger is not None:
            raise ValueError("a ledger is for a root; a purse inside another is shared through that one")
        if limits is not None:
            refuse_unless_limits(limits, "limits")
        self._account = Account(limits or BudgetLimits())
        self._last_weighed: tuple[TokenAccounting | None, Amount] = None, NOTHING
        self.book: Book = (
            parent.book if parent is not None else open_book(self._account, limits, clock or _CLOCK, ledger)
        )
        self.id: str = self.book.id  # by which a journal knows whether spend is booked in this very budget
        above = parent.chain if parent is not None else ()
        # From the root down, each with what this purse must leave of it to others.
        self.chain: Chain = (
            *((account, (plus(kept[0], _kept[0]), kept[1] + _kept[1])) for account, kept in above),
            (self._account, _NOT_KEPT),
        )

    # Asking

    def try_begin_agent(self, estimate: TokenAccounting | None = None, *, depth: int = 1) -> Lease:
        """Take an agent slot and hold ``estimate``, here and in every purse above, in one step.

        :raises BudgetExhausted: when spent + held has reached a limit, or the estimate would take it past
            one, or time or depth are over; ``held_back`` says that only holds stand in the way.
        :raises AgentLimitReached: when ``max_agents`` were started. After any error nothing has changed.
        """
        hold = NOTHING if estimate is None else self._weighed(estimate)
        book = self.book
        if book.shared:
            return self._begin_shared(hold, estimate, depth)
        if book.dropped:
            book.settle_dropped()
        lease: Lease | None = None
        denial: BudgetError | None = None
        book.lock.acquire()  # written out here and at the end: half the price of a with block
        try:
            now = book.clock.monotonic()
            for account, kept in self.chain:
                if not account.unlimited and account.refusal(hold, depth, now, kept) is not None:
                    denial = self.deny(hold, depth)
                    break
            else:
                book.last_number = number = book.last_number + 1
                for account, _ in self.chain:
                    account.begin(number, hold, now, 1)
                lease = Lease(self, number, hold, estimate, 1)
        finally:
            book.lock.release()
        if book.dropped:
            book.settle_dropped()
        if lease is not None:
            return lease
        try:
            raise denial or AssertionError("neither begun nor denied")
        finally:
            del denial  # a frame that held its own error would keep all that it knows alive

    def begin_or_wait(
        self,
        estimate: TokenAccounting | None,
        depth: int,
        ancestors: tuple[int, ...],
        wake: Callable[[], None],
    ) -> Lease | Waiter:
        """``try_begin_agent``, but a start that only holds keep out gets a place in the line.

        ``ancestors`` are the numbers of the leases inside which the start is asked for. ``wake`` is called,
        from whatever thread gave the room back, once the waiter has its ``lease`` or its ``denial``.

        :raises BudgetError: when it is refused, or when waiting could never end.
        """
        waiter = Waiter(self, estimate, depth, ancestors, wake)
        with self.book.step(asking=True) as step:
            step.undo = waiter.leave
            if self.begin_waiter(waiter):
                return waiter
        if waiter.lease is None:
            raise waiter.denial or AssertionError("neither begun nor denied")
        return waiter.lease

    def begin_soon(
        self,
        estimate: TokenAccounting | None,
        depth: int,
        ancestors: tuple[int, ...],
        wake: Callable[[], None],
    ) -> Waiter:
        """``begin_or_wait`` for a purse that ``is_shared``, without waiting for its ledger: a thread asks, for all who
        came meanwhile in one transaction. What would be raised is the waiter's ``denial``, a ``JournalError`` too."""
        waiter = Waiter(self, estimate, depth, ancestors, wake)
        self.book.ask_soon(waiter)
        return waiter

    def begin_ungated(self) -> Lease:
        """A lease for an agent that is not asked about: no slot, no hold; what it spends is booked like any."""
        with self.book.step(asking=True) as step:
            lease = self.begin(NOTHING, None, slots=0)
            step.undo = lease.release
        return lease

    def begin_ungated_soon(self, wake: Callable[[], None]) -> Waiter:
        """``begin_ungated`` of a purse that ``is_shared``, without waiting for its ledger: the waiter will have its
        lease, for nothing is asked."""
        waiter = Waiter(self, None, 1, (), wake)
        self.book.tell_soon(partial(self._let_in, waiter), wake)
        return waiter

    # Telling

    def record(self, tokens: TokenAccounting) -> None:
        """Book spend that belongs to no lease, here and above."""
        with self.book.step():
            amount = amount_of(tokens)
            for account, _ in self.chain:
                account.book(amount, amount, tokens.priced)

    def record_output(self, output: AgentOutput) -> None:
        """Book what an agent reports that ran without a lease; nothing if it reports nothing."""
        if output.tokens is not None:
            self.record(output.tokens)

    def record_past(
        self, tokens: TokenAccounting | None, slots: int, *, outside: CoordinationBudget | None = None
    ) -> None:
        """Book what was spent, and the slots that were taken, in an earlier process, here and above, unasked;
        but not in ``outside`` and what is above it, which has it already."""
        amount = NOTHING if tokens is None else amount_of(tokens)
        known = () if outside is None else tuple(account for account, _ in outside.chain)
        if not (lacking := [account for account, _ in self.chain if account not in known]):
            return
        with self.book.step():
            for account in lacking:
                account.agents += slots
                account.book(amount, amount, tokens is None or tokens.priced)

    # Shaping

    def child(self, limits: BudgetLimits) -> CoordinationBudget:
        """A tighter purse inside this one; what it does not spend is this one's at once."""
        return CoordinationBudget(limits, parent=self)

    def keeping_back(self, estimate: TokenAccounting | None, agents: int = 1) -> CoordinationBudget:
        """A purse inside this one that leaves ``estimate`` and ``agents`` starts of it, and of those above,
        to whoever asks this one itself. Nothing is held, so nobody waits for it."""
        amount = NOTHING if estimate is None else amount_of(estimate)
        return CoordinationBudget(parent=self, _kept=(amount, agents))

    def raise_limits(self, limits: BudgetLimits) -> None:
        """Replace the dimensions that ``limits`` gives, up or down; those who wait are asked again.

        ``unpriced="allow"`` is given too; its default leaves things as they are.
        """
        refuse_unless_limits(limits, "limits")
        default = BudgetLimits()
        given = {
            name: value
            for name in limits.__struct_fields__
            if (value := getattr(limits, name)) != getattr(default, name)
        }
        with self.book.step(asking=True) as step:
            step.undo = partial(self._put_back, self._account.limits)
            self._account.set_limits(replace(self._account.limits, **given))
            step.freed()

    def close(self) -> None:
        """Leave the ledger, if this purse lies on one: asking is over. What is still in flight is booked at its hold.
        A process that ends leaves it too, however it ends."""
        self.book.close()

    # Reading

    @property
    def is_shared(self) -> bool:
        """True when it, or the root above it, lies on a ledger: then what is asked or told blocks its thread for a
        transaction, a thousandth of a second or some, and a loop had better leave it to a thread."""
        return self.book.shared

    @property
    def limits(self) -> BudgetLimits:
        """This purse's own limits, whoever has set them last."""
        if self.book.shared:
            with self.book.step():
                pass
        return self._account.limits

    @property
    def is_unbounded(self) -> bool:
        """True when neither this purse nor one above it sets a limit."""
        return all(account.unlimited for account, _ in self.chain)

    @property
    def has_spend_limit(self) -> bool:
        """True when this purse or one above it limits tokens or cost."""
        for account, _ in self.chain:  # noqa: SIM110 - every start asks, and any() takes three times as long
            if account.caps:
                return True
        return False

    @property
    def in_flight(self) -> int:
        """Leases of this process that are neither settled nor released, here and below."""
        return len(self._account.live)

    def is_near_limits(self, share: float) -> bool:
        """Whether at least ``share`` of any spend limit here and above is spent."""
        for account, _ in self.chain:
            spent = account.spent
            for _, index, cap in account.caps:
                if spent[index] >= cap * share:
                    return True
        return False

    def near_limits(self, share: float) -> list[tuple[str, float, float]]:
        """The spend limits here and above of which at least ``share`` is spent: dimension, spent, limit."""
        return near_limits(self.chain, share)

    @property
    def is_exhausted(self) -> bool:
        """True when real spend has reached a spend limit here or above; holds and agents don't count."""
        with self.book.step():
            return self._exhausted()

    def snapshot(self) -> BudgetSnapshot:
        """This purse at one instant."""
        with self.book.step():
            self.book.bury_dead()
            return self._account.snapshot(self.book.clock.monotonic(), self._exhausted())

    def remaining(self) -> BudgetLimits:
        """What a start could still get: per dimension the least that is left, neither spent nor held, in
        this purse and those above; ``None`` where nothing limits it."""
        with self.book.step():
            return remaining(self.chain, self.book.clock)

    # On a ledger

    def _put_back(self, limits: BudgetLimits) -> None:
        with self.book.step():
            self._account.set_limits(limits)

    def _begin_shared(self, hold: Amount, estimate: TokenAccounting | None, depth: int) -> Lease:
        with self.book.step(asking=True) as step:
            denial = self._denial(hold, depth)
            if denial is not None:
                try:
                    raise denial
                finally:
                    del denial  # as in try_begin_agent
            lease = self.begin(hold, estimate)
            step.undo = lease.release
        return lease

    # For lease, line and door: under the book's lock

    def _let_in(self, waiter: Waiter) -> None:
        waiter.lease = self.begin(NOTHING, None, slots=0)

    def begin_waiter(self, waiter: Waiter) -> bool:
        """Give ``waiter`` its lease, its denial, or, returning true, a place in the line."""
        denial = self._denial(waiter.hold, waiter.depth)
        if denial is None:
            waiter.lease = self.begin(waiter.hold, waiter.estimate)
        elif isinstance(denial, BudgetExhausted) and denial.held_back and self.book.line.join(waiter, self.book.live):
            return True
        else:
            waiter.denial = denial
        return False

    def _denial(self, hold: Amount, depth: int) -> BudgetError | None:
        """``deny``, after those who died in flight have given up their holds for spent."""
        denial = self.deny(hold, depth)
        if isinstance(denial, BudgetExhausted) and denial.held_back and self.book.bury_dead():
            return self.deny(hold, depth)
        return denial

    def deny(self, hold: Amount, depth: int) -> BudgetError | None:
        """The error that a start would meet now, or ``None``."""
        return start_denial(self.chain, self.book.clock, hold, depth)

    def refuse_call(self, mine: Amount, wish: Amount | None) -> None:
        """Raise what a model call meets whose lease holds ``mine`` and asks for ``wish`` instead, if anything.

        :raises BudgetExhausted: from here, where no name holds it for longer: one that did would keep its own
            traceback, and with it the lease, alive.
        """
        denial = call_denial(self.chain, self.book.clock, mine, wish)
        if denial is not None:
            try:
                raise denial
            finally:
                del denial

    def begin(self, hold: Amount, estimate: TokenAccounting | None, slots: int = 1) -> Lease:
        """Start an agent that nothing denies."""
        book = self.book
        book.last_number = number = book.last_number + 1
        now = book.clock.monotonic()
        for account, _ in self.chain:
            account.begin(number, hold, now, slots)
        lease = Lease(self, number, hold, estimate, slots)
        if book.shared:
            book.began(lease)
        return lease

    def _weighed(self, estimate: TokenAccounting) -> Amount:
        """``amount_of``; start after start asks for the same estimate."""
        last, amount = self._last_weighed
        if last is not estimate:
            amount = amount_of(estimate)
            self._last_weighed = estimate, amount
        return amount

    def _exhausted(self) -> bool:
        return any(account.exhausted for account, _ in self.chain)


_CLOCK = SystemClock()
