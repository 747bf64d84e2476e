"""Callbacks by which every model call that LangChain makes in a run asks the budget, and is booked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from ...types import TokenAccounting
from .client_failures import client_failure
from .meter import Call, Meter
from .request import Request, json_of

__all__ = ["budget_callbacks"]


def budget_callbacks(meter: Meter) -> list[BaseCallbackHandler]:
    """For one run: LangChain hands them on to everything inside it.

    There are several, because in an asynchronous run a synchronous callback can't wait, and in a synchronous one what
    an asynchronous callback raises is dropped. LangChain goes through those that are inline in their order, then
    through the others together; there alone an error leaves nothing behind that was never awaited.
    """
    calls = _Calls(meter)
    return [_Noticing(calls), _Telling(calls), _Waiting(calls)]


class _Calls:
    """Those of one run, by LangChain's ids."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._out: dict[UUID, Call] = {}
        self.asynchronous: set[UUID] = set()
        self.synchronous: set[UUID] = set()
        self._as_json: set[UUID] = set()  # what is said there is no text to show

    async def begin(self, run_id: UUID, request: Request) -> None:
        self.meter.turn()
        self._out[run_id] = await self.meter.begin(request)

    def begin_now(self, run_id: UUID, request: Request) -> None:
        self.meter.turn()
        self._out[run_id] = self.meter.begin_now(request)

    def end(self, run_id: UUID, response: LLMResult) -> None:
        call = self._out.pop(run_id, None)
        if call is None:
            return
        call.end(_tokens(call.request, response))
        message = _message(response)
        if message is None or run_id in self._as_json:
            return
        said = str(message.text).strip()
        if said:
            self.meter.text = said
        reason = message.response_metadata.get("finish_reason") or message.response_metadata.get("stop_reason")
        self.meter.cut_off = reason in ("length", "max_tokens")

    def fail(self, run_id: UUID, error: BaseException) -> None:
        call = self._out.pop(run_id, None)
        if call is None:
            return
        if isinstance(error, Exception):
            call.fail(error, client_failure(error, call.request.model))
        else:
            call.end(None)

    def weighed(
        self,
        run_id: UUID,
        serialized: Mapping[str, Any] | None,
        messages: Sequence[BaseMessage | str],
        metadata: Mapping[str, Any] | None,
        more: Mapping[str, Any],
    ) -> Request:
        known, parameters = metadata or {}, cast("dict[str, Any]", more.get("invocation_params") or {})
        if parameters.get("response_format") or "ls_structured_output_format" in (more.get("options") or {}):
            self._as_json.add(run_id)
        name = known.get("ls_model_name") or parameters.get("model") or parameters.get("model_name") or "unknown"
        provider = known.get("ls_provider") or "unknown"
        request = self.meter.request(
            f"{provider}:{name}", _base_url(provider, serialized), _most(known, parameters), clamps=False
        )
        if tools := parameters.get("tools"):
            request.add_tools([json_of(tool) for tool in tools])
        if form := parameters.get("response_format") or parameters.get("output_config"):
            request.add_frame(json_of(form))
        for message in messages:
            request.add(message if isinstance(message, str) else cast("Any", message).content)
            for call in message.tool_calls if isinstance(message, AIMessage) else ():
                request.add(f"{call['name']} {call['id']}")
                request.add(json_of(call["args"]))
        return request


class _OnlyCalls(BaseCallbackHandler):
    """Is told of nothing else, and stops what it is told of by raising."""

    raise_error = True

    def __init__(self, calls: _Calls) -> None:
        self._calls = calls

    @property
    def ignore_chain(self) -> bool:
        return True

    @property
    def ignore_retriever(self) -> bool:
        return True

    @property
    def ignore_retry(self) -> bool:
        return True

    @property
    def ignore_custom_event(self) -> bool:
        return True


class _OnlyBeginnings(_OnlyCalls, AsyncCallbackHandler):
    @property
    def ignore_llm(self) -> bool:
        return True

    @property
    def ignore_agent(self) -> bool:
        return True


