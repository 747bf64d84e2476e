"""What a runtime remembers: what was done, what was put out, how often a tool may be called; and no more."""

from __future__ import annotations

import gc
import tracemalloc
from time import process_time
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from carpool import Runtime, SharedInfra
from carpool.actions import ToolRateLimit, ToolSchema
from carpool.testing import VirtualClock

from .acting import Notes, call, kinds, propose, statuses, write


def schema(**fields: Any) -> ToolSchema:
    return ToolSchema(name="note", **fields)


# Idempotent actions


async def test_an_idempotent_action_that_succeeded_is_not_done_again(runtime_with) -> None:
    notes = Notes()
    runtime = runtime_with(notes.note)
    once = {"id": "a", "tool": "note", "parameters": {"it": [1]}, "idempotent": True, "expected_effects": {"k": 1}}

    first = await runtime.execute({"actions": [once]})
    second = await runtime.execute({"actions": [once | {"id": "b"}]})

    assert notes.calls == [[1]]
    assert (second.results[0].action_id, second.results[0].output) == ("b", [1])
    assert second.results[0].state_changes == first.results[0].state_changes == {"k": 1}
    assert "action_deduplicated" in kinds(runtime.log)


@pytest.mark.parametrize(
    "other",
    [
        {"parameters": {"it": 2}},
        {"parameters": {"it": 1.0}},
        {"parameters": {"it": True}},
        {"parameters": {"it": "1"}},
        {"expected_effects": {"k": 1}},
        {"tool": "also"},
    ],
    ids=str,
)
async def test_another_action_is_done(runtime_with, other: dict[str, Any]) -> None:
    notes = Notes()
    runtime: Runtime = runtime_with(notes.note)
    runtime.register_tool(ToolSchema(name="also"), notes.note)
    once = {"tool": "note", "parameters": {"it": 1}, "idempotent": True}

    await runtime.execute({"actions": [once]})
    result = await runtime.execute({"actions": [once | other]})

    assert len(notes.calls) == 2
    assert result.results[0].state_changes == other.get("expected_effects", {})


async def test_what_failed_or_was_rolled_back_is_done_again(runtime_with) -> None:
    notes = Notes(fails=1)
    runtime = runtime_with(notes.note)
    again = call("a", idempotent=True, expected_effects={"k": 1})

    for expected in ("a:failed b:skipped", "a:succeeded b:rejected", "a:succeeded b:rejected"):
        result = await runtime.execute(propose(again, call("b", "nobody")))
        assert statuses(result) == expected

    assert len(notes.calls) == 3
    assert runtime.state.snapshot() == {}


async def test_a_schema_may_say_that_a_tool_is_idempotent(runtime_with) -> None:
    notes = Notes()
    runtime: Runtime = runtime_with()
    runtime.register_tool(schema(idempotent=True), notes.note)

    assert [await runtime.call_tool("note", it=1) for _ in range(3)] == [1, 1, 1]
    assert len(notes.calls) == 1


async def test_what_is_not_json_is_never_taken_for_the_same(runtime_with) -> None:
    class Same:
        def __repr__(self) -> str:
            return "same"

    notes = Notes()
    runtime: Runtime = runtime_with()
    runtime.register_tool(schema(idempotent=True, cache_ttl_secs=60), notes.note)

    for value in (Same(), Same(), float("nan"), None, (1,), [1]):
        await runtime.call_tool("note", it=value)

    assert len(notes.calls) == 6


async def test_runtimes_remember_each_for_itself(clock: VirtualClock) -> None:
    notes, infra = Notes(), SharedInfra(clock=clock)
    for _ in range(2):
        runtime = infra.make_runtime()
        runtime.register_tool(schema(idempotent=True, cache_ttl_secs=9), notes.note)
        await runtime.call_tool("note", it=1)

    assert len(notes.calls) == 2


# Outputs that keep


async def test_an_output_is_used_again_for_as_long_as_it_keeps(runtime_with, clock: VirtualClock) -> None:
    notes = Notes()
    runtime: Runtime = runtime_with()
    runtime.register_tool(schema(cache_ttl_secs=10), notes.note)

    calls: list[int] = []
    for second in range(0, 30, 3):
        await anyio.sleep(second - clock.monotonic())
        await runtime.call_tool("note", it=1)
        calls.append(len(notes.calls))

    assert calls == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]


async def test_an_output_that_is_used_again_can_not_be_changed_by_who_had_it_first(runtime_with) -> None:
    notes = Notes()
    runtime: Runtime = runtime_with()
    runtime.register_tool(schema(cache_ttl_secs=10), notes.note)

    for _ in range(3):
        output = await runtime.call_tool("note", it={"a": [1]})
        assert output == {"a": [1]}
        output["a"].append(2)


