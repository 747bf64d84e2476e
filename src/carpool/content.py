"""The content of a call, as a digest: who is asked, in which role, what; by it calls are recognised again."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, cast

import msgspec
from msgspec.structs import asdict, replace

from .types import AgentSpec

__all__ = ["content_digest", "original", "spec_digest"]


def content_digest(spec: AgentSpec | str, task: str, roles: str = "") -> str:
    """64 hexadecimal digits: SHA-256 over the role path, the spec (or its :func:`spec_digest`), and the whole task.

    The same in every process, on every machine and in every version of Python.
    """
    return _sha256([roles, spec if isinstance(spec, str) else spec_digest(spec), task])


def spec_digest(spec: AgentSpec) -> str:
    """SHA-256 over the fields of the original spec.

    A field at its default does not count, so that a later version's new field changes nothing. What stands in
    ``metadata`` and is not JSON counts by the qualified name of its type; a class, by its own.
    """
    spec = original(spec)
    fields = spec.__struct_fields__
    return _sha256([(name, value) for name in fields if (value := getattr(spec, name)) != _USUAL.get(name)])


def original(spec: AgentSpec) -> AgentSpec:
    """The spec that ``spec`` was derived from by a pattern: ``mapper_3`` has the role ``mapper``, and was that."""
    return spec if spec.role is None else replace(spec, name=spec.role, role=None)


def _sha256(content: list[Any]) -> str:
    try:
        text = msgspec.json.encode(content, enc_hook=_by_name, order="deterministic")
    except (UnicodeEncodeError, TypeError, RecursionError):
        # Half a character, as some models emit; keys that JSON has not; what contains itself.
        text = ascii(_spelled_out(content, 0)).encode()
    return sha256(text).hexdigest()


def _spelled_out(value: Any, depth: int) -> Any:
    """``value`` as what has the same ``ascii`` everywhere."""
    if depth > _DEEPEST:
        return "deeper"
    if isinstance(value, msgspec.Struct):
        value = asdict(value)
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return sorted((_spelled_out(item, depth + 1) for item in items), key=ascii)
    if isinstance(value, list | tuple):
        return [_spelled_out(item, depth + 1) for item in cast("list[Any]", value)]
    if isinstance(value, set | frozenset):
        return sorted((_spelled_out(item, depth + 1) for item in cast("set[Any]", value)), key=ascii)
    if value is None or type(value) in _PLAINEST:
        return value
    known = msgspec.to_builtins(value, enc_hook=_by_name)
    return known if type(known) in _PLAINEST else _by_name(value)


def _by_name(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


_USUAL = asdict(AgentSpec("any", ""))
_PLAINEST = (str, int, float, bool, bytes)
_DEEPEST = 200
