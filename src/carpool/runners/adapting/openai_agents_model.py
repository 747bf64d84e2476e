"""The model that stands in for all models of one run of the OpenAI Agents SDK: it asks the budget, then them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from copy import copy
from dataclasses import replace
from typing import Any, Literal, cast

from agents import (
    Agent,
    AgentOutputSchemaBase,
    Handoff,
    ItemHelpers,
    Model,
    ModelProvider,
    ModelResponse,
    ModelRetrySettings,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    RunContextWrapper,
    RunHooks,
    Tool,
)
from agents.items import TResponseStreamEvent
from agents.models import get_default_model_settings
from agents.retry import ModelRetryAdvice, ModelRetryAdviceRequest
from agents.run import CallModelData, ModelInputData
from openai.types.responses import ResponseFunctionToolCall

from ...types import TokenAccounting
from ..model.loop_end import close_when_the_loop_ends
from .client_failures import client_failure
from .meter import Meter
from .request import Request, json_of

__all__ = ["SaidListener", "on_budget", "without_retries"]

_OPENAI = "https://api.openai.com"

_caller: ContextVar[Agent[Any] | None] = ContextVar("carpool_openai_agents_caller", default=None)


def without_retries(config: RunConfig) -> RunConfig:
    """``config`` with the retries of the SDK and its clients off: each attempt has to pass the budget."""
    off = ModelSettings(retry=ModelRetrySettings(max_retries=0))
    return replace(config, model_settings=off if config.model_settings is None else config.model_settings.resolve(off))


def on_budget(config: RunConfig, provider: ModelProvider, meter: Meter) -> RunConfig:
    """``config`` for one run, with a model that asks the budget in the place of all models."""
    filtered = config.call_model_input_filter

    def remember(data: CallModelData[Any]) -> Any:
        _caller.set(data.agent)  # the SDK tells it nowhere else, and asks for its model right after this
        return data.model_data if filtered is None else filtered(data)

    ours = copy(config)  # not replace: it would look up all types anew, which takes as long as the rest of a run
    ours.model_provider = provider
    ours.model = _BudgetedModel(config.model, provider, meter)
    ours.call_model_input_filter = cast("Callable[[CallModelData[Any]], ModelInputData]", remember)
    return ours


class SaidListener(RunHooks[Any]):
    """Hears what the agent says, but not what agents say that are its tools."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    async def on_llm_end(self, context: RunContextWrapper[Any], agent: Agent[Any], response: ModelResponse) -> None:
        if agent.output_type in (None, str):
            texts = [ItemHelpers.extract_text(item) or "" for item in response.output]
            self._meter.text = "".join(texts).strip() or self._meter.text


