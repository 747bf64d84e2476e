"""JSON Schema: values checked by jsonschema-rs, the extra ``schema``. Nothing else here knows a schema's rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from .errors import ConfigError

__all__ = ["checker"]

_MOST_PROBLEMS = 5


def checker(schema: dict[str, Any], what: str) -> Callable[[Any], str | None]:
    """A function that says where and how a value does not fit ``schema``, or ``None``.

    It names keys, and what the schema asks for; never a value. References are followed inside ``schema`` only:
    nothing is fetched, from no file and no network.

    :raises ConfigError: when ``schema`` is no valid JSON Schema, refers to something outside, or the extra is not
        installed.
    """
    if schema in ({}, {"type": "object"}, {"type": "object", "properties": {}}):
        return lambda value: None  # says nothing about what is inside
    try:
        import jsonschema_rs
    except ImportError:
        raise ConfigError(f"{what} has a JSON Schema to check: pip install 'carpool[schema]'") from None
    try:
        # Masked, because what agents pass may be secret, and texts go to other agents and to the log.
        validator = jsonschema_rs.validator_for(schema, mask="the value", retriever=_fetch_nothing)
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"{what}: not a valid JSON Schema: {_why_invalid(schema, error)}") from None

    def check(value: Any) -> str | None:
        problems: list[str] = []
        try:
            for error in validator.iter_errors(value):
                problems.append(f"{_place(error.instance_path)}: {error.message}")
                if len(problems) == _MOST_PROBLEMS:
                    break
        except (ValueError, RecursionError):
            return "$: the value is not JSON, or nested too deep"
        return "; ".join(problems) or None

    return check


def _fetch_nothing(uri: str) -> NoReturn:
    raise ValueError("references lead into the schema itself (#/$defs/…); nothing is fetched")


def _why_invalid(schema: Any, error: Exception) -> str:
    """The first line of it, unmasked: a schema is no secret, and without its words nobody finds the place."""
    import jsonschema_rs

    try:
        jsonschema_rs.validator_for(schema, retriever=_fetch_nothing)
    except jsonschema_rs.ValidationError as plain:
        return f"{_place(plain.instance_path)}: {plain.message}".splitlines()[0]
    except (ValueError, TypeError, RecursionError) as plain:
        error = plain
    return str(error).splitlines()[0]


def _place(path: list[str | int]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
