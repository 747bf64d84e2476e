"""What a run's entries tell, folded: of each call, what it cost, what came of it, and whether it may run again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from ..recall import Holdings, Past, Recall
from ..types import AgentOutput, AgentSpec, TokenAccounting
from .records import Approved, AtStake, Ended, Entry, Opened, SpecUsed, Started

__all__ = ["Fate", "History"]

_NOTHING = TokenAccounting()


class Fate(Struct, kw_only=True):
    """One call over all processes. ``status``: ``running`` or ``lost``, ``completed``, ``failed``, ``cancelled``.

    ``order`` counts the processes up to the one in which it ended; ``lost`` how many processes died with it in flight;
    ``in_vain`` what its starts cost that came to nothing, ``before`` that without the last one that ended.
    """

    key: str
    roles: str
    path: str
    agent: str
    spec: str
    task: str
    first_started: datetime
    parent: str | None = None
    slots: int = 1
    status: str = "running"
    started: Started
    began: datetime  # the last start
    ended_at: datetime | None = None
    ended: Ended | None = None
    order: int = 0
    starts: int = 0
    lost: int = 0
    at_stake: TokenAccounting = _NOTHING  # of what runs: what it was last known to have charged and reserved
    in_vain: TokenAccounting = _NOTHING
    before: TokenAccounting = _NOTHING

    @property
    def digest(self) -> str:
        return self.key.partition("-")[0]

    @property
    def number(self) -> int:
        """Among the calls with its digest, from 1."""
        return int(self.key.partition("-")[2])

    @property
    def output(self) -> AgentOutput | None:
        return None if self.ended is None or self.status in ("running", "lost") else self.ended.output

    @property
    def if_lost(self) -> TokenAccounting:
        """What its starts in this process are charged at, if that dies now."""
        return self.started.earlier + self.started.hold.largest(self.at_stake)

    @property
    def spent(self) -> TokenAccounting:
        """What all its starts cost; those in flight at what they hold."""
        if self.status == "completed" and self.ended is not None:
            return self.in_vain + (self.ended.output.tokens or _NOTHING)
        return self.in_vain


class History:
    """A fold over the entries of one run, in their order. Calls stand in the order of their first start."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.fates: dict[str, Fate] = {}
        self.specs: dict[str, AgentSpec] = {}
        self.approvals: list[str] = []
        self.opened: list[Opened] = []
        self._spent: dict[str, TokenAccounting] = {}  # by purse
        self._slots: dict[str, int] = {}
        for entry in entries:
            self.tell(entry)

    def tell(self, entry: Entry) -> None:
        """The next entry."""
        match entry:
            case Started():
                self._start(entry)
            case Ended():
                self._end(entry)
            case Opened():
                self.lose()
                self.opened.append(entry)
            case AtStake():
                if (fate := self.fates.get(entry.key)) is not None:
                    fate.at_stake = entry.spent
            case SpecUsed():
                self.specs[entry.digest] = entry.spec
            case Approved():
                self.approvals.append(entry.request)
            case _:
                pass

    def lose(self) -> None:
        """The process that wrote this is gone: what was in flight is lost, and charged at its hold."""
        for fate in self.fates.values():
            if fate.status == "running":
                charged = fate.if_lost
                fate.status = "lost"
                fate.lost += 1
                fate.in_vain += charged
                self._charge(fate.started.purse, charged)

    @property
    def past(self) -> list[Past]:
        """All that was spent, by purse, and the slots of the completed."""
        return [Past(purse=purse, spent=spent, slots=self._slots.get(purse, 0)) for purse, spent in self._spent.items()]

    @property
    def at_stake(self) -> TokenAccounting:
        """What is charged for all that runs, if its process is gone."""
        return sum((fate.if_lost for fate in self.fates.values() if fate.status == "running"), _NOTHING)

    @property
    def spent(self) -> TokenAccounting:
        return sum(self._spent.values(), _NOTHING)

    def count(self, status: str) -> int:
        """How many calls are of this status."""
        return sum(fate.status == status for fate in self.fates.values())

    def holdings(self, memory: Recall) -> Holdings:
        return Holdings(
            completed=self.count("completed"),
            lost=self.count("lost") + self.count("running"),
            failed=self.count("failed"),
            cancelled=self.count("cancelled"),
            spent=self.spent,
            memory=memory,
        )

    def _start(self, entry: Started) -> None:
        fate = self.fates.get(entry.key)
        if fate is None:
            fate = self.fates[entry.key] = Fate(
                key=entry.key,
                roles=entry.roles,
                path=entry.path,
                agent=entry.agent,
                spec=entry.spec,
                task=entry.task or "",
                parent=entry.parent,
                started=entry,
                first_started=entry.at,
                began=entry.at,
            )
        fate.started, fate.began, fate.status, fate.at_stake = entry, entry.at, "running", _NOTHING
        fate.path, fate.agent, fate.parent, fate.slots = entry.path, entry.agent, entry.parent, entry.slots
        fate.starts += 1

    def _end(self, entry: Ended) -> None:
        fate, spent = self.fates[entry.key], entry.output.tokens or _NOTHING
        fate.before = fate.in_vain
        fate.status, fate.ended, fate.ended_at, fate.order = entry.status, entry, entry.at, len(self.opened)
        self._charge(entry.purse, spent)
        if entry.status == "completed":
            self._slots[entry.purse] = self._slots.get(entry.purse, 0) + fate.slots
        else:
            fate.in_vain += spent

    def _charge(self, purse: str, tokens: TokenAccounting) -> None:
        self._spent[purse] = self._spent.get(purse, _NOTHING) + tokens
