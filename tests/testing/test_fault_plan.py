"""What goes wrong is what was planned, at the call that was meant, and it is written down."""

from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool import AgentSpec, BudgetLimits, MapReduce, SharedInfra, Swarm, TokenAccounting, open_run
from carpool.runners.model import ModelError
from carpool.testing import (
    Deadlock,
    Ended,
    FaultPlan,
    Reply,
    ScriptedRunner,
    VirtualClock,
    cancel_at_every_await,
    check_pattern,
)

from ..scenes import assert_nothing_left, spec, specs, story, tokens


def plan(answer: str = "ok") -> FaultPlan:
    return FaultPlan(ScriptedRunner(default=answer))


async def errors(runner: FaultPlan, *agents: AgentSpec, infra: SharedInfra | None = None) -> list[str]:
    """The error of each, one after the other; ``""`` for none."""
    async with open_run(runner=runner, infra=infra) as run:
        return [(await run.agent(agent, "t")).error or "" for agent in agents]


def mappers(count: int, **fields: Any) -> list[AgentSpec]:
    return [AgentSpec(f"mapper_{number}", "map", role="mapper", **fields) for number in range(1, count + 1)]


# Sentences


async def test_the_third_mapper_times_out_after_spending_900_tokens(clock: VirtualClock) -> None:
    inner = ScriptedRunner(default=Reply("ok", spends=tokens(10)))
    runner = FaultPlan(inner).nth(3, "mapper").times_out(spends=tokens(900))
    infra = SharedInfra(clock=clock)
    team = MapReduce(spec("mapper", timeout_s=60), spec("reducer"))
    result = await team.run("t", runner=runner, infra=infra, items=["a", "b", "c", "d"])

    assert [output.succeeded for output in result.map_outputs] == [True, True, False, True]
    assert result.map_outputs[2].outcome.status == "timeout"
    assert result.map_outputs[2].tokens == tokens(900)
    assert infra.budget.snapshot().total_tokens == inner.bill.total.total_tokens + runner.spent.total_tokens == 940
    assert clock.monotonic() == 60
    assert [(strike.fault, strike.agent, strike.call) for strike in runner.struck] == [
        ("the 3rd call of mapper times out after spending 900 tokens", "mapper_2", 3)
    ]
    assert runner.never_struck == []


async def test_every_fifth_call_is_rate_limited() -> None:
    runner = plan().every(5).is_rate_limited(retry_after_s=2)
    found = await errors(runner, *mappers(11))

    assert [number for number, error in enumerate(found, 1) if error] == [5, 10]
    assert found[4] == "ModelError: mapper_5: rate limit reached (429)"
    assert runner.struck[0].fault == "every 5th call is rate limited"


def test_ten_per_cent_of_all_calls_fail_and_the_seed_says_which() -> None:
    def struck(seed: int) -> list[int]:
        runner = plan().chance(0.1, seed=seed).raises(ConnectionResetError("reset by peer"))
        clock = VirtualClock()
        found = clock.run(errors, runner, *mappers(400))
        assert set(found) == {"", "ConnectionResetError: reset by peer"}
        assert len(runner.struck) == sum(map(bool, found))
        return [strike.call for strike in runner.struck]

    seven = struck(7)
    assert seven == struck(7)
    assert seven[:6] == [3, 7, 20, 22, 32, 36]  # in every process, and in every version of Python
    assert 20 <= len(seven) <= 60
    assert struck(8) != seven


async def test_the_first_two_calls_of_each_retry_later() -> None:
    runner = plan().first(2, "a").raises(OSError)
    infra = SharedInfra()
    found = await errors(runner, spec("a", retries=2), spec("b"), infra=infra)

    assert found == ["", ""]
    assert story(infra.log, "a") == ["started", "retrying", "started", "retrying", "started", "finished"]
    assert [strike.fault for strike in runner.struck] == ["each of the first 2 calls of a raises OSError"] * 2


async def test_sentences_can_be_chained_and_read_well() -> None:
    runner = (
        plan()
        .nth(1)
        .returns("")
        .nth(2, "b")
        .is_slow(1.5, spends=TokenAccounting(input_tokens=1, output_tokens=2, cost_usd=0.25))
        .every(1, "c")
        .swallows_cancellation()
        .nth(23)
        .swallows_cancellation(2)
        .nth(112)
        .raises(OSError("disk"))
        .chance(0.125, seed=1, of="d")
        .times_out()
    )

    assert isinstance(runner, FaultPlan)
    assert runner.never_struck == [
        "the 1st call returns ''",
        "the 2nd call of b is slow by 1.5 s after spending 3 tokens and $0.25",
        "every call of c swallows 1 cancellation",
        "the 23rd call swallows 2 cancellations",
        "the 112th call raises OSError('disk')",
        "with a chance of 12.5 % (seed 1) a call of d times out",
    ]


