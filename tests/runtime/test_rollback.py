"""Abort takes the state back to before the proposal, and nobody else's writes with it."""

from __future__ import annotations

from contextvars import Context
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from carpool import Runtime, SharedInfra
from carpool.errors import ToolError
from carpool.testing import VirtualClock

from .acting import Notes, call, kinds, propose, read, statuses, write


async def fails() -> None:
    raise OSError("no")


async def waits() -> None:
    await anyio.sleep_forever()


async def test_an_abort_restores_the_state_marks_what_succeeded_and_skips_the_rest(runtime_with) -> None:
    runtime = runtime_with(fails)
    runtime.state.set("k", "before", actor="t")

    result = await runtime.execute(
        propose(write("a", "k", "after"), write("b", "new", 1), call("c", "fails"), read("d", "k"))
    )

    assert statuses(result) == "a:succeeded b:succeeded c:failed d:skipped"
    assert [each.rolled_back is True for each in result.results] == [True, True, False, False]
    assert runtime.state.snapshot() == {"k": "before"}
    assert (runtime.state.transition_count, runtime.state.version("k")) == (1, 3)


async def test_the_log_keeps_what_was_rolled_back(runtime_with) -> None:
    runtime = runtime_with(fails)

    await runtime.execute(propose(write("a", "k", 1), call("b", "fails")))

    story = kinds(runtime.log)
    assert story[:2] == ["proposal_received", "state_snapshot"]
    assert "state_changed" in story
    assert story[-1] == "state_rollback"


@pytest.mark.parametrize("behavior", ["skip", "retry"])
async def test_without_an_abort_what_succeeded_stays(runtime_with, behavior: str) -> None:
    runtime = runtime_with(fails)

    result = await runtime.execute(
        propose(write("a", "k", 1), call("b", "fails", failure_behavior=behavior, max_retries=1), write("c", "l", 2))
    )

    assert statuses(result) == "a:succeeded b:failed c:succeeded"
    assert runtime.state.snapshot() == {"k": 1, "l": 2}
    assert not any(each.rolled_back is True for each in result.results)


async def test_a_rejection_aborts_like_a_failure(runtime_with) -> None:
    runtime = runtime_with()

    result = await runtime.execute(propose(write("a", "k", 1), call("b", "nobody"), write("c", "l", 1)))

    assert statuses(result) == "a:succeeded b:rejected c:skipped"
    assert runtime.state.snapshot() == {}


async def test_what_a_tool_wrote_directly_is_rolled_back_too(runtime_with) -> None:
    runtime: Runtime = runtime_with(fails)

    async def writes() -> None:
        runtime.state.set("direct", 1, actor="tool")

    runtime.register_tool(writes)

    await runtime.execute(propose(call("a", "writes"), call("b", "fails")))

    assert runtime.state.snapshot() == {}


async def test_expected_effects_are_written_all_or_none(runtime_with) -> None:
    notes = Notes()
    runtime = runtime_with(notes.note)

    result = await runtime.execute(
        propose(
            call("a", expected_effects={"k": 1, "odd": {1, 2}}, failure_behavior="skip"),
            call("b", expected_effects={"l": 1}, failure_behavior="skip"),
        )
    )

    assert statuses(result) == "a:failed b:succeeded"
    assert runtime.state.snapshot() == {"l": 1}


async def test_a_write_of_what_is_not_json_is_a_failed_action(runtime_with) -> None:
    runtime = runtime_with()

    result = await runtime.execute(propose(write("a", "k", (1, 2))))

    assert statuses(result) == "a:failed"
    assert "tuple" in (result.results[0].error or "")


async def test_cancelled_in_the_middle_a_proposal_takes_the_state_back(runtime_with) -> None:
    runtime = runtime_with(waits)

    with anyio.move_on_after(1):
        await runtime.execute(propose(write("a", "k", 1), call("b", "waits")))

    assert runtime.state.snapshot() == {}
    assert kinds(runtime.log)[-2:] == ["action_failed", "state_rollback"]
    assert (await runtime.execute(propose(write("a", "k", 1), write("b", "l", 1)))).all_succeeded


