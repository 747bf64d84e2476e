"""What carpool costs per agent, beside the work of the agent: time, memory, tasks."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter, process_time
from typing import Any

from carpool import AgentOutput, AgentSpec

from .contenders import BARE, BY_HAND, CARPOOL, CONTENDERS, no_op, waits_once
from .report import Report, Table, Target

__all__ = ["measure"]

AT_ONCE = 8


@dataclass(frozen=True)
class Case:
    agents: int
    runner: Any
    title: str


@dataclass
class Times:
    """µs per agent, one number for each round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


Measured = dict[tuple[Case, str], Times]


def measure(*, quick: bool = False) -> Report:
    sizes = (100, 300, 1_000) if quick else (1_000, 10_000, 100_000)
    # So many agents of each kind are measured in a round, in one go or in several.
    rounds, agents_per_round = (2, 1_000) if quick else (9, 20_000)
    small, middle, large = (Case(size, no_op, f"{size:,}") for size in sizes)
    waiting = Case(middle.agents, waits_once, f"{middle.agents:,}, each waits once")
    cases = [small, middle, large, waiting]
    measured = asyncio.run(_timed(cases, rounds, agents_per_round))
    memory = {name: asyncio.run(_memory(name, middle.agents)) for name in CONTENDERS}
    tasks = {name: asyncio.run(_most_tasks(name, small.agents)) for name in CONTENDERS}

    times = Table(
        ["agents", "version", "wall µs", "CPU µs", "by hand = 1", "bare = 1"],
        [
            [
                case.title,
                name,
                median(measured[case, name].wall),
                median(measured[case, name].cpu),
                _ratio(measured, case, name, BY_HAND),
                _ratio(measured, case, name, BARE),
            ]
            for case in cases
            for name in CONTENDERS
        ],
        {"wall µs": ".2f", "CPU µs": ".2f", "by hand = 1": ".2f", "bare = 1": ".2f"},
    )
    space = Table(
        ["version", "peak bytes per agent", "kept beyond output and events", "tasks at most"],
        [[name, memory[name].peak, memory[name].beyond, tasks[name]] for name in CONTENDERS],
        {"peak bytes per agent": ",.0f", "kept beyond output and events": ",.0f"},
        rule_between=False,
    )

    ratio = _ratio(measured, middle, CARPOOL, BY_HAND)
    waiting_ratio = _ratio(measured, waiting, CARPOOL, BY_HAND)
    both_sizes = zip(measured[large, CARPOOL].cpu, measured[small, CARPOOL].cpu, strict=True)
    growth = median(at_large / at_small for at_large, at_small in both_sizes)
    beyond = memory[CARPOOL].beyond or 0.0
    return Report(
        "overhead",
        f"Overhead: a no-op agent, {AT_ONCE} at a time, per agent",
        [times, space],
        [
            Target(f"no dearer than by hand at {middle.title}: ratio ≤ 1.0", f"{ratio:.2f}", ratio <= 1.0),
            Target("the same, of agents that wait once", f"{waiting_ratio:.2f}", waiting_ratio <= 1.0),
            Target(f"{large.title} agents within 1.3 of {small.title}, per agent", f"{growth:.2f}", growth <= 1.3),
            Target("memory per finished agent ≤ 2 KB beyond output and events", f"{beyond:,.0f} B", beyond <= 2048),
            Target(
                f"never more tasks than max_concurrent ({AT_ONCE}) + a constant (4)",
                f"{tasks[CARPOOL]:,}",
                tasks[CARPOOL] <= AT_ONCE + 4,
            ),
        ],
        [
            f"Medians of {rounds} rounds in one process and one event loop, in turn, gc on. Ratios are medians of the",
            "CPU ratios of a round. By hand there is no budget and no log, and one error takes all down; bare is",
            "nothing but the calls. An agent that waits once gives way to the loop for an instant, the least that any",
            "real one does: only then do more agents than slots stand before the semaphore. Memory is tracemalloc's,",
            "in a pass of its own, when all but the reducer are done.",
        ],
    )


async def _timed(cases: list[Case], rounds: int, agents_per_round: int) -> Measured:
    items = [f"text {index}" for index in range(max(case.agents for case in cases))]
    measured: Measured = {(case, name): Times() for case in cases for name in CONTENDERS}
    names = list(CONTENDERS)
    for turn in range(-1, rounds):  # the first warms up and is not counted
        for case in cases:
            samples = {name: Times() for name in names}
            for again in range(max(1, agents_per_round // case.agents) if turn >= 0 else 1):
                for place in range(len(names)):
                    name = names[(place + again + turn) % len(names)]
                    wall, cpu = await _once(name, items[: case.agents], case.runner)
                    samples[name].wall.append(wall)
                    samples[name].cpu.append(cpu)
            if turn >= 0:
                for name in names:
                    measured[case, name].wall.append(median(samples[name].wall))
                    measured[case, name].cpu.append(median(samples[name].cpu))
    return measured


async def _once(name: str, items: list[str], runner: Any) -> tuple[float, float]:
    run = CONTENDERS[name]
    gc.collect()
    wall, cpu = perf_counter(), process_time()
    kept = await run(items, runner, AT_ONCE)
    wall, cpu = perf_counter() - wall, process_time() - cpu
    del kept  # after the clock has stopped: what is done with the result is not the pattern's cost
    return wall / len(items) * 1e6, cpu / len(items) * 1e6


def _ratio(measured: Measured, case: Case, name: str, to: str) -> float:
    pairs = zip(measured[case, name].cpu, measured[case, to].cpu, strict=True)
    return median(one / other for one, other in pairs)


@dataclass(frozen=True)
class Memory:
    """Bytes per agent; ``beyond`` is what was alive when all had ended, less what outputs and events take."""

    peak: float
    beyond: float | None


async def _memory(name: str, size: int) -> Memory:
    items = [f"text {index}" for index in range(size)]
    at_the_end = 0

    async def runner(spec: AgentSpec, task: str, runtime: object, mailbox: object) -> AgentOutput:
        nonlocal at_the_end
        if spec.name == "reducer":
            gc.collect()
            at_the_end = tracemalloc.get_traced_memory()[0]
        return await no_op(spec, task, runtime, mailbox)

    await CONTENDERS[name](items[:100], no_op, AT_ONCE)  # caches and lazy imports
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = await CONTENDERS[name](items, runner, AT_ONCE)
        peak = tracemalloc.get_traced_memory()[1] - before
        if name != CARPOOL:
            return Memory(peak / size, None)
        result, infra = kept
        # Outputs and events alone: everything else that the run made is dropped.
        kept = (list(result.outputs), infra.log.events())
        del result, infra
        gc.collect()
        alone = tracemalloc.get_traced_memory()[0] - before
        return Memory(peak / size, (at_the_end - before - alone) / size)
    finally:
        tracemalloc.stop()


async def _most_tasks(name: str, size: int) -> int:
    most = 0

    async def runner(spec: AgentSpec, task: str, runtime: object, mailbox: object) -> AgentOutput:
        nonlocal most
        most = max(most, len(asyncio.all_tasks()))
        return await waits_once(spec, task, runtime, mailbox)

    await CONTENDERS[name]([f"text {index}" for index in range(size)], runner, AT_ONCE)
    return most
