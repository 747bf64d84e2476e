"""From the words of a file to a runner: each kind is made with what the file says, and what can't be one is refused."""

from pathlib import Path
from typing import Any

import pytest

from carpool import Vote
from carpool.errors import ConfigError
from carpool.runners.command import CommandRunner
from carpool.runners.extractive import ExtractiveRunner
from carpool.teams import read_team
from carpool.teams.decoding import decode
from carpool.teams.runner_making import check_runner, runner_from
from carpool.teams.runner_table import RunnerTable
from carpool.teams.source import Source

from ..scenes import spec

pytestmark = pytest.mark.usefixtures("modules")


def table(**said: Any) -> RunnerTable:
    return decode(Source("f", said, lambda place: None), RunnerTable)


def test_the_one_that_comes_with_carpool() -> None:
    assert isinstance(runner_from("extractive", Path()), ExtractiveRunner)


def test_one_of_ones_own(file) -> None:
    file(
        "async def run(spec, task, runtime, mailbox): return 'hi'\n"
        "class Made:\n  run = staticmethod(run)\nmade = Made()\n",
        "team_runners.py",
    )

    for name in ("run", "Made", "made", "made.run"):
        runner = runner_from(f"team_runners:{name}", Path())
        assert Vote([spec("a")]).run_sync("x", runner=runner).winner == "hi"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gpt", "no runner 'gpt'; there are: extractive; or name your own: module:attribute"),
        ("a b:c", "'a b:c': write module:attribute"),
        (
            "team_runners:number",
            "team_runners:number: is of type int; a runner is an async function (spec, task, runtime,",
        ),
        ("team_runners:nothing", "team_runners:nothing: is None; a runner is"),
        ("team_runners:plain", "team_runners:plain: is not async; a runner is"),
        ("team_runners:few", "team_runners:few: can't be called with four arguments"),
        ("team_runners:Demanding", "team_runners:Demanding: can't be made without arguments: TypeError: "),
        ("team_nowhere:x", "team_nowhere:x: no module 'team_nowhere'"),
    ],
)
def test_what_can_be_no_runner_is_refused(file, name: str, why: str) -> None:
    file(
        "number = 5\nnothing = None\ndef plain(a, b, c, d): pass\nasync def few(a): pass\n"
        "class Demanding:\n  def __init__(self, x): pass\n",
        "team_runners.py",
    )

    with pytest.raises(ConfigError) as raised:
        runner_from(name, Path())

    assert str(raised.value).startswith(why)


def test_it_is_looked_at_without_being_imported(file) -> None:
    file("raise SystemExit('ran')", "team_runners.py")

    check_runner("team_runners:x", Path())
    check_runner("extractive", Path())
    check_runner(None, Path())
    check_runner(table(model={"model": "openai:x", "api_key_env": "NO_SUCH_KEY"}), Path())
    for wrong in ("gpt", "a b:c", table(command={"argv": ["x", "{tusk}"]})):
        with pytest.raises(ConfigError):
            check_runner(wrong, Path())


def test_a_command_is_made_with_what_the_file_says(file) -> None:
    script = file("#!/bin/sh\npwd\ncat\necho $TEAM_SAYS\n", "code/say.sh")
    script.chmod(0o755)
    file("", "code/inner/x")
    runner = runner_from(
        table(
            command={
                "argv": ["./say.sh"],
                "stdin": "{task}!\n",
                "env": ["TEAM_SAYS=so"],
                "cwd": "inner",
                "timeout_s": 30,
            }
        ),
        Path("code"),
    )

    result = Vote([spec("a")]).run_sync("hello", runner=runner)

    assert isinstance(runner, CommandRunner)
    assert result.winner.split() == [str(Path("code/inner").absolute()), "hello!", "so"]


