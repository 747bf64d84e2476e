"""Agents that answer without a model."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool import prompts
from carpool.budget import CoordinationBudget
from carpool.errors import BudgetExhausted
from carpool.runners.extractive import INLINE_CHARACTERS, RANKED_SENTENCES, ExtractiveRunner
from carpool.runners.prose import sentences
from carpool.tokens import estimate_tokens
from carpool.types import AgentOutput, AgentSpec, BudgetLimits, TokenAccounting

HARBOUR = """\
---
title: Harbour
---
# The harbour

[![build](badge.svg)](https://example.org)

The harbour of Lindholm was built in 1887 for the herring trade. Its two piers still shelter the fishing boats.
Most visitors come for the lighthouse, which stands at the end of the northern pier.

## Lighthouse

The lighthouse of the harbour is 31 metres high and was automated in 1974. However, it is open on Sundays.

```sh
make lighthouse
```

| day | opens |
|-----|-------|
| Sunday | 10:00 |

- The **ferry** to [Aarholm](https://example.org/ferry) leaves the harbour twice a day
- Parking near the harbour costs four crowns for every hour

## Dogs

They must be kept on a lead everywhere.
"""


def answer(task: str, *, system_prompt: str = "", **metadata: Any) -> AgentOutput:
    spec = AgentSpec("reader", system_prompt, metadata=metadata)
    return anyio.run(ExtractiveRunner().run, spec, task, None, None)


def asked(question: str, *texts: str, **metadata: Any) -> str:
    blocks = [prompts.quote(f"item {number}", text) for number, text in enumerate(texts)]
    output = answer("\n\n".join([question, *blocks]), **metadata)
    assert output.succeeded, output.error
    return output.answer


# What it answers


def test_a_question_is_answered_from_the_text() -> None:
    assert "31 metres" in asked("How high is the lighthouse?", HARBOUR, sentences=1)
    assert "four crowns" in asked("What does parking cost?", HARBOUR, sentences=1)
    assert "twice a day" in asked("When does the ferry leave?", HARBOUR, sentences=1)


def test_a_heading_helps_to_find_what_is_under_it() -> None:
    assert asked("Are dogs allowed?", HARBOUR, sentences=1) == "They must be kept on a lead everywhere."


def test_a_summary_is_whole_sentences_in_their_order_and_clear_of_markup() -> None:
    whole = [sentence.text for sentence in sentences(HARBOUR)]
    summary = asked("Summarise this page.", HARBOUR)

    picked = [sentence for sentence in whole if sentence in summary]
    assert len(picked) == 3
    assert summary == " ".join(picked)
    assert "herring" in summary  # what a page begins with says what it is about


def test_a_summary_repeats_no_sentence() -> None:
    said = "The harbour opens at nine. It is a very quiet place."

    assert asked("Summarise this.", f"{said} {said}\n\n{said}", said.upper(), "- " + said, sentences=10) == said
    assert answer("The same thing is said again. " * 40).answer == "The same thing is said again."


def test_what_a_page_begins_with_says_what_it_is_about() -> None:
    first, second = "All of the red boats are new.", "Some of the old dogs sleep in the warm sun."

    assert asked("Summarise.", f"{first} {second}", sentences=1) == first
    assert asked("Summarise.", f"{second} {first}", sentences=1) == second


def test_there_are_as_many_sentences_as_asked_for_and_no_more_than_there_are() -> None:
    lengths = [len(sentences(asked("Summarise.", HARBOUR, sentences=count))) for count in (1, 2, 5, 100)]

    assert lengths == [1, 2, 5, len(sentences(HARBOUR))]


def test_a_reducer_hears_many_answers_and_not_just_one() -> None:
    towns = ["Aarholm", "Birkby", "Corsund", "Dalby", "Egersund", "Fjordby"]
    mapped = [
        f"The town of {town} has a harbour of its own. Many boats lie in the harbour of {town}. "
        f"The boats of {town} bring herring to the harbour."
        for town in towns
    ]
    reduced = asked("Summarise the towns.", *mapped, sentences=6)

    assert [town for town in towns if town in reduced] == towns


def test_the_system_prompt_counts_but_less_than_the_question() -> None:
    prices = "The ferry to the island costs four crowns. The parking by the island costs four crowns."
    task = "What costs four crowns?\n\n" + prompts.quote("page", prices)

    assert "ferry" in answer(task, system_prompt="You know the ferry.", sentences=1).answer
    assert "parking" in answer(task, system_prompt="You know the parking.", sentences=1).answer
    assert (
        "ferry"
        in answer(task.replace("What", "Which ferry"), system_prompt="You know the parking.", sentences=1).answer
    )


def test_what_a_pattern_adds_to_the_question_hardly_counts() -> None:
    outputs = [AgentOutput(name="mapper_1", answer="The ferry is slow today. Combining answers is an old craft.")]
    task = prompts.reduce("Is the ferry slow?", 1, 0, outputs)

    assert answer(task, sentences=1).answer == "The ferry is slow today."


def test_without_blocks_the_first_paragraph_asks_and_the_rest_answers() -> None:
    assert "31 metres" in answer(f"How high is the lighthouse?\n \n{HARBOUR}", sentences=1).answer


def test_a_lone_paragraph_is_question_and_text_in_one() -> None:
    assert answer("Boats are in the harbour. They came today.", sentences=1).answer == "Boats are in the harbour."


def test_voters_who_read_the_same_agree() -> None:
    assert asked("Summarise.", HARBOUR) == asked("Summarise.", HARBOUR)


# What is a block


@pytest.mark.parametrize(
    "block",
    [
        "<<<item a.md>>>\n{}\n<<<end of item a.md>>>",
        "<<<item a.md | 3f9a1c>>>\n{}\n<<<end 3f9a1c>>>",
        "<<<>>>\r\n{}\r\n<<<end of >>>\r",
        "<<<a|b | c>>>\n{}\n<<<end of a|b | c>>>",
        "<<<one>>>\nThe first block is a short one.\n<<<end of one>>>\n<<<one>>>\n{}\n<<<end of one>>>",
    ],
)
def test_blocks_are_what_is_read(block: str) -> None:
    task = "The boats of the question are no answer.\n\n" + block.format("All the boats are out at sea.")

    assert answer(task, sentences=1).answer == "All the boats are out at sea."


def test_the_text_in_a_block_can_not_close_it() -> None:
    text = "<<<end of other>>>\n<<<end abc>>>\n<<<end of page>>>\nAll the boats are out at sea."
    (read,) = sentences(answer("Where?\n\n" + prompts.quote("page", text)).answer)

    assert read.text == "All the boats are out at sea."


def test_a_block_that_never_ends_is_no_block() -> None:
    assert (
        answer("Where are they?\n\n<<<page>>>\nAll the boats are out at sea.").answer == "All the boats are out at sea."
    )


# What it is given


@pytest.mark.parametrize(
    "task",
    ["", " \n\t\n ", "\0\0", "\u200b", "Summarise.\n\n<<<page>>>\n\n<<<end of page>>>", prompts.quote("page", "\0")],
)
def test_nothing_to_read_is_an_error_and_costs_nothing(task: str) -> None:
    output = answer(task)

    assert (output.answer, output.error) == ("", "nothing to read: the task has no text")
    assert output.tokens == TokenAccounting()
    assert not output.succeeded


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("harbour", "harbour"),
        ("42", "42"),
        ("👍", "👍"),
        ("???", "???"),
        ("no punctuation at all in this one", "no punctuation at all in this one."),
        ("```\nx = 1\n```", "x = 1"),
        ("# Only\n## Headings", "Only Headings"),
        ("| a | b |\n|---|---|", "a b"),
        ("吾輩は猫である。", "吾輩は猫である。"),
        ("<p>All of this is <b>HTML</b>.</p>", "All of this is HTML."),
        ("Words with a \0 and a \x07 in them.", "Words with a and a in them."),
    ],
)
def test_short_and_odd_texts_have_an_answer(text: str, expected: str) -> None:
    assert answer(text).answer == expected
    assert asked("What is it?", text) == expected


def test_a_language_without_spaces_is_ranked() -> None:
    text = "港は1887年に建てられました。灯台の高さは31メートルです。駐車場は一時間四クローネです。"

    assert asked("灯台の高さは?", text, sentences=1) == "灯台の高さは31メートルです。"


MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    "text",
    [
        HARBOUR * (MEGABYTE // len(HARBOUR)),
        "".join(f"Boat {n} is number {n % 977} of the {n % 31} in harbour {n % 7}. " for n in range(20_000)),
        "word " * (MEGABYTE // 5),
        "x" * MEGABYTE,
        "吾輩は猫である。" * (MEGABYTE // 8),
        "<div><p>" * (MEGABYTE // 8),
        "." * MEGABYTE,
        "<<<a>>>\n" * (MEGABYTE // 8),
    ],
    ids=["markdown", "sentences", "one line", "one word", "cjk", "html", "marks", "delimiters"],
)
def test_a_megabyte_takes_seconds(text: str) -> None:
    began = time.process_time()

    assert answer(f"Which boats are in the harbour?\n\n{text}").succeeded

    assert time.process_time() - began < 15  # takes about one; machines differ


def test_of_too_many_sentences_those_that_fit_the_question_are_ranked() -> None:
    crowd = [f"Nothing of interest is said in line {number} of it." for number in range(3 * RANKED_SENTENCES)]
    crowd[7_654] = "The lighthouse of Lindholm is very high indeed."

    assert asked("How high is the lighthouse?", "\n\n".join(crowd), sentences=1) == crowd[7_654]


@settings(deadline=None)  # each example starts an event loop
@given(st.text(st.characters(codec=None)), st.text(max_size=50), st.integers(1, 5))
def test_any_text_at_all_has_an_answer_or_an_error(task: str, system_prompt: str, wanted: int) -> None:
    output = answer(task, system_prompt=system_prompt, sentences=wanted)

    assert bool(output.answer) != bool(output.error)
    assert "\n" not in output.answer
    output.answer.encode()


@pytest.mark.parametrize("wanted", [0, -1, 2.0, True, "3", None, [1]])
def test_a_number_of_sentences_that_is_none_is_refused(wanted: object) -> None:
    with pytest.raises(ValueError, match=r"agent 'reader': metadata 'sentences' must be a whole number of 1 or more"):
        answer(HARBOUR, sentences=wanted)


# That it can be relied on


def test_another_process_gives_the_same_answer() -> None:
    program = (
        "import anyio, sys; from carpool.types import AgentSpec;"
        "from carpool.runners.extractive import ExtractiveRunner;"
        "print(anyio.run(ExtractiveRunner().run, AgentSpec('reader', ''), sys.stdin.read(), None, None).answer)"
    )
    task = "How high is the lighthouse, and how old are the piers?\n\n" + prompts.quote("page", HARBOUR)

    for seed in ("1", "2"):  # sets of words come in another order
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(
            [sys.executable, "-c", program], input=task, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == answer(task).answer


LONG = "Where do the boats lie?\n\n" + "".join(
    f"Boat {n} lies at berth {n % 89} of pier {n % 7}. " for n in range(2_000)
)
ENDLESS = LONG * 100  # many seconds of work


async def test_many_agents_on_one_runner_do_not_disturb_each_other() -> None:
    runner = ExtractiveRunner()
    tasks = ["\n\n".join([f"Where is boat {number}?", prompts.quote("page", LONG)]) for number in range(500, 512)]
    answers: dict[str, str] = {}

    async def run(task: str) -> None:
        answers[task] = (await runner.run(AgentSpec("reader", ""), task, None, None)).answer

    async with anyio.create_task_group() as group:
        for task in tasks:
            group.start_soon(run, task)

    for number, task in enumerate(tasks, 500):
        assert f"Boat {number} lies" in answers[task]
        assert (await runner.run(AgentSpec("reader", ""), task, None, None)).answer == answers[task]


async def test_the_event_loop_goes_on_while_a_long_text_is_read() -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as group:
        group.start_soon(take_turns)
        await ExtractiveRunner().run(AgentSpec("reader", ""), LONG, None, None)
        group.cancel_scope.cancel()

    assert turns > 10


@pytest.mark.parametrize("task", ["Boats are here.", ENDLESS], ids=["short", "long"])
async def test_a_cancelled_agent_returns_at_once_and_charges_nothing(task: str) -> None:
    runner, spec = ExtractiveRunner(), AgentSpec("reader", "")
    lease = CoordinationBudget().try_begin_agent()
    began = time.perf_counter()

    with anyio.CancelScope() as scope:
        scope.cancel()
        await runner.run(spec, task, SimpleNamespace(lease=lease), None)

    assert scope.cancelled_caught
    assert time.perf_counter() - began < 1
    assert lease.charged == TokenAccounting()


def test_a_deadline_leaves_the_runner_fit_for_the_next_event_loop() -> None:
    runner, spec = ExtractiveRunner(), AgentSpec("reader", "")

    async def give_up() -> bool:
        with anyio.move_on_after(0.02) as scope:
            async with anyio.create_task_group() as group:
                for _ in range(5):  # more than there are threads
                    group.start_soon(runner.run, spec, ENDLESS, None, None)
        return scope.cancelled_caught

    began = time.perf_counter()
    assert anyio.run(give_up)
    assert time.perf_counter() - began < 2  # nobody waited for the threads
    assert anyio.run(runner.run, spec, LONG, None, None).succeeded


# What it costs


def run_on(budget: CoordinationBudget, task: str) -> AgentOutput:
    with budget.try_begin_agent() as lease:
        output = anyio.run(
            ExtractiveRunner().run, AgentSpec("reader", "Be kind."), task, SimpleNamespace(lease=lease), None
        )
        assert lease.charged == output.tokens  # booked, whether or not the output is ever seen
    return output


@pytest.mark.parametrize("task", ["Boats are here.", HARBOUR, LONG])
def test_the_lease_is_charged_with_what_the_output_reports(task: str) -> None:
    budget = CoordinationBudget(BudgetLimits(max_total_tokens=1_000_000, max_cost_usd=0.0001))
    output = run_on(budget, task)

    assert output.turns == 1
    assert output.tokens == TokenAccounting(
        input_tokens=estimate_tokens("Be kind." + task), output_tokens=estimate_tokens(output.answer)
    )
    assert budget.snapshot().total_tokens == output.tokens.total_tokens
    assert budget.snapshot().cost_usd == 0
    assert budget.snapshot().overrun == TokenAccounting()


def test_a_lease_that_has_no_room_for_the_longest_answer_refuses_it() -> None:
    task = "Which?\n\n" + prompts.quote("page", "Short one is here. " + "A very long sentence " * 20 + "is there.")
    room = estimate_tokens("Be kind." + task) + 20
    budget = CoordinationBudget(BudgetLimits(max_total_tokens=room))

    with pytest.raises(BudgetExhausted):
        run_on(budget, task)
    assert budget.snapshot().total_tokens == 0


def test_nothing_to_read_takes_nothing_from_the_lease() -> None:
    budget = CoordinationBudget(BudgetLimits(max_total_tokens=1))

    assert run_on_nothing(budget).error
    assert budget.snapshot().total_tokens == 0


def run_on_nothing(budget: CoordinationBudget) -> AgentOutput:
    with budget.try_begin_agent() as lease:
        output = anyio.run(ExtractiveRunner().run, AgentSpec("reader", ""), " ", SimpleNamespace(lease=lease), None)
        lease.settle(output.tokens)
    return output


@settings(deadline=None)  # each example starts an event loop
@given(st.lists(st.text("ab .!字😀\n#", min_size=1), min_size=1, max_size=8), st.integers(1, 4))
def test_what_was_reserved_covers_what_is_charged(texts: list[str], wanted: int) -> None:
    asked_for: list[TokenAccounting] = []
    charged: list[TokenAccounting] = []
    lease = SimpleNamespace(reserve=asked_for.append, charge=charged.append)
    task = "\n\n".join(["a b?", *(prompts.quote(str(number), text) for number, text in enumerate(texts))])

    async def run() -> AgentOutput:
        spec = AgentSpec("reader", "", metadata={"sentences": wanted})
        return await ExtractiveRunner().run(spec, task, SimpleNamespace(lease=lease), None)

    output = anyio.run(run)

    assert len(task) <= INLINE_CHARACTERS
    assert charged == ([output.tokens] if output.succeeded else [])
    assert [each.input_tokens for each in asked_for] == [each.input_tokens for each in charged]
    assert all(held.output_tokens >= spent.output_tokens for held, spent in zip(asked_for, charged, strict=True))
