"""An event loop whose time jumps to its next timer when there is nothing else to do, and that sees deadlocks."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from math import inf, nextafter
from types import FrameType
from typing import Any

from ..clock import SystemClock

__all__ = ["Deadlock", "VirtualLoop", "VirtualTime"]

_wall = SystemClock()
_RESOLUTION = 1e-9


class Deadlock(AssertionError):
    """Nothing is ready, no timer is set, and nobody outside the loop is at work: it would wait for ever.

    ``waiting`` says for each task its name and the line on which it waits.
    """

    def __init__(self, waiting: list[str]) -> None:
        told = "\n  ".join(waiting) or "no task at all"
        super().__init__(f"deadlock: nothing can wake any of {len(waiting)} tasks:\n  {told}")
        self.waiting = waiting


class VirtualTime:
    """Seconds that pass only when told to, and whether something may happen that the loop can't foresee."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._outside = 0

    def go_on(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self.seconds += seconds
        if self.seconds + _RESOLUTION == self.seconds:
            # asyncio fires what is due before the end of the clock's tick. After three months a float has no
            # room for a nanosecond, and what is due now would never be due.
            self.seconds = nextafter(self.seconds, inf)

    @property
    def follows_the_wall(self) -> bool:
        return self._outside > 0

    @contextmanager
    def following_the_wall(self) -> Generator[None]:
        self._outside += 1
        try:
            yield
        finally:
            self._outside -= 1


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop on virtual time; ``on_step``, if given, is called after each callback that it runs.

    Time jumps only when the loop alone can go on. It passes as on the wall while a thread started with
    ``to_thread`` or ``run_in_executor`` is at work (one that was abandoned too), while a socket, pipe or other
    descriptor is watched, and inside ``VirtualClock.real_time()``.
    """

    def __init__(self, time: VirtualTime, on_step: Callable[[], None] | None = None) -> None:
        selector = _Selector(time, self)
        super().__init__(selector)
        self._own_descriptors = len(selector.get_map())
        self._virtual = time
        self._watched = selector
        self._on_step = on_step
        self._jobs: set[asyncio.Future[Any]] = set()

    def time(self) -> float:
        return self._virtual.seconds

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        if when == inf:
            # ``anyio.sleep_forever`` sets such a timer. It is none: nobody is ever woken by it.
            return asyncio.TimerHandle(when, callback, args, self, context)
        return super().call_at(when, callback, *args, context=context)

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:
        if self._on_step is None:
            return super().call_soon(callback, *args, context=context)
        return super().call_soon(self._step, callback, args, context=context)

    def _step(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        callback(*args)
        if self._on_step is not None:
            self._on_step()

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        job: asyncio.Future[Any] = super().run_in_executor(executor, func, *args)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return job

    async def shutdown_default_executor(self, *args: Any) -> None:
        with self._virtual.following_the_wall():
            await super().shutdown_default_executor(*args)

    def may_be_woken(self) -> bool:
        """Whether somebody who is not in this loop may still wake it."""
        return (
            self._virtual.follows_the_wall
            or bool(self._jobs)
            or len(self._watched.get_map()) > self._own_descriptors
            or any(map(self._is_at_work, threading.enumerate()))
        )

    def _is_at_work(self, thread: threading.Thread) -> bool:
        """Whether ``thread`` is one of anyio's workers for this loop, and not idle.

        anyio has no public way to tell. Where these attributes are missing, a worker counts as at work for ever:
        then tests get slow, not wrong.
        """
        if getattr(thread, "loop", None) is not self:
            return False
        return thread not in getattr(thread, "idle_workers", ())

    def deadlock(self) -> Deadlock:
        return Deadlock(sorted(map(_where, asyncio.all_tasks(self))))


class _Selector(selectors.DefaultSelector):
    """Asked by the loop to wait until something happens; lets time jump instead."""

    def __init__(self, time: VirtualTime, loop: VirtualLoop) -> None:
        super().__init__()
        self._time = time
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._loop.may_be_woken():
            before = _wall.monotonic()
            ready = super().select(timeout)
            self._time.go_on(_wall.monotonic() - before)
            return ready
        if timeout is None:
            raise self._loop.deadlock()
        self._time.go_on(timeout)
        return []


def _where(task: asyncio.Task[Any]) -> str:
    """The task's name, and the innermost line on which it is suspended that is not asyncio's or anyio's."""
    awaited: Any = task.get_coro()
    frame: FrameType | None = None
    while awaited is not None:
        inner: FrameType | None = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if inner is not None and not inner.f_globals.get("__name__", "").startswith(("asyncio.", "anyio.")):
            frame = inner
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
    if frame is None:
        return task.get_name()
    return f"{task.get_name()} at {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
