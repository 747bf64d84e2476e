"""Calls of tools as spans of their agent; what was refused, skipped or remembered as events of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace import ReadableSpan

from carpool import Runtime, SharedInfra, ToolError, Vote
from carpool.actions import Action, ActionProposal, ToolSchema
from carpool.errors import PolicyDenied
from carpool.policy import PolicyEngine, deny_tool_param
from carpool.telemetry import instrument
from carpool.testing import Reply, ScriptedRunner

from ..scenes import spec
from .seen import Seen, assert_well_formed, error_of, events_of, no_complaints

Act = Callable[[Runtime], Awaitable[Any]]


@pytest.fixture
def seen():
    seen = Seen()
    with no_complaints():
        yield seen
    assert_well_formed(seen)


async def agent_doing(act: Act, seen: Seen, *tools: Any, **infra: Any) -> ReadableSpan:
    """The span of an agent that does this."""

    async def does(agent: object, task: str, runtime: Runtime, mailbox: object) -> str:
        await act(runtime)
        return "done"

    shared = SharedInfra(tools=tools, **infra)
    names = list(shared.tools)
    with instrument(shared, **seen.providers):
        await Vote([spec("a", tools=names)]).run("t", runner=ScriptedRunner({"a": Reply(does=does)}), infra=shared)
    return seen.span("invoke_agent a")


async def look(word: str) -> str:
    return word


async def test_what_a_policy_refuses_never_ran(seen: Seen) -> None:
    policies = PolicyEngine()
    policies.register("no_bad", deny_tool_param("look", "word", contains="bad"))

    async def act(runtime: Runtime) -> None:
        with pytest.raises(PolicyDenied):
            await runtime.call_tool("look", word="bad")

    agent = await agent_doing(act, seen, look, policies=policies)

    assert seen.spans("execute_tool look") == []
    assert events_of(agent) == ["action.policy_violation", "action.rejected", "budget.settled"]
    violation, rejected, _ = agent.events
    assert (violation.attributes or {})["carpool.policy"] == "no_bad"
    assert (rejected.attributes or {})["gen_ai.tool.name"] == "look"


async def test_attempts_at_a_call_are_events_of_its_span(seen: Seen) -> None:
    calls: list[str] = []

    async def shaky(word: str) -> str:
        calls.append(word)
        if len(calls) < 3:
            raise OSError("not now")
        return word

    async def act(runtime: Runtime) -> None:
        action = Action(id="call", tool="shaky", parameters={"word": "x"}, failure_behavior="retry", max_retries=3)
        await runtime.execute(ActionProposal(actions=[action]))

    await agent_doing(act, seen, shaky)

    call = seen.span("execute_tool shaky")
    assert error_of(call) is None
    again = ["action.retrying", "action.executing"]
    assert events_of(call) == again + again
    assert [(event.attributes or {})["carpool.attempt"] for event in call.events] == [2, 2, 3, 3]


async def test_a_call_that_is_cancelled_with_its_agent_has_ended_in_that(seen: Seen) -> None:
    async def hangs() -> None:
        await anyio.sleep_forever()

    async def act(runtime: Runtime) -> None:
        with anyio.move_on_after(0):
            await runtime.call_tool("hangs")

    await agent_doing(act, seen, hangs)

    assert error_of(seen.span("execute_tool hangs")) == ("CancelledError", "CancelledError")


async def test_what_is_remembered_did_not_run_again(seen: Seen) -> None:
    schema = ToolSchema(name="once", idempotent=True)

    async def act(runtime: Runtime) -> None:
        runtime.register_tool(schema, look_once)
        await runtime.call_tool("once")
        await runtime.call_tool("once")

    async def look_once(**arguments: Any) -> str:
        return "x"

    agent = await agent_doing(act, seen)

    assert len(seen.spans("execute_tool once")) == 1
    assert events_of(agent) == ["action.deduplicated", "budget.settled"]


async def test_actions_on_the_state_are_events_of_the_agent(seen: Seen) -> None:
    async def act(runtime: Runtime) -> None:
        write = Action(id="w", type="state_write", parameters={"key": "k", "value": 1})
        abort = Action(id="x", type="assertion", parameters={"key": "k", "value": 2}, state_dependencies=["k"])
        after = Action(id="y", type="state_read", parameters={"key": "k"}, dependencies=["x"])
        await runtime.execute(ActionProposal(actions=[write, abort, after]))

    agent = await agent_doing(act, seen)

    told = ["action.state_changed", "action.failed", "action.skipped", "action.state_rolled_back", "budget.settled"]
    assert events_of(agent) == told
    assert len(seen.ended) == 2  # the run and the agent


async def test_a_change_that_a_call_makes_is_an_event_of_the_call(seen: Seen) -> None:
    async def act(runtime: Runtime) -> None:
        action = Action(id="c", tool="look", parameters={"word": "x"}, expected_effects={"seen": True})
        await runtime.execute(ActionProposal(actions=[action]))

    await agent_doing(act, seen, look)

    (changed,) = seen.span("execute_tool look").events
    assert dict(changed.attributes or {}) == {
        "gen_ai.tool.name": "look",
        "gen_ai.tool.call.id": "c",
        "carpool.state.key": "seen",
        "carpool.state.version": 1,
    }


async def test_a_call_outside_of_any_run_is_a_trace_of_its_own(seen: Seen) -> None:
    infra = SharedInfra(tools=[look])
    with instrument(infra, **seen.providers):
        await infra.make_runtime().call_tool("look", word="x")
        with pytest.raises(ToolError):
            await infra.make_runtime().call_tool("look", wrong="x")

    assert seen.tree() == ["execute_tool look"]


async def test_events_of_an_isolated_agent_are_told_of_when_they_are_merged(seen: Seen) -> None:
    infra = SharedInfra(tools=[look])
    with instrument(infra, **seen.providers):
        runtime, context = infra.make_isolated_runtime("apart")
        await runtime.call_tool("look", word="x")
        assert seen.begun == []
        context.merge_to_parent()

    assert (seen.span("execute_tool look").attributes or {})["gen_ai.agent.name"] == "apart"
