"""Where the parts of an agent stand in a command, and what can't be put there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool import AgentSpec
from carpool.errors import ConfigError
from carpool.runners.command_line import CommandLine

SECRET = "hunter2-canary"


def filled(
    *argv: Any, task: str = "do it", system_prompt: str = "", stdin: str | None = None, options: Any = (), **fields: Any
) -> tuple[list[str], str]:
    line = CommandLine(["program", *argv], stdin, options)
    arguments, given = line.filled(AgentSpec("ann", system_prompt, **fields), task)
    assert arguments.pop(0) == "program"
    return arguments, given.decode()


def arguments(*argv: Any, **settings: Any) -> list[str]:
    return filled(*argv, "{task}", **settings)[0][:-1]


def test_what_has_no_place_in_the_arguments_goes_to_standard_input() -> None:
    told = {"task": "why?", "system_prompt": "Be kind."}

    assert filled(**told) == ([], "Be kind.\n\nwhy?")
    assert filled("--system={system_prompt}", **told) == (["--system=Be kind."], "why?")
    assert filled("{task}", **told) == (["why?"], "Be kind.")
    assert filled("{system_prompt}", "{task}", **told) == (["Be kind.", "why?"], "")
    assert filled(task="\n why?\n") == ([], "\n why?\n")


def test_standard_input_can_be_a_template_too() -> None:
    told = {"task": "why?", "system_prompt": "Be kind."}

    assert filled(stdin="{task}", **told) == ([], "why?")
    assert filled(stdin="<{name}> {{{task}}}", **told) == ([], "<ann> {why?}")
    assert filled("{task}", stdin="", **told) == (["why?"], "")


def test_an_agent_has_these_parts() -> None:
    spec = {"model": "openai:gpt:5", "max_turns": 3, "role": "reader", "metadata": {"k": [1, "a"], "a.b": "dotted"}}
    places = ["{name}", "{role}", "{model}", "{model_name}", "{max_turns}", "{metadata.k}", "{metadata.a.b}"]

    assert arguments(*places, **spec) == ["ann", "reader", "openai:gpt:5", "gpt:5", "3", '[1,"a"]', "dotted"]


def test_without_a_role_or_a_provider_it_is_what_there_is() -> None:
    assert arguments("{role}", "{model_name}", model="sonnet") == ["ann", "sonnet"]


def test_arguments_that_belong_together_are_left_out_together() -> None:
    argv = [["--model", "{model}"], ["--system", "{system_prompt}"], ["-t{metadata.t}"], "end"]

    assert arguments(*argv) == ["end"]
    full = arguments(*argv, model="m", system_prompt="s", metadata={"t": 0})
    assert full == ["--model", "m", "--system", "s", "-t0", "end"]
    assert arguments(*argv, metadata={"t": None}) == ["end"]


@pytest.mark.parametrize(("place", "what"), [("{model}", "model"), ("{metadata.size}", "metadata.size")])
def test_a_part_that_is_asked_for_and_not_there_is_refused(place: str, what: str) -> None:
    with pytest.raises(ValueError, match=f"the spec has no {what}; in a list of its own"):
        arguments(place)
    with pytest.raises(ValueError, match=f"the spec has no {what}"):
        filled(stdin=f"{place}{{task}}")


def test_metadata_that_nobody_asks_for_may_be_anything() -> None:
    assert arguments("{metadata.k}", metadata={"k": "v", "other": object()}) == ["v"]
    with pytest.raises(ValueError, match="'other' can't be written as text"):
        arguments("{metadata.other}", metadata={"other": object()})


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.text())
def test_each_value_is_exactly_one_argument_whatever_is_in_it(task: str, prompt: str) -> None:
    spec = AgentSpec("ann", prompt.replace("\0", ""))
    argv, stdin = CommandLine(["p", "--", "{task}", "{name}"], None, ()).filled(spec, task)

    assert argv == ["p", "--", task, "ann"]
    assert stdin == spec.system_prompt.encode("utf-8", "replace")


@given(st.text())
def test_no_task_becomes_an_option(task: str) -> None:
    try:
        argv, _ = CommandLine(["p", "{task}"], None, ()).filled(AgentSpec("ann", ""), task)
    except ValueError:
        return
    assert len(argv) == 2
    assert not argv[1].startswith("-")


def test_a_dash_is_fine_after_a_double_dash_or_inside_an_argument_or_where_it_is_declared() -> None:
    dash = f"-{SECRET}"

    assert filled("--", "{task}", task=dash)[0] == ["--", dash]
    assert filled("--task={task}", task=dash)[0] == [f"--task={dash}"]
    assert filled("{task}", task=dash, options=["task"])[0] == [dash]
    with pytest.raises(ValueError, match="'task' begins with '-'") as refused:
        filled("{task}", task=dash)
    assert SECRET not in str(refused.value)


def test_what_no_program_can_be_passed_is_refused_or_replaced() -> None:
    with pytest.raises(ValueError, match="a NUL in 'task'"):
        filled("{task}", task="a\0b")
    assert filled("{task}", task="a\ud800b")[0] == ["a?b"]
    assert filled(task="a\ud800\0b")[1] == "a?\0b"


BAD: dict[str, dict[str, Any]] = {
    "a shell string": {"argv": "rm -rf {task}"},
    "nothing": {"argv": []},
    "an empty program": {"argv": [""]},
    "a program that may be left out": {"argv": [["claude", "{task}"]]},
    "a program that agents choose": {"argv": ["{task}"]},
    "half an agent's program": {"argv": ["/bin/{name}"]},
    "a number": {"argv": ["p", 1]},
    "a number in a list": {"argv": ["p", ["{task}", 1]]},
    "a list of lists": {"argv": ["p", [["{task}"]]]},
    "a list without a place": {"argv": ["p", ["--fast"]]},
    "an open brace": {"argv": ["p", "{task"]},
    "an empty place": {"argv": ["p", "{}"]},
    "a part that no agent has": {"argv": ["p", "{taks}"]},
    "a part that no agent has, on input": {"argv": ["p"], "stdin": "{task} {prompt}"},
    "a NUL": {"argv": ["p", "a\0b"]},
    "no task": {"argv": ["p"], "stdin": ""},
    "no task in either": {"argv": ["p", "{name}"], "stdin": "{system_prompt}"},
    "an option without a place": {"argv": ["p", "{task}"], "options": ["model"]},
}


@pytest.mark.parametrize("what", BAD)
def test_a_command_that_can_be_none_is_refused_when_it_is_made(what: str) -> None:
    settings = {"stdin": None, "options": ()} | BAD[what]

    with pytest.raises(ConfigError, match="CommandRunner: "):
        CommandLine(**settings)
