"""What lies on a ledger, as values: the record of the purse, and each member's share in what is held. JSON.

Amounts are whole numbers without an end, as in the books: a counter that stopped or wrapped round could not be taken
apart again when a hold comes off it.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from ..errors import JournalCorrupt, JournalError
from ..types import BudgetLimits
from .amount import NOTHING, Amount

__all__ = ["FORMAT", "Record", "Share", "decode_record", "decode_share", "encode"]

FORMAT = 1
"""The version of what is written. A newer one is refused without touching it."""


class Record(Struct, frozen=True, kw_only=True):
    """The purse. ``held`` is the sum of the shares, so that a share that got lost is noticed.

    ``made_with`` are the limits of whoever opened it first; ``latest`` the highest time that a member has had, so that
    no clock that goes back makes the purse younger; ``first`` when the first agent began that has ended.
    """

    format: int = FORMAT
    id: str
    version: int = 0
    made_with: BudgetLimits
    limits: BudgetLimits
    spent: Amount = NOTHING
    within: Amount = NOTHING
    held: Amount = NOTHING
    unpriced: bool = False
    agents: int = 0
    first: float | None = None
    latest: float = 0.0


class Share(Struct, frozen=True, kw_only=True):
    """What one member has in flight. ``able`` leases have nobody waiting inside and can settle by themselves;
    ``oldest`` is when the first began; ``unpriced`` says that the price of what is held is unknown.

    ``turn`` counts what the member has written: by it, it learns whether a commit took place that ended in an error.
    """

    owner: str = ""
    turn: int = 0
    held: Amount = NOTHING
    in_flight: int = 0
    able: int = 0
    oldest: float | None = None
    unpriced: bool = False

    @property
    def is_empty(self) -> bool:
        return not self.in_flight and self.held == NOTHING


def encode(value: Record | Share) -> str:
    return _ENCODER.encode(value).decode()


def decode_record(text: str, place: str) -> Record:
    """:raises JournalCorrupt: when it is no record. :raises JournalError: when a newer carpool wrote it."""
    try:
        found = _FORMAT.decode(text).format
        if found <= FORMAT:
            return _RECORD.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise JournalCorrupt(place, f"the purse's record can't be read ({error}); restore it from a copy") from None
    raise JournalError(f"{place}: a newer carpool wrote it (format {found}); this one reads up to {FORMAT}: update it")


def decode_share(text: str, member: str, place: str) -> Share:
    """:raises JournalCorrupt: when it is no share."""
    try:
        return _SHARE.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise JournalCorrupt(place, f"the share of {member} can't be read ({error}); restore it from a copy") from None


class _Format(Struct):
    format: int


_ENCODER = msgspec.json.Encoder()
_FORMAT = msgspec.json.Decoder(_Format)
_RECORD = msgspec.json.Decoder(Record)
_SHARE = msgspec.json.Decoder(Share)
