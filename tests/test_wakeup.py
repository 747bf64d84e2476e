"""A raise is never lost, whichever thread it comes from and whenever it comes."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from carpool.wakeup import Wakeup

from .budget.real_threads import together


async def a_few_turns() -> None:
    """Enough for every other task to come to where it waits."""
    for _ in range(5):
        await checkpoint()


async def is_raised(wakeup: Wakeup) -> bool:
    returned: list[bool] = []

    async def wait() -> None:
        await wakeup.wait()
        returned.append(True)

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await a_few_turns()
        group.cancel_scope.cancel()
    return bool(returned)


async def test_a_raise_before_the_wait_is_not_lost() -> None:
    wakeup = Wakeup()
    wakeup.set()

    with anyio.fail_after(5):
        await wakeup.wait()


async def test_several_raises_before_a_wait_count_as_one() -> None:
    wakeup = Wakeup()
    for _ in range(3):
        wakeup.set()

    assert await is_raised(wakeup)
    assert not await is_raised(wakeup)


async def test_a_wait_lowers_it_and_it_can_be_raised_again() -> None:
    wakeup = Wakeup()
    for _ in range(100):
        wakeup.set()
        assert await is_raised(wakeup)
    assert not await is_raised(wakeup)


async def test_a_raise_during_the_wait_ends_it() -> None:
    wakeup = Wakeup()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(wakeup.wait)
            await a_few_turns()
            wakeup.set()


async def test_a_raise_from_another_thread_before_the_wait_is_not_lost() -> None:
    wakeup = Wakeup()
    thread = threading.Thread(target=wakeup.set)
    thread.start()
    thread.join()

    with anyio.fail_after(5):
        await wakeup.wait()


async def test_a_raise_from_another_thread_during_the_wait_ends_it() -> None:
    wakeup = Wakeup()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(wakeup.wait)
            await a_few_turns()
            await to_thread.run_sync(wakeup.set)


async def test_a_wait_that_is_cancelled_loses_no_raise_that_came_in_the_same_tick() -> None:
    wakeup, returned = Wakeup(), []

    async def wait() -> None:
        await wakeup.wait()
        returned.append(True)

    for raise_first in (True, False):
        returned.clear()
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await a_few_turns()
            if raise_first:
                wakeup.set()
            group.cancel_scope.cancel()
            wakeup.set()

        assert bool(returned) != await is_raised(wakeup), "the raise was seen by the waiter or is still there"


async def test_eight_threads_hand_over_everything_they_have_to_one_waiting_task() -> None:
    wakeup: Wakeup = Wakeup()
    items: deque[int] = deque()
    seen: list[int] = []

    def hand_over(number: int) -> None:
        for count in range(200):
            items.append(number * 200 + count)
            wakeup.set()

    async def collect() -> None:
        while len(seen) < 8 * 200:
            while items:
                seen.append(items.popleft())
            if len(seen) < 8 * 200:
                await wakeup.wait()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            await checkpoint()
            await to_thread.run_sync(lambda: together([lambda n=n: hand_over(n) for n in range(8)]))

    assert sorted(seen) == list(range(8 * 200))


def test_raising_for_a_loop_that_is_closed_does_nothing() -> None:
    made: list[Wakeup] = []

    async def make() -> None:
        made.append(Wakeup())

    asyncio.run(make())
    together([made[0].set])
    made[0].set()


def test_it_can_only_be_made_inside_a_running_loop() -> None:
    with pytest.raises(RuntimeError):
        Wakeup()
