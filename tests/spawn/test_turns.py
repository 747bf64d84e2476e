"""Agents that run for the last time run alone, and nobody waits for ever because of that."""

from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from carpool import BudgetLimits, Delegator, SharedInfra, Swarm, Vote
from carpool.recall import Call, Opening, Recalled
from carpool.spawn.turns import Turns
from carpool.testing import Reply, ScriptedRunner, VirtualClock, cancel_at_every_await
from carpool.testing.cancellation import Ended, How

from ..scenes import FakeJournal, FakeRecall, answers, assert_nothing_left, spec, specs, tokens


class DeadlyJournal(FakeJournal):
    """Of everybody but those who are called ``fresh``, it knows that they may have killed processes."""

    async def open_run(self, opening: Opening) -> FakeRecall:
        await super().open_run(opening)
        return DeadlyRecall(self, opening)


class DeadlyRecall(FakeRecall):
    async def recall(self, call: Call, *, settled: bool = False) -> Recalled:
        known = await super().recall(call, settled=settled)
        return replace(known, alone=known.output is None and "fresh" not in call.spec.name)


def deadly(**limits: Any) -> SharedInfra:
    return SharedInfra(journal=DeadlyJournal(), budget=BudgetLimits(**limits))


async def test_they_run_one_after_the_other_in_the_order_of_asking() -> None:
    runner = ScriptedRunner(default=Reply("x", after_s=1))
    result = await Swarm(specs("abcd")).run("t", runner=runner, infra=deadly())

    assert result.all_succeeded
    assert runner.bill.most_in_flight == 1
    assert runner.bill.agents == ["a", "b", "c", "d"]


async def test_those_who_have_killed_nobody_run_beside_them() -> None:
    runner = ScriptedRunner(default=Reply("x", after_s=1))
    await Swarm([*specs("abc"), *specs("fresh1 fresh2")]).run("t", runner=runner, infra=deadly())

    assert runner.bill.most_in_flight == 3


async def test_who_waits_for_a_turn_holds_nothing_and_is_not_on_record_as_started() -> None:
    async def look(*_: Any) -> str:
        assert infra.budget.in_flight == 1
        assert len([told for told in infra.journal.told if told.startswith("started")]) == len(runner.bill.calls)
        return "x"

    infra, runner = deadly(), ScriptedRunner(default=Reply(does=look, after_s=1))
    result = await Swarm(specs("abc")).run("t", runner=runner, infra=infra)

    assert result.all_succeeded


async def test_after_a_minute_the_next_one_begins() -> None:
    runner = ScriptedRunner(default=Reply("x", after_s=150))
    await Swarm(specs("abc")).run("t", runner=runner, infra=deadly())

    assert [call.began for call in runner.bill.calls] == [0, 60, 120]


async def test_one_may_wait_for_the_message_of_another(clock: VirtualClock) -> None:
    met = anyio.Event()

    async def wait(*_: Any) -> str:
        await met.wait()
        return "met"

    async def come(*_: Any) -> str:
        met.set()
        return "came"

    runner = ScriptedRunner({"a": Reply(does=wait), "b": Reply(does=come)})
    result = await Swarm(specs("ab")).run("t", runner=runner, infra=deadly())

    assert answers(result.outputs) == ["met", "came"]
    assert clock.monotonic() == 60


async def test_one_that_waits_for_money_is_not_waited_for() -> None:
    """Each takes all that there is to hold, and fails once: its second lease is asked for in its turn."""
    infra = deadly(max_total_tokens=50)
    once = [Reply(raises=RuntimeError, model_calls=[tokens(1)]), Reply("x", model_calls=[tokens(1)])]
    runner = ScriptedRunner(dict.fromkeys(("a", "b", "fresh1", "fresh2"), once))
    team = Vote([spec(name, retries=1, estimate=tokens(40)) for name in ("a", "b", "fresh1", "fresh2")])
    result = await team.run("t", runner=runner, infra=infra)

    assert result.all_succeeded
    assert_nothing_left(infra)


async def test_whoever_is_asked_for_inside_an_agent_has_its_turn() -> None:
    async def ask(who: Any, task: str, runtime: Any, mailbox: Any) -> str:
        return await runtime.call_tool("delegate", specialist="helper", task="help")

    runner = ScriptedRunner({"main": Reply(does=ask), "helper_1": Reply("helped", after_s=1)})
    infra = deadly()
    result = await Delegator(spec("main"), {"helper": spec("helper")}).run("t", runner=runner, infra=infra)

    assert result.answer == "helped"


async def test_a_failure_ends_a_turn() -> None:
    runner = ScriptedRunner({"a": Reply(raises=RuntimeError)}, default=Reply("x", after_s=1))
    result = await Swarm(specs("abc")).run("t", runner=runner, infra=deadly())

    assert result.failed == ["a"]
    assert answers(result.outputs[1:]) == ["x", "x"]


async def test_a_refusal_by_the_budget_ends_a_turn() -> None:
    infra = deadly(max_agents=1)
    result = await Swarm(specs("abc")).run("t", runner=ScriptedRunner(default="x"), infra=infra)

    assert result.skipped == ["b", "c"]


class Taking:
    """Three tasks that take turns, each for a second."""

    def __init__(self, clock: VirtualClock) -> None:
        self.turns = Turns()

    async def run(self) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(self.take)

    async def take(self) -> None:
        turn = await self.turns.take()
        try:
            await anyio.sleep(1)
        finally:
            turn.end()
            turn.end()

    def check(self, ended: Ended) -> None:
        assert self.turns._free.value == 1


@pytest.mark.parametrize("how", ["task", "scope"])
def test_cancelled_anywhere_every_turn_is_given_back_once(how: How) -> None:
    assert cancel_at_every_await(Taking, how=how) > 10
