"""What a tool call costs beside its tool: checked, asked about and logged, against starts of an agent."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from statistics import median
from time import perf_counter
from typing import Any

from carpool import AgentSpec, Runtime, SharedInfra, open_run
from carpool.actions import ToolSchema
from carpool.policy import PolicyEngine, deny_tool_param

from .contenders import LIMITS, no_op
from .report import Report, Table, Target

__all__ = ["measure"]

START = "a start of a no-op agent through the door"
BY_SIGNATURE = "call_tool, schema from the signature"
BY_SCHEMA = "call_tool, JSON Schema by hand"
ALLOWED_STARTS = 3.0

_SCHEMA = {
    "type": "object",
    "properties": {"word": {"type": "string"}, "count": {"type": "integer", "minimum": 0}},
    "required": ["word"],
    "additionalProperties": False,
}
Once = Callable[[], Awaitable[object]]


async def by_signature(word: str, count: int = 0) -> None:
    """Do nothing."""


async def by_schema(**arguments: Any) -> None:
    """Do nothing."""


def measure(*, quick: bool = False) -> Report:
    calls, rounds = (200, 3) if quick else (2_000, 25)
    times = asyncio.run(_timed(calls, rounds))
    ratios = {
        name: median(one / start for one, start in zip(walls, times[START], strict=True))
        for name, walls in times.items()
    }
    return Report(
        "tools",
        "Tools: one call of a no-op function, with a schema, a policy and its events",
        [
            Table(
                ["what", "wall µs", "in starts"],
                [[name, median(walls), ratios[name]] for name, walls in times.items()],
                {"wall µs": ".1f", "in starts": ".2f"},
                rule_between=False,
            )
        ],
        [
            Target(f"{name} ≤ {ALLOWED_STARTS:g} starts", f"{ratios[name]:.2f}", ratios[name] <= ALLOWED_STARTS)
            for name in (BY_SIGNATURE, BY_SCHEMA)
        ],
        [
            f"Medians of {rounds} rounds of {calls:,} of each, in turn, in one process and one event loop, gc on; in",
            "starts is the median of the ratios of a round. The agent is budgeted and logged; a call leaves 4 events.",
        ],
    )


async def _timed(calls: int, rounds: int) -> dict[str, list[float]]:
    """µs per call, one number for each round."""
    times: dict[str, list[float]] = {START: [], BY_SIGNATURE: [], BY_SCHEMA: []}
    names = list(times)
    for turn in range(-1, rounds):  # the first warms up and is not counted
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            wall = await _once(name, calls)
            if turn >= 0:
                times[name].append(wall)
    return times


async def _once(name: str, calls: int) -> float:
    spec = AgentSpec("agent", "Do nothing.")
    infra = SharedInfra(budget=LIMITS, policies=_policies(), tools=[by_signature])
    async with open_run(runner=no_op, infra=infra) as run:
        runtime = infra.make_runtime()
        runtime.register_tool(ToolSchema(name="by_schema", parameters=_SCHEMA), by_schema)
        call = {START: lambda: run.agent(spec, "task"), BY_SIGNATURE: _call(runtime, "by_signature")}.get(
            name, _call(runtime, "by_schema")
        )
        gc.collect()
        began = perf_counter()
        for _ in range(calls):
            await call()
        return (perf_counter() - began) / calls * 1e6


def _call(runtime: Runtime, name: str) -> Once:
    return lambda: runtime.call_tool(name, word="word", count=1)


def _policies() -> PolicyEngine:
    engine = PolicyEngine()
    engine.register("no_other", deny_tool_param("other", "word", contains="rm -rf"))
    return engine
