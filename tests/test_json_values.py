"""What is JSON, what is not and where, and that a copy shares nothing with its original."""

from __future__ import annotations

import array
import collections
import io
import json
import re
import types
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag, StrEnum
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from carpool.json_values import DEEPEST, json_copy, json_equal

CALM = settings(deadline=None, max_examples=150)


class Colour(Enum):
    RED = 1


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    ONE = "one"


class Flag(IntFlag):
    SET = 1


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class Items(list):
    pass


class Fields(dict):
    pass


class Pair(NamedTuple):
    left: int
    right: int


@dataclass
class Row:
    count: int = 1


class Record(Struct):
    count: int = 1


class LooksLikeADict:
    __class__ = dict  # type: ignore[assignment]

    def items(self) -> list[tuple[str, int]]:
        return [("a", 1)]


def nested(levels: int, wrap: Callable[[Any], Any] = lambda inside: [inside]) -> Any:
    """``levels`` containers in each other, made without recursion."""
    value: Any = wrap(1)
    for _ in range(levels - 1):
        value = wrap(value)
    return value


def list_in_itself() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


def dict_in_itself() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["me"] = value
    return value


def two_in_each_other() -> dict[str, Any]:
    inner: list[Any] = []
    outer = {"inner": inner}
    inner.append(outer)
    return outer


def ints() -> Iterator[int]:
    yield 1


NAN, INF = float("nan"), float("inf")

# What it is → how to make it, and the end of the path that a refusal must name ("" = the value itself).
NOT_JSON: dict[str, tuple[Callable[[], Any], str]] = {
    "nan": (lambda: NAN, ""),
    "infinity": (lambda: INF, ""),
    "minus infinity": (lambda: -INF, ""),
    "a float too large": (lambda: 1e308 * 10, ""),
    "no tuple": (lambda: (), ""),
    "a tuple": (lambda: (1, 2), ""),
    "a named tuple": (lambda: Pair(1, 2), ""),
    "no set": (lambda: set(), ""),
    "a set": (lambda: {1}, ""),
    "a frozen set": (lambda: frozenset({1}), ""),
    "no bytes": (lambda: b"", ""),
    "bytes": (lambda: b"x", ""),
    "a byte array": (lambda: bytearray(b"x"), ""),
    "a memory view": (lambda: memoryview(b"x"), ""),
    "an array": (lambda: array.array("i", [1]), ""),
    "a complex": (lambda: 1j, ""),
    "a decimal": (lambda: Decimal("1.5"), ""),
    "a fraction": (lambda: Fraction(1, 2), ""),
    "a time": (lambda: datetime(2025, 1, 1, tzinfo=UTC), ""),
    "a date": (lambda: date(2025, 1, 1), ""),
    "a duration": (lambda: timedelta(seconds=1), ""),
    "a uuid": (lambda: uuid.UUID(int=1), ""),
    "a path": (lambda: PurePosixPath("a"), ""),
    "an object": (object, ""),
    "a class": (lambda: int, ""),
    "a function": (lambda: ints, ""),
    "a lambda": (lambda: lambda: 1, ""),
    "a module": (lambda: json, ""),
    "a generator": (ints, ""),
    "an iterator": (lambda: iter([1]), ""),
    "a range": (lambda: range(3), ""),
    "an ellipsis": (lambda: ..., ""),
    "not implemented": (lambda: NotImplemented, ""),
    "a pattern": (lambda: re.compile("a"), ""),
    "an exception": (lambda: ValueError("no"), ""),
    "a file": (lambda: io.StringIO("x"), ""),
    "an enum": (lambda: Colour.RED, ""),
    "an int enum": (lambda: Level.LOW, ""),
    "a str enum": (lambda: Word.ONE, ""),
    "an int flag": (lambda: Flag.SET, ""),
    "a kind of int": (lambda: Whole(1), ""),
    "a kind of float": (lambda: Real(1.0), ""),
    "a kind of str": (lambda: Text("x"), ""),
    "a kind of list": (lambda: Items([1]), ""),
    "a kind of dict": (lambda: Fields(a=1), ""),
    "an ordered dict": (lambda: collections.OrderedDict(a=1), ""),
    "a default dict": (lambda: collections.defaultdict(int, a=1), ""),
    "a counter": (lambda: collections.Counter("a"), ""),
    "a chain map": (lambda: collections.ChainMap({"a": 1}), ""),
    "a user dict": (lambda: collections.UserDict(a=1), ""),
    "a user list": (lambda: collections.UserList([1]), ""),
    "a user string": (lambda: collections.UserString("x"), ""),
    "a deque": (lambda: collections.deque([1]), ""),
    "a mapping proxy": (lambda: types.MappingProxyType({"a": 1}), ""),
    "a view of keys": (lambda: {"a": 1}.keys(), ""),
    "a namespace": (lambda: types.SimpleNamespace(a=1), ""),
    "a dataclass": (Row, ""),
    "a struct": (Record, ""),
    "what says it is a dict": (LooksLikeADict, ""),
    "a lone surrogate": (lambda: "\ud800", ""),
    "a lone low surrogate": (lambda: "a\udc80b", ""),
    "a surrogate pair in two characters": (lambda: "\ud83d\ude00", ""),
    "an int key": (lambda: {1: 1}, ""),
    "a null key": (lambda: {None: 1}, ""),
    "a true key": (lambda: {True: 1}, ""),
    "a float key": (lambda: {1.5: 1}, ""),
    "a tuple key": (lambda: {(1,): 1}, ""),
    "a bytes key": (lambda: {b"k": 1}, ""),
    "a key of a kind of str": (lambda: {Text("k"): 1}, ""),
    "a str enum key": (lambda: {Word.ONE: 1}, ""),
    "a surrogate key": (lambda: {"\ud800": 1}, ""),
    "nan deep inside": (lambda: {"a": [1, {"b": NAN}]}, ".a[1].b"),
    "a tuple in lists": (lambda: [[0, (1,)]], "[0][1]"),
    "a set after good ones": (lambda: {"a": 1, "b": 2, "c": {3}}, ".c"),
    "an int key inside": (lambda: {"a": {2: 3}}, ".a"),
    "a surrogate inside": (lambda: ["ok", "\udfff"], "[1]"),
    "a list in itself": (list_in_itself, "[1][1]"),
    "a dict in itself": (dict_in_itself, ".me.me"),
    "two in each other": (two_in_each_other, ".inner[0]"),
    "one level too many": (lambda: nested(DEEPEST + 1), "[0][0]"),
    "one dict too many": (lambda: nested(DEEPEST + 1, lambda inside: {"a": inside}), ".a.a"),
    "very deep": (lambda: nested(100_000), "[0][0]"),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=12,
)
NOT_EQUAL = [None, True, False, 0, 1, 0.5, 1.0, "", "1", "true", [], [1], [True], [1.0], [1, 1], {}, {"a": 1}]
NOT_EQUAL += [{"a": True}, {"a": None}, {"b": 1}, {"a": 1, "b": 1}, [[]], [{}], {"a": [{"b": 1}]}, {"a": [{"b": 1.0}]}]


