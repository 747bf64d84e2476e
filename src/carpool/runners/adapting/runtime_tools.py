"""Tools of an agent's runtime, for an agent that another library runs."""

from __future__ import annotations

from typing import Any

from ...errors import PolicyDenied, ToolError
from ...runtime import Runtime
from ...tools import Tool
from .request import json_of

__all__ = ["call_runtime_tool", "parameters_of"]


async def call_runtime_tool(runtime: Runtime, name: str, arguments: dict[str, Any]) -> str:
    """What the tool gives, as text for a model; what fails or is refused is a text that says so."""
    try:
        output = await runtime.call_tool(name, **arguments)
    except (ToolError, PolicyDenied) as error:
        return f"failed: {error}"
    return output if isinstance(output, str) else json_of(output)


def parameters_of(tool: Tool) -> dict[str, Any]:
    """Its JSON Schema; one that takes nothing needs it all the same."""
    return tool.schema.parameters or {"type": "object", "properties": {}}