async def test_cancelled_while_it_waits_for_its_turn_a_proposal_changes_nothing(clock: VirtualClock) -> None:
    infra = SharedInfra(clock=clock, tools=[waits])
    one, other = infra.make_runtime(), infra.make_runtime()

    async with anyio.create_task_group() as group:
        group.start_soon(one.execute, propose(call("a", "waits"), write("b", "k", 1)))
        await checkpoint()
        with anyio.move_on_after(1):
            await other.execute(propose(write("c", "l", 1)))
        group.cancel_scope.cancel()

    assert infra.state.snapshot() == {}
    assert (await other.execute(propose(write("c", "l", 1)))).all_succeeded


# Two agents on one store


async def test_the_rollback_of_one_agents_proposal_never_erases_what_another_proposed(clock: VirtualClock) -> None:
    infra = SharedInfra(clock=clock)

    async def slow() -> None:
        await anyio.sleep(1)

    async def slow_failure() -> None:
        await anyio.sleep(1)
        raise OSError("no")

    async def proposes(name: str, ends: Any) -> None:
        runtime = infra.make_runtime()
        runtime.register_tool(ends)
        for turn in range(5):
            await runtime.execute(
                propose(write("a", name, turn), call("b", ends.__name__), write("c", f"{name} {turn}", turn))
            )

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(proposes, f"fails {number}", slow_failure)
            group.start_soon(proposes, f"works {number}", slow)

    works = {f"works {n}": 4 for n in range(4)} | {f"works {n} {turn}": turn for n in range(4) for turn in range(5)}
    assert infra.state.snapshot() == works
    assert clock.monotonic() == pytest.approx(40)  # one after the other


async def test_single_calls_and_reads_do_not_wait_for_a_proposal(clock: VirtualClock) -> None:
    infra = SharedInfra(clock=clock, tools=[waits])
    notes = Notes()
    one, other = infra.make_runtime(), infra.make_runtime()
    other.register_tool(notes.note)

    async with anyio.create_task_group() as group:
        group.start_soon(one.execute, propose(call("a", "waits"), write("b", "k", 1)))
        await checkpoint()
        with anyio.fail_after(1):
            assert await other.call_tool("note", it=1) == 1
            assert (await other.execute(propose(read("r", "k")))).all_succeeded
        group.cancel_scope.cancel()


# A tool that proposes in turn


async def test_a_call_and_a_proposal_inside_a_proposal_do_not_wait_for_it(runtime_with) -> None:
    notes = Notes()
    runtime: Runtime = runtime_with(notes.note)

    async def nests(depth: int) -> int:
        await runtime.call_tool("note", it=depth)
        if depth:
            inner = propose(call("i", "nests", parameters={"depth": depth - 1}), write("w", f"at {depth}", depth))
            assert (await runtime.execute(inner)).all_succeeded
        return depth

    runtime.register_tool(nests)

    with anyio.fail_after(1):
        result = await runtime.execute(propose(call("o", "nests", parameters={"depth": 3}), write("w", "k", 1)))

    assert result.all_succeeded
    assert runtime.state.snapshot() == {"at 1": 1, "at 2": 2, "at 3": 3, "k": 1}


async def test_an_abort_takes_back_what_proposals_inside_it_wrote(runtime_with) -> None:
    runtime: Runtime = runtime_with(fails)

    async def nests() -> None:
        await runtime.execute(propose(write("w", "inner", 1), write("x", "inner 2", 1)))

    runtime.register_tool(nests)

    await runtime.execute(propose(call("a", "nests"), call("b", "fails")))

    assert runtime.state.snapshot() == {}


async def test_an_abort_inside_leaves_what_the_outer_proposal_wrote_before(runtime_with) -> None:
    runtime: Runtime = runtime_with(fails)

    async def nests() -> None:
        await runtime.execute(propose(write("w", "inner", 1), call("x", "fails")))

    runtime.register_tool(nests)

    result = await runtime.execute(propose(write("a", "outer", 1), call("b", "nests", dependencies=["a"])))

    assert result.all_succeeded
    assert runtime.state.snapshot() == {"outer": 1}


async def test_proposals_that_a_tool_makes_side_by_side_take_turns_inside_its_own(clock: VirtualClock) -> None:
    infra = SharedInfra(clock=clock)

    async def slow_failure() -> None:
        await anyio.sleep(1)
        raise OSError("no")

    async def team() -> None:
        """Two children, each with a runtime of its own."""
        fine, failing = infra.make_runtime(), infra.make_runtime()
        failing.register_tool(slow_failure)
        async with anyio.create_task_group() as group:
            group.start_soon(failing.execute, propose(write("a", "failing", 1), call("b", "slow_failure")))
            group.start_soon(fine.execute, propose(write("c", "fine", 1), write("d", "fine too", 1)))

    parent = infra.make_runtime()
    parent.register_tool(team)

    result = await parent.execute(propose(call("t", "team"), write("w", "parent", 1)))

    assert result.all_succeeded
    assert infra.state.snapshot() == {"fine": 1, "fine too": 1, "parent": 1}


