"""A runner that does what it is told, and a bill that carpool never sees."""

import asyncio

import anyio
import pytest

from carpool import AgentOutput, BudgetLimits, SharedInfra, open_run
from carpool.testing import Reply, ScriptedRunner, VirtualClock

from ..scenes import answers, spec, specs, story, tokens


async def asked(runner: ScriptedRunner, *members, infra: SharedInfra | None = None) -> list[AgentOutput]:
    async with open_run(runner=runner, infra=infra) as run:
        return await run.fan_out([(member, "t") for member in members], None)


async def test_an_answer_is_found_by_name_then_by_role_then_by_default() -> None:
    runner = ScriptedRunner({"mapper_1": "by name", "mapper": "by role"}, default="by default")
    mappers = [spec(name, role="mapper") for name in ("mapper_0", "mapper_1")]

    assert answers(await asked(runner, *mappers, spec("other"))) == ["by role", "by name", "by default"]


async def test_without_a_line_for_it_an_agent_fails() -> None:
    (output,) = await asked(ScriptedRunner({"a": "x"}), spec("b"))

    assert output.error == "LookupError: the script has nothing for agent 'b', and no default"


async def test_replies_are_gone_through_call_by_call_and_the_last_repeats() -> None:
    runner = ScriptedRunner({"a": ["one", Reply("two")]})
    async with open_run(runner=runner) as run:
        got = [(await run.agent(spec("a"), "t")).answer for _ in range(3)]

    assert got == ["one", "two", "two"]
    assert [call.number for call in runner.bill.calls] == [1, 2, 3]


async def test_a_function_may_look_at_spec_and_task() -> None:
    runner = ScriptedRunner(default=lambda who, task: Reply(f"{who.name} on {task}"))

    assert answers(await asked(runner, spec("a"))) == ["a on t"]


async def test_the_bill_says_what_was_spent_when_and_by_whom(clock: VirtualClock) -> None:
    runner = ScriptedRunner({"a": Reply("x", spends=tokens(5), after_s=2)}, default=Reply(spends=tokens(1), after_s=3))
    async with open_run(runner=runner) as run:
        await run.agent(spec("a"), "t")
        await run.fan_out([(each, "u") for each in specs("bc")], 2)

    assert [(charge.at, charge.agent, charge.tokens) for charge in runner.bill.charges] == [
        (0, "a", tokens(5)),
        (2, "b", tokens(1)),
        (2, "c", tokens(1)),
    ]
    assert runner.bill.total == tokens(7)
    assert [(call.began, call.ended, call.end) for call in runner.bill.calls] == [
        (0, 2, "returned"),
        (2, 5, "returned"),
        (2, 5, "returned"),
    ]
    assert runner.bill.most_in_flight == 2
    assert runner.bill.in_flight == 0


async def test_what_is_reported_need_not_be_what_was_spent() -> None:
    runner = ScriptedRunner(
        {"a": Reply(spends=tokens(5), reports=tokens(1)), "b": Reply(spends=tokens(5), reports=None)}
    )
    a, b = await asked(runner, *specs("ab"))

    assert (a.tokens, b.tokens) == (tokens(1), None)


async def test_model_calls_are_reserved_and_charged_until_the_lease_refuses() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=25))
    runner = ScriptedRunner({"a": Reply("what I have", model_calls=[tokens(10)] * 5)})
    (output,) = await asked(runner, spec("a"), infra=infra)

    assert (output.answer, output.turns, output.tokens) == ("what I have", 2, tokens(20))
    assert runner.bill.total == tokens(20)


async def test_it_can_go_on_without_asking() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=25))
    runner = ScriptedRunner({"a": Reply(model_calls=[tokens(10)] * 5, reserves=False)})
    await asked(runner, spec("a"), infra=infra)

    assert infra.budget.snapshot().total_tokens == 50


async def test_it_can_raise_return_anything_and_cancel_itself() -> None:
    runner = ScriptedRunner(
        {"a": Reply(raises=OSError("disk")), "b": Reply(returns=7), "c": Reply(raises=asyncio.CancelledError)}
    )
    a, b, c = await asked(runner, *specs("abc"))

    assert a.error == "OSError: disk"
    assert b.error.startswith("TypeError")
    assert c.error == "RuntimeError: the runner cancelled itself"
    assert [call.end for call in runner.bill.calls] == ["raised", "returned", "cancelled"]


async def test_it_can_act_through_the_runtime() -> None:
    async def act(who, task, runtime, mailbox) -> str:
        runtime.state.set("seen", task, actor=who.name)
        return "acted"

    infra = SharedInfra()
    (output,) = await asked(ScriptedRunner({"a": Reply(does=act)}), spec("a"), infra=infra)

    assert output.answer == "acted"
    assert infra.state.get("seen") == "t"


async def test_it_can_hang_and_be_timed_out(clock: VirtualClock) -> None:
    (output,) = await asked(ScriptedRunner({"a": Reply(hangs=True)}), spec("a", timeout_s=60))

    assert "60 s" in output.error
    assert clock.monotonic() == 60


@pytest.mark.parametrize("swallows", [1, 2, 5])
async def test_it_can_swallow_cancellations(swallows: int) -> None:
    infra = SharedInfra()
    runner = ScriptedRunner({"a": Reply("still here", hangs=True, swallows=swallows)})
    with anyio.move_on_after(1) as scope:
        await asked(runner, spec("a"), infra=infra)

    assert scope.cancelled_caught
    assert runner.bill.calls[0].swallowed == swallows
    assert runner.bill.calls[0].end == "returned"
    assert story(infra.log, "a") == ["started", "finished"]


async def test_it_can_keep_the_loop_to_itself() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    runner = ScriptedRunner({"a": Reply(after_s=None)})
    async with anyio.create_task_group() as group, open_run(runner=runner) as run:
        group.start_soon(count)
        await anyio.lowlevel.checkpoint()
        before = turns
        await run.agent(spec("a"), "t")
        assert turns == before
        group.cancel_scope.cancel()
