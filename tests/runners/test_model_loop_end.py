"""One agent object in one event loop after the other: what its client keeps open is closed with each."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import anyio
import anyio.lowlevel
import pytest

pytest.importorskip("pydantic_ai", reason="needs the extra models")

from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from carpool import AgentRunner, AgentSpec, SharedInfra, Vote
from carpool.runners.model import ModelRunner
from carpool.runners.model.loop_end import close_when_the_loop_ends
from carpool.runners.pydantic_ai import PydanticAIRunner

from ..providers.server import ProviderServer
from .adapters import limited, spent


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    with ProviderServer("ok") as made:
        yield made


def in_loops_of_their_own(runner: AgentRunner, times: int, infra: SharedInfra, **fields: Any) -> list[str]:
    """The answers, or the errors, of as many runs; three agents each, so that several connections are kept."""

    def one(number: int) -> str:
        specs = [AgentSpec(f"reader{each}", "", role="reader", **fields) for each in range(3)]
        result = Vote(specs).run_sync(f"Say ok, {number}.", runner=runner, infra=infra)
        return " ".join(output.error or output.answer for output in result.votes)

    return [one(number) for number in range(times)]


def own_openai(provider: ProviderServer) -> Any:
    client = AsyncOpenAI(base_url=provider.openai_url, api_key="none", max_retries=0)
    return OpenAIChatModel("gpt-5-mini", provider=OpenAIProvider(openai_client=client))


def own_anthropic(provider: ProviderServer) -> Any:
    client = AsyncAnthropic(base_url=provider.url, api_key="none", max_retries=0)
    return AnthropicModel("claude-haiku-4-5", provider=AnthropicProvider(anthropic_client=client))


def wrapped(provider: ProviderServer) -> Any:
    return WrapperModel(own_openai(provider))


def by_pydantic_ai(provider: ProviderServer) -> AgentRunner:
    return PydanticAIRunner({"reader": Agent(own_openai(provider))})


def by_openai_agents(provider: ProviderServer) -> AgentRunner:
    agents = pytest.importorskip("agents", reason="needs the OpenAI Agents SDK")
    from carpool.runners.openai_agents import OpenAIAgentsRunner

    client = AsyncOpenAI(base_url=provider.openai_url, api_key="none")
    model = agents.OpenAIChatCompletionsModel("gpt-5-mini", openai_client=client)
    return OpenAIAgentsRunner({"reader": agents.Agent("reader", model=model)})


def by_langchain(provider: ProviderServer) -> AgentRunner:
    chat = pytest.importorskip("langchain_openai", reason="needs LangChain").ChatOpenAI
    from langchain.agents import create_agent

    from carpool.runners.langchain import LangChainRunner

    model = chat(model="gpt-5-mini", base_url=provider.openai_url, api_key="none", max_retries=0)
    return LangChainRunner({"reader": create_agent(model, [])})


@pytest.mark.parametrize("make", [by_pydantic_ai, by_openai_agents, by_langchain])
def test_an_agent_that_you_have_runs_in_one_loop_after_the_other(
    make: Callable[[ProviderServer], AgentRunner], provider: ProviderServer
) -> None:
    infra = limited("1m tokens")

    assert in_loops_of_their_own(make(provider), 4, infra) == ["ok ok ok"] * 4
    invoice = provider.settled().spent()
    assert len(provider.asked) == 12
    assert spent(infra) == (invoice.input_tokens, invoice.output_tokens)


@pytest.mark.parametrize("make", [own_openai, own_anthropic, wrapped])
def test_so_does_a_ready_made_model(make: Callable[[ProviderServer], Any], provider: ProviderServer) -> None:
    runner = ModelRunner("mine", models={"mine": make(provider)})

    assert in_loops_of_their_own(runner, 4, limited("1m tokens")) == ["ok ok ok"] * 4
    assert len(provider.asked) == 12


def test_the_client_stays_open(provider: ProviderServer) -> None:
    client = AsyncOpenAI(base_url=provider.openai_url, api_key="none")
    model = OpenAIChatModel("m", provider=OpenAIProvider(openai_client=client))

    in_loops_of_their_own(PydanticAIRunner({"reader": Agent(model)}), 1, limited("1m tokens"))

    assert not client.is_closed()


def test_a_loop_that_has_ended_is_not_kept(provider: ProviderServer) -> None:
    ended: list[ref[Any]] = []
    model = own_openai(provider)

    async def work() -> None:
        from asyncio import get_running_loop

        await close_when_the_loop_ends(model)
        ended.append(ref(get_running_loop()))

    for _ in range(3):
        anyio.run(work)
    gc.collect()

    assert [loop() for loop in ended] == [None, None, None]


def test_a_model_without_a_client_is_no_matter() -> None:
    class Circle:
        def __init__(self) -> None:
            self.client = self

    async def work() -> None:
        for model in (object(), Circle(), None):
            await close_when_the_loop_ends(model)

    anyio.run(work)


def test_models_that_are_made_for_each_run_are_not_kept_while_the_loop_goes_on(provider: ProviderServer) -> None:
    made: list[ref[Any]] = []

    async def work() -> None:
        for _ in range(3):
            model = own_openai(provider)
            made.append(ref(model))
            await close_when_the_loop_ends(model)
            await model.client.close()
        del model
        gc.collect()
        assert [model() for model in made] == [None, None, None]

    anyio.run(work)


def test_a_runner_that_is_dropped_in_a_loop_that_goes_on_breaks_nothing(provider: ProviderServer) -> None:
    client = AsyncOpenAI(base_url=provider.openai_url, api_key="none")
    model = OpenAIChatModel("m", provider=OpenAIProvider(openai_client=client))

    async def work() -> list[str]:
        answers: list[str] = []
        for _ in range(5):
            runner = PydanticAIRunner({"reader": Agent(model)})
            result = await Vote([AgentSpec("reader", "")]).run("Say ok.", runner=runner)
            answers.append(result.answer)
            del runner, result
            gc.collect()
            await anyio.lowlevel.checkpoint()
        return answers

    assert anyio.run(work) == anyio.run(work) == ["ok"] * 5
