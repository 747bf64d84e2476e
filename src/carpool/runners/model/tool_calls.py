"""The tools of one turn: all that the model asks for are run together, by the agent's runtime and nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ...bounded import bounded_map
from ...errors import PolicyDenied, ToolError
from ...runtime import Runtime
from ...tools import Tool
from ...types import AgentSpec
from .sizes import without_surrogates

if TYPE_CHECKING:
    from pydantic_ai.messages import ToolCallPart, ToolReturnPart

__all__ = ["results_of", "tools_for"]

_AT_ONCE = 16


def tools_for(spec: AgentSpec, runtime: Runtime) -> dict[str, Tool]:
    """What the model may be offered: the tools that the agent has in its run; outside any run, of the runtime's tools
    those that the spec names."""
    tools = runtime.tools
    return tools if runtime.whose.run else {name: tools[name] for name in spec.tools if name in tools}


async def results_of(calls: Sequence[ToolCallPart], offered: dict[str, Tool], runtime: Runtime) -> list[ToolReturnPart]:
    """One result for each call, in the order of the calls; what fails or is refused is a result that says so."""

    async def result_of(call: ToolCallPart) -> ToolReturnPart:
        return await _result(call, offered, runtime)

    return await bounded_map(calls, _AT_ONCE, result_of)


async def _result(call: ToolCallPart, offered: dict[str, Tool], runtime: Runtime) -> ToolReturnPart:
    from pydantic_ai.messages import ToolReturnPart

    name = call.tool_name
    try:
        if name not in offered and name in runtime.tools:
            raise ToolError(name, "the agent does not have it")
        # A name that there is none of goes to the runtime all the same: it refuses, and the log has it.
        text = _as_text(await runtime.call_tool(name, **_arguments(call)))
    except (ToolError, PolicyDenied) as error:
        return ToolReturnPart(name, without_surrogates(str(error)), tool_call_id=call.tool_call_id, outcome="failed")
    return ToolReturnPart(name, text, tool_call_id=call.tool_call_id)


def _arguments(call: ToolCallPart) -> dict[str, Any]:
    """:raises ToolError: for what is no JSON object, as when the answer was cut off in the middle of it."""
    args: Any = call.args
    if isinstance(args, str):
        try:
            args = msgspec.json.decode(args) if args.strip() else {}
        except msgspec.DecodeError as error:
            raise ToolError(call.tool_name, f"the arguments are not JSON: {error}") from None
    if args is None:
        return {}
    if not isinstance(args, dict):
        raise ToolError(call.tool_name, "the arguments are not a JSON object")
    return cast("dict[str, Any]", args)


def _as_text(output: Any) -> str:
    text = output if isinstance(output, str) else msgspec.json.encode(output, enc_hook=str).decode()
    return without_surrogates(text)
