"""The tables of a team file are the Python API: the same names, the same defaults."""

import inspect
from typing import Any

import msgspec
import pytest

import carpool
from carpool import AgentSpec, MapReduce, Pattern
from carpool.mcp_tools import StdioServer, mcp_tools
from carpool.runners.command import CommandRunner
from carpool.runners.command_output import JsonLines, JsonOutput
from carpool.runners.prices import ModelPrice
from carpool.runners.rate_limits import RateLimits
from carpool.teams import tables
from carpool.teams.building import PATTERNS
from carpool.teams.policies_table import PoliciesTable
from carpool.teams.runner_table import (
    CommandTable,
    JsonLinesTable,
    JsonOutputTable,
    ModelTable,
    PriceTable,
    RateLimitsTable,
)
from carpool.teams.tools_table import CommandToolTable, McpTable
from carpool.teams.workspaces_table import DirectoryTable, GitWorktreeTable
from carpool.tools import CommandTool
from carpool.workspace import Workspaces

NOTHING: Any = inspect.Parameter.empty


def keys(table: type[msgspec.Struct]) -> dict[str, Any]:
    """Key to default."""
    found = {}
    for field in msgspec.structs.fields(table):
        has_factory = field.default_factory is not msgspec.NODEFAULT
        default = field.default_factory() if has_factory else field.default
        found[field.name] = NOTHING if default is msgspec.NODEFAULT else default
    return found


def arguments(function: Any) -> dict[str, Any]:
    """Argument to default."""
    parameters = inspect.signature(function).parameters
    return {name: parameter.default for name, parameter in parameters.items() if name != "self"}


def alike(value: Any) -> Any:
    """What a file has as lists, constructors have as tuples and mappings; empty is empty, and so is nothing."""
    return list(value) if isinstance(value, tuple | list) else None if value in ({}, None) else value


ALL = [
    each for name in carpool.__all__ if inspect.isclass(each := getattr(carpool, name)) and issubclass(each, Pattern)
]


def test_every_pattern_can_be_said() -> None:
    assert set(PATTERNS.values()) == set(ALL) - {Pattern}


@pytest.mark.parametrize("pattern", PATTERNS.values())
def test_a_pattern_takes_in_a_file_what_it_takes_in_python(pattern: type[Pattern]) -> None:
    table = next(
        each
        for each in vars(tables).values()
        if isinstance(each, type)
        and issubclass(each, tables.PatternTable)
        and each.__struct_config__.tag == pattern.kind
    )
    expected = arguments(pattern)
    expected.pop("normalize", None)  # a Python function
    if pattern is MapReduce:
        expected["items"] = None  # an argument of over

    found = keys(table)

    assert {name: alike(value) for name, value in found.items()} == {k: alike(v) for k, v in expected.items()}


@pytest.mark.parametrize("pattern", PATTERNS.values())
def test_members_stand_behind_the_same_keys(pattern: type[Pattern]) -> None:
    taken = inspect.signature(pattern).parameters.values()

    members = {each.name for each in taken if "Member" in str(each.annotation)}

    assert members == tables.MEMBERS.intersection(inspect.signature(pattern).parameters)


def test_an_agent_is_in_a_file_what_it_is_in_python() -> None:
    spec = keys(AgentSpec)

    assert keys(tables.InlineAgent) == {**{key: spec[key] for key in keys(tables.AgentTable)}, "name": NOTHING}
    assert set(keys(tables.InlineAgent)) == set(spec)


@pytest.mark.parametrize(
    ("table", "made", "besides"),
    [
        (DirectoryTable, Workspaces.directory, {"clock"}),
        (GitWorktreeTable, Workspaces.git_worktree, {"clock"}),
        (CommandToolTable, CommandTool, {"name", "env"}),
        (McpTable, mcp_tools, {"server", "command", "args", "env", "cwd", "url"}),
        (CommandTable, CommandRunner, {"output", "env"}),
        (RateLimitsTable, RateLimits, set()),
    ],
)
def test_arguments_have_the_same_names_and_defaults(table: type[msgspec.Struct], made: Any, besides: set[str]) -> None:
    found = {name: alike(value) for name, value in keys(table).items() if name not in besides}

    assert found == {name: alike(value) for name, value in arguments(made).items() if name not in besides}


@pytest.mark.parametrize(
    ("table", "made"),
    [(JsonOutputTable, JsonOutput), (JsonLinesTable, JsonLines), (PriceTable, ModelPrice)],
)
def test_values_have_the_same_fields_and_defaults(table: type[msgspec.Struct], made: type[msgspec.Struct]) -> None:
    assert {k: alike(v) for k, v in keys(table).items()} == {k: alike(v) for k, v in keys(made).items()}


def test_a_server_that_is_started_has_what_it_has_in_python() -> None:
    assert set(keys(StdioServer)) < set(keys(McpTable))


def test_models_are_told_all_that_is_no_python_object_and_no_key() -> None:
    from carpool.runners.model import ModelRunner

    expected = arguments(ModelRunner)
    for name in ("models", "on_text", "api_key"):
        expected.pop(name)
    found = keys(ModelTable)
    assert found.pop("api_key_env") is None
    assert found.pop("rate_limits_by") == {}

    assert {k: alike(v) for k, v in found.items()} == {k: alike(v) for k, v in expected.items()}


def test_there_is_a_table_for_each_rule_of_a_policy_file() -> None:
    from carpool.policy import rules

    assert set(keys(PoliciesTable)) == set(rules.__all__)
