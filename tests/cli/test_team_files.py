"""``carpool run FILE``: flags before environment before file, an operator's ceiling above all; init, check, schema."""

import json
from pathlib import Path

import pytest

TEAM = """
task: What about cats?
budget: 3 agents
runner: crew:paid
agents:
  reader: {system_prompt: Answer briefly.}
  editor: {system_prompt: Join.}
team:
  pattern: map_reduce
  mapper: reader
  reducer: editor
  items: ["*.md"]
"""


@pytest.fixture(autouse=True)
def team(folder: Path) -> Path:
    (folder / "team.yaml").write_text(TEAM)
    return folder / "team.yaml"


def result(ended) -> dict:
    return ended.lines[-1]


def test_a_team_file_runs_as_it_is(typed) -> None:
    ended = typed("run", "team.yaml", "--budget", "9 agents")

    assert (ended.code, ended.out.strip()) == (0, "answer of editor")
    assert "finished  one.md" in ended.err


def test_task_items_budget_and_runner_of_the_file_hold_where_nothing_else_is_said(typed) -> None:
    told = result(typed("run", "team.yaml", "--json"))

    assert told["task"] == "What about cats?"
    assert told["budget"]["limits"]["max_agents"] == 3
    assert len(told["map_outputs"]) == 3
    assert told["usage"]["cost_usd"] > 0


def test_a_variable_that_nobody_has_set_takes_no_limit_away(typed, monkeypatch, folder: Path) -> None:
    for text in ("", " ", ","):
        ended = typed("run", "team.yaml", "--budget", text)
        assert (ended.code, ended.out) == (2, "")
        assert f"--budget: budget {text!r}: {text!r} says no tokens or dollars" in ended.err
    monkeypatch.setenv("CARPOOL_BUDGET", "")  # as if it were not there: the file's holds
    assert result(typed("run", "team.yaml", "--json"))["budget"]["limits"]["max_agents"] == 3
    for name in ("CARPOOL_BUDGET", "CARPOOL_MAX_BUDGET"):
        monkeypatch.setenv("CARPOOL_BUDGET", "")
        monkeypatch.setenv(name, ",")
        assert f"{name}: budget ',': ',' says no tokens or dollars" in typed("run", "team.yaml").err
    (folder / "team.yaml").write_text(TEAM.replace("budget: 3 agents", 'budget: ""'))
    monkeypatch.delenv("CARPOOL_MAX_BUDGET")
    assert "budget: budget '': '' says no tokens or dollars" in typed("check", "team.yaml").err


def test_flags_come_before_the_environment_and_that_before_the_file(typed, monkeypatch, folder: Path) -> None:
    monkeypatch.setenv("CARPOOL_TASK", "of the environment")
    monkeypatch.setenv("CARPOOL_BUDGET", "5 agents")
    monkeypatch.setenv("CARPOOL_RUNNER", "extractive")
    by_environment = result(typed("run", "team.yaml", "--json"))
    flags = ("--task", "of the flag", "--budget", "6 agents", "--runner", "crew:paid", "--items", "one.md")
    by_flags = result(typed("run", "team.yaml", *flags, "--json"))

    assert by_environment["task"] == "of the environment"
    assert by_environment["budget"]["limits"]["max_agents"] == 5
    assert by_environment["usage"]["cost_usd"] == 0
    assert by_flags["task"] == "of the flag"
    assert by_flags["budget"]["limits"]["max_agents"] == 6
    assert by_flags["answer"] == "answer of editor"
    assert len(by_flags["map_outputs"]) == 1


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(("asked", "most"), [("2 agents", 2), ("9 agents", 4)])
def test_an_operators_ceiling_wins_wherever_it_is_lower(
    typed, monkeypatch, command: str, asked: str, most: int
) -> None:
    monkeypatch.setenv("CARPOOL_MAX_BUDGET", "4 agents, $5")
    for team in (("team.yaml",), ("--items", "*.md", "--task", "t", "--runner", "crew:paid")):
        told = result(typed(command, *team, "--budget", asked, "--json"))
        limits = told["budget"] if command == "plan" else told["budget"]["limits"]

        assert (limits["max_agents"], limits["max_cost_usd"]) == (most, 5)


