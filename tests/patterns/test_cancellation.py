"""Every pattern, cancelled at every await: nothing is left, and nothing that was paid for is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from carpool import (
    BudgetLimits,
    CoordinationResult,
    EventLog,
    MapReduce,
    Pattern,
    Pipeline,
    SharedInfra,
    Swarm,
    Vote,
)
from carpool.testing import Ended, Reply, ScriptedRunner, VirtualClock, cancel_at_every_await

from ..scenes import NOTHING, FakeJournal, assert_keeps_what_ended, assert_nothing_left, spec, specs, tokens

ENDS = ("agent_finished", "agent_failed", "agent_cancelled", "agent_replayed")
REPLY = Reply("x", spends=tokens(10), after_s=1)
COSTS = {"estimate": tokens(10)}


class Odd(Pattern[CoordinationResult]):
    """One of a user's own: agents by hand, then a fan-out."""

    async def execute(self, run, task: str) -> CoordinationResult:
        first = await run.agent(spec("first", **COSTS), task)
        others = await run.fan_out([(each, first.answer) for each in specs("pq", **COSTS)], 2)
        return run.result(task=task, answer="done", outputs=[first, *others])


async def slowly() -> AsyncIterator[str]:
    for item in "abc":
        await anyio.sleep(0.3)
        yield item


def team(names: str, **fields: Any) -> list[Any]:
    return specs(names, **COSTS, **fields)


PATTERNS: dict[str, Callable[[], Pattern[Any]]] = {
    "map_reduce": lambda: MapReduce(*team("mr"), 2).over(items=list("abcd")),
    "map_reduce tree": lambda: MapReduce(*team("mr"), 3, fan_in=2).over(items=list("abcde")),
    "map_reduce async": lambda: MapReduce(*team("mr"), 2).over(items=slowly()),
    "map_reduce retries": lambda: MapReduce(*team("fr", retries=1), 2).over(items=list("ab")),
    "retries": lambda: Swarm([*team("fg", retries=2), *team("c")]),
    "swarm parallel": lambda: Swarm(team("abc"), synthesizer=team("s")[0]),
    "swarm slots": lambda: Swarm(team("abc"), max_concurrent=2),
    "swarm sequential": lambda: Swarm(team("abf"), "sequential", synthesizer=team("s")[0]),
    "swarm debate": lambda: Swarm([*team("ab"), spec("other", **COSTS)], "debate", rounds=3),
    "pipeline": lambda: Pipeline(team("abc")),
    "pipeline continue": lambda: Pipeline(team("afc"), "continue"),
    "vote": lambda: Vote(team("abc"), synthesizer=team("s")[0]),
    "vote one slot": lambda: Vote(team("abc"), max_concurrent=1),
    "timeouts": lambda: Swarm([*team("ab", timeout_s=0.5), *team("c")]),
    "own": Odd,
    "nested": lambda: Vote([Pipeline(team("ab")), Swarm(team("cd")), spec("e", **COSTS)]),
    "deep": lambda: Pipeline([Swarm([Pipeline(team("ab")), Vote(team("cd"))]), *team("e")]),
    "map of patterns": lambda: MapReduce(Pipeline(team("ab")), team("r")[0], 2).over(items=list("xy")),
}


class Scene:
    """A pattern that is run on its own infra; what any end of it must leave."""

    limits = BudgetLimits(max_total_tokens=10_000)
    swallows = 0

    def __init__(self, pattern: Pattern[Any], clock: VirtualClock) -> None:
        self.pattern = pattern
        self.infra = SharedInfra(budget=self.limits, clock=clock)
        reply = Reply("x", spends=tokens(10), after_s=1, swallows=self.swallows)
        self.runner = ScriptedRunner(
            {
                "f": Reply(spends=tokens(10), raises=OSError("no"), after_s=0.5),
                "g": [Reply(spends=tokens(10), raises=OSError("once")), Reply("g", spends=tokens(10), after_s=1)],
                "other": Reply("y", spends=tokens(10), after_s=2),
            },
            default=reply,
        )

    async def run(self) -> object:
        return await self.pattern.run("t", runner=self.runner, infra=self.infra)

    def check(self, ended: Ended) -> None:
        assert_nothing_left(self.infra)
        spent = self.infra.budget.snapshot().total_tokens
        assert spent == self.runner.bill.total.total_tokens
        assert self.infra.budget.snapshot().agents_started == len(self.runner.bill.calls)
        assert self.runner.bill.in_flight == 0
        ends = [event for event in self.infra.log.events() if event.kind in ENDS]
        assert sum((event.tokens or NOTHING for event in ends), NOTHING).total_tokens == spent
        finished = self.infra.log.events(kind="run_finished")
        if ended.error is None:
            assert_keeps_what_ended(self.infra.log, ended.result)
            assert finished[0].error is None
        else:
            assert isinstance(ended.error, asyncio.CancelledError)
            assert finished[0].error == "CancelledError"
            assert ended.error.usage == ended.error.partial.usage
            assert_keeps_what_ended(self.infra.log, ended.error.partial)


@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize("name", PATTERNS)
def test_at_every_await(name: str, how) -> None:
    steps = cancel_at_every_await(lambda clock: Scene(PATTERNS[name](), clock), how=how)

    assert steps >= 2


class Tight(Scene):
    """Room for two at a time: the others wait at the door, and some are refused."""

    limits = BudgetLimits(max_total_tokens=45, max_agents=5)


@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize("name", ["map_reduce", "swarm parallel", "vote", "nested", "map of patterns"])
def test_at_every_await_while_others_wait_for_room(name: str, how) -> None:
    class Tighter(Tight):
        limits = BudgetLimits(max_total_tokens=25)

    for scene in (Tight, Tighter):
        cancel_at_every_await(lambda clock, scene=scene: scene(PATTERNS[name](), clock), how=how)


