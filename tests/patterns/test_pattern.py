"""What all patterns share: run, run_sync, stream, nesting, names, budgets, and one of one's own."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from carpool import (
    AgentOutput,
    AgentSpec,
    BudgetLimits,
    CoordinationBudget,
    CoordinationResult,
    MapReduce,
    Pattern,
    Pipeline,
    SharedInfra,
    Swarm,
    Vote,
    is_budget_skipped,
)
from carpool.events import Event
from carpool.testing import Reply, ScriptedRunner, VirtualClock

from ..scenes import answers, assert_nothing_left, everyone, kinds, names, spec, specs, tokens

ONE_EACH = ScriptedRunner(default=Reply("x", spends=tokens(1)))

FLAT: dict[str, Callable[..., Pattern[Any]]] = {
    "map_reduce": lambda **more: MapReduce(spec("m"), spec("r"), **more).over(items=["i", "j"]),
    "swarm": lambda **more: Swarm(specs("ab"), synthesizer=spec("r"), **more),
    "pipeline": lambda **more: Pipeline(specs("abc"), **more),
    "vote": lambda **more: Vote(specs("ab"), spec("r"), **more),
}


def costing(count: int, **script: Any) -> ScriptedRunner:
    return ScriptedRunner(script, default=lambda who, _: Reply(who.name, spends=tokens(count)))


# Results


@pytest.mark.parametrize("kind", FLAT)
async def test_every_result_has_what_all_results_have(kind: str, clock: VirtualClock) -> None:
    infra = SharedInfra(clock=clock)
    runner = ScriptedRunner(default=Reply("x", spends=tokens(5), after_s=1))
    result = await FLAT[kind]().run("The task.", runner=runner, infra=infra, run_id="mine")

    assert (result.task, result.run_id, result.stop_reason) == ("The task.", "mine", "completed")
    assert (result.all_succeeded, result.failed, result.skipped) == (True, [], [])
    assert len(result.outputs) == 3
    assert result.usage == tokens(15)
    assert result.budget.total_tokens == 15
    assert result.budget.agents_started == 3
    assert result.duration_ms == pytest.approx(clock.monotonic() * 1000)
    assert result.answer


@pytest.mark.parametrize("kind", FLAT)
async def test_a_result_is_a_value_that_becomes_json_and_back(kind: str) -> None:
    result = await FLAT[kind]().run("t", runner=costing(1))

    again = msgspec.json.decode(msgspec.json.encode(result), type=type(result))
    assert names(again.outputs) == names(result.outputs)
    assert again.usage == result.usage
    assert pickle.loads(pickle.dumps(result)) == result


@pytest.mark.parametrize("kind", FLAT)
async def test_a_run_is_in_the_log_from_beginning_to_end(kind: str) -> None:
    infra = SharedInfra()
    await FLAT[kind]().run("t", runner=costing(2), infra=infra)
    first, *_, last = infra.log.events()

    assert (first.kind, first.pattern, last.kind, last.pattern) == ("run_started", kind, "run_finished", kind)
    assert (last.stop_reason, last.usage, last.error) == ("completed", tokens(6), None)


@pytest.mark.parametrize("kind", FLAT)
async def test_a_pattern_is_left_as_it_was_and_can_run_at_the_same_time_twice(kind: str) -> None:
    pattern, results = FLAT[kind](), []
    before = repr(vars(pattern))

    async def once() -> None:
        runner = ScriptedRunner(default=Reply("x", spends=tokens(1), after_s=1))
        results.append(await pattern.run("t", runner=runner))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(once)

    assert repr(vars(pattern)) == before
    assert [result.usage for result in results] == [tokens(3)] * 3
    assert len({result.run_id for result in results}) == 3


@pytest.mark.parametrize("kind", FLAT)
@pytest.mark.parametrize("cap", range(4))
async def test_a_denial_at_every_start(kind: str, cap: int) -> None:
    runner, infra = costing(7), SharedInfra(budget=BudgetLimits(max_agents=cap))
    result = await FLAT[kind]().run("t", runner=runner, infra=infra)

    assert len(runner.bill.calls) == cap
    assert sum(output.succeeded for output in result.outputs) == cap
    assert result.stop_reason == ("budget_exhausted" if cap < 3 else "completed")
    assert result.usage == tokens(7 * cap)
    assert bool(result.skipped) == (cap < 3)
    assert_nothing_left(infra)


@pytest.mark.parametrize("kind", FLAT)
@pytest.mark.parametrize("spent_out", range(4))
async def test_spend_runs_out_at_every_start(kind: str, spent_out: int) -> None:
    runner, infra = costing(10), SharedInfra(budget=BudgetLimits(max_total_tokens=10 * spent_out))
    pattern = FLAT[kind](max_concurrent=1) if kind != "pipeline" else FLAT[kind]()
    result = await pattern.run("t", runner=runner, infra=infra)

    assert len(runner.bill.calls) == spent_out
    assert result.budget.total_tokens == 10 * spent_out
    assert len(answers(result.outputs)) - answers(result.outputs).count("") == spent_out


@pytest.mark.parametrize("kind", FLAT)
async def test_no_agent_is_started_after_max_seconds_and_those_in_flight_finish(kind: str, clock: VirtualClock) -> None:
    infra = SharedInfra(budget=BudgetLimits(max_seconds=10), clock=clock)
    runner = ScriptedRunner(default=Reply("x", after_s=11))
    result = await FLAT[kind]().run("t", runner=runner, infra=infra)

    assert all(call.end == "returned" for call in runner.bill.calls)
    assert all(call.began < 10 for call in runner.bill.calls)
    assert result.stop_reason == "budget_exhausted"


# The budget of a pattern


@pytest.mark.parametrize("kind", FLAT)
async def test_a_patterns_budget_is_a_purse_inside_the_infras(kind: str) -> None:
    infra = SharedInfra(budget=BudgetLimits(max_agents=100))
    result = await FLAT[kind](budget=BudgetLimits(max_agents=2)).run("t", runner=costing(1), infra=infra)

    assert len(result.skipped) == 1
    assert result.budget.limits.max_agents == 2
    assert infra.budget.snapshot().agents_started == 2


async def test_a_nested_patterns_budget_bounds_it_alone() -> None:
    pattern = Swarm([Pipeline(specs("abc"), budget=BudgetLimits(max_agents=1)), spec("d")])
    runner = costing(1)
    result = await pattern.run("t", runner=runner)

    assert sorted(runner.bill.agents) == ["a", "d"]
    assert result.nested["pipeline"][0].skipped == ["b"]
    assert result.stop_reason == "budget_exhausted"


@pytest.mark.parametrize("estimate", [None, tokens(0)])
async def test_a_denial_inside_a_nested_pattern_shows_in_the_stop_reason(estimate: Any) -> None:
    inner = Vote(specs("ab"), budget=BudgetLimits(max_agents=1), max_concurrent=1)
    pattern = Swarm([inner, spec("c")], synthesizer=spec("s", estimate=estimate))
    result = await pattern.run("t", runner=costing(1))

    assert result.nested["vote"][0].stop_reason == "budget_exhausted"
    assert result.stop_reason == "budget_exhausted"


async def test_the_parents_limits_hold_for_a_nested_pattern() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_agents=2))
    runner = costing(1)
    pattern = Pipeline([Pipeline(specs("abc"), budget=BudgetLimits(max_agents=50)), spec("d")], "continue")
    await pattern.run("t", runner=runner, infra=infra)

    assert runner.bill.agents == ["a", "b"]


async def test_nothing_is_allowed_by_a_limit_of_nothing() -> None:
    for limits in (BudgetLimits(max_agents=0), BudgetLimits(max_total_tokens=0), BudgetLimits(max_cost_usd=0)):
        runner = costing(1)
        result = await Swarm(specs("ab")).run("t", runner=runner, infra=SharedInfra(budget=limits))
        assert runner.bill.calls == []
        assert (result.stop_reason, result.skipped) == ("budget_exhausted", ["a", "b"])


# Nesting


async def test_patterns_nest_and_nothing_is_counted_twice() -> None:
    infra, runner = SharedInfra(), costing(1)
    pattern = Vote([Pipeline([Swarm(specs("ab")), spec("c")]), Pipeline(specs("de")), spec("f")])
    result = await pattern.run("t", runner=runner, infra=infra)

    assert names(result.outputs) == ["pipeline_1", "pipeline_2", "f"]
    assert result.usage == tokens(6) == sum((output.tokens for output in result.outputs), tokens(0))
    assert result.usage.total_tokens == infra.budget.snapshot().total_tokens == result.budget.total_tokens
    assert sorted(output.name for output in everyone(result)) == list("abcdef")
    assert kinds(infra.log)["run_started"] == 1
    assert infra.log.events(kind="run_finished")[0].usage == tokens(6)


async def test_paths_say_where_in_the_tree_an_agent_is() -> None:
    infra = SharedInfra()
    pattern = Vote([Pipeline([spec("a")]), Pipeline([spec("a")]), Swarm([spec("a")], name="team")])
    await pattern.run("t", runner=costing(1), infra=infra)

    paths = {event.path for event in infra.log.events(kind="agent_started")}
    assert paths == {"vote/pipeline_1/a", "vote/pipeline_2/a", "vote/team/a"}


def test_a_pattern_is_called_after_its_kind_and_numbered_only_where_needed() -> None:
    alone = Vote([Pipeline(specs("ab")), Swarm(specs("ab"))])
    twice = Vote([Pipeline(specs("ab")), Swarm(specs("ab")), Pipeline(specs("ab"))])

    assert [member.name for member in alone.agents] == ["pipeline", "swarm"]
    assert [member.name for member in twice.agents] == ["pipeline_1", "swarm", "pipeline_2"]
    again = Vote([Pipeline(specs("ab")), Swarm(specs("ab")), Pipeline(specs("ab"))])
    assert [member.name for member in again.agents] == ["pipeline_1", "swarm", "pipeline_2"]


def test_numbering_leaves_the_members_themselves_alone() -> None:
    one = Pipeline(specs("ab"))
    Vote([one, Pipeline(specs("ab"))])

    assert one.name == "pipeline"


async def test_the_same_pattern_can_be_a_member_twice() -> None:
    one = Pipeline(specs("ab"))
    result = await Vote([one, one]).run("t", runner=costing(1))

    assert names(result.outputs) == ["pipeline_1", "pipeline_2"]
    assert result.usage == tokens(4)


@pytest.mark.parametrize(
    "members",
    [
        [Pipeline(specs("a"), name="x"), Pipeline(specs("a"), name="x")],
        [Pipeline(specs("a"), name="x"), spec("x")],
        [spec("x"), spec("x")],
    ],
)
def test_two_of_one_name_are_a_value_error_when_it_is_built(members: list[Any]) -> None:
    for build in (Vote, Swarm, Pipeline):
        with pytest.raises(ValueError, match="'x'"):
            build(members)


@pytest.mark.parametrize("name", ["", "  "])
def test_a_name_of_nothing_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Pipeline(specs("a"), name=name)


async def test_a_nested_pattern_that_fails_is_a_failed_member_and_its_cost_counts() -> None:
    class Broken(Pattern[CoordinationResult]):
        async def execute(self, run, task):
            await run.agent(spec("a"), task)
            raise RuntimeError("plan b")

    infra = SharedInfra()
    result = await Swarm([Broken(), spec("c")]).run("t", runner=costing(5), infra=infra)

    assert result.failed == ["broken"]
    assert result.outputs[0].error == "RuntimeError: plan b"
    assert result.usage == tokens(10)
    assert result.usage.total_tokens == infra.budget.snapshot().total_tokens


async def test_what_had_finished_in_a_nested_pattern_that_fails_is_not_lost() -> None:
    class Broken(Pattern[CoordinationResult]):
        async def execute(self, run, task):
            await run.agent(spec("a"), task)
            raise RuntimeError("plan b")

    result = await Swarm([Broken(), spec("c")]).run("t", runner=costing(5))

    assert sorted(output.name for output in everyone(result)) == ["a", "c"]


async def test_a_nested_pattern_without_an_answer_is_a_failed_member() -> None:
    result = await Pipeline([Swarm(specs("ab")), spec("c")]).run(
        "t", runner=costing(1, a=Reply(raises=OSError), b=Reply(raises=OSError))
    )

    assert result.failed == ["swarm"]
    assert "no_output" in result.outputs[0].error


async def test_random_seeming_trees_end_within_a_tight_budget(clock: VirtualClock) -> None:
    for limit in range(0, 130, 7):
        infra = SharedInfra(budget=BudgetLimits(max_total_tokens=limit), clock=clock)
        runner = ScriptedRunner(default=Reply("x", spends=tokens(5), after_s=1))
        members = specs("abcdef", estimate=tokens(20))
        pattern = Vote([Pipeline(members), Swarm(members, synthesizer=spec("s", estimate=tokens(20))), Swarm(members)])
        await pattern.run("t", runner=runner, infra=infra)
        assert_nothing_left(infra)
        assert infra.budget.snapshot().total_tokens == runner.bill.total.total_tokens <= limit


# One's own


class Twice(Pattern[CoordinationResult]):
    def __init__(self, agent: AgentSpec, **more: Any) -> None:
        super().__init__(**more)
        self.agent = agent

    async def execute(self, run, task: str) -> CoordinationResult:
        first = await run.agent(self.agent, task)
        second = await run.agent(self.agent, f"Again: {first.answer}")
        return run.result(task=task, answer=second.answer, outputs=[first, second])


async def test_a_pattern_of_ones_own_needs_only_execute() -> None:
    infra = SharedInfra()
    result = await Twice(spec("a")).run("t", runner=costing(3), infra=infra)

    assert (result.answer, result.usage, result.all_succeeded) == ("a", tokens(6), True)
    assert infra.log.events(kind="run_started")[0].pattern == "twice"
    nested = await Vote([Twice(spec("a")), Twice(spec("a")), spec("b")]).run("t", runner=costing(1))
    assert names(nested.outputs) == ["twice_1", "twice_2", "b"]


async def test_an_error_of_ones_own_pattern_carries_what_was_done() -> None:
    class Failing(Twice):
        async def execute(self, run, task):
            await super().execute(run, task)
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine") as caught:
        await Failing(spec("a")).run("t", runner=costing(3))

    assert answers(caught.value.partial.outputs) == ["a", "a"]
    assert caught.value.usage == tokens(6)


async def test_what_must_be_overridden_says_so() -> None:
    class Empty(Pattern[CoordinationResult]):
        pass

    with pytest.raises(NotImplementedError, match="Empty must override execute"):
        await Empty().run("t", runner=costing(1))
    with pytest.raises(NotImplementedError, match="plan"):
        Empty().plan()


@pytest.mark.parametrize("kind", FLAT)
async def test_inputs_that_a_pattern_does_not_take_are_a_type_error(kind: str) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        await FLAT[kind]().run("t", runner=costing(1), nonsense=1)


@pytest.mark.parametrize("runner", [None, 5, object()])
async def test_what_is_no_runner_is_a_type_error(runner: Any) -> None:
    with pytest.raises(TypeError, match="runner"):
        await Swarm(specs("a")).run("t", runner=runner)


# Sync


@pytest.mark.parametrize("kind", FLAT)
def test_run_sync_is_run_for_code_that_is_not_async(kind: str) -> None:
    result = FLAT[kind]().run_sync("t", runner=costing(1), run_id="r")

    assert result.usage == tokens(3)
    assert result.run_id == "r"


async def test_run_sync_works_inside_a_running_loop() -> None:
    result = Swarm(specs("ab")).run_sync("t", runner=costing(1))

    assert result.all_succeeded
    await anyio.lowlevel.checkpoint()


def test_run_sync_works_in_threads() -> None:
    budget = CoordinationBudget(BudgetLimits(max_agents=50))

    def once(_: int) -> CoordinationResult:
        return Swarm(specs("abcde"), max_concurrent=2).run_sync(
            "t", runner=costing(1), infra=SharedInfra(budget=budget)
        )

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(once, range(15)))

    assert sum(output.succeeded for result in results for output in result.outputs) == 50
    assert budget.snapshot().agents_started == 50
    assert budget.in_flight == 0


def test_run_sync_raises_what_run_raises() -> None:
    with pytest.raises(TypeError, match="runner"):
        Swarm(specs("a")).run_sync("t", runner=5)


async def test_run_sync_inside_a_loop_raises_what_run_raises() -> None:
    with pytest.raises(TypeError, match="runner"):
        Swarm(specs("a")).run_sync("t", runner=5)


@pytest.mark.parametrize("inside_a_loop", [False, True])
def test_ctrl_c_cancels_a_sync_run_cleanly(inside_a_loop: bool) -> None:
    infra = SharedInfra()
    runner = ScriptedRunner({"a": Reply("done", spends=tokens(1))}, default=Reply(hangs=True))

    def sync() -> None:
        Swarm(specs("ab")).run_sync("t", runner=runner, infra=infra)

    async def in_a_loop() -> None:
        sync()

    interrupt = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
    interrupt.start()
    loop = asyncio.new_event_loop()  # as in Jupyter: asyncio.run would take the first Ctrl-C for its own
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(in_a_loop()) if inside_a_loop else sync()
    finally:
        loop.close()
        interrupt.join()

    assert_nothing_left(infra)
    assert kinds(infra.log)["agent_cancelled"] == 1


# Shared infra


async def test_two_runs_on_one_infra_share_the_fare_and_keep_their_events_apart() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_agents=5))
    results: list[CoordinationResult] = []

    async def once(name: str) -> None:
        runner = ScriptedRunner(default=Reply(name, after_s=1))
        results.append(await Swarm(specs("abcd"), max_concurrent=1).run("t", runner=runner, infra=infra, run_id=name))

    async with anyio.create_task_group() as group:
        group.start_soon(once, "one")
        group.start_soon(once, "two")

    assert sum(output.succeeded for result in results for output in result.outputs) == 5
    for result in results:
        own = [event for event in infra.log.events() if event.run == result.run_id]
        assert (own[0].kind, own[-1].kind) == ("run_started", "run_finished")
        assert sum(event.kind == "agent_finished" for event in own) == sum(o.succeeded for o in result.outputs)


async def test_one_run_that_waits_for_another_runs_hold_is_let_in() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=100))
    runner = ScriptedRunner(default=Reply("x", spends=tokens(5), after_s=5))
    results: list[CoordinationResult] = []

    async def once(name: str) -> None:
        results.append(await Swarm([spec(name, estimate=tokens(80))]).run("t", runner=runner, infra=infra))

    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(once, name)

    assert all(result.all_succeeded for result in results)
    assert runner.bill.most_in_flight == 1


def test_two_runs_in_two_threads_share_one_budget_and_wake_each_other() -> None:
    budget = CoordinationBudget(BudgetLimits(max_total_tokens=1000))
    spent: list[int] = []

    def once() -> None:
        runner = ScriptedRunner(default=Reply("x", spends=tokens(10), after_s=0.001))
        infra = SharedInfra(budget=budget)
        agents = [spec(f"m_{n}", estimate=tokens(400)) for n in range(20)]
        result = Swarm(agents, max_concurrent=5).run_sync("t", runner=runner, infra=infra)
        spent.append(result.usage.total_tokens)

    threads = [threading.Thread(target=once) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert not any(thread.is_alive() for thread in threads)
    assert sum(spent) == budget.snapshot().total_tokens == 600
    assert budget.in_flight == 0


# Streams


async def items_of(stream: Any) -> list[Any]:
    async with aclosing(stream):
        return [item async for item in stream]


@pytest.mark.parametrize("kind", FLAT)
async def test_a_stream_gives_every_event_in_order_and_the_result_last(kind: str) -> None:
    infra = SharedInfra()
    *events, result = await items_of(FLAT[kind]().stream("t", runner=costing(1), infra=infra))

    assert isinstance(result, CoordinationResult)
    assert [event.seq for event in events] == list(range(1, len(infra.log) + 1))
    assert (events[0].kind, events[-1].kind) == ("run_started", "run_finished")


async def test_events_come_while_the_run_goes_on(clock: VirtualClock) -> None:
    runner = ScriptedRunner(default=Reply("x", after_s=10))
    async with aclosing(Pipeline(specs("ab")).stream("t", runner=runner)) as stream:
        seen = [(item.kind, clock.monotonic()) async for item in stream if isinstance(item, Event)]

    assert seen == [
        ("run_started", 0),
        ("agent_started", 0),
        ("agent_finished", 10),
        ("agent_started", 10),
        ("agent_finished", 20),
        ("run_finished", 20),
    ]


async def test_a_stream_shows_its_own_run_and_no_other() -> None:
    infra = SharedInfra()
    await Swarm(specs("xy")).run("t", runner=costing(1), infra=infra)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: Pipeline(specs("pqr")).run("t", runner=costing(1), infra=infra))
        *events, _ = await items_of(Swarm(specs("ab")).stream("t", runner=costing(1), infra=infra, run_id="mine"))

    assert {event.run for event in events} == {"mine"}
    assert {event.agent for event in events if hasattr(event, "agent")} == {"a", "b"}


async def test_leaving_a_stream_early_cancels_the_run() -> None:
    infra = SharedInfra()
    runner = ScriptedRunner(default=Reply(hangs=True))
    async with aclosing(Swarm(specs("ab")).stream("t", runner=runner, infra=infra)) as stream:
        async for item in stream:
            if item.kind == "agent_started":
                break

    assert kinds(infra.log)["agent_cancelled"] == kinds(infra.log)["agent_started"]
    assert infra.log.events()[-1].kind == "run_finished"
    assert_nothing_left(infra)


async def test_leaving_a_stream_early_waits_for_runners_that_clean_up() -> None:
    infra = SharedInfra()
    cleaned: list[str] = []

    async def slow_to_stop(who, task, runtime, mailbox) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5)
                cleaned.append(who.name)
        return "x"

    with anyio.move_on_after(1):
        async with aclosing(Swarm(specs("ab")).stream("t", runner=slow_to_stop, infra=infra)) as stream:
            async for _ in stream:
                pass

    assert sorted(cleaned) == ["a", "b"]
    assert_nothing_left(infra)


async def test_the_error_of_a_run_comes_out_of_its_stream_after_its_events() -> None:
    class Failing(Twice):
        async def execute(self, run, task):
            await super().execute(run, task)
            raise LookupError("mine")

    seen: list[str] = []

    async def read() -> None:
        async with aclosing(Failing(spec("a")).stream("t", runner=costing(1))) as stream:
            async for item in stream:
                seen.append(item.kind)  # noqa: PERF401 - what was seen before the error counts

    with pytest.raises(LookupError, match="mine") as caught:
        await read()

    assert seen[-1] == "run_finished"
    assert caught.value.usage == tokens(2)


async def test_a_stream_that_is_never_read_starts_nothing() -> None:
    runner = costing(1)
    stream = Swarm(specs("a")).stream("t", runner=runner)
    await anyio.sleep(1)
    await stream.aclose()

    assert runner.bill.calls == []


async def test_a_reader_that_is_slow_misses_nothing() -> None:
    infra = SharedInfra()
    runner = ScriptedRunner(default=Reply("x", after_s=0.1))
    seen: list[int] = []
    async with aclosing(Swarm(specs("abcdef"), max_concurrent=2).stream("t", runner=runner, infra=infra)) as stream:
        async for item in stream:
            if isinstance(item, Event):
                seen.append(item.seq)
                await anyio.sleep(3)

    assert seen == list(range(1, len(infra.log) + 1))


async def test_an_output_that_was_skipped_is_told_by_its_evidence() -> None:
    forged = AgentOutput(name="a", error="max_agents reached", answer="")
    assert not is_budget_skipped(forged)
