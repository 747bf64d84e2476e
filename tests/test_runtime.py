"""What one call of a tool leaves in the log, and what runtimes share and what they don't."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from carpool import AgentSpec, EventLog, SharedInfra
from carpool.errors import StateConflict, ToolError, UnknownRecipient
from carpool.events import ActionEvent, ActionExecuting, ActionFailed, encode
from carpool.runner import FunctionRunner
from carpool.runtime import Identity, Runtime
from carpool.spawn import open_run
from carpool.types import Message, MessageKind

from .budget.fake_clock import FakeClock

SECRET = "correct horse battery staple"
DONE = ["proposal_received", "action_validated", "action_executing", "action_succeeded"]
FAILED = ["proposal_received", "action_validated", "action_executing", "action_failed"]
REJECTED = ["proposal_received", "action_rejected"]


def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


async def echo(it: Any) -> Any:
    return it


def fails(word: str) -> None:
    raise LookupError(f"nothing about {word}")


async def waits() -> None:
    await anyio.sleep_forever()


def kinds(log: EventLog) -> list[str]:
    return [event.kind for event in log.events()]


def runtime_with(*tools: Any) -> Runtime:
    return SharedInfra(tools=tools).make_runtime()


async def try_calling(runtime: Runtime, name: str, **arguments: Any) -> BaseException | None:
    try:
        await runtime.call_tool(name, **arguments)
    except ToolError as error:
        return error
    return None


# The log of a call


@pytest.mark.parametrize(
    ("name", "arguments", "story"),
    [
        ("add", {"a": 1}, DONE),
        ("echo", {"it": [1]}, DONE),
        ("fails", {"word": "x"}, FAILED),
        ("add", {"a": "one"}, REJECTED),
        ("add", {"a": 1, "c": 1}, REJECTED),
        ("add", {}, REJECTED),
        ("no_such", {"a": 1}, REJECTED),
        ("", {}, REJECTED),
    ],
)
async def test_a_call_is_logged_step_by_step(name: str, arguments: dict[str, Any], story: list[str]) -> None:
    runtime = runtime_with(add, echo, fails)

    await try_calling(runtime, name, **arguments)

    assert kinds(runtime.log) == story


async def test_the_events_of_a_call_are_of_one_action_of_one_proposal() -> None:
    runtime = runtime_with(add)
    await runtime.call_tool("add", a=1)
    await runtime.call_tool("add", a=1)

    received = runtime.log.events(kind="proposal_received")
    others = [event for event in runtime.log.events() if event.kind != "proposal_received"]

    assert all(isinstance(event, ActionEvent) for event in runtime.log.events())
    proposals = [event.proposal for event in received]
    assert len(set(proposals)) == 2
    assert [event.proposal for event in others] == [proposals[0]] * 3 + [proposals[1]] * 3
    assert len({(event.proposal, event.action) for event in others}) == len({event.action for event in others}) == 2
    assert {event.tool for event in others} == {"add"}
    assert [event.actions for event in received] == [1, 1]


@pytest.mark.parametrize("name", ["echo", "fails", "add", "no_such"])
async def test_of_the_arguments_and_of_errors_no_text_enters_the_log(name: str) -> None:
    runtime = runtime_with(add, echo, fails)
    arguments = {"echo": {"it": {"deep": [SECRET]}}, "fails": {"word": SECRET}, "add": {"a": SECRET}}

    await try_calling(runtime, name, **arguments.get(name, {"it": SECRET}))

    written = b"\n".join(map(encode, runtime.log.events())).decode()
    assert runtime.log.events()
    assert not any(word in written for word in SECRET.split())


async def test_of_the_arguments_a_digest_enters_the_log() -> None:
    runtime = runtime_with(add, echo)
    for arguments in ({"it": {"b": 1, "a": [2]}}, {"it": {"a": [2], "b": 1}}, {"it": {"a": [2], "b": 2}}):
        await runtime.call_tool("echo", **arguments)

    first, same, other = (event.parameters_digest for event in runtime.log.events(kind="action_executing"))

    assert first == same != other
    assert first == hashlib.sha256(b'{"it":{"a":[2],"b":1}}').hexdigest()


async def test_of_an_error_the_class_enters_the_log() -> None:
    runtime = runtime_with(fails)

    error = await try_calling(runtime, "fails", word="x")

    failed = runtime.log.events()[-1]
    assert isinstance(failed, ActionFailed)
    assert failed.error == "LookupError"
    assert "nothing about x" in str(error)


async def test_an_unknown_tool_is_an_error_that_names_what_there_is() -> None:
    runtime = runtime_with(fails, add)

    with pytest.raises(ToolError, match=r"no_such.*add, fails"):
        await runtime.call_tool("no_such")
    with pytest.raises(ToolError, match="none"):
        await SharedInfra().make_runtime().call_tool("no_such")


class Ticking(FakeClock):
    """A quarter of a second later each time that it is asked."""

    def monotonic(self) -> float:
        self.seconds += 0.25
        return self.seconds


async def test_durations_and_times_are_the_clocks() -> None:
    infra = SharedInfra(clock=Ticking(), tools=[add, fails])
    runtime = infra.make_runtime()

    await runtime.call_tool("add", a=1)
    await try_calling(runtime, "fails", word="x")

    ends = [event.duration_ms for event in infra.log.events() if event.kind in ("action_succeeded", "action_failed")]
    assert len(ends) == 2
    assert all(duration >= 250 and duration % 250 == 0 for duration in ends)
    assert {event.timestamp.year for event in infra.log.events() if event.timestamp} == {2025}


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_call_that_is_cancelled_while_the_tool_runs_is_logged_as_failed(is_async: bool) -> None:
    began, release = threading.Event(), threading.Event()

    def stuck() -> None:
        began.set()
        release.wait(30)

    runtime = runtime_with(waits, stuck)
    try:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(runtime.call_tool, "waits" if is_async else "stuck")
                if is_async:
                    while "action_executing" not in kinds(runtime.log):
                        await checkpoint()
                else:
                    await anyio.to_thread.run_sync(began.wait)
                group.cancel_scope.cancel()
    finally:
        release.set()

    assert kinds(runtime.log) == FAILED
    assert runtime.log.events()[-1].error == "CancelledError"  # type: ignore[attr-defined]


async def test_a_cancellation_goes_through_a_call_and_is_no_tool_error() -> None:
    runtime = runtime_with(waits)

    with anyio.move_on_after(0.01) as scope:
        await runtime.call_tool("waits")

    assert scope.cancelled_caught


async def test_many_calls_at_once_each_have_their_own_story() -> None:
    runtime = runtime_with(add, echo, fails)

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(try_calling, runtime, "echo")
            group.start_soon(lambda n: try_calling(runtime, "echo", it=n), number)
            group.start_soon(lambda n: try_calling(runtime, "fails", word=str(n)), number)

    stories: dict[str, list[str]] = {}
    for event in runtime.log.events():
        stories.setdefault(event.proposal, []).append(event.kind)  # type: ignore[attr-defined]
    assert sorted(stories.values()) == sorted([DONE] * 30 + [FAILED] * 30 + [REJECTED] * 30)
    assert [event.seq for event in runtime.log.events()] == list(range(1, 301))


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [cyclic(), {1, 2}, b"\xff", float("nan"), 2**70, 10**5_000, "\ud800", {1: 2}, object(), (1,)],
    ids=["a cycle", "a set", "bytes", "nan", "large", "too large", "a surrogate", "an int key", "an object", "a tuple"],
)
async def test_arguments_that_are_not_json_are_called_or_refused_and_end_in_the_log(value: Any) -> None:
    runtime = runtime_with(echo)

    error = await try_calling(runtime, "echo", it=value)

    assert kinds(runtime.log) in ([DONE] if error is None else [REJECTED, FAILED])
    for event in runtime.log.events():
        if isinstance(event, ActionExecuting):
            assert len(event.parameters_digest) == 64


async def test_a_tool_that_raises_leaves_the_runtime_usable() -> None:
    runtime = runtime_with(fails, add)

    for _ in range(3):
        await try_calling(runtime, "fails", word="x")

    assert await runtime.call_tool("add", a=1) == 2


# What is shared


async def test_runtimes_share_state_and_log_and_not_the_tools_they_register() -> None:
    infra = SharedInfra(tools=[add])
    one, other = infra.make_runtime(), infra.make_runtime()

    one.register_tool(echo)

    assert one.state is other.state is infra.state
    assert one.log is other.log is infra.log
    assert (sorted(one.tools), sorted(other.tools), sorted(infra.tools)) == (["add", "echo"], ["add"], ["add"])
    with pytest.raises(ToolError):
        await other.call_tool("echo", it=1)


def test_taking_a_tool_from_one_runtime_takes_it_from_no_other() -> None:
    infra = SharedInfra(tools=[add])
    one, other = infra.make_runtime(), infra.make_runtime()

    del one.tools["add"]

    assert list(other.tools) == list(infra.tools) == ["add"]
    assert list(infra.make_runtime().tools) == ["add"]


def test_two_tools_of_one_name_are_refused_and_the_first_stays() -> None:
    infra = SharedInfra(tools=[add])
    runtime = infra.make_runtime()
    first = runtime.tools["add"]

    def another(a: str) -> str:
        return a

    another.__name__ = "add"
    with pytest.raises(ValueError, match="'add' already"):
        runtime.register_tool(another)

    assert runtime.tools["add"] is first
    runtime.register_tool(another.__class__(another.__code__, {}, "other"))
    assert sorted(runtime.tools) == ["add", "other"]


def test_outside_a_run_there_is_no_inbox() -> None:
    with pytest.raises(RuntimeError, match="no run"):
        _ = SharedInfra().make_runtime().inbox


async def test_in_a_run_every_event_says_whose_it_is_and_the_inbox_is_the_agents_own() -> None:
    infra = SharedInfra(tools=[add])
    seen: dict[str, Any] = {}

    async def work(task: str, runtime: Runtime) -> str:
        seen[runtime.agent] = runtime.inbox
        runtime.register_tool(echo)
        await runtime.call_tool("echo", it=task)
        return str(await runtime.call_tool("add", a=1))

    async with open_run(runner=FunctionRunner({"worker": work}), infra=infra, run_id="r1") as run:
        jobs = [(AgentSpec(f"worker_{n}", "", role="worker", tools=["add"]), "a task") for n in range(3)]
        outputs = await run.fan_out(jobs, 3)

    assert [output.answer for output in outputs] == ["2"] * 3
    for number in range(3):
        name = f"worker_{number}"
        mine = [event for event in infra.log.events(agent=name) if isinstance(event, ActionEvent)]
        assert [event.kind for event in mine] == DONE * 2
        started = infra.log.events(kind="agent_started", agent=name)[0]
        assert {(each.run, each.path, each.parent) for each in mine} == {("r1", started.path, started.parent)}  # type: ignore[attr-defined]
        assert seen[name].name == name
    assert list(infra.tools) == ["add"]


async def test_in_a_run_agents_can_write_to_each_other_and_to_nobody_else() -> None:
    async def ask(task: str, runtime: Runtime) -> str:
        return str((await runtime.inbox.receive(timeout_s=5)).payload)

    async def tell(spec: AgentSpec, task: str, runtime: Runtime, mailbox: Any) -> str:
        if spec.name == "asks":
            return await ask(task, runtime)
        message = Message(sender="tells", to="asks", kind=MessageKind.CUSTOM, payload="hello")
        await mailbox.send(message)
        with pytest.raises(UnknownRecipient):
            await mailbox.send(Message(sender="tells", to="stranger", kind=MessageKind.CUSTOM, payload=1))
        return "told"

    async with open_run(runner=tell, infra=SharedInfra()) as run:
        outputs = await run.fan_out([(AgentSpec("asks", ""), "t"), (AgentSpec("tells", ""), "t")], 2)

    assert [output.answer for output in outputs] == ["hello", "told"]


# Apart from the team


async def test_an_isolated_runtime_keeps_state_and_log_apart_until_it_is_merged() -> None:
    infra = SharedInfra(state=None, tools=[add])
    infra.state.set("shared", 1, actor="x")
    runtime, context = infra.make_isolated_runtime("loner")

    runtime.state.set("mine", 2, actor="loner")
    await runtime.call_tool("add", a=1)

    assert (runtime.agent, runtime.state is context.state) == ("loner", True)
    assert runtime.state.get("shared") == 1
    assert infra.state.snapshot() == {"shared": 1}
    assert len(infra.log) == 0

    context.merge_to_parent()

    assert infra.state.snapshot() == {"shared": 1, "mine": 2}
    assert [each.actor for each in infra.state.transitions()] == ["x", "loner"]
    assert [event.kind for event in infra.log.events(agent="loner")] == DONE


async def test_merging_gives_the_events_the_numbers_of_the_log_and_leaves_them_their_times() -> None:
    clock = FakeClock()
    infra = SharedInfra(clock=clock, tools=[add])
    runtime, context = infra.make_isolated_runtime("loner")
    await infra.make_runtime().call_tool("add", a=1)
    await runtime.call_tool("add", a=1)
    then = clock.now()
    clock.advance(60)

    context.merge_to_parent()

    assert [event.seq for event in infra.log.events()] == list(range(1, 9))
    assert {event.timestamp for event in infra.log.events(agent="loner")} == {then}


async def test_merging_a_second_time_adds_nothing() -> None:
    infra = SharedInfra(tools=[add])
    runtime, context = infra.make_isolated_runtime("loner")
    runtime.state.set("mine", 2, actor="loner")
    await runtime.call_tool("add", a=1)

    context.merge_to_parent()
    context.merge_to_parent()

    assert infra.state.transition_count == 1
    assert kinds(infra.log) == DONE


async def test_after_a_conflict_neither_state_nor_log_is_merged_and_it_may_be_tried_again() -> None:
    infra = SharedInfra(tools=[add])
    runtime, context = infra.make_isolated_runtime("loner")
    runtime.state.set("other", 1, actor="loner")
    runtime.state.set("k", 1, actor="loner")
    await runtime.call_tool("add", a=1)
    infra.state.set("k", 2, actor="x")

    with pytest.raises(StateConflict):
        context.merge_to_parent()
    assert (infra.state.snapshot(), len(infra.log)) == ({"k": 2}, 0)

    runtime.state.set("k", 2, actor="loner")
    context.merge_to_parent()
    assert infra.state.snapshot() == {"k": 2, "other": 1}
    assert kinds(infra.log) == DONE


async def test_two_isolated_runtimes_do_not_see_each_other() -> None:
    infra = SharedInfra()
    one, one_context = infra.make_isolated_runtime("one")
    other, other_context = infra.make_isolated_runtime("other")

    one.state.set("k1", 1, actor="one")
    other.state.set("k2", 2, actor="other")
    one.register_tool(add)
    await one.call_tool("add", a=1)

    assert not other.state.exists("k1")
    assert len(other.log) == 0
    assert not other.tools
    other_context.merge_to_parent()
    one_context.merge_to_parent()
    assert infra.state.snapshot() == {"k1": 1, "k2": 2}


async def test_the_log_of_tool_calls_can_be_written_as_json() -> None:
    runtime = runtime_with(add, fails)
    await runtime.call_tool("add", a=1)
    await try_calling(runtime, "fails", word="x")

    for event in runtime.log.events():
        assert json.loads(encode(event))["kind"] == event.kind


def test_an_effect_has_the_same_id_on_every_attempt_and_another_in_another_place() -> None:
    infra = SharedInfra()
    team = infra.team(state=infra.state, log=infra.log)

    def of(run: str, path: str, effect: str) -> str:
        return Runtime(team, whose=Identity(run, "a", path)).effect_id(effect)

    assert of("r", "vote/a", "pay") == of("r", "vote/a", "pay")
    assert (
        len({of("r", "vote/a", "pay"), of("s", "vote/a", "pay"), of("r", "vote/b", "pay"), of("r", "vote/a", "x")}) == 4
    )
