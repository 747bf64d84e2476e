"""Tools by which an agent asks for others: ordinary tools of its runtime, checked, asked about and logged as any."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from ..actions import ToolSchema
from ..errors import ToolError
from ..recall import Ask
from ..runtime import Runtime
from ..spawn import Member
from ..tools import Prepared, Tool
from ..types import AgentOutput, AgentSpec

__all__ = ["AskingTool", "agent_with_tool", "answer_to"]

A = TypeVar("A", bound=Struct)


class AskingTool(Tool, Generic[A]):
    """Calls ``asked`` with arguments of the type ``arguments``, and notes on ``runtime`` that it did, so that an agent
    that is remembered can be taken through the same again. It changes nothing itself: what the agents may do that it
    starts is a question of their own tools."""

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        description: str,
        properties: dict[str, Any],
        arguments: type[A],
        asked: Callable[[A], Awaitable[Any]],
    ) -> None:
        parameters = {
            "type": "object",
            "properties": properties,
            "required": [field.name for field in msgspec.structs.fields(arguments) if field.required],
            "additionalProperties": False,
        }
        super().__init__(ToolSchema(name=name, description=description, parameters=parameters, tier="read_only"))
        self._runtime = runtime
        self._arguments = arguments
        self._asked = asked

    def prepare(self, arguments: dict[str, Any]) -> Prepared:
        try:
            checked = msgspec.convert(arguments, self._arguments)
        except msgspec.ValidationError as error:
            raise ValueError(f"arguments don't fit: {error}") from None

        def ask() -> Awaitable[Any]:
            self._runtime.asks.append(Ask(tool=self.schema.name, arguments=arguments))
            return self._asked(checked)

        return ask


def agent_with_tool(kind: str, member: Member, tool: str) -> AgentSpec:
    """``member``, who is to be given a tool.

    :raises ValueError: for a pattern: which of its agents should have the tool?
    """
    if isinstance(member, AgentSpec):
        return member
    if not hasattr(member, "execute"):
        raise TypeError(f"{kind}: a member is an AgentSpec or a pattern, not {member!r}")
    raise ValueError(
        f"{kind}: {member.name!r} is a pattern, and {tool} is a tool for one agent; "
        f"pass an AgentSpec, or put the {kind} inside the pattern, in the place of the agent that needs it"
    )


def answer_to(tool: str, output: AgentOutput, *, denied: bool) -> str:
    """The answer for the agent that asked.

    :raises ToolError: when there is none; the text says how to go on.
    """
    if output.succeeded:
        return output.answer
    if denied:
        raise ToolError(tool, f"{output.name} was not started, do without it: {output.error}")
    raise ToolError(tool, f"{output.name} failed: {output.error or 'it gave an empty answer'}")
