"""Who read whose answer: what counts as reading, and what does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from carpool import AgentOutput, BudgetLimits, TokenAccounting, prompts
from carpool.durable import AgentRecord, RunDocument
from carpool.durable.readings import readings_of

START = datetime(2026, 1, 1, tzinfo=UTC)
LONG = "The harbour was built in 1743, and widened twice since."


def agent(path: str, task: str = "What?", answer: str = "", *, at: float = 0.0, **fields: Any) -> AgentRecord:
    """One that took a second, from ``at`` on."""
    name = path.rpartition("/")[2]
    cost = TokenAccounting(input_tokens=100)
    completed: dict[str, Any] = {
        "key": path,
        "path": path,
        "name": name,
        "roles": path,
        "status": "completed",
        "spec": None,
        "task": task,
        "output": AgentOutput(name=name, answer=answer, tokens=cost, duration_ms=1e3),
        "spent": cost,
        "held": TokenAccounting(),
        "first_started": START + timedelta(seconds=at),
        "began": START + timedelta(seconds=at),
        "ended": START + timedelta(seconds=at + 1),
    }
    return AgentRecord(**completed | fields)


def document(
    *agents: AgentRecord, status: str = "completed", events: list[dict[str, Any]] | None = None
) -> RunDocument:
    return RunDocument(
        run_id="r",
        pattern="team",
        task="What?",
        status=status,
        error=None,
        created=START,
        updated=START,
        duration_ms=0.0,
        processes=1,
        limits=BudgetLimits(),
        spent=sum((each.spent for each in agents), TokenAccounting()),
        about={},
        agents=list(agents),
        events=events or [],
    )


def readers(*agents: AgentRecord, events: list[dict[str, Any]] | None = None) -> dict[str, set[str]]:
    """By the writer's path, the paths of those who read it."""
    found = readings_of(document(*agents, events=events)).readers
    return {each.path: {agents[reader].path for reader in who} for each, who in zip(agents, found, strict=True) if who}


def final(*agents: AgentRecord, events: list[dict[str, Any]] | None = None) -> set[str]:
    return {agents[place].path for place in readings_of(document(*agents, events=events)).final}


# What is read


@pytest.mark.parametrize("answer", ["42", "a\nb", "", "<<<end of answer of one>>>", "\\<<<x>>>", LONG, "x" * 100_000])
def test_an_answer_that_is_quoted_is_read(answer: str) -> None:
    one = agent("team/one", answer=answer)
    two = agent("team/two", prompts.next_stage("What?", "one", answer), "done", at=2)

    assert readers(one, two) == ({"team/one": {"team/two"}} if answer else {})


def test_an_answer_that_is_quoted_in_part_is_read() -> None:
    one = agent("team/one", answer=LONG * 20)
    two = agent("team/two", prompts.next_stage("What?", "one", LONG * 20, limit=30), "done", at=2)
    three = agent("team/three", prompts.next_stage("What?", "one", LONG * 19, limit=30), "done", at=2)

    assert readers(one, two, three) == {"team/one": {"team/two"}}


def test_a_cut_that_went_through_a_mark_is_recognised() -> None:
    answer = "ab<<<cd>>> and so on"
    one = agent("team/one", answer=answer)
    two = agent("team/two", prompts.next_stage("What?", "one", answer, limit=6), "done", at=2)

    assert readers(one, two) == {"team/one": {"team/two"}}


def test_a_long_answer_is_read_where_its_words_stand_also_without_marks() -> None:
    one = agent("team/one", answer=f"  {LONG}\n")
    two = agent("team/two", f"Put this nicely: ({LONG}) Thanks.", "done", at=2)

    assert readers(one, two) == {"team/one": {"team/two"}}


def test_a_long_answer_is_read_inside_a_quotation_of_something_larger() -> None:
    one = agent("team/one", answer=LONG)
    both = prompts.quote("answer of swarm", f"one:\n{LONG}\n\ntwo:\nsomething else")
    two = agent("team/two", both, "done", at=2)

    assert readers(one, two) == {"team/one": {"team/two"}}


