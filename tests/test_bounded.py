"""Many jobs, few tasks."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from carpool.bounded import bounded_map
from carpool.testing import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def anyio_backend(clock: VirtualClock) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": clock.new_event_loop}


def never(_: Any) -> bool:
    return False


async def double(number: int) -> int:
    await anyio.sleep(1 / (1 + number))
    return 2 * number


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await anyio.sleep(0.01)
        yield number


@pytest.mark.parametrize("slots", [1, 2, 7, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 20])
async def test_results_stand_in_input_order(slots: int, count: int) -> None:
    expected = [2 * number for number in range(count)]

    assert await bounded_map(list(range(count)), slots, double, never) == expected
    assert await bounded_map(iter(range(count)), slots, double, never) == expected
    assert await bounded_map(numbers(count), slots, double, never) == expected


@pytest.mark.parametrize("slots", [0, -1, True, False])
async def test_less_than_one_slot_is_a_value_error(slots: int) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        await bounded_map([1], slots, double, never)


async def test_a_slot_for_each_of_a_sized_source_and_an_error_for_others() -> None:
    assert await bounded_map([1, 2, 3], None, double, never) == [2, 4, 6]
    assert await bounded_map([], None, double, never) == []
    with pytest.raises(ValueError, match="size is not known"):
        await bounded_map(iter([1]), None, double, never)
    with pytest.raises(ValueError, match="size is not known"):
        await bounded_map(numbers(1), None, double, never)


@pytest.mark.parametrize("slots", [1, 3])
async def test_after_a_result_that_stops_no_further_job_is_taken(slots: int) -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = await bounded_map(source(), slots, double, lambda result: result >= 10)

    assert results == [2 * number for number in taken]
    assert len(taken) <= 5 + slots


@pytest.mark.parametrize("slots", [1, 3])
async def test_when_work_raises_those_at_work_finish_and_no_more_are_taken(slots: int) -> None:
    finished: list[int] = []

    async def work(number: int) -> int:
        await anyio.sleep(1 if number == 1 else 10)
        if number == 1:
            raise OSError("one")
        finished.append(number)
        return number

    with pytest.raises(OSError, match="one"):
        await bounded_map(list(range(10)), slots, work, never)

    assert finished == ([0] if slots == 1 else [0, 2])


async def test_the_first_of_several_errors_is_raised() -> None:
    async def work(number: int) -> int:
        await anyio.sleep(10 - number)
        raise OSError(str(number))

    with pytest.raises(OSError, match="2"):
        await bounded_map([0, 1, 2], 3, work, never)


async def test_a_cancellation_cancels_all_and_leaves_none() -> None:
    before = asyncio.all_tasks()
    ended: list[int] = []

    async def work(number: int) -> int:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(number)
        return number

    with anyio.move_on_after(1):
        await bounded_map(iter(range(100)), 5, work, never)

    assert sorted(ended) == [0, 1, 2, 3, 4]
    assert asyncio.all_tasks() == before


async def test_there_are_never_more_tasks_than_slots_or_jobs() -> None:
    before, most = len(asyncio.all_tasks()), 0

    async def work(number: int) -> int:
        nonlocal most
        most = max(most, len(asyncio.all_tasks()) - before)
        await anyio.sleep(1)
        return number

    for jobs, slots, bound in ((list(range(50)), 4, 4), (list(range(3)), 50, 3), (iter(range(3)), 50, 4)):
        most = 0
        await bounded_map(jobs, slots, work, never)
        assert most <= bound


async def test_an_async_source_is_asked_by_one_at_a_time() -> None:
    inside = 0

    async def source() -> AsyncIterator[int]:
        nonlocal inside
        for number in range(20):
            inside += 1
            assert inside == 1
            await anyio.sleep(0.1)
            inside -= 1
            yield number

    assert await bounded_map(source(), 8, double, never) == [2 * number for number in range(20)]
