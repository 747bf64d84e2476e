"""JSON Schema: values checked by jsonschema-rs, the extra ``schema``. Nothing else here knows a schema's rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import ConfigError

__all__ = ["checker"]


def checker(schema: dict[str, Any], what: str) -> Callable[[Any], str | None]:
    """A function that says where and how a value does not fit ``schema``, or ``None``; never the value.

    :raises ConfigError: when ``schema`` is no valid JSON Schema, or the extra is not installed.
    """
    if schema in ({}, {"type": "object"}, {"type": "object", "properties": {}}):
        return lambda value: None  # says nothing about what is inside
    try:
        import jsonschema_rs
    except ImportError:
        raise ConfigError(f"{what} has a JSON Schema to check: pip install 'carpool[schema]'") from None
    try:
        # Masked, because what agents pass may be secret, and texts go to other agents and to the log.
        validator = jsonschema_rs.validator_for(schema, mask="the value")
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{what}: not a valid JSON Schema: {str(error).splitlines()[0]}") from None

    def check(value: Any) -> str | None:
        problems: list[str] = []
        for error in validator.iter_errors(value):
            place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
            problems.append(f"${place}: {error.message}")
        return "; ".join(problems[:5]) or None

    return check
