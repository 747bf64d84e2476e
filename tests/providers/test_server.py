"""The fake provider, asked through the real client libraries: what it says, and what it puts on its invoice."""

from __future__ import annotations

import anyio
import pytest

pytest.importorskip("openai", reason="needs the extra models")
pytest.importorskip("anthropic", reason="needs the extra models")

from anthropic import AsyncAnthropic
from openai import APIConnectionError, AsyncOpenAI, RateLimitError

from .server import Answer, Asked, Cut, Hang, ProviderServer, Refuse, count_tokens

HELLO = [{"role": "user", "content": "say hello"}]


def openai(provider: ProviderServer) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=provider.openai_url, api_key="any", max_retries=0, timeout=5)


async def test_a_completed_request_is_invoiced_with_what_it_reports() -> None:
    with ProviderServer("hello there") as provider:
        async with openai(provider) as client:
            said = await client.chat.completions.create(model="m", messages=HELLO)

        ledger = provider.settled()
        assert said.choices[0].message.content == "hello there"
        assert said.usage is not None
        assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (9, 2)
        assert (ledger.spent().input_tokens, ledger.spent().output_tokens) == (9, 2)
        assert [entry.status for entry in ledger.entries] == ["completed"]


async def test_a_stream_says_the_same_as_a_whole_answer_in_each_protocol() -> None:
    with ProviderServer("one two three") as provider:
        async with openai(provider) as client:
            chunks = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
            chat = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
            events = await client.responses.create(model="m", input="say hello", stream=True)
            deltas = "".join([event.delta async for event in events if event.type == "response.output_text.delta"])
        async with (
            AsyncAnthropic(base_url=provider.url, api_key="any", max_retries=0) as client,
            client.messages.stream(model="m", max_tokens=9, messages=HELLO) as stream,
        ):
            message = await stream.get_final_text()

        assert chat == deltas == message == "one two three"
        assert provider.settled().spent().output_tokens == 9


async def test_the_token_limit_cuts_an_answer_off() -> None:
    with ProviderServer("one two three") as provider:
        async with openai(provider) as client:
            said = await client.chat.completions.create(model="m", messages=HELLO, max_completion_tokens=2)

        assert (said.choices[0].message.content, said.choices[0].finish_reason) == ("one two ", "length")
        assert provider.settled().spent().output_tokens == 2


async def test_a_conversation_with_tools_is_told_by_its_turns() -> None:
    turns: list[tuple[int, list[str], list[str]]] = []

    def script(asked: Asked) -> Answer:
        turns.append((asked.turn, asked.tools, asked.results))
        return Answer("", tools=[("look", {"at": "boats"})])

    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    with ProviderServer(script) as provider:
        async with openai(provider) as client:
            said = await client.chat.completions.create(model="m", messages=HELLO, tools=[tool])
            calls = said.choices[0].message.tool_calls or []
            result = {"role": "tool", "tool_call_id": calls[0].id, "content": "three boats"}
            messages = [*HELLO, said.choices[0].message.model_dump(exclude_none=True), result]
            await client.chat.completions.create(model="m", messages=messages, tools=[tool])

    assert calls[0].function.arguments == '{"at": "boats"}'
    assert turns == [(0, ["look"], []), (1, ["look"], ["three boats"])]


async def test_a_refused_request_costs_nothing_and_a_cut_one_everything() -> None:
    with ProviderServer([Refuse(429, retry_after="7"), Cut(), Answer("a b c", fault=Cut(1))]) as provider:
        async with openai(provider) as client:
            with pytest.raises(RateLimitError) as refused:
                await client.chat.completions.create(model="m", messages=HELLO)
            with pytest.raises(APIConnectionError):
                await client.chat.completions.create(model="m", messages=HELLO)
            chunks = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
            with pytest.raises(APIConnectionError):
                [chunk async for chunk in chunks]

        ledger = provider.settled()
        assert refused.value.response.headers["retry-after"] == "7"
        assert [entry.status for entry in ledger.entries] == ["refused", "cut", "cut"]
        assert [entry.output_tokens for entry in ledger.entries] == [0, count_tokens("broken off before its end"), 3]


async def test_a_client_that_gives_up_is_invoiced_all_the_same() -> None:
    with ProviderServer([Answer("a b c", fault=Hang()), Answer("a b c", after_s=9)]) as provider:
        async with openai(provider) as client:
            for _ in range(2):
                with anyio.move_on_after(0.1):
                    await client.chat.completions.create(model="m", messages=HELLO)

        ledger = provider.settled()
        assert [(entry.status, entry.output_tokens) for entry in ledger.entries] == [("cut", 3), ("cut", 3)]


async def test_a_marked_prefix_is_written_to_the_cache_once_and_read_from_then_on() -> None:
    system = [{"type": "text", "text": "be brief " * 40, "cache_control": {"type": "ephemeral"}}]
    with ProviderServer("ok") as provider:
        async with AsyncAnthropic(base_url=provider.url, api_key="any", max_retries=0) as client:
            for _ in range(2):
                said = await client.messages.create(model="m", max_tokens=9, messages=HELLO, system=system)

        first, second = provider.settled().entries
        assert (first.cache_read, first.cache_write, second.cache_read, second.cache_write) == (0, 80, 80, 0)
        assert (said.usage.input_tokens, said.usage.cache_read_input_tokens) == (second.input_tokens - 80, 80)


async def test_usage_can_be_missing_wrong_or_zero_while_the_invoice_is_true() -> None:
    wrong = [Answer("hi", usage="missing"), Answer("hi", usage="zero"), Answer("hi", usage={"input": 1, "output": 2})]
    with ProviderServer(wrong) as provider:
        async with openai(provider) as client:
            usages = [(await client.chat.completions.create(model="m", messages=HELLO)).usage for _ in wrong]

        told = [None if usage is None else (usage.prompt_tokens, usage.completion_tokens) for usage in usages]
        assert told == [None, (0, 0), (1, 2)]
        assert provider.settled().spent().input_tokens == 27
