"""Each stage works on the answer of the one before."""

from typing import Any

import pytest

from carpool import BudgetLimits, Pipeline, PipelineResult, SharedInfra
from carpool.testing import Reply, ScriptedRunner

from ..scenes import names, spec, specs, tokens


def by_name(**script: Any) -> ScriptedRunner:
    return ScriptedRunner(script, default=lambda who, _: Reply(f"from {who.name}", spends=tokens(1)))


async def run(stages: list[Any], who: ScriptedRunner, on_failure: Any = "stop", infra: Any = None) -> PipelineResult:
    return await Pipeline(stages, on_failure).run("The task.", runner=who, infra=infra)


async def test_each_stage_is_given_the_task_and_the_answer_before_it() -> None:
    who = by_name()
    result = await run(specs("abc"), who)
    asked = {call.agent: call.task for call in who.bill.calls}

    assert asked["a"] == "The task."
    assert "The task." in asked["c"]
    assert "from b" in asked["c"]
    assert "from a" not in asked["c"]
    assert result.answer == result.final_answer == "from c"
    assert names(result.stages) == names(result.outputs) == ["a", "b", "c"]
    assert (result.stop_reason, result.all_succeeded) == ("completed", True)


@pytest.mark.parametrize("bad", [Reply(raises=OSError("b broke")), "", Reply(returns=5)])
async def test_a_stage_that_fails_stops_the_pipeline(bad: Any) -> None:
    who = by_name(b=bad)
    result = await run(specs("abc"), who)

    assert who.bill.agents == ["a", "b"]
    assert names(result.stages) == ["a", "b"]
    assert (result.final_answer, result.answer, result.stop_reason) == ("", "", "failed")
    assert result.failed == ["b"]


async def test_on_continue_the_last_good_answer_is_passed_on() -> None:
    who = by_name(b=Reply(raises=OSError("b broke")))
    result = await run(specs("abc"), who, "continue")

    assert "from a" in who.bill.calls[-1].task
    assert "b broke" not in who.bill.calls[-1].task
    assert result.final_answer == "from c"
    assert (result.stop_reason, result.failed) == ("completed", ["b"])


async def test_on_continue_with_nothing_good_before_it_a_stage_gets_the_task() -> None:
    who = by_name(a=Reply(raises=OSError))
    await run(specs("ab"), who, "continue")

    assert who.bill.calls[-1].task == "The task."


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
async def test_when_the_last_stage_fails_there_is_no_final_answer(on_failure: str) -> None:
    result = await run(specs("abc"), by_name(c=Reply(raises=OSError)), on_failure)

    assert (result.final_answer, result.answer, result.stop_reason) == ("", "", "failed")


async def test_when_everything_fails_there_is_no_output() -> None:
    result = await run(specs("ab"), ScriptedRunner(default=Reply(raises=OSError)), "continue")

    assert result.stop_reason == "no_output"


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
@pytest.mark.parametrize("cap", range(4))
async def test_a_denial_at_every_start_keeps_what_was_done(on_failure: str, cap: int) -> None:
    who = by_name()
    result = await run(specs("abc"), who, on_failure, SharedInfra(budget=BudgetLimits(max_agents=cap)))

    assert who.bill.agents == list("abc")[:cap]
    assert [output.succeeded for output in result.stages][:cap] == [True] * cap
    if cap < 3:
        assert (result.final_answer, result.stop_reason) == ("", "budget_exhausted")
        assert result.skipped == (["abc"[cap]] if on_failure == "stop" else list("abc")[cap:])
    else:
        assert (result.final_answer, result.stop_reason) == ("from c", "completed")


async def test_a_spend_limit_is_overshot_by_one_stage_at_most() -> None:
    who = ScriptedRunner(default=Reply("x", spends=tokens(60)))
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=100))
    result = await run(specs("abcd"), who, infra=infra)

    assert infra.budget.snapshot().total_tokens == 120
    assert result.skipped == ["c"]


@pytest.mark.parametrize("on_failure", ["halt", "", None])
def test_an_unknown_option_is_a_value_error(on_failure: Any) -> None:
    with pytest.raises(ValueError, match="on_failure"):
        Pipeline(specs("ab"), on_failure)


def test_no_stages_and_doubles_are_value_errors() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Pipeline([])
    with pytest.raises(ValueError, match="'a'"):
        Pipeline(specs("aba"))


async def test_a_long_answer_is_shown_in_part_with_a_mark_when_told_so() -> None:
    who = ScriptedRunner({"a": "z" * 1000, "b": "x"})
    await Pipeline(specs("ab"), quote_limit=10).run("t", runner=who)

    assert "z" * 10 + "\n" in who.bill.calls[-1].task
    assert "z" * 11 not in who.bill.calls[-1].task
    assert "990 more characters" in who.bill.calls[-1].task


async def test_a_stage_can_be_a_pipeline() -> None:
    who = by_name()
    result = await run([Pipeline(specs("ab"), name="draft"), spec("c")], who)

    assert names(result.stages) == ["draft", "c"]
    assert "answer of draft" in who.bill.calls[-1].task
    assert result.usage == tokens(3)
