"""Tools that raise, hang, exit, return what is not JSON or call themselves: each is a failed action, no more."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from carpool import Runtime
from carpool.errors import ToolError
from carpool.testing import VirtualClock

from .acting import Notes, call, kinds, propose, statuses, write

# Skip and retry


async def test_skip_goes_on_without_what_failed(runtime_with) -> None:
    notes = Notes(fails=1)

    result = await runtime_with(notes.note).execute(propose(call("a", failure_behavior="skip"), call("b")))

    assert statuses(result) == "a:failed b:succeeded"
    assert result.results[0].error == "OSError: failure 1"


async def test_a_retry_tries_again_after_a_pause_that_doubles(runtime_with, clock: VirtualClock) -> None:
    times: list[float] = []

    async def fails() -> None:
        times.append(clock.monotonic())
        raise OSError("no")

    result = await runtime_with(fails).execute(propose(call("a", "fails", failure_behavior="retry", max_retries=4)))

    assert statuses(result) == "a:failed"
    assert times == pytest.approx([0, 0.1, 0.3, 0.7, 1.5])


async def test_a_retry_ends_with_the_first_success(runtime_with) -> None:
    notes = Notes(fails=2)
    runtime = runtime_with(notes.note)

    result = await runtime.execute(propose(call("a", failure_behavior="retry", expected_effects={"k": 1})))

    assert (statuses(result), len(notes.calls), result.cost.retries) == ("a:succeeded", 3, 2)
    assert [each for each in kinds(runtime.log) if each.startswith("action")] == [
        "action_validated",
        *["action_executing", "action_retrying"] * 2,
        "action_executing",
        "action_succeeded",
    ]


@pytest.mark.parametrize("behavior", ["skip", "abort"])
async def test_who_does_not_ask_for_retries_gets_none(runtime_with, behavior: str) -> None:
    notes = Notes(fails=1)

    await runtime_with(notes.note).execute(propose(call("a", failure_behavior=behavior, max_retries=5)))

    assert len(notes.calls) == 1


@pytest.mark.parametrize(("retries", "calls"), [(0, 1), (-3, 1), (1, 2), (3, 4)])
async def test_there_is_one_attempt_more_than_retries(runtime_with, retries: int, calls: int) -> None:
    notes = Notes(fails=99)

    result = await runtime_with(notes.note).execute(propose(call("a", failure_behavior="retry", max_retries=retries)))

    assert len(notes.calls) == calls
    assert result.results[0].error == f"OSError: failure {calls}"


async def test_two_thousand_retries_are_no_number_too_large(runtime_with) -> None:
    notes = Notes(fails=9_999)

    result = await runtime_with(notes.note).execute(propose(call("a", failure_behavior="retry", max_retries=2_000)))

    assert (statuses(result), len(notes.calls)) == ("a:failed", 2_001)


@pytest.mark.parametrize("why", ["unknown tool", "arguments", "policy", "precondition"])
async def test_a_rejection_is_never_retried(runtime_with, why: str, clock: VirtualClock) -> None:
    notes = Notes()
    runtime: Runtime = runtime_with(notes.note)
    fields: dict[str, Any] = {
        "unknown tool": {"tool": "other"},
        "arguments": {"parameters": {"other": 1}},
        "policy": {},
        "precondition": {"preconditions": [{"key": "k"}]},
    }[why]
    if why == "policy":
        runtime.policies.register("no", lambda action, state: "no")

    result = await runtime.execute({"actions": [{"id": "a", "tool": "note", "failure_behavior": "retry"} | fields]})

    assert (statuses(result), result.cost.retries, notes.calls, clock.monotonic()) == ("a:rejected", 0, [], 0)
    assert kinds(runtime.log).count("action_rejected") == 1


# Time


async def test_a_call_that_takes_longer_than_its_timeout_fails(runtime_with, clock: VirtualClock) -> None:
    async def hangs() -> None:
        await anyio.sleep_forever()

    result = await runtime_with(hangs).execute(propose(call("a", "hangs", timeout_ms=1_500)))

    assert result.results[0].error == "TimeoutError: no result within 1500 ms"
    assert clock.monotonic() == pytest.approx(1.5)


async def test_a_timeout_bounds_each_attempt(runtime_with, clock: VirtualClock) -> None:
    async def hangs() -> None:
        await anyio.sleep_forever()

    await runtime_with(hangs).execute(
        propose(call("a", "hangs", timeout_ms=1_000, failure_behavior="retry", max_retries=2))
    )

    assert clock.monotonic() == pytest.approx(3 + 0.1 + 0.2)


async def test_a_sync_tool_that_hangs_is_left_behind(runtime_with) -> None:
    release = threading.Event()

    def hangs() -> None:
        release.wait(30)

    try:
        with anyio.fail_after(10):
            result = await runtime_with(hangs).execute(propose(call("a", "hangs", timeout_ms=20)))
        assert "TimeoutError" in (result.results[0].error or "")
    finally:
        release.set()


async def test_fifty_sync_tools_that_hang_do_not_keep_the_next_one_from_its_thread(runtime_with) -> None:
    release = threading.Event()

    def hangs() -> None:
        release.wait(30)

    def works() -> int:
        return 1

    runtime = runtime_with(hangs, works)
    actions = [call(str(n), "hangs", timeout_ms=20, failure_behavior="skip") for n in range(50)]
    try:
        with anyio.fail_after(10):
            result = await runtime.execute(propose(*actions))
            assert result.cost.actions_executed == 50
            assert await runtime.call_tool("works") == 1
    finally:
        release.set()


async def test_a_cancellation_is_no_timeout_and_no_failure_of_the_tool(runtime_with) -> None:
    async def hangs() -> None:
        await anyio.sleep_forever()

    runtime = runtime_with(hangs)

    with anyio.move_on_after(1) as scope:
        await runtime.execute(propose(call("a", "hangs", timeout_ms=5_000, failure_behavior="retry")))

    assert scope.cancelled_caught
    assert kinds(runtime.log).count("action_executing") == 1


# What tools raise


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


async def cancels_itself() -> None:
    await checkpoint()
    raise asyncio.CancelledError


async def awaits_what_is_cancelled() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


def exits() -> None:
    sys.exit("usage: a tool")


async def raises_group() -> None:
    raise ExceptionGroup("several", [OSError("one"), ValueError("two")])


async def raises_unprintable() -> None:
    raise Unprintable


async def recurses() -> None:
    await recurses()


FAULTY = [cancels_itself, awaits_what_is_cancelled, exits, raises_group, raises_unprintable, recurses]


@pytest.mark.parametrize("faulty", FAULTY, ids=lambda each: each.__name__)
@pytest.mark.parametrize("together", [True, False])
async def test_whatever_a_tool_raises_is_its_own_failure_and_nobody_elses(runtime_with, faulty, together: bool) -> None:
    notes = Notes()
    runtime = runtime_with(faulty, notes.note)

    result = await runtime.execute(
        propose(
            call("a", faulty.__name__, failure_behavior="skip"),
            call("b", failure_behavior="skip" if together else "abort"),
        )
    )

    assert statuses(result) == "a:failed b:succeeded"
    with pytest.raises(ToolError, match=faulty.__name__):
        await runtime.call_tool(faulty.__name__)
    assert kinds(runtime.log)[-1] == "action_failed"


# What tools return


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(50_000):
        value = [value]
    return value


class Unseen:
    def __repr__(self) -> str:
        raise RuntimeError("can't be shown")


ODD = {
    "a cycle": cyclic,
    "deep": deep,
    "a set": set,
    "an object": object,
    "unseen": Unseen,
    "a number": lambda: 10**5_000,
}


@pytest.mark.parametrize("what", ODD)
async def test_what_is_not_json_is_an_output_all_the_same(runtime_with, what: str) -> None:
    output = ODD[what]()

    async def tool() -> Any:
        return output

    runtime = runtime_with(tool)

    result = await runtime.execute(propose(call("a", "tool")))

    assert statuses(result) == "a:succeeded"
    assert await runtime.call_tool("tool") is output
    while isinstance(output, list) and output:
        output = output.pop()  # by hand: the interpreter itself is not made for this depth


async def test_what_is_not_json_can_not_become_a_part_of_the_state(runtime_with) -> None:
    async def tool() -> Any:
        return {1, 2}

    runtime = runtime_with(tool)

    result = await runtime.execute(
        propose(
            call("a", "tool"),
            write("b", "k", "$a.output", dependencies=["a"], failure_behavior="skip"),
            write("c", "k", "text of $a.output", dependencies=["a"]),
        )
    )

    assert statuses(result) == "a:succeeded b:failed c:succeeded"
    assert runtime.state.snapshot() == {"k": "text of {1, 2}"}


# Recursion


async def test_a_tool_that_calls_itself_through_the_runtime_comes_to_an_end(runtime_with) -> None:
    runtime: Runtime = runtime_with()
    deepest = 0

    async def again(depth: int) -> Any:
        nonlocal deepest
        deepest = max(deepest, depth)
        return await runtime.call_tool("again", depth=depth + 1)

    runtime.register_tool(again)

    with pytest.raises(ToolError, match="nested 16 deep"):
        await runtime.call_tool("again", depth=1)

    assert deepest == 16
    with pytest.raises(ToolError, match="nested 16 deep"):  # and it starts from the ground each time
        await runtime.call_tool("again", depth=1)


async def test_a_sync_tool_that_calls_itself_from_its_thread_comes_to_an_end(runtime_with) -> None:
    runtime: Runtime = runtime_with()

    def again() -> Any:
        return anyio.from_thread.run(runtime.call_tool, "again")

    runtime.register_tool(again)

    with pytest.raises(ToolError, match="nested 16 deep"), anyio.fail_after(10):
        await runtime.call_tool("again")


async def test_a_tool_that_proposes_itself_comes_to_an_end(runtime_with) -> None:
    runtime: Runtime = runtime_with()

    async def again() -> Any:
        result = await runtime.execute(propose(call("a", "again"), write("b", "k", 1)))
        return result.results[0].error

    runtime.register_tool(again)

    with anyio.fail_after(10):
        result = await runtime.execute(propose(call("a", "again"), write("b", "k", 1)))

    assert statuses(result) == "a:succeeded b:succeeded"
    assert kinds(runtime.log).count("action_rejected") == 1


async def test_a_tool_that_calls_itself_twice_each_time_does_not_take_for_ever(runtime_with) -> None:
    runtime: Runtime = runtime_with()
    calls = 0

    async def again(depth: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 500:
            raise RuntimeError("enough")
        for _ in range(2):
            await runtime.call_tool("again", depth=depth + 1)

    runtime.register_tool(again)

    with pytest.raises(ToolError), anyio.fail_after(10):
        await runtime.call_tool("again", depth=1)

    assert calls == 16  # the first refusal goes all the way up
