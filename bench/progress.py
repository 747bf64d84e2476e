"""What it costs to watch: ten thousand agents with the live view of ``carpool run`` on a terminal, and without."""

from __future__ import annotations

import gc
import io
from contextlib import redirect_stderr
from functools import partial
from statistics import median
from time import perf_counter

import anyio
from rich.console import Console

from carpool import AgentSpec, MapReduce, SharedInfra
from carpool.cli.assembly import Assembly
from carpool.cli.coordinate import coordinate
from carpool.cli.live_report import LiveReport
from carpool.cli.terminal import Screen

from .contenders import LIMITS, no_op
from .report import Report, Table, Target

__all__ = ["measure"]

ALLOWED = 1.5


def measure(*, quick: bool = False) -> Report:
    agents, rounds = (300, 3) if quick else (10_000, 9)
    times: dict[str, list[float]] = {"unwatched": [], "drawn live": []}
    for turn in range(-1, rounds):  # the first warms up and is not counted
        for name in times if turn % 2 else reversed(times):
            wall = _once(agents, live=name == "drawn live")
            if turn >= 0:
                times[name].append(wall / agents * 1e6)
    ratio = median(live / without for live, without in zip(times["drawn live"], times["unwatched"], strict=True))
    return Report(
        "progress",
        f"Progress: {agents:,} no-op agents in a map-reduce, µs per agent",
        [
            Table(
                ["run", "wall µs"],
                [[name, median(walls)] for name, walls in times.items()],
                {"wall µs": ".1f"},
                rule_between=False,
            )
        ],
        [Target(f"drawn live ≤ {ALLOWED:g} × unwatched", f"{ratio:.2f}", ratio <= ALLOWED)],
        [f"Medians of {rounds} rounds, in turn, in one process. Drawn five times a second on a terminal in memory."],
    )


def _once(agents: int, *, live: bool) -> float:
    gc.collect()
    pattern = MapReduce(AgentSpec("mapper", ""), AgentSpec("reducer", ""), 64)
    infra, items = SharedInfra(budget=LIMITS), ["item"] * agents
    if not live:
        began = perf_counter()
        anyio.run(partial(pattern.run, "t", runner=no_op, infra=infra, items=items))
        return perf_counter() - began
    work = Assembly(pattern=pattern, task="t", names=[], inputs={"items": items})
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=40)
    with redirect_stderr(io.StringIO()):
        report = LiveReport(Screen(), console, work, LIMITS, None, agents + 1)
    began = perf_counter()
    anyio.run(partial(coordinate, work, no_op, infra, report))
    wall = perf_counter() - began
    report.close()
    return wall
