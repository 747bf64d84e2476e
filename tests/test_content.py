"""The content of a call: the same in every process, another when anything that counts has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from msgspec.structs import replace

from carpool import AgentSpec, BudgetLimits, TokenAccounting
from carpool.content import content_digest, original, spec_digest

PLAIN = AgentSpec("reader", "Summarise.")
FULL = AgentSpec(
    "reader_3",
    "Summarise.",
    tools=["search"],
    max_turns=3,
    metadata={"team": "a", "n": [1, 2.5, None, True]},
    cache_control=True,
    model="provider:name",
    timeout_s=1.5,
    retries=2,
    estimate=TokenAccounting(input_tokens=10, cost_usd=0.5),
    budget=BudgetLimits(max_agents=2),
    role="reader",
)


def test_it_is_what_it_has_always_been() -> None:
    """A run that was begun by an earlier version is resumed by a later one."""
    assert content_digest(PLAIN, "page 1", "map_reduce/reader") == (
        "11caceb252efd4bc77b027ff8b19fd34d8413e4a32715d198508ea1595033eb4"
    )
    assert content_digest(FULL, "größer", "map_reduce/reader") == (
        "608a06c24aefe4de5c3255ea71bb2c0703e8c945fd3ed2c060f3715df1047847"
    )


def test_it_is_the_same_whatever_python_hashes_texts_to() -> None:
    program = (
        "from carpool import AgentSpec; from carpool.content import content_digest as digest\n"
        "odd = {(1, 2): {3, 'a', None}, 'b': object(), None: b'x'}\n"
        "print(digest(AgentSpec('a', 'b', metadata={'z': 1, 'a': {'x', 'y'}}), 't'))\n"
        "print(digest(AgentSpec('a', 'b', metadata=odd), '\\ud83d'))\n"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(told) == 1


def test_a_spec_may_be_given_by_its_digest() -> None:
    assert content_digest(spec_digest(FULL), "t", "r") == content_digest(FULL, "t", "r")


def test_a_numbered_spec_has_the_content_of_the_one_that_it_was_made_of() -> None:
    assert original(FULL) == replace(FULL, name="reader", role=None)
    assert original(PLAIN) is PLAIN
    assert spec_digest(replace(PLAIN, name="reader_7", role="reader")) == spec_digest(PLAIN)


OTHER: dict[str, Any] = {
    "name": "writer",
    "system_prompt": "Summarise well.",
    "tools": ["write"],
    "max_turns": 4,
    "metadata": {"team": "b"},
    "cache_control": False,
    "model": "provider:other",
    "timeout_s": 2.5,
    "retries": 1,
    "estimate": TokenAccounting(input_tokens=11),
    "budget": BudgetLimits(max_agents=3),
    "role": "writer",
}


@pytest.mark.parametrize("field", AgentSpec.__struct_fields__)
def test_another_field_is_another_content(field: str) -> None:
    base = FULL if field != "name" else replace(FULL, role=None)
    assert spec_digest(replace(base, **{field: OTHER[field]})) != spec_digest(base)


def test_another_task_or_role_path_is_another_content() -> None:
    digests = {content_digest(PLAIN, task, roles) for task in ("a", "b", "") for roles in ("x/y", "x", "")}
    assert len(digests) == 9
    assert content_digest(PLAIN, "b", "a") != content_digest(PLAIN, "ab", "")


def test_what_is_at_its_default_does_not_count() -> None:
    assert spec_digest(AgentSpec("reader", "Summarise.", tools=[], metadata={}, retries=0)) == spec_digest(PLAIN)


class Colour(Enum):
    RED = 1
    BLUE = 2


class Thing:
    def __repr__(self) -> str:
        return f"a thing at {id(self)}"


ITSELF: dict[str, Any] = {}
ITSELF["itself"] = ITSELF


def of(metadata: dict[Any, Any], task: str = "t") -> str:
    return content_digest(AgentSpec("a", "b", metadata=metadata), task)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, "1"),
        (None, "null"),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 2}),
        ({(1, 2): 3}, {(1, 2): 4}),
        ({(1, 2): 3}, {(2, 1): 3}),
        (Colour.RED, Colour.BLUE),
        (Decimal("1.5"), Decimal("1.6")),
        (datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)),
        (b"a", b"b"),
        ({1, 2}, {1, 3}),
        (Thing, Colour),
        (Thing(), Colour),
        ("\ud83d", "\ud83e"),
        ("\ud83d", "?"),
    ],
)
def test_metadata_of_any_kind_counts(one: Any, other: Any) -> None:
    assert of({"a": one}) != of({"a": other})
    # Also where the whole has to be spelled out by hand.
    odd = {(0,): 0}
    assert of({"a": one, "odd": odd}) != of({"a": other, "odd": odd})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": {"x", "y"}}, {"a": {"y", "x"}}),
        ({"a": Thing()}, {"a": Thing()}),
        ({(1, 2): "x", "a": 1}, {"a": 1, (1, 2): "x"}),
    ],
)
def test_order_and_identity_do_not(one: dict[Any, Any], other: dict[Any, Any]) -> None:
    assert of(one) == of(other)


def test_nothing_that_can_be_in_a_spec_keeps_it_from_having_a_content() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    digests = {of(metadata) for metadata in ({"a": ITSELF}, {"a": deep}, {"a": {None: 1}}, {"a": float("nan")})}
    assert len(digests) == 4
    assert all(len(digest) == 64 and int(digest, 16) for digest in digests)


def test_what_it_costs_is_counted_also_where_the_whole_has_to_be_spelled_out() -> None:
    specs = [AgentSpec("a", "b", metadata={(1, 2): 3}, estimate=TokenAccounting(input_tokens=n)) for n in (1, 2)]
    assert spec_digest(specs[0]) != spec_digest(specs[1])


def test_half_a_character_is_no_trouble() -> None:
    assert content_digest(PLAIN, "\ud83d") != content_digest(PLAIN, "\ud83e")
    assert content_digest(AgentSpec("a", "\ud83d"), "t") != content_digest(AgentSpec("a", "?"), "t")
