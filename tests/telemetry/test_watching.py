"""Watching a log: nothing is lost, nothing is changed, nobody waits, and it can begin and end at any moment."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import anyio
import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from carpool import (
    BudgetLimits,
    Delegator,
    EventLog,
    MapReduce,
    Pipeline,
    SharedInfra,
    Swarm,
    TokenAccounting,
    Vote,
    open_run,
)
from carpool.events import ActionEvent, AgentFinished, AgentStarted, Event, RunFinished, RunStarted
from carpool.runtime import Identity
from carpool.telemetry import Telemetry, export, instrument
from carpool.telemetry.actions import ActionFold
from carpool.telemetry.measures import Measures
from carpool.telemetry.spans import SpanFold
from carpool.testing import Ended, Reply, ScriptedRunner, VirtualClock, cancel_at_every_await

from ..scenes import assert_nothing_left, spec, specs, tokens
from .seen import Seen, assert_well_formed, error_of, no_complaints


@pytest.fixture
def seen() -> Iterator[Seen]:
    seen = Seen()
    with no_complaints():
        yield seen
    assert_well_formed(seen)


async def look(word: str) -> str:
    if word == "bad":
        raise OSError("gone")
    return word


class Scene:
    """A nested team with tools, a retry, a failure, a refusal and a delegation, under a tight budget."""

    def __init__(self, clock: VirtualClock) -> None:
        self.infra = SharedInfra(clock=clock, tools=[look], budget=BudgetLimits(max_total_tokens=700, max_agents=9))
        self.plain = ScriptedRunner(
            {
                "main": Reply(does=self.delegates, spends=tokens(30), after_s=1),
                "a": Reply(does=self.looks, spends=tokens(90), after_s=3),
                "b": [Reply(raises=OSError("x"), after_s=1, spends=tokens(80)), Reply(spends=tokens(70), after_s=1)],
                "c": Reply(raises=ValueError("no"), after_s=2, spends=tokens(60)),
            },
            default=Reply(spends=tokens(50), after_s=1),
        )
        self.runner: Any = self.plain
        estimate = tokens(90)
        members = [spec(name, retries=int(name == "b"), estimate=estimate, tools=["look"]) for name in "abcd"]
        self.team = Pipeline(
            [
                Delegator(spec("main"), {"panel": Vote(members, max_concurrent=2)}),
                Swarm([spec("x", estimate=estimate), spec("y", estimate=estimate)], "parallel"),
                spec("last", estimate=estimate),
            ],
            name="team",
        )

    async def delegates(self, agent, task, runtime, mailbox) -> str:
        return await runtime.call_tool("delegate", specialist="panel", task="sub")

    async def looks(self, agent, task, runtime, mailbox) -> str:
        for word in ("good", "bad"):
            try:
                await runtime.call_tool("look", word=word)
            except Exception as error:
                return str(error)
        return "never"

    async def run(self) -> Any:
        return await self.team.run("t", runner=self.runner, infra=self.infra, run_id="r")


def told(log: EventLog) -> list[dict[str, Any]]:
    """Events as plain values, with the ids that chance gave them replaced by the order of their coming."""
    ids: dict[str, str] = {}
    plain = [msgspec.to_builtins(event) for event in log.events()]
    for event in plain:
        for name in ("proposal", "action"):
            if event.get(name):
                event[name] = ids.setdefault(event[name], str(len(ids)))
    return plain


def timeless(value: Any) -> Any:
    """A result without the wall times that outcomes have of themselves."""
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if key != "timestamp"}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def test_a_run_that_is_watched_goes_as_one_that_is_not(seen: Seen) -> None:
    def play(watched: bool) -> tuple[Any, ...]:
        clock = VirtualClock()
        scene = Scene(clock)

        async def main() -> Any:
            if not watched:
                return await scene.run()
            with instrument(scene.infra, **seen.providers) as telemetry:
                scene.runner = telemetry.runner(scene.plain, content=True)
                return await scene.run()

        result = clock.run(main)
        calls = [(call.agent, call.task, call.began, call.ended, call.end) for call in scene.plain.bill.calls]
        return told(scene.infra.log), timeless(msgspec.to_builtins(result)), calls, clock.monotonic()

    assert play(True) == play(False)
    assert len(seen.ended) > 10


@pytest.mark.parametrize("how", ["task", "scope"])
def test_wherever_it_is_cancelled_every_span_has_its_end(how: Any) -> None:
    class Cancelled(Scene):
        def __init__(self, clock: VirtualClock) -> None:
            super().__init__(clock)
            self.seen = Seen()

        async def run(self) -> Any:
            with instrument(self.infra, **self.seen.providers) as telemetry:
                self.runner = telemetry.runner(self.plain, content=True)
                result = None
                try:
                    result = await super().run()
                finally:
                    # Before it is closed: the run itself has told of every end.
                    assert len(self.seen.begun) == len(self.seen.ended)
                    assert telemetry.failures == 0
                return result

        def check(self, ended: Ended) -> None:
            assert_nothing_left(self.infra)
            assert_well_formed(self.seen)
            assert all((error_of(span) or ("",))[0] != "unfinished" for span in self.seen.ended)
            started = len([event for event in self.infra.log.events(kind="agent_started") if event.attempt == 1])
            assert len([span for span in self.seen.ended if span.name.startswith("invoke_agent")]) == started

    with no_complaints():
        assert cancel_at_every_await(Cancelled, how=how) > 15


# Beginning and ending in the middle


def moments() -> list[float]:
    return [0.5, 1.5, 2.5, 4.5, 6.5]


@pytest.mark.parametrize("at", moments())
def test_a_run_that_is_instrumented_half_way_is_told_of_from_its_beginning(seen: Seen, at: float) -> None:
    whole, half = Seen(), Seen()
    clock = VirtualClock()
    scene = Scene(clock)

    async def main() -> None:
        with instrument(scene.infra, **whole.providers):
            async with anyio.create_task_group() as group:
                group.start_soon(scene.run)
                await anyio.sleep(at)
                group.start_soon(later)

    async def later() -> None:
        with instrument(scene.infra, **half.providers):
            await anyio.sleep(60)

    clock.run(main)
    assert_well_formed(half)
    assert half.tree() == whole.tree()
    assert [span.start_time for span in half.begun] == [span.start_time for span in whole.begun]
    assert [error_of(span) for span in half.ended] == [error_of(span) for span in whole.ended]


@pytest.mark.parametrize("at", moments())
def test_what_is_open_when_it_is_closed_is_ended_and_says_so(seen: Seen, at: float) -> None:
    clock = VirtualClock()
    scene = Scene(clock)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            with instrument(scene.infra, **seen.providers) as telemetry:
                group.start_soon(scene.run)
                await anyio.sleep(at)
            telemetry.close()  # once more does nothing

    clock.run(main)
    unfinished = [span for span in seen.ended if (error_of(span) or ("",))[0] == "unfinished"]
    assert error_of(seen.span("invoke_workflow team")) == (
        "unfinished",
        "telemetry was closed while this was still open",
    )
    assert all(span in unfinished or span.end_time <= seen.ended[-1].end_time for span in seen.ended)
    assert len(scene.infra.log) > 20  # the run went on


async def test_runs_that_ended_before_are_left_to_export(seen: Seen) -> None:
    infra = SharedInfra()
    runner = ScriptedRunner(default="x")
    await Vote([spec("a")], name="before").run("t", runner=runner, infra=infra)
    with instrument(infra, **seen.providers):
        await Vote([spec("a")], name="after").run("t", runner=runner, infra=infra)

    assert seen.tree() == ["invoke_workflow after", "  invoke_agent a"]
    assert infra.log._wakers == set()


async def test_a_run_that_began_before_lies_in_nobodys_span(seen: Seen) -> None:
    infra, other = SharedInfra(), Seen()
    tracer = seen.tracers.get_tracer("mine")
    async with open_run(runner=ScriptedRunner(default="x"), infra=infra) as run:
        with tracer.start_as_current_span("request"), instrument(infra, **seen.providers):
            await run.agent(spec("a"), "t")
    with tracer.start_as_current_span("request"):
        export(infra.log, tracer_provider=other.tracers)

    assert seen.tree() == ["request", "invoke_workflow run", "  invoke_agent a", "request"]
    assert other.tree() == ["invoke_workflow run", "  invoke_agent a"]


async def test_two_may_watch_at_once(seen: Seen) -> None:
    infra, other = SharedInfra(), Seen()
    with instrument(infra, **seen.providers), instrument(infra, **other.providers):
        await Vote([spec("a")]).run("t", runner=ScriptedRunner(default="x"), infra=infra)

    assert seen.tree() == other.tree() == ["invoke_workflow vote", "  invoke_agent a"]


# A stored run


def test_a_stored_run_has_the_spans_that_the_live_one_had(seen: Seen, tmp_path: Path) -> None:
    clock = VirtualClock()
    scene = Scene(clock)

    async def main() -> None:
        with instrument(scene.infra, **seen.providers):
            await scene.run()

    clock.run(main)
    scene.infra.log.to_jsonl(tmp_path / "run.jsonl")
    stored = Seen()
    export(EventLog.from_jsonl(tmp_path / "run.jsonl"), tracer_provider=stored.tracers)

    def everything(of: Seen) -> list[Any]:
        return [
            (span.name, span.start_time, span.end_time, span.attributes, error_of(span), of.parent(span),
             [(event.name, event.timestamp, event.attributes) for event in span.events])
            for span in of.ended
        ]  # fmt: skip

    assert everything(stored) == everything(seen)


def test_a_log_that_ends_too_early_has_open_ends_that_say_so(seen: Seen) -> None:
    clock = VirtualClock()
    scene = Scene(clock)
    clock.run(scene.run)
    events = scene.infra.log.events()

    for length in range(len(events)):
        cut = Seen()
        export(events[:length], tracer_provider=cut.tracers)
        assert_well_formed(cut)
    assert error_of(cut.span("invoke_workflow team")) == ("unfinished", "the log ends while this was still open")


def test_a_kind_from_a_later_version_says_nothing(seen: Seen, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text('{"kind":"agent_dreamt","run":"r","agent":"a"}\n{"kind":"run_started","run":"r","pattern":"p"}\n')
    export(EventLog.from_jsonl(path), tracer_provider=seen.tracers)

    assert seen.tree() == ["invoke_workflow p"]


# What a provider may do to it


class Held(SpanExporter):
    """Exports nothing until it is let go."""

    def __init__(self) -> None:
        self.go = Flag()
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Any) -> SpanExportResult:
        assert self.go.wait(30)
        self.spans += spans
        return SpanExportResult.SUCCESS


async def test_a_slow_exporter_behind_a_batch_holds_up_no_run() -> None:
    slow, infra = Held(), SharedInfra()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(slow, schedule_delay_millis=1, max_export_batch_size=16))
    with instrument(infra, tracer_provider=provider) as telemetry:
        # If anything here waited for the exporter, it would wait for ever.
        team = MapReduce(spec("m"), spec("r"))
        runner = telemetry.runner(ScriptedRunner(default="x"))
        await team.run("t", runner=runner, infra=infra, items=[str(n) for n in range(200)])
    assert slow.spans == []

    slow.go.set()
    provider.shutdown()
    assert len(slow.spans) == 202


class Broken(SpanProcessor):
    def __init__(self, *names: str) -> None:
        for name in names:
            setattr(self, name, self._breaks)

    def _breaks(self, *arguments: Any, **named: Any) -> None:
        raise RuntimeError("this processor is broken")


@pytest.mark.parametrize("names", [["on_start"], ["on_end"], ["on_start", "on_end"]])
async def test_a_processor_that_raises_fails_no_run(names: list[str], caplog: pytest.LogCaptureFixture) -> None:
    results = []
    for watched in (False, True):
        infra = SharedInfra()
        runner: Any = ScriptedRunner({"b": Reply(raises=OSError("x"))}, default="x")
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(Broken(*names))
        if watched:
            with instrument(infra, tracer_provider=provider) as telemetry:
                runner = telemetry.runner(runner, content=True)
                results.append(await Vote(specs("a b c")).run("t", runner=runner, infra=infra))
            assert telemetry.failures > 1
        else:
            results.append(await Vote(specs("a b c")).run("t", runner=runner, infra=infra))

    assert [output.error for output in results[0].outputs] == [output.error for output in results[1].outputs]
    said = [record for record in caplog.records if record.name == "carpool.telemetry"]
    assert [record.levelno for record in said] == [logging.ERROR]  # once
    assert "this processor is broken" in caplog.text


async def test_without_a_provider_it_costs_little_and_says_nothing() -> None:
    infra = SharedInfra()
    with instrument(infra) as telemetry:
        runner = telemetry.runner(ScriptedRunner(default="x"), content=True)
        await Vote([spec("a")]).run("t", runner=runner, infra=infra)

    assert telemetry.failures == 0


async def test_a_provider_that_samples_everything_away_is_no_trouble() -> None:
    infra = SharedInfra()
    with no_complaints(), instrument(infra, tracer_provider=TracerProvider(sampler=ALWAYS_OFF)) as telemetry:
        runner = telemetry.runner(ScriptedRunner(default="x"), content=True)
        await Vote([spec("a")]).run("t", runner=runner, infra=infra)

    assert telemetry.failures == 0


class Appending(SpanProcessor):
    """Itself appends to the log that is watched, in the middle of the telling."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def on_end(self, span: ReadableSpan) -> None:
        if span.name.startswith("invoke_agent"):
            self._log.append(RunStarted(run="other", pattern="other"))
            self._log.append(RunFinished(run="other", pattern="other"))


