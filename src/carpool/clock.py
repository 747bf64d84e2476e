"""Where time, ids and chance come from. A test passes its own; nothing else in carpool asks the machine."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

__all__ = ["Clock", "SystemClock", "new_id", "utc_now"]


class Clock(Protocol):
    """What carpool asks of a clock. Both must be cheap and callable from any thread."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""
        ...

    def now(self) -> datetime:
        """The wall time, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    # C functions all the way down: both are asked several times for every agent.
    monotonic = staticmethod(time.monotonic)
    now = staticmethod(partial(datetime.now, UTC))


def utc_now() -> datetime:
    """The wall time in UTC: the default of every ``timestamp`` field."""
    return datetime.now(UTC)


def new_id(digits: int = 12) -> str:
    """A random id of ``digits`` hexadecimal digits, from the operating system."""
    return os.urandom((digits + 1) // 2).hex()[:digits]
