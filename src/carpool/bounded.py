"""Many jobs, few tasks: results in input order, at most so many at work at a time."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sized
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

__all__ = ["bounded_map"]

Job = TypeVar("Job")
Result = TypeVar("Result")

_JOBS_BETWEEN_YIELDS = 16  # a yield costs more than a job that never waits
_SECONDS_BETWEEN_YIELDS = 0.005


async def bounded_map(
    jobs: Iterable[Job] | AsyncIterable[Job],
    max_concurrent: int | None,
    work: Callable[[Job], Awaitable[Result]],
    stop_after: Callable[[Result], bool] | None = None,
) -> list[Result]:
    """Run ``work`` on every job, at most ``max_concurrent`` at a time; results stand in input order.

    ``jobs`` may be any iterable, async or endless: a job is taken when a slot opens, never before, and there
    are never more tasks than slots or jobs. ``None`` means a slot for each job of a sized source. After a
    result for which ``stop_after`` is true no further job is taken. When the source or ``work`` raises, no
    further job is taken, the ones at work are finished, because they are paid for, and the error is raised.
    A cancellation cancels all of them. No task is left behind in any case.

    :raises ValueError: when ``max_concurrent`` is below 1, or ``None`` for a source of unknown size.
    """
    size = len(jobs) if isinstance(jobs, Sized) else None
    if max_concurrent is None:
        if size is None:
            raise ValueError("max_concurrent is needed for a source whose size is not known")
        max_concurrent = max(1, size)
    if isinstance(max_concurrent, bool) or max_concurrent < 1:
        raise ValueError(f"max_concurrent must be 1 or more, not {max_concurrent!r}")
    slots = max_concurrent if size is None else min(max_concurrent, size)
    return await _Pool(jobs, work, stop_after).run(slots)


class _Pool(Generic[Job, Result]):
    def __init__(
        self,
        jobs: Iterable[Job] | AsyncIterable[Job],
        work: Callable[[Job], Awaitable[Result]],
        stop_after: Callable[[Result], bool] | None = None,
    ) -> None:
        self._source: AsyncIterator[Job] | None = aiter(jobs) if isinstance(jobs, AsyncIterable) else None
        self._plain = iter(cast("Iterable[Job]", () if self._source else jobs))
        self._turn = anyio.Lock()  # an async source is asked by one worker at a time
        self._asking: anyio.CancelScope | None = None  # around that worker, while it waits for an answer
        self._work = work
        self._stop_after = stop_after
        self._results: list[Result] = []
        self._stopped = False
        self._error: Exception | None = None

    async def run(self, slots: int) -> list[Result]:
        try:
            if slots <= 1:
                await self._slot(None, 1)
            else:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._slot, group, slots)
        finally:
            await self._close_source()
        if self._error is not None:
            raise self._error
        return self._results

    async def _slot(self, group: TaskGroup | None, slots: int) -> None:
        """Work off jobs, one after the other. Its first job opens the next of ``slots``: so there are never
        more tasks than jobs, whether the source says its size or not."""
        from anyio.lowlevel import checkpoint  # loaded when something runs, not with carpool

        results, jobs, source = self._results, self._plain, self._source
        work: Callable[[Any], Awaitable[Any]] = self._work  # a job is a Job, whatever the source
        done, due = 0, perf_counter() + _SECONDS_BETWEEN_YIELDS
        try:
            while not self._stopped:
                job = next(jobs, _END) if source is None else await self._next(source)
                if job is _END:
                    break
                index = len(results)
                results.append(_NOT_YET)
                if group is not None and slots > 1:
                    group.start_soon(self._slot, group, slots - 1)
                    slots = 1
                results[index] = result = await work(job)
                if self._stop_after is not None and self._stop_after(result):
                    self._stop()
                done += 1
                if done % _JOBS_BETWEEN_YIELDS == 0 or perf_counter() > due:
                    # Work that never waits would keep everybody else, and a cancellation, from the loop.
                    await checkpoint()
                    due = perf_counter() + _SECONDS_BETWEEN_YIELDS
        except Exception as error:
            self._error = self._error or error
            self._stop()

    async def _next(self, source: AsyncIterator[Job]) -> object:
        job: object = _END
        async with self._turn:
            if not self._stopped:
                with anyio.CancelScope() as self._asking:
                    job = await anext(source, _END)
        return _END if self._stopped else job

    def _stop(self) -> None:
        """Take no further job; whoever waits for a slow source to give one stops waiting."""
        self._stopped = True
        if self._asking is not None:
            self._asking.cancel()

    async def _close_source(self) -> None:
        close = getattr(self._source, "aclose", None)
        if close is not None:
            with anyio.CancelScope(shield=True):
                await close()


_END = object()
_NOT_YET: Any = None
