"""Streams that end as if they were whole, and are not: no error, no finish reason, half an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("pydantic_ai", reason="needs the extra models")

import httpx2
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from carpool import SharedInfra
from carpool.runners.model import ModelRunner

from ..providers.server import ProviderServer
from .modelling import CHAT, EVERY_PROTOCOL, MESSAGES, RESPONSES, agent, ask

MOST = 300  # output tokens of a call
in_every_protocol = pytest.mark.parametrize("model", EVERY_PROTOCOL)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts are for real providers."""
    from carpool.runners.model import calls

    monkeypatch.setattr(calls, "_FIRST_PAUSE_S", 0.001)


CHAT_STREAM = [
    {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": piece}, "finish_reason": None}]}
    for piece in ("The ", "answer ")
]
RESPONSE = {"id": "r", "object": "response", "created_at": 1, "model": "m", "status": "in_progress", "output": []}
RESPONSES_STREAM = [
    {"type": "response.created", "sequence_number": 0}
    | {"response": {**RESPONSE, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}},
    {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0}
    | {"item": {"id": "i", "type": "message", "role": "assistant", "status": "in_progress", "content": []}},
    {"type": "response.output_text.delta", "sequence_number": 2, "item_id": "i", "output_index": 0}
    | {"content_index": 0, "delta": "The answer ", "logprobs": []},
]
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
MESSAGES_STREAM = [
    {"type": "message_start", "message": {**MESSAGE, "usage": {"input_tokens": 9, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "The answer "}},
]
STREAMS = {CHAT: CHAT_STREAM, RESPONSES: RESPONSES_STREAM, MESSAGES: MESSAGES_STREAM}


class EndsEarly(httpx2.AsyncHTTPTransport):
    """A provider whose first ``times`` answers end in the middle, as if they were whole."""

    def __init__(self, events: list[Any], times: int) -> None:
        super().__init__()
        self.events = events
        self.times = times
        self.asked = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked += 1
        if self.asked > self.times:
            return await super().handle_async_request(request)
        lines = [f"event: {each.get('type', 'x')}\ndata: {json.dumps(each)}\n\n" for each in self.events]
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text="".join(lines))


def model_through(transport: EndsEarly, model: str, provider: ProviderServer) -> Any:
    http = httpx2.AsyncClient(transport=transport)
    if model == MESSAGES:
        client = AsyncAnthropic(api_key="k", base_url=provider.url, http_client=http)
        return AnthropicModel("m", provider=AnthropicProvider(anthropic_client=client))
    kind = OpenAIResponsesModel if model == RESPONSES else OpenAIChatModel
    client = AsyncOpenAI(api_key="k", base_url=provider.openai_url, http_client=http)
    return kind("m", provider=OpenAIProvider(openai_client=client))


@in_every_protocol
async def test_a_stream_that_ends_early_without_an_error_is_asked_again(model: str) -> None:
    heard: list[str] = []
    infra = SharedInfra()
    with ProviderServer("The answer is 42.") as provider:
        transport = EndsEarly(STREAMS[model], 1)
        runner = ModelRunner(
            "m", models={"m": model_through(transport, model, provider)}, on_text=lambda _, text: heard.append(text)
        )
        output = await ask(runner, agent(metadata={"model_settings": {"max_tokens": MOST}}), infra=infra)

    assert (output.answer, transport.asked) == ("The answer is 42.", 2)
    assert "".join(heard) == "The answer The answer is 42."
    assert infra.budget.snapshot().output_tokens > MOST  # the one that broke off, at its worst case


@in_every_protocol
async def test_a_stream_that_always_ends_early_is_no_answer(model: str) -> None:
    with ProviderServer() as provider:
        transport = EndsEarly(STREAMS[model], 99)
        runner = ModelRunner(
            "m", models={"m": model_through(transport, model, provider)}, on_text=lambda *_: None, retries=0
        )
        output = await ask(runner)

    assert output.error is not None
    assert "the stream ended before the answer did" in output.error
    assert not output.succeeded
