"""The shared budget: purses within purses, asked before every start. Decides; records no events.

Asking raises, telling never does. A start is asked of every purse from the root down and is granted by all or
by none, in one step under one lock; a denial leaves every purse as it was.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from ..clock import Clock, SystemClock
from ..errors import AgentLimitReached, BudgetError, BudgetExhausted
from ..types import AgentOutput, BudgetLimits, BudgetSnapshot, TokenAccounting
from .account import Account, Refusal
from .amount import NOTHING, Amount, amount_of, plus
from .book import Book
from .lease import Lease
from .line import Waiter

__all__ = ["CoordinationBudget"]

_NOT_KEPT = (NOTHING, 0)


class CoordinationBudget:
    """A purse with limits, on its own or inside a parent. Safe from any thread.

    ``clock`` counts for a root only; a child has its root's.
    """

    def __init__(
        self,
        limits: BudgetLimits | None = None,
        *,
        parent: CoordinationBudget | None = None,
        clock: Clock | None = None,
        _kept: tuple[Amount, int] = _NOT_KEPT,
    ) -> None:
        self._account = Account(limits or BudgetLimits())
        self._last_weighed: tuple[TokenAccounting | None, Amount] = None, NOTHING
        self.book: Book = parent.book if parent is not None else Book(clock or SystemClock())
        above = parent.chain if parent is not None else ()
        # From the root down, each with what this purse must leave of it to others.
        self.chain: tuple[tuple[Account, tuple[Amount, int]], ...] = (
            *((account, (plus(kept[0], _kept[0]), kept[1] + _kept[1])) for account, kept in above),
            (self._account, _NOT_KEPT),
        )
        if parent is None:
            self.book.live = self._account.live

    # Asking

    def try_begin_agent(self, estimate: TokenAccounting | None = None, *, depth: int = 1) -> Lease:
        """Take an agent slot and hold ``estimate``, here and in every purse above, in one step.

        :raises BudgetExhausted: when spent + held has reached a limit, or the estimate would take it past
            one, or time or depth are over; ``held_back`` says that only holds stand in the way.
        :raises AgentLimitReached: when ``max_agents`` were started. After any error nothing has changed.
        """
        hold = NOTHING if estimate is None else self._weighed(estimate)
        book = self.book
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
        hold = NOTHING if estimate is None else amount_of(estimate)
        book = self.book
        with book.step():
            denial = self.deny(hold, depth)
            if denial is None:
                return self.begin(hold, estimate)
            if isinstance(denial, BudgetExhausted) and denial.held_back:
                waiter = Waiter(self, hold, estimate, depth, ancestors, wake)
                if book.line.join(waiter, book.live):
                    return waiter
            raise denial

    def begin_ungated(self) -> Lease:
        """A lease for an agent that is not asked about: no slot, no hold; what it spends is booked like any."""
        with self.book.step():
            return self.begin(NOTHING, None, slots=0)

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

    def record_replayed(self, tokens: TokenAccounting | None) -> None:
        """Book an agent that is remembered from an earlier process: its spend and its slot, unasked."""
        with self.book.step():
            for account, _ in self.chain:
                account.agents += 1
                if tokens is not None:
                    account.book(amount_of(tokens), amount_of(tokens), tokens.priced)

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
        with self.book.step() as step:
            default = BudgetLimits()
            given = {
                name: value
                for name in limits.__struct_fields__
                if (value := getattr(limits, name)) != getattr(default, name)
            }
            self._account.set_limits(replace(self._account.limits, **given))
            step.freed()

    # Reading

    @property
    def limits(self) -> BudgetLimits:
        """This purse's own limits."""
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
        """Leases that are neither settled nor released, here and below."""
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
        near: list[tuple[str, float, float]] = []
        for account, _ in self.chain:
            for name, index, cap in account.caps:
                if account.spent[index] >= cap * share:
                    unit = 1e9 if name == "cost_usd" else 1
                    near.append((name, account.spent[index] / unit, cap / unit))
        return near

    @property
    def is_exhausted(self) -> bool:
        """True when real spend has reached a spend limit here or above; holds and agents don't count."""
        with self.book.step():
            return self._exhausted()

    def snapshot(self) -> BudgetSnapshot:
        """This purse at one instant."""
        with self.book.step():
            return self._account.snapshot(self.book.clock.monotonic(), self._exhausted())

    def remaining(self) -> BudgetLimits:
        """What a start could still get: per dimension the least that is left, neither spent nor held, in
        this purse and those above; ``None`` where nothing limits it."""
        with self.book.step():
            now = self.book.clock.monotonic()
            left: dict[str, float | int] = {}
            for account, kept in self.chain:
                for name, value in account.left(now, kept).items():
                    left[name] = min(value, left.get(name, value))
        return BudgetLimits(**left)  # pyright: ignore[reportArgumentType]

    # For lease, line and door: under the book's lock

    def deny(self, hold: Amount, depth: int) -> BudgetError | None:
        """The error that a start would meet now, or ``None``."""
        now = 0.0
        for account, kept in self.chain:
            if account.unlimited:
                continue
            if account.limits.max_seconds is not None:
                now = self.book.clock.monotonic()
            refusal = account.refusal(hold, depth, now, kept)
            if refusal is not None:
                held_back = refusal.held > 0 and not any(
                    other.refusal(hold, depth, now, its_kept, ignore_holds=True) for other, its_kept in self.chain
                )
                return self._error(account, refusal, held_back=held_back)
        return None

    def refuse_call(self, mine: Amount, wish: Amount | None) -> None:
        """Raise what a model call meets whose lease holds ``mine`` and asks for ``wish`` instead, if anything.

        :raises BudgetExhausted: from here, where no name holds it: one that did would keep its own traceback,
            and with it the lease, alive.
        """
        now = self.book.clock.monotonic()
        for account, kept in self.chain:
            if not account.unlimited and (refusal := account.call_refusal(mine, wish, now, kept[0])):
                raise self._error(account, refusal, held_back=False)

    def begin(self, hold: Amount, estimate: TokenAccounting | None, slots: int = 1) -> Lease:
        """Start an agent that nothing denies."""
        book = self.book
        book.last_number = number = book.last_number + 1
        now = book.clock.monotonic()
        for account, _ in self.chain:
            account.begin(number, hold, now, slots)
        return Lease(self, number, hold, estimate, slots)

    def _weighed(self, estimate: TokenAccounting) -> Amount:
        """``amount_of``; start after start asks for the same estimate."""
        last, amount = self._last_weighed
        if last is not estimate:
            amount = amount_of(estimate)
            self._last_weighed = estimate, amount
        return amount

    def _exhausted(self) -> bool:
        return any(account.exhausted for account, _ in self.chain)

    def _error(self, account: Account, refusal: Refusal, *, held_back: bool) -> BudgetError:
        snapshot = account.snapshot(self.book.clock.monotonic(), account.exhausted)
        if refusal.dimension == "agents":
            return AgentLimitReached(int(refusal.limit), int(refusal.spent), snapshot)
        return BudgetExhausted(refusal.sentence(), snapshot, dimension=refusal.dimension, held_back=held_back)
