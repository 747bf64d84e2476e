"""A team on a budget that lies on a ledger: the loop goes on while that is asked and told, and nothing is lost."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from contextlib import suppress
from threading import Event
from typing import Any

import anyio
import pytest

from carpool import AgentOutput, BudgetLimits, CoordinationBudget, CoordinationResult, SharedInfra, Swarm, open_run
from carpool.budget.ledger import Changes
from carpool.durable import MemoryJournal
from carpool.errors import JournalError
from carpool.testing import Reply, ScriptedRunner

from ..budget.memory_ledger import FaultyLedger, MemoryLedger, Shelf
from ..scenes import answers, spec, specs, tokens

COST = tokens(10)


@pytest.fixture
def anyio_backend() -> str:
    """Threads take time, and a virtual clock would not wait for them."""
    return "asyncio"


class SlowLedger(MemoryLedger):
    """Its commits wait while ``open`` is not set."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.open = Event()
        self.open.set()

    def commit(self, changes: Changes) -> None:
        assert self.open.wait(10)
        super().commit(changes)


def on_a_ledger(ledger: Any = None, limit: int = 1_000, **fields: Any) -> SharedInfra:
    budget = CoordinationBudget(BudgetLimits(max_total_tokens=limit), ledger=ledger or MemoryLedger(Shelf()))
    return SharedInfra(budget=budget, **fields)


def costing(*names: str) -> ScriptedRunner:
    return ScriptedRunner({name: Reply(name.upper(), spends=COST) for name in names})


async def ticks_while(ledger: SlowLedger, work: Callable[[], Any]) -> int:
    """How often the loop got round to something else while ``work`` waited for the ledger."""
    ledger.open.clear()
    ticks = 0
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        for _ in range(50):
            await anyio.sleep(0.001)
            ticks += 1
        ledger.open.set()
    return ticks


async def test_a_team_ends_as_without_a_ledger() -> None:
    team = Swarm(specs("abc", estimate=COST))
    infra = on_a_ledger(limit=25)

    shared = await team.run("t", runner=costing("a", "b", "c"), infra=infra)
    alone = await team.run("t", runner=costing("a", "b", "c"), infra=SharedInfra(budget=infra.budget.limits))

    assert answers(shared.outputs) == answers(alone.outputs)
    assert (shared.usage, shared.stop_reason) == (alone.usage, alone.stop_reason)
    assert infra.budget.snapshot().total_tokens == 20


async def test_the_loop_goes_on_while_a_start_is_asked_for() -> None:
    ledger = SlowLedger(Shelf())
    infra = on_a_ledger(ledger)
    async with open_run(runner=costing("a"), infra=infra) as run:

        async def work() -> None:
            await run.agent(spec("a", estimate=COST), "t")

        assert await ticks_while(ledger, work) == 50


async def test_the_loop_goes_on_while_an_end_is_told() -> None:
    ledger = SlowLedger(Shelf())
    infra = on_a_ledger(ledger)
    started, end = anyio.Event(), anyio.Event()

    async def runner(spec: Any, task: str, runtime: Any, mailbox: Any) -> AgentOutput:
        started.set()
        await end.wait()
        return AgentOutput(name=spec.name, answer="A", tokens=COST)

    async with open_run(runner=runner, infra=infra) as run, anyio.create_task_group() as group:
        group.start_soon(run.agent, spec("a", estimate=COST), "t")
        await started.wait()

        async def work() -> None:
            end.set()

        assert await ticks_while(ledger, work) == 50
    assert infra.budget.snapshot().total_tokens == 10


async def test_many_starts_and_ends_share_their_transactions() -> None:
    shelf = Shelf()
    infra = on_a_ledger(MemoryLedger(shelf), limit=100_000)
    before = shelf.commits
    async with open_run(runner=costing("a"), infra=infra) as run:
        await run.fan_out([(spec("a", estimate=COST), str(number)) for number in range(200)], 64)

    assert infra.budget.snapshot().total_tokens == 2_000
    assert shelf.commits - before < 200  # instead of 400


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("times", [1, 3])
async def test_who_is_cancelled_while_an_end_is_told_keeps_its_output(native: bool, times: int) -> None:
    ledger = SlowLedger(Shelf())
    infra = on_a_ledger(ledger)
    partial: list[CoordinationResult] = []
    ends = anyio.Event()

    async def runner(spec: Any, task: str, runtime: Any, mailbox: Any) -> AgentOutput:
        ledger.open.clear()
        ends.set()
        return AgentOutput(name=spec.name, answer="A", tokens=COST)

    async def team() -> None:
        try:
            await Swarm(specs("a", estimate=COST)).run("t", runner=runner, infra=infra)
        except BaseException as error:
            partial.append(error.partial)  # type: ignore[attr-defined]
            raise

    await cancelled(team, ends, ledger.open, native=native, times=times)

    assert answers(partial[0].outputs) == ["A"]
    assert infra.budget.snapshot().total_tokens == 10


