"""Independent agents: what becomes of one touches nobody else."""

from typing import Any

import pytest

from carpool import BudgetLimits, Fleet, FunctionRunner, Message, MessageKind, Pipeline, SharedInfra, Swarm
from carpool.testing import Reply, ScriptedRunner, VirtualClock

from ..scenes import names, spec, specs

BOTH = [(spec("a"), "go north"), (spec("b"), "go south")]


async def test_each_agent_gets_its_own_mission_and_needs_no_task() -> None:
    runner = ScriptedRunner(default=lambda who, task: f"{who.name}: {task}")
    result = await Fleet(BOTH).run(runner=runner)

    assert result.answer == "a:\na: go north\n\nb:\nb: go south"
    assert (result.succeeded_count, result.failed_count, result.all_succeeded) == (2, 0, True)


async def test_a_task_around_it_is_shown_below_the_mission() -> None:
    runner = ScriptedRunner(default="ok")
    await Swarm([Fleet(BOTH)]).run("find water", runner=runner)

    assert runner.bill.calls[0].task.startswith("go north\n")
    assert "find water" in runner.bill.calls[0].task


async def test_a_failure_touches_nobody_else() -> None:
    runner = ScriptedRunner({"a": Reply(raises=OSError)}, default="ok")
    result = await Fleet(BOTH).run(runner=runner)

    assert (result.succeeded_count, result.failed_count, result.failed) == (1, 1, ["a"])
    assert result.answer == "b:\nok"
    assert result.stop_reason == "completed"


async def test_a_timeout_touches_nobody_else(clock: VirtualClock) -> None:
    runner = ScriptedRunner({"a": Reply(hangs=True), "b": Reply("ok", after_s=5)})
    result = await Fleet(BOTH, agent_timeout_s=10).run(runner=runner, infra=SharedInfra(clock=clock))

    assert clock.monotonic() == pytest.approx(10)
    assert result.outputs[0].error == "timed out after 10 s (timeout_s)"
    assert names(output for output in result.outputs if output.succeeded) == ["b"]


async def test_an_agents_own_shorter_timeout_stays(clock: VirtualClock) -> None:
    agents = [(spec("a", timeout_s=2), "x"), (spec("b", timeout_s=20), "y")]
    result = await Fleet(agents, agent_timeout_s=10).run(runner=ScriptedRunner(default=Reply(hangs=True)))

    assert [output.error for output in result.outputs] == [
        "timed out after 2 s (timeout_s)",
        "timed out after 10 s (timeout_s)",
    ]


async def test_a_team_that_is_out_of_time_keeps_what_it_has() -> None:
    runner = ScriptedRunner({"a": "done", "b": Reply(hangs=True)}, default="ok")
    fleet = Fleet([(Pipeline(specs("ab")), "x"), (spec("c"), "y")], agent_timeout_s=3)
    infra = SharedInfra()
    result = await fleet.run(runner=runner, infra=infra)

    assert result.outputs[0].error == "TimeoutError: timed out after 3 s (agent_timeout_s)"
    assert names(result.nested["pipeline"][0].outputs) == ["a"]
    assert result.succeeded_count == 1
    assert infra.budget.in_flight == 0


async def test_nobody_is_left_out_for_want_of_a_slot() -> None:
    runner = ScriptedRunner(default="ok")
    result = await Fleet([(each, "x") for each in specs("abcde")], max_concurrent=2).run(runner=runner)

    assert runner.bill.most_in_flight == 2
    assert result.succeeded_count == 5


async def test_the_refused_ones_are_told_from_the_failed_ones() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_agents=1))
    result = await Fleet(BOTH).run(runner=ScriptedRunner(default="ok"), infra=infra)

    assert (result.skipped, result.failed, result.failed_count) == (["b"], [], 1)
    assert result.stop_reason == "budget_exhausted"


async def test_they_share_state_and_mail() -> None:
    async def a(task: str, runtime: Any) -> str:
        runtime.state.set("seen", "water", actor="a")
        await runtime.team.mailbox.send(Message(sender="a", to="b", kind=MessageKind.CUSTOM, payload="look"))
        return "told"

    async def b(task: str, runtime: Any) -> str:
        message = await runtime.inbox.receive()
        return f"{message.payload} {runtime.state.get('seen')}"

    result = await Fleet(BOTH).run(runner=FunctionRunner({"a": a, "b": b}))

    assert result.outputs[1].answer == "look water"


async def test_nobody_who_answers_is_no_output() -> None:
    result = await Fleet(BOTH).run(runner=ScriptedRunner(default=Reply(raises=OSError)))

    assert (result.answer, result.stop_reason) == ("", "no_output")


def test_what_it_is_made_of_is_checked() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Fleet([])
    with pytest.raises(ValueError, match="called 'a'"):
        Fleet([(spec("a"), "x"), (spec("a"), "y")])
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="agent_timeout_s"):
            Fleet(BOTH, agent_timeout_s=seconds)
    with pytest.raises(ValueError, match="max_concurrent"):
        Fleet(BOTH, max_concurrent=0)


def test_its_plan_is_one_start_for_each() -> None:
    assert Fleet([*BOTH, (Swarm(specs("cd")), "z")]).plan().agents_max == 4
