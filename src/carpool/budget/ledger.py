"""The port of a ledger: a small record that several processes change in turn, so that they share one purse.

A ledger keeps texts and takes turns; what the texts say, and what follows from them, is decided in ``sharing``, so
that every store has the same rules. Whoever has the turn sees all that was committed before, and nobody else writes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

__all__ = ["Changes", "Ledger", "Page"]


class Page(NamedTuple):
    """What lies on a ledger at one instant."""

    purse: str | None
    """``None`` on a new one."""

    shares: Mapping[str, str]
    """What each member that has written lately has a share in, by the member's name."""

    now: float | None = None
    """Seconds since 1970 by a clock that all members have in common, where there is one."""


class Changes(NamedTuple):
    """What one transaction writes. ``buried`` are the shares of members that were taken for dead, kept apart for the
    case that one comes back. ``None`` removes."""

    purse: str
    shares: Mapping[str, str | None]
    buried: Mapping[str, str | None]


class Ledger(Protocol):
    """Used by one budget, one call at a time, from any thread.

    Every method but ``forget`` may raise: ``JournalError``, with the place and what to do, when the ledger can't be
    reached, read or written, and ``JournalCorrupt`` when it is damaged. Then there is no turn, and what was to be
    written is written entirely or not at all; which of the two, the next page tells.
    """

    @property
    def place(self) -> str:
        """Where it lies, for people: a path, or a server and a name; never a password."""
        ...

    def join(self, member: str) -> None:
        """Open it, and be alive as ``member`` until ``leave`` or the end of this process, however that comes."""
        ...

    def begin(self, *, wait: bool) -> Page:
        """Take the turn, and read. Without ``wait``, give up at once when somebody else has it."""
        ...

    def commit(self, changes: Changes) -> None:
        """Write, and end the turn. Durable when it returns, against power loss too."""
        ...

    def abandon(self) -> None:
        """End the turn without a change; nothing, where there is none."""
        ...

    def dead(self, members: Collection[str]) -> Collection[str]:
        """Which of these will never write again. Within a turn."""
        ...

    def buried(self, member: str) -> str | None:
        """The share of one that was taken for dead, if it is still kept. Within a turn."""
        ...

    def leave(self) -> None:
        """Be no member any more, and close. Joining again is possible."""
        ...

    def forget(self) -> None:
        """In a child that was forked: let go of everything that is the parent's, and leave that as it is."""
        ...
