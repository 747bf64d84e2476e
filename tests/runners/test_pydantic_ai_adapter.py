"""Agents of Pydantic AI on carpool's budget."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

pytest.importorskip("pydantic_ai", reason="needs Pydantic AI")

from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, DeferredToolRequests, ModelRetry, RunContext
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from carpool import BudgetLimits, SharedInfra, TokenAccounting, Vote, open_run
from carpool.errors import ToolError
from carpool.policy import PolicyEngine, deny_tool
from carpool.runners.model import ModelPrice
from carpool.runners.pydantic_ai import OnBudget, PydanticAIRunner
from carpool.types import OutcomeStatus

from ..providers.server import Answer, Asked, Cut, Malformed, ProviderServer, Refuse
from .adapters import (
    STORY,
    a_hundred_at_once,
    ask,
    cancelled_at_random,
    chatty,
    limited,
    no_limit_is_passed,
    random_limits,
    spec,
    spent,
    tool_first,
    unit,
)

PROTOCOLS = ("chat", "responses", "messages")
in_every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


class City(BaseModel):
    name: str
    people: int


async def search(query: str) -> str:
    """Find documents."""
    return f"three boats and {query}"


@asynccontextmanager
async def model_of(provider: ProviderServer, protocol: str = "chat") -> AsyncIterator[Model]:
    """A model as a user makes it: its client tries everything three times."""
    if protocol == "messages":
        async with AsyncAnthropic(base_url=provider.url, api_key="none") as client:
            yield AnthropicModel("claude-haiku-4-5", provider=AnthropicProvider(anthropic_client=client))
        return
    kind = OpenAIChatModel if protocol == "chat" else OpenAIResponsesModel
    async with AsyncOpenAI(base_url=provider.openai_url, api_key="none") as client:
        yield kind("gpt-5-mini", provider=OpenAIProvider(openai_client=client))


async def asked(
    provider: ProviderServer, infra: SharedInfra | None = None, protocol: str = "chat", **options: Any
) -> Any:
    """What comes of one agent, who has a tool."""
    who, agent_options = options.pop("who", None), options.pop("agent", {"tools": [search]})
    async with model_of(provider, protocol) as model:
        runner = PydanticAIRunner({"reader": Agent(model, **agent_options)}, **options)
        return await ask(runner, who, infra=infra)


# An agent at work


@in_every_protocol
async def test_what_is_booked_is_the_providers_invoice_to_the_token(protocol: str) -> None:
    infra = limited("1m tokens")
    with ProviderServer(tool_first) as provider:
        output = await asked(provider, infra, protocol)

    invoice = provider.settled().spent()
    assert (output.answer, output.turns, output.tool_calls, output.tools_used) == ("three boats", 2, 1, ["search"])
    assert provider.asked[1].results == ["three boats and boats"]
    assert spent(infra) == unit(invoice) == unit(output.tokens)


async def test_cached_tokens_are_booked_and_paid_for_as_such() -> None:
    infra = limited("$5")
    price = ModelPrice(0.25, 2, cache_read=0.025)
    with ProviderServer(Answer("four words are here", cache_read=3)) as provider:
        output = await asked(provider, infra, prices={"openai:gpt-5-mini": price})

    (entry,) = provider.settled().entries
    assert output.tokens.cache_read_tokens == 3
    assert infra.budget.snapshot().cost_usd == pytest.approx(price.cost(entry.tokens), abs=1e-9)


async def test_a_model_behind_an_unknown_address_has_no_price() -> None:
    infra = limited("$1")
    with ProviderServer() as provider:
        async with model_of(provider) as model:
            runner = PydanticAIRunner({"reader": Agent(model)})
            team = Vote([spec("one", role="reader"), spec("two", role="reader")], max_concurrent=1)
            result = await team.run("?", runner=runner, infra=infra)

    assert len(provider.asked) == 1
    assert "the price of some spend is unknown" in (result.votes[1].error or "")


async def test_an_agent_keeps_its_instructions_and_the_specs_prompt_is_added() -> None:
    with ProviderServer() as provider:
        output = await asked(provider, who=spec(system_prompt="And be brief."), agent={"instructions": "Be kind."})

    assert output.answer == "ok"
    assert provider.asked[0].system.split("\n") == ["Be kind.", "And be brief."]


@in_every_protocol
async def test_a_structured_output_is_the_answer_as_json(protocol: str) -> None:
    with ProviderServer(Answer("", tools=[("final_result", {"name": "Oslo", "people": 7})])) as provider:
        output = await asked(provider, protocol=protocol, agent={"output_type": City})

    assert output.answer == '{"name":"Oslo","people":7}'
    assert (output.turns, output.tool_calls) == (1, 0)


async def test_an_agent_is_found_by_its_name_else_by_its_role() -> None:
    with ProviderServer(lambda one: one.system) as provider:
        async with model_of(provider) as model:
            agents = {name: Agent(model, instructions=name) for name in ("mapper", "mapper_2")}
            runner = PydanticAIRunner(agents)
            answers = [await ask(runner, spec(name, role="mapper")) for name in ("mapper_1", "mapper_2")]
            missing = await ask(runner, spec("nobody"))

    assert [output.answer for output in answers] == ["mapper", "mapper_2"]
    assert missing.error == "LookupError: no Pydantic AI agent for 'nobody'; there are: mapper, mapper_2"
    assert missing.tokens is None


async def test_a_tool_that_its_team_has_not_is_refused_before_it_costs_anything() -> None:
    with ProviderServer() as provider:
        output = await asked(provider, who=spec(tools=["no_such_tool"]))

    assert output.error == (
        "ConfigError: agent 'reader' names tools that its team has not: ['no_such_tool']; it has: none"
    )
    assert provider.asked == []


async def test_a_spec_with_a_model_of_its_own_is_refused_before_it_costs_anything() -> None:
    with ProviderServer() as provider:
        output = await asked(provider, who=spec(model="openai:gpt-5"))

    assert output.error == (
        "ConfigError: agent 'reader' is one of Pydantic AI, with a model of its own: leave out "
        "AgentSpec(model='openai:gpt-5')"
    )
    assert provider.asked == []


async def test_dependencies_are_made_for_each_run() -> None:
    async def who(context: RunContext[str]) -> str:
        """Say who it is."""
        return f"it is {context.deps}"

    def script(one: Asked) -> Answer:
        return Answer(one.results[-1]) if one.results else Answer("", tools=[("who", {})])

    with ProviderServer(script) as provider:
        output = await asked(
            provider,
            agent={"tools": [who], "deps_type": str},
            deps=lambda spec, runtime: f"{spec.name} of {runtime.agent}",
        )

    assert output.answer == "it is reader of reader"


async def test_tools_that_the_spec_names_are_added_and_go_through_the_runtime() -> None:
    def script(one: Asked) -> Answer:
        if one.results:
            return Answer(" | ".join(one.results))
        return Answer("", tools=[("search", {"query": "x"}), ("lookup", {"word": "y"}), ("forbidden", {})])

    async def lookup(word: str) -> str:
        """Look a word up."""
        return f"{word} is a letter"

    async def forbidden() -> str:
        """Do what must not be done."""
        raise AssertionError("it was called")

    policies = PolicyEngine()
    policies.register("no", deny_tool("forbidden"))
    infra = SharedInfra(tools=[lookup, forbidden], policies=policies)
    with ProviderServer(script) as provider:
        output = await asked(provider, infra, who=spec(tools=["lookup", "forbidden"]))

    assert sorted(provider.asked[0].tools) == ["forbidden", "lookup", "search"]
    assert "three boats and x" in output.answer
    assert "y is a letter" in output.answer
    assert "failed: tool 'forbidden' was denied" in output.answer
    assert output.tool_calls == 3


async def test_the_agents_own_object_is_never_changed() -> None:
    with ProviderServer(tool_first) as provider:
        async with model_of(provider) as model:
            agent = Agent(model, instructions="Be kind.", tools=[search])
            before = {name: repr(value) for name, value in vars(agent).items()}
            await ask(PydanticAIRunner({"reader": agent}), spec(system_prompt="Be brief."))

    assert {name: repr(value) for name, value in vars(agent).items()} == before
    assert agent.model is model


async def test_one_agent_object_serves_a_hundred_at_once() -> None:
    with ProviderServer() as provider:
        async with model_of(provider) as model:
            await a_hundred_at_once(PydanticAIRunner({"reader": Agent(model, tools=[search])}), provider)


async def test_more_model_calls_than_its_turns_end_an_agent() -> None:
    with ProviderServer(Answer("more", tools=[("search", {"query": "x"})])) as provider:
        output = await asked(provider, who=spec(max_turns=3))

    assert len(provider.asked) == output.turns == 3
    assert output.error == "agent 'reader' asked for more than 3 model calls (max_turns); raise it to go on"
    assert output.outcome.status == OutcomeStatus.TIMEOUT
    assert unit(output.tokens) == unit(provider.settled().spent())


async def test_an_agent_that_waits_for_somebody_elses_approval_has_failed() -> None:
    def pay() -> str:
        """Pay."""
        return "paid"

    with ProviderServer(Answer("", tools=[("pay", {})])) as provider:
        async with model_of(provider) as model:
            agent = Agent(model, output_type=[str, DeferredToolRequests])
            agent.tool_plain(pay, requires_approval=True)
            output = await ask(PydanticAIRunner({"reader": agent}))

    assert "approved elsewhere, which nobody does here: ['pay']" in output.error
    assert unit(output.tokens) == unit(provider.settled().spent())


# The budget, request by request


@in_every_protocol
@pytest.mark.parametrize("limit", ["600 tokens", "$0.01"])
async def test_the_token_limit_of_a_request_is_lowered_to_what_the_budget_has_left(limit: str, protocol: str) -> None:
    infra = limited(limit)
    prices = {"openai:*": ModelPrice(10, 30), "anthropic:*": ModelPrice(10, 30)}
    with ProviderServer(STORY) as provider:
        output = await asked(provider, infra, protocol, prices=prices)

    invoice = provider.settled().spent()
    assert 16 <= provider.asked[0].max_tokens == invoice.output_tokens < 600
    assert output.outcome.status == OutcomeStatus.PARTIAL_SUCCESS
    assert output.outcome.evidence[0].data == {"finish_reason": "length"}
    assert spent(infra) == unit(invoice)
    assert infra.budget.snapshot().overrun == TokenAccounting()


async def test_a_limit_of_the_agents_own_is_kept_where_it_is_lower() -> None:
    with ProviderServer(STORY) as provider:
        await asked(provider, limited("1m tokens"), agent={"model_settings": {"max_tokens": 70}})

    assert provider.asked[0].max_tokens == 70


async def test_a_request_that_does_not_fit_is_not_made() -> None:
    infra = limited("60 tokens")
    with ProviderServer() as provider:
        async with model_of(provider) as model:
            runner = PydanticAIRunner({"reader": Agent(model)})
            result = await Vote([spec()]).run("What is it?", runner=runner, infra=infra)

    assert provider.asked == []
    assert spent(infra) == (0, 0)
    assert result.stop_reason == "budget_exhausted"
    assert "reached" in (result.votes[0].error or "")


def talkative(asked: Asked) -> Answer:
    return Answer(f"so far {asked.turn}", tools=[("search", {"query": "boats " * 40})], output_tokens=200)


async def test_an_agent_that_is_stopped_between_requests_gives_what_it_has() -> None:
    infra = limited("900 tokens")
    with ProviderServer(talkative) as provider:
        output = await asked(provider, infra, max_output_tokens=200)

    assert len(provider.asked) > 1
    assert output.answer == f"so far {len(provider.asked) - 1}"
    assert output.outcome.status == OutcomeStatus.PARTIAL_SUCCESS
    assert output.outcome.evidence[0].data == {"budget": "total_tokens"}
    assert spent(infra) == unit(provider.settled().spent())
    assert infra.budget.snapshot().total_tokens <= 900


async def test_one_that_was_to_give_a_structured_output_has_nothing_to_show() -> None:
    infra = limited("900 tokens")
    with ProviderServer(talkative) as provider:
        output = await asked(provider, infra, max_output_tokens=200, agent={"tools": [search], "output_type": City})

    assert output.answer == ""
    assert output.error.startswith("BudgetExhausted")
    assert spent(infra) == unit(provider.settled().spent())


async def test_requests_that_do_not_fit_together_wait_for_each_other_instead_of_being_cut_short() -> None:
    infra = limited("3000 tokens")
    with ProviderServer(Answer("just a few words now", after_s=0.02)) as provider:
        async with model_of(provider) as model:
            runner = PydanticAIRunner({"reader": Agent(model)}, max_output_tokens=1_000)
            async with open_run(runner=runner, infra=infra) as run:
                outputs = await run.fan_out([(spec(f"a{n}", role="reader"), "task") for n in range(20)], 20)

    assert [output.answer for output in outputs] == ["just a few words now"] * 20
    assert {asked.max_tokens for asked in provider.asked} == {1_000}
    assert provider.settled().most_in_flight < 4
    assert spent(infra) == unit(provider.ledger.spent())


@pytest.mark.parametrize("seed", range(6))
async def test_no_limit_is_ever_passed_and_every_token_is_booked(seed: int) -> None:
    chance = random.Random(seed)
    limits = random_limits(chance)
    prices = {"openai:*": ModelPrice(1, 8), "anthropic:*": ModelPrice(1, 8, cache_write=1.25)}
    with ProviderServer(chatty(chance)) as provider:
        async with model_of(provider, PROTOCOLS[seed % 3]) as model:
            runner = PydanticAIRunner(
                {"reader": Agent(model, tools=[search])},
                prices=prices,
                max_output_tokens=chance.choice((50, 150, 1_000)),
            )
            await no_limit_is_passed(runner, provider, limits, chance)


async def test_a_retry_of_an_output_asks_the_budget_too() -> None:
    def shout(answer: str) -> str:
        if not answer.isupper():
            raise ModelRetry("Louder.")
        return answer

    with ProviderServer(lambda one: Answer("boats" if one.turn == 0 else "BOATS")) as provider:
        async with model_of(provider) as model:
            agent = Agent(model)
            agent.output_validator(shout)
            infra = limited("1m tokens")
            output = await ask(PydanticAIRunner({"reader": agent}), infra=infra)

    assert (output.answer, output.turns) == ("BOATS", 2)
    assert spent(infra) == unit(provider.settled().spent())


@pytest.mark.parametrize("on_events", [True, False])
async def test_streamed_requests_ask_and_are_booked_as_well(on_events: bool) -> None:
    heard: list[Any] = []

    async def listen(context: Any, events: Any) -> None:
        heard.extend([event async for event in events])

    options = {"event_stream_handler": listen} if on_events else {}
    infra = limited("2000 tokens")
    with ProviderServer(tool_first) as provider:
        async with model_of(provider) as model:
            agent = Agent(model, tools=[search], **_listening(options))
            output = await ask(PydanticAIRunner({"reader": agent}), infra=infra)

    assert output.answer == "three boats"
    assert [one.stream for one in provider.asked] == [on_events] * 2
    assert provider.asked[0].max_tokens < 2_000
    assert bool(heard) == on_events
    assert spent(infra) == unit(provider.settled().spent())


def _listening(options: dict[str, Any]) -> dict[str, Any]:
    if not options:
        return {}
    from pydantic_ai.capabilities import ProcessEventStream

    return {"capabilities": [ProcessEventStream(options["event_stream_handler"])]}


# Agents within agents


async def helped(provider: ProviderServer, infra: SharedInfra, share: bool, **options: Any) -> Any:
    async with model_of(provider) as model:
        helper = Agent(model, instructions="helper", **options)

        async def search(context: RunContext[None], query: str) -> str:
            """Ask a helper."""
            done = await helper.run(query, usage=context.usage if share else None)
            return done.output

        return await ask(PydanticAIRunner({"reader": Agent(model, tools=[search])}), infra=infra)


@pytest.mark.parametrize("share", [True, False])
async def test_an_agent_in_a_tool_with_the_capability_is_on_the_same_budget(share: bool) -> None:
    infra = limited("3000 tokens")
    with ProviderServer(tool_first) as provider:
        output = await helped(provider, infra, share, capabilities=[OnBudget()])

    assert output.turns == 3
    assert provider.asked[1].system == "helper"
    assert {one.max_tokens for one in provider.asked if one.max_tokens < 3_000}
    assert spent(infra) == unit(output.tokens) == unit(provider.settled().spent())


async def test_one_without_it_is_booked_unpriced_when_it_shares_its_usage() -> None:
    infra = limited("1m tokens")
    with ProviderServer(tool_first) as provider:
        output = await helped(provider, infra, share=True)

    assert output.turns == 2
    assert not output.tokens.priced
    assert spent(infra) == unit(output.tokens) == unit(provider.settled().spent())


async def test_what_it_has_spent_counts_before_the_next_request() -> None:
    infra = limited("1000 tokens")

    def script(one: Asked) -> Answer:
        return Answer("so long", output_tokens=2_000) if one.system == "helper" else tool_first(one)

    with ProviderServer(script) as provider:
        output = await helped(provider, infra, share=True)

    assert len(provider.asked) == 2
    assert output.outcome.evidence[0].data == {"budget": "total_tokens"}
    assert spent(infra) == unit(provider.settled().spent())


async def test_outside_a_run_the_capability_does_nothing() -> None:
    with ProviderServer() as provider:
        async with model_of(provider) as model:
            result = await Agent(model, capabilities=[OnBudget()]).run("hello")

    assert result.output == "ok"
    assert provider.asked[0].max_tokens is None


async def test_every_model_of_a_fallback_asks_and_is_booked() -> None:
    infra = limited("1m tokens")
    prices = {"openai:*": ModelPrice(1, 1), "anthropic:*": ModelPrice(100, 100)}
    with ProviderServer([Refuse(500, code=None, billed=True), "at last"]) as provider:
        async with model_of(provider) as first, model_of(provider, "messages") as second:
            agent = Agent(FallbackModel(first, second))
            runner = PydanticAIRunner({"reader": agent}, retries=0, prices=prices, max_output_tokens=100)
            output = await ask(runner, infra=infra)

    first, second = provider.settled().entries
    assert output.answer == "at last"
    assert [first.protocol, second.protocol] == ["chat", "messages"]
    assert output.tokens.output_tokens == 100 + second.output_tokens
    assert output.tokens.input_tokens >= first.input_tokens + second.input_tokens
    assert output.tokens.cost_usd >= 100 * (second.input_tokens + second.output_tokens) / 1e6


# What goes wrong


@in_every_protocol
async def test_a_refused_request_is_tried_again_by_the_runner_and_by_nobody_else(protocol: str) -> None:
    infra = SharedInfra()
    with ProviderServer([Refuse(429), Refuse(503), "at last"]) as provider:
        output = await asked(provider, infra, protocol)

    assert (output.answer, output.turns, len(provider.asked)) == ("at last", 1, 3)
    assert spent(infra) == unit(provider.settled().spent())


@in_every_protocol
async def test_without_retries_there_is_one_attempt(protocol: str) -> None:
    with ProviderServer(Refuse(429, message="slow down")) as provider:
        output = await asked(provider, protocol=protocol, retries=0)

    assert len(provider.asked) == 1
    assert output.error.startswith("ModelError: ")
    assert "rate limit reached (429): slow down" in output.error
    assert output.tokens is None  # nothing was spent


@pytest.mark.parametrize(
    ("fault", "words", "booked"),
    [
        (Refuse(401, code=None), "the key is missing, wrong, or may not use this model (401)", False),
        (Refuse(402, code="insufficient_quota"), "no quota left (402)", False),
        (Refuse(500, code=None, billed=True), "the provider failed (500)", True),
        (Cut(1), "the connection failed", True),
        (Malformed(), "the answer can't be read", True),
    ],
)
@in_every_protocol
async def test_a_failure_says_what_it_means_and_is_booked_in_full_if_it_may_have_cost(
    fault: Any, words: str, booked: bool, protocol: str
) -> None:
    infra = limited("1m tokens")
    with ProviderServer(Answer("a few words", fault=fault)) as provider:
        output = await asked(provider, infra, protocol, retries=0, max_output_tokens=100)

    invoice = provider.settled().spent()
    assert output.error.startswith("ModelError: ")
    assert words in output.error
    assert infra.budget.snapshot().output_tokens == (100 if booked else 0)
    assert infra.budget.snapshot().input_tokens >= invoice.input_tokens


@pytest.mark.parametrize("usage", ["missing", "zero"])
async def test_a_request_without_usage_is_booked_at_its_worst_case(usage: Any) -> None:
    infra = limited("1m tokens")
    with ProviderServer(Answer("two words", usage=usage)) as provider:
        output = await asked(provider, infra, max_output_tokens=100)

    assert output.answer == "two words"
    assert infra.budget.snapshot().output_tokens == 100
    assert infra.budget.snapshot().input_tokens >= provider.settled().spent().input_tokens


async def test_an_error_in_a_tool_is_the_agents_own_and_what_it_cost_is_booked() -> None:
    async def search(query: str) -> str:
        """Fail."""
        raise ToolError("search", "no index")

    infra = SharedInfra()
    with ProviderServer(tool_first) as provider:
        output = await asked(provider, infra, agent={"tools": [search]})

    assert output.error == "ToolError: tool 'search': no index"
    assert spent(infra) == unit(output.tokens) == unit(provider.settled().spent())


@pytest.mark.parametrize("limit", ["1m tokens", "20 agents"])
async def test_a_cancelled_request_is_booked_at_its_worst_case(limit: str) -> None:
    infra = limited(limit)
    with ProviderServer(Answer("too late", after_s=5)) as provider:
        async with model_of(provider) as model:
            runner = PydanticAIRunner({"reader": Agent(model)}, max_output_tokens=100)
            with anyio.move_on_after(0.2):
                await Vote([spec()]).run("task", runner=runner, infra=infra)

    assert provider.settled().count("cut") == 1
    assert infra.budget.snapshot().output_tokens == 100
    assert infra.budget.snapshot().input_tokens >= provider.ledger.spent().input_tokens


async def test_so_is_one_that_took_too_long() -> None:
    infra = limited("1m tokens")
    with ProviderServer(Answer("too late", after_s=5)) as provider:
        output = await asked(provider, infra, who=spec(timeout_s=0.2), max_output_tokens=100)

    assert output.error == "timed out after 0.2 s (timeout_s)"
    assert infra.budget.snapshot().output_tokens == 100


def test_with_random_cancellations_no_less_is_booked_than_invoiced() -> None:
    async def make(provider: ProviderServer) -> Any:
        client = AsyncOpenAI(base_url=provider.openai_url, api_key="none")
        model = OpenAIChatModel("gpt-5-mini", provider=OpenAIProvider(openai_client=client))
        return PydanticAIRunner({"reader": Agent(model, tools=[search])}, max_output_tokens=300), client.close

    cancelled_at_random(make, seeds=3)


@pytest.mark.parametrize("options", [{"max_output_tokens": 0}, {"input_margin": 0.5}, {"retries": -1}])
def test_a_number_that_can_not_be_meant_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="max_output_tokens must be above 0"):
        PydanticAIRunner({}, **options)


async def test_the_budget_of_one_agent_holds_for_its_requests() -> None:
    with ProviderServer(STORY) as provider:
        await asked(provider, who=spec(budget=BudgetLimits(max_output_tokens=50)))

    assert provider.asked[0].max_tokens == 50
