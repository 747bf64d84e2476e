"""Side by side, one after the other, in debate."""

from typing import Any

import pytest

from carpool import AgentSpec, BudgetLimits, SharedInfra, Swarm, SwarmResult, is_budget_skipped
from carpool.testing import Reply, ScriptedRunner

from ..scenes import answers, names, spec, specs, story, tokens

MODES = ["parallel", "sequential", "debate"]


def under(**limits: Any) -> SharedInfra:
    return SharedInfra(budget=BudgetLimits(**limits))


def by_name(**script: Any) -> ScriptedRunner:
    return ScriptedRunner(script, default=lambda who, _: Reply(f"I am {who.name}"))


async def run(
    members: list[AgentSpec], mode: Any = "parallel", who: Any = None, infra: Any = None, **more: Any
) -> SwarmResult:
    return await Swarm(members, mode, **more).run("The task.", runner=who or by_name(), infra=infra)


async def test_in_parallel_all_get_the_task_as_it_is_together() -> None:
    who = ScriptedRunner(default=Reply("x", after_s=1))
    result = await run(specs("abc"), who=who)

    assert [call.task for call in who.bill.calls] == ["The task."] * 3
    assert who.bill.most_in_flight == 3
    assert names(result.outputs) == ["a", "b", "c"]
    assert [names(each) for each in result.rounds] == [["a", "b", "c"]]


async def test_slots_bound_how_many_at_a_time() -> None:
    who = ScriptedRunner(default=Reply("x", after_s=1))
    await run(specs("abcdef"), who=who, max_concurrent=2)

    assert who.bill.most_in_flight == 2


async def test_in_sequence_each_is_shown_the_answers_before_it_and_a_failed_one_is_left_out() -> None:
    who = by_name(b=Reply(raises=OSError("broken")))
    result = await run(specs("abc"), "sequential", who)
    asked = {call.agent: call.task for call in who.bill.calls}

    assert asked["a"] == "The task."
    assert "I am a" in asked["b"]
    assert "I am a" in asked["c"]
    assert "answer of b" not in asked["c"]
    assert "broken" not in asked["c"]
    assert who.bill.most_in_flight == 1
    assert result.failed == ["b"]


async def test_in_debate_each_later_round_shows_the_latest_answers_of_all() -> None:
    who = ScriptedRunner({name: [f"{name} says {n}" for n in range(1, 4)] for name in "ab"})
    result = await run(specs("ab"), "debate", who, rounds=3)
    asked = [call.task for call in who.bill.calls_of("a")]

    assert asked[0] == "The task."
    assert "a says 1" in asked[1]
    assert "b says 1" in asked[1]
    assert "b says 2" in asked[2]
    assert "b says 1" not in asked[2]
    assert [answers(each) for each in result.rounds] == [[f"a says {n}", f"b says {n}"] for n in (1, 2, 3)]
    assert len(result.outputs) == 6
    assert "a says 3" in result.answer
    assert "a says 2" not in result.answer


async def test_a_debate_ends_early_when_all_agree_after_normalisation() -> None:
    who = ScriptedRunner({"a": ["one", "**Paris.**"], "b": ["two", " paris "]})
    result = await run(specs("ab"), "debate", who, rounds=9)

    assert len(result.rounds) == 2
    assert len(who.bill.calls) == 4


async def test_a_debate_whose_first_round_agrees_is_over() -> None:
    result = await run(specs("abc"), "debate", ScriptedRunner(default="same"), rounds=5)

    assert len(result.rounds) == 1


async def test_a_debate_in_which_nobody_speaks_is_over() -> None:
    result = await run(specs("ab"), "debate", ScriptedRunner(default=Reply(raises=OSError)), rounds=5)

    assert len(result.rounds) == 1
    assert result.stop_reason == "no_output"


async def test_who_fails_in_a_later_round_is_still_heard_with_the_answer_before() -> None:
    who = ScriptedRunner({"a": ["a1", Reply(raises=OSError("x")), "a3"], "b": ["b1", "b2", "b3"]})
    await run(specs("ab"), "debate", who, rounds=3)

    assert "a1" in who.bill.calls_of("b")[2].task


async def test_a_debate_out_of_budget_keeps_the_rounds_that_were_paid_for() -> None:
    who = ScriptedRunner({name: [f"{name}{n}" for n in range(9)] for name in "ab"})
    result = await run(specs("ab"), "debate", who, under(max_agents=2), rounds=4)

    assert len(result.rounds) == 2
    assert "a0" in result.answer
    assert "b0" in result.answer
    assert result.stop_reason == "budget_exhausted"


async def test_a_debate_of_one_round_is_parallel() -> None:
    assert len((await run(specs("ab"), "debate", rounds=1)).rounds) == 1


# The synthesizer


