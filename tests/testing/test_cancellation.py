"""The tool that cancels at every await finds what it is made to find."""

import asyncio
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from carpool.testing import Ended, VirtualClock, cancel_at_every_await


class Scene:
    def __init__(self, run: Any, seen: list[Ended] | None = None) -> None:
        self.run = run
        self.seen = seen

    def check(self, ended: Ended) -> None:
        if self.seen is not None:
            self.seen.append(ended)


async def three_steps() -> str:
    for _ in range(3):
        await checkpoint()
    return "done"


def test_every_await_has_its_turn() -> None:
    reached: list[int] = []

    async def count() -> None:
        here = 0
        try:
            for _ in range(5):
                await checkpoint()
                here += 1
        finally:
            reached.append(here)

    cancel_at_every_await(lambda _: Scene(count))

    assert reached[0] == 5
    assert set(reached[1:]) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("how", ["task", "scope"])
def test_the_check_sees_how_each_go_ended(how) -> None:
    seen: list[Ended] = []
    steps = cancel_at_every_await(lambda _: Scene(three_steps, seen), how=how)

    assert [ended.step for ended in seen] == list(range(steps + 1))
    assert (seen[0].cancelled, seen[0].result, seen[0].error) == (False, "done", None)
    assert isinstance(seen[1].error, asyncio.CancelledError)


def test_timers_need_no_time() -> None:
    cancel_at_every_await(lambda _: Scene(lambda: anyio.sleep(3600)))


def test_a_cancellation_that_gets_lost_is_found() -> None:
    async def swallow() -> None:
        try:
            await anyio.sleep(1)
        except asyncio.CancelledError:
            return

    with pytest.raises(AssertionError, match="got lost") as caught:
        cancel_at_every_await(lambda _: Scene(swallow))

    assert caught.value.__notes__[0].startswith("cancelled by task after step 1 of ")


def test_a_task_that_is_left_is_found() -> None:
    async def leave() -> None:
        asyncio.get_running_loop().create_task(anyio.sleep_forever())

    with pytest.raises(AssertionError, match="tasks are left"):
        cancel_at_every_await(lambda _: Scene(leave))


def test_a_cancellation_that_gets_out_of_its_scope_is_found() -> None:
    async def another() -> None:
        try:
            await anyio.sleep(1)
        except asyncio.CancelledError:
            mine = asyncio.CancelledError("my own")
        else:
            return
        raise mine

    with pytest.raises(AssertionError, match="got out of its scope"):
        cancel_at_every_await(lambda _: Scene(another), how="scope")


def test_a_scenario_that_fails_by_itself_is_an_error() -> None:
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(AssertionError, match="even if nobody cancels"):
        cancel_at_every_await(lambda _: Scene(fail))


def test_a_failing_check_says_at_which_step() -> None:
    class Picky(Scene):
        def check(self, ended: Ended) -> None:
            assert ended.step != 2, "not at two"

    with pytest.raises(AssertionError, match="not at two") as caught:
        cancel_at_every_await(lambda _: Picky(three_steps))

    assert caught.value.__notes__[0].startswith("cancelled by task after step 2 of ")


def test_the_scenario_is_given_the_clock_that_it_runs_on() -> None:
    clocks: list[VirtualClock] = []

    def make(clock: VirtualClock) -> Scene:
        clocks.append(clock)
        return Scene(lambda: anyio.sleep(7))

    cancel_at_every_await(make)

    assert clocks[0].monotonic() == 7


def test_it_can_cancel_again_and_again() -> None:
    seen: list[int] = []

    async def stubborn() -> None:
        caught = 0
        while caught < 3:
            try:
                await anyio.sleep(1)
                return
            except asyncio.CancelledError:
                caught += 1
                if caught == 3:
                    seen.append(caught)
                    raise

    cancel_at_every_await(lambda _: Scene(stubborn), times=3, every=1000)

    assert seen == [3]