class Swallowing(Scene):
    swallows = 1


@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize("name", ["map_reduce", "swarm parallel", "swarm sequential", "pipeline", "vote", "nested"])
def test_at_every_await_with_runners_that_swallow_it(name: str, how) -> None:
    cancel_at_every_await(lambda clock: Swallowing(PATTERNS[name](), clock), how=how)


@pytest.mark.parametrize("name", ["map_reduce", "swarm parallel", "pipeline", "nested"])
def test_at_every_await_cancelled_twice_in_a_row(name: str) -> None:
    cancel_at_every_await(lambda clock: Scene(PATTERNS[name](), clock), times=2)


class Streaming(Scene):
    async def run(self) -> object:
        async with aclosing(self.pattern.stream("t", runner=self.runner, infra=self.infra)) as stream:
            return [item async for item in stream][-1]

    def check(self, ended: Ended) -> None:
        assert_nothing_left(self.infra)
        assert self.runner.bill.in_flight == 0
        if ended.error is None:
            assert_keeps_what_ended(self.infra.log, ended.result)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize("name", ["swarm parallel", "pipeline"])
def test_a_stream_at_every_await(name: str, how, times: int) -> None:
    cancel_at_every_await(lambda clock: Streaming(PATTERNS[name](), clock), how=how, times=times)


class Journaled(Scene):
    def __init__(self, pattern: Pattern[Any], clock: VirtualClock) -> None:
        super().__init__(pattern, clock)
        self.journal = FakeJournal()
        self.infra = SharedInfra(budget=self.limits, clock=clock, journal=self.journal)

    def check(self, ended: Ended) -> None:
        assert self.journal.open == 0
        if len(self.infra.log):  # cancelled in the opening of the journal, nothing has begun
            super().check(ended)


@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize("name", ["map_reduce", "swarm parallel", "pipeline", "nested"])
def test_at_every_await_with_a_journal(name: str, how) -> None:
    cancel_at_every_await(lambda clock: Journaled(PATTERNS[name](), clock), how=how)


# Not at every await, but in full


async def test_a_cancelled_agent_is_told_of_with_what_its_failed_attempts_cost() -> None:
    infra = SharedInfra()
    runner = ScriptedRunner({"a": [Reply(raises=OSError, model_calls=[tokens(5)]), Reply(hangs=True)]})
    await cancelled_after(5, Swarm([spec("a", retries=2)]), runner, infra)

    assert infra.budget.snapshot().total_tokens == 5
    assert infra.log.events(kind="agent_cancelled")[0].tokens == tokens(5)


async def cancelled_after(seconds: float, pattern: Pattern[Any], runner: ScriptedRunner, infra: SharedInfra) -> Any:
    """The error of a run that is cancelled natively."""
    task = asyncio.get_running_loop().create_task(pattern.run("t", runner=runner, infra=infra))
    await anyio.sleep(seconds)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    try:
        task.result()
    except asyncio.CancelledError as error:
        return error


async def test_what_had_finished_in_a_nested_pattern_is_on_the_partial() -> None:
    infra = SharedInfra()
    runner = ScriptedRunner({"b": Reply(hangs=True)}, default=Reply("paid for", spends=tokens(7)))
    error = await cancelled_after(5, Vote([Pipeline(specs("ab")), spec("c")]), runner, infra)

    assert error.usage == tokens(14)
    assert_keeps_what_ended(infra.log, error.partial)


@pytest.mark.parametrize("swallows", [1, 2, 3, 7])
@pytest.mark.parametrize(
    "name", ["map_reduce", "swarm parallel", "swarm sequential", "swarm debate", "pipeline", "vote"]
)
async def test_a_runner_that_swallows_does_not_stop_the_run_from_ending_cancelled(name: str, swallows: int) -> None:
    infra = SharedInfra()
    runner = ScriptedRunner(default=Reply("kept", after_s=20, swallows=swallows))
    error = await cancelled_after(5, PATTERNS[name](), runner, infra)

    assert error.partial is not None
    assert_keeps_what_ended(infra.log, error.partial)
    assert infra.log.events(kind="run_finished")[0].error == "CancelledError"


@pytest.mark.parametrize("name", PATTERNS)
async def test_a_timeout_around_a_run_ends_it_and_only_it(name: str, clock: VirtualClock) -> None:
    infra = SharedInfra(clock=clock)
    with anyio.move_on_after(0.25) as scope:
        await PATTERNS[name]().run("t", runner=ScriptedRunner(default=Reply(hangs=True)), infra=infra)

    assert scope.cancelled_caught
    assert clock.monotonic() == pytest.approx(0.25)
    await anyio.sleep(1)


async def test_a_run_beside_one_that_is_cancelled_goes_on() -> None:
    infra = SharedInfra()
    runner = ScriptedRunner(default=REPLY)
    async with anyio.create_task_group() as group:
        with anyio.move_on_after(0.5):
            await Swarm(specs("ab")).run("t", runner=runner, infra=infra)
        result = await Swarm(specs("ab")).run("t", runner=runner, infra=infra)
        group.cancel_scope.cancel()

    assert result.all_succeeded


async def test_a_run_id_is_on_the_partial(clock: VirtualClock) -> None:
    log = EventLog()
    error = await cancelled_after(1, Swarm(specs("a")), ScriptedRunner(default=Reply(hangs=True)), SharedInfra(log=log))

    assert error.partial.run_id == log.events()[0].run
    assert isinstance(error.partial, CoordinationResult)
