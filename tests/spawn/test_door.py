"""The door: what becomes of one agent, whatever its runner does."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import anyio
import msgspec
import pytest

from carpool import (
    AgentOutput,
    AgentSpec,
    BudgetLimits,
    EventLog,
    FunctionRunner,
    Run,
    SharedInfra,
    is_budget_skipped,
    open_run,
)
from carpool.errors import ToolError
from carpool.testing import Reply, ScriptedRunner, VirtualClock
from carpool.types import OutcomeStatus

from ..scenes import answers, assert_nothing_left, spec, specs, story, tokens


async def one(reply: Any, infra: SharedInfra | None = None, **fields: Any) -> AgentOutput:
    """What comes of one agent that is asked once."""
    infra = infra or SharedInfra()
    async with open_run(runner=ScriptedRunner({"a": reply}), infra=infra) as run:
        output = await run.agent(spec("a", **fields), "t")
    assert_nothing_left(infra)
    return output


def under(clock: VirtualClock | None = None, **limits: Any) -> SharedInfra:
    return SharedInfra(budget=BudgetLimits(**limits), clock=clock)


# What comes back


async def test_a_string_is_an_answer() -> None:
    output = await one(Reply(returns="hello"))

    assert (output.name, output.answer, output.error, output.succeeded) == ("a", "hello", None, True)
    assert output.tokens is None


async def test_an_output_keeps_its_fields_and_gets_its_agents_name() -> None:
    output = await one(Reply(returns=AgentOutput(name="somebody", answer="x", turns=3, tool_calls=2, tools_used=["y"])))

    assert (output.name, output.turns, output.tool_calls, output.tools_used) == ("a", 3, 2, ["y"])


async def test_an_empty_answer_is_no_success_and_no_error() -> None:
    output = await one("")

    assert output.error is None
    assert not output.succeeded


async def test_the_duration_is_the_clocks(clock: VirtualClock) -> None:
    output = await one(Reply(after_s=90), SharedInfra(clock=clock))

    assert output.duration_ms == pytest.approx(90_000)


@pytest.mark.parametrize("returned", [None, 7, b"bytes", ["list"], {"answer": "x"}, object(), AgentSpec("a", "b")])
async def test_what_is_neither_an_output_nor_a_string_fails_the_agent(returned: object) -> None:
    infra = SharedInfra()
    output = await one(Reply(returns=returned), infra)

    assert output.error.startswith("TypeError: the runner returned ")
    assert story(infra.log, "a") == ["started", "failed"]


@pytest.mark.parametrize(
    "fields",
    [
        {"answer": None},
        {"answer": 5},
        {"answer": ["x"]},
        {"error": 5},
        {"tokens": 5},
        {"tokens": {"input_tokens": 5}},
        {"outcome": {"status": "success"}},
        {"turns": -1},
        {"turns": "3"},
        {"tool_calls": None},
        {"tools_used": 5},
        {"tools_used": "shell"},
        {"tools_used": [object()]},
    ],
)
async def test_an_output_with_a_field_that_cannot_be_fails_the_agent(fields: dict[str, Any]) -> None:
    output = await one(Reply(returns=AgentOutput(**{"name": "a", "answer": "x"} | fields)))

    assert output.error is not None
    assert not output.succeeded
    msgspec.json.encode(output)


@pytest.mark.parametrize("duration_ms", [float("nan"), float("inf"), -1.0])
async def test_an_output_with_a_duration_that_cannot_be_fails_the_agent(duration_ms: float) -> None:
    async def runner(who, task, runtime, mailbox) -> AgentOutput:
        return AgentOutput(name="a", answer="x", duration_ms=duration_ms)

    async with open_run(runner=runner) as run:
        output = await run.agent(spec("a"), "t")

    assert "duration_ms" in output.error


@pytest.mark.parametrize("field", ["answer", "error"])
async def test_what_no_utf_8_can_hold_is_made_storable(field: str, tmp_path) -> None:
    infra = SharedInfra()
    output = await one(Reply(returns=AgentOutput(**{"name": "a", "answer": "x", field: "bad \ud800 half"})), infra)

    assert b"bad" in msgspec.json.encode(output)
    infra.log.to_jsonl(tmp_path / "log.jsonl")


async def test_an_error_text_that_no_utf_8_can_hold_is_made_storable(tmp_path) -> None:
    infra = SharedInfra()
    msgspec.json.encode(await one(Reply(raises=ValueError("\udfff")), infra))

    infra.log.to_jsonl(tmp_path / "log.jsonl")


# What goes wrong


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad"),
        KeyError("x"),
        StopIteration("s"),
        StopAsyncIteration(),
        AssertionError(),
        RecursionError("deep"),
        MemoryError(),
        TimeoutError("mine"),
        ExceptionGroup("several", [ValueError("1"), KeyError("2")]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_exception_is_the_agents_failure(error: Exception) -> None:
    infra = SharedInfra()
    output = await one(Reply(raises=error), infra)

    assert not output.succeeded
    assert output.answer == ""
    assert output.error is not None
    if not isinstance(error, StopIteration | StopAsyncIteration):  # Python makes a RuntimeError of these
        assert output.error == f"{type(error).__name__}: {error}"
    assert output.outcome.status == OutcomeStatus.FAILURE
    assert story(infra.log, "a") == ["started", "failed"]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


async def test_an_exception_that_cannot_be_printed_is_a_failure_like_any_other() -> None:
    infra = under(max_total_tokens=100)
    output = await one(Reply(raises=Unspeakable()), infra, estimate=tokens(10))

    assert "Unspeakable" in output.error
    assert story(infra.log, "a") == ["started", "failed"]


async def test_a_runner_that_cancels_itself_is_a_failure_and_the_run_goes_on() -> None:
    runner = ScriptedRunner({"a": Reply(raises=asyncio.CancelledError("mine"))}, default="fine")
    infra = SharedInfra()
    async with open_run(runner=runner, infra=infra) as run:
        outputs = await run.fan_out([(each, "t") for each in specs("abc")], 2)

    assert [output.succeeded for output in outputs] == [False, True, True]
    assert "cancelled itself" in outputs[0].error
    assert story(infra.log, "a") == ["started", "failed"]


async def test_a_runner_whose_own_task_was_cancelled_is_a_failure() -> None:
    async def run_task(spec, task, runtime, mailbox) -> str:
        inner = asyncio.get_running_loop().create_task(anyio.sleep(100))
        inner.cancel()
        await inner
        return "unreachable"

    async with open_run(runner=run_task) as run:
        output = await run.agent(spec("a"), "t")

    assert not output.succeeded
    assert output.error


async def test_a_cancel_scope_inside_the_runner_is_its_own_affair() -> None:
    async def scoped(spec, task, runtime, mailbox) -> str:
        with anyio.move_on_after(1):
            await anyio.sleep(100)
        return "moved on"

    async with open_run(runner=scoped) as run:
        output = await run.agent(spec("a"), "t")

    assert output.answer == "moved on"


async def test_a_runner_that_wants_to_end_the_program_ends_only_its_agent() -> None:
    runner = ScriptedRunner({"a": Reply(raises=SystemExit(0))}, default="fine")
    infra = under(max_total_tokens=100)
    async with open_run(runner=runner, infra=infra) as run:
        outputs = await run.fan_out([(each, "t") for each in specs("abc", estimate=tokens(7))], 2)

    assert [output.succeeded for output in outputs] == [False, True, True]
    assert outputs[0].error == "RuntimeError: the runner wanted to end the program: exit(0)"
    assert story(infra.log, "a") == ["started", "failed"]
    assert_nothing_left(infra)


async def test_so_it_does_from_inside_a_task_group() -> None:
    async def runner(spec, task, runtime, mailbox) -> str:
        async with anyio.create_task_group():
            raise SystemExit(4)

    output = None
    async with open_run(runner=runner) as run:
        output = await run.agent(spec("a"), "t")

    assert "SystemExit" in output.error or "BaseExceptionGroup" in output.error


def test_an_agent_that_is_thrown_away_with_its_loop_gives_back_what_it_holds_and_blocks_nobody() -> None:
    infra = under(max_total_tokens=100)
    at_work = []

    async def runner(spec, task, runtime, mailbox) -> str:
        at_work.append(spec.name)
        await anyio.sleep_forever()
        return ""

    async def main() -> None:
        async with open_run(runner=runner, infra=infra) as run:
            await run.agent(spec("a", estimate=tokens(40)), "t")

    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    loop.close()
    task._log_destroy_pending = False
    assert at_work == ["a"]
    infra.budget.book.lock.acquire()  # as if the collector came in the middle of a step of this very thread
    try:
        del task
        gc.collect()
    finally:
        infra.budget.book.lock.release()

    infra.budget.try_begin_agent(tokens(20)).settle(tokens(20))  # the next step sees to what was dropped
    assert infra.budget.in_flight == 0
    assert infra.budget.snapshot().total_tokens == 60
    assert story(infra.log, "a") == ["started", "cancelled"]


def test_an_interrupt_ends_the_run_with_the_agent_settled(clock: VirtualClock) -> None:
    infra = under(clock, max_total_tokens=100)

    async def main() -> None:
        async with open_run(runner=ScriptedRunner({"a": Reply(raises=KeyboardInterrupt)}), infra=infra) as run:
            await run.agent(spec("a", estimate=tokens(7)), "t")

    with pytest.raises(KeyboardInterrupt):
        clock.run(main)

    assert_nothing_left(infra)
    assert infra.budget.snapshot().total_tokens == 7
    assert story(infra.log, "a") == ["started", "cancelled"]


# Time


async def test_a_timeout_is_the_agents_failure_and_says_so(clock: VirtualClock) -> None:
    infra = SharedInfra(clock=clock)
    output = await one(Reply(after_s=3600), infra, timeout_s=60)

    assert output.outcome.status == OutcomeStatus.TIMEOUT
    assert "60" in output.error
    assert output.duration_ms == pytest.approx(60_000)
    assert clock.monotonic() == 60
    assert story(infra.log, "a") == ["started", "failed"]


async def test_a_runner_that_is_in_time_is_not_timed_out(clock: VirtualClock) -> None:
    assert (await one(Reply("x", after_s=59), timeout_s=60)).answer == "x"


@pytest.mark.parametrize("swallows", [1, 2, 4])
async def test_a_runner_that_swallows_its_timeout_does_not_cancel_the_run(swallows: int) -> None:
    runner = ScriptedRunner({"a": Reply("late", hangs=True, swallows=swallows)}, default="fine")
    async with open_run(runner=runner) as run:
        outputs = await run.fan_out([(spec("a", timeout_s=5), "t"), (spec("b"), "t")], 2)
        after = await run.agent(spec("c"), "t")

    assert outputs[1].succeeded
    assert after.succeeded
    assert asyncio.current_task().cancelling() == 0


async def test_the_spend_of_a_timed_out_agent_counts(clock: VirtualClock) -> None:
    infra = under(max_total_tokens=1000)
    held = await one(Reply(hangs=True, spends=tokens(50)), infra, timeout_s=5, estimate=tokens(50))
    assert held.tokens == tokens(50)
    assert infra.budget.snapshot().total_tokens == 50

    called = await one(Reply(model_calls=[tokens(30)] * 5, after_s=2), infra, timeout_s=5, estimate=tokens(200))
    # Two calls are charged, and the third had been reserved.
    assert called.tokens == tokens(90)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_can_not_be_is_refused(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        spec("a", timeout_s=timeout_s)


# Money


async def test_what_is_reported_is_booked_and_stands_in_output_and_log() -> None:
    infra = under(max_total_tokens=100)
    output = await one(Reply(spends=tokens(30)), infra)

    assert output.tokens == tokens(30)
    assert infra.budget.snapshot().total_tokens == 30
    assert infra.log.events(kind="agent_finished")[0].tokens == tokens(30)


async def test_without_a_report_the_hold_is_booked_because_unknown_is_not_zero() -> None:
    infra = under(max_total_tokens=100)
    for reply in (Reply(returns="text"), Reply(reports=None), Reply(raises=OSError), Reply(returns=7)):
        output = await one(reply, infra, estimate=tokens(10))
        assert output.tokens == tokens(10)

    assert infra.budget.snapshot().total_tokens == 40


async def test_a_report_that_is_none_does_not_pass_as_zero() -> None:
    infra = under(max_total_tokens=100)
    for reported in ({"input_tokens": 1}, 5, "free", float("nan")):
        output = await one(Reply(reports=reported), infra, estimate=tokens(10))
        assert not output.succeeded
        assert output.tokens == tokens(10)


async def test_charges_count_even_if_less_is_reported() -> None:
    infra = under(max_total_tokens=1000)
    output = await one(Reply(model_calls=[tokens(30), tokens(40)], reports=tokens(1)), infra)

    assert output.tokens == tokens(70)


@pytest.mark.parametrize("huge", [2**63, 2**64, 2**80])
async def test_an_absurd_report_closes_the_gate_and_never_reopens_it(huge: int) -> None:
    infra = under(max_total_tokens=100)
    async with open_run(runner=ScriptedRunner(default=Reply(spends=tokens(huge))), infra=infra) as run:
        first, *others = [await run.agent(each, "t") for each in specs("abc")]

    assert first.succeeded
    assert all(map(is_budget_skipped, others))


async def test_an_agents_own_budget_is_for_it_alone() -> None:
    infra = SharedInfra()
    reply = Reply("part", model_calls=[tokens(10)] * 10)
    async with open_run(runner=ScriptedRunner(default=reply), infra=infra) as run:
        members = [spec("a", budget=BudgetLimits(max_total_tokens=30)), spec("b")]
        a, b = await run.fan_out([(each, "t") for each in members], 2)

    assert (a.tokens, b.tokens) == (tokens(30), tokens(100))
    assert infra.budget.snapshot().total_tokens == 130


async def test_an_agent_with_a_budget_of_nothing_is_refused_alone() -> None:
    async with open_run(runner=ScriptedRunner(default="x")) as run:
        a, b = await run.fan_out([(spec("a", budget=BudgetLimits(max_agents=0)), "t"), (spec("b"), "t")], 2)

    assert is_budget_skipped(a)
    assert b.succeeded


async def test_a_denied_agent_never_starts_and_costs_nothing() -> None:
    infra = under(max_agents=0)
    runner = ScriptedRunner(default="x")
    async with open_run(runner=runner, infra=infra) as run:
        output = await run.agent(spec("a"), "t")

    assert is_budget_skipped(output)
    assert output.answer == ""
    assert output.outcome.status == OutcomeStatus.GIVE_UP
    assert output.error == infra.log.events(kind="agent_skipped")[0].reason
    assert runner.bill.calls == []
    assert story(infra.log, "a") == ["skipped"]
    assert infra.budget.snapshot().agents_started == 0


async def test_a_text_that_looks_like_a_denial_is_none() -> None:
    output = await one(Reply(raises=RuntimeError("budget_skipped: true; max_total_tokens reached")))

    assert not is_budget_skipped(output)


async def test_the_first_denial_of_a_run_is_told_once_and_the_limit_is_announced() -> None:
    infra = under(max_total_tokens=100)
    async with open_run(runner=ScriptedRunner(default=Reply(spends=tokens(25))), infra=infra) as run:
        for each in specs("abcdefg"):
            await run.agent(each, "t")

    assert len(infra.log.events(kind="budget_exhausted")) == 1
    assert [event.dimension for event in infra.log.events(kind="budget_warning")] == ["total_tokens"]


async def test_seconds_count_from_the_first_start_on_the_infras_clock(clock: VirtualClock) -> None:
    infra = under(clock, max_seconds=100)
    await anyio.sleep(500)
    async with open_run(runner=ScriptedRunner(default=Reply(after_s=40)), infra=infra) as run:
        outputs = [await run.agent(each, "t") for each in specs("abcd")]

    assert [is_budget_skipped(output) for output in outputs] == [False, False, False, True]


# Retries


async def test_retries_are_further_starts_until_one_succeeds() -> None:
    infra = SharedInfra()
    failing = Reply(raises=OSError("again"), spends=tokens(5))
    runner = ScriptedRunner({"a": [failing, failing, Reply("done", spends=tokens(7))]})
    async with open_run(runner=runner, infra=infra) as run:
        output = await run.agent(spec("a", retries=5), "t")

    assert output.answer == "done"
    assert output.error is None
    assert story(infra.log, "a") == ["started", "retrying", "started", "retrying", "started", "finished"]
    assert [event.attempt for event in infra.log.events(kind="agent_started")] == [1, 2, 3]
    assert infra.budget.snapshot().agents_started == 3


async def test_all_attempts_are_paid_for_and_stand_in_the_output() -> None:
    infra = under(max_total_tokens=1000)
    failing = Reply(raises=OSError, model_calls=[tokens(10)])
    runner = ScriptedRunner({"a": [failing, failing, Reply("done", spends=tokens(7))]})
    async with open_run(runner=runner, infra=infra) as run:
        output = await run.agent(spec("a", retries=2, estimate=tokens(10)), "t")

    assert output.tokens == tokens(27)
    assert infra.budget.snapshot().total_tokens == 27 == runner.bill.total.total_tokens
    assert infra.log.events(kind="agent_finished")[0].tokens == tokens(27)


async def test_after_the_last_retry_the_last_error_stands() -> None:
    infra = SharedInfra()
    runner = ScriptedRunner({"a": [Reply(raises=OSError(n)) for n in range(9)]})
    async with open_run(runner=runner, infra=infra) as run:
        output = await run.agent(spec("a", retries=2), "t")

    assert output.error == "OSError: 2"
    assert story(infra.log, "a") == ["started", "retrying", "started", "retrying", "started", "failed"]


async def test_a_retry_that_is_denied_leaves_the_failure_as_it_was() -> None:
    infra = under(max_agents=2)
    runner = ScriptedRunner({"a": Reply(raises=OSError("no"))})
    async with open_run(runner=runner, infra=infra) as run:
        output = await run.agent(spec("a", retries=5), "t")
        result = run.result(task="t", answer="", outputs=[output])

    assert output.error == "OSError: no"
    assert not is_budget_skipped(output)
    assert story(infra.log, "a") == ["started", "retrying", "started", "failed"]
    assert len(runner.bill.calls) == 2
    assert result.stop_reason == "budget_exhausted"


async def test_a_denial_is_not_retried() -> None:
    infra = under(max_agents=0)
    output = await one("x", infra, retries=3)

    assert is_budget_skipped(output)
    assert story(infra.log, "a") == ["skipped"]


async def test_timeouts_and_self_cancellations_are_retried_too(clock: VirtualClock) -> None:
    infra = SharedInfra()
    output = await one([Reply(hangs=True), Reply(raises=asyncio.CancelledError), "done"], infra, retries=2, timeout_s=9)

    assert output.answer == "done"


async def test_an_empty_answer_is_not_retried() -> None:
    infra = SharedInfra()
    await one(["", "x"], infra, retries=3)

    assert story(infra.log, "a") == ["started", "finished"]


# Tools, mail, and what an agent is given


async def test_an_agent_can_call_the_tools_that_its_spec_names_and_no_others() -> None:
    called: list[str] = []

    def allowed(what: str) -> str:
        called.append(what)
        return what.upper()

    def other() -> None:
        called.append("other")

    async def act(spec, task, runtime, mailbox) -> str:
        with pytest.raises(ToolError, match="other"):
            await runtime.call_tool("other")
        with pytest.raises(ToolError):
            await runtime.call_tool("nonsense")
        return await runtime.call_tool("allowed", what="x")

    async with open_run(runner=act, infra=SharedInfra(tools=[allowed, other])) as run:
        granted = await run.agent(spec("a", tools=["allowed"]), "t")
        nothing = await run.agent(spec("b"), "t")

    assert granted.answer == "X"
    assert "ToolError" in nothing.error
    assert called == ["x"]


async def test_a_name_that_no_tool_has_grants_nothing() -> None:
    async def act(spec, task, runtime, mailbox) -> str:
        return ",".join(runtime.tools)

    def there() -> None: ...

    async with open_run(runner=act, infra=SharedInfra(tools=[there])) as run:
        output = await run.agent(spec("a", tools=["there", "not_there"]), "t")

    assert output.answer == "there"


async def test_tools_of_one_start_are_that_starts_alone() -> None:
    def special() -> str:
        return "special"

    async def act(spec, task, runtime, mailbox) -> str:
        return await runtime.call_tool("special")

    async with open_run(runner=act) as run:
        first = await run.agent(spec("a"), "t", tools=[special])
        second = await run.agent(spec("a"), "t")

    assert first.error is None
    assert first.answer == "special"
    assert not second.succeeded


async def test_what_one_agent_registers_no_other_can_call() -> None:
    async def act(spec, task, runtime, mailbox) -> str:
        if spec.name == "a":
            runtime.register_tool(secret)
        return await runtime.call_tool("secret")

    def secret() -> str:
        return "told"

    infra = SharedInfra()
    async with open_run(runner=act, infra=infra) as run:
        a, b = await run.fan_out([(each, "t") for each in specs("ab")], 1)

    assert a.answer == "told"
    assert not b.succeeded
    assert infra.tools == {}


async def test_agents_of_a_run_can_write_to_each_other(clock: VirtualClock) -> None:
    from carpool import Message, MessageKind

    async def talk(spec, task, runtime, mailbox) -> str:
        if spec.name == "a":
            await mailbox.send(Message(sender="a", to="b", kind=MessageKind.CUSTOM, payload="hello"))
            return "sent"
        return (await runtime.inbox.receive(timeout_s=60)).payload

    async with open_run(runner=talk) as run:
        outputs = await run.fan_out([(each, "t") for each in specs("ab")], 2)

    assert answers(outputs) == ["sent", "hello"]


async def test_a_runtime_says_whose_it_is_and_has_the_lease() -> None:
    async def look(spec, task, runtime, mailbox) -> str:
        assert runtime.lease.state == "held"
        assert runtime.state is infra.state
        assert runtime.log is infra.log
        return runtime.agent

    infra = SharedInfra()
    async with open_run(runner=look, infra=infra) as run:
        assert (await run.agent(spec("a"), "t")).answer == "a"


# Runners


@pytest.mark.parametrize("runner", [None, 5, "runner", object(), {}])
async def test_what_is_no_runner_is_refused_before_anything_starts(runner: Any) -> None:
    infra = SharedInfra()
    with pytest.raises(TypeError, match="runner"):
        async with open_run(runner=runner, infra=infra):
            raise AssertionError("opened")

    assert len(infra.log) == 0


async def test_a_runner_that_is_not_async_fails_its_agents() -> None:
    class Sync:
        def run(self, spec, task, runtime, mailbox) -> str:
            return "not awaited"

    async with open_run(runner=Sync()) as run:
        output = await run.agent(spec("a"), "t")

    assert not output.succeeded
    assert "TypeError" in output.error


async def test_a_runner_with_too_few_parameters_fails_its_agents() -> None:
    async def few(spec, task) -> str:
        return "x"

    async with open_run(runner=few) as run:
        output = await run.agent(spec("a"), "t")

    assert "TypeError" in output.error


async def test_functions_are_found_by_name_then_by_role_and_sync_ones_run_in_threads() -> None:
    import threading

    main = threading.get_ident()

    async def by_name(task, runtime) -> str:
        return f"name {task}"

    def by_role(task, runtime) -> str:
        assert threading.get_ident() != main
        return f"role {task}"

    runner = FunctionRunner({"a": by_name, "mapper": by_role})
    async with open_run(runner=runner) as run:
        outputs = [
            await run.agent(each, "t") for each in (spec("a", role="mapper"), spec("m_1", role="mapper"), spec("x"))
        ]

    assert answers(outputs) == ["name t", "role t", ""]
    assert "no function for agent 'x'" in outputs[2].error


# Cancellation


@pytest.mark.parametrize("swallows", [1, 2, 3, 10])
@pytest.mark.parametrize("nested", [False, True])
async def test_a_swallowed_cancellation_by_scope_ends_the_scope_and_nothing_more(swallows: int, nested: bool) -> None:
    infra = SharedInfra()
    runner = ScriptedRunner({"a": Reply("kept", hangs=True, swallows=swallows)}, default=Reply(hangs=True))
    with anyio.move_on_after(5) as scope:
        async with open_run(runner=runner, infra=infra) as run:
            jobs = [(each, "t") for each in (specs("ab") if nested else specs("a"))]
            await run.fan_out(jobs, 2)

    assert scope.cancelled_caught
    assert asyncio.current_task().cancelling() == 0
    await anyio.sleep(1)  # this task is not cancelled
    assert_nothing_left(infra)


@pytest.mark.parametrize("swallows", [1, 2, 3])
async def test_a_native_cancellation_that_is_swallowed_still_ends_the_run_and_keeps_the_output(swallows: int) -> None:
    infra = SharedInfra()
    runner = ScriptedRunner({"a": Reply("kept", after_s=60, swallows=swallows)}, default=Reply(hangs=True))
    seen: list[BaseException] = []

    async def main() -> None:
        try:
            async with open_run(runner=runner, infra=infra) as run:
                await run.fan_out([(each, "t") for each in specs("ab")], 2)
        except asyncio.CancelledError as error:
            seen.append(error)
            raise

    task = asyncio.get_running_loop().create_task(main())
    await anyio.sleep(5)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert answers(seen[0].partial.outputs) == ["kept"]
    assert story(infra.log, "a") == ["started", "finished"]
    assert story(infra.log, "b") == ["started", "cancelled"]


async def test_a_runner_that_swallows_and_then_fails_is_kept_as_failed() -> None:
    infra = SharedInfra()
    runner = ScriptedRunner({"a": Reply(hangs=True, swallows=1, raises=OSError("late"))})

    async def main() -> None:
        async with open_run(runner=runner, infra=infra) as run:
            await run.agent(spec("a", retries=3), "t")

    task = asyncio.get_running_loop().create_task(main())
    await anyio.sleep(5)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert story(infra.log, "a") == ["started", "failed"]


async def test_a_cancelled_agent_is_charged_and_told_of() -> None:
    infra = under(max_total_tokens=1000)
    runner = ScriptedRunner(
        {"held": Reply(hangs=True, spends=tokens(50)), "called": Reply(model_calls=[tokens(30)] * 5, after_s=2)}
    )
    with anyio.move_on_after(5):
        async with open_run(runner=runner, infra=infra) as run:
            await run.fan_out(
                [(spec("held", estimate=tokens(50)), "t"), (spec("called", estimate=tokens(200)), "t")], 2
            )

    cancelled = {event.agent: event.tokens for event in infra.log.events(kind="agent_cancelled")}
    assert cancelled == {"held": tokens(50), "called": tokens(90)}
    assert infra.budget.snapshot().total_tokens == 140


async def test_an_agent_that_waits_for_room_when_the_run_is_cancelled_never_started() -> None:
    infra = under(max_total_tokens=100)
    runner = ScriptedRunner(default=Reply(hangs=True))
    with anyio.move_on_after(5):
        async with open_run(runner=runner, infra=infra) as run:
            await run.fan_out([(spec(name, estimate=tokens(80)), "t") for name in "ab"], 2)

    assert story(infra.log, "a") == ["started", "cancelled"]
    assert story(infra.log, "b") == ["skipped"]
    assert infra.budget.snapshot().agents_started == 1
    assert_nothing_left(infra)


async def test_an_error_in_the_block_goes_out_with_what_was_done() -> None:
    infra = SharedInfra()
    with pytest.raises(KeyError) as caught:  # noqa: PT012
        async with open_run(runner=ScriptedRunner(default=Reply("x", spends=tokens(3))), infra=infra) as run:
            await run.agent(spec("a"), "t")
            raise KeyError("mine")

    assert answers(caught.value.partial.outputs) == ["x"]
    assert caught.value.usage == tokens(3)
    assert infra.log.events(kind="run_finished")[0].error == "KeyError"


# Agents that ask for agents


def asking(child: AgentSpec, run: Run, seen: list[AgentOutput]) -> Callable[..., Any]:
    async def act(spec, task, runtime, mailbox) -> str:
        output = await run.inside(runtime).agent(child, "sub")
        seen.append(output)
        return f"asked: {output.answer}"

    return act


async def test_an_agent_asked_for_by_an_agent_is_one_deeper_and_under_its_path() -> None:
    infra, seen = SharedInfra(), []
    runner = ScriptedRunner({"child": "c"})
    async with open_run(runner=runner, infra=infra) as run:
        runner.script["a"] = Reply(does=asking(spec("child"), run, seen))
        output = await run.agent(spec("a"), "t")

    assert output.answer == "asked: c"
    started = {event.agent: event for event in infra.log.events(kind="agent_started")}
    assert started["child"].path == started["a"].path + "/child"
    assert started["child"].parent == started["a"].path
    assert started["a"].parent is None


async def test_depth_is_limited() -> None:
    infra, seen = under(max_depth=1), []
    runner = ScriptedRunner({"child": "c"})
    async with open_run(runner=runner, infra=infra) as run:
        runner.script["a"] = Reply(does=asking(spec("child"), run, seen))
        output = await run.agent(spec("a"), "t")

    assert output.succeeded
    assert is_budget_skipped(seen[0])
    assert "depth" in seen[0].error


async def test_a_child_that_only_its_own_parent_keeps_out_is_refused_at_once() -> None:
    infra, seen = under(max_total_tokens=100), []
    runner = ScriptedRunner({"child": "c"})
    async with open_run(runner=runner, infra=infra) as run:
        runner.script["a"] = Reply(does=asking(spec("child", estimate=tokens(50)), run, seen))
        output = await run.agent(spec("a", estimate=tokens(80)), "t")

    assert output.succeeded
    assert is_budget_skipped(seen[0])


async def test_the_budget_of_an_agent_bounds_whom_it_asks_for() -> None:
    infra, seen = SharedInfra(), []
    runner = ScriptedRunner({"child": Reply("c", spends=tokens(500))})
    async with open_run(runner=runner, infra=infra) as run:
        runner.script["a"] = Reply(does=asking(spec("child"), run, seen))
        await run.agent(spec("a", budget=BudgetLimits(max_agents=1)), "t")

    assert is_budget_skipped(seen[0])


async def test_what_children_cost_is_in_the_partial_of_a_run_that_is_cancelled() -> None:
    infra, seen = SharedInfra(), []
    runner = ScriptedRunner({"child": Reply("c", spends=tokens(5))})
    usages = []
    with anyio.move_on_after(5):
        try:
            async with open_run(runner=runner, infra=infra) as run:
                runner.script["a"] = Reply(does=asking(spec("child"), run, seen))
                runner.script["b"] = Reply(hangs=True)
                await run.fan_out([(each, "t") for each in specs("ab")], 2)
        except asyncio.CancelledError as error:
            usages.append(error.usage)
            raise

    assert usages == [tokens(5)]


# The log


async def test_every_event_carries_run_agent_path() -> None:
    log = EventLog()
    infra = SharedInfra(log=log)
    async with open_run(runner=ScriptedRunner({"a": Reply(raises=OSError), "b": "x"}), infra=infra, run_id="r1") as run:
        await run.fan_out([(each, "t") for each in specs("ab")], 1)

    assert [event.seq for event in log.events()] == list(range(1, len(log) + 1))
    assert {event.run for event in log.events()} == {"r1"}
    assert {event.path for event in log.events() if hasattr(event, "path")} == {"run/a", "run/b"}


async def test_a_bare_run_has_a_beginning_and_an_end_in_the_log() -> None:
    infra = SharedInfra()
    async with open_run(runner=ScriptedRunner(default="x"), infra=infra):
        pass

    assert [event.kind for event in infra.log.events()] == ["run_started", "run_finished"]
