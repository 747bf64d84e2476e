"""Cancel a scenario at every point at which it can be cancelled, and look what is left.

The idea is SQLite's test of the n-th malloc that fails: run once and count, then again for every k, and check
each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Literal, Protocol

import anyio
from msgspec import Struct

from .virtual_clock import VirtualClock

__all__ = ["Ended", "How", "Scenario", "cancel_at_every_await"]

How = Literal["task", "scope"]


class Ended(Struct, kw_only=True):
    """How one go of a scenario ended that was cancelled after ``step`` steps of its loop.

    ``cancelled``: it was still running then, so that the cancellation was really asked for; ``error`` is what
    left ``run``, ``result`` what it returned. Asked natively (``how="task"``) it must then have ended in
    ``CancelledError``; by a scope it may also have ended well, if it never waited again.
    """

    how: How
    step: int
    cancelled: bool = False
    error: BaseException | None = None
    result: object = None


class Scenario(Protocol):
    """One go, made anew for every k."""

    async def run(self) -> object:
        """What is to be cancelled."""
        ...

    def check(self, ended: Ended) -> None:
        """Look at what is left, after the loop is closed; raise what is wrong with it."""
        ...


def cancel_at_every_await(
    make: Callable[[VirtualClock], Scenario], *, how: How = "task", times: int = 1, every: int = 1
) -> int:
    """Run ``make(clock)`` to its end, then again cancelled after step 1, 2, 3, …; returns the number of steps.

    A step is one callback of the loop, so that each await of each task has its turn, and each order in which several
    tasks are ready. ``how``: by ``Task.cancel``, or by a cancel scope around the scenario. ``times``: cancel again
    after each of the following steps, as an impatient user does. ``every``: only each so-manieth k.

    What a scenario must do alike in every go is up to it: chance and real time move the steps. After every go
    no other task may be left, and no cancellation may have got out of its scope, nor got lost.

    :raises AssertionError: for these; from whatever ``check`` raises too, with a note that says which k it was.
    """
    steps = _go(make, how, 0, 0)
    for step in range(1, steps + 1, every):
        try:
            _go(make, how, step, times)
        except BaseException as error:
            error.add_note(f"cancelled by {how} after step {step} of {steps}")
            raise
    return steps


def _go(make: Callable[[VirtualClock], Scenario], how: How, step: int, times: int) -> int:
    clock = VirtualClock()
    scenario = make(clock)
    one = _Go(scenario, Ended(how=how, step=step), times)
    factory = partial(clock.new_event_loop, one.after_step)
    wrong = anyio.run(one.run, backend_options={"loop_factory": factory})
    if not step and one.ended.error is not None:
        raise AssertionError("the scenario fails even if nobody cancels it") from one.ended.error
    if wrong is not None:
        raise AssertionError(wrong) from one.ended.error
    scenario.check(one.ended)
    return one.steps


class _Go:
    """One scenario in one loop."""

    def __init__(self, scenario: Scenario, ended: Ended, times: int) -> None:
        self.ended = ended
        self.steps = 0
        self._scenario = scenario
        self._cancels = range(ended.step, ended.step + times)
        self._scope: anyio.CancelScope | None = None
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> str | None:
        """What is wrong with how it ended, if anything."""
        loop = asyncio.get_running_loop()
        others = asyncio.all_tasks()
        # Not in a task group, which would take a native cancellation of its task for its own affair.
        task = loop.create_task(self._watched(), name="scenario")
        await asyncio.wait([task])
        self._task = None
        if left := asyncio.all_tasks() - others:
            return f"tasks are left: {left}"
        natively = self.ended.how == "task" and self.ended.cancelled
        if natively and not task.cancelled():
            return f"the cancellation got lost: it ended with {self.ended.error or self.ended.result!r}"
        if not natively and task.cancelled():
            return "the cancellation got out of its scope"
        if not task.cancelled():
            task.exception()  # it is in ``ended``; asyncio wants it looked at
        return None

    async def _watched(self) -> None:
        self._task = asyncio.current_task()
        with anyio.CancelScope() as self._scope:
            try:
                self.ended.result = await self._scenario.run()
            except BaseException as error:
                self.ended.error = error
                raise

    def after_step(self) -> None:
        if self._task is None or self._task.done():
            return
        self.steps += 1
        if self.steps in self._cancels:
            self.ended.cancelled = True
            if self.ended.how == "task":
                self._task.cancel()
            elif self._scope is not None:
                self._scope.cancel()
