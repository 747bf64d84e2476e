"""What is written is read back as the same team, and what can't be written is refused."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carpool import (
    AgentSpec,
    BudgetLimits,
    Delegator,
    Fleet,
    Item,
    MapReduce,
    Pattern,
    Pipeline,
    Supervisor,
    Swarm,
    Vote,
)
from carpool.items import Files
from carpool.teams import dump_team, load_team, read_team, team_document
from carpool.teams.source import source_of
from carpool.teams.tables import MEMBERS
from carpool.teams.team_file import TeamFile
from carpool.workspace import Workspaces

from ..scenes import spec, specs
from .random_teams import TEAMS

FORMATS = ["yaml", "toml", "json"]


def loaded(text: str, format_: str) -> Pattern[Any]:
    return TeamFile(source_of(text, format_, "team"), Path()).pattern


def described(member: Any) -> Any:
    """All that a team is, as values that can be compared; names that were given by the pattern around it too."""
    if isinstance(member, list | tuple):
        return [described(each) for each in member]
    if isinstance(member, dict):
        return [(key, described(each)) for key, each in member.items()]
    if not isinstance(member, Pattern):
        return member
    options = {
        key: value for key, value in vars(member).items() if key not in {*MEMBERS, "_uses", "items", "normalize"}
    }
    items = getattr(member, "items", None)
    options["items"] = (
        None if items is None else [each if isinstance(each, Item) else Item(text=each) for each in items]
    )
    return type(member), options, {key: described(value) for key, value in vars(member).items() if key in MEMBERS}


@pytest.mark.parametrize("format_", FORMATS)
@given(team=TEAMS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_a_team_is_read_back_as_it_was_written(format_: Any, team: Pattern[Any]) -> None:
    text = dump_team(team, format_)

    again = loaded(text, format_)

    assert described(again) == described(team)
    assert dump_team(again, format_) == text


def test_agents_stand_under_their_names_once() -> None:
    ann, bob = specs("ann bob")
    other = spec("bob", retries=1)
    team = Pipeline([Vote([ann, bob], synthesizer=spec("cy")), Swarm([ann, other])])

    assert team_document(team) == {
        "agents": {"ann": {"system_prompt": "do it"}, "cy": {"system_prompt": "do it"}},
        "team": {
            "pattern": "pipeline",
            "stages": [
                {"pattern": "vote", "agents": ["ann", {"name": "bob", "system_prompt": "do it"}], "synthesizer": "cy"},
                {"pattern": "swarm", "agents": ["ann", {"name": "bob", "system_prompt": "do it", "retries": 1}]},
            ],
        },
    }


def test_what_a_pattern_around_it_called_a_team_is_not_written() -> None:
    team = Swarm([Vote([spec("a")]), Vote([spec("b")]), Pipeline([spec("c")]), Vote([spec("d")], name="mine")])
    document = team_document(team)

    assert [member.get("name") for member in document["team"]["agents"]] == [None, None, None, "mine"]
    again = loaded(dump_team(team), "yaml")
    assert [(each.name, each.role) for each in again.agents] == [
        ("vote_1", "vote"),
        ("vote_2", "vote"),
        ("pipeline", "pipeline"),
        ("mine", "mine"),
    ]


def test_a_team_that_was_taken_out_of_another_keeps_the_name_it_had_there() -> None:
    taken = Swarm([Vote([spec("a")]), Vote([spec("b")])]).agents[1]
    again = loaded(dump_team(Pipeline([taken])), "yaml")

    assert again.stages[0].name == "vote_2"


def test_the_keys_beside_the_team() -> None:
    text = dump_team(
        Vote(specs("ab")),
        "toml",
        task="What?",
        budget=BudgetLimits(max_agents=5),
        runner="extractive",
        tools={"commands": {"ls": {"argv": ["ls"]}}},
        policies={"deny_tool": ["rm"]},
        granted_tier="read_only",
    )
    team = TeamFile(source_of(text, "toml", "team"), Path())

    assert (team.task, team.budget, team.document.runner) == ("What?", BudgetLimits(max_agents=5), "extractive")
    assert team.document.granted_tier == "read_only"
    assert text.startswith('task = "What?"\nrunner = "extractive"\ngranted_tier = "read_only"\n')


def test_a_budget_may_be_text() -> None:
    assert team_document(Vote([spec("a")]), budget="5 agents")["budget"] == "5 agents"


class Own(Pattern):
    pass


class OwnVote(Vote):
    kind = "vote"


class Value(msgspec.Struct):
    a: int = 1


@pytest.mark.parametrize(
    ("team", "why"),
    [
        (Own(), "Own is a pattern of your own; a team file has: swarm, pipeline,"),
        (OwnVote([spec("a")]), "OwnVote is a pattern of your own"),
        (Vote([Own()]), "Own is a pattern of your own"),
        (
            Vote([spec("a")], normalize=str.upper),
            "vote: normalize is a Python function, which a team file does not have",
        ),
        (Vote([spec("a", metadata={"schema": Value})]), r"\$\.agents\.a\.metadata\.schema"),
        (Vote([spec("a", metadata={"x": (1, 2)})]), r"\$\.agents\.a\.metadata\.x"),
        (Vote([spec("a", metadata={"x": float("nan")})]), r"\$\.agents\.a\.metadata\.x"),
        (Vote([AgentSpec("a", "half: \ud800")]), "system_prompt"),
        (Vote([AgentSpec("a", 5)]), "agents.a.system_prompt: must be a text, not 5"),
        (MapReduce(spec("m"), spec("r")).over(items=iter("ab")), "items of type str_ascii_iterator can't be written"),
        (MapReduce(spec("m"), spec("r")).over(items={"a": "b"}), "items of type dict can't be written"),
        (MapReduce(spec("m"), spec("r")).over(items=[5]), "an item of type int can't be written"),
        (
            Swarm([spec("a")], workspaces=Workspaces.directory("x")),
            "workspaces that were made in Python can't be written",
        ),
    ],
)
def test_what_a_file_can_not_say_is_refused(team: Pattern[Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        dump_team(team)


def test_another_key_that_no_file_has_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown key; did you mean 'task'"):
        team_document(Vote([spec("a")]), tasks="x")
    with pytest.raises(ValueError, match="format must be 'yaml', 'toml' or 'json', not 'xml'"):
        dump_team(Vote([spec("a")]), "xml")  # pyright: ignore[reportArgumentType]


def test_workspaces_of_a_file_are_written_again(file) -> None:
    text = """\