@pytest.mark.parametrize(
    ("output", "written", "answer", "tokens"),
    [
        ("text", "plain", "plain", None),
        (
            {"json": {"answer": "a.b", "usage": {"input_tokens": "n", "output_tokens": 2}}},
            '{"a": {"b": "hi"}, "n": 3}',
            "hi",
            5,
        ),
        ({"json_lines": {"answer": "a", "answers": "join"}}, '{"a": "h"}\n{"a": "i"}', "hi", None),
        ("claude_json", '{"result": "hi", "usage": {"input_tokens": 1, "output_tokens": 2}}', "hi", 3),
        ("codex_json_lines", '{"type": "item.completed", "item": {"type": "agent_message", "text": "hi"}}', "hi", None),
    ],
)
def test_the_output_of_a_command_is_read_as_the_file_says(
    output: Any, written: str, answer: str, tokens: int | None
) -> None:
    runner = runner_from(
        table(command={"argv": ["printf", "%s", written.replace("{", "{{").replace("}", "}}")], "output": output}),
        Path(),
    )

    result = Vote([spec("a")]).run_sync("x", runner=runner)

    assert result.winner == answer
    assert tokens is None or result.usage.total_tokens == tokens


def test_models_are_made_with_what_the_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydantic_ai", reason="needs the extra models")
    monkeypatch.setenv("TEAM_KEY", "the key")
    said = {
        "model": "openai:some",
        "base_url": "http://127.0.0.1:9",
        "settings": {"temperature": 0.5},
        "max_output_tokens": 50,
        "prices": {
            "openai:some": {"input": 1, "output": 2, "above": [{"tokens": 5, "price": {"input": 3, "output": 4}}]}
        },
        "rate_limits": {"requests_per_minute": 5, "in_flight": 2},
        "retries": 0,
    }
    made: list[dict[str, Any]] = []

    from carpool.runners import model

    class Seen(model.ModelRunner):
        def __init__(self, *args: Any, **arguments: Any) -> None:
            made.append(arguments)
            super().__init__(*args, **arguments)

    monkeypatch.setattr(model, "ModelRunner", Seen)
    runner_from(table(model=said), Path())
    runner_from(
        table(model={"api_key_env": {"openai": "TEAM_KEY"}, "rate_limits_by": {"openai": {"in_flight": 3}}}), Path()
    )

    assert made[0]["settings"] == {"temperature": 0.5}
    assert (made[0]["model"], made[0]["max_output_tokens"], made[0]["retries"]) == ("openai:some", 50, 0)
    assert made[0]["rate_limits"].requests_per_minute == 5
    assert made[0]["prices"]["openai:some"].above[0][1].input == 3
    assert made[1]["api_key"] == {"openai": "the key"}
    assert made[1]["rate_limits"]["openai"].most_in_flight == 3


def test_a_key_that_is_not_set_is_said_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydantic_ai", reason="needs the extra models")
    monkeypatch.delenv("TEAM_KEY", raising=False)

    with pytest.raises(ConfigError, match="api_key_env: the environment variable TEAM_KEY is not set"):
        runner_from(table(model={"api_key_env": "TEAM_KEY"}), Path())


def test_a_table_says_one_runner() -> None:
    for said in ({}, {"command": {"argv": ["x"]}, "model": {}}):
        with pytest.raises(ConfigError, match="needs either 'command' or 'model'"):
            table(**said)


def test_a_model_that_can_not_be_reached_by_its_address_is_told_when_the_file_is_read(file, monkeypatch) -> None:
    monkeypatch.delenv("HOME_KEY", raising=False)
    text = """
runner:
  model: {{model: "home:m", base_url: "{url}", api_key_env: HOME_KEY}}
team: {{pattern: pipeline, stages: [{{name: ann, system_prompt: x}}]}}
"""
    file(text.format(url="localhost:8000/v1"))
    with pytest.raises(ConfigError, match=r"team.yaml:2: runner: base_url of 'home' is 'localhost:8000/v1'"):
        read_team("team.yaml")

    file(text.format(url="http://localhost:8000/v1"))
    with pytest.raises(ConfigError, match="HOME_KEY is not set"):
        read_team("team.yaml").make_runner()
