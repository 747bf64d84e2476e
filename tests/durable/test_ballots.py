"""What each vote changed, against a vote that is counted anew after each of them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool import AgentOutput, AgentSpec, Pipeline, SharedInfra, TokenAccounting, Vote, prompts
from carpool.durable import AgentRecord, MemoryJournal, document_of
from carpool.durable.ballots import Ballot, ballots_of
from carpool.patterns.answers import normalise

from .test_readings import agent, document

COST = TokenAccounting(input_tokens=10)


def vote(*answers: str, path: str = "vote") -> list[AgentRecord]:
    """One voter for each answer; an empty one failed."""
    return [
        agent(f"{path}/v{n}", answer=answer, at=n, **({} if answer else {"status": "failed"}))
        for n, answer in enumerate(answers)
    ]


def ballot(*answers: str) -> Ballot:
    (found,) = ballots_of(document(*vote(*answers)))
    return found


def winner_of(answers: list[str]) -> str:
    """As a vote decides it: most first; of a tie, who got there first."""
    counts: Counter[str] = Counter()
    reached: dict[str, int] = {}
    for place, answer in enumerate(filter(None, answers)):
        counts[answer] += 1
        reached[answer] = place
    return min(counts, key=lambda answer: (-counts[answer], reached[answer]), default="")


@given(st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=14))
def test_after_each_vote_the_winner_is_who_would_win_if_it_were_the_last(answers: list[str]) -> None:
    found = ballot(*answers)

    winners = [winner_of(answers[: k + 1]) for k in range(len(answers))]
    assert [each.winner for each in found.votes] == winners
    assert found.winner == winners[-1]
    assert found.winner_votes == sum(answer == found.winner for answer in answers if answer)
    changes = [k + 1 for k in range(len(answers)) if winners[k] != (winners[k - 1] if k else "")]
    assert [k + 1 for k, each in enumerate(found.votes) if each.changed] == changes
    assert found.settled_after == max(changes, default=0)


@given(st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=9), st.data())
def test_once_it_is_decided_nothing_that_is_still_out_can_change_it(answers: list[str], data: st.DataObject) -> None:
    found = ballot(*answers)
    if found.winner == "":
        return
    late = st.lists(
        st.sampled_from(["a", "b", "z", ""]),
        min_size=len(answers) - found.decided_after,
        max_size=len(answers) - found.decided_after,
    )

    others = data.draw(late)

    assert winner_of(answers[: found.decided_after] + others) == found.winner
    assert found.decided_after >= found.settled_after


def test_answers_that_a_vote_takes_for_the_same_are_counted_as_one() -> None:
    found = ballot("Paris", "Rome", " **paris.** ")

    assert (found.winner, found.winner_votes) == ("Paris", 2)
    assert normalise("Paris") == normalise(" **paris.** ")


def test_what_votes_cost_after_it_was_decided_is_surplus() -> None:
    found = ballot("a", "a", "a", "b", "b")

    assert found.decided_after == 3
    assert found.surplus == TokenAccounting(input_tokens=200)


def test_of_a_vote_that_nobody_won_nothing_was_surplus() -> None:
    found = ballot("", "")

    assert (found.winner, found.winner_votes, found.settled_after, found.decided_after) == ("", 0, 0, 2)
    assert found.surplus == TokenAccounting()


def test_a_vote_by_another_name_is_recognised_by_its_synthesizer() -> None:
    voters = vote("a", "b", "a", path="panel")
    told = prompts.verdict_on_votes("What?", {"a": 2, "b": 1}, [each.output for each in voters if each.output])
    synthesizer = agent("panel/editor", told, "It is a.", at=9)

    (found,) = ballots_of(document(*voters, synthesizer))

    assert (found.path, found.winner, len(found.votes)) == ("panel", "a", 3)
    assert ballots_of(document(*voters)) == []


def test_a_vote_in_which_a_pattern_votes_is_not_told_of() -> None:
    inner = [agent("vote/swarm/a", answer="1", roles="vote/swarm/a")]

    assert ballots_of(document(*vote("a", "b"), *inner)) == []


def test_agents_that_a_voter_asked_for_are_no_voters() -> None:
    helper = agent("vote/v0/helper", answer="z", parent="vote/v0")

    (found,) = ballots_of(document(*vote("a", "b"), helper))

    assert [each.voter for each in found.votes] == ["vote/v0", "vote/v1"]


@pytest.mark.parametrize("early", [True, False])
async def test_a_real_vote_ends_as_its_ballot_says(early: bool) -> None:
    answers = dict(zip("abcdefg", ["Rome", "Paris", "Paris", "rome", "Rome.", "Rome", "Oslo"], strict=True))

    async def runner(spec, task, runtime, mailbox):
        return AgentOutput(name=spec.name, answer=answers.get(spec.name, "so it is"), tokens=COST)

    journal = MemoryJournal()
    voters = Vote([AgentSpec(name, "Vote.") for name in answers], max_concurrent=1, stop_when_decided=early)
    team = Pipeline([voters, AgentSpec("editor", "Write.")])

    result = await team.run("Where?", runner=runner, infra=SharedInfra(journal=journal), run_id="r")

    (found,) = ballots_of(document_of(await journal.read("r"), live=False))
    voted = result.nested["vote"][0]
    assert (found.path, found.winner, found.winner_votes) == ("pipeline/vote", voted.winner, max(voted.tally.values()))
    assert len(found.votes) == len(voted.votes)
    assert [each.answer for each in found.votes] == [each.answer for each in voted.votes]
