"""How answer and usage are read from what a command writes, in whatever pieces it comes."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.errors import ConfigError
from carpool.runners.command_output import (
    CLAUDE_JSON,
    CODEX_JSON_LINES,
    JsonLines,
    JsonOutput,
    OutputFormat,
    TextOutput,
)
from carpool.runners.command_readers import Said


def read(output: OutputFormat, *chunks: str | bytes, most_bytes: int = 1_000_000) -> Said:
    reader = output.reader(most_bytes)
    for chunk in chunks:
        reader.take(chunk.encode() if isinstance(chunk, str) else chunk)
    return reader.said()


def lines(*values: Any) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


# Text


def test_text_is_the_answer_without_the_space_around_it() -> None:
    assert read(TextOutput(), "\n  a ", "b \n").answer == "a b"


@pytest.mark.parametrize("output", [TextOutput(), CLAUDE_JSON, CODEX_JSON_LINES])
@pytest.mark.parametrize("chunks", [[], ["\n \n"]])
def test_nothing_is_no_answer(output: OutputFormat, chunks: list[str]) -> None:
    said = read(output, *chunks)

    assert (said.answer, said.unreadable) == ("", "nothing on standard output")


# One document


def test_an_answer_that_is_no_text_is_written_as_json() -> None:
    assert read(JsonOutput(answer="a"), '{"a": {"b": [1, "ü"]}}').answer == '{"b":[1,"ü"]}'
    assert read(JsonOutput(answer="a"), '{"a": 0}').answer == "0"
    assert read(JsonOutput(answer="a"), '{"a": false}').answer == "false"
    assert read(JsonOutput(answer="0.a"), '[{"a": "x"}]').answer == "x"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Error: no key", "standard output is no JSON"),
        ('{"a": "x"', "standard output is no JSON"),
        ('warning\n{"a": "x"}', "standard output is no JSON"),
        ("[" * 100_000, "standard output is no JSON"),
        ("9" * 10_000, "standard output is no JSON"),
        ('{"b": 1, "c": 2}', "no answer at 'a' in an object of b, c"),
        ('{"a": null}', "no answer at 'a' in an object of a"),
        ("[1]", "no answer at 'a' in a JSON list"),
    ],
)
def test_what_can_not_be_read_is_kept_as_it_stands(text: str, why: str) -> None:
    said = read(JsonOutput(answer="a"), text)

    assert (said.answer, said.unreadable) == (text, why)
    assert said.amounts == {}


def test_a_document_beyond_the_bound_is_kept_as_far_as_it_goes() -> None:
    said = read(JsonOutput(answer="a"), json.dumps({"a": "x" * 100}), most_bytes=20)

    assert said.answer == '{"a": "xxxxxxxxxxxxx\n[89 more bytes left out]'
    assert said.unreadable == "standard output is longer than max_output_bytes"


def test_a_byte_order_mark_a_lone_surrogate_and_bytes_that_are_no_text_do_not_lose_an_answer() -> None:
    assert read(JsonOutput(answer="a"), '\ufeff{"a": "x"}').answer == "x"
    assert read(JsonOutput(answer="a"), '{"a": "x\\ud83d"}').answer == "x\ud83d"
    assert read(JsonOutput(answer="a"), b'{"a": "x\xff"}').answer == "x\ufffd"


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, None),
        (False, None),
        ("", None),
        ({}, None),
        ("no credit", "no credit"),
        (True, "so far"),
        ({"code": 5}, '{"code":5}'),
        ("x" * 9_000, "x" * 4_096),
    ],
)
def test_an_error_is_what_stands_at_its_path(value: Any, error: str | None) -> None:
    assert read(JsonOutput(answer="a", error="e"), json.dumps({"a": "so far", "e": value})).error == error


def test_an_error_without_a_text_is_an_error() -> None:
    assert read(JsonOutput(answer="a", error="e"), '{"e": true}').error == "the command says that it failed"


@pytest.mark.parametrize(("value", "turns"), [(3, 3), (0, 0), (-1, 0), ("3", 0), (2.5, 0), (True, 0), (None, 0)])
def test_turns_are_a_count_or_nothing(value: Any, turns: int) -> None:
    assert read(JsonOutput(answer="a", turns="t"), json.dumps({"a": "x", "t": value})).turns == turns


# Lines

EVENTS = JsonLines(answer="text", where={"type": "say"}, error="error", turns="turn", usage={"input_tokens": "in"})


def test_the_last_line_that_fits_has_the_answer() -> None:
    text = lines({"type": "say", "text": "one"}, {"type": "think", "text": "hm"}, {"type": "say", "text": "two"}, {})

    assert read(EVENTS, text) == Said(answer="two", problems=["no input_tokens: nothing stands at 'in'"])


def test_pieces_can_be_joined() -> None:
    output = JsonLines(answer="delta", answers="join")

    assert read(output, lines({"delta": "a "}, {"delta": "b"}, {"other": 1}, {"delta": " c"})).answer == "a b c"


def test_joined_pieces_are_bounded() -> None:
    output = JsonLines(answer="delta", answers="join")

    said = read(output, lines(*[{"delta": "x" * 40}] * 10), most_bytes=100)

    assert said.answer == "x" * 100 + "\n[300 more bytes left out]"


@given(st.lists(st.integers(0, 200), max_size=20))
def test_it_does_not_matter_where_the_pieces_end(cuts: list[int]) -> None:
    text = lines({"type": "say", "text": "öne"}, {"in": 3}, {"type": "say", "text": "twö\n"}, {"in": 5, "turn": 2})
    whole = (text + '{"type": "say", "text": "last"}').encode()
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    chunks = [whole[start:end] for start, end in pairwise(places)]

    assert read(EVENTS, *chunks) == Said(answer="last", turns=2, amounts={"input_tokens": 5})


def test_lines_that_are_no_json_are_passed_over() -> None:
    text = "warning: old\r\n\r\n" + lines({"type": "say", "text": "yes"}) + "null\n5\n{broken\n"

    assert read(EVENTS, text).answer == "yes"


def test_a_line_beyond_the_bound_is_passed_over_and_told() -> None:
    text = lines({"in": 5}) + lines({"text": "x" * 2000}) + lines({"type": "say", "text": "yes"})

    for size in (1, 7, 64, 10_000):
        said = read(EVENTS, *[text[at : at + size] for at in range(0, len(text), size)], most_bytes=100)
        assert said.answer == "yes"
        assert said.amounts == {"input_tokens": 5}
        assert said.problems == ["lines longer than max_output_bytes were passed over: 1"]


def test_lines_without_an_answer_are_kept_as_they_stand() -> None:
    text = lines({"type": "think", "text": "hm"}, {"in": 5}) + "goodbye\n"
    said = read(EVENTS, text)

    assert said.answer == text.strip()
    assert said.unreadable == "no line with an answer at 'text' where {'type': 'say'} (lines: 2 read, 1 no JSON)"
    assert said.amounts == {"input_tokens": 5}


def test_an_error_in_any_line_is_one() -> None:
    assert read(EVENTS, lines({"error": "oh"}, {"type": "say", "text": "yes"})).error == "oh"


def test_where_tells_one_from_true() -> None:
    output = JsonLines(answer="a", where={"done": True})

    assert read(output, lines({"a": "x", "done": 1})).unreadable is not None
    assert read(output, lines({"a": "x", "done": True})).answer == "x"


@given(st.lists(st.binary(max_size=50), max_size=10), st.sampled_from([TextOutput(), CLAUDE_JSON, CODEX_JSON_LINES]))
def test_nothing_that_comes_makes_a_reader_raise(chunks: list[bytes], output: OutputFormat) -> None:
    assert isinstance(read(output, *chunks, most_bytes=60), Said)


# Programs, as their documentation has it


def test_what_claude_writes_is_read() -> None:
    said = read(
        CLAUDE_JSON,
        json.dumps(
            {
                "type": "result",
                "subtype": "success",
                "is_error": False,
                "duration_ms": 4321,
                "num_turns": 2,
                "result": "Done.",
                "session_id": "5c1f",
                "total_cost_usd": 0.0123,
                "usage": {
                    "input_tokens": 100,
                    "cache_creation_input_tokens": 20,
                    "cache_read_input_tokens": 3,
                    "output_tokens": 42,
                    "service_tier": "standard",
                },
            }
        ),
    )

    amounts = {
        "input_tokens": 123,
        "output_tokens": 42,
        "cache_read_tokens": 3,
        "cache_write_tokens": 20,
        "cost_usd": 0.0123,
    }
    assert said == Said(answer="Done.", turns=2, amounts=amounts, is_whole=True, problems=[])


def test_what_codex_writes_is_read() -> None:
    said = read(
        CODEX_JSON_LINES,
        lines(
            {"type": "thread.started", "thread_id": "0199"},
            {"type": "turn.started"},
            {"type": "item.completed", "item": {"id": "item_0", "type": "reasoning", "text": "**Thinking**"}},
            {"type": "item.started", "item": {"id": "item_1", "type": "command_execution", "command": "ls"}},
            {"type": "item.completed", "item": {"id": "item_2", "type": "agent_message", "text": "Done."}},
            {"type": "turn.completed", "usage": {"input_tokens": 24, "cached_input_tokens": 20, "output_tokens": 2}},
        ),
    )

    assert said.answer == "Done."
    assert said.amounts == {"input_tokens": 24, "output_tokens": 2, "cache_read_tokens": 20}
    assert said.problems == []


def test_a_turn_of_codex_that_failed_is_a_failure() -> None:
    said = read(CODEX_JSON_LINES, lines({"type": "turn.failed", "error": {"message": "usage limit"}}))

    assert said.error == "usage limit"


# What is no format


@pytest.mark.parametrize(
    "fields", [{"answer": ""}, {"answer": 5}, {"answer": "a", "error": ""}, {"answer": "a", "usage": {"tokens": "t"}}]
)
def test_what_is_no_path_is_refused(fields: dict[str, Any]) -> None:
    for kind in (JsonOutput, JsonLines):
        with pytest.raises(ConfigError):
            kind(**fields)
