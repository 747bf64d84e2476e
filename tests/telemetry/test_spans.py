"""What a run looks like as spans: nested as it ran, with what it cost, what was refused, and how it ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import pytest

from carpool import (
    BudgetLimits,
    Delegator,
    MapReduce,
    Pipeline,
    SharedInfra,
    TokenAccounting,
    Vote,
    open_run,
)
from carpool.events import AgentFinished, AgentReplayed, AgentStarted, RunFinished, RunStarted
from carpool.telemetry import export, instrument
from carpool.testing import Reply, ScriptedRunner, VirtualClock

from ..scenes import spec, specs, tokens
from .seen import Seen, assert_well_formed, error_of, events_of, no_complaints

COST = TokenAccounting(input_tokens=90, output_tokens=10, cost_usd=0.25, cache_read_tokens=40, cache_write_tokens=5)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def anyio_backend(clock: VirtualClock) -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": clock.new_event_loop}


@pytest.fixture
def seen():
    seen = Seen()
    with no_complaints():
        yield seen
    assert_well_formed(seen)


def seconds(nanoseconds: int | None, clock: VirtualClock) -> float:
    """Since the start of the clock."""
    started = int((clock.now() - EPOCH).total_seconds() - clock.monotonic())
    assert nanoseconds is not None
    return nanoseconds / 1e9 - started


async def test_a_nested_team_with_failure_denial_and_cancellation(seen: Seen, clock: VirtualClock) -> None:
    async def look(word: str) -> str:
        if word == "bad":
            raise OSError("gone")
        return word

    async def works(agent, task, runtime, mailbox) -> str:
        await runtime.call_tool("look", word="good")
        return "worked"

    async def errs(agent, task, runtime, mailbox) -> str:
        return await runtime.call_tool("look", word="bad")

    script = {
        "worker": Reply(spends=COST, after_s=2, does=works),
        "failing": Reply(spends=COST, after_s=1, does=errs),
        "writer": Reply(hangs=True),
    }
    tools = ["look"]
    panel = Vote([spec("worker", tools=tools), spec("failing", tools=tools), spec("late")], max_concurrent=1)
    team = Pipeline([panel, spec("writer")], name="team")
    infra = SharedInfra(clock=clock, tools=[look], budget=BudgetLimits(max_agents=3))
    with instrument(infra, **seen.providers), anyio.move_on_after(5):
        # The third vote is the one too many for a cap of 2 in the panel; the writer takes the third slot and hangs.
        panel.budget = BudgetLimits(max_agents=2)
        await team.run("task", runner=ScriptedRunner(script), infra=infra)

    assert seen.tree() == [
        "invoke_workflow team",
        "  invoke_workflow vote",
        "    invoke_agent worker",
        "      execute_tool look",
        "    invoke_agent failing",
        "      execute_tool look",
        "  invoke_agent writer",
    ]
    run, vote = seen.span("invoke_workflow team"), seen.span("invoke_workflow vote")
    worker, failing, writer = (seen.span(f"invoke_agent {name}") for name in ("worker", "failing", "writer"))
    good, bad = seen.spans("execute_tool look")

    assert error_of(worker) is error_of(good) is error_of(vote) is None
    assert error_of(bad) == ("OSError", "OSError")
    assert error_of(failing) == ("ToolError", "ToolError: tool 'look': OSError: gone")
    assert error_of(writer) == ("CancelledError", "cancelled from outside while it ran")
    assert error_of(run) == ("CancelledError", "CancelledError")

    assert events_of(vote) == ["budget.refused"]
    assert events_of(run) == ["budget.exhausted"]
    (refused,) = vote.events
    assert refused.attributes is not None
    assert refused.attributes["gen_ai.agent.name"] == "late"
    assert str(refused.attributes["carpool.reason"]).startswith("agent limit reached: 2 of at most 2")

    times = {span.name: (seconds(span.start_time, clock), seconds(span.end_time, clock)) for span in seen.ended}
    assert times["invoke_agent worker"] == (0, 2)
    assert times["invoke_agent failing"] == (2, 3)
    assert times["invoke_workflow vote"] == (0, 3)
    assert times["invoke_agent writer"] == (3, 5)
    assert times["invoke_workflow team"] == (0, 5)


async def test_the_attributes_are_those_of_the_conventions(seen: Seen) -> None:
    async def look(word: str) -> str:
        return word

    async def works(agent, task, runtime, mailbox) -> str:
        return await runtime.call_tool("look", word="good")

    infra = SharedInfra(tools=[look])
    runner = ScriptedRunner({"worker": Reply(spends=COST, does=works)})
    with instrument(infra, **seen.providers):
        team = Vote([spec("worker", tools=["look"])])
        await team.run("task", runner=runner, infra=infra, run_id="r1")

    executing = infra.log.events(kind="action_executing")[0]
    assert dict(seen.span("invoke_workflow vote").attributes or {}) == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "vote",
        "gen_ai.conversation.id": "r1",
        "carpool.stop_reason": "completed",
        "carpool.usage.input_tokens": 90,
        "carpool.usage.output_tokens": 10,
        "carpool.usage.cost_usd": 0.25,
    }
    assert dict(seen.span("invoke_agent worker").attributes or {}) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "worker",
        "gen_ai.conversation.id": "r1",
        "gen_ai.usage.input_tokens": 90,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.cache_creation.input_tokens": 5,
        "carpool.path": "vote/worker",
        "carpool.usage.cost_usd": 0.25,
        "carpool.turns": 1,
        "carpool.tool_calls": 0,
        "carpool.answer_chars": 4,
        "carpool.attempts": 1,
    }
    assert dict(seen.span("execute_tool look").attributes or {}) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look",
        "gen_ai.tool.call.id": executing.action,
        "gen_ai.agent.name": "worker",
        "carpool.tool.parameters_digest": executing.parameters_digest,
    }


async def test_nothing_that_was_said_is_in_any_span(seen: Seen) -> None:
    async def look(word: str) -> str:
        return "found-secretword"

    async def works(agent, task, runtime, mailbox) -> str:
        await runtime.call_tool("look", word="asked-secretword")
        return "answer-secretword"

    infra = SharedInfra(tools=[look])
    worker = spec("worker", tools=["look"], metadata={"note": "secretword"})
    with instrument(infra, **seen.providers) as telemetry:
        runner = telemetry.runner(ScriptedRunner({"worker": Reply(does=works)}))
        await Vote([worker]).run("task-secretword", runner=runner, infra=infra)

    assert len(seen.ended) == 3
    assert "secretword" not in "".join(span.to_json() for span in seen.ended)


async def test_holds_and_settlements_are_events_of_their_agent(seen: Seen) -> None:
    estimate = TokenAccounting(input_tokens=100, output_tokens=20, cost_usd=0.5)
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=1000))
    with instrument(infra, **seen.providers):
        runner = ScriptedRunner({"a": Reply(spends=COST)})
        await Vote([spec("a", estimate=estimate)]).run("t", runner=runner, infra=infra)

    held, settled = seen.span("invoke_agent a").events
    assert (held.name, dict(held.attributes or {})) == (
        "carpool.budget.held",
        {
            "carpool.attempt": 1,
            "carpool.budget.input_tokens": 100,
            "carpool.budget.output_tokens": 20,
            "carpool.budget.cost_usd": 0.5,
        },
    )
    assert (settled.name, dict(settled.attributes or {})) == (
        "carpool.budget.settled",
        {"carpool.budget.input_tokens": 90, "carpool.budget.output_tokens": 10, "carpool.budget.cost_usd": 0.25},
    )


async def test_a_retry_is_an_event_of_the_one_span(seen: Seen) -> None:
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=1000))
    script = {"a": [Reply(raises=OSError("x"), spends=COST), Reply("fine", spends=COST)]}
    with instrument(infra, **seen.providers):
        team = Vote([spec("a", retries=2, estimate=tokens(100))])
        await team.run("t", runner=ScriptedRunner(script), infra=infra)

    agent = seen.span("invoke_agent a")
    assert error_of(agent) is None
    assert events_of(agent) == ["budget.held", "agent.retrying", "budget.held", "budget.settled"]
    assert dict(agent.events[1].attributes or {}) == {"carpool.attempt": 2, "error.type": "OSError"}
    assert (agent.attributes or {})["carpool.attempts"] == 2


async def test_a_timeout_is_told_from_other_failures(seen: Seen) -> None:
    infra = SharedInfra()
    with instrument(infra, **seen.providers):
        runner = ScriptedRunner({"a": Reply(hangs=True)})
        await Vote([spec("a", timeout_s=3)]).run("t", runner=runner, infra=infra)

    assert error_of(seen.span("invoke_agent a")) == ("timeout", "timed out after 3 s (timeout_s)")


async def test_agents_that_an_agent_asks_for_lie_in_it(seen: Seen) -> None:
    async def delegates(agent, task, runtime, mailbox) -> str:
        for specialist in ("simple", "panel"):
            await runtime.call_tool("delegate", specialist=specialist, task="sub")
        return "done"

    infra = SharedInfra()
    panel = Vote([spec("ann"), spec("bob")], max_concurrent=1)
    team = Delegator(spec("main"), {"simple": spec("simple"), "panel": panel})
    with instrument(infra, **seen.providers):
        await team.run("t", runner=ScriptedRunner({"main": Reply(does=delegates)}, default="ok"), infra=infra)

    assert seen.tree() == [
        "invoke_workflow delegator",
        "  invoke_agent main",
        "    execute_tool delegate",
        "    invoke_agent simple_1",
        "    execute_tool delegate",
        "    invoke_workflow panel_1",
        "      invoke_agent ann",
        "      invoke_agent bob",
    ]


def test_a_replayed_agent_is_marked_and_takes_no_time(seen: Seen) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    story = [
        RunStarted(run="r", pattern="vote", timestamp=at),
        AgentReplayed(run="r", agent="a", path="vote/a", tokens=COST, timestamp=at),
        RunFinished(run="r", pattern="vote", stop_reason="completed", timestamp=at),
    ]
    export(story, tracer_provider=seen.tracers)

    agent = seen.span("invoke_agent a")
    assert agent.start_time == agent.end_time
    attributes = dict(agent.attributes or {})
    assert attributes["carpool.replayed"] is True
    assert attributes["carpool.usage.input_tokens"] == 90
    assert "gen_ai.usage.input_tokens" not in attributes  # nobody adds up what was spent before


async def test_an_agent_that_never_started_is_an_event_and_no_refusal(seen: Seen) -> None:
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=100))
    runner = ScriptedRunner({"a": Reply(hangs=True)})
    team = Vote(specs("ab", estimate=tokens(100)))
    with instrument(infra, **seen.providers), anyio.move_on_after(1):
        await team.run("t", runner=runner, infra=infra)

    run = seen.span("invoke_workflow vote")
    assert events_of(run) == ["agent.skipped"]
    assert (run.events[0].attributes or {})["carpool.reason"] == "never started: CancelledError"


async def test_warnings_and_raised_limits_are_events_of_the_run(seen: Seen) -> None:
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=100))

    async def raises(agent, task, runtime, mailbox) -> str:
        infra.raise_limits(BudgetLimits(max_total_tokens=5000))
        return "x"

    script = {"a": Reply(spends=tokens(90)), "b": Reply(does=raises)}
    with instrument(infra, **seen.providers):
        await Pipeline(specs("ab")).run("t", runner=ScriptedRunner(script), infra=infra)

    warning, raised = seen.span("invoke_workflow pipeline").events
    assert (warning.name, raised.name) == ("carpool.budget.warning", "carpool.budget.limits_raised")
    assert dict(warning.attributes or {}) == {
        "carpool.budget.dimension": "total_tokens",
        "carpool.budget.spent": 90.0,
        "carpool.budget.limit": 100.0,
    }
    assert (raised.attributes or {})["carpool.budget.limits"] == "BudgetLimits(max_total_tokens=5000)"


async def test_runs_that_share_an_infra_are_traces_of_their_own(seen: Seen) -> None:
    infra = SharedInfra()
    runner = ScriptedRunner(default=Reply("x", after_s=1))

    async def one(name: str) -> None:
        await Pipeline(specs("a b"), name=name).run("t", runner=runner, infra=infra)

    with instrument(infra, **seen.providers):
        async with anyio.create_task_group() as group:
            for name in ("one", "two", "three"):
                group.start_soon(one, name)

    assert len({span.context.trace_id for span in seen.ended}) == 3
    for name in ("one", "two", "three"):
        run = seen.span(f"invoke_workflow {name}")
        inside = [span for span in seen.ended if span.context.trace_id == run.context.trace_id]
        assert [span.name for span in inside] == ["invoke_agent a", "invoke_agent b", f"invoke_workflow {name}"]


async def test_a_run_lies_in_the_span_of_its_caller(seen: Seen) -> None:
    infra = SharedInfra()
    tracer = seen.tracers.get_tracer("mine")
    with instrument(infra, **seen.providers), tracer.start_as_current_span("request"):
        await Vote([spec("a")]).run("t", runner=ScriptedRunner(default="x"), infra=infra)

    assert seen.tree() == ["request", "  invoke_workflow vote", "    invoke_agent a"]


async def test_the_same_agent_twice_at_a_time_is_two_spans(seen: Seen) -> None:
    infra = SharedInfra()
    with instrument(infra, **seen.providers):
        async with open_run(runner=ScriptedRunner(default=Reply("x", after_s=1)), infra=infra) as run:
            await run.fan_out([(spec("a"), "one"), (spec("a"), "two")], 2)

    assert len(seen.spans("invoke_agent a")) == 2
    assert all("carpool.incomplete" not in (span.attributes or {}) for span in seen.ended)


async def test_ten_thousand_agents_are_ten_thousand_spans(seen: Seen) -> None:
    infra = SharedInfra()
    with instrument(infra, **seen.providers):
        team = MapReduce(spec("m"), spec("r"), max_concurrent=50)
        await team.run("t", runner=ScriptedRunner(default="x"), infra=infra, items=[str(n) for n in range(10_000)])

    assert len(seen.ended) == 10_002


def test_a_path_a_thousand_patterns_deep_is_a_thousand_spans(seen: Seen) -> None:
    path = "/".join(["run", *["p"] * 2_000, "a"])
    at = datetime(2026, 1, 1, tzinfo=UTC)
    begun = [
        RunStarted(run="r", pattern="run", timestamp=at),
        AgentStarted(run="r", agent="a", path=path, timestamp=at),
    ]
    export(begun, tracer_provider=seen.tracers)

    assert len(seen.ended) == 2_002


def test_an_agent_whose_start_is_not_in_the_log_is_as_long_as_it_says(seen: Seen) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    end = AgentFinished(run="r", agent="a", path="vote/a", duration_ms=1500.0, timestamp=at)
    export([end], tracer_provider=seen.tracers)

    agent, run = seen.span("invoke_agent a"), seen.span("invoke_workflow vote")
    assert (agent.end_time or 0) - (agent.start_time or 0) == 1_500_000_000
    assert (agent.attributes or {})["carpool.incomplete"] is (run.attributes or {})["carpool.incomplete"] is True
    assert error_of(run) == ("unfinished", "the log ends while this was still open")


def test_a_clock_that_is_set_back_makes_no_span_end_before_it_began(seen: Seen) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    events = [
        AgentStarted(run="r", agent="a", path="vote/a", timestamp=at),
        AgentFinished(run="r", agent="a", path="vote/a", timestamp=at - timedelta(hours=1)),
    ]
    export(events, tracer_provider=seen.tracers)

    agent = seen.span("invoke_agent a")
    assert agent.end_time == agent.start_time


def test_what_is_broken_off_reaches_to_the_latest_instant_of_the_log(seen: Seen) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    events = [
        RunStarted(run="r", pattern="vote", timestamp=at),
        AgentStarted(run="r", agent="a", path="vote/a", timestamp=at + timedelta(seconds=9)),
        AgentStarted(run="r", agent="b", path="vote/b", timestamp=at + timedelta(seconds=4)),
    ]
    export(events, tracer_provider=seen.tracers)

    assert {span.end_time for span in seen.ended} == {seen.span("invoke_agent a").start_time}


def test_a_run_that_is_begun_again_before_it_ended_is_broken_off(seen: Seen) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    started = [
        RunStarted(run="r", pattern="vote", timestamp=at),
        AgentStarted(run="r", agent="a", path="vote/a", timestamp=at + timedelta(seconds=1)),
    ]
    again = [
        RunStarted(run="r", pattern="vote", timestamp=at + timedelta(seconds=9)),
        AgentStarted(run="r", agent="a", path="vote/a", timestamp=at + timedelta(seconds=9)),
        AgentFinished(run="r", agent="a", path="vote/a", timestamp=at + timedelta(seconds=10)),
    ]
    export([*started, *again], tracer_provider=seen.tracers)

    lost, run_again = (error_of(span) for span in seen.spans("invoke_agent a"))
    assert lost == ("unfinished", "the run was begun again before it had ended")
    assert run_again is None
    assert len(seen.spans("invoke_workflow vote")) == 2
