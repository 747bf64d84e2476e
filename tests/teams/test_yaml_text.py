"""YAML is read as data and nothing else: no tag, no bomb, no key twice, nothing that two readers read differently."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.errors import ConfigError
from carpool.teams.source import Ambiguous, source_of
from carpool.teams.yaml_text import read_yaml, write_yaml


def data(text: str) -> object:
    return read_yaml(text, "f").data


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        data(text)
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("+1", 1),
        ("-0", 0),
        ("0x1F", 31),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.0e+3", 1000.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("y", "y"),
        ("ann", "ann"),
        ("'no'", "no"),
        ('"012"', "012"),
        ("! no", "no"),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("[1, a, {b: c}]", [1, "a", {"b": "c"}]),
    ],
)
def test_what_all_read_alike_is_read(text: str, value: object) -> None:
    found = data(f"a: {text}")

    assert found == {"a": value}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        *("no", "yes", "on", "Off", "NO"),
        *("012", "08", "0o14", "0b1", "1_000", "+012"),
        *("1:30", "190:20:30.15"),
        *("1e3", "1e-7", "1.5e3"),
        *("2024-01-01", "2024-01-01 10:00:00", "="),
    ],
)
def test_what_versions_of_yaml_read_differently_is_kept_as_it_stands(text: str) -> None:
    found = data(f"a: {text}")

    assert isinstance(found, dict)
    assert isinstance(found["a"], Ambiguous)
    assert found["a"].text == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: {c: 2, d: 3}\na: 2", "f:3: key 'a' stands there already, in line 1"),
        ('a: 1\n"a": 2', "f:2: key 'a' stands there already, in line 1"),
        ("b: {c: 2,\n c: 3}", "f:2: key 'c' stands there already, in line 1"),
        ("no: 1", "f:1: a key must be a text, and no is none; put quotes around it"),
        ("12: 1", "f:1: a key must be a text, and 12 is none; put quotes around it"),
        ("? [a]\n: b", "f:1: a key must be a text"),
        ("? " * 200_000, "f:1: a key must be a text"),
        ("a: 1\n---\nb: 2", "f:2: a second document begins; a team file is one"),
        ("a: *b", "f:1: there is no &b before *b"),
        ("a: &x [*x]", "f:1: *x stands inside of itself"),
        ("a: [\n", "f:2: is not YAML: "),
        ("a: b: c", "f:1: is not YAML: mapping values are not allowed in this context"),
        ("a:\n\tb: c", "f:2: is not YAML: found "),
        ("a: \x01", "f: is not YAML: unacceptable character"),
        (f"a: 0x{'f' * 5000}\nb: {'1' * 5000}", "f:2: a number of so many digits can't be read"),
        ("<<: 3", "f:1: << takes over a mapping, or a list of mappings"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    assert refusal(text).startswith(problem)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system [id]",
        "!!python/name:os.system ''",
        "!!python/module:os ''",
        "!!python/object/new:os.system [id]",
        "!!python/tuple [1]",
        "!!binary aGk=",
        "!!str 12",
        "!!int '12'",
        "!!set {a, b}",
        "!own {a: b}",
        "!<tag:yaml.org,2002:python/name:os.system> x",
    ],
)
def test_no_tag_is_heeded(tag: str) -> None:
    assert "the tag " in refusal(f"a: {tag}")


def test_a_tagged_key_is_refused() -> None:
    assert "the tag " in refusal("!!python/name:os.system a: b")


def test_aliases_stand_for_what_they_name() -> None:
    assert data("a: &a {x: [1]}\nb: *a") == {"a": {"x": [1]}, "b": {"x": [1]}}


def test_a_mapping_takes_over_another_and_what_it_says_itself_counts() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: *a, x: 5}\nd: {<<: [*a, *b]}\ne: {'<<': 1}"

    assert data(text) == {
        "a": {"x": 1, "y": 2},
        "b": {"y": 3, "z": 4},
        "c": {"x": 5, "y": 2},
        "d": {"x": 1, "y": 2, "z": 4},
        "e": {"<<": 1},
    }


def test_a_few_lines_do_not_stand_for_millions_of_values() -> None:
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    bomb += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    assert refusal("\n".join(bomb)) == "f:5: stands for more than 100,000 values"


def test_merges_do_not_stand_for_millions_of_values_either() -> None:
    bomb = ["a0: &a0 {x: [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]}"]
    bomb += [f"a{n}: &a{n} {{<<: *a{n - 1}, y: *a{n - 1}, z: *a{n - 1}}}" for n in range(1, 30)]

    assert "stands for more than 100,000 values" in refusal("\n".join(bomb))


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "a: ["])
def test_nesting_without_end_is_refused_and_crashes_nothing(opening: str) -> None:
    assert "is nested deeper than 100 levels" in refusal(opening * 200_000)


def test_an_empty_file_is_nothing() -> None:
    assert data("") is None
    assert data("# a comment") is None


def test_lines_are_those_of_keys_and_entries() -> None:
    source = read_yaml("# x\na:\n  - b\n  -\n    c: |\n      1\n      2\n    d: 3\n", "f")
    at = {place: source.at(place) for place in [("a",), ("a", 0), ("a", 1, "c"), ("a", 1, "d"), ("a", 1, "e"), ("z",)]}

    assert list(at.values()) == [
        *("f:2: a", "f:3: a[0]", "f:5: a[1].c", "f:8: a[1].d"),
        *("f:5: a[1].e", "f:2: z"),  # what is not there is where it should be
    ]


def test_without_pyyaml_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.delitem(sys.modules, "carpool.teams.yaml_text")

    with pytest.raises(ConfigError, match=r"to read YAML, pip install 'carpool\[yaml\]'; or write TOML or JSON"):
        source_of("a: b", "yaml", "f")


TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    [
        "no",
        "012",
        "1:30",
        "1e3",
        "~",
        "",
        "null",
        "2024-01-01",
        "=",
        "<<",
        "a\nb\n",
        " x",
        "x ",
        "- a",
        "# a",
        "a: b",
        "&a",
        "!a",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(TEXTS, JSON, max_size=5))
@settings(deadline=None, max_examples=200)
def test_what_is_written_is_read_back(document: dict[str, object]) -> None:
    read = data(write_yaml(document))

    assert read == (document or {})
    assert repr(read) == repr(document)  # 1 is neither 1.0 nor true


@given(st.text() | st.text(alphabet="ab:-?[]{},&*!|>'\"%@`#~<= \n\t0123", max_size=60))
@settings(deadline=None, max_examples=500)
def test_whatever_is_read_only_a_config_error_comes_out(text: str) -> None:
    try:
        text.encode()
        read_yaml(text, "f")
    except (ConfigError, UnicodeEncodeError):
        pass