def containers(value: Any) -> list[int]:
    """Identities of every list and dict in ``value``."""
    if isinstance(value, list):
        return [id(value), *(each for item in value for each in containers(item))]
    if isinstance(value, dict):
        return [id(value), *(each for item in value.values() for each in containers(item))]
    return []


def test_the_list_of_what_is_not_json_is_long() -> None:
    assert len(NOT_JSON) >= 60


@pytest.mark.parametrize("what", NOT_JSON)
def test_what_is_not_json_is_refused_with_the_path_to_it(what: str) -> None:
    make, place = NOT_JSON[what]

    with pytest.raises(ValueError, match=re.escape(f"here{place}")):
        json_copy(make(), "here")


@pytest.mark.parametrize("what", NOT_JSON)
def test_a_refusal_can_be_printed_and_is_short(what: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|nested|surrogate") as refusal:
        json_copy([NOT_JSON[what][0]()])

    assert len(str(refusal.value).encode()) < 3_000


@CALM
@given(JSON)
def test_a_copy_is_equal_and_shares_nothing_that_can_change(value: Any) -> None:
    copy = json_copy(value)

    assert json_equal(copy, value)
    assert json.dumps(copy) == json.dumps(value), "the same types, the same order of keys"
    assert not set(containers(copy)) & set(containers(value))


@CALM
@given(JSON)
def test_a_copy_survives_json(value: Any) -> None:
    assert json_equal(json.loads(json.dumps(json_copy(value))), value)


@CALM
@given(JSON, JSON)
def test_two_values_are_equal_when_their_json_is(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)

    assert json_equal(one, one)
    assert json_equal(one, other) == json_equal(other, one)
    if same:
        assert json_equal(one, other)


@pytest.mark.parametrize("first", range(len(NOT_EQUAL)))
def test_no_two_of_these_are_equal(first: int) -> None:
    equal = [other for other in range(len(NOT_EQUAL)) if json_equal(NOT_EQUAL[first], json_copy(NOT_EQUAL[other]))]

    assert equal == [first]


def test_the_order_of_keys_does_not_count() -> None:
    assert json_equal({"a": 1, "b": [2]}, {"b": [2], "a": 1})


def test_the_order_of_items_counts() -> None:
    assert not json_equal([1, 2], [2, 1])


@pytest.mark.parametrize(
    "value",
    ["", "\0", "\x7f", "é", "\u2028", "😀", "\uffff", 0, -1, 2**53 + 1, -(2**63), 2**64, 2**200, 5e-324, 1.7e308, -0.0],
)
def test_what_is_odd_but_json_is_taken_as_it_is(value: Any) -> None:
    copy = json_copy({"at": [value]})["at"][0]

    assert copy == value
    assert type(copy) is type(value)


def test_as_deep_as_allowed_is_taken() -> None:
    assert json_equal(json_copy(nested(DEEPEST)), nested(DEEPEST))


def test_one_list_in_two_places_becomes_two() -> None:
    shared: list[Any] = []

    first, second = json_copy([shared, shared])
    first.append(1)

    assert (shared, second) == ([], [])


def test_the_original_is_not_touched_by_a_refusal() -> None:
    value = {"a": [1, 2], "b": {3}}

    with pytest.raises(ValueError, match=r"\$\.b"):
        json_copy(value)

    assert value == {"a": [1, 2], "b": {3}}
