"""Where parameters stand in a command, and what can't be put there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.errors import ConfigError
from carpool.tools import CommandTool
from carpool.tools.template import CommandTemplate

SECRET = "hunter2-canary"


def template(*argv: str, parameters: dict[str, Any] | None = None, options: Any = (), stdin: Any = None):
    return CommandTemplate("it", argv, parameters, frozenset(options), stdin)


def filled(*argv: str, values: dict[str, Any], **settings: Any) -> list[str]:
    return template("program", *argv, **settings).filled(values)[0][1:]


def described(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("argv", "values", "expected"),
    [
        (["{a}"], {"a": "x"}, ["x"]),
        (["{a}"], {"a": ""}, [""]),
        (["{a}"], {"a": "x y; rm -rf / $(id) `id` \n * ' \""}, ["x y; rm -rf / $(id) `id` \n * ' \""]),
        (["{a}"], {"a": "{b} {a} {{"}, ["{b} {a} {{"]),
        (["--n={a}", "{b}:{a}"], {"a": "1", "b": "2"}, ["--n=1", "2:1"]),
        (["--n={a}"], {"a": "-1"}, ["--n=-1"]),
        (["{{a}}", "{{{a}}}", "}}{{"], {"a": "x"}, ["{a}", "{x}", "}{"]),
        (["--", "{a}"], {"a": "-x"}, ["--", "-x"]),
        (["fixed", "-x"], {}, ["fixed", "-x"]),
        (["ä{a}ö"], {"a": "ü"}, ["äüö"]),
    ],
)
def test_values_stand_where_their_names_were(argv: list[str], values: dict[str, str], expected: list[str]) -> None:
    assert filled(*argv, values=values) == expected


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=5))
def test_each_parameter_is_exactly_one_argument_whatever_is_in_it(values: list[str]) -> None:
    names = [f"p{number}" for number in range(len(values))]

    argv = filled("--", *(f"{{{name}}}" for name in names), values=dict(zip(names, values, strict=True)))

    assert argv == ["--", *values]


@given(st.text())
def test_no_value_becomes_an_option(value: str) -> None:
    try:
        argv = filled("{a}", values={"a": value})
    except ValueError:
        return
    assert argv == [value]
    assert not value.startswith("-")


@pytest.mark.parametrize("argv", [["{a}"], ["{a}{b}"], ["{b}{a}"], ["x", "{a}", "--"]])
def test_a_value_that_begins_with_a_dash_is_refused_where_an_argument_begins(argv: list[str]) -> None:
    with pytest.raises(ValueError, match=r"'[ab]' begins with '-'") as refused:
        filled(*argv, values={"a": f"-{SECRET}", "b": ""} if "{b}" in "".join(argv) else {"a": f"-{SECRET}"})

    assert SECRET not in str(refused.value)


def test_a_dash_is_fine_for_what_is_declared_an_option() -> None:
    assert filled("{a}", values={"a": "-x"}, options=["a"]) == ["-x"]
    with pytest.raises(ValueError, match="'b' begins"):
        filled("{a}", "{b}", values={"a": "-x", "b": "-y"}, options=["a"])


def test_a_negative_number_is_an_option_too() -> None:
    with pytest.raises(ValueError, match="'a' begins with '-'"):
        filled("{a}", values={"a": -5}, parameters=described(a={"type": "integer"}))


@pytest.mark.parametrize(
    ("value", "text"),
    [(5, "5"), (1.5, "1.5"), (True, "true"), (["a", "b c"], '["a","b c"]'), ({"k": [1]}, '{"k":[1]}')],
)
def test_what_is_no_string_is_written_as_json_and_is_one_argument(value: Any, text: str) -> None:
    assert filled("{a}", values={"a": value}, parameters=described(a={})) == [text]


def test_an_argument_whose_parameter_is_not_given_is_left_out() -> None:
    parameters = described(a={"type": "string"}, n={"type": "integer"}, d={"type": "string", "default": "x"})
    argv = ["--max={n}", "--d={d}", "{a}"]

    assert filled(*argv, values={"a": "v"}, parameters=parameters) == ["--d=x", "v"]
    assert filled(*argv, values={"a": "v", "n": None, "d": "y"}, parameters=parameters) == ["--d=y", "v"]
    assert filled(*argv, values={"n": 3, "d": None}, parameters=parameters) == ["--max=3"]


@pytest.mark.parametrize("value", ["a\0b", "\0", "\ud800"])
def test_what_no_program_can_be_passed_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="'a'"):
        filled("--x={a}", values={"a": value})


@pytest.mark.parametrize("values", [{}, {"a": 1}, {"a": None}, {"a": "x", "b": "y"}, {"b": "x"}, {"a": ["x"]}])
def test_without_a_schema_each_parameter_is_a_string_that_must_be_given(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="arguments don't fit"):
        filled("{a}", values=values)


def test_without_a_schema_one_is_made_of_the_names() -> None:
    tool = CommandTool("it", ["cat", "--n={n}", "{file}"], stdin="text")

    assert tool.schema.parameters == {
        "type": "object",
        "properties": {"file": {"type": "string"}, "n": {"type": "string"}, "text": {"type": "string"}},
        "required": ["file", "n", "text"],
        "additionalProperties": False,
    }


def test_the_parameter_for_standard_input_is_no_argument() -> None:
    assert template("cat", stdin="text").filled({"text": "héllo"}) == (["cat"], "héllo".encode())
    assert template("cat", stdin="it", parameters=described(it={})).filled({"it": {"a": 1}}) == (["cat"], b'{"a":1}')


BAD: dict[str, dict[str, Any]] = {
    "a shell string": {"argv": "rm -rf {a}"},
    "nothing": {"argv": []},
    "an empty program": {"argv": [""]},
    "a number": {"argv": ["cat", 1]},
    "a program that agents choose": {"argv": ["{a}"]},
    "half an agent's program": {"argv": ["/bin/{a}"]},
    "an open brace": {"argv": ["cat", "{a"]},
    "a closed brace": {"argv": ["cat", "a}"]},
    "an empty place": {"argv": ["cat", "{}"]},
    "an attribute": {"argv": ["cat", "{a.b}"]},
    "an index": {"argv": ["cat", "{a[0]}"]},
    "a format": {"argv": ["cat", "{a!r:>9}"]},
    "a NUL": {"argv": ["cat", "a\0b"]},
    "a place that is not described": {"argv": ["cat", "{a}"], "parameters": described(b={})},
    "a description without a place": {"argv": ["cat", "{a}"], "parameters": described(a={}, b={})},
    "an option that there is none of": {"argv": ["cat", "{a}"], "options": ["b"]},
    "an input that is not described": {"argv": ["cat"], "stdin": "a", "parameters": described()},
    "properties that are none": {"argv": ["cat"], "parameters": {"properties": []}},
    "an invalid schema": {"argv": ["cat", "{a}"], "parameters": described(a={"type": "strnig"})},
    "no time": {"argv": ["cat"], "timeout_s": 0},
    "no number as time": {"argv": ["cat"], "timeout_s": float("nan")},
    "less than no output": {"argv": ["cat"], "max_output_bytes": -1},
    "less than no grace": {"argv": ["cat"], "grace_s": -1},
}


@pytest.mark.parametrize("what", BAD)
def test_a_command_that_can_be_none_is_refused_when_it_is_made(what: str) -> None:
    settings = dict(BAD[what])

    with pytest.raises(ConfigError, match="tool 'it'"):
        CommandTool("it", settings.pop("argv"), **settings)
