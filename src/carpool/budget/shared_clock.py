"""Seconds that all members of a ledger count alike: since 1970, and never going back while one of them lives."""

from __future__ import annotations

from datetime import datetime

from ..clock import Clock

__all__ = ["SharedClock"]


class SharedClock:
    """A clock of this process, set once by the wall or by the ledger's own time; from then on it runs evenly, however
    the wall clock is moved."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = clock.now().timestamp() - clock.monotonic()

    def set(self, now: float | None, at_least: float) -> None:
        """``now`` is the ledger's own time, if it has one; ``at_least`` what another member has had already."""
        if now is not None:
            self._ahead = now - self._clock.monotonic()
        self._ahead += max(0.0, at_least - self.monotonic())

    def monotonic(self) -> float:
        return self._clock.monotonic() + self._ahead

    def now(self) -> datetime:
        return self._clock.now()
