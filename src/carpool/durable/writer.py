"""One thread that writes for everybody: jobs that wait at the same time share a transaction (group commit).

A task puts its job in the line and waits; the loop is never blocked. The thread takes all jobs that are there, hands
them to the store as one group, and wakes their tasks together. It starts with the first job, ends with ``close``, and
does not keep the interpreter alive: whatever a task has not been told is done, is not promised.
"""

from __future__ import annotations

from asyncio import CancelledError, get_running_loop
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from types import CoroutineType
from typing import Any, Generic, TypeVar

import anyio

from ..clock import SystemClock
from ..errors import JournalError

__all__ = ["Job", "Writer"]

T = TypeVar("T")


class Job(Generic[T]):
    """``work`` to be done on the store by the writing thread; then it has a ``result`` or an ``error``."""

    __slots__ = ("_ended", "_loop", "_told", "error", "result", "work")

    def __init__(self, work: Callable[[Any], T]) -> None:
        self.work = work
        self.result: T | None = None
        self.error: Exception | None = None
        self._loop = get_running_loop()
        # A future of the loop's own: an event and a shield of anyio's cost as much as all else that a start costs.
        self._told = self._loop.create_future()
        self._ended = False

    async def wait(self) -> T:
        """What the work returned. A cancellation meanwhile is let through once it is known what came of it.

        :raises Exception: what it raised, or why it could not be made durable.
        """
        try:
            await self._told
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._wait_out()
            raise
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # a frame that held its own error would keep all that it knows alive
        return self.result  # pyright: ignore[reportReturnType] - set by the writing thread

    async def _wait_out(self) -> None:
        while not self._ended:
            self._told = self._loop.create_future()
            with suppress(CancelledError):
                await self._told

    @staticmethod
    def wake(jobs: Sequence[Job[Any]]) -> None:
        """Wake all who wait for these, each loop once."""
        loops: dict[Any, list[Job[Any]]] = {}
        for job in jobs:
            loops.setdefault(job._loop, []).append(job)
        for loop, done in loops.items():
            with suppress(RuntimeError):  # a loop that is closed has nobody left to wake
                loop.call_soon_threadsafe(_tell, done)

    def tell(self) -> None:
        """In its own loop: it has ended."""
        self._ended = True
        if not self._told.done():
            self._told.set_result(None)


def _own(error: Exception) -> Exception:
    """``error`` for one job: what a run notes on its error, the next run's must not have."""
    own = copy(error)
    own.__cause__ = error
    return own


def _tell(jobs: Sequence[Job[Any]]) -> None:
    for job in jobs:
        job.tell()


class Writer:
    """``write(jobs)`` does the jobs in one transaction, and sets each one's ``result`` or ``error``; what it raises
    is the error of all of them. ``tick()`` is called every ``tick_s`` seconds, between jobs too, as long as it returns
    true; the next job wakes it again."""

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[Job[Any]]], None],
        tick: Callable[[], bool],
        closed: Callable[[], None],
        *,
        tick_s: float,
    ) -> None:
        self._name = name
        self._write = write
        self._tick = tick
        self._closed = closed
        self._tick_s = tick_s
        self._jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._ended = False

    def do(self, work: Callable[[Any], T]) -> CoroutineType[Any, Any, T]:
        """Have ``work`` done: it is in the line now, and durable once what this returns has been awaited, to its end
        also by who is cancelled meanwhile.

        :raises JournalError: when the writer is closed.
        """
        job = Job(work)
        with self._lock:
            if self._ended:
                raise JournalError(f"{self._name} is closed")
            if self._thread is None:
                self._thread = Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._jobs.put(job)
        return job.wait()

    async def close(self) -> None:
        """End the thread after the jobs that are in the line."""
        from anyio import to_thread  # loaded with the first journal that is closed, not with carpool

        with self._lock:
            thread, first = self._thread, not self._ended
            self._ended = True
            if thread is not None and first:
                self._jobs.put(None)
        if thread is not None:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(thread.join)

    def _run(self) -> None:
        ticking, ticked = False, 0.0
        while True:
            due_s = max(0.0, ticked + self._tick_s - SystemClock.monotonic())
            try:
                first = self._jobs.get(timeout=due_s if ticking else None)
                jobs, ending = self._all_that_wait(first)
            except Empty:
                first, jobs, ending = None, [], False
            if worked := bool(jobs):
                self._write_all(jobs)
                ticking = True
            del first, jobs  # who waits holds on to nothing
            if ending:
                self._closed()
                return
            if not worked or SystemClock.monotonic() - ticked >= self._tick_s:
                ticked = SystemClock.monotonic()
                with suppress(Exception):  # what keeps this from being written keeps the next job too, and is told then
                    ticking = self._tick() or worked  # what a job has begun may not show yet

    def _all_that_wait(self, first: Job[Any] | None) -> tuple[list[Job[Any]], bool]:
        jobs: list[Job[Any]] = []
        job = first
        while job is not None:
            jobs.append(job)
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return jobs, False
        return jobs, True

    def _write_all(self, jobs: Sequence[Job[Any]]) -> None:
        try:
            self._write(jobs)
        except Exception as error:
            for job in jobs:
                job.error = _own(error)
        Job.wake(jobs)