async def test_the_effects_of_an_action_are_written_also_when_its_output_is_an_old_one(runtime_with) -> None:
    notes = Notes()
    runtime: Runtime = runtime_with()
    runtime.register_tool(schema(cache_ttl_secs=10), notes.note)
    effect = call("a", expected_effects={"k": 1})

    await runtime.execute(propose(effect))
    runtime.state.delete("k", actor="t")
    result = await runtime.execute(propose(effect))

    assert len(notes.calls) == 1
    assert result.results[0].state_changes == runtime.state.snapshot() == {"k": 1}


async def test_failures_are_not_kept(runtime_with) -> None:
    notes = Notes(fails=2)
    runtime: Runtime = runtime_with()
    runtime.register_tool(schema(cache_ttl_secs=10), notes.note)

    for _ in range(4):
        await runtime.execute(propose(call("a")))

    assert len(notes.calls) == 3


async def test_ten_thousand_outputs_that_keep_cost_each_the_same(runtime_with) -> None:
    notes = Notes()
    runtime: Runtime = runtime_with()
    runtime.register_tool(schema(cache_ttl_secs=1_000), notes.note)

    async def a_thousand(first: int) -> float:
        began = process_time()
        for number in range(first, first + 1_000):
            await runtime.call_tool("note", it=number)
        return process_time() - began

    times = [await a_thousand(first) for first in range(0, 10_000, 1_000)]

    assert min(times[-3:]) < 4 * max(times[:3])


# How often


async def test_calls_beyond_the_rate_wait_for_their_turn(runtime_with, clock: VirtualClock) -> None:
    times: list[float] = []

    async def note() -> None:
        times.append(clock.monotonic())

    runtime: Runtime = runtime_with()
    runtime.register_tool(schema(rate_limit=ToolRateLimit(max_calls=3, interval_secs=6)), note)

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(runtime.call_tool, "note")
    await anyio.sleep(60)
    for _ in range(4):
        await runtime.call_tool("note")

    assert times == pytest.approx([0, 0, 0, 2, 4, 6, 66, 66, 66, 68])


async def test_who_is_cancelled_in_the_line_takes_no_turn(runtime_with, clock: VirtualClock) -> None:
    notes = Notes()
    runtime: Runtime = runtime_with()
    runtime.register_tool(schema(rate_limit=ToolRateLimit(max_calls=1, interval_secs=10)), notes.note)
    await runtime.call_tool("note")

    for _ in range(5):
        with anyio.move_on_after(0.1):
            await runtime.call_tool("note")
    await runtime.call_tool("note")

    assert clock.monotonic() == pytest.approx(10)
    assert len(notes.calls) == 2


async def test_a_wait_for_a_turn_is_no_part_of_the_timeout(runtime_with, clock: VirtualClock) -> None:
    notes = Notes()
    runtime: Runtime = runtime_with()
    runtime.register_tool(schema(rate_limit=ToolRateLimit(max_calls=1, interval_secs=10)), notes.note)

    result = await runtime.execute(propose(call("a", timeout_ms=500), call("b", timeout_ms=500)))

    assert result.all_succeeded
    assert clock.monotonic() == pytest.approx(10)


async def test_one_tools_rate_is_not_anothers(runtime_with, clock: VirtualClock) -> None:
    runtime: Runtime = runtime_with()
    for name in ("one", "other"):
        limit = ToolRateLimit(max_calls=1, interval_secs=10)
        runtime.register_tool(ToolSchema(name=name, rate_limit=limit), checkpoint)

    await runtime.call_tool("one")
    await runtime.call_tool("other")

    assert clock.monotonic() == 0


@pytest.mark.parametrize(("calls", "seconds"), [(0, 1), (1, 0), (1, -1), (1, float("inf")), (1, float("nan"))])
def test_a_rate_that_lets_nothing_through_is_refused(calls: int, seconds: float) -> None:
    with pytest.raises(ValueError, match="rate limit"):
        ToolRateLimit(max_calls=calls, interval_secs=seconds)


# Memory


async def test_ten_thousand_calls_leave_no_more_than_their_events(runtime_with) -> None:
    async def tool(it: str) -> str:
        return it * 100

    runtime: Runtime = runtime_with(tool)

    async def calls(count: int) -> None:
        for number in range(count):
            if number % 10:
                await runtime.call_tool("tool", it=str(number))
            else:
                await runtime.execute(propose(write("a", "k", number), call("b", "tool", parameters={"it": "x"})))

    await calls(50)
    gc.collect()
    tracemalloc.start()
    try:
        events, transitions = len(runtime.log), runtime.state.transition_count
        before = tracemalloc.get_traced_memory()[0]
        await calls(10_000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        del runtime.log._events[events:]
        del runtime.state._transitions[transitions:]
        gc.collect()
        beyond = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert grown > 5_000_000  # events were there
    assert beyond < 100_000
