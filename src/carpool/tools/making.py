"""Whatever can be a tool, as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from ..actions import Tier, ToolSchema
from .function import FunctionTool
from .schema_tool import SchemaTool
from .tool import Tool

__all__ = ["as_tool"]


def as_tool(
    tool: Tool | ToolSchema | Callable[..., Any], function: Callable[..., Any] | None = None, tier: Tier | None = None
) -> Tool:
    """``tool`` as a tool: itself, a function, or a schema with the ``function`` that does it.

    :raises ValueError: for a function without a name, or with parameters that can't be passed by name.
    :raises ConfigError: for an invalid schema.
    """
    if isinstance(tool, ToolSchema):
        if function is None:
            raise ValueError(f"tool {tool.name!r}: a schema needs the function that does it")
        return SchemaTool(tool if tier is None else replace(tool, tier=tier), function)
    if isinstance(tool, Tool):
        if tier is not None:
            tool.schema = replace(tool.schema, tier=tier)
        return tool
    if not callable(tool):
        raise TypeError(f"a tool is a function, a ToolSchema with one, or a Tool, not {tool!r}")
    return FunctionTool(tool, tier)
