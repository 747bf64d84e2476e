"""Many jobs through few slots: order, bounds, the budget asked when a slot opens, and sources of every kind."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from carpool import AgentSpec, BudgetLimits, Run, SharedInfra, is_budget_skipped, open_run
from carpool.testing import Reply, ScriptedRunner, VirtualClock

from ..scenes import answers, assert_nothing_left, kinds, names, spec, specs, story, tokens


def under(**limits: Any) -> SharedInfra:
    return SharedInfra(budget=BudgetLimits(**limits))


def jobs(count: int, **fields: Any) -> list[tuple[AgentSpec, str]]:
    return [(spec(f"m_{index}", role="m", **fields), "t") for index in range(count)]


async def test_results_stand_in_input_order_whoever_is_fastest() -> None:
    runner = ScriptedRunner(default=lambda who, _: Reply(who.name, after_s=10 - int(who.name[2:])))
    async with open_run(runner=runner) as run:
        outputs = await run.fan_out(jobs(10), 4)

    assert names(outputs) == answers(outputs) == [f"m_{index}" for index in range(10)]


@pytest.mark.parametrize(("slots", "count", "most"), [(1, 5, 1), (3, 10, 3), (50, 4, 4), (None, 6, 6), (7, 0, 0)])
async def test_never_more_at_work_than_slots_or_jobs(slots: int | None, count: int, most: int) -> None:
    runner = ScriptedRunner(default=Reply(after_s=1))
    async with open_run(runner=runner) as run:
        assert len(await run.fan_out(jobs(count), slots)) == count

    assert runner.bill.most_in_flight == most


@pytest.mark.parametrize("kind", ["list", "generator", "async generator"])
@pytest.mark.parametrize(("slots", "count"), [(8, 100), (100, 8), (1, 10)])
async def test_never_more_tasks_than_slots_or_jobs(kind: str, slots: int, count: int) -> None:
    before, most = len(asyncio.all_tasks()), 0

    async def look(spec, task, runtime, mailbox) -> str:
        nonlocal most
        await anyio.sleep(1)
        most = max(most, len(asyncio.all_tasks()) - before)
        return "x"

    async def slowly() -> AsyncIterator[Any]:
        for job in jobs(count):
            yield job

    source: Any = {"list": jobs(count), "generator": iter(jobs(count)), "async generator": slowly()}[kind]
    async with open_run(runner=look) as run:
        await run.fan_out(source, slots)

    assert most <= min(slots, count) + 1


@pytest.mark.parametrize("slots", [0, -1, -100, False])
async def test_no_slots_are_a_value_error(slots: int) -> None:
    async with open_run(runner=ScriptedRunner(default="x")) as run:
        with pytest.raises(ValueError, match="max_concurrent"):
            await run.fan_out(jobs(3), slots)


async def test_a_source_of_unknown_size_needs_a_bound() -> None:
    async with open_run(runner=ScriptedRunner(default="x")) as run:
        with pytest.raises(ValueError, match="max_concurrent"):
            await run.fan_out(iter(jobs(3)), None)


async def test_jobs_are_taken_when_a_slot_opens_and_not_before() -> None:
    taken: list[int] = []

    def source() -> Iterator[tuple[AgentSpec, str]]:
        for index, job in enumerate(jobs(100)):
            taken.append(index)
            yield job

    runner = ScriptedRunner(default=Reply(after_s=10))
    async with anyio.create_task_group() as group, open_run(runner=runner) as run:
        group.start_soon(run.fan_out, source(), 3)
        await anyio.sleep(5)
        assert len(taken) == 3
        await anyio.sleep(10)
        assert len(taken) == 6


async def test_the_budget_is_asked_when_a_slot_opens_not_when_the_batch_is_queued() -> None:
    infra = under(max_total_tokens=300)
    runner = ScriptedRunner(default=Reply(spends=tokens(100), after_s=10))
    async with open_run(runner=runner, infra=infra) as run:
        outputs = await run.fan_out(jobs(10), 1)

    assert [output.succeeded for output in outputs] == [True] * 3 + [False] * 7
    skipped = infra.log.events(kind="agent_skipped")
    finished = infra.log.events(kind="agent_finished")
    assert finished[2].seq < skipped[0].seq


async def test_raising_the_limits_half_way_lets_the_rest_in() -> None:
    infra = under(max_total_tokens=200)

    async def act(who, task, runtime, mailbox) -> None:
        if who.name == "m_1":
            infra.raise_limits(BudgetLimits(max_total_tokens=10_000))

    async with open_run(runner=ScriptedRunner(default=Reply(spends=tokens(100), does=act)), infra=infra) as run:
        outputs = await run.fan_out(jobs(10), 1)

    assert all(output.succeeded for output in outputs)
    assert kinds(infra.log)["limits_raised"] == 1


# Overshoot


async def test_twenty_parallel_agents_with_true_estimates_never_cross_the_limit() -> None:
    infra = under(max_total_tokens=400)
    runner = ScriptedRunner(default=Reply("x", spends=tokens(200), after_s=1))
    async with open_run(runner=runner, infra=infra) as run:
        outputs = await run.fan_out(jobs(20, estimate=tokens(200)), 20)

    assert [output.succeeded for output in outputs].count(True) == 2
    assert runner.bill.total.total_tokens == 400 == infra.budget.snapshot().total_tokens
    assert infra.budget.snapshot().overrun.total_tokens == 0
    assert all(is_budget_skipped(output) for output in outputs if not output.succeeded)


@pytest.mark.parametrize("slots", [1, 2, 5, 20])
async def test_without_estimates_only_what_is_in_flight_overshoots_and_all_of_it_is_kept(slots: int) -> None:
    infra = under(max_total_tokens=400)
    runner = ScriptedRunner(default=Reply("x", spends=tokens(200), after_s=1))
    async with open_run(runner=runner, infra=infra) as run:
        outputs = await run.fan_out(jobs(20), slots)

    spent = runner.bill.total.total_tokens
    assert spent == infra.budget.snapshot().total_tokens
    assert sum(output.tokens.total_tokens for output in outputs if output.succeeded) == spent
    assert len(runner.bill.calls) == sum(output.succeeded for output in outputs)
    assert 400 <= spent <= 400 + 200 * (slots - 1)


@pytest.mark.parametrize("estimated", [True, False])
async def test_a_thousand_items_against_a_limit_worth_a_hundred(estimated: bool) -> None:
    infra = under(max_total_tokens=10_000)
    runner = ScriptedRunner(default=Reply("x", spends=tokens(100), after_s=1))
    async with open_run(runner=runner, infra=infra) as run:
        outputs = await run.fan_out(jobs(1000, estimate=tokens(100) if estimated else None), 8)

    good = [output for output in outputs if output.succeeded]
    assert len(outputs) == 1000
    assert len(good) == len(runner.bill.calls)
    assert len(good) == 100  # the first eight are of unknown size, but long done when the limit is near
    assert infra.budget.snapshot().total_tokens == runner.bill.total.total_tokens == 10_000
    assert kinds(infra.log)["agent_skipped"] == 900


async def test_what_a_role_has_spent_is_held_for_the_next_of_it() -> None:
    infra = under(max_total_tokens=100_000)
    spends = iter([30, 70, 50, 10])
    runner = ScriptedRunner(default=lambda *_: Reply(spends=tokens(next(spends))))
    async with open_run(runner=runner, infra=infra) as run:
        await run.fan_out(jobs(4), 1)

    held = [event.held.total_tokens for event in infra.log.events(kind="agent_started")]
    assert held == [0, 30, 70, 70]


async def test_an_estimate_of_its_own_goes_before_what_was_seen() -> None:
    infra = under(max_total_tokens=100_000)
    runner = ScriptedRunner(default=Reply(spends=tokens(500)))
    async with open_run(runner=runner, infra=infra) as run:
        await run.fan_out([*jobs(1), (spec("m_9", role="m", estimate=tokens(7)), "t"), (spec("other"), "t")], 1)

    held = [event.held.total_tokens for event in infra.log.events(kind="agent_started")]
    assert held == [0, 7, 0]


async def test_another_run_on_the_same_infra_begins_without_what_was_seen() -> None:
    infra = under(max_total_tokens=100_000)
    runner = ScriptedRunner(default=Reply(spends=tokens(500)))
    for _ in range(2):
        async with open_run(runner=runner, infra=infra) as run:
            await run.fan_out(jobs(1), 1)

    assert [event.held.total_tokens for event in infra.log.events(kind="agent_started")] == [0, 0]


async def test_agents_that_ask_per_call_are_stopped_between_calls_and_return_what_they_have() -> None:
    infra = under(max_total_tokens=1000)
    runner = ScriptedRunner(default=Reply("part", model_calls=[tokens(50)] * 10, after_s=1))
    async with open_run(runner=runner, infra=infra) as run:
        outputs = await run.fan_out(jobs(10), 10)

    assert infra.budget.snapshot().total_tokens == runner.bill.total.total_tokens == 1000
    assert infra.budget.snapshot().overrun.total_tokens == 0
    assert all(output.succeeded for output in outputs)


# Waiting for room


async def test_starts_that_only_holds_keep_out_wait_and_are_let_in_first_come_first_served() -> None:
    infra = under(max_total_tokens=1000)
    runner = ScriptedRunner(default=Reply("x", spends=tokens(5), after_s=10))
    async with open_run(runner=runner, infra=infra) as run:
        outputs = await run.fan_out(jobs(10, estimate=tokens(450)), 10)

    assert all(output.succeeded for output in outputs)
    assert runner.bill.agents == [f"m_{index}" for index in range(10)]
    assert runner.bill.most_in_flight == 2
    assert [call.began for call in runner.bill.calls] == [0, 0, 10, 10, 20, 20, 30, 30, 40, 40]


async def test_who_waits_is_refused_once_real_spend_has_taken_the_room() -> None:
    infra = under(max_total_tokens=1000)
    runner = ScriptedRunner(default=Reply("x", spends=tokens(900), after_s=10))
    async with open_run(runner=runner, infra=infra) as run:
        outputs = await run.fan_out(jobs(3, estimate=tokens(600)), 3)

    assert [output.succeeded for output in outputs] == [True, False, False]
    assert all(map(is_budget_skipped, outputs[1:]))


async def test_a_start_that_never_fits_is_refused_and_does_not_wait() -> None:
    infra = under(max_total_tokens=1000)
    runner = ScriptedRunner(default=Reply("x", after_s=10))
    async with open_run(runner=runner, infra=infra) as run:
        small, big = await run.fan_out(
            [(spec("small", estimate=tokens(10)), "t"), (spec("big", estimate=tokens(1001)), "t")], 2
        )

    assert small.succeeded
    assert is_budget_skipped(big)
    assert infra.log.events(kind="agent_skipped")[0].seq < infra.log.events(kind="agent_finished")[0].seq


async def test_who_waits_for_an_agent_that_fails_is_let_in() -> None:
    infra = under(max_total_tokens=100)
    runner = ScriptedRunner({"a": Reply(raises=OSError, reports=None, after_s=5)}, default="x")
    members = [spec("a", estimate=tokens(40)), spec("b", estimate=tokens(60)), spec("c", estimate=tokens(50))]
    async with open_run(runner=runner, infra=infra) as run:
        outputs = await run.fan_out([(each, "t") for each in members], 3)

    # a is booked at its hold, 40; b reports nothing and is booked at 60: nothing is left for c.
    assert [output.succeeded for output in outputs] == [False, True, False]


async def test_a_retry_waits_for_room_like_any_start() -> None:
    infra = under(max_total_tokens=100)
    runner = ScriptedRunner(
        {"a": [Reply(raises=OSError, model_calls=[tokens(1)], after_s=1), Reply("done", spends=tokens(1))]},
        default=Reply("x", spends=tokens(1), after_s=10),
    )
    members = [spec("a", estimate=tokens(60), retries=1), spec("b", estimate=tokens(60))]
    async with open_run(runner=runner, infra=infra) as run:
        a, b = await run.fan_out([(each, "t") for each in members], 2)

    assert a.succeeded
    assert b.succeeded
    assert runner.bill.agents == ["a", "b", "a"]


# Sources


async def test_an_endless_source_stops_at_the_first_denial() -> None:
    taken = 0

    def endless() -> Iterator[tuple[AgentSpec, str]]:
        nonlocal taken
        while True:
            yield spec(f"m_{taken}"), "t"
            taken += 1

    infra = under(max_agents=10)
    async with open_run(runner=ScriptedRunner(default=Reply(after_s=1)), infra=infra) as run:
        outputs = await run.fan_out(endless(), 3, stop_on_denial=True)

    assert sum(output.succeeded for output in outputs) == 10
    assert len(outputs) <= 13
    assert names(outputs) == [f"m_{index}" for index in range(len(outputs))]


async def test_an_async_endless_source_stops_at_the_first_denial_and_is_closed() -> None:
    closed = False

    async def endless() -> AsyncIterator[tuple[AgentSpec, str]]:
        nonlocal closed
        index = 0
        try:
            while True:
                await anyio.sleep(0.1)
                yield spec(f"m_{index}"), "t"
                index += 1
        finally:
            closed = True

    infra = under(max_agents=10)
    async with open_run(runner=ScriptedRunner(default=Reply(after_s=1)), infra=infra) as run:
        outputs = await run.fan_out(endless(), 3, stop_on_denial=True)
    gc.collect()

    assert sum(output.succeeded for output in outputs) == 10
    assert not [task for task in asyncio.all_tasks() if "aclose" in repr(task)], "left to the garbage collector"
    assert closed


async def test_a_source_that_has_nothing_more_to_give_yet_does_not_keep_a_denied_run_open() -> None:
    async def waiting() -> AsyncIterator[tuple[AgentSpec, str]]:
        yield spec("a", estimate=tokens(80)), "t"
        yield spec("b", estimate=tokens(80)), "t"  # waits for room, and is refused when a has spent it
        await anyio.sleep_forever()

    infra = under(max_total_tokens=100)
    runner = ScriptedRunner(default=Reply(spends=tokens(80), after_s=5))
    async with open_run(runner=runner, infra=infra) as run:
        outputs = await run.fan_out(waiting(), 3, stop_on_denial=True)

    assert [output.succeeded for output in outputs] == [True, False]


async def test_after_a_denial_no_further_job_is_taken_from_a_slow_source() -> None:
    taken: list[str] = []

    async def slow() -> AsyncIterator[tuple[AgentSpec, str]]:
        for name in "abcd":
            taken.append(name)
            yield spec(name, estimate=tokens(80 if name < "c" else 0)), "t"
            if name == "b":
                await anyio.sleep(100)

    infra = under(max_total_tokens=100)
    runner = ScriptedRunner(default=Reply(spends=tokens(80), after_s=5))
    async with open_run(runner=runner, infra=infra) as run:
        await run.fan_out(slow(), 3, stop_on_denial=True)

    assert taken == ["a", "b"]
    assert runner.bill.agents == ["a"]


async def test_without_stop_on_denial_every_job_has_its_output() -> None:
    infra = under(max_agents=2)
    async with open_run(runner=ScriptedRunner(default="x"), infra=infra) as run:
        outputs = await run.fan_out(iter(jobs(50)), 5)

    assert len(outputs) == 50


@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize("is_async", [False, True])
async def test_when_the_source_fails_those_in_flight_finish_and_the_error_has_them(slots: int, is_async: bool) -> None:
    def failing() -> Iterator[tuple[AgentSpec, str]]:
        yield from jobs(5)
        raise OSError("the folder is gone")

    async def failing_async() -> AsyncIterator[tuple[AgentSpec, str]]:
        for job in failing():
            yield job

    infra = SharedInfra()
    runner = ScriptedRunner(default=Reply("x", spends=tokens(3), after_s=10))
    with pytest.raises(OSError, match="gone") as caught:
        async with open_run(runner=runner, infra=infra) as run:
            await run.fan_out(failing_async() if is_async else failing(), slots)

    assert [call.end for call in runner.bill.calls] == ["returned"] * 5
    assert answers(caught.value.partial.outputs) == ["x"] * 5
    assert caught.value.usage == tokens(15)
    assert_nothing_left(infra)


async def test_after_the_source_has_failed_nobody_else_is_started() -> None:
    async def failing() -> AsyncIterator[tuple[AgentSpec, str]]:
        yield spec("a"), "t"
        await anyio.sleep(5)
        raise OSError("gone")

    runner = ScriptedRunner(default=Reply(after_s=100))
    with pytest.raises(OSError, match="gone"):
        async with open_run(runner=runner) as run:
            await run.fan_out(failing(), 4)

    assert runner.bill.agents == ["a"]


async def test_a_job_that_is_none_is_an_error_that_lets_the_others_finish() -> None:
    infra = SharedInfra()
    runner = ScriptedRunner(default=Reply("x", after_s=5))
    with pytest.raises((TypeError, AttributeError, ValueError)):
        async with open_run(runner=runner, infra=infra) as run:
            await run.fan_out([(spec("a"), "t"), "not a job", (spec("b"), "t")], 2)

    assert_nothing_left(infra)


async def test_agents_that_never_wait_do_not_keep_everybody_else_from_the_loop() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    runner = ScriptedRunner(default=Reply(after_s=None))
    async with anyio.create_task_group() as group, open_run(runner=runner) as run:
        group.start_soon(count)
        await run.fan_out(jobs(1000), 8)
        group.cancel_scope.cancel()

    assert turns > 5


async def test_a_run_of_agents_that_never_wait_can_be_cancelled() -> None:
    started = 0

    async def busy(spec, task, runtime, mailbox) -> str:
        nonlocal started
        started += 1
        if started == 100:
            scope.cancel()
        return "x"

    infra = SharedInfra()
    with anyio.CancelScope() as scope:
        async with open_run(runner=busy, infra=infra) as run:
            await run.fan_out(jobs(100_000), 8)

    assert started < 300
    assert_nothing_left(infra)


# Teams in teams


async def test_two_teams_whose_members_wait_for_each_others_holds_do_not_deadlock(clock: VirtualClock) -> None:
    infra = under(max_total_tokens=200)
    run: Run

    async def team(who, task, runtime, mailbox) -> str:
        await anyio.sleep(1)
        output = await run.inside(runtime).agent(spec(f"{who.name}_child", estimate=tokens(60)), "t")
        return "child" if output.succeeded else "alone"

    runner = ScriptedRunner(
        {name: Reply(does=team, spends=tokens(1)) for name in "ab"}, default=Reply(spends=tokens(1), after_s=1)
    )
    async with open_run(runner=runner, infra=infra) as run:
        outputs = await run.fan_out([(each, "t") for each in specs("ab", estimate=tokens(80))], 2)

    assert all(output.succeeded for output in outputs)
    assert_nothing_left(infra)
    assert sorted(story(infra.log, "a_child") + story(infra.log, "b_child")) in (
        ["finished", "skipped", "started"],
        ["finished", "finished", "started", "started"],
    )
