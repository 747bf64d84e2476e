"""Agents that wait, as agents do: how near a full house of them comes to the ideal."""

from __future__ import annotations

import asyncio
from statistics import median
from time import perf_counter

from carpool import AgentOutput, AgentSpec

from .contenders import CONTENDERS, SPENT
from .report import Report, Table

__all__ = ["measure"]

SECONDS = 0.010
AT_ONCE = 100


async def _sleeper(spec: AgentSpec, task: str, runtime: object, mailbox: object) -> AgentOutput:
    await asyncio.sleep(SECONDS)
    return AgentOutput(name=spec.name, answer="done", tokens=SPENT)


def measure(*, quick: bool = False) -> Report:
    agents, rounds = (200, 1) if quick else (1_000, 9)
    times = asyncio.run(_timed(agents, rounds))
    rows = []
    for name, walls in times.items():
        # The reducer sleeps after all others; the bare pool has none.
        ideal = agents / AT_ONCE * SECONDS + (0 if name.startswith("bare") else SECONDS)
        rows.append([name, median(walls) * 1e3, ideal * 1e3, median(ideal / wall for wall in walls)])
    return Report(
        "sleepers",
        f"Sleepers: {agents:,} agents of {SECONDS * 1e3:.0f} ms, {AT_ONCE} at a time",
        [
            Table(
                ["version", "ms", "ideal ms", "share of ideal"],
                rows,
                {"ms": ".1f", "ideal ms": ".0f", "share of ideal": ".0%"},
                rule_between=False,
            )
        ],
        [],
        [f"Medians of {rounds} rounds, in turn. The ideal: every slot is asleep all the time, and sleep is exact."],
    )


async def _timed(agents: int, rounds: int) -> dict[str, list[float]]:
    items = [f"text {index}" for index in range(agents)]
    times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for turn in range(-1, rounds):
        for name, run in CONTENDERS.items():
            began = perf_counter()
            await run(items, _sleeper, AT_ONCE)
            if turn >= 0:
                times[name].append(perf_counter() - began)
    return times
