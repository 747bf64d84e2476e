"""How the root account of a budget keeps step with a ledger: read before every step, written after it.

The account is what the ledger says and what this member has done since it last wrote: ``_base`` and the difference to
it. As a rule there is no difference when a turn begins; there is one after a turn whose writing failed, and it is
written with the next that succeeds, so that nothing that was told is ever lost to a full disk. What a member holds
stands in its share. When the member dies, the next that looks books that as spent: an agent whose process is gone
may have spent all of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from socket import gethostname

from msgspec.structs import replace

from ..clock import new_id
from ..errors import JournalCorrupt
from ..types import BudgetLimits
from .account import Account
from .amount import NOTHING, Amount, minus, plus
from .ledger import Changes, Ledger, Page
from .line import Line
from .record import Record, Share, decode_record, decode_share, encode
from .shared_clock import SharedClock

__all__ = ["Sharing"]


class Sharing:
    """One member's part in the purse on ``ledger``. Every method is called under the book's lock."""

    def __init__(self, ledger: Ledger, account: Account, clock: SharedClock) -> None:
        self.ledger = ledger
        self.member = ""  # until it has joined
        self._owner = ""
        self.unpriced: set[int] = set()  # leases whose hold has no known price
        self._account = account
        self._clock = clock
        self._base: Record | None = None
        self._mine = Share()  # as the ledger has it
        self._tried: tuple[Record, Share] | None = None  # written, perhaps: the commit ended in an error
        self._others: dict[str, Share] = {}
        self._held_elsewhere = NOTHING
        self._burials: dict[str, Share] = {}
        self._returned = False
        # What was read or written last, as text: most turns find it unchanged.
        self._record_read: tuple[str, Record] | None = None
        self._shares_read: dict[str, tuple[str, Share]] = {}

    @property
    def record(self) -> Record:
        """The purse as it was last read or written."""
        if self._base is None:
            raise AssertionError("nothing was read yet")
        return self._base

    @property
    def able_elsewhere(self) -> int:
        """How many leases of other members can settle by themselves."""
        return sum(share.able for share in self._others.values())

    def is_written(self, line: Line) -> bool:
        """Whether the ledger has all that was told here."""
        return self._tried is None and not self._differs(self.record, *self._as_it_is(line))

    # A turn

    def join(self, limits: BudgetLimits | None, line: Line) -> None:
        """Become a member; the purse is made, with ``limits``, if there is none. A turn of its own.

        :raises JournalError: when the ledger can't be opened. :raises ValueError: when it has other limits.
        """
        ledger, member = self.ledger, new_id()
        ledger.join(member)
        try:
            page = ledger.begin(wait=True)
            record = self._opened(page, limits)
            self._clock.set(page.now, at_least=record.latest)
            if self._base is None:
                self._base = record
                self._start_from(record)
            self.member, self._owner = member, f"process {os.getpid()} on {gethostname()}"
            self.load(page)
            self.bury_dead()
            self.commit(line)
        except BaseException:
            self.member = ""
            ledger.abandon()
            ledger.leave()
            raise

    def begin(self, *, wait: bool) -> None:
        """Take the turn, and bring the account to what the ledger says."""
        self.load(self.ledger.begin(wait=wait))

    def load(self, page: Page) -> None:
        self._burials, self._returned = {}, False
        record = self._decode(page)
        shares = self._shares(page)
        if record.held != _sum(shares.values()):
            raise JournalCorrupt(self.ledger.place, "the shares do not add up to what is held; restore it from a copy")
        mine = shares.pop(self.member, None)
        if mine is None and not self._mine.is_empty:
            record, mine = self._come_back(record)
        self._rebase(record, self._since(mine))
        self._base, self._mine, self._tried = record, mine or Share(turn=self._mine.turn), None
        self._others = shares
        self._sum_up()

    def commit(self, line: Line) -> None:
        """Write what is new, and end the turn.

        :raises JournalError: when it may not have been written; the next turn finds out.
        """
        record, share = self._as_it_is(line)
        if not self._differs(self.record, record, share):
            self.ledger.abandon()
            return
        purse, mine = encode(record), encode(share)
        buried = {member: encode(burial) for member, burial in self._burials.items() if not burial.is_empty}
        back = {self.member: None} if self._returned else {}
        self._tried = record, share
        self.ledger.commit(Changes(purse, {self.member: mine, **dict.fromkeys(self._burials)}, {**buried, **back}))
        self._base, self._mine, self._tried = record, share, None
        self._record_read, self._shares_read[self.member] = (purse, record), (mine, share)

    def bury_dead(self) -> bool:
        """Book as spent what dead members held. They keep their slots; what they had charged is booked already."""
        dead = self.ledger.dead(self._others.keys()) if self._others else ()
        for member in dead:
            share = self._burials[member] = self._others.pop(member)
            self._base = _without(self.record, share)
            self._account.book(share.held, share.held, not share.unpriced)
            self._account.first_settled = _earlier(self._account.first_settled, share.oldest)
        self._sum_up()
        return bool(dead)

    def forget(self) -> None:
        """In a forked child: what the parent has in flight is not ours, and what it has yet to write it will write."""
        self.ledger.forget()
        self.member, self._mine, self._tried = "", Share(), None
        self.unpriced.clear()
        self._start_from(self.record)
        self._held_elsewhere = self._account.held

    # Reading

    def _opened(self, page: Page, limits: BudgetLimits | None) -> Record:
        """The purse as it is found, or a new one."""
        if page.purse is None:
            limits = limits or BudgetLimits()
            return Record(id=new_id(), version=-1, made_with=limits, limits=limits)
        record = decode_record(page.purse, self.ledger.place)
        if limits is None or limits in (record.limits, record.made_with):
            return record
        raise ValueError(
            f"{self.ledger.place}: the purse there has {record.limits} (it was made with {record.made_with}), "
            f"not {limits}; leave the limits out, or change them for all with raise_limits"
        )

    def _start_from(self, record: Record) -> None:
        account = self._account
        account.spent, account.within, account.unpriced = record.spent, record.within, record.unpriced
        account.agents, account.first_settled = record.agents, record.first
        account.set_limits(record.limits)

    def _decode(self, page: Page) -> Record:
        if page.purse is None:
            if self.record.version >= 0:
                raise JournalCorrupt(self.ledger.place, "the purse is gone; restore it from a copy")
            return self.record
        if self._record_read is None or self._record_read[0] != page.purse:
            self._record_read = page.purse, decode_record(page.purse, self.ledger.place)
        return self._record_read[1]

    def _shares(self, page: Page) -> dict[str, Share]:
        before, self._shares_read = self._shares_read, {}
        for member, text in page.shares.items():
            known = before.get(member)
            if known is None or known[0] != text:
                known = text, decode_share(text, member, self.ledger.place)
            self._shares_read[member] = known
        return {member: share for member, (_, share) in self._shares_read.items()}

    def _come_back(self, record: Record) -> tuple[Record, Share | None]:
        """This member was taken for dead. What was booked for it is taken back, and held again."""
        text = self.ledger.buried(self.member)
        if text is None:  # too long ago: what it held stays booked
            return record, None
        share = decode_share(text, self.member, self.ledger.place)
        self._returned = True
        spent, within = minus(record.spent, share.held), minus(record.within, share.held)
        return replace(record, spent=spent, within=within, held=plus(record.held, share.held)), share

    def _since(self, mine: Share | None) -> Record:
        """What the account stands upon: what was read last or, if that took place after all, what was tried."""
        if self._tried is not None and mine is not None and mine.turn == self._tried[1].turn:
            return self._tried[0]
        return self.record

    def _rebase(self, record: Record, since: Record) -> None:
        account = self._account
        account.spent = plus(record.spent, minus(account.spent, since.spent))
        account.within = plus(record.within, minus(account.within, since.within))
        account.agents += record.agents - since.agents
        account.unpriced = account.unpriced or record.unpriced
        account.first_settled = _earlier(account.first_settled, record.first)
        if account.limits == since.limits != record.limits:
            account.set_limits(record.limits)

    def _sum_up(self) -> None:
        """What the others hold, in the account."""
        account, before = self._account, self._held_elsewhere
        self._held_elsewhere = _sum(self._others.values())
        account.held = plus(minus(account.held, before), self._held_elsewhere)
        begun = [share.oldest for share in self._others.values() if share.oldest is not None]
        account.begun_elsewhere = min(begun, default=None)

    # Writing

    def _as_it_is(self, line: Line) -> tuple[Record, Share]:
        account = self._account
        self.unpriced &= account.live.keys()
        share = Share(
            owner=self._owner,
            turn=self._mine.turn + 1,
            held=minus(account.held, self._held_elsewhere),
            in_flight=len(account.live),
            able=line.able(account.live),
            oldest=next(iter(account.live.values()), None),
            unpriced=bool(self.unpriced),
        )
        record = replace(
            self.record,
            version=self.record.version + 1,
            limits=account.limits,
            spent=account.spent,
            within=account.within,
            held=account.held,
            unpriced=account.unpriced,
            agents=account.agents,
            first=account.first_settled,
            latest=max(self.record.latest, self._clock.monotonic()),
        )
        return record, share

    def _differs(self, before: Record, record: Record, share: Share) -> bool:
        if self._burials or self._returned or before.version < 0:
            return True
        same = replace(record, version=before.version, latest=before.latest) == before
        return not same or replace(share, turn=self._mine.turn, owner=self._mine.owner) != self._mine


def _without(record: Record, share: Share) -> Record:
    """``record`` when what ``share`` holds is spent."""
    return replace(
        record,
        spent=plus(record.spent, share.held),
        within=plus(record.within, share.held),
        held=minus(record.held, share.held),
        unpriced=record.unpriced or share.unpriced,
        first=_earlier(record.first, share.oldest),
    )


def _sum(shares: Iterable[Share]) -> Amount:
    total = NOTHING
    for share in shares:
        total = plus(total, share.held)
    return total


def _earlier(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
