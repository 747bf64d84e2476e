"""What telemetry costs per agent: nothing watches, spans that nobody records, and the SDK with its processors."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from statistics import median
from time import process_time
from typing import Any

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider

from carpool import MapReduce, SharedInfra
from carpool.telemetry import Telemetry, instrument

from .contenders import LIMITS, MAPPER, TASK, no_op
from .handwritten import REDUCER
from .report import Report, Table

__all__ = ["measure"]

AT_ONCE = 8
WITHOUT = "without"

Watch = Callable[[SharedInfra], AbstractContextManager[Telemetry | None]]


class _Dropped(SpanExporter):
    """Takes spans and keeps none, so that only the way to it is measured."""

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def _with_sdk(processor: Callable[[], SpanProcessor], *, metrics: bool = False) -> Watch:
    def watch(infra: SharedInfra) -> AbstractContextManager[Telemetry]:
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(processor())
        meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False) if metrics else NoOpMeterProvider()
        return instrument(infra, tracer_provider=tracers, meter_provider=meters)

    return watch


TRACED = "SDK, spans in memory, content by telemetry.runner"
CONTENDERS: dict[str, Watch] = {
    WITHOUT: lambda infra: nullcontext(),
    "instrument(), API without an SDK": lambda infra: instrument(
        infra, tracer_provider=NoOpTracerProvider(), meter_provider=NoOpMeterProvider()
    ),
    "SDK, spans in batches": _with_sdk(lambda: BatchSpanProcessor(_Dropped())),
    "SDK, spans in memory": _with_sdk(lambda: SimpleSpanProcessor(InMemorySpanExporter())),
    TRACED: _with_sdk(lambda: SimpleSpanProcessor(InMemorySpanExporter())),
    "SDK, spans and metrics in memory": _with_sdk(lambda: SimpleSpanProcessor(InMemorySpanExporter()), metrics=True),
}


def measure(*, quick: bool = False) -> Report:
    agents, rounds = (200, 2) if quick else (5_000, 15)
    times = asyncio.run(_timed(agents, rounds))
    beyond = {
        name: median(one - plain for one, plain in zip(cpu, times[WITHOUT], strict=True)) for name, cpu in times.items()
    }
    return Report(
        "telemetry",
        f"Telemetry: a no-op agent through the door, {AT_ONCE} at a time, per agent",
        [
            Table(
                ["telemetry", "CPU µs", "beyond without"],
                [[name, median(cpu), beyond[name]] for name, cpu in times.items()],
                {"CPU µs": ".1f", "beyond without": ".1f"},
                rule_between=False,
            )
        ],
        [],
        [
            f"Medians of {rounds} rounds of a map-reduce over {agents:,} items, in turn, in one process, gc on. CPU",
            "time of all threads: what a batch exports in its own counts too. An agent is a span with two events.",
        ],
    )


async def _timed(agents: int, rounds: int) -> dict[str, list[float]]:
    """µs per agent, one number for each round."""
    items = [f"text {index}" for index in range(agents)]
    times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    names = list(CONTENDERS)
    for turn in range(-1, rounds):  # the first warms up and is not counted
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            cpu = await _once(name, items)
            if turn >= 0:
                times[name].append(cpu)
    return times


async def _once(name: str, items: list[str]) -> float:
    infra, team = SharedInfra(budget=LIMITS), MapReduce(MAPPER, REDUCER, max_concurrent=AT_ONCE)
    gc.collect()
    with CONTENDERS[name](infra) as telemetry:
        traced = name == TRACED and telemetry is not None
        runner = telemetry.runner(no_op, content=True) if traced else no_op
        began = process_time()
        await team.run(TASK, items=items, runner=runner, infra=infra)
        return (process_time() - began) / len(items) * 1e6
