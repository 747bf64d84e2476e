"""Time that needs no time."""

import time
from datetime import UTC, datetime

import anyio
import pytest
from anyio import to_thread

from carpool.testing import Deadlock, VirtualClock


def test_an_hour_is_over_at_once(clock: VirtualClock) -> None:
    began = time.monotonic()

    clock.run(anyio.sleep, 3600 * 24 * 365)

    assert time.monotonic() - began < 5
    assert clock.monotonic() == pytest.approx(3600 * 24 * 365)


def test_both_faces_of_the_clock_and_the_loop_agree(clock: VirtualClock) -> None:
    async def look() -> float:
        await anyio.sleep(90)
        return anyio.current_time()

    assert clock.run(look) == clock.monotonic() == 90
    assert clock.now() == datetime(2025, 1, 1, 0, 1, 30, tzinfo=UTC)


def test_sleepers_wake_in_the_order_of_their_times(clock: VirtualClock) -> None:
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await anyio.sleep(seconds)
        woken.append(seconds)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for seconds in (50, 0.001, 7, 3600, 7.5):
                group.start_soon(sleeper, seconds)

    clock.run(main)

    assert woken == [0.001, 7, 7.5, 50, 3600]
    assert clock.monotonic() == 3600


async def test_it_is_the_loop_of_the_pytest_plugin(clock: VirtualClock) -> None:
    with pytest.raises(TimeoutError):
        with anyio.fail_after(100):
            await anyio.sleep(50_000)

    assert clock.monotonic() == 100


def test_a_deadlock_is_an_error_that_names_the_tasks(clock: VirtualClock) -> None:
    async def waiting_for_godot() -> None:
        await anyio.Event().wait()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(waiting_for_godot, name="estragon")
            group.start_soon(anyio.sleep_forever, name="vladimir")

    with pytest.raises(Deadlock, match="estragon") as caught:
        clock.run(main)

    assert len(caught.value.waiting) == 3
    assert "waiting_for_godot" in str(caught.value)
    assert "vladimir" in str(caught.value)


def test_a_clock_can_be_used_again_after_a_deadlock(clock: VirtualClock) -> None:
    with pytest.raises(Deadlock):
        clock.run(anyio.sleep_forever)

    clock.run(anyio.sleep, 5)

    assert clock.monotonic() == 5


def test_threads_are_waited_for_and_no_timer_overtakes_them(clock: VirtualClock) -> None:
    async def main() -> str:
        with anyio.fail_after(30):
            await to_thread.run_sync(time.sleep, 0.05)
        await anyio.sleep(3600)
        return await to_thread.run_sync(lambda: "done")

    assert clock.run(main) == "done"
    assert 3600.04 < clock.monotonic() < 3605


def test_a_thread_that_is_abandoned_is_no_deadlock(clock: VirtualClock) -> None:
    async def main() -> bool:
        with anyio.move_on_after(0.02) as scope:
            await to_thread.run_sync(time.sleep, 0.1, abandon_on_cancel=True)
        return scope.cancelled_caught

    assert clock.run(main) is True


def test_jobs_of_an_executor_are_waited_for(clock: VirtualClock) -> None:
    async def main() -> str:
        import asyncio

        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(None, lambda: time.sleep(0.05) or "done")
        with anyio.fail_after(30):
            return await job

    assert clock.run(main) == "done"


def test_other_threads_can_be_announced(clock: VirtualClock) -> None:
    import threading

    async def main() -> None:
        import asyncio

        event, loop = asyncio.Event(), asyncio.get_running_loop()
        thread = threading.Timer(0.05, loop.call_soon_threadsafe, [event.set])
        thread.start()
        with clock.real_time():
            await event.wait()
        thread.join()

    clock.run(main)

    assert clock.monotonic() < 5


def test_it_can_be_moved_by_hand_but_not_back(clock: VirtualClock) -> None:
    clock.advance(1.5)

    assert clock.monotonic() == 1.5
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="never goes back"):
            clock.advance(seconds)


def test_moving_it_by_hand_fires_what_is_due() -> None:
    clock = VirtualClock()

    async def main() -> bool:
        with anyio.move_on_after(10) as scope:
            clock.advance(11)
            await anyio.sleep(0.5)
        return scope.cancelled_caught

    assert clock.run(main)
    assert clock.monotonic() == 11


def test_the_result_and_the_error_of_the_function_come_through(clock: VirtualClock) -> None:
    async def fail() -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        clock.run(fail)
