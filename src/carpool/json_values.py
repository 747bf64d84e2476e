"""JSON values: a checked copy that says where something is not JSON, and an equality that tells 1 from true."""

from __future__ import annotations

from math import isfinite
from typing import Any, cast

__all__ = ["DEEPEST", "json_copy", "json_equal"]

DEEPEST = 200
"""Levels of nesting; a value that contains itself is deeper."""


def json_copy(value: Any, path: str = "$") -> Any:
    """A copy of ``value`` that shares nothing mutable with it.

    JSON is ``None``, bools, ints, finite floats, strings that UTF-8 can encode, lists, and dicts with string
    keys: exactly these types, because a tuple or a subclass would not come back as what it was.

    :raises ValueError: when it is not JSON, with the path to what is not.
    """
    return _copy(value, path, 0)


def _copy(value: Any, path: str, depth: int) -> Any:
    kind = cast("Any", type)(value)  # its type is unknown to a checker too
    if value is None or kind is bool or kind is int:
        return value
    if kind is str:
        return _text(value, path)
    if kind is float:
        if not isfinite(value):
            raise ValueError(f"{path} is {value!r}, which JSON can't write")
        return value
    if depth >= DEEPEST:
        raise ValueError(f"{path} is nested deeper than {DEEPEST} levels, or contains itself")
    if kind is list:
        return [_copy(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    if kind is dict:
        return {_key(key, path): _copy(item, f"{path}.{key}", depth + 1) for key, item in value.items()}
    raise ValueError(
        f"{path} is a {type(value).__qualname__}, which is not JSON; pass dicts, lists, strings and numbers"
    )


def _key(key: Any, path: str) -> str:
    if type(key) is not str:
        raise ValueError(f"{path} has the key {key!r}, a {type(key).__qualname__}; JSON keys are strings")
    return _text(key, f"{path} (a key)")


def _text(text: str, path: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{path} has a lone surrogate, which UTF-8 can't encode") from None
    return text


def json_equal(one: Any, other: Any) -> bool:
    """Equal as JSON: ``1`` is neither ``true`` nor ``1.0``."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        ours, theirs = cast(dict[str, Any], one), cast(dict[str, Any], other)
        return ours.keys() == theirs.keys() and all(json_equal(ours[key], theirs[key]) for key in ours)
    if isinstance(one, list):
        mine, yours = cast(list[Any], one), cast(list[Any], other)
        return len(mine) == len(yours) and all(map(json_equal, mine, yours))
    return bool(one == other)
