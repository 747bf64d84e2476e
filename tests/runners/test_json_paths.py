"""Values by their path, and amounts: what is unknown is not zero."""

from __future__ import annotations

from typing import Any

import pytest

from carpool.errors import ConfigError
from carpool.runners.json_paths import NOTHING, Amounts, value_at

DOCUMENT = {"a": {"b": [10, {"c": "x"}]}, "n": None, "t": True}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.b.0", 10),
        ("a.b.1.c", "x"),
        ("a.b.-1.c", "x"),
        ("n", None),
        ("t", True),
        ("a.c", NOTHING),
        ("a.b.2", NOTHING),
        ("a.b.x", NOTHING),
        ("n.x", NOTHING),
        ("t.x", NOTHING),
        ("a.b.1.c.0", NOTHING),
    ],
)
def test_a_path_leads_through_objects_and_lists(path: str, expected: Any) -> None:
    assert value_at(path, DOCUMENT) is expected or value_at(path, DOCUMENT) == expected


def looked(paths: dict[str, Any], *values: Any, add: bool = False) -> Amounts:
    amounts = Amounts(paths, add)
    for value in values:
        amounts.look(value)
    return amounts


def test_amounts_are_found_by_their_paths() -> None:
    amounts = looked({"input_tokens": "u.in", "cost_usd": "cost"}, {"u": {"in": 5.0}, "cost": 0.5})

    assert amounts.found == {"input_tokens": 5, "cost_usd": 0.5}
    assert type(amounts.found["input_tokens"]) is int
    assert amounts.problems == []


def test_several_paths_are_added_up_and_only_the_first_must_be_there() -> None:
    paths = {"input_tokens": ("fresh", "cached", "written")}

    assert looked(paths, {"fresh": 5, "cached": 7, "written": None}).found == {"input_tokens": 12}
    assert looked(paths, {"fresh": 5}).found == {"input_tokens": 5}
    missing = looked(paths, {"cached": 7})
    assert (missing.found, missing.problems) == ({}, ["no input_tokens: nothing stands at 'fresh'"])
    assert looked(paths, {"fresh": 5, "cached": "many"}).found == {}


def test_an_amount_can_be_known_beforehand() -> None:
    amounts = looked({"input_tokens": "in", "cost_usd": 0})

    assert amounts.found == {"cost_usd": 0}
    assert amounts.problems == ["no input_tokens: nothing stands at 'in'"]


def test_of_several_values_the_last_counts_or_all_are_added() -> None:
    values = [{"in": 5, "cost": 0.5}, {"other": 1}, {"in": 7}]
    paths = {"input_tokens": "in", "cost_usd": "cost"}

    assert looked(paths, *values).found == {"input_tokens": 7, "cost_usd": 0.5}
    assert looked(paths, *values, add=True).found == {"input_tokens": 12, "cost_usd": 0.5}


@pytest.mark.parametrize("wrong", ["5", -1, 1.5, True, [], {}, float("nan"), float("inf"), 2**63, 1e300])
def test_what_is_no_amount_makes_it_unknown(wrong: Any) -> None:
    amounts = looked({"output_tokens": "out"}, {"out": wrong})

    assert amounts.found == {}
    assert amounts.problems == ["no output_tokens: what stands at 'out' is no amount"]


def test_a_later_total_mends_what_was_no_amount_and_a_sum_does_not() -> None:
    values = [{"in": 5}, {"in": "?"}, {"in": 9}]

    assert looked({"input_tokens": "in"}, *values).found == {"input_tokens": 9}
    assert looked({"input_tokens": "in"}, *values[:2]).found == {}
    assert looked({"input_tokens": "in"}, *values, add=True).found == {}


def test_who_caches_nothing_need_not_say_so() -> None:
    assert looked({"cache_read_tokens": "cached", "cache_write_tokens": "written"}, {}).problems == []


@pytest.mark.parametrize("paths", [{"tokens": "a"}, {"cost_usd": -1}, {"input_tokens": 0.5}, {"cost_usd": True},
                                   {"cost_usd": ""}, {"cost_usd": ()}, {"cost_usd": (1,)}])  # fmt: skip
def test_what_is_neither_a_path_nor_an_amount_is_refused(paths: Any) -> None:
    with pytest.raises(ConfigError, match="usage: "):
        Amounts(paths)
