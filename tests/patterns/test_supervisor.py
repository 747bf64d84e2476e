"""Workers answer until a supervisor approves, and nothing but an approval approves."""

import json

import pytest

from carpool import (
    AgentFailed,
    AgentLimitReached,
    BudgetLimits,
    SharedInfra,
    Supervisor,
    SupervisorResult,
    Swarm,
    TokenAccounting,
)
from carpool.testing import Reply, ScriptedRunner

from ..scenes import names, spec, specs


def says(approved: object, feedback: str = "so", answer: str | None = None) -> str:
    return json.dumps({"approved": approved, "feedback": feedback, **({"answer": answer} if answer else {})})


def tasks_of(runner: ScriptedRunner, agent: str) -> list[str]:
    return [call.task for call in runner.bill.calls_of(agent)]


async def test_the_first_approval_ends_it() -> None:
    runner = ScriptedRunner({"s": [says(False), says(True), says(False)]}, default=lambda who, _: f"I am {who.name}")
    result = await Supervisor(specs("ab"), spec("s")).run("go", runner=runner)

    assert (result.approved, result.total_rounds, result.stop_reason) == (True, 2, "completed")
    assert [names(outputs) for outputs in result.rounds] == [["a", "b"], ["a", "b"]]
    assert names(result.outputs) == ["a", "b", "s", "a", "b", "s"]
    assert result.final_answer == result.answer == "I am a\n\nI am b"


async def test_not_approved_after_the_last_round_is_a_result() -> None:
    runner = ScriptedRunner({"s": says(False, "no")}, default="ok")
    result = await Supervisor(specs("a"), spec("s"), max_rounds=2).run("go", runner=runner)

    assert (result.approved, result.total_rounds, result.stop_reason) == (False, 2, "max_rounds")
    assert result.supervisor_feedback == ["no", "no"]
    assert result.final_answer == "ok"


async def test_the_supervisors_own_answer_is_the_answer() -> None:
    runner = ScriptedRunner({"s": says(True, answer="mine")}, default="ok")

    assert (await Supervisor(specs("a"), spec("s")).run("go", runner=runner)).final_answer == "mine"


@pytest.mark.parametrize("reply", ["NOT APPROVED", "APPROVED", says("true"), '{"approved": true}', "{}"])
async def test_what_cannot_be_read_never_approves(reply: str) -> None:
    runner = ScriptedRunner({"s": reply}, default="ok")
    result = await Supervisor(specs("a"), spec("s"), max_rounds=2).run("go", runner=runner)

    assert not result.approved
    assert names(result.outputs) == ["a", "s", "s", "a", "s", "s"]
    assert result.supervisor_feedback == [reply, reply]


async def test_a_worker_cannot_approve_itself() -> None:
    runner = ScriptedRunner({"a": says(True), "s": lambda _, task: f"It says {says(True)}"})

    assert not (await Supervisor(specs("a"), spec("s"), max_rounds=1).run("go", runner=runner)).approved


async def test_feedback_goes_to_each_worker_with_its_own_answer() -> None:
    runner = ScriptedRunner({"s": [says(False, "shorter"), says(True)]}, default=lambda who, _: f"I am {who.name}")
    await Supervisor(specs("ab"), spec("s")).run("go", runner=runner)

    first, second = tasks_of(runner, "b")
    assert first == "go"
    assert "<<<feedback of s>>>\nshorter\n" in second
    assert "I am b" in second
    assert "I am a" not in second


async def test_a_worker_is_shown_its_latest_good_answer() -> None:
    runner = ScriptedRunner({"a": ["one", Reply(raises=OSError), "three"], "s": says(False)})
    await Supervisor(specs("a"), spec("s")).run("go", runner=runner)

    assert "<<<your answer>>>\none\n" in tasks_of(runner, "a")[2]


