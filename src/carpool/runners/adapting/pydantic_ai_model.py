"""Models of Pydantic AI whose requests ask the budget of the agent that is at work."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from copy import copy
from typing import Any, cast

from pydantic_ai import RunContext
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import (
    MULTI_MODAL_CONTENT_TYPES,
    BaseToolCallPart,
    BaseToolReturnPart,
    ModelMessage,
    ModelRequest,
    ModelResponse,
)
from pydantic_ai.models import Model, ModelRequestContext, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage, RunUsage

from ...types import TokenAccounting
from ..model.failures import failure_of
from ..model.loop_end import close_when_the_loop_ends
from .meter import Meter
from .request import Request, json_of

__all__ = ["OnBudget", "Requests"]

_current: ContextVar[Requests | None] = ContextVar("carpool_pydantic_ai_requests", default=None)


class OnBudget(AbstractCapability[Any]):
    """The capability of an agent whose requests are those of the agent that is at work: they ask its budget. Outside
    any run of ``PydanticAIRunner`` it does nothing."""

    def get_wrapper_model(self, model: Model[Any]) -> Model[Any] | None:
        requests = _current.get()
        if requests is None or isinstance(model, _BudgetedModel):
            return None
        if isinstance(model, FallbackModel):
            several = copy(model)
            several.models = [_BudgetedModel(each, requests) for each in model.models]
            return several
        return _BudgetedModel(model, requests)


class Requests:
    """Those of one run."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.usage = RunUsage()  # what Pydantic AI counts: also of agents in tools that share it
        self._seen = [0, 0]  # what of that has passed here
        self._others = [0, 0]  # what of the rest is booked

    @contextmanager
    def at_work(self) -> Generator[None]:
        """Within the block, requests of agents that are ``OnBudget`` are these."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)
            self.book_others()

    def used(self, request: Request, response: ModelResponse) -> TokenAccounting | None:
        usage = response.usage
        self._seen[0] += usage.input_tokens
        self._seen[1] += usage.output_tokens
        return _tokens(request, usage, said=bool(response.parts))

    def book_others(self) -> None:
        """Book what agents have spent that share the usage and not the budget."""
        read = self.usage.input_tokens - self._seen[0] - self._others[0]
        written = self.usage.output_tokens - self._seen[1] - self._others[1]
        if read > 0 or written > 0:
            read, written = max(read, 0), max(written, 0)
            self._others = [self._others[0] + read, self._others[1] + written]
            self.meter.book(TokenAccounting(input_tokens=read, output_tokens=written, priced=False))

    def heard(self, response: ModelResponse, parameters: ModelRequestParameters, output: int) -> None:
        functions = {tool.name for tool in parameters.function_tools}
        for call in response.tool_calls:
            if call.tool_name in functions:
                self.meter.use_tool(call.tool_name)
        is_text = parameters.output_mode == "text"
        text = (response.text or "").strip()
        if is_text and text:
            self.meter.text = text
        self.meter.cut_off = is_text and response.finish_reason == "length"


class _BudgetedModel(WrapperModel):
    """A model whose requests ask the budget."""

    def __init__(self, wrapped: Model[Any], requests: Requests) -> None:
        super().__init__(wrapped)
        self._requests = requests
        self._meter = requests.meter

    async def __aenter__(self) -> _BudgetedModel:
        return self  # whoever runs the agent has opened the model, and closes it

    async def __aexit__(self, *_: object) -> None:
        return None

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        request = self._weighed(messages, model_settings, model_request_parameters)
        await close_when_the_loop_ends(self.wrapped)

        async def attempt(output: int) -> ModelResponse:
            settings = self._limited(model_settings, output)
            return await self.wrapped.request(messages, settings, model_request_parameters)

        def used(response: ModelResponse) -> TokenAccounting | None:
            return self._requests.used(request, response)

        response = await self._meter.ask(request, attempt, used, failure_of)
        self._requests.heard(response, model_request_parameters, request.most)
        return response

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """One attempt: what was heard of a stream can't be taken back."""
        request = self._weighed(messages, model_settings, model_request_parameters)
        await close_when_the_loop_ends(self.wrapped)
        self._meter.turn()
        async with self._meter.out(request, failure_of) as call:
            settings = self._limited(model_settings, call.output)
            async with self.wrapped.request_stream(messages, settings, model_request_parameters, run_context) as stream:
                yield stream
            response = stream.get()
            if response.state == "complete":
                call.end(self._requests.used(request, response))
                self._requests.heard(response, model_request_parameters, call.output)

    async def compact_messages(
        self, request_context: ModelRequestContext, *, instructions: str | None = None
    ) -> ModelResponse:
        request = self._weighed(
            request_context.messages, request_context.model_settings, request_context.model_request_parameters
        )

        async def attempt(output: int) -> ModelResponse:
            return await self.wrapped.compact_messages(request_context, instructions=instructions)

        return await self._meter.ask(
            request, attempt, lambda response: self._requests.used(request, response), failure_of
        )

    def _limited(self, settings: ModelSettings | None, output: int) -> ModelSettings:
        changed: dict[str, Any] = {**(settings or {}), "max_tokens": output}
        if "max_retries" not in _innermost(self.wrapped).unsupported_settings:
            changed["max_retries"] = 0
        return cast("ModelSettings", changed)

    def _weighed(
        self, messages: list[ModelMessage], settings: ModelSettings | None, parameters: ModelRequestParameters
    ) -> Request:
        self._requests.book_others()
        most = (settings or {}).get("max_tokens")
        request = self._meter.request(self.wrapped.model_id, self.wrapped.base_url, most)
        for instruction in parameters.instruction_parts or ():
            request.add_frame(instruction.content)
        tools = [*parameters.function_tools, *parameters.output_tools]
        request.add_tools([f"{tool.name} {tool.description} {json_of(tool.parameters_json_schema)}" for tool in tools])
        if parameters.output_object is not None:
            request.add_frame(json_of(parameters.output_object.json_schema))
        for message in messages:
            if parameters.instruction_parts is None and isinstance(message, ModelRequest) and message.instructions:
                request.add_frame(message.instructions)
            for part in message.parts:
                _weigh(request, part)
        return request


def _weigh(request: Request, part: Any) -> None:
    """Add a part of a message: texts and tool calls as they are, pictures and files by their number."""
    if isinstance(part, BaseToolCallPart):
        request.add(f"{part.tool_name} {part.tool_call_id}")
        request.add(part.args_as_json_str())
    elif isinstance(part, BaseToolReturnPart):
        request.add(cast("BaseToolReturnPart[Any]", part).model_response_str())
    else:
        content = getattr(part, "content", None)
        items: list[Any] = [content] if isinstance(content, str) else list(content or ())
        request.add_files(sum(isinstance(item, MULTI_MODAL_CONTENT_TYPES) for item in items))
        request.add([item if isinstance(item, str) else getattr(item, "content", None) for item in items])


def _tokens(request: Request, usage: RequestUsage, *, said: bool) -> TokenAccounting | None:
    if usage.unmeasured_requests:
        return None
    return request.reported(
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        kept_an_hour=usage.cache_write_1h_tokens,
        said=said,
    )


def _innermost(model: Model[Any]) -> type[Model[Any]]:
    while isinstance(model, WrapperModel):
        model = model.wrapped
    return type(model)
