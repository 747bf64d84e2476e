"""A ledger in memory, for several budgets of one process: the reference for all others; and faults for any of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from threading import Lock

from carpool.budget.ledger import Changes, Ledger, Page
from carpool.errors import JournalError


@dataclass
class Shelf:
    """Where it lies: what a disk is to a file."""

    purse: str | None = None
    shares: dict[str, str] = field(default_factory=dict)
    buried: dict[str, str] = field(default_factory=dict)
    alive: set[str] = field(default_factory=set)
    turn: Lock = field(default_factory=Lock)
    now: float | None = None
    commits: int = 0


class MemoryLedger:
    """One member's access to ``shelf``."""

    place = "memory"

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.member: str | None = None
        self._has_turn = False

    def join(self, member: str) -> None:
        self.shelf.alive.add(member)
        self.member = member

    def begin(self, *, wait: bool) -> Page:
        if self.member is None:
            raise JournalError("memory: not open")
        if not self.shelf.turn.acquire(timeout=10) if wait else not self.shelf.turn.acquire(blocking=False):
            raise JournalError("memory: somebody else has the turn")
        self._has_turn = True
        return Page(self.shelf.purse, dict(self.shelf.shares), self.shelf.now)

    def commit(self, changes: Changes) -> None:
        assert self._has_turn
        self.shelf.commits += 1
        self.shelf.purse = changes.purse
        for kept, changed in ((self.shelf.shares, changes.shares), (self.shelf.buried, changes.buried)):
            for member, share in changed.items():
                kept.pop(member, None)
                if share is not None:
                    kept[member] = share
        self.abandon()

    def abandon(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self.shelf.turn.release()

    def dead(self, members: Collection[str]) -> Collection[str]:
        assert self._has_turn
        return [member for member in members if member not in self.shelf.alive]

    def buried(self, member: str) -> str | None:
        assert self._has_turn
        return self.shelf.buried.get(member)

    def leave(self) -> None:
        self.abandon()
        self.shelf.alive.discard(self.member or "")
        self.member = None

    def forget(self) -> None:
        self._has_turn = False


class FaultyLedger:
    """``ledger``, with faults on demand. ``faults`` are used up in order: each is the name of the method that fails
    next, with ``"commit after"`` for a commit that takes place and says that it did not. ``down`` is one that fails
    until further notice; ``raises`` is what a fault raises, if it is no error of the ledger's."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.faults: list[str] = []
        self.down: str | None = None
        self.raises: type[BaseException] = JournalError

    @property
    def place(self) -> str:
        return self.ledger.place

    def join(self, member: str) -> None:
        self._fail_at("join")
        self.ledger.join(member)

    def begin(self, *, wait: bool) -> Page:
        self._fail_at("begin")
        return self.ledger.begin(wait=wait)

    def commit(self, changes: Changes) -> None:
        self._fail_at("commit")
        self.ledger.commit(changes)
        self._fail_at("commit after")

    def abandon(self) -> None:
        self.ledger.abandon()

    def dead(self, members: Collection[str]) -> Collection[str]:
        self._fail_at("dead")
        return self.ledger.dead(members)

    def buried(self, member: str) -> str | None:
        self._fail_at("buried")
        return self.ledger.buried(member)

    def leave(self) -> None:
        self.ledger.leave()

    def forget(self) -> None:
        self.ledger.forget()

    def _fail_at(self, point: str) -> None:
        if self.down != point:
            if self.faults[:1] != [point]:
                return
            del self.faults[0]
        self.ledger.abandon()
        raise self.raises(f"told to fail at {point}")
