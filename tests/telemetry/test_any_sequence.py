"""Whatever the log holds, whole or torn, in order or not, the spans are a forest: begun once, ended once, in time."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carpool import BudgetLimits, CarpoolError, Delegator, Pipeline, SharedInfra, TokenAccounting, ToolError, Vote
from carpool import events as facts
from carpool.telemetry import export, instrument
from carpool.testing import Reply, ScriptedRunner, VirtualClock

from ..scenes import spec, tokens
from .seen import Seen, assert_well_formed, no_complaints

CALM = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)

# Arbitrary sequences, of few runs, paths and calls, so that they meet

NAMES = st.sampled_from(["a", "b", "a/b", "", "x"])
PATHS = st.sampled_from(["run/a", "run/a/b", "run/p/a", "run/p/q/b", "run/a/p/x", "a", "", "/", "run", "other/p/a"])
TIMES = st.none() | st.integers(-5, 50).map(lambda seconds: BEGINNING + timedelta(seconds=seconds))
SPENDS = st.none() | st.builds(TokenAccounting, input_tokens=st.sampled_from([0, 7, 2**70]), cost_usd=st.just(0.5))
COMMON = {"run": st.sampled_from(["r", "s", ""]), "timestamp": TIMES}
AGENT = {**COMMON, "agent": NAMES, "path": PATHS, "parent": st.none() | PATHS}
ACTION = {**AGENT, "proposal": st.sampled_from("uv"), "action": st.sampled_from("uv"), "tool": st.none() | NAMES}
LASTED = {"duration_ms": st.sampled_from([0.0, 2500.0, 1e12])}
TEXT = st.sampled_from(["", "OSError", "OSError: x\ud83d", "timed out after 3 s (timeout_s)", "?", "x" * 5_000])
ATTEMPT = {"attempt": st.integers(1, 3)}

ANY_EVENT = st.one_of(
    st.builds(facts.RunStarted, **COMMON, pattern=st.sampled_from(["run", "other", ""])),
    st.builds(facts.RunFinished, **COMMON, **LASTED, error=st.none() | TEXT, usage=SPENDS),
    st.builds(facts.LimitsRaised, **COMMON),
    st.builds(facts.BudgetWarning, **COMMON),
    st.builds(facts.BudgetExhausted, **COMMON, reason=TEXT),
    st.builds(facts.AgentStarted, **AGENT, **ATTEMPT, held=SPENDS),
    st.builds(facts.AgentStarted, **AGENT, **ATTEMPT, held=SPENDS),
    st.builds(facts.AgentFinished, **AGENT, **LASTED, tokens=SPENDS),
    st.builds(facts.AgentFailed, **AGENT, **LASTED, error=TEXT, tokens=SPENDS),
    st.builds(facts.AgentCancelled, **AGENT, **LASTED, tokens=SPENDS),
    st.builds(facts.AgentRetrying, **AGENT, **ATTEMPT, error=TEXT),
    st.builds(facts.AgentSkipped, **AGENT, reason=TEXT | st.just("never started: X")),
    st.builds(facts.AgentReplayed, **AGENT, tokens=SPENDS),
    st.builds(facts.ActionExecuting, **ACTION, **ATTEMPT),
    st.builds(facts.ActionExecuting, **ACTION, **ATTEMPT),
    st.builds(facts.ActionSucceeded, **ACTION, **LASTED),
    st.builds(facts.ActionFailed, **ACTION, **LASTED, error=TEXT),
    st.builds(facts.ActionRetrying, **ACTION, **ATTEMPT, error=TEXT),
    st.builds(facts.ActionRejected, **ACTION, reason=TEXT),
    st.builds(facts.ActionDeduplicated, **ACTION),
    st.builds(facts.PolicyViolated, **ACTION, policy=TEXT, reason=TEXT),
    st.builds(facts.StateChanged, **ACTION, key=TEXT, version=st.integers(0, 9)),
    st.builds(facts.StateRolledBack, **ACTION, keys=st.integers(0, 9)),
)


@CALM
@given(st.lists(ANY_EVENT, max_size=40))
def test_any_sequence_of_events_gives_a_forest(events: list[facts.Event]) -> None:
    seen = Seen()
    with no_complaints():
        export(events, tracer_provider=seen.tracers)

    assert_well_formed(seen)


@CALM
@given(st.lists(ANY_EVENT, max_size=40), st.integers(0, 40))
def test_any_sequence_can_be_watched_from_anywhere(events: list[facts.Event], since: int) -> None:
    seen, infra = Seen(), SharedInfra()
    infra.log.extend(events[:since])
    with no_complaints(), instrument(infra, **seen.providers) as telemetry:
        infra.log.extend(events[since:])

    assert telemetry.failures == 0
    assert_well_formed(seen)
    found = seen.metrics()
    for held in ("carpool.budget.held.tokens", "carpool.budget.held.cost"):
        assert all(abs(value) < 1e-6 for value in found.get(held, {}).values()), found


# What random teams tell of, whole and torn

LEAF = st.builds(
    lambda seconds, spends, fails, retries, uses: (
        "agent",
        {"after_s": seconds, "spends": tokens(spends), "raises": OSError("x") if fails else None},
        retries,
        uses,
    ),
    st.integers(0, 4),
    st.integers(0, 90),
    st.booleans(),
    st.integers(0, 1),
    st.booleans(),
)
SHAPES = st.recursive(
    LEAF,
    lambda inner: st.tuples(
        st.sampled_from(["vote", "pipeline", "delegator"]), st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


async def look() -> str:
    """Look."""
    return "seen"


class RandomTeam:
    """The team of a shape, and the script that its agents follow."""

    def __init__(self, shape: Any) -> None:
        self.runner = ScriptedRunner()
        self._names = iter(range(1_000))
        self.team = Pipeline([self._member(shape)], name="team")

    def _member(self, shape: Any) -> Any:
        kind, inside, *_ = shape
        name = f"{kind}{next(self._names)}"
        if kind == "agent":
            return self._agent(name, *shape[1:])
        members = [self._member(each) for each in inside]
        if kind == "delegator":
            return self._delegator(name, members)
        return {"vote": Vote, "pipeline": Pipeline}[kind](members, name=name)

    def _agent(self, name: str, reply: dict[str, Any], retries: int, uses: bool) -> Any:
        async def does(agent: Any, task: str, runtime: Any, mailbox: Any) -> str:
            return await runtime.call_tool("look") if uses else "x"

        self.runner.script[name] = Reply(does=does, **reply)
        return spec(name, retries=retries, estimate=reply["spends"], tools=["look"])

    def _delegator(self, name: str, members: list[Any]) -> Delegator:
        specialists = {f"s{number}_of_{name}": member for number, member in enumerate(members)}
        for called, member in specialists.items():
            if member.name in self.runner.script:  # a specialist goes by the name that it is called by
                self.runner.script[called] = self.runner.script[member.name]

        async def delegates(agent: Any, task: str, runtime: Any, mailbox: Any) -> str:
            for called in specialists:
                with suppress(ToolError):
                    await runtime.call_tool("delegate", specialist=called, task="sub")
            return "x"

        self.runner.script[f"main_{name}"] = Reply(does=delegates)
        return Delegator(spec(f"main_{name}"), specialists, name=name)


def play(shape: Any, limit: int, stops_at: float | None, seen: Seen) -> list[facts.Event]:
    clock, random_team = VirtualClock(), RandomTeam(shape)
    infra = SharedInfra(clock=clock, tools=[look], budget=BudgetLimits(max_total_tokens=limit))

    async def main() -> None:
        # A load-bearing agent that fails ends the run: the log has it.
        with instrument(infra, **seen.providers), anyio.move_on_after(stops_at), suppress(CarpoolError):
            await random_team.team.run("t", runner=random_team.runner, infra=infra)

    clock.run(main)
    return infra.log.events()


@CALM
@given(SHAPES, st.integers(0, 400), st.none() | st.floats(0.5, 9.5))
def test_a_random_team_is_told_of_exactly(shape: Any, limit: int, stops_at: float | None) -> None:
    seen = Seen()
    with no_complaints():
        log = play(shape, limit, stops_at, seen)

    assert_well_formed(seen)
    lives = [event for event in log if isinstance(event, facts.AgentStarted) and event.attempt == 1]
    agents = [span for span in seen.begun if span.name.startswith("invoke_agent")]
    assert [(span.attributes or {})["carpool.path"] for span in agents] == [event.path for event in lives]
    calls = [event for event in log if isinstance(event, facts.ActionExecuting)]
    tools = [span for span in seen.begun if span.name.startswith("execute_tool")]
    assert [(span.attributes or {})["gen_ai.tool.call.id"] for span in tools] == [event.action for event in calls]
    for span, call in zip(tools, calls, strict=True):
        assert seen.parent(span) == f"invoke_agent {call.agent}"
    for span, life in zip(agents, lives, strict=True):
        above = life.path.removesuffix(f"/{life.agent}").rpartition("/")[2]
        kind = "invoke_agent" if life.parent == life.path.removesuffix(f"/{life.agent}") else "invoke_workflow"
        assert seen.parent(span) == f"{kind} {above}"
    skipped = [event for event in log if isinstance(event, facts.AgentSkipped)]
    told = [event.name for span in seen.ended for event in span.events]
    assert told.count("carpool.budget.refused") + told.count("carpool.agent.skipped") == len(skipped)


@CALM
@given(SHAPES, st.integers(0, 400), st.integers(0, 2**32))
def test_a_torn_log_of_a_random_team_gives_a_forest_too(shape: Any, limit: int, seed: int) -> None:
    chance = random.Random(seed)
    left = [event for event in play(shape, limit, None, Seen()) if chance.random() < 0.8]
    if chance.random() < 0.5:
        chance.shuffle(left)

    seen = Seen()
    with no_complaints():
        export(left, tracer_provider=seen.tracers)
    assert_well_formed(seen)
