"""Votes of many voters, and of voters with a slot each."""

from carpool import AgentSpec, Pattern, Swarm, Vote


async def same(spec, task, runtime, mailbox) -> str:
    return "x"


def voters(count: int) -> list[AgentSpec]:
    return [AgentSpec(f"a{number}", "vote") for number in range(count)]


async def test_with_a_slot_for_each_every_voter_is_asked_however_fast_they_are() -> None:
    result = await Vote(voters(5)).run("t", runner=same)

    assert [vote.name for vote in result.votes] == ["a0", "a1", "a2", "a3", "a4"]


async def test_with_fewer_slots_the_count_is_kept_vote_by_vote() -> None:
    result = await Vote(voters(5_000), max_concurrent=2).run("t", runner=same)

    assert result.winner == "x"
    assert 2_501 <= len(result.votes) <= 2_503


async def test_a_pattern_that_forgets_its_result_is_a_failed_member() -> None:
    class Forgetful(Pattern):
        async def execute(self, run, task):
            await run.agent(AgentSpec("inner", "p"), task)

    result = await Swarm([Forgetful(), AgentSpec("z", "p")]).run("t", runner=same)

    assert result.failed == ["forgetful"]
    assert "return run.result" in (result.outputs[0].error or "")