class _Noticing(_OnlyBeginnings):
    """Notices that a call is made asynchronously, before the synchronous handler is told of it."""

    run_inline = True

    async def on_chat_model_start(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self._calls.asynchronous.add(run_id)


class _Waiting(_OnlyBeginnings):
    """Asks the budget where LangChain runs asynchronously: there one can wait for room."""

    async def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        calls = self._calls
        if run_id not in calls.synchronous:
            sent = [message for each in messages for message in each]
            await calls.begin(run_id, calls.weighed(run_id, serialized, sent, metadata, more))


class _Telling(_OnlyCalls):
    """Asks the budget where LangChain runs synchronously, and hears of everything's end."""

    run_inline = True

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        self._begin(serialized, [message for each in messages for message in each], run_id, metadata, more)

    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        self._begin(serialized, prompts, run_id, metadata, more)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        self._calls.end(run_id, response)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self._calls.fail(run_id, error)

    def on_tool_start(self, serialized: dict[str, Any] | None, input_str: str, **more: Any) -> None:
        self._calls.meter.use_tool(str((serialized or {}).get("name") or more.get("name") or "unknown"))

    def _begin(
        self,
        serialized: dict[str, Any],
        sent: Sequence[BaseMessage | str],
        run_id: UUID,
        metadata: dict[str, Any] | None,
        more: dict[str, Any],
    ) -> None:
        calls = self._calls
        if run_id not in calls.asynchronous:
            calls.synchronous.add(run_id)
            calls.begin_now(run_id, calls.weighed(run_id, serialized, sent, metadata, more))


# What LangChain tells of a call

_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
_URLS = ("openai_api_base", "anthropic_api_url", "azure_endpoint", "base_url", "api_base", "endpoint_url")
_VARIABLES = {"openai": "OPENAI_BASE_URL", "anthropic": "ANTHROPIC_BASE_URL"}
_UNKNOWN_PLACE = "unknown:"


def _most(known: Mapping[str, Any], parameters: Mapping[str, Any]) -> int | None:
    asked = (known.get("ls_max_tokens"), *(parameters.get(name) for name in _LIMITS))
    most = next((each for each in asked if type(each) is int and each > 0), None)
    choices = parameters.get("n")
    return most * choices if most is not None and type(choices) is int and choices > 1 else most


def _base_url(provider: str, serialized: Mapping[str, Any] | None) -> str | None:
    """Where the model is; ``None`` only where it is surely at the provider's own."""
    if not serialized or serialized.get("type") != "constructor":
        return _UNKNOWN_PLACE
    arguments = cast("Mapping[str, Any]", serialized.get("kwargs") or {})
    given = next((url for name in _URLS if isinstance(url := arguments.get(name), str)), None)
    return given or os.environ.get(_VARIABLES.get(provider, ""))


def _message(response: LLMResult) -> AIMessage | None:
    for generations in response.generations:
        for generation in generations:
            if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
                return generation.message
    return None


def _tokens(request: Request, response: LLMResult) -> TokenAccounting | None:
    message = _message(response)
    usage: Any = None if message is None else message.usage_metadata
    if not usage:
        plain: Any = (response.llm_output or {}).get("token_usage") or {}
        return request.reported(plain.get("prompt_tokens") or 0, plain.get("completion_tokens") or 0, 0, 0, said=True)
    if usage.get("total_cost") == 0:  # LangChain's own cache has answered
        return TokenAccounting()
    details: Any = usage.get("input_token_details") or {}
    an_hour = details.get("ephemeral_1h_input_tokens") or 0
    written = (details.get("cache_creation") or 0) + (details.get("ephemeral_5m_input_tokens") or 0) + an_hour
    return request.reported(
        usage.get("input_tokens") or 0,
        usage.get("output_tokens") or 0,
        details.get("cache_read") or 0,
        written,
        kept_an_hour=an_hour,
        said=True,
    )
