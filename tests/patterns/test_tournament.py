"""Single elimination: byes, seeds, judges who can't be read, judges who always say the same."""

import json
from collections.abc import Callable
from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool import (
    AgentFailed,
    AgentLimitReached,
    BudgetExhausted,
    BudgetLimits,
    NoOutput,
    SharedInfra,
    Tournament,
    TournamentResult,
)
from carpool.testing import Reply, ScriptedRunner, VirtualClock

from ..scenes import names, spec, specs

LETTERS = "abcdefghikl"  # without the judge


def judge(winner: str, rationale: str = "so") -> str:
    return json.dumps({"winner": winner, "rationale": rationale})


def shown(task: str, side: str) -> str:
    """The answer that a judge is shown on this side."""
    return task.split(f"<<<answer {side}>>>\n")[1].split("\n<<<end")[0]


def fair(better: Callable[[str, str], bool]) -> Callable[..., str]:
    def decide(who: object, task: str) -> str:
        return judge("a" if better(shown(task, "a"), shown(task, "b")) else "b")

    return decide


def runner_with(decide: object) -> ScriptedRunner:
    return ScriptedRunner({"j": decide}, default=lambda who, _: f"I am {who.name}")


async def play(count: int, decide: object, *, both_orders: bool = False) -> TournamentResult:
    return await Tournament(specs(LETTERS[:count]), spec("j"), both_orders).run("go", runner=runner_with(decide))


@given(st.permutations(LETTERS), st.integers(1, 11))
def test_the_best_wins_in_as_few_rounds_as_can_be(strength: list[str], count: int) -> None:
    def better(a: str, b: str) -> bool:
        return strength.index(a[-1]) < strength.index(b[-1])

    result = VirtualClock().run(lambda: play(count, fair(better)))

    assert result.winner_name == min(LETTERS[:count], key=strength.index) == result.ranking[0]
    assert result.answer == result.winner_answer == f"I am {result.winner_name}"
    assert len(result.matches) == count - 1
    assert max((match.round for match in result.matches), default=0) == (ceil(log2(count)) if count > 1 else 0)
    assert sorted(result.ranking) == list(LETTERS[:count])


async def test_the_ranking_is_by_round_then_by_seed() -> None:
    result = await play(8, judge("a"))

    lost_in = {match.b: match.round for match in result.matches}
    rounds = [lost_in.get(name, 99) for name in result.ranking]
    assert rounds == sorted(rounds, reverse=True)
    assert result.ranking == ["a", "e", "c", "g", "b", "d", "f", "h"]


async def test_nobody_has_two_byes_before_everybody_has_one() -> None:
    result = await play(5, judge("a"))

    assert [(match.round, match.a, match.b) for match in result.matches] == [
        (1, "b", "c"),
        (1, "d", "e"),
        (2, "a", "d"),
        (3, "a", "b"),
    ]


async def test_judges_are_fresh_and_see_no_names() -> None:
    runner = runner_with(judge("a"))
    await Tournament(specs("abcd"), spec("j")).run("go", runner=runner)

    judges = [call for call in runner.bill.calls if call.spec.role == "j"]
    assert [call.agent for call in judges] == ["j_r1_m1", "j_r1_m2", "j_r2_m1"]
    assert "answer of" not in judges[0].task


async def test_matches_of_a_round_run_side_by_side() -> None:
    runner = ScriptedRunner({"j": Reply(judge("a"), after_s=10)}, default="ok")
    result = await Tournament(specs("abcd"), spec("j")).run("go", runner=runner)

    assert result.winner_name == "a"
    first, second, final = (runner.bill.calls_of(f"j_{match}")[0] for match in ("r1_m1", "r1_m2", "r2_m1"))
    assert first.began == second.began
    assert final.began == first.ended


async def test_who_gave_no_answer_is_out() -> None:
    runner = ScriptedRunner({"a": Reply(raises=OSError), "j": judge("a")}, default="ok")
    result = await Tournament(specs("abc"), spec("j")).run("go", runner=runner)

    assert result.ranking == ["b", "c"]
    assert names(result.candidates) == ["a", "b", "c"]
    assert result.failed == ["a"]


async def test_one_who_is_left_wins_unjudged() -> None:
    runner = ScriptedRunner({"a": Reply(raises=OSError), "b": "ok"})
    result = await Tournament(specs("ab"), spec("j")).run("go", runner=runner)

    assert (result.winner_name, result.matches, len(runner.bill.calls)) == ("b", [], 2)


async def test_nobody_is_no_output_with_all_that_was_paid_for() -> None:
    with pytest.raises(NoOutput) as caught:
        await Tournament(specs("ab"), spec("j")).run("go", runner=ScriptedRunner(default=Reply(raises=OSError)))

    assert type(caught.value.partial) is TournamentResult
    assert names(caught.value.partial.candidates) == ["a", "b"]
    assert caught.value.partial.stop_reason == "no_output"


