"""The answer that most of them give."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool import BudgetLimits, SharedInfra, Vote, VoteResult
from carpool.testing import Reply, ScriptedRunner, VirtualClock

from ..scenes import names, spec, specs, tokens

LETTERS = "abcdefghij"


def voters(said: str | list[str], seconds: list[float] | None = None) -> ScriptedRunner:
    """Agent a says the first of it, b the second; ``!`` is a failure."""
    script: dict[str, Any] = {}
    for place, answer in enumerate(said):
        after_s = seconds[place] if seconds else 0.0
        script[LETTERS[place]] = Reply(answer, after_s=after_s, raises=OSError("no") if answer == "!" else None)
    return ScriptedRunner(script, default="synthesis")


async def vote(said: str | list[str], infra: SharedInfra | None = None, **more: Any) -> VoteResult:
    return await Vote(specs(LETTERS[: len(said)]), **more).run("Which?", runner=voters(said), infra=infra)


async def test_the_majority_wins() -> None:
    result = await vote("xyx")

    assert (result.winner, result.answer) == ("x", "x")
    assert result.agreement_ratio == pytest.approx(2 / 3)
    assert result.tally == {"x": 2, "y": 1}
    assert list(result.tally) == ["x", "y"]
    assert names(result.votes) == ["a", "b", "c"]


@pytest.mark.parametrize("said", [["Paris", "**paris.**", " PARIS! "], ["５", "5", '"5"'], ["a  b", "A\nB", "a b."]])
async def test_answers_are_counted_after_normalisation(said: list[str]) -> None:
    result = await vote(said)

    assert result.agreement_ratio == 1
    assert result.winner == said[0]


@pytest.mark.parametrize("said", [["5", "-5"], ["0.5", ".05"], ["yes", "no"], ["$5", "5%"], ["!?", "??"]])
async def test_different_answers_stay_different(said: list[str]) -> None:
    assert len((await vote(said)).tally) == 2


async def test_how_answers_are_compared_can_be_chosen() -> None:
    result = await vote(["yes, because", "no", "yes, since"], normalize=lambda answer: answer.split(",")[0])

    assert result.winner == "yes, because"


@pytest.mark.parametrize(
    ("said", "winner"), [("xy", "x"), ("yx", "y"), ("xyyx", "y"), ("xyxy", "x"), ("xyzzyx", "z"), ("!xy", "x")]
)
async def test_a_tie_goes_to_who_reached_the_count_first_in_agent_order(said: str, winner: str) -> None:
    assert (await vote(said)).winner == winner


async def test_speed_decides_nothing() -> None:
    slow_first = voters("xy", [10, 1])
    result = await Vote(specs("ab")).run("Which?", runner=slow_first)

    assert result.winner == "x"
    assert list(result.tally) == ["x", "y"]


async def test_failed_votes_do_not_count() -> None:
    result = await vote("x!!")

    assert (result.winner, result.agreement_ratio) == ("x", 1.0)
    assert result.failed == ["b", "c"]
    assert result.stop_reason == "completed"


async def test_no_vote_is_no_output() -> None:
    result = await vote("!!!")

    assert (result.winner, result.answer, result.stop_reason) == ("", "", "no_output")
    assert result.agreement_ratio == 0
    assert result.tally == {}


# Quorum


async def test_fewer_successful_votes_than_the_quorum_is_no_output_and_no_winner() -> None:
    result = await vote("xx!!", quorum=3, synthesizer=spec("s"))

    assert (result.winner, result.answer, result.stop_reason) == ("", "", "no_output")
    assert len(result.votes) == 4


async def test_as_many_as_the_quorum_are_enough() -> None:
    assert (await vote("xx!", quorum=2)).winner == "x"


async def test_a_vote_is_not_decided_before_the_quorum() -> None:
    result = await vote("xxxxx", quorum=5, max_concurrent=1)

    assert len(result.votes) == 5


async def test_a_quorum_that_can_not_be_reached_any_more_stops_the_vote() -> None:
    result = await vote("!!xxx", quorum=4, max_concurrent=1)

    assert names(result.votes) == ["a", "b"]
    assert result.stop_reason == "no_output"


@pytest.mark.parametrize("quorum", [0, -1, 4])
def test_a_quorum_that_can_not_be_is_a_value_error(quorum: int) -> None:
    with pytest.raises(ValueError, match="quorum"):
        Vote(specs("abc"), quorum=quorum)


# Stopping when decided


async def test_votes_that_can_change_nothing_any_more_are_not_started() -> None:
    who = voters("xxxyy")
    result = await Vote(specs("abcde"), max_concurrent=1).run("Which?", runner=who)

    assert who.bill.agents == ["a", "b", "c"]
    assert names(result.votes) == names(result.outputs) == ["a", "b", "c"]
    assert (result.winner, result.agreement_ratio) == ("x", 1.0)


async def test_running_ones_finish_and_count() -> None:
    who = voters("xyxxy", [1, 50, 1, 1, 1])
    result = await Vote(specs("abcde"), max_concurrent=2).run("Which?", runner=who)

    assert names(result.votes) == ["a", "b", "c", "d"]
    assert who.bill.calls_of("b")[0].end == "returned"
    assert result.tally == {"x": 3, "y": 1}


async def test_all_are_asked_when_told_so_or_when_there_are_slots_for_all() -> None:
    for more in ({"stop_when_decided": False, "max_concurrent": 1}, {"max_concurrent": 5}, {}):
        assert len((await vote("xxxyy", **more)).votes) == 5


@given(st.lists(st.sampled_from("xyz!"), min_size=1, max_size=8), st.integers(1, 4), st.integers(0, 3), st.data())
def test_stopping_early_never_changes_the_winner(said: list[str], slots: int, quorum: int, data: Any) -> None:
    seconds = data.draw(st.lists(st.integers(0, 5), min_size=len(said), max_size=len(said)))
    winners = []
    for early in (True, False):
        pattern = Vote(
            specs(LETTERS[: len(said)]),
            max_concurrent=slots,
            quorum=min(quorum, len(said)) or None,
            stop_when_decided=early,
        )
        clock = VirtualClock()
        result = clock.run(lambda pattern=pattern: pattern.run("Which?", runner=voters(said, seconds)))
        winners.append((result.winner, result.stop_reason))

    assert winners[0] == winners[1]


# The synthesizer


async def test_a_synthesizer_words_the_answer_and_the_winner_stands() -> None:
    who = voters("xyx")
    result = await Vote(specs("abc"), spec("s")).run("Which?", runner=who)

    assert (result.answer, result.winner) == ("synthesis", "x")
    assert names(result.outputs) == ["a", "b", "c", "s"]
    assert "2 of 3 votes" in who.bill.calls[-1].task


async def test_one_that_fails_or_is_denied_leaves_the_majority_answer() -> None:
    failing = ScriptedRunner({"s": Reply(raises=OSError)}, default="x")
    failed = await Vote(specs("ab"), spec("s")).run("Which?", runner=failing)
    denied = await vote("xx", SharedInfra(budget=BudgetLimits(max_agents=2)), synthesizer=spec("s"))

    assert (failed.answer, failed.failed) == ("x", ["s"])
    assert (denied.answer, denied.skipped, denied.stop_reason) == ("x", ["s"], "budget_exhausted")


# Denials


@pytest.mark.parametrize("slots", [1, None])
@pytest.mark.parametrize("cap", range(5))
async def test_a_denial_at_every_start_counts_the_votes_that_were_cast(cap: int, slots: int | None) -> None:
    infra = SharedInfra(budget=BudgetLimits(max_agents=cap))
    result = await vote("xyxyx", infra, max_concurrent=slots, stop_when_decided=False)

    assert sum(result.tally.values()) == cap
    assert len(result.votes) == 5
    assert result.stop_reason == "budget_exhausted"
    assert result.winner == ("x" if cap else "")


async def test_a_quorum_missed_for_want_of_budget_has_no_winner() -> None:
    for estimate in (None, tokens(0)):
        infra = SharedInfra(budget=BudgetLimits(max_agents=3))
        result = await vote("xxxxx", infra, quorum=4, max_concurrent=1, synthesizer=spec("s", estimate=estimate))
        assert (result.winner, result.answer) == ("", "")
        assert result.stop_reason in ("no_output", "budget_exhausted")


# Building one


def test_nobody_doubles_and_no_slots_are_value_errors() -> None:
    for build in (
        lambda: Vote([]),
        lambda: Vote(specs("aa")),
        lambda: Vote(specs("ab"), spec("a")),
        lambda: Vote(specs("ab"), max_concurrent=0),
    ):
        with pytest.raises(ValueError, match=r"at least one|called|max_concurrent"):
            build()
