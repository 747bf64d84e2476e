"""What each pattern costs per agent, beside the work of the agents, and beside MapReduce."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from statistics import median
from time import perf_counter, process_time
from typing import Any

from carpool import (
    AdversarialReview,
    Advisor,
    AgentOutput,
    AgentSpec,
    Delegator,
    Fleet,
    MapReduce,
    Pattern,
    Pipeline,
    SharedInfra,
    SpawnSubtask,
    Supervisor,
    Swarm,
    Tournament,
    Vote,
)

from .contenders import LIMITS, SPENT
from .report import Report, Table, Target

__all__ = ["measure"]

MAP_REDUCE = "MapReduce"
AT_ONCE = 8

Act = Callable[[Any], Awaitable[str]]


def measure(*, quick: bool = False) -> Report:
    agents, rounds = (40, 2) if quick else (1_000, 9)
    measured = asyncio.run(_timed(agents, rounds))
    ratios = {
        name: median(cpu / other for (_, cpu), (_, other) in zip(samples, measured[MAP_REDUCE], strict=True))
        for name, samples in measured.items()
    }
    rows = [
        [
            name,
            median(wall for wall, _ in samples),
            median(cpu for _, cpu in samples),
            1e6 / median(wall for wall, _ in samples),
            ratios[name],
        ]
        for name, samples in measured.items()
    ]
    formats = {"wall µs": ".1f", "CPU µs": ".1f", "agents/s": ",.0f", "MapReduce = 1": ".2f"}
    return Report(
        "patterns",
        f"Patterns: a no-op agent, {agents:,} to a run, per agent",
        [Table(["pattern", *formats], rows, formats, rule_between=False)],
        [
            Target(f"{name}: at most 1.5 times MapReduce", f"{ratio:.2f}", ratio <= 1.5)
            for name, ratio in ratios.items()
            if not name.startswith((MAP_REDUCE, "beside:"))
        ],
        [
            f"Medians of {rounds} rounds in turn, in one event loop, under a budget that fits; ratios of CPU time.",
            "Delegator, SpawnSubtask and Advisor ask through a tool: each of their agents is an action too, checked,",
            "asked about and logged, as in the first row beside. AdversarialReview has one agent, so as many reviews",
            "are run as members of a Swarm, as the pipelines of one stage are in the second row beside.",
        ],
    )


def _spec(name: str) -> AgentSpec:
    return AgentSpec(name, "Do it.")


def _specs(count: int) -> list[AgentSpec]:
    return [_spec(f"agent_{number}") for number in range(count)]


def _patterns(agents: int) -> dict[str, Pattern[Any]]:
    """Each with about as many agents, the load-bearing ones among them."""
    items = [f"text {number}" for number in range(agents - 1)]
    reviews = [AdversarialReview(_spec("reviewer"), ["true"], name=f"review_{number}") for number in range(agents)]
    pipelines = [Pipeline([_spec("stage")], name=f"pipeline_{number}") for number in range(agents)]
    calling = AgentSpec("calling", "Do it.", tools=["look"])
    return {
        MAP_REDUCE: MapReduce(_spec("mapper"), _spec("reducer"), AT_ONCE).over(items=items),
        "beside: MapReduce, a tool call each": MapReduce(calling, _spec("reducer"), AT_ONCE).over(items=items),
        "beside: Swarm of Pipelines of one": Swarm(pipelines, max_concurrent=AT_ONCE),
        "Swarm": Swarm(_specs(agents), max_concurrent=AT_ONCE),
        "Pipeline": Pipeline(_specs(agents)),
        "Vote": Vote(_specs(agents), max_concurrent=AT_ONCE, stop_when_decided=False),
        "Supervisor": Supervisor(_specs(agents // 4), _spec("supervisor"), max_rounds=4),
        "Tournament": Tournament(_specs(agents // 2), _spec("judge"), max_concurrent=AT_ONCE),
        "AdversarialReview": Swarm(reviews, max_concurrent=AT_ONCE),
        "Fleet": Fleet([(agent, "Go.") for agent in _specs(agents)], max_concurrent=AT_ONCE),
        "Delegator": Delegator(_spec("delegating"), {"specialist": _spec("specialist")}, agents - 1),
        "SpawnSubtask": SpawnSubtask(_spec("spawning"), max_subtasks=agents - 1),
        "Advisor": Advisor(_spec("advisor"), agents - 1, _spec("advised")),
    }


REPLIES = {
    "supervisor": '{"approved": false, "feedback": "again"}',
    "judge": '{"winner": "a", "rationale": "shorter"}',
    "reviewer": '{"findings": [{"criterion": "true", "passed": true, "evidence": "all", "severity": "info"}]}',
    "advisor": '{"verdict": "continue", "guidance": "as you are"}',
}
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "delegating": ("delegate", {"specialist": "specialist", "task": "part"}),
    "spawning": ("spawn_subtask", {"task": "part", "tools": []}),
    "advised": ("consult_advisor", {"question": "and now?"}),
}


async def look() -> str:
    """Look around."""
    return "seen"


def _runner(agents: int) -> Callable[..., Awaitable[AgentOutput]]:
    async def run(spec: AgentSpec, task: str, runtime: Any, mailbox: object) -> AgentOutput:
        if spec.role == "calling":
            await runtime.call_tool("look")
        if spec.name in CALLS:
            tool, arguments = CALLS[spec.name]
            for _ in range(agents - 1):
                await runtime.call_tool(tool, **arguments)
        return AgentOutput(name=spec.name, answer=REPLIES.get(spec.role or spec.name, "done"), tokens=SPENT)

    return run


async def _timed(agents: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU µs per agent, one pair for each round."""
    patterns, runner = _patterns(agents), _runner(agents)
    names = list(patterns)
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for turn in range(-1, rounds):  # the first warms up and is not counted
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            sample = await _once(patterns[name], runner)
            if turn >= 0:
                measured[name].append(sample)
    return measured


async def _once(pattern: Pattern[Any], runner: Any) -> tuple[float, float]:
    infra = SharedInfra(budget=LIMITS, tools=[look])
    gc.collect()
    wall, cpu = perf_counter(), process_time()
    kept = await pattern.run("go", runner=runner, infra=infra)
    wall, cpu = perf_counter() - wall, process_time() - cpu
    del kept
    started = sum(event.kind == "agent_started" for event in infra.log.events())
    return wall / started * 1e6, cpu / started * 1e6