@pytest.mark.parametrize("native", [False, True])
async def test_who_is_cancelled_at_work_is_settled_at_what_it_holds(native: bool) -> None:
    ledger = SlowLedger(Shelf())
    infra = on_a_ledger(ledger)
    at_work = anyio.Event()

    async def runner(spec: Any, task: str, runtime: Any, mailbox: Any) -> str:
        at_work.set()
        await anyio.sleep_forever()
        return ""

    async def team() -> None:
        await Swarm(specs("abc", estimate=COST), "parallel").run("t", runner=runner, infra=infra)

    await cancelled(team, at_work, ledger.open, native=native)

    assert infra.budget.snapshot().total_tokens == 30
    assert infra.budget.snapshot().held.total_tokens == 0


@pytest.mark.parametrize("native", [False, True])
async def test_who_is_cancelled_while_it_is_asked_for_holds_nothing(native: bool) -> None:
    ledger = SlowLedger(Shelf())
    infra = on_a_ledger(ledger)
    ledger.open.clear()
    asked = anyio.Event()
    asked.set()
    runner = costing(*"abc")

    async def team() -> None:
        await Swarm(specs("abc", estimate=COST), "parallel").run("t", runner=runner, infra=infra)

    await cancelled(team, asked, ledger.open, native=native, times=2)

    assert runner.bill.calls == []
    assert (infra.budget.in_flight, infra.budget.snapshot().agents_started) == (0, 0)


async def cancelled(team: Callable[[], Any], when: anyio.Event, then: Event, *, native: bool, times: int = 1) -> None:
    """Run ``team``, cancel it a moment after ``when``, and open the ledger again after that."""
    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()
        tasks: list[asyncio.Task[Any]] = []

        async def work() -> None:
            tasks.append(asyncio.current_task())  # type: ignore[arg-type]
            with scope, suppress(*[asyncio.CancelledError] * native):
                await team()

        group.start_soon(work)
        await when.wait()
        for _ in range(times):
            await anyio.sleep(0.005)
            if native:
                tasks[0].cancel()
            else:
                scope.cancel()
        await anyio.sleep(0.005)
        then.set()


async def test_where_no_thread_is_to_be_had_it_is_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    infra = on_a_ledger()

    def refuse(*_: Any) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("carpool.budget.clerk.start_new_thread", refuse)
    with anyio.fail_after(5):
        result = await Swarm(specs("abc", estimate=COST)).run("t", runner=costing(*"abc"), infra=infra)

    assert answers(result.outputs) == ["A", "B", "C"]


async def test_the_loop_goes_on_while_who_is_not_asked_about_begins() -> None:
    ledger = SlowLedger(Shelf())
    infra = on_a_ledger(ledger)
    async with open_run(runner=costing("a"), infra=infra) as run:

        async def work() -> None:
            await run.agent(spec("a"), "t", gated=False)

        assert await ticks_while(ledger, work) == 50
    assert (infra.budget.snapshot().total_tokens, infra.budget.snapshot().agents_started) == (10, 0)


def test_who_is_thrown_away_while_it_waits_is_not_let_in_later() -> None:
    infra = on_a_ledger(limit=100)
    hog = infra.budget.try_begin_agent(tokens(90))

    async def main() -> None:
        async with open_run(runner=costing("a"), infra=infra) as run:
            await run.agent(spec("a", estimate=tokens(50)), "t")

    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    loop.call_later(0.1, loop.stop)
    loop.run_forever()
    loop.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task
    gc.collect()
    hog.settle(tokens(10))

    assert (infra.budget.snapshot().total_tokens, infra.budget.snapshot().agents_started) == (10, 1)
    assert infra.budget.in_flight == 0


async def test_a_ledger_that_can_not_be_written_ends_the_run_and_starts_nobody() -> None:
    ledger = FaultyLedger(MemoryLedger(Shelf()))
    infra = on_a_ledger(ledger)
    ledger.down = "commit"
    runner = costing("a")

    with pytest.raises(JournalError, match="told to fail at commit"):
        await Swarm(specs("a", estimate=COST)).run("t", runner=runner, infra=infra)

    assert runner.bill.calls == []
    ledger.down = None


async def test_an_end_that_can_not_be_written_is_written_with_the_next_step() -> None:
    ledger = FaultyLedger(MemoryLedger(Shelf()))
    infra = on_a_ledger(ledger)

    async def runner(spec: Any, task: str, runtime: Any, mailbox: Any) -> AgentOutput:
        ledger.faults = ["commit"]
        return AgentOutput(name=spec.name, answer="A", tokens=COST)

    result = await Swarm(specs("a", estimate=COST)).run("t", runner=runner, infra=infra)

    assert answers(result.outputs) == ["A"]
    assert infra.budget.snapshot().total_tokens == 10


async def test_recalling_who_is_done_asks_the_ledger_nothing() -> None:
    shelf, journal = Shelf(), MemoryJournal()
    team = Swarm(specs("abcdefgh", estimate=COST), "parallel")
    infra = on_a_ledger(MemoryLedger(shelf), journal=journal)
    await team.run("t", runner=costing(*"abcdefgh"), infra=infra, run_id="r")
    before = shelf.commits

    runner = costing()
    await team.run("t", runner=runner, infra=SharedInfra(budget=infra.budget, journal=journal), run_id="r")

    assert runner.bill.calls == []
    assert shelf.commits == before
    assert infra.budget.snapshot().total_tokens == 80
