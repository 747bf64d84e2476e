"""A clock that needs no time: what would take an hour is over at once, and takes an hour all the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import TypeVar, TypeVarTuple

import anyio

from .virtual_loop import VirtualLoop, VirtualTime

__all__ = ["VirtualClock"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class VirtualClock:
    """A ``carpool.clock.Clock``, and event loops that run on it. Give it to ``SharedInfra(clock=…)`` too.

    In its loop ``anyio.sleep``, ``fail_after``, ``timeout_s`` and ``max_seconds`` keep their order and their
    lengths and cost nothing: when no task can go on, time jumps to the next timer. When there is no timer either, and
    no thread is out, ``Deadlock`` is raised and names the tasks, where a real loop would hang. With pytest and anyio::

        @pytest.fixture
        def clock() -> VirtualClock:
            return VirtualClock()

        @pytest.fixture
        def anyio_backend(clock):
            return "asyncio", {"loop_factory": clock.new_event_loop}

    Limits. Time never stands in for work: it does not move while code computes. While a thread is out (see
    ``VirtualLoop``) it passes as on the wall, so that sync tools and agents work, but are waited for; other threads
    need ``real_time()``. Tasks that wake each other by timers for ever are no deadlock. One loop at a time.
    """

    def __init__(self, start: datetime = datetime(2025, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._time = VirtualTime()

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._time.seconds

    def now(self) -> datetime:
        """``start``, and as many seconds later as have passed."""
        return self._start + timedelta(seconds=self._time.seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass by hand; timers that are due then fire when the loop next comes to them.

        :raises ValueError: for less than 0 seconds.
        """
        if not seconds >= 0:
            raise ValueError(f"a clock never goes back: {seconds!r} s")
        self._time.go_on(seconds)

    def real_time(self) -> AbstractContextManager[None]:
        """Within the block time passes as on the wall: for threads that the loop knows nothing of."""
        return self._time.following_the_wall()

    def run(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run an async function to its end in a loop of its own, and return what it returns.

        :raises Deadlock: when it would wait for ever; all its tasks are cancelled.
        """
        return anyio.run(function, *args, backend_options={"loop_factory": self.new_event_loop})

    def new_event_loop(self, on_step: Callable[[], None] | None = None) -> VirtualLoop:
        """A loop on this clock: the ``loop_factory`` of ``asyncio.Runner`` and of anyio's pytest plugin."""
        return VirtualLoop(self._time, on_step)
