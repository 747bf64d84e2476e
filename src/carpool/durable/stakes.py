"""What agents in flight have charged and reserved, put on record now and then, for the case that their process dies."""

from __future__ import annotations

from ..clock import utc_now
from ..recall import Attempt
from ..types import TokenAccounting
from .records import AtStake, Entry

__all__ = ["Stakes"]


class Stakes:
    """Of one run. Whoever starts and ends agents does so in the loop; whoever writes looks from a thread."""

    def __init__(self) -> None:
        self._running: dict[str, Attempt] = {}
        self._told: dict[str, TokenAccounting] = {}

    def begin(self, key: str, attempt: Attempt) -> None:
        """What it holds is on record."""
        self._told[key] = attempt.hold
        self._running[key] = attempt

    def end(self, key: str) -> None:
        self._running.pop(key, None)

    def has_news(self) -> bool:
        """Whether more is at stake, or less, than was told last."""
        return any(self._told.get(key) != attempt.at_stake() for key, attempt in tuple(self._running.items()))

    def news(self) -> list[Entry]:
        """What was not told before; told again after ``retell``, if that could not be written."""
        at, told = utc_now(), {key: attempt.at_stake() for key, attempt in tuple(self._running.items())}
        entries = [AtStake(at=at, key=key, spent=now) for key, now in told.items() if self._told.get(key) != now]
        self._told = told
        return [*entries]

    def retell(self) -> None:
        self._told = {}
