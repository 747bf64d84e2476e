"""Limits of a provider, shared by a team; in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
import pytest

from carpool.runners.rate_limits import RateLimits
from carpool.testing import VirtualClock, cancel_at_every_await
from carpool.testing.cancellation import Ended, How


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def anyio_backend(clock: VirtualClock) -> tuple[str, dict[str, Callable[[], object]]]:
    return "asyncio", {"loop_factory": clock.new_event_loop}


async def calls(limits: RateLimits, count: int, tokens: int = 0, lasting: float = 0.0) -> list[float]:
    """When each of so many calls, all asked for at once, began; in seconds."""
    began: list[tuple[int, float]] = []

    async def call(number: int) -> None:
        slot = await limits.enter(tokens)
        began.append((number, anyio.current_time()))
        await anyio.sleep(lasting)
        slot.leave()

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(call, number)
    assert [number for number, _ in began] == list(range(count)), "not first come, first served"
    return [at for _, at in began]


def busiest_minute(began: Sequence[float]) -> int:
    return max(sum(at <= other < at + 60 for other in began) for at in began)


# Requests


async def test_without_limits_nobody_waits() -> None:
    assert await calls(RateLimits(), 100) == [0.0] * 100


async def test_no_minute_has_more_requests_than_allowed() -> None:
    began = await calls(RateLimits(requests_per_minute=7), 50, lasting=1.0)

    assert busiest_minute(began) == 7
    assert began[-1] == pytest.approx(7 * 60.0)


async def test_requests_are_counted_over_any_minute_not_by_the_clock() -> None:
    limits = RateLimits(requests_per_minute=2)
    first = await limits.enter()
    await anyio.sleep(50)
    second = await limits.enter()
    third = await limits.enter()

    assert anyio.current_time() == pytest.approx(60.0)  # when the first is a minute old
    fourth = await limits.enter()
    assert anyio.current_time() == pytest.approx(110.0)  # when the second is
    for slot in (first, second, third, fourth):
        slot.leave()


async def test_a_request_that_was_never_made_counts_for_nothing() -> None:
    limits = RateLimits(requests_per_minute=1, tokens_per_minute=10)
    for _ in range(5):
        (await limits.enter(10)).give_back()

    assert await calls(limits, 1, tokens=10) == [0.0]


# Tokens


async def test_no_minute_has_more_tokens_than_allowed() -> None:
    began = await calls(RateLimits(tokens_per_minute=1_000), 12, tokens=300)

    assert busiest_minute(began) == 3
    assert began[-1] == pytest.approx(180.0)


async def test_what_a_call_did_not_use_is_there_for_others_when_it_ends() -> None:
    limits = RateLimits(tokens_per_minute=1_000)
    slot = await limits.enter(1_000)

    async def other() -> None:
        (await limits.enter(800)).leave()
        assert anyio.current_time() == 5.0

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        await anyio.sleep(5)
        slot.leave(200)


async def test_what_a_call_used_beyond_its_estimate_counts_too() -> None:
    limits = RateLimits(tokens_per_minute=1_000)
    (await limits.enter(100)).leave(900)
    (await limits.enter(200)).leave()

    assert anyio.current_time() == pytest.approx(60.0)


async def test_a_call_larger_than_a_minute_goes_alone() -> None:
    limits = RateLimits(tokens_per_minute=1_000)
    (await limits.enter(10)).leave()
    (await limits.enter(5_000)).leave()
    assert anyio.current_time() == pytest.approx(60.0)
    (await limits.enter(1)).leave()
    assert anyio.current_time() == pytest.approx(120.0)


# In flight


async def test_no_more_are_in_flight_than_allowed() -> None:
    limits = RateLimits(in_flight=3)
    most = 0

    async def call() -> None:
        nonlocal most
        slot = await limits.enter()
        most = max(most, limits.in_flight)
        await anyio.sleep(1)
        slot.leave()

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(call)

    assert most == 3
    assert anyio.current_time() == pytest.approx(7.0)
    assert (limits.in_flight, limits.waiting) == (0, 0)


async def test_a_slot_ends_once() -> None:
    limits = RateLimits(in_flight=2)
    slot, other = await limits.enter(), await limits.enter()
    slot.leave()
    slot.leave()
    slot.give_back()

    assert limits.in_flight == 1
    other.leave()


# Asked to wait


async def test_a_pause_keeps_everybody_out_until_it_is_over() -> None:
    limits = RateLimits()
    limits.pause(12)
    limits.pause(3)

    assert await calls(limits, 5) == [12.0] * 5


async def test_a_pause_reaches_those_who_wait_already() -> None:
    limits = RateLimits(requests_per_minute=1)
    (await limits.enter()).leave()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(calls, limits, 1)
        await anyio.sleep(30)
        limits.pause(100)

    assert anyio.current_time() == pytest.approx(130.0)


# Cancelled


async def test_whoever_is_cancelled_in_the_line_blocks_nobody_behind() -> None:
    limits = RateLimits(requests_per_minute=1)
    (await limits.enter()).leave()
    came: list[float] = []

    async def second() -> None:
        (await limits.enter()).leave()
        came.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        with anyio.move_on_after(20):
            tasks.start_soon(second)
            (await limits.enter()).leave()

    assert came == [60.0]
    assert limits.waiting == 0


class ThreeCalls:
    """More than there is room for, in each of three ways."""

    def __init__(self, clock: VirtualClock) -> None:
        self.limits = RateLimits(in_flight=1, requests_per_minute=2, tokens_per_minute=100)

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(self.call)

    async def call(self) -> None:
        slot = await self.limits.enter(40)
        try:
            await anyio.sleep(1)
        finally:
            slot.leave(30)

    def check(self, ended: Ended) -> None:
        assert (self.limits.in_flight, self.limits.waiting) == (0, 0)


@pytest.mark.parametrize("how", ["task", "scope"])
def test_a_cancellation_anywhere_leaves_no_slot_and_no_place_in_the_line(how: How) -> None:
    assert cancel_at_every_await(ThreeCalls, how=how) > 10


# Said wrongly


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True])
@pytest.mark.parametrize("name", ["requests_per_minute", "tokens_per_minute", "in_flight"])
def test_a_limit_that_can_not_be_meant_is_refused(name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number above 0"):
        RateLimits(**{name: wrong})
