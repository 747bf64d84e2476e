"""JSON: lines, and keys that stand there twice, of which its reader would take the last without a word."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.errors import ConfigError
from carpool.teams.json_text import read_json, write_json

from .test_yaml_text import JSON, TEXTS


def test_a_value_is_in_the_line_of_its_key() -> None:
    text = '{\n "a": [1,\n  {"b": "x\\"]y"},\n  []],\n "c": {"a":\n 1}}'
    source = read_json(text, "f")
    places = [(), ("a",), ("a", 0), ("a", 1), ("a", 1, "b"), ("a", 2), ("c",), ("c", "a"), ("d",)]

    assert [source._line(place) for place in places] == [1, 2, 2, 3, 3, 4, 5, 5, None]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1,\n"b": 2, "a": 3}', "f:2: key 'a' stands there already, in line 1"),
        ('{"a": 1,\n"\\u0061": 3}', "f:2: key 'a' stands there already, in line 1"),
        ('{"b": [{"a": 1,\n"a": {}}]}', "f:2: key 'a' stands there already, in line 1"),
        ('{\n"a": x\n}', "f:2: is not JSON: "),
        ('{\n"a": 1\n', "f:2: is not JSON: "),
        ('{\n"a": NaN}', "f:2: is not JSON: "),
        ('{"a": 1} {}', "f:1: is not JSON: "),
        ("// a\n{}", "f:1: is not JSON: "),
        ("", "f:1: is not JSON: "),
        ("[" * 102 + "]" * 102, "f:1: is nested deeper than 100 levels"),
        ("[" * 200_000, "f"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_json(text, "f")

    assert str(raised.value).startswith(problem)


@given(st.dictionaries(TEXTS, JSON, max_size=5))
@settings(deadline=None, max_examples=100)
def test_what_is_written_is_read_back(document: dict[str, object]) -> None:
    assert read_json(write_json(document), "f").data == document


@given(st.text() | st.text(alphabet='{}[]:,"\\ \n01ae.-tfn', max_size=60))
@settings(deadline=None, max_examples=500)
def test_whatever_is_read_only_a_config_error_comes_out(text: str) -> None:
    with suppress(ConfigError):
        read_json(text, "f")