class _BudgetedModel(Model):
    """All models of one run: what the SDK would take is asked, once the budget was."""

    def __init__(self, chosen: str | Model | None, provider: ModelProvider, meter: Meter) -> None:
        self._chosen = chosen  # for all agents, whatever they have
        self._provider = provider
        self._meter = meter
        self._used: dict[int, Model] = {}

    async def get_response(self, *given: Any, **named: Any) -> ModelResponse:
        sent = _sent(given, named)
        model, settings = await self._model_in_this_loop(), self._settings(sent["model_settings"])
        request = self._weighed(model, settings, sent)
        allowed = request.most

        async def attempt(output: int) -> ModelResponse:
            nonlocal allowed
            allowed = output
            limited: dict[str, Any] = {**sent, "model_settings": _limited(model, settings, output)}
            return await model.get_response(**limited)

        def used(response: ModelResponse) -> TokenAccounting | None:
            return _tokens(request, response.usage, said=bool(response.output))

        response = await self._meter.ask(request, attempt, used, client_failure)
        self._heard(response.output, sent["handoffs"])
        self._meter.cut_off = response.usage.output_tokens >= allowed
        return response

    async def stream_response(self, *given: Any, **named: Any) -> AsyncIterator[TResponseStreamEvent]:
        """One attempt: what was heard of a stream can't be taken back."""
        sent = _sent(given, named)
        model, settings = await self._model_in_this_loop(), self._settings(sent["model_settings"])
        request = self._weighed(model, settings, sent)
        self._meter.turn()
        async with self._meter.out(request, client_failure) as call:
            limited: dict[str, Any] = {**sent, "model_settings": _limited(model, settings, call.output)}
            async for event in model.stream_response(**limited):
                if event.type in ("response.completed", "response.incomplete", "response.failed"):
                    response: Any = cast("Any", event).response
                    call.end(_tokens(request, response.usage, said=bool(response.output)))
                    self._heard(response.output, sent["handoffs"])
                yield event

    def get_retry_advice(self, request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
        return self._model().get_retry_advice(request)

    async def _cleanup_on_run_end(self, owner: object) -> None:
        for model in self._used.values():
            await model._cleanup_on_run_end(owner)  # pyright: ignore[reportPrivateUsage] - the SDK calls it on ours

    def _supports_default_prompt_cache_key(self) -> bool:  # pyright: ignore[reportUnusedFunction] - the SDK asks for it
        supports: Any = getattr(self._model(), "_supports_default_prompt_cache_key", None)
        return bool(supports()) if callable(supports) else False

    async def _model_in_this_loop(self) -> Model:
        model = self._model()
        await close_when_the_loop_ends(model)
        return model

    def _model(self) -> Model:
        """What the SDK would take without this one."""
        agent = _caller.get()
        chosen = self._chosen or (None if agent is None else agent.model)
        model = chosen if isinstance(chosen, Model) else self._provider.get_model(chosen)
        self._used[id(model)] = model
        return model

    def _settings(self, settings: ModelSettings) -> ModelSettings:
        """With the SDK's own for a model by that name, which it leaves out where it is given an object."""
        agent, chosen = _caller.get(), self._chosen
        if agent is None or isinstance(chosen or agent.model, Model):
            return settings
        implied = ModelSettings() if isinstance(agent.model, Model) else _defaults(agent.model)
        return settings if agent.model_settings != implied else _defaults(chosen or agent.model).resolve(settings)

    def _weighed(self, model: Model, settings: ModelSettings, sent: Mapping[str, Any]) -> Request:
        name, base_url = _identity(model)
        request = self._meter.request(name, base_url, _most(settings))
        if instructions := sent["system_instructions"]:
            request.add_frame(instructions)
        request.add_tools([*map(_described, sent["tools"]), *map(_described_handoff, sent["handoffs"])])
        schema: AgentOutputSchemaBase | None = sent["output_schema"]
        if schema is not None and not schema.is_plain_text():
            request.add_frame(json_of(schema.json_schema()))
        items = sent["input"]
        for item in [items] if isinstance(items, str) else items:
            request.add(item)
        return request

    def _heard(self, items: list[Any], handoffs: list[Handoff[Any, Any]]) -> None:
        passing_on = {handoff.tool_name for handoff in handoffs}
        for item in items:
            if isinstance(item, ResponseFunctionToolCall) and item.name not in passing_on:
                self._meter.use_tool(item.name)


# Settings

_SENT = ("system_instructions", "input", "model_settings", "tools", "output_schema", "handoffs", "tracing")
_LIMIT: Literal["max_completion_tokens"] = "max_completion_tokens"


def _sent(given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """What the SDK calls a model with, by name; some of it comes by place, and there is more in later versions."""
    return {**dict(zip(_SENT, given, strict=False)), **named}


def _defaults(model: Any) -> ModelSettings:
    return get_default_model_settings() if model is None else get_default_model_settings(model)


def _most(settings: ModelSettings) -> int | None:
    own: Any = (settings.extra_args or {}).get(_LIMIT)
    return own if type(own) is int else settings.max_tokens


def _limited(model: Model, settings: ModelSettings, output: int) -> ModelSettings:
    """``settings`` with a limit on the output, by the name that the provider knows."""
    arguments = settings.extra_args or {}
    by_newer_name = settings.max_tokens is None and isinstance(model, OpenAIChatCompletionsModel)
    if _LIMIT in arguments or (by_newer_name and (_identity(model)[1] or "").startswith(_OPENAI)):
        return replace(settings, extra_args={**arguments, _LIMIT: output})
    return replace(settings, max_tokens=output)


def _identity(model: Model) -> tuple[str, str | None]:
    """``"provider:name"`` and where it is."""
    name = str(getattr(model, "model", type(model).__name__))
    url: Any = getattr(getattr(model, "_client", model), "base_url", None)
    base_url = None if url is None else str(url)
    if isinstance(model, OpenAIChatCompletionsModel | OpenAIResponsesModel):
        return f"openai:{name}", base_url
    provider, slash, rest = name.partition("/")  # as LiteLLM and any-llm write it
    return (f"{provider}:{rest}" if slash else f"unknown:{name}"), base_url


# Weighing and usage


def _described(tool: Tool) -> str:
    schema: Any = getattr(tool, "params_json_schema", None)
    return f"{tool.name} {getattr(tool, 'description', '')} {json_of(schema)}"


def _described_handoff(handoff: Handoff[Any, Any]) -> str:
    return f"{handoff.tool_name} {handoff.tool_description} {json_of(handoff.input_json_schema)}"


def _tokens(request: Request, usage: Any, *, said: bool) -> TokenAccounting | None:
    if usage is None:
        return None
    details = usage.input_tokens_details
    return request.reported(
        usage.input_tokens,
        usage.output_tokens,
        getattr(details, "cached_tokens", 0) or 0,
        getattr(details, "cache_write_tokens", 0) or 0,
        said=said,
    )