async def test_a_task_that_outlives_the_proposal_it_was_started_in_waits_like_any_other(clock: VirtualClock) -> None:
    infra = SharedInfra(clock=clock)
    runtime = infra.make_runtime()

    async def slow_failure() -> None:
        await anyio.sleep(10)
        raise OSError("no")

    runtime.register_tool(slow_failure)

    async with anyio.create_task_group() as group:

        async def later() -> None:
            await anyio.sleep(5)
            await infra.make_runtime().execute(propose(write("l", "late", 1), write("m", "late too", 1)))

        async def starts() -> None:
            group.start_soon(later)

        runtime.register_tool(starts)
        await runtime.execute(propose(call("s", "starts"), write("w", "k", 1)))
        await runtime.execute(propose(write("x", "lost", 1), call("f", "slow_failure")))

    assert infra.state.snapshot() == {"k": 1, "late": 1, "late too": 1}


async def test_a_tool_error_inside_a_proposal_is_that_actions_failure(runtime_with) -> None:
    runtime: Runtime = runtime_with(fails)

    async def nests() -> None:
        await runtime.call_tool("fails")

    runtime.register_tool(nests)

    result = await runtime.execute(propose(call("a", "nests", failure_behavior="skip"), write("b", "k", 1)))

    assert statuses(result) == "a:failed b:succeeded"
    with pytest.raises(ToolError, match="no"):
        await runtime.call_tool("nests")


# Where it falls short


async def test_a_rollback_on_an_overlay_makes_no_conflict_of_what_others_change_meanwhile(clock: VirtualClock) -> None:
    infra = SharedInfra(clock=clock)
    runtime, context = infra.make_isolated_runtime("loner")
    infra.state.set("k", 2, actor="other")  # after the fork

    async def meanwhile() -> None:
        infra.state.set("k", 3, actor="other")
        raise OSError("no")

    runtime.register_tool(meanwhile)

    await runtime.execute(propose(write("a", "mine", 1), call("b", "meanwhile")))
    context.merge_to_parent()

    assert infra.state.snapshot() == {"k": 3}


async def test_a_rollback_leaves_what_another_agent_wrote_outside_any_proposal(clock: VirtualClock) -> None:
    infra = SharedInfra(clock=clock)
    runtime = infra.make_runtime()

    async def meanwhile() -> None:
        # Another agent is another task, in a context of its own.
        Context().run(infra.state.set, "other", 1, actor="another agent")
        raise OSError("no")

    runtime.register_tool(meanwhile)

    await runtime.execute(propose(write("a", "mine", 1), call("b", "meanwhile")))

    assert infra.state.snapshot() == {"other": 1}


async def test_an_abort_inside_leaves_what_a_sibling_of_its_tool_wrote_meanwhile(runtime_with) -> None:
    runtime: Runtime = runtime_with()

    async def slow_failure() -> None:
        await anyio.sleep(2)
        raise OSError("no")

    async def takes_a_second() -> None:
        await anyio.sleep(1)

    async def nests() -> None:
        await runtime.execute(propose(write("w", "inner", 1), call("x", "slow_failure")))

    for each in (slow_failure, takes_a_second, nests):
        runtime.register_tool(each)

    result = await runtime.execute(
        propose(
            call("a", "nests", failure_behavior="skip"),
            call("b", "takes_a_second", failure_behavior="skip", expected_effects={"sibling": 1}),
        )
    )

    assert result.all_succeeded
    assert runtime.state.snapshot() == {"sibling": 1}


async def test_an_abort_of_a_single_action_takes_back_what_its_tool_wrote_directly(runtime_with) -> None:
    runtime: Runtime = runtime_with()

    async def writes_and_fails() -> None:
        runtime.state.set("k", 1, actor="tool")
        raise OSError("no")

    runtime.register_tool(writes_and_fails)

    await runtime.execute(propose(call("a", "writes_and_fails")))

    assert runtime.state.snapshot() == {}