async def test_a_processor_may_append_to_the_log_it_is_fed_from(seen: Seen) -> None:
    infra = SharedInfra()
    seen.tracers.add_span_processor(Appending(infra.log))
    with instrument(infra, **seen.providers):
        await Vote([spec("a")]).run("t", runner=ScriptedRunner(default="x"), infra=infra)

    assert sorted(span.name for span in seen.ended) == [
        "invoke_agent a",
        "invoke_workflow other",
        "invoke_workflow vote",
    ]


# Threads


def test_what_threads_append_at_once_is_told_of_once_and_in_order(seen: Seen) -> None:
    infra = SharedInfra()
    threads, agents = 8, 150

    def work(number: int) -> None:
        run = f"run{number}"
        infra.log.append(RunStarted(run=run, pattern=run))
        for index in range(agents):
            place = {"run": run, "agent": f"a{index}", "path": f"{run}/a{index}", "timestamp": infra.clock.now()}
            infra.log.add(AgentStarted(**place))
            infra.log.add(AgentFinished(**place, tokens=TokenAccounting(input_tokens=1)))
        infra.log.append(RunFinished(run=run, pattern=run))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with instrument(infra, **seen.providers) as telemetry:
            workers = [Thread(target=work, args=(number,)) for number in range(threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            # Before it is closed: whoever appended last has seen to it that all was told of.
            assert len(seen.ended) == threads * (agents + 1)
    finally:
        sys.setswitchinterval(interval)

    assert telemetry.failures == 0
    assert seen.metrics()["carpool.budget.spent.tokens"]["input",] == threads * agents


def test_runs_in_threads_share_what_watches_them(seen: Seen) -> None:
    infra = SharedInfra()
    team = Pipeline(specs("a b"))

    with instrument(infra, **seen.providers) as telemetry:

        def work() -> None:
            team.run_sync("t", runner=telemetry.runner(ScriptedRunner(default=Reply(after_s=0.001))), infra=infra)

        workers = [Thread(target=work) for _ in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    assert len({span.context.trace_id for span in seen.ended}) == 6
    assert len(seen.ended) == 18


class Slow(SpanProcessor):
    """Holds up the thread that ends a span of this name until it is let go."""

    def __init__(self, name: str) -> None:
        self.entered, self.go = Flag(), Flag()
        self._name = name

    def on_end(self, span: ReadableSpan) -> None:
        if span.name == self._name:
            self.entered.set()
            assert self.go.wait(30)


def test_while_one_thread_is_held_up_others_append_without_waiting(seen: Seen) -> None:
    infra, slow = SharedInfra(), Slow("invoke_workflow slow")
    seen.tracers.add_span_processor(slow)

    def append(run: str) -> None:
        infra.log.append(RunStarted(run=run, pattern=run))
        infra.log.append(RunFinished(run=run, pattern=run))

    with instrument(infra, **seen.providers):
        held = Thread(target=append, args=("slow",))
        held.start()
        assert slow.entered.wait(30)
        append("quick")  # returns, though nobody can tell of it at present
        assert [span.name for span in seen.begun] == ["invoke_workflow slow"]
        slow.go.set()
        held.join()
        assert [span.name for span in seen.begun] == ["invoke_workflow slow", "invoke_workflow quick"]


def test_what_is_appended_while_a_runner_looks_for_its_span_is_not_left_lying(seen: Seen) -> None:
    class Looking(SpanFold):
        entered, go = Flag(), Flag()

        def agent(self, run: str, path: str) -> Any:
            self.entered.set()
            assert self.go.wait(30)
            return super().agent(run, path)

    infra = SharedInfra()
    fold = Looking(seen.tracers.get_tracer("t"))
    with Telemetry(infra, fold, Measures(seen.meters.get_meter("t"))) as telemetry:
        looks = Thread(target=telemetry.place_of, args=(Identity(run="r", path="r/a"),))
        looks.start()
        assert fold.entered.wait(30)
        infra.log.append(RunStarted(run="r", pattern="r"))
        infra.log.append(RunFinished(run="r", pattern="r"))
        fold.go.set()
        looks.join()
        assert len(seen.ended) == 1


def test_the_types_that_are_told_of_are_all_that_there_are() -> None:
    """A new kind of event wants a decision here: what it is in a trace, or that it is nothing."""
    tracer = TracerProvider().get_tracer("t")
    known = {*SpanFold(tracer)._tellers, *ActionFold(tracer, None)._tellers}
    silent = {"proposal_received", "action_validated", "state_snapshot", "unknown"}

    def leaves(kind: type[Event]) -> Iterator[type[Event]]:
        below = [each for each in kind.__subclasses__() if each.__module__ == "carpool.events"]
        yield from (leaf for each in below for leaf in leaves(each)) if below else [kind]

    untold = {leaf.kind for leaf in leaves(Event) if leaf not in known and isinstance(leaf.kind, str) and leaf.kind}
    assert untold <= silent | {ActionEvent.kind}
