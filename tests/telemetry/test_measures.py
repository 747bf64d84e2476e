"""The metrics: what was spent, held and refused, how long things took, how agents ended."""

from __future__ import annotations

import anyio
import pytest

from carpool import BudgetLimits, SharedInfra, TokenAccounting, Vote
from carpool.telemetry import instrument
from carpool.testing import Reply, ScriptedRunner, VirtualClock

from ..scenes import spec, tokens
from .seen import Seen

COST = TokenAccounting(input_tokens=90, output_tokens=10, cost_usd=0.25)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def anyio_backend(clock: VirtualClock) -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": clock.new_event_loop}


async def test_agents_are_counted_by_their_end_and_the_budget_by_what_it_did(clock: VirtualClock) -> None:
    async def look() -> str:
        return "x"

    async def looks(agent, task, runtime, mailbox) -> str:
        return await runtime.call_tool("look")

    infra = SharedInfra(clock=clock, tools=[look], budget=BudgetLimits(max_agents=3))
    script = {
        "fine": Reply(spends=COST, after_s=2, does=looks),
        "broken": Reply(spends=COST, after_s=4, raises=OSError("x")),
        "endless": Reply(spends=COST, hangs=True),
    }
    members = [spec(name, estimate=COST, tools=["look"]) for name in ("fine", "broken", "endless", "late")]
    seen = Seen()
    with instrument(infra, **seen.providers), anyio.move_on_after(10):
        await Vote(members).run("t", runner=ScriptedRunner(script), infra=infra)

    found = seen.metrics()
    assert found["carpool.agents"] == {("finished",): 1, ("failed",): 1, ("cancelled",): 1, ("skipped",): 1}
    assert found["carpool.budget.refused"] == {(): 1}
    # What said nothing of its spend is booked at its hold, which is the same here.
    assert found["carpool.budget.spent.tokens"] == {("input",): 270, ("output",): 30}
    assert found["carpool.budget.spent.cost"] == {(): 0.75}
    assert found["carpool.budget.held.tokens"] == {("input",): 0, ("output",): 0}
    assert found["carpool.budget.held.cost"] == {(): 0.0}
    assert found["gen_ai.client.token.usage"] == {("invoke_agent", "input"): 270, ("invoke_agent", "output"): 30}
    assert found["gen_ai.client.operation.duration"] == {
        ("invoke_agent",): 2,
        ("OSError", "invoke_agent"): 4,
        ("CancelledError", "invoke_agent"): 10,
        ("CancelledError", "invoke_workflow"): 10,
        ("execute_tool", "look"): 0,
    }


async def test_what_is_held_is_what_agents_in_flight_hold(clock: VirtualClock) -> None:
    infra = SharedInfra(clock=clock)
    runner = ScriptedRunner({"a": Reply(after_s=5), "b": Reply(after_s=10)})
    seen = Seen()
    held: list[float] = []

    async def look() -> None:
        for _ in range(3):
            await anyio.sleep(4)
            held.append(seen.metrics()["carpool.budget.held.tokens"]["input",])

    with instrument(infra, **seen.providers):
        async with anyio.create_task_group() as group:
            group.start_soon(look)
            await Vote([spec(name, estimate=tokens(100)) for name in "ab"]).run("t", runner=runner, infra=infra)

    assert held == [200, 100, 0]


async def test_metrics_begin_with_the_instrumentation_but_holds_are_what_they_are(clock: VirtualClock) -> None:
    infra = SharedInfra(clock=clock)
    runner = ScriptedRunner({"before": Reply(spends=COST), "during": Reply(spends=COST, after_s=5)})
    seen = Seen()
    members = [spec(name, estimate=tokens(100)) for name in ("before", "during")]
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: Vote(members).run("t", runner=runner, infra=infra))
        await anyio.sleep(1)
        with instrument(infra, **seen.providers):
            assert seen.metrics() == {"carpool.budget.held.tokens": {("input",): 100, ("output",): 0}}
            await anyio.sleep(10)

    found = seen.metrics()
    assert found["carpool.agents"] == {("finished",): 1}
    assert found["carpool.budget.spent.tokens"] == {("input",): 90, ("output",): 10}
    assert found["carpool.budget.held.tokens"] == {("input",): 0, ("output",): 0}


async def test_closing_lets_go_of_what_is_held(clock: VirtualClock) -> None:
    infra = SharedInfra(clock=clock)
    seen = Seen()
    runner = ScriptedRunner({"a": Reply(after_s=5)})
    async with anyio.create_task_group() as group:
        with instrument(infra, **seen.providers):
            team = Vote([spec("a", estimate=tokens(100))])
            group.start_soon(lambda: team.run("t", runner=runner, infra=infra))
            await anyio.sleep(1)

    assert seen.metrics()["carpool.budget.held.tokens"] == {("input",): 0, ("output",): 0}


async def test_a_retry_holds_anew(clock: VirtualClock) -> None:
    infra = SharedInfra(clock=clock)
    seen = Seen()
    runner = ScriptedRunner({"a": [Reply(raises=OSError("x")), "fine"]})
    with instrument(infra, **seen.providers):
        await Vote([spec("a", retries=1, estimate=tokens(100))]).run("t", runner=runner, infra=infra)

    assert seen.metrics()["carpool.budget.held.tokens"] == {("input",): 0, ("output",): 0}


async def test_a_count_beyond_every_protocol_does_not_break_it(clock: VirtualClock) -> None:
    infra = SharedInfra(clock=clock)
    seen = Seen()
    runner = ScriptedRunner({"a": Reply(spends=tokens(2**80))})
    with instrument(infra, **seen.providers) as telemetry:
        await Vote([spec("a")]).run("t", runner=runner, infra=infra)

    assert telemetry.failures == 0
    assert seen.metrics()["carpool.budget.spent.tokens"]["input",] == 2**63 - 1