agents:
  ann: {system_prompt: x}
team:
  pattern: pipeline
  stages:
    - {pattern: swarm, name: one, agents: [ann], workspaces: {directory: {base: scratch, keep: true}}}
    - pattern: swarm
      name: two
      agents: [ann]
      workspaces: {git_worktree: {repo: ., base: ../trees, rev: main}}
"""
    document = team_document(load_team(file(text, "teams/team.yaml")), folder="teams")

    first, second = document["team"]["stages"]
    assert first["workspaces"] == {"directory": {"base": "scratch", "keep": True}}
    assert (
        second["workspaces"]["git_worktree"] | {"repo": ".", "base": "../trees", "rev": "main"}
        == (second["workspaces"]["git_worktree"])
    )


def test_items_that_are_files_are_written_as_seen_from_the_folder(file) -> None:
    file("one", "docs/a.md")
    pattern = MapReduce(spec("m"), spec("r"))

    listed = team_document(pattern.over(items=Files("docs/*.md")), folder="teams")
    written = file(dump_team(pattern.over(items=Files("docs")), folder="teams"), "teams/team.yaml")

    assert listed["team"]["items"] == ["../docs/a.md"]
    assert list(read_team(written).items) == [Item(text="one", label="docs/a.md")]
    assert team_document(load_team(written), folder="teams")["team"]["items"] == ["../docs/a.md"]


def test_a_supervisor_among_alike_is_numbered_with_them() -> None:
    team = Supervisor([Vote([spec("a")]), Vote([spec("b")])], Vote([spec("c")]))

    assert described(loaded(dump_team(team), "yaml")) == described(team)


def test_fleets_and_delegators_keep_their_order() -> None:
    fleet = Fleet([(spec("z"), "first"), (spec("a"), "second")])
    delegator = Delegator(spec("main"), {"z": Vote([spec("q")]), "a": spec("a"), "m": Vote([spec("r")])})

    for format_ in FORMATS:
        assert described(loaded(dump_team(fleet, format_), format_)) == described(fleet)
        assert described(loaded(dump_team(delegator, format_), format_)) == described(delegator)


@given(st.text())
@settings(deadline=None, max_examples=100)
def test_any_prompt_that_utf8_can_hold_is_written(prompt: str) -> None:
    team = Vote([AgentSpec("a", prompt)])
    try:
        prompt.encode()
    except UnicodeEncodeError:
        return

    assert all(loaded(dump_team(team, each), each).agents[0].system_prompt == prompt for each in FORMATS)