@pytest.mark.parametrize("answer", ["yes", "it is so", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"])
def test_a_short_answer_without_marks_may_stand_there_by_chance(answer: str) -> None:
    one = agent("team/one", answer=answer)
    two = agent("team/two", f"Is this right: {answer}?", "done", at=2)

    assert readers(one, two) == {}


def test_nobody_reads_what_is_not_there_yet() -> None:
    one = agent("team/one", answer=LONG, at=1)
    two = agent("team/two", f"Put this nicely: {LONG}", "done", at=1.5)

    assert readers(one, two) == {}


def test_nobody_reads_an_answer_of_who_failed() -> None:
    output = AgentOutput(name="one", answer=LONG, error="ValueError: no")
    one = agent("team/one", output=output, status="failed")
    two = agent("team/two", f"Put this nicely: {LONG}", "done", at=2)

    assert readers(one, two) == {}
    assert final(one, two) == {"team/two"}


def test_who_asked_for_an_agent_reads_its_answer() -> None:
    main = agent("team/main", answer="done", ended=START + timedelta(seconds=9))
    helper = agent("team/main/helper", answer="42", at=1, parent="team/main")
    inner = agent("team/main/vote/ann", answer="42", at=1, parent="team/main")

    assert readers(main, helper, inner) == {"team/main/helper": {"team/main"}}
    assert final(main, helper, inner) == {"team/main", "team/main/vote/ann"}


def test_of_identical_answers_all_that_were_there_are_read() -> None:
    one, two = agent("team/one", answer="42"), agent("team/two", answer="42")
    three = agent("team/three", prompts.synthesis("What?", [one.output]), "42", at=2)

    assert readers(one, two, three) == {"team/one": {"team/three"}, "team/two": {"team/three"}}


def test_marks_in_the_users_own_text_confuse_nobody() -> None:
    one = agent("team/one", answer="42")
    task = "<<<a>>>\n<<<b>>>\nhello\n<<<end of c>>>\n" + prompts.quote("answer of one", "42") + "\n<<<end of a>>>"

    assert readers(one, agent("team/two", task, "done", at=2)) == {"team/one": {"team/two"}}


def test_time_is_linear_also_in_marks_that_have_no_end() -> None:
    agents = [
        agent(f"team/a{n}", "<<<x>>>\n" * 2_000, f"answer number {n} of a great many of them") for n in range(200)
    ]

    assert readers(*agents) == {}


def test_answers_that_no_word_tells_apart_are_looked_for_in_quotations_alone() -> None:
    many = [agent(f"team/a{n}", answer=f"{n} it is the very same answer {n}") for n in range(100)]
    all_of_them = " ".join(each.output.answer for each in many if each.output is not None)
    two = agent("team/two", all_of_them, "done", at=2)

    quoting = agent("team/quoting", prompts.quote("answer of a7", "7 it is the very same answer 7"), "done", at=2)

    assert readers(*many, two, quoting) == {"team/a7": {"team/quoting"}}


# What is final


def test_where_nobody_reads_the_pattern_puts_the_answers_together() -> None:
    assert final(agent("vote/a", answer="1"), agent("vote/b", answer="2")) == {"vote/a", "vote/b"}


def test_where_somebody_reads_the_last_reader_is_final() -> None:
    one, passed_over = agent("team/one", answer=LONG), agent("team/two", answer="something else that was not taken")
    editor = agent("team/editor", f"Refine: {LONG}", "done", at=2)

    assert final(one, passed_over, editor) == {"team/editor"}


def test_readers_of_the_same_answers_are_final_together() -> None:
    first = [agent(f"team/{name}", answer=f"{name} is what I think of it") for name in "ab"]
    shown = [each.output for each in first if each.output is not None]
    second = [
        agent(f"team/{n}_2", prompts.debate("What?", n, shown), f"{n} again", at=at) for n, at in (("a", 2), ("b", 4))
    ]

    assert final(*first, *second) == {"team/a_2", "team/b_2"}


def test_who_ended_after_the_last_reader_had_started_is_final() -> None:
    one = agent("team/one", answer=LONG)
    reader = agent("team/reader", f"Refine: {LONG}", "done", at=2)
    beside = agent("team/beside", answer="beside it", at=2)

    assert final(one, reader, beside) == {"team/reader", "team/beside"}


def test_a_pattern_that_was_refused_an_agent_makes_do_with_what_it_has() -> None:
    one, two = agent("team/one", answer=LONG), agent("team/two", answer="of another group")
    editor = agent("team/editor", f"Refine: {LONG}", "done", at=2)
    refused = {"kind": "agent_skipped", "path": "team/editor_2", "reason": "agent limit reached: 3 of 3"}
    withdrawn = {"kind": "agent_skipped", "path": "team/editor_2", "reason": "never started: CancelledError"}

    assert final(one, two, editor, events=[refused]) == {"team/two", "team/editor"}
    assert final(one, two, editor, events=[withdrawn]) == {"team/editor"}


def test_a_verdict_is_read_by_its_pattern() -> None:
    worker = agent("team/worker", answer="my work")
    judge = agent(
        "team/judge", prompts.supervision("What?", 1, 3, [worker.output]), '{"approved": true, "feedback": ""}', at=2
    )

    found = readings_of(document(worker, judge))

    assert found.verdicts == {1}
    assert found.final == set()