async def test_nobody_for_want_of_budget_says_so() -> None:
    with pytest.raises(NoOutput) as caught:
        await Tournament(specs("ab"), spec("j")).run(
            "go", runner=ScriptedRunner(), infra=SharedInfra(budget=BudgetLimits(max_agents=0))
        )

    assert caught.value.partial.stop_reason == "budget_exhausted"


async def test_a_judge_unreadable_twice_leaves_it_to_the_better_seed() -> None:
    result = await play(2, "b is better")

    (match,) = result.matches
    assert (match.winner, match.decided, match.rationale) == ("a", False, "")
    assert names(result.outputs) == ["a", "b", "j_r1_m1", "j_r1_m1"]


# Both orders


async def test_agreement_in_both_orders_decides() -> None:
    result = await play(2, fair(lambda a, b: a > b), both_orders=True)

    (match,) = result.matches
    assert (match.winner, match.decided) == ("b", True)
    assert names(result.outputs) == ["a", "b", "j_r1_m1", "j_r1_m1_swapped"]


@pytest.mark.parametrize("always", ["a", "b"])
async def test_a_judge_who_always_says_the_same_decides_nothing(always: str) -> None:
    result = await play(4, judge(always), both_orders=True)

    assert [match.decided for match in result.matches] == [False] * 3
    assert result.ranking == ["a", "c", "b", "d"]


async def test_a_tie_break_shows_the_reasons_on_the_right_side() -> None:
    def decide(who: object, task: str) -> str:
        if "disagreed" in task:
            return judge("a" if shown(task, "a").endswith("b") else "b", "after all")
        return judge("a", f"for {shown(task, 'a')}")

    runner = runner_with(decide)
    result = await Tournament(specs("ab"), spec("j"), both_orders=True).run("go", runner=runner)

    (match,) = result.matches
    assert (match.winner, match.decided, match.rationale) == ("b", True, "after all")
    straight, swapped = (runner.bill.calls_of(f"j_r1_m1_tiebreak{end}")[0].task for end in ("", "_swapped"))
    assert "<<<a reason for answer a>>>\nfor I am a\n" in straight
    assert "<<<a reason for answer a>>>\nfor I am b\n" in swapped


async def test_one_unreadable_order_leaves_it_undecided() -> None:
    runner = ScriptedRunner({"j_r1_m1": judge("b"), "j_r1_m1_swapped": "hm"}, default="ok")
    result = await Tournament(specs("ab"), spec("j"), both_orders=True).run("go", runner=runner)

    (match,) = result.matches
    assert (match.winner, match.decided) == ("a", False)


# Ends


async def test_a_failed_judge_ends_the_run_with_the_matches_so_far() -> None:
    runner = ScriptedRunner({"j_r2_m1": Reply(raises=OSError("no line")), "j": judge("b")}, default="ok")
    with pytest.raises(AgentFailed, match="no line") as caught:
        await Tournament(specs("abcd"), spec("j")).run("go", runner=runner)

    partial = caught.value.partial
    assert caught.value.name == "j_r2_m1"
    assert [(match.a, match.b, match.winner) for match in partial.matches] == [("a", "b", "b"), ("c", "d", "d")]
    assert partial.ranking == ["b", "d", "a", "c"]
    assert (partial.winner_name, partial.answer) == ("", "")


async def test_a_judge_who_failed_takes_no_other_match_of_the_round_with_it() -> None:
    runner = ScriptedRunner({"j_r1_m1": Reply(raises=OSError), "j": judge("b")}, default="ok")
    with pytest.raises(AgentFailed) as caught:
        await Tournament(specs("abcd"), spec("j")).run("go", runner=runner)

    assert [match.winner for match in caught.value.partial.matches] == ["d"]


@pytest.mark.parametrize("most", [4, 5, 6])
async def test_a_refused_judge_ends_the_run_with_that_refusal(most: int) -> None:
    infra = SharedInfra(budget=BudgetLimits(max_agents=most))
    with pytest.raises(AgentLimitReached) as caught:
        await Tournament(specs("abcd"), spec("j")).run("go", runner=runner_with(judge("a")), infra=infra)

    assert caught.value.started == most
    assert len(caught.value.partial.matches) == most - 4
    assert caught.value.partial.stop_reason == "budget_exhausted"


async def test_a_limit_of_the_judge_alone_is_the_judges_refusal() -> None:
    arbiter = spec("j", budget=BudgetLimits(max_total_tokens=0))
    with pytest.raises(BudgetExhausted):
        await Tournament(specs("ab"), arbiter).run("go", runner=ScriptedRunner(default="ok"))


def test_its_plan_counts_matches_orders_and_second_replies() -> None:
    one, both = (Tournament(specs("abcde"), spec("j"), orders).plan() for orders in (False, True))

    assert (one.agents_min, one.agents_max) == (5 + 4, 5 + 8)
    assert (both.agents_min, both.agents_max) == (5 + 8, 5 + 32)


def test_what_it_is_made_of_is_checked() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Tournament([], spec("j"))
    with pytest.raises(ValueError, match="called 'a'"):
        Tournament(specs("ab"), spec("a"))
    with pytest.raises(ValueError, match="max_concurrent"):
        Tournament(specs("ab"), spec("j"), max_concurrent=0)