# Which calls


async def test_calls_are_counted_by_role_by_name_or_all_together() -> None:
    runner = plan()
    runner.nth(2, "mapper").raises(OSError("role"))
    runner.nth(1, "mapper_3").raises(OSError("name"))
    runner.nth(5).raises(OSError("any"))
    found = await errors(runner, spec("other"), *mappers(3), spec("other"))

    assert found == ["", "", "OSError: role", "OSError: name", "OSError: any"]
    assert [strike.call for strike in runner.struck] == [2, 1, 5]


async def test_calls_are_counted_as_they_arrive_and_not_as_they_end() -> None:
    inner = ScriptedRunner({f"mapper_{number}": Reply(after_s=10 - number) for number in range(1, 6)})
    runner = FaultPlan(inner).nth(2).raises(OSError)
    async with open_run(runner=runner) as run:
        outputs = await run.fan_out([(each, "t") for each in mappers(5)], 5)

    assert [output.error is not None for output in outputs] == [False, True, False, False, False]


async def test_a_retry_is_a_call() -> None:
    runner = plan().nth(2).raises(OSError)

    assert await errors(runner, spec("a", retries=1), spec("b", retries=1)) == ["", ""]
    assert [(strike.agent, strike.call) for strike in runner.struck] == [("b", 2)]


async def test_of_two_that_are_due_the_first_planned_strikes_and_the_other_has_missed_its_turn() -> None:
    runner = plan()
    runner.every(2).raises(OSError("even"))
    runner.nth(4).raises(OSError("four"))
    runner.nth(3).raises(OSError("three"))
    found = await errors(runner, *mappers(4))

    assert found == ["", "OSError: even", "OSError: three", "OSError: even"]
    assert runner.never_struck == ["the 4th call raises OSError('four')"]


async def test_what_nothing_strikes_is_the_runners_own() -> None:
    inner = ScriptedRunner({"a": Reply(returns=7), "b": Reply(raises=KeyError("x"))})
    runner = FaultPlan(inner).nth(9).raises(OSError)
    found = await errors(runner, *specs("ab"))

    assert found[0].startswith("TypeError: the runner returned a int")
    assert found[1] == "KeyError: 'x'"
    assert (runner.struck, runner.never_struck) == (
        [],
        ["the 9th call raises <class 'OSError'>"],
    ) or runner.never_struck


@given(share=st.floats(0, 1), seed=st.integers())
@settings(max_examples=30, deadline=None)
def test_about_as_many_are_struck_as_the_chance_says(share: float, seed: int) -> None:
    async def main() -> int:
        runner = plan().chance(share, seed=seed).returns("")
        runtime = SharedInfra().make_runtime()
        for _ in range(400):
            await runner.run(spec("a"), "t", runtime, None)
        return len(runner.struck)

    assert abs(VirtualClock().run(main) - 400 * share) <= 60  # six times the widest standard deviation


def test_certain_and_impossible_are_taken_at_their_word() -> None:
    clock = VirtualClock()
    always, never = plan().chance(1, seed=0).raises(OSError), plan().chance(0.0, seed=0).raises(OSError)

    assert all(clock.run(errors, always, *mappers(50)))
    assert not any(clock.run(errors, never, *mappers(50)))


# What befalls them


async def test_a_rate_limit_is_the_error_that_a_model_runner_raises() -> None:
    runner = plan().every(1).is_rate_limited(retry_after_s=0.5)
    with pytest.raises(ModelError, match="some:model: rate limit reached") as caught:
        await runner.run(spec("a", model="some:model"), "t", SharedInfra().make_runtime(), None)

    error = caught.value
    assert (error.kind, error.status, error.retry_after_s, error.refused) == ("transient", 429, 0.5, True)


@pytest.mark.parametrize("anything", ["", None, 7, object()])
async def test_anything_can_come_back(anything: object) -> None:
    runner = plan().nth(1).returns(anything)
    async with open_run(runner=runner) as run:
        output = await run.agent(spec("a"), "t")

    assert not output.succeeded
    assert (output.error is None) == (anything == "")


