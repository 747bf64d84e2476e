"""What is said between an agent and its model: the messages so far, the tools on offer, and how much it all is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ...tools import Tool
from .sizes import InputSize, without_surrogates

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelRequestPart, ModelResponse
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.output import OutputObjectDefinition

__all__ = ["Conversation"]


class Conversation:
    """One agent's, from its instructions and its task on. It only grows."""

    def __init__(
        self,
        instructions: str,
        task: str,
        tools: Sequence[Tool],
        output: OutputObjectDefinition | None,
        margin: float,
    ) -> None:
        from pydantic_ai.messages import InstructionPart, UserPromptPart
        from pydantic_ai.models import ModelRequestParameters
        from pydantic_ai.tools import ToolDefinition

        self.size = InputSize(margin)
        instructions = without_surrogates(instructions)
        if instructions:
            self.size.add_frame(instructions)
        self.size.add_tools([_described(tool) for tool in tools])
        if output is not None:
            self.size.add_frame(_json(output.json_schema))
        self.parameters: ModelRequestParameters = ModelRequestParameters(
            function_tools=[
                ToolDefinition(
                    name=tool.schema.name,
                    description=tool.schema.description,
                    parameters_json_schema=tool.schema.parameters or {"type": "object", "properties": {}},
                    strict=False,  # what does not fit is refused by the runtime, and the schema stays as it was written
                )
                for tool in tools
            ],
            instruction_parts=[InstructionPart(content=instructions)] if instructions else None,
            output_mode="text" if output is None else "native",
            output_object=output,
        )
        self.messages: list[ModelMessage] = []
        self.say([UserPromptPart(content=without_surrogates(task))])

    def say(self, parts: Sequence[ModelRequestPart]) -> None:
        """The agent's side: the task, results of tools, what is wrong with an answer."""
        from pydantic_ai.messages import ModelRequest

        for part in parts:
            self.size.add(str(getattr(part, "content", "")))
        self.messages.append(ModelRequest(parts=list(parts)))

    def hear(self, response: ModelResponse, counted: int | None) -> None:
        """The model's side; ``counted`` is what the provider says that request and answer came to."""
        self.messages.append(response)
        if counted is not None:
            self.size.counted(counted, len(response.tool_calls))
            return
        for part in response.parts:
            self.size.add(str(getattr(part, "content", None) or getattr(part, "args", "")))


def _described(tool: Tool) -> str:
    schema = tool.schema
    return f"{schema.name} {schema.description} {_json(schema.parameters)}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
