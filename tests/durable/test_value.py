"""The value report: on documents made for it, and on what real patterns leave."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from carpool import (
    AgentOutput,
    AgentSpec,
    BudgetLimits,
    Delegator,
    MapReduce,
    Pattern,
    Pipeline,
    SharedInfra,
    Supervisor,
    Swarm,
    TokenAccounting,
    Tournament,
)
from carpool.durable import MemoryJournal, document_of
from carpool.durable.value import ValueReport, value_of

from .test_readings import LONG, START, agent, document

COST = TokenAccounting(input_tokens=80, output_tokens=20, cost_usd=0.5)


def spec(name: str, **fields: Any) -> AgentSpec:
    return AgentSpec(name, f"You are {name}.", **fields)


async def report_on(team: Pattern[Any], answer: Any, **infra: Any) -> ValueReport:
    """On a run of ``team`` in which agents answer what ``answer(spec, task)`` says, or raise what it returns."""

    async def runner(spec, task, runtime, mailbox):
        said = answer(spec, task)
        if isinstance(said, Exception):
            raise said
        return AgentOutput(name=spec.name, answer=said, tokens=COST, duration_ms=1.0)

    journal = MemoryJournal()
    await team.run("What is it about?", runner=runner, infra=SharedInfra(journal=journal, **infra), run_id="r")
    return value_of(document_of(await journal.read("r"), live=False))


def fates(report: ValueReport) -> dict[str, int]:
    return {share.fate: share.agents for share in report.shares if share.agents}


def distinct(spec: AgentSpec, task: str) -> str:
    return f"{spec.name} has something of its own to say about this"


# What became of what was spent


async def test_of_a_map_reduce_all_is_read_and_the_reducers_is_the_answer() -> None:
    report = await report_on(MapReduce(spec("m"), spec("r")).over(items=list("abcde")), distinct)

    assert fates(report) == {"answer": 1, "read": 5}
    assert (report.agents, report.outputs, report.useful, report.never_read) == (6, 6, 6, 0.0)
    assert (report.tokens_per_useful, report.usd_per_useful) == (100.0, 0.5)


@pytest.mark.parametrize("mode", ["parallel", "sequential", "debate"])
async def test_of_a_swarm_nothing_is_left_unread(mode: Any) -> None:
    report = await report_on(Swarm([spec(name) for name in "abc"], mode), distinct)

    assert report.never_read == 0.0
    assert report.useful == report.outputs


async def test_verdicts_are_read_by_their_patterns() -> None:
    def says(spec: AgentSpec, task: str) -> str:
        if spec.name.startswith("boss"):
            return '{"approved": true, "feedback": "good"}'
        return '{"winner": "a", "rationale": "better"}' if spec.name.startswith("judge") else distinct(spec, task)

    supervised = await report_on(Supervisor([spec("w1"), spec("w2")], spec("boss")), says)
    tournament = await report_on(Tournament([spec("a"), spec("b"), spec("c")], spec("judge")), says)

    assert fates(supervised) == {"read": 3}
    assert fates(tournament) == {"read": 5}
    assert (supervised.useful, tournament.useful) == (3, 5)


async def test_what_a_pattern_of_ones_own_passes_over_is_unread() -> None:
    class Best(Pattern[Any]):
        async def execute(self, run, task):
            drafts = await run.fan_out([(spec(f"draft{n}"), task) for n in range(4)], 4)
            final = await run.agent(spec("editor"), f"Refine: ({drafts[2].answer})")
            return run.result(task=task, answer=final.answer, outputs=[*drafts, final])

    report = await report_on(Best(), distinct)

    assert fates(report) == {"answer": 1, "read": 1, "unread": 3}
    assert report.never_read == 0.6
    assert (report.useful, report.tokens_per_useful) == (2, 250.0)


async def test_who_gave_no_answer_was_paid_for_nothing() -> None:
    def says(spec: AgentSpec, task: str) -> Any:
        return ValueError("no") if spec.name == "m_1" else distinct(spec, task)

    report = await report_on(MapReduce(spec("m", estimate=COST), spec("r")).over(items=list("abc")), says)

    assert fates(report) == {"answer": 1, "read": 2, "nothing": 1}


async def test_a_run_that_fails_has_no_useful_answer() -> None:
    def says(spec: AgentSpec, task: str) -> Any:
        return ValueError("no") if spec.name == "b" else distinct(spec, task)

    report = await report_on(Pipeline([spec("a"), spec("b")]), says)

    assert report.status == "failed"
    assert (report.outputs, report.useful, report.tokens_per_useful, report.usd_per_useful) == (1, 0, None, None)


def test_while_a_run_goes_on_nothing_that_may_still_be_read_is_unread() -> None:
    running = agent("team/b", status="running", output=None, ended=None, spent=TokenAccounting())

    report = value_of(document(agent("team/a", answer=LONG), running, status="running"))

    assert fates(report) == {"pending": 2}
    assert report.never_read == 0.0


def test_what_an_interrupted_run_has_answered_nobody_read() -> None:
    report = value_of(document(agent("team/a", answer=LONG), status="interrupted"))

    assert fates(report) == {"unread": 1}
    assert report.never_read == 1.0


def test_what_earlier_starts_cost_that_came_to_nothing_is_apart() -> None:
    retried = agent("team/a", answer=LONG, spent=TokenAccounting(input_tokens=300), lost=2, starts=3)

    report = value_of(document(retried))

    spent = {share.fate: share.tokens.total_tokens for share in report.shares}
    assert (spent["answer"], spent["nothing"]) == (100, 200)
    assert report.never_read == pytest.approx(2 / 3)
    assert (report.starts, report.lost) == (3, 2)


def test_a_run_that_spent_nothing_has_no_shares_to_tell() -> None:
    report = value_of(document())

    assert report.never_read is None
    assert [share.share for share in report.shares] == [0.0] * 5
    assert report.time.together == 0.0


async def test_the_shares_are_all_that_was_spent() -> None:
    def says(spec: AgentSpec, task: str) -> Any:
        return ValueError("no") if spec.name.endswith(("1", "4")) else distinct(spec, task)

    team = MapReduce(spec("m", estimate=COST, retries=1), spec("r", estimate=COST), max_concurrent=3)

    report = await report_on(team.over(items=list("abcdefgh")), says, budget=BudgetLimits(max_total_tokens=900))

    assert sum((share.tokens for share in report.shares), TokenAccounting()) == report.spent
    assert sum(share.share for share in report.shares) == pytest.approx(1.0)
    assert sum(share.agents for share in report.shares) == report.agents


# Retries and refusals


async def test_retries_and_refusals_are_counted_by_why() -> None:
    def says(spec: AgentSpec, task: str) -> Any:
        return ValueError("no") if spec.name == "m_0" else distinct(spec, task)

    team = MapReduce(spec("m", retries=2), spec("r"), max_concurrent=1)

    report = await report_on(team.over(items=list("abcdef")), says, budget=BudgetLimits(max_agents=5))

    assert report.retries == {"ValueError": 2}
    assert report.refusals == {"agent limit reached": 4}
    assert report.withdrawn == 0


def test_who_never_started_for_another_reason_is_no_refusal() -> None:
    skipped = [{"kind": "agent_skipped", "path": "t/a", "reason": "never started: CancelledError"}]
    odd: list[dict[str, Any]] = [{"kind": "agent_skipped"}, {"kind": "agent_retrying", "error": "it said: no"}]

    report = value_of(document(events=[*skipped, *odd]))

    assert (report.withdrawn, report.refusals, report.retries) == (1, {"unknown": 1}, {"other": 1})


# Time


def test_time_that_an_agent_waits_for_those_it_asked_is_not_at_work() -> None:
    # main runs from 0 to 10; its helpers from 2 to 4, and from 3 to 6: four seconds together
    output = AgentOutput(name="main", answer="x", duration_ms=10e3)
    main = agent("t/main", output=output, ended=START + timedelta(seconds=10))
    one = agent("t/main/one", at=2, parent="t/main", ended=START + timedelta(seconds=4))
    two = agent("t/main/two", at=3, parent="t/main", ended=START + timedelta(seconds=6))
    helpers = [
        replace(each, output=AgentOutput(name=each.name, answer="y", duration_ms=ms))
        for each, ms in ((one, 2e3), (two, 2.5e3))
    ]

    time = value_of(document(main, *helpers)).time

    assert (time.wall_s, time.busy_s) == (10.0, 10.0)
    assert time.waited_for_agents_s == 4.0
    assert time.worked_s == pytest.approx(6 + 2 + 2.5)
    assert time.waited_s == pytest.approx(0.5)  # of the second helper's three seconds
    assert time.together == pytest.approx(1.05)


def test_time_in_which_nobody_ran_is_not_busy() -> None:
    time = value_of(document(agent("t/a", at=0), agent("t/b", at=5))).time

    assert (time.wall_s, time.busy_s, time.together) == (6.0, 2.0, 1.0)


def test_the_time_of_an_agent_that_was_tried_again_begins_with_its_first_start() -> None:
    output = AgentOutput(name="a", answer="x", duration_ms=2.5e3)
    began = START + timedelta(seconds=3)
    retried = agent("t/a", output=output, began=began, ended=began + timedelta(seconds=1), starts=2)

    time = value_of(document(retried)).time

    assert (time.wall_s, time.worked_s, time.waited_s) == (4.0, 2.5, 1.5)


def test_who_is_still_running_or_was_lost_has_no_time_to_tell() -> None:
    lost = agent("t/a", status="lost", output=None, ended=None)

    assert value_of(document(lost, status="interrupted")).time.wall_s == 0.0


async def test_a_delegators_main_reads_what_its_specialists_return() -> None:
    async def runner(spec, task, runtime, mailbox):
        if spec.name == "main":
            return await runtime.call_tool("delegate", specialist="helper", task="help")
        return AgentOutput(name=spec.name, answer="42", tokens=COST)

    journal = MemoryJournal()
    team = Delegator(spec("main"), {"helper": spec("helper")})
    await team.run("What?", runner=runner, infra=SharedInfra(journal=journal), run_id="r")

    report = value_of(document_of(await journal.read("r"), live=False))

    assert fates(report) == {"answer": 1, "read": 1}
    assert (report.outputs, report.useful) == (2, 2)
    assert report.time.waited_for_agents_s > 0