@pytest.mark.parametrize("mode", MODES)
async def test_the_answer_is_the_synthesizers(mode: str) -> None:
    who = by_name(s="all in one")
    result = await run(specs("ab"), mode, who, synthesizer=spec("s"))

    assert result.answer == result.final_summary == "all in one"
    assert result.outputs[-1].name == "s"
    assert "I am a" in who.bill.calls[-1].task
    assert "I am b" in who.bill.calls[-1].task


@pytest.mark.parametrize("mode", MODES)
async def test_without_one_the_answers_stand_under_their_names(mode: str) -> None:
    result = await run(specs("ab"), mode)

    assert result.answer == result.final_summary == "a:\nI am a\n\nb:\nI am b"


@pytest.mark.parametrize("reply", [Reply(raises=OSError("s")), "", Reply(returns=None), Reply(hangs=True)])
async def test_one_that_fails_is_replaced_and_its_error_kept(reply: Any) -> None:
    result = await run(specs("ab"), who=by_name(s=reply), synthesizer=spec("s", timeout_s=5))

    assert result.answer.startswith("a:\nI am a")
    assert result.failed == ["s"]


async def test_one_that_is_denied_is_replaced_and_skipped() -> None:
    result = await run(specs("ab"), infra=under(max_agents=2), synthesizer=spec("s"))

    assert result.answer.startswith("a:\nI am a")
    assert result.skipped == ["s"]
    assert result.stop_reason == "budget_exhausted"


@pytest.mark.parametrize("mode", MODES)
async def test_with_an_estimate_its_start_is_kept_back(mode: str) -> None:
    who = ScriptedRunner({"s": "all in one"}, default=lambda who, _: Reply(f"{who.name}", spends=tokens(10)))
    result = await run(
        specs("abcdef", estimate=tokens(10)), mode, who, under(max_total_tokens=60), rounds=1,
        synthesizer=spec("s", estimate=tokens(30)),
    )  # fmt: skip

    assert result.answer == "all in one"
    assert [output.succeeded for output in result.rounds[0]] == [True] * 3 + [False] * 3


async def test_it_is_not_asked_when_there_is_nothing_to_make_an_answer_of() -> None:
    who = ScriptedRunner(default=Reply(raises=OSError))
    result = await run(specs("ab"), who=who, synthesizer=spec("s"))

    assert "s" not in who.bill.agents
    assert (result.answer, result.stop_reason) == ("", "no_output")


# Denials and failures


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cap", range(4))
async def test_a_denial_at_every_start_keeps_all_that_was_done(mode: str, cap: int) -> None:
    who = by_name()
    infra = under(max_agents=cap)
    result = await run(specs("abc"), mode, who, infra, synthesizer=spec("s"), max_concurrent=1, rounds=2)

    assert len(who.bill.calls) == min(cap, len(who.bill.calls)) <= cap
    assert sum(output.succeeded for output in result.outputs) == len(who.bill.calls)
    assert result.stop_reason == "budget_exhausted"
    assert all(is_budget_skipped(output) for output in result.outputs if not output.succeeded)
    for name in who.bill.agents:
        assert f"I am {name}" in result.answer
    if cap == 0:
        assert result.answer == ""


async def test_all_failing_is_no_output() -> None:
    result = await run(specs("ab"), who=ScriptedRunner(default=Reply(raises=OSError("x"))))

    assert (result.stop_reason, result.failed, result.all_succeeded) == ("no_output", ["a", "b"], False)


async def test_a_hanging_agent_is_timed_out_and_the_others_stand() -> None:
    infra = SharedInfra()
    result = await run([spec("a", timeout_s=30), spec("b")], who=by_name(a=Reply(hangs=True)), infra=infra)

    assert result.failed == ["a"]
    assert "I am b" in result.answer
    assert story(infra.log, "a") == ["started", "failed"]


# Building one


def test_nobody_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Swarm([])
    with pytest.raises(ValueError, match="at least one"):
        Swarm([], synthesizer=spec("s"))


@pytest.mark.parametrize("synthesizer", [None, spec("c")])
def test_two_of_one_name_are_a_value_error(synthesizer: AgentSpec | None) -> None:
    members = specs("aba") if synthesizer is None else specs("abc")
    with pytest.raises(ValueError, match="called"):
        Swarm(members, synthesizer=synthesizer)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"mode": "paralel"}, "mode"),
        ({"mode": ""}, "mode"),
        ({"rounds": 0}, "rounds"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"quote_limit": -1}, "quote_limit"),
    ],
)
def test_an_option_that_can_not_be_is_a_value_error(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Swarm(specs("ab"), **arguments)


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_an_agent_without_a_name_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        AgentSpec(name, "")


@pytest.mark.parametrize("member", ["a", None, 5, {"name": "a"}])
def test_a_member_is_a_spec_or_a_pattern(member: Any) -> None:
    with pytest.raises(TypeError, match="AgentSpec"):
        Swarm([member])