def test_a_ceiling_holds_for_what_is_added_on_resuming_too(typed, monkeypatch) -> None:
    run_id = result(typed("run", "team.yaml", "--json"))["run_id"]
    monkeypatch.setenv("CARPOOL_MAX_BUDGET", "3 agents")

    assert result(typed("resume", run_id, "--add-budget", "9 agents", "--json"))["budget"]["limits"]["max_agents"] == 3


def test_a_ceiling_that_can_not_be_read_is_no_reason_to_go_without(typed, monkeypatch) -> None:
    monkeypatch.setenv("CARPOOL_MAX_BUDGET", "a lot")
    ended = typed("run", "team.yaml")

    assert ended.code == 2
    assert "CARPOOL_MAX_BUDGET" in ended.err


@pytest.mark.parametrize("flag", [("--agent", "x"), ("--pattern", "vote"), ("--retries", "1"), ("--mode", "debate")])
def test_what_the_team_is_stands_in_the_file_and_nowhere_else(typed, flag) -> None:
    ended = typed("run", "team.yaml", *flag)

    assert ended.code == 2
    assert f"{flag[0]}: team.yaml says what the team is" in ended.err


def test_a_run_of_a_file_is_resumed_from_the_file_as_it_now_is(typed, team: Path) -> None:
    run_id = result(typed("run", "team.yaml", "--json"))["run_id"]
    team.write_text(TEAM.replace("Join.", "Join well."))
    lines = typed("resume", run_id, "--add-budget", "9 agents", "--json").lines

    assert [line["agent"] for line in lines if line["kind"] == "agent_started"] == ["editor"]
    assert lines[-1]["run_id"] == run_id


@pytest.mark.parametrize("name", ["team2.yaml", "team2.toml", "team2.json"])
def test_the_starter_runs_as_it_is_and_is_never_written_over_a_file(typed, folder: Path, name: str) -> None:
    assert typed("init", name).code == 0
    ended = typed("run", name, "--quiet")
    again = typed("init", name)

    assert ended.code == 0
    assert "magnetic field" in ended.out
    assert again.code == 2
    assert "left as it is" in again.err


def test_check_prints_the_plan_and_says_where_a_mistake_is(typed, team: Path) -> None:
    good = typed("check", "team.yaml")
    team.write_text(TEAM.replace("reducer: editor", "reducer: edtor"))
    bad = typed("check", "team.yaml")

    assert good.code == 0
    assert "starts  4 at least · 4 at most" in good.out
    assert bad.code == 2
    assert "team.yaml:11" in bad.err
    assert "editor" in bad.err


def test_each_mistake_in_a_file_has_a_line(typed, folder: Path) -> None:
    (folder / "b.yaml").write_text("tsk: hi\nteam: {pattern: votee}\n")

    got = typed("check", "b.yaml")

    assert got.code == 2
    assert [line.partition(": unknown")[0] for line in got.err.splitlines()] == [
        "carpool check: b.yaml:1: tsk",
        "b.yaml:2: team.pattern",
    ]


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_items_that_match_no_file_are_a_mistake_in_the_file(typed, folder: Path, command: str) -> None:
    agents = "mapper: {name: a, system_prompt: x}, reducer: {name: r, system_prompt: y}"
    team = f'runner: extractive\ntask: hi\nteam: {{pattern: map_reduce, {agents}, items: ["no/*.md"]}}\n'
    (folder / "h.yaml").write_text(team)

    got = typed(command, "h.yaml")

    assert got.code == 2
    assert got.err.startswith(f"carpool {command}: h.yaml:3: team.items: no file to read: 'no/*.md' in ")
    assert len(got.err.splitlines()) == 1


def test_the_schema_is_json_schema(typed) -> None:
    schema = json.loads(typed("schema").out)

    assert schema["$schema"].endswith("2020-12/schema")
    assert "team" in schema["properties"]


def test_a_file_that_is_not_there_is_named(typed) -> None:
    ended = typed("run", "nobody.yaml")

    assert ended.code == 2
    assert "nobody.yaml" in ended.err


def test_what_is_no_team_file_may_be_a_text_without_quotes(typed) -> None:
    ended = typed("run", "--task", "what", "now?")

    assert ended.code == 2
    assert "don't know what to do with 'now?': a team file ends in .yaml" in ended.err
