"""TOML: lines are found although its reader tells none, and what is written is read back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.errors import ConfigError
from carpool.teams.toml_text import read_toml, write_toml

from .test_yaml_text import TEXTS

FILE = '''\
# a comment

task = """
[team]
x = 1
"""
budget = "5 agents"   # [agents]

[agents.ann]

system_prompt = 'x'
tools = [
  "a",

  "b",
]
metadata.a.b = 1
[agents."b.c"]
system_prompt = \'\'\'
[team]\'\'\'

[[team.agents]]
x = 1
[[team.agents]]
y = {a = 1, b = 2}
'''


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ((), 1),
        (("task",), 3),
        (("budget",), 7),
        (("agents",), 9),
        (("agents", "ann"), 9),
        (("agents", "ann", "system_prompt"), 11),
        (("agents", "ann", "tools"), 12),
        (("agents", "ann", "tools", 1), 12),
        (("agents", "ann", "metadata", "a", "b"), 17),
        (("agents", "b.c", "system_prompt"), 19),
        (("team",), 22),
        (("team", "agents", 0), 22),
        (("team", "agents", 0, "x"), 23),
        (("team", "agents", 1), 24),
        (("team", "agents", 1, "y", "b"), 25),
        (("nowhere",), None),
        (("task", "deeper"), None),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_value_is_where_its_statement_begins(newline: str, place: tuple[str | int, ...], line: int | None) -> None:
    assert read_toml(FILE.replace("\n", newline), "f")._line(place) == line


def test_lines_are_found_soon_in_a_long_file() -> None:
    text = "".join(f'[agents.a{n}]\nsystem_prompt = """\n{"x" * 50}\n"""\n' for n in range(2_000))
    source = read_toml(text, "f")

    assert source.at(("agents", "a1500", "system_prompt")) == "f:6002: agents.a1500.system_prompt"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = 1\na = 2", "f:2: is not TOML: Cannot overwrite a value"),
        ("a = 1\n[a]", "f:2: is not TOML: "),
        ("a = ", "f:1: is not TOML: "),
        ("a = [\n1,", "f:2: is not TOML: "),
        (f"a = {'1' * 5000}", "f:1: is not TOML: "),
        (f"a = {'[' * 100_000}", "f: is nested deeper than 100 levels"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_toml(text, "f")

    assert str(raised.value).startswith(problem)


TOML = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(TEXTS, TOML, max_size=5))
@settings(deadline=None, max_examples=200)
def test_what_is_written_is_read_back(document: dict[str, object]) -> None:
    assert read_toml(write_toml(document), "f").data == document


def test_the_order_of_specialists_is_kept() -> None:
    document = {"team": {"specialists": {"b": {"pattern": "vote", "agents": ["x"]}, "a": "a"}}}

    assert list(read_toml(write_toml(document), "f").data["team"]["specialists"]) == ["b", "a"]


def test_toml_has_no_word_for_null() -> None:
    with pytest.raises(ValueError, match="choose YAML or JSON"):
        write_toml({"metadata": {"a": None}})
