"""Advice is bounded, counted when it was given, and never given by what can't be read."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from carpool import (
    Advisor,
    AdvisorResult,
    AgentFailed,
    AgentLimitReached,
    BudgetLimits,
    SharedInfra,
    Swarm,
    TokenAccounting,
    ToolError,
)
from carpool.errors import AdvisorExhausted
from carpool.testing import Reply, ScriptedRunner

from ..scenes import assert_nothing_left, names, spec, specs

STOP = '{"verdict": "stop", "guidance": "it is done"}'
PLAN = '{"verdict": "plan", "guidance": "first this"}'


def consults(*questions: str, at_once: bool = False) -> Reply:
    async def act(who, task, runtime, mailbox) -> str:
        got: list[Any] = [None] * len(questions)

        async def ask(place: int) -> None:
            try:
                got[place] = await runtime.call_tool("consult_advisor", question=questions[place])
            except ToolError as error:
                got[place] = f"! {error.message}"

        async with anyio.create_task_group() as group:
            for place in range(len(questions)):
                if at_once:
                    group.start_soon(ask, place)
                else:
                    await ask(place)
        return json.dumps(got)

    return Reply(does=act)


# By itself


async def test_a_consultation_gives_verdict_and_guidance() -> None:
    runner = ScriptedRunner({"a": PLAN})
    result = await Advisor(spec("a"), 3).consult("What now?", runner=runner)

    assert (result.verdict, result.guidance, result.answer) == ("plan", "first this", "first this")
    assert (result.used, result.max_uses) == (1, 3)
    assert "<<<the question>>>\nWhat now?\n" in runner.bill.calls[0].task


async def test_a_refused_consultation_changes_nothing() -> None:
    advisor, runner, infra = Advisor(spec("a"), 1), ScriptedRunner({"a": PLAN}), SharedInfra()
    await advisor.consult("1", runner=runner, infra=infra)
    events = len(infra.log)
    with pytest.raises(AdvisorExhausted) as caught:
        await advisor.consult("2", runner=runner, infra=infra)

    assert (caught.value.used, caught.value.max_uses, advisor.used) == (1, 1, 1)
    assert len(infra.log) == events
    assert len(runner.bill.calls) == 1


async def test_consultations_at_once_are_never_more_than_allowed() -> None:
    advisor, runner = Advisor(spec("a"), 2), ScriptedRunner({"a": Reply(PLAN, after_s=5)})
    refused: list[AdvisorExhausted] = []

    async def ask() -> None:
        try:
            await advisor.consult("?", runner=runner)
        except AdvisorExhausted as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)

    assert (len(refused), len(runner.bill.calls), advisor.used) == (3, 2, 2)


async def test_a_consultation_that_the_budget_refused_does_not_count() -> None:
    advisor, infra = Advisor(spec("a"), 1), SharedInfra(budget=BudgetLimits(max_agents=0))
    with pytest.raises(AgentLimitReached) as caught:
        await advisor.consult("?", runner=ScriptedRunner(), infra=infra)

    assert advisor.used == 0
    assert type(caught.value.partial) is AdvisorResult
    assert caught.value.partial.used == 0
    infra.raise_limits(BudgetLimits(max_agents=1))
    assert (await advisor.consult("?", runner=ScriptedRunner({"a": PLAN}), infra=infra)).used == 1


async def test_one_that_failed_was_made() -> None:
    advisor = Advisor(spec("a"), 1)
    with pytest.raises(AgentFailed, match="no line"):
        await advisor.consult("?", runner=ScriptedRunner({"a": Reply(raises=OSError("no line"))}))

    assert advisor.used == 1


async def test_one_whose_second_reply_was_refused_was_made() -> None:
    advisor, infra = Advisor(spec("a"), 1), SharedInfra(budget=BudgetLimits(max_agents=1))
    with pytest.raises(AgentLimitReached):
        await advisor.consult("?", runner=ScriptedRunner({"a": "hm"}), infra=infra)

    assert advisor.used == 1


async def test_one_that_was_stopped_at_work_was_made() -> None:
    advisor = Advisor(spec("a"), 1)
    with anyio.move_on_after(1):
        await advisor.consult("?", runner=ScriptedRunner({"a": Reply(hangs=True)}))

    assert advisor.used == 1


async def test_one_that_was_stopped_while_it_waited_was_not_made() -> None:
    hold = TokenAccounting(input_tokens=60)
    advisor = Advisor(spec("a", estimate=hold), 1)
    infra = SharedInfra(budget=BudgetLimits(max_input_tokens=100))
    with infra.begin_agent(hold) as lease:
        with anyio.move_on_after(1):
            await advisor.consult("?", runner=ScriptedRunner({"a": PLAN}), infra=infra)
        lease.settle(TokenAccounting())

    assert advisor.used == 0


async def test_what_cannot_be_read_twice_is_uncertain() -> None:
    result = await Advisor(spec("a"), 3).consult("?", runner=ScriptedRunner({"a": "Continue, by all means!"}))

    assert (result.verdict, result.guidance) == ("uncertain", "Continue, by all means!")
    assert (result.used, len(result.outputs)) == (1, 2)


async def test_an_advisor_under_another_name_counts_for_itself() -> None:
    advisor, runner = Advisor(spec("a"), 1), ScriptedRunner({"a": PLAN})
    other = advisor.named("other")
    await advisor.consult("?", runner=runner)

    assert (advisor.used, other.used) == (1, 0)
    await other.consult("?", runner=runner)


# As a pattern


async def work(executor: Reply, advice: Any = PLAN, *, most: int = 2, infra: SharedInfra | None = None):
    runner = ScriptedRunner({"e": executor, "a": advice})
    result = await Advisor(spec("a"), most, spec("e")).run("go", runner=runner, infra=infra)
    return result, json.loads(result.answer), runner


async def test_the_executor_asks_and_goes_on() -> None:
    result, got, runner = await work(consults("1", "2"))

    assert got == [{"verdict": "plan", "guidance": "first this", "used": used, "max_uses": 2} for used in (1, 2)]
    assert names(result.outputs) == ["e", "a_1", "a_2"]
    assert (result.used, result.verdict, result.guidance) == (2, "plan", "first this")
    assert runner.bill.calls[1].spec.tools == []


async def test_beyond_max_uses_the_executor_is_told_to_go_on_without() -> None:
    result, got, runner = await work(consults("1", "2", "3", at_once=True))

    assert got[2] == "! the advisor was consulted 2 of at most 2 times; go on without it"
    assert (result.used, len(runner.bill.calls)) == (2, 3)


async def test_uses_are_counted_for_each_run_anew() -> None:
    runner = ScriptedRunner({"e": consults("1"), "a": PLAN})
    pattern = Advisor(spec("a"), 1, spec("e"))
    results = [await pattern.run("go", runner=runner) for _ in range(2)]

    assert [result.used for result in results] == [1, 1]
    assert pattern.used == 0


async def test_the_latest_advice_is_that_on_the_latest_question() -> None:
    def advise(who, task) -> Reply:
        return Reply(PLAN, after_s=1) if "last" in task else Reply(STOP, after_s=9)

    result, _, _ = await work(consults("first", "last", at_once=True), advise)

    assert result.verdict == "plan"


async def test_a_refused_advisor_is_no_end_and_no_use() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_agents=1))
    result, got, _ = await work(consults("1"), infra=infra)

    assert got[0].startswith("! the advisor was not asked, go on without it: agent limit reached")
    assert (result.used, result.verdict, result.stop_reason) == (0, None, "budget_exhausted")


async def test_a_failed_advisor_is_no_end() -> None:
    result, got, _ = await work(consults("1"), Reply(raises=OSError("no line")))

    assert got == ["! a_1 failed, go on without it: OSError: no line"]
    assert (result.used, result.failed) == (1, ["a_1"])


async def test_a_failed_executor_ends_the_run_with_its_consultations() -> None:
    with pytest.raises(AgentFailed, match="broke") as caught:
        await work(Reply(does=consults("1").does, raises=OSError("it broke")))

    partial = caught.value.partial
    assert type(partial) is AdvisorResult
    assert (partial.used, partial.verdict, names(partial.outputs)) == (1, "plan", ["e", "a_1"])


async def test_a_refused_executor_ends_the_run_with_that_refusal() -> None:
    with pytest.raises(AgentLimitReached):
        await work(consults("1"), infra=SharedInfra(budget=BudgetLimits(max_agents=0)))


async def test_the_executors_timeout_stops_the_advisor_and_keeps_what_it_said() -> None:
    infra = SharedInfra()
    runner = ScriptedRunner({"e": consults("1"), "a": ["hm", Reply(hangs=True)]})
    with pytest.raises(AgentFailed, match="timed out") as caught:
        await Advisor(spec("a"), 1, spec("e", timeout_s=5)).run("go", runner=runner, infra=infra)

    assert names(caught.value.partial.outputs) == ["e", "a_1"]
    assert_nothing_left(infra)


async def test_without_an_executor_the_task_is_the_question() -> None:
    result = await Swarm([Advisor(spec("a"), 1)]).run("What now?", runner=ScriptedRunner({"a": PLAN}))

    assert result.outputs[0].answer == "first this"


async def test_a_team_can_advise() -> None:
    board = Swarm(specs("xy"), synthesizer=spec("chair"))
    runner = ScriptedRunner({"e": consults("1"), "chair": STOP}, default="hm")
    result = await Advisor(board, 1, spec("e")).run("go", runner=runner)

    assert result.verdict == "stop"
    assert set(result.nested) == {"swarm_1"}


def test_what_it_is_made_of_is_checked() -> None:
    with pytest.raises(ValueError, match="max_uses"):
        Advisor(spec("a"), 0)
    with pytest.raises(ValueError, match="called 'a'"):
        Advisor(spec("a"), 1, spec("a"))
    with pytest.raises(ValueError, match="is a pattern"):
        Advisor(spec("a"), 1, Swarm(specs("ab")))
    with pytest.raises(ValueError, match="names tools"):
        Advisor(spec("a", tools=["look"]), 1)


def test_its_plan_counts_every_use_and_every_second_reply() -> None:
    alone, working = Advisor(spec("a"), 3).plan(), Advisor(spec("a"), 3, spec("e")).plan()

    assert (alone.agents_min, alone.agents_max) == (1, 2)
    assert (working.agents_min, working.agents_max) == (1, 7)
