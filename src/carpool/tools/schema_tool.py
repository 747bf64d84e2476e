"""A function with a hand-written schema as a tool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..actions import ToolSchema
from ..schemas import checker
from .calling import call_function, is_async
from .tool import Prepared, Tool

__all__ = ["SchemaTool"]


class SchemaTool(Tool):
    """A function that takes the JSON arguments of a hand-written schema as keywords."""

    def __init__(self, schema: ToolSchema, function: Callable[..., Any]) -> None:
        """:raises ConfigError: when a schema is invalid, or nothing is installed to check it."""
        super().__init__(schema)
        self._check = checker(schema.parameters, f"tool {schema.name!r}")
        self._function = function
        self._in_loop = is_async(function)

    def prepare(self, arguments: dict[str, Any]) -> Prepared:
        if problems := self._check(arguments):
            raise ValueError(f"arguments don't fit: {problems}")
        return lambda: call_function(self._function, self._in_loop, arguments)