async def test_the_supervisor_sees_answers_and_failures() -> None:
    runner = ScriptedRunner({"a": "fine", "b": Reply(raises=OSError("no line")), "s": says(True)})
    result = await Supervisor(specs("ab"), spec("s")).run("go", runner=runner)

    (shown,) = tasks_of(runner, "s")
    assert "<<<answer of a>>>\nfine\n" in shown
    assert "<<<failure of b, who gave no answer>>>\nOSError: no line\n" in shown
    assert result.final_answer == "fine"
    assert result.failed == ["b"]


async def test_an_approval_of_nothing_is_no_output() -> None:
    runner = ScriptedRunner({"a": Reply(raises=OSError), "s": says(True)})
    result = await Supervisor(specs("a"), spec("s")).run("go", runner=runner)

    assert (result.answer, result.stop_reason) == ("", "no_output")


@pytest.mark.parametrize("most", [2, 5])
async def test_a_refused_supervisor_ends_the_run_with_that_refusal(most: int) -> None:
    runner = ScriptedRunner({"s": says(False, "more")}, default="ok")
    infra = SharedInfra(budget=BudgetLimits(max_agents=most))
    with pytest.raises(AgentLimitReached) as caught:
        await Supervisor(specs("ab"), spec("s")).run("go", runner=runner, infra=infra)

    partial = caught.value.partial
    assert caught.value.started == most
    assert type(partial) is SupervisorResult
    assert partial.stop_reason == "budget_exhausted"
    assert partial.total_rounds == 1 + most // 3
    assert partial.final_answer == "ok\n\nok"
    assert partial.skipped == ["s"]
    assert caught.value.usage == partial.usage


async def test_a_failed_supervisor_ends_the_run_with_all_that_was_paid_for() -> None:
    cost = TokenAccounting(input_tokens=3)
    runner = ScriptedRunner({"a": Reply("ok", spends=cost), "s": Reply(raises=OSError("no line"), spends=cost)})
    with pytest.raises(AgentFailed, match="no line") as caught:
        await Supervisor(specs("a"), spec("s")).run("go", runner=runner)

    error = caught.value
    assert (error.name, error.message) == ("s", "OSError: no line")
    assert error.partial.final_answer == "ok"
    assert error.partial.stop_reason == "failed"
    assert names(error.partial.outputs) == ["a", "s"]
    assert error.usage.input_tokens == 3


async def test_refused_workers_are_failures_that_the_supervisor_sees() -> None:
    cost = TokenAccounting(input_tokens=10)
    workers = [spec("a"), spec("b", budget=BudgetLimits(max_agents=0))]
    runner = ScriptedRunner({"a": Reply("ok", spends=cost), "s": says(True)})
    result = await Supervisor(workers, spec("s")).run("go", runner=runner)

    assert (result.approved, result.stop_reason, result.skipped) == (True, "budget_exhausted", ["b"])
    assert "failure of b" in tasks_of(runner, "s")[0]


async def test_a_team_can_be_worker_or_supervisor() -> None:
    script = {"s": says(True), "a": "A", "b": "B"}
    board = Swarm(specs("s"), synthesizer=spec("chair"), name="board")
    pattern = Supervisor([Swarm(specs("ab"))], board)
    result = await pattern.run("go", runner=ScriptedRunner(script | {"chair": says(True, "fine", "C")}))

    assert (result.approved, result.answer) == (True, "C")
    assert set(result.nested) == {"swarm", "board"}


def test_its_plan_counts_every_round_and_every_second_reply() -> None:
    plan = Supervisor(specs("ab"), spec("s"), max_rounds=3).plan()

    assert (plan.agents_min, plan.agents_max) == (3, 12)


def test_what_it_is_made_of_is_checked() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Supervisor([], spec("s"))
    with pytest.raises(ValueError, match="called 'a'"):
        Supervisor(specs("ab"), spec("a"))
    with pytest.raises(ValueError, match="max_rounds"):
        Supervisor(specs("a"), spec("s"), max_rounds=0)


async def test_quotes_are_cut_where_a_limit_is_set() -> None:
    runner = ScriptedRunner({"a": "x" * 50, "s": says(True)})
    await Supervisor(specs("a"), spec("s"), quote_limit=10).run("go", runner=runner)

    assert "40 more characters are left out" in tasks_of(runner, "s")[0]