async def test_one_that_hangs_waits_for_its_timeout_or_for_a_cancellation(clock: VirtualClock) -> None:
    runner = plan().every(1).times_out()
    found = await errors(runner, spec("a", timeout_s=7))
    with anyio.move_on_after(10) as scope:
        await errors(runner, spec("a"))

    assert "7 s" in found[0]
    assert scope.cancelled_caught
    assert clock.monotonic() == 17


def test_one_that_hangs_for_ever_is_a_deadlock() -> None:
    with pytest.raises(Deadlock):
        VirtualClock().run(errors, plan().nth(1).times_out(), spec("a"))


async def test_a_slow_one_answers_later(clock: VirtualClock) -> None:
    runner = plan("here").nth(1).is_slow(30, spends=tokens(5))
    infra = SharedInfra(clock=clock)
    async with open_run(runner=runner, infra=infra) as run:
        output = await run.agent(spec("a"), "t")

    assert (output.answer, output.tokens, clock.monotonic()) == ("here", tokens(5), 30)


@pytest.mark.parametrize("times", [1, 2, 4])
async def test_one_that_swallows_cancellations_answers_all_the_same(times: int) -> None:
    inner = ScriptedRunner({"a": Reply("still here", after_s=5, spends=tokens(3))})
    runner = FaultPlan(inner).nth(1).swallows_cancellation(times)
    infra = SharedInfra()
    with anyio.move_on_after(1) as scope:
        await errors(runner, spec("a"), infra=infra)

    assert scope.cancelled_caught
    assert story(infra.log, "a") == ["started", "finished"]
    assert infra.budget.snapshot().total_tokens == 3
    assert_nothing_left(infra)


async def test_what_is_spent_before_the_fault_is_charged_and_stops_who_comes_after() -> None:
    runner = plan().nth(1).raises(OSError, spends=tokens(50))
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=50))
    found = await errors(runner, *specs("ab"), infra=infra)

    assert found[0].startswith("OSError")
    assert found[1].startswith("max_total_tokens reached")
    assert infra.budget.snapshot().total_tokens == 50
    assert runner.spent == tokens(50)


async def test_where_there_is_no_lease_nothing_is_charged() -> None:
    runner = plan().nth(1).returns("", spends=tokens(5))

    assert await runner.run(spec("a"), "t", SharedInfra().make_runtime(), None) == ""


# Wrong plans


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "3", None])
def test_a_number_that_is_none_is_refused(number: Any) -> None:
    for wrong in (
        lambda: plan().nth(number),
        lambda: plan().first(number),
        lambda: plan().every(number),
        lambda: plan().nth(1).swallows_cancellation(number),
    ):
        with pytest.raises(ValueError, match="must be a whole number of 1 or more"):
            wrong()


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), True, "0.1"])
def test_a_share_that_is_none_is_refused(share: Any) -> None:
    with pytest.raises(ValueError, match="share must be a number from 0 to 1"):
        plan().chance(share, seed=1)


def test_what_can_not_befall_is_refused() -> None:
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="by_s must be"):
            plan().nth(1).is_slow(seconds)
    with pytest.raises(TypeError, match="spends is a TokenAccounting, not 900"):
        plan().nth(1).times_out(spends=900)
    with pytest.raises(TypeError, match="a runner"):
        FaultPlan(7)


# Around a team


def test_a_pattern_keeps_its_rules_under_faults() -> None:
    check_pattern(lambda: Swarm(specs("ab")), runner=lambda: plan().every(2, "b").raises(OSError), every=3)


@pytest.mark.parametrize("how", ["task", "scope"])
def test_cancelled_anywhere_a_plan_leaves_nothing(how: Any) -> None:
    class Scene:
        def __init__(self, clock: VirtualClock) -> None:
            self.infra = SharedInfra(clock=clock)
            self.runner = plan()
            self.runner.nth(1, "a").raises(OSError, spends=tokens(1))
            self.runner.nth(1, "b").is_slow(3, spends=tokens(10))
            self.runner.nth(1, "c").times_out(spends=tokens(100))
            self.runner.nth(1, "d").is_rate_limited(spends=tokens(1000))

        async def run(self) -> object:
            agents = [*specs("ab"), spec("c", timeout_s=5), spec("d")]
            return await Swarm(agents, max_concurrent=2).run("t", runner=self.runner, infra=self.infra)

        def check(self, ended: Ended) -> None:
            assert_nothing_left(self.infra)
            assert self.infra.budget.snapshot().total_tokens == self.runner.spent.total_tokens

    cancel_at_every_await(Scene, how=how)
