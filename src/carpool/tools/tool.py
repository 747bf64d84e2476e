"""What every tool is: a schema, and calls that are prepared first and made later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..actions import ToolSchema
from ..schemas import checker

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Prepared", "Tool"]

Prepared = Callable[[], Awaitable[Any]]


class Tool:
    """Something an agent can call by name with JSON arguments. A subclass says what a call does."""

    def __init__(self, schema: ToolSchema) -> None:
        """:raises ConfigError: when ``schema.returns`` is no valid JSON Schema."""
        self.schema = schema
        self.check_output = None if schema.returns is None else checker(schema.returns, f"tool {schema.name!r}")

    def prepare(self, arguments: dict[str, Any]) -> Prepared:
        """A call with these arguments, checked now and made, any number of times, later.

        :raises ValueError: when they don't fit the schema; the text names the place, never the value.
        """
        raise NotImplementedError

    def prepare_in(self, arguments: dict[str, Any], workspace: Path | None) -> Prepared:
        """The same for an agent whose own folder is ``workspace``; most tools don't care."""
        return self.prepare(arguments)
