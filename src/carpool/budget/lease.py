"""A place in the budget for one start: holds what it may spend, books what it does, gives back the rest.

held ── settle ──▶ settled          charge and reserve keep it held;
  └──── release ─▶ released         after the end only a late charge still counts
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Self

from msgspec import Struct
from msgspec.structs import replace

from ..types import TokenAccounting
from .amount import NOTHING, Amount, amount_of, lacking, lesser, plus, tokens_of
from .book import wake

if TYPE_CHECKING:
    from collections.abc import Callable

    from .purse import CoordinationBudget

__all__ = ["Lease"]


class Lease(Struct, eq=False, weakref=True):
    """One agent's place in its purse and all above it, from ``CoordinationBudget.try_begin_agent``.

    Asking (``reserve``) may raise; telling (``charge``, ``settle``) always books, at any time and from any
    thread. It ends once, by ``settle`` or ``release``; leaving its ``with`` block settles, also by an
    exception or a cancellation, and a lease that is dropped without either is settled when it is collected.
    """

    _purse: CoordinationBudget
    number: int  # its key among the leases in flight
    _hold: Amount
    _estimate: TokenAccounting | None
    _slots: int  # 0 for one that was not asked about
    _state: str = "held"
    _meter: _Meter | None = None  # made by the first reserve or charge
    _final: TokenAccounting | None = None

    @property
    def state(self) -> str:
        """``"held"``, ``"settled"`` or ``"released"``."""
        return self._state

    @property
    def purse(self) -> CoordinationBudget:
        """The purse that it was asked of."""
        return self._purse

    @property
    def hold(self) -> TokenAccounting:
        """What was held when the agent was let in."""
        return self._estimate or _NONE

    @property
    def charged(self) -> TokenAccounting:
        """What is booked so far; after the end, what was spent in all."""
        if self._meter is not None and self._meter.charged is not None:
            return self._meter.charged
        return self._final or TokenAccounting()

    @property
    def at_stake(self) -> TokenAccounting:
        """What it costs if nobody ever says so: the hold or, dimension by dimension, what was charged together with the
        open reservation, where that is more; after the end, what it has cost. Looked at without a lock: for a moment a
        charge may count beside the reservation that it ends."""
        if self._state != "held":
            return self.charged
        meter = self._meter
        if meter is None:
            return self.hold
        spent, wish = meter.charged or _NONE, meter.wish
        return self.hold.largest(spent if wish is None else spent + wish)

    def reserve(self, tokens: TokenAccounting | None = None) -> None:
        """Ask before the next model call; hold its worst case, ``tokens``, until the next ``charge``.

        Only what the hold lacks is taken; asking again replaces the last answer. Without an argument: ask
        only whether a limit is crossed.

        :raises BudgetExhausted: when it does not fit, or a spend or time limit is crossed; nothing changes.
        """
        book = self._purse.book
        with book.step(asking=True) as step:
            meter = self._metered()
            extra = None if tokens is None else lacking(amount_of(tokens), meter.room)
            self._purse.refuse_call(meter.extra, extra)
            if tokens is None or extra is None or self._state != "held":
                return
            if book.shared:
                step.undo = partial(self._unreserve, meter, tokens, meter.extra, meter.wish)
                if not tokens.priced:
                    book.holds_unpriced(self.number)
            self._rehold(meter, extra, tokens)
            step.freed()

    def charge(self, tokens: TokenAccounting) -> None:
        """Book what a model call cost. It uses up the hold first, and ends the open reservation."""
        with self._purse.book.step() as step:
            self._book(self._metered(), tokens)
            step.freed()

    def settle(self, tokens: TokenAccounting | None = None) -> TokenAccounting:
        """End the lease; returns what it spent in all.

        That is the larger of what was charged and what is reported here, dimension by dimension. Without a
        report: what was charged plus the open reservation or, if nothing was ever charged or reserved, the
        hold, because unknown spend is not zero. Settling again changes nothing.
        """
        book = self._purse.book
        if book.shared:
            return self._settle_shared(tokens) if self._state == "held" else self.charged
        book.lock.acquire()  # written out: half the price of a with block, for every agent
        try:
            final = self.settle_locked(tokens)
            answered = book.ask_line() if book.line.waiting else None
        finally:
            book.lock.release()
        if answered:
            wake(answered)
        if book.dropped:
            book.settle_dropped()
        return final

    def settle_soon(self, tokens: TokenAccounting | None, wake: Callable[[], None]) -> None:
        """``settle`` on a purse that ``is_shared``, without waiting for its ledger: a thread does it, with all that it
        is told meanwhile. When it calls ``wake``, ``charged`` is what the lease spent in all."""
        self._purse.book.tell_soon(partial(self.settle_locked, tokens), wake)

    def release_soon(self, wake: Callable[[], None]) -> None:
        """``release``, as ``settle_soon``."""
        self._purse.book.tell_soon(self.release_locked, wake)

    def release(self) -> None:
        """End the lease of an agent that never started: its hold and its slot go back."""
        with self._purse.book.step() as step:
            if self._state == "held":
                self.release_locked()
                step.freed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.settle()

    def __del__(self) -> None:
        if self._state == "held":
            self._purse.book.drop(self)

    def _settle_shared(self, tokens: TokenAccounting | None) -> TokenAccounting:
        with self._purse.book.step() as step:
            final = self.settle_locked(tokens)
            step.freed()
        return final

    def _unreserve(self, meter: _Meter, tokens: TokenAccounting, extra: Amount, wish: TokenAccounting | None) -> None:
        """Take back the reservation of ``tokens``, if it is still the open one."""
        with self._purse.book.step() as step:
            if self._state == "held" and meter.wish is tokens:
                self._rehold(meter, extra, wish)
                step.freed()

    # Under the book's lock

    def release_locked(self) -> None:
        if self._state != "held":
            return
        meter = self._meter
        still_held = self._hold if meter is None else plus(meter.room, meter.extra)
        for account, _ in self._purse.chain:
            account.rehold(still_held, NOTHING)
            account.take_back(self.number, self._slots)
        self._state = "released"

    def settle_locked(self, reported: TokenAccounting | None) -> TokenAccounting:
        if self._state != "held":
            return self.charged
        self._state = "settled"
        if self._meter is not None:
            return self._settle_metered(self._meter, reported)
        # Never charged, never reserved: the usual case, and the hot one.
        self._final = final = reported or self._estimate or _NONE
        spent, held = amount_of(final), self._hold
        within = NOTHING if held is NOTHING else lesser(spent, held)
        for account, _ in self._purse.chain:
            account.settle(self.number, held, spent, within, final.priced)
        return final

    def _settle_metered(self, meter: _Meter, reported: TokenAccounting | None) -> TokenAccounting:
        held = plus(meter.room, meter.extra)
        spent, priced = meter.outstanding(reported, self.hold)
        within = lesser(spent, held)
        for account, _ in self._purse.chain:
            account.rehold(held, NOTHING)
            account.settle(self.number, NOTHING, NOTHING, NOTHING, priced)
            account.book(spent, within, priced)
            account.exceeded(meter.overrun)
        meter.end(spent, reported)
        meter.room, meter.extra = lacking(held, spent), NOTHING
        return meter.charged or _NONE

    def _rehold(self, meter: _Meter, extra: Amount, wish: TokenAccounting | None) -> None:
        for account, _ in self._purse.chain:
            account.rehold(meter.extra, extra)
        meter.extra, meter.wish = extra, wish

    def _metered(self) -> _Meter:
        if self._meter is None:
            # After the end, what was not used of the hold still covers a late charge.
            room = self._hold if self._final is None else lacking(self._hold, amount_of(self._final))
            self._meter = _Meter(room, self._final)
        return self._meter

    def _book(self, meter: _Meter, tokens: TokenAccounting) -> None:
        """Book a charge in every account: out of what is held as far as that goes, the rest is overrun, which
        is counted when the lease settles."""
        spent, covered, room = amount_of(tokens), plus(meter.room, meter.extra), meter.room
        running = self._state == "held"
        within = spent if running else lesser(spent, covered)
        for account, _ in self._purse.chain:
            account.book(spent, within, tokens.priced)
            if running:
                account.rehold(covered, lacking(room, spent))
        meter.charge(tokens, spent, lacking(spent, covered))


class _Meter:
    """What a lease has charged and reserved, once it has."""

    __slots__ = ("booked", "charged", "extra", "overrun", "room", "wish")

    def __init__(self, room: Amount, charged: TokenAccounting | None) -> None:
        self.room = room  # what of the hold is not used up
        self.extra = NOTHING  # what the open reservation holds beyond that
        self.wish: TokenAccounting | None = None  # the open reservation
        self.charged = charged
        self.booked = NOTHING if charged is None else amount_of(charged)
        self.overrun = NOTHING

    def charge(self, tokens: TokenAccounting, spent: Amount, over: Amount) -> None:
        self.booked = plus(self.booked, spent)
        self.charged = self._at_cost(tokens if self.charged is None else self.charged + tokens)
        self.overrun = plus(self.overrun, over)
        self.room, self.extra, self.wish = lacking(self.room, spent), NOTHING, None

    def outstanding(self, reported: TokenAccounting | None, hold: TokenAccounting) -> tuple[Amount, bool]:
        """What the end still has to book beside the charges, and whether its price is known."""
        if reported is not None:
            return lacking(amount_of(reported), self.booked), reported.priced
        if self.wish is not None:
            return amount_of(self.wish), self.wish.priced
        # It asked whether it may go on, but neither charged nor reserved anything: as if it had not asked.
        return (self.room, hold.priced) if self.charged is None else (NOTHING, True)

    def end(self, spent: Amount, reported: TokenAccounting | None) -> None:
        before = self.charged or _NONE
        self.booked = plus(self.booked, spent)
        if reported is not None:
            self.charged = self._at_cost(before.largest(reported))
        elif spent != NOTHING:
            self.charged = self._at_cost(before + (self.wish or tokens_of(spent)))
        self.wish = None

    def _at_cost(self, tokens: TokenAccounting) -> TokenAccounting:
        """``tokens`` at what is booked for them: a sum of floats would drift away from that."""
        return replace(tokens, cost_usd=tokens_of(self.booked).cost_usd)


_NONE = TokenAccounting()
