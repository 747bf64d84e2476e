"""Agents of the OpenAI Agents SDK on carpool's budget."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any

import anyio
import pytest

pytest.importorskip("agents", reason="needs the OpenAI Agents SDK")

from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrail,
    Model,
    ModelRetrySettings,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIProvider,
    OpenAIResponsesModel,
    RunConfig,
    RunContextWrapper,
    Runner,
    function_tool,
    retry_policies,
)
from agents.tracing import get_trace_provider, set_trace_processors, set_trace_provider
from openai import AsyncOpenAI
from pydantic import BaseModel

from carpool import SharedInfra, TokenAccounting, Vote, open_run
from carpool.errors import ToolError
from carpool.policy import PolicyEngine, deny_tool
from carpool.runners.model import ModelPrice
from carpool.runners.openai_agents import OpenAIAgentsRunner, run_config
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

PROTOCOLS = ("chat", "responses")
in_every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


class City(BaseModel):
    name: str
    people: int


@function_tool
async def search(query: str) -> str:
    """Find documents."""
    return f"three boats and {query}"


@asynccontextmanager
async def model_of(provider: ProviderServer, protocol: str = "chat") -> AsyncIterator[Model]:
    """A model as a user makes it: its client tries everything three times."""
    kind = OpenAIChatCompletionsModel if protocol == "chat" else OpenAIResponsesModel
    async with AsyncOpenAI(base_url=provider.openai_url, api_key="none") as client:
        yield kind("gpt-5-mini", openai_client=client)


async def asked(
    provider: ProviderServer, infra: SharedInfra | None = None, protocol: str = "chat", **options: Any
) -> Any:
    """What comes of one agent, who has a tool."""
    who, agent_options = options.pop("who", None), options.pop("agent", {"tools": [search]})
    async with model_of(provider, protocol) as model:
        runner = OpenAIAgentsRunner({"reader": Agent("reader", model=model, **agent_options)}, **options)
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


@in_every_protocol
async def test_cached_tokens_are_booked_and_paid_for_as_such(protocol: str) -> None:
    infra = limited("$5")
    price = ModelPrice(0.25, 2, cache_read=0.025)
    with ProviderServer(Answer("four words are here", cache_read=3)) as provider:
        output = await asked(provider, infra, protocol, prices={"openai:gpt-5-mini": price})

    (entry,) = provider.settled().entries
    assert output.tokens.cache_read_tokens == 3
    assert infra.budget.snapshot().cost_usd == pytest.approx(price.cost(entry.tokens), abs=1e-9)


async def test_a_model_behind_an_unknown_address_has_no_price() -> None:
    infra = limited("$1")
    with ProviderServer() as provider:
        output = await asked(provider, infra)

    assert not output.tokens.priced


async def test_an_agent_keeps_its_instructions_and_the_specs_prompt_goes_before_the_task() -> None:
    with ProviderServer() as provider:
        output = await asked(provider, who=spec(system_prompt="And be brief."), agent={"instructions": "Be kind."})

    assert output.answer == "ok"
    assert provider.asked[0].system.split("\n") == ["Be kind.", "And be brief."]


@in_every_protocol
async def test_a_structured_output_is_the_answer_as_json(protocol: str) -> None:
    with ProviderServer('{"name": "Oslo", "people": 7}') as provider:
        output = await asked(provider, protocol=protocol, agent={"output_type": City})

    assert output.answer == '{"name":"Oslo","people":7}'
    assert (output.turns, output.tool_calls) == (1, 0)


async def test_an_agent_is_found_by_its_name_else_by_its_role() -> None:
    with ProviderServer(lambda one: one.system) as provider:
        async with model_of(provider) as model:
            names = ("mapper", "mapper_2")
            runner = OpenAIAgentsRunner({name: Agent(name, model=model, instructions=name) for name in names})
            answers = [await ask(runner, spec(name, role="mapper")) for name in ("mapper_1", "mapper_2")]
            missing = await ask(runner, spec("nobody"))

    assert [output.answer for output in answers] == ["mapper", "mapper_2"]
    assert missing.error == "LookupError: no OpenAI Agents SDK agent for 'nobody'; there are: mapper, mapper_2"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "gpt-5"}, ", with a model of its own: leave out AgentSpec(model='gpt-5')"),
        ({"cache_control": True}, "whether its prompts are cached is set there; leave out AgentSpec(cache_control=…)"),
    ],
)
async def test_what_can_not_be_had_is_refused_before_it_costs_anything(fields: dict[str, Any], words: str) -> None:
    with ProviderServer() as provider:
        output = await asked(provider, who=spec(**fields))

    assert output.error.startswith("ConfigError: agent 'reader' is one of OpenAI Agents SDK")
    assert output.error.endswith(words)
    assert provider.asked == []


async def test_a_tool_that_its_team_has_not_is_refused_before_it_costs_anything() -> None:
    with ProviderServer() as provider:
        output = await asked(provider, who=spec(tools=["no_such_tool"]))

    assert output.error == (
        "ConfigError: agent 'reader' names tools that its team has not: ['no_such_tool']; it has: none"
    )
    assert provider.asked == []


async def test_a_context_is_made_for_each_run() -> None:
    @function_tool
    async def who(context: RunContextWrapper[str]) -> str:
        """Say who it is."""
        return f"it is {context.context}"

    def script(one: Asked) -> Answer:
        return Answer(one.results[-1]) if one.results else Answer("", tools=[("who", {})])

    with ProviderServer(script) as provider:
        output = await asked(
            provider, agent={"tools": [who]}, context=lambda spec, runtime: f"{spec.name} of {runtime.agent}"
        )

    assert output.answer == "it is reader of reader"


async def test_tools_that_the_spec_names_are_added_and_go_through_the_runtime() -> None:
    def script(one: Asked) -> Answer:
        if one.results:
            return Answer(" | ".join(one.results))
        tools: list[Any] = [("search", {"query": "x"}), ("lookup", {"word": "y"}), ("lookup", "{"), ("forbidden", {})]
        return Answer("", tools=tools)

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
        async with model_of(provider) as model:
            agent = Agent("reader", model=model, tools=[search])
            output = await ask(OpenAIAgentsRunner({"reader": agent}), spec(tools=["lookup", "forbidden"]), infra=infra)

    assert provider.asked[0].tools == ["search", "lookup", "forbidden"]
    assert "three boats and x" in output.answer
    assert "y is a letter" in output.answer
    assert "failed: the arguments are no JSON object" in output.answer
    assert "failed: tool 'forbidden' was denied" in output.answer
    assert agent.tools == [search]


async def test_the_agents_own_object_is_never_changed() -> None:
    with ProviderServer(tool_first) as provider:
        async with model_of(provider) as model:
            agent = Agent("reader", model=model, instructions="Be kind.", tools=[search])
            before = {field.name: getattr(agent, field.name) for field in fields(agent)}
            await ask(OpenAIAgentsRunner({"reader": agent}), spec(system_prompt="Be brief."))

    assert {field.name: getattr(agent, field.name) for field in fields(agent)} == before
    assert agent.tools == [search]


async def test_one_agent_object_serves_a_hundred_at_once() -> None:
    with ProviderServer() as provider:
        async with model_of(provider) as model:
            agent = Agent("reader", model=model, tools=[search])
            await a_hundred_at_once(OpenAIAgentsRunner({"reader": agent}), provider)


async def test_more_model_calls_than_its_turns_end_an_agent() -> None:
    with ProviderServer(Answer("more", tools=[("search", {"query": "x"})])) as provider:
        output = await asked(provider, who=spec(max_turns=3))

    assert len(provider.asked) == output.turns == 3
    assert output.error == "agent 'reader' asked for more than 3 model calls (max_turns); raise it to go on"
    assert output.outcome.status == OutcomeStatus.TIMEOUT
    assert unit(output.tokens) == unit(provider.settled().spent())


async def test_an_agent_that_waits_for_somebody_elses_approval_has_failed() -> None:
    @function_tool(needs_approval=True)
    def pay() -> str:
        """Pay."""
        return "paid"

    with ProviderServer(Answer("", tools=[("pay", {})])) as provider:
        output = await asked(provider, agent={"tools": [pay]})

    assert "approved, which nobody does here: ['pay']" in output.error
    assert unit(output.tokens) == unit(provider.settled().spent())


async def test_models_by_name_come_from_the_provider_of_the_run_config() -> None:
    infra = limited("1m tokens")
    with ProviderServer(tool_first) as provider:
        async with AsyncOpenAI(base_url=provider.openai_url, api_key="none") as client:
            config = RunConfig(model_provider=OpenAIProvider(openai_client=client), tracing_disabled=True)
            agent = Agent("reader", model="gpt-4.1", tools=[search])
            output = await ask(OpenAIAgentsRunner({"reader": agent}, run_config=config), infra=infra)
            assert config.model is config.model_settings is config.call_model_input_filter is None

    assert output.answer == "three boats"
    assert {(one.protocol, one.model) for one in provider.asked} == {("responses", "gpt-4.1")}
    assert spent(infra) == unit(provider.settled().spent())


@pytest.mark.parametrize("name", ["gpt-5-mini", "gpt-4.1"])
async def test_a_request_is_what_the_sdk_would_have_sent_but_for_the_limit(name: str) -> None:
    """Whatever the SDK takes for granted for a model by its name: reasoning effort, verbosity, cache keys."""
    with ProviderServer() as provider:
        async with AsyncOpenAI(base_url=provider.openai_url, api_key="none") as client:
            config = RunConfig(
                model_provider=OpenAIProvider(openai_client=client), tracing_disabled=True, group_id="one"
            )
            agent = Agent("reader", model=name, instructions="Be kind.", tools=[search])
            await Runner.run(agent, "What is it?", run_config=config)
            await ask(OpenAIAgentsRunner({"reader": agent}, run_config=config))

    alone, ours = (one.body for one in provider.asked)
    assert ours == {**alone, "max_output_tokens": 4_096}


async def test_a_filter_of_ones_own_still_filters() -> None:
    async def shorten(data: Any) -> Any:
        data.model_data.instructions = "Only this."
        return data.model_data

    with ProviderServer() as provider:
        config = RunConfig(call_model_input_filter=shorten, tracing_disabled=True)
        await asked(provider, run_config=config, agent={"instructions": "Be kind."})

    assert provider.asked[0].system == "Only this."


async def test_at_openai_itself_a_chat_model_gets_its_limit_by_the_newer_name() -> None:
    from carpool.runners.adapting.openai_agents_model import _limited

    async with AsyncOpenAI(api_key="none") as client:
        model = OpenAIChatCompletionsModel("o3", openai_client=client)
        own = ModelSettings(max_tokens=50, extra_args={"seed": 1})

        assert _limited(model, ModelSettings(), 30).extra_args == {"max_completion_tokens": 30}
        assert _limited(model, own, 30).max_tokens == 30
        assert _limited(OpenAIResponsesModel("o3", openai_client=client), ModelSettings(), 30).max_tokens == 30


# Nothing leaves


class Recording:
    """A trace processor that knows what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_trace_start(self, trace: Any) -> None:
        self.told.append(trace)

    def on_span_end(self, span: Any) -> None:
        self.told.append(span)

    def on_trace_end(self, trace: Any) -> None: ...
    def on_span_start(self, span: Any) -> None: ...
    def shutdown(self) -> None: ...
    def force_flush(self) -> None: ...


@pytest.mark.parametrize("own", [None, RunConfig()])
async def test_nothing_is_traced_unless_a_run_config_of_ones_own_says_so(own: RunConfig | None) -> None:
    before = get_trace_provider()
    recording = Recording()
    try:
        set_trace_processors([recording])
        with ProviderServer(tool_first) as provider:
            await asked(provider, run_config=own)
    finally:
        set_trace_processors([])
        set_trace_provider(before)

    assert bool(recording.told) == (own is not None)


# The budget, call by call


@pytest.mark.parametrize("limit", ["600 tokens", "$0.01"])
async def test_the_token_limit_of_a_call_is_lowered_to_what_the_budget_has_left(limit: str) -> None:
    infra = limited(limit)
    with ProviderServer(STORY) as provider:
        output = await asked(provider, infra, prices={"openai:*": ModelPrice(10, 30)}, agent={})

    invoice = provider.settled().spent()
    assert 16 <= provider.asked[0].max_tokens == invoice.output_tokens < 600
    assert output.outcome.status == OutcomeStatus.PARTIAL_SUCCESS
    assert output.outcome.evidence[0].data == {"finish_reason": "length"}
    assert spent(infra) == unit(invoice)
    assert infra.budget.snapshot().overrun == TokenAccounting()


async def test_an_answer_by_the_responses_api_that_is_cut_off_is_booked_though_the_sdk_may_lose_it() -> None:
    infra = limited("600 tokens")
    with ProviderServer(STORY) as provider:
        output = await asked(provider, infra, "responses", agent={})

    invoice = provider.settled().spent()
    assert output.answer or "incomplete_details=IncompleteDetails(reason='max_output_tokens')" in output.error
    assert infra.budget.snapshot().output_tokens == invoice.output_tokens == provider.asked[0].max_tokens
    assert invoice.total_tokens <= infra.budget.snapshot().total_tokens <= 600


async def test_a_limit_of_the_agents_own_is_kept_where_it_is_lower() -> None:
    with ProviderServer(STORY) as provider:
        for settings in (ModelSettings(max_tokens=70), ModelSettings(extra_args={"max_completion_tokens": 70})):
            await asked(provider, limited("1m tokens"), agent={"model_settings": settings})

    assert [one.max_tokens for one in provider.asked] == [70, 70]


async def test_a_call_that_does_not_fit_is_not_made() -> None:
    infra = limited("60 tokens")
    with ProviderServer() as provider:
        async with model_of(provider) as model:
            runner = OpenAIAgentsRunner({"reader": Agent("reader", model=model)})
            result = await Vote([spec()]).run("What is it?", runner=runner, infra=infra)

    assert provider.asked == []
    assert spent(infra) == (0, 0)
    assert result.stop_reason == "budget_exhausted"


def talkative(asked: Asked) -> Answer:
    return Answer(f"so far {asked.turn}", tools=[("search", {"query": "boats " * 40})], output_tokens=200)


@pytest.mark.parametrize("output_type", [None, City])
async def test_an_agent_that_is_stopped_between_calls_gives_what_it_has(output_type: Any) -> None:
    infra = limited("900 tokens")
    with ProviderServer(talkative) as provider:
        agent = {"tools": [search], "output_type": output_type}
        output = await asked(provider, infra, max_output_tokens=200, agent=agent)

    assert len(provider.asked) > 1
    if output_type is None:
        assert output.answer == f"so far {len(provider.asked) - 1}"
        assert output.outcome.status == OutcomeStatus.PARTIAL_SUCCESS
        assert output.outcome.evidence[0].data == {"budget": "total_tokens"}
    else:
        assert output.answer == ""
        assert output.error.startswith("BudgetExhausted")
    assert spent(infra) == unit(provider.settled().spent())
    assert infra.budget.snapshot().total_tokens <= 900


async def test_calls_that_do_not_fit_together_wait_for_each_other_instead_of_being_cut_short() -> None:
    infra = limited("3000 tokens")
    with ProviderServer(Answer("just a few words now", after_s=0.02)) as provider:
        async with model_of(provider) as model:
            runner = OpenAIAgentsRunner({"reader": Agent("reader", model=model)}, max_output_tokens=1_000)
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
    with ProviderServer(chatty(chance)) as provider:
        async with model_of(provider, PROTOCOLS[seed % 2]) as model:
            runner = OpenAIAgentsRunner(
                {"reader": Agent("reader", model=model, tools=[search])},
                prices={"openai:*": ModelPrice(1, 8)},
                max_output_tokens=chance.choice((50, 150, 1_000)),
            )
            cut = "reason='max_output_tokens'" if seed % 2 else None
            await no_limit_is_passed(runner, provider, limits, chance, lost=cut)


# Agents that hand off, and agents that are tools


@in_every_protocol
async def test_calls_after_a_handoff_ask_and_are_booked(protocol: str) -> None:
    infra = limited("4000 tokens")

    def script(one: Asked) -> Answer:
        if "transfer_to_second" in one.tools:
            return Answer("", tools=[("transfer_to_second", {})])
        return Answer(one.system)

    with ProviderServer(script) as provider:
        async with model_of(provider, protocol) as model:
            second = Agent("second", model=model, instructions="Second.")
            first = Agent("first", model=model, instructions="First.", handoffs=[second])
            output = await ask(OpenAIAgentsRunner({"reader": first}), spec(system_prompt="Brief."), infra=infra)

    assert output.answer.split("\n") == ["Second.", "Brief."]
    assert (output.turns, output.tool_calls) == (2, 0)
    assert all(one.max_tokens < 4_000 for one in provider.asked)
    assert spent(infra) == unit(provider.settled().spent())


@pytest.mark.parametrize("streamed", [True, False])
async def test_agents_that_are_tools_ask_and_are_booked_with_models_of_their_own(streamed: bool) -> None:
    infra = limited("4000 tokens")

    def script(one: Asked) -> Answer:
        if one.system == "Helper.":
            return Answer("from the helper", tools=[])
        return Answer(one.results[-1]) if one.results else Answer("hm", tools=[("ask_helper", {"input": "x"})])

    with ProviderServer(script) as provider:
        async with model_of(provider) as model, model_of(provider, "responses") as other:
            helper = Agent("helper", model=other, instructions="Helper.")
            options = {"on_stream": lambda event: None} if streamed else {}
            tool = helper.as_tool("ask_helper", "Ask it.", **options)
            first = Agent("first", model=model, instructions="First.", tools=[tool])
            output = await ask(OpenAIAgentsRunner({"reader": first}), infra=infra)

    assert output.answer == "from the helper"
    assert [one.protocol for one in provider.asked] == ["chat", "responses", "chat"]
    assert [one.stream for one in provider.asked] == [False, streamed, False]
    assert all(one.max_tokens < 4_000 for one in provider.asked)
    assert (output.turns, output.tools_used) == (3, ["ask_helper"])
    assert spent(infra) == unit(output.tokens) == unit(provider.settled().spent())


async def test_what_an_agent_says_that_is_a_tool_is_not_taken_for_an_answer() -> None:
    infra = limited("1500 tokens")

    def script(one: Asked) -> Answer:
        if one.system == "Helper.":
            return Answer("from the helper", output_tokens=900)
        return Answer("hm", tools=[("ask_helper", {"input": "x"})])

    with ProviderServer(script) as provider:
        async with model_of(provider) as model:
            helper = Agent("helper", model=model, instructions="Helper.")
            first = Agent("first", model=model, tools=[helper.as_tool("ask_helper", "Ask it.")])
            output = await ask(OpenAIAgentsRunner({"reader": first}, max_output_tokens=900), infra=infra)

    assert output.answer == "hm"
    assert output.outcome.status == OutcomeStatus.PARTIAL_SUCCESS
    assert spent(infra) == unit(provider.settled().spent())


@pytest.mark.parametrize("ours", [True, False])
async def test_an_agent_in_a_guardrail_is_on_the_budget_when_it_is_run_with_this_run_config(ours: bool) -> None:
    infra = limited("1m tokens")
    with ProviderServer(lambda one: Answer("fine", after_s=0.02)) as provider:
        async with model_of(provider) as model:
            guard = Agent("guard", model=model, instructions="Guard.")

            async def check(context: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
                plain = RunConfig(tracing_disabled=True)
                await Runner.run(guard, "Is it allowed?", run_config=run_config() if ours else plain)
                return GuardrailFunctionOutput(output_info=None, tripwire_triggered=False)

            agent = Agent("reader", model=model, input_guardrails=[InputGuardrail(guardrail_function=check)])
            output = await ask(OpenAIAgentsRunner({"reader": agent}), infra=infra)

    invoice = provider.settled().spent()
    assert output.answer == "fine"
    assert output.turns == len(provider.asked) - (not ours) == 1 + ours
    assert (spent(infra) == unit(invoice)) == ours
    assert run_config() is None


async def test_calls_of_one_agent_that_are_out_at_once_are_all_held_and_booked() -> None:
    """The agent's own, and those of three that its tools run at the same time."""
    infra = limited("1m tokens")
    held: list[int] = []

    def script(one: Asked) -> Answer:
        held.append(infra.budget.snapshot().held.output_tokens)
        if one.system == "Helper." or one.turn:
            return Answer("done", after_s=0.05)
        return Answer("", tools=[("ask_helper", {"input": f"{n}"}) for n in range(3)])

    with ProviderServer(script) as provider:
        async with model_of(provider) as model:
            helper = Agent("helper", model=model, instructions="Helper.")
            first = Agent("first", model=model, tools=[helper.as_tool("ask_helper", "Ask it.")])
            output = await ask(OpenAIAgentsRunner({"reader": first}, max_output_tokens=100), infra=infra)

    assert output.answer == "done"
    assert provider.settled().most_in_flight == 3
    assert max(held) == 300
    assert infra.budget.snapshot().held == TokenAccounting()
    assert spent(infra) == unit(output.tokens) == unit(provider.ledger.spent())


async def test_those_that_are_out_beside_another_get_what_fits() -> None:
    infra = limited("1500 tokens")

    def script(one: Asked) -> Answer:
        if one.system == "Helper.":
            return Answer("done", after_s=0.05)
        return Answer("", tools=[("ask_helper", {"input": f"{n}"}) for n in range(3)] if not one.turn else [])

    with ProviderServer(script) as provider:
        async with model_of(provider) as model:
            helper = Agent("helper", model=model, instructions="Helper.")
            first = Agent("first", model=model, tools=[helper.as_tool("ask_helper", "Ask it.")])
            await ask(OpenAIAgentsRunner({"reader": first}, max_output_tokens=400), infra=infra)

    limits = [one.max_tokens for one in provider.asked if one.system == "Helper."]
    assert len(limits) == 3
    assert max(limits) == 400 > min(limits) >= 16
    assert infra.budget.snapshot().overrun == TokenAccounting()
    assert spent(infra) == unit(provider.settled().spent())


# What goes wrong


@in_every_protocol
async def test_a_refused_call_is_tried_again_by_the_runner_and_by_nobody_else(protocol: str) -> None:
    infra = SharedInfra()
    with ProviderServer([Refuse(429), Refuse(503), "at last"]) as provider:
        output = await asked(provider, infra, protocol)

    assert (output.answer, output.turns, len(provider.asked)) == ("at last", 1, 3)
    assert spent(infra) == unit(provider.settled().spent())


@in_every_protocol
async def test_without_retries_there_is_one_attempt_whatever_the_sdk_is_told(protocol: str) -> None:
    own = ModelSettings(retry=ModelRetrySettings(max_retries=5, policy=retry_policies.network_error()))
    with ProviderServer(Refuse(429, message="slow down")) as provider:
        output = await asked(provider, protocol=protocol, retries=0, agent={"model_settings": own})

    assert len(provider.asked) == 1
    assert output.error == "ModelError: openai:gpt-5-mini: rate limit reached (429): slow down"
    assert output.tokens is None  # nothing was spent


async def test_it_waits_as_long_as_the_provider_asks_for() -> None:
    with ProviderServer([Refuse(429, retry_after="1"), "at last"]) as provider:
        output = await asked(provider)

    first, second = provider.settled().entries
    assert output.answer == "at last"
    assert second.at - first.at >= 1.0


async def test_a_wait_that_is_too_long_is_a_failure_at_once() -> None:
    with ProviderServer(Refuse(429, retry_after="3600")) as provider:
        output = await asked(provider)

    assert "rate limit reached (429)" in output.error
    assert len(provider.asked) == 1


async def test_it_says_how_long_it_was_asked_to_wait() -> None:
    with ProviderServer(Refuse(429, retry_after="300", message="slow down")) as provider:
        output = await asked(provider)

    assert (output.error or "").endswith("slow down; asks to wait 300 s, longer than longest_retry_wait_s=60")


async def test_when_the_budget_refuses_another_attempt_the_failure_before_it_is_named() -> None:
    infra = limited("600 tokens")
    with ProviderServer(Refuse(500, message="engine on fire", billed=True)) as provider:
        output = await asked(provider, infra)

    assert output.error is not None
    assert output.error.startswith("BudgetExhausted: ")
    assert "engine on fire" in output.error


@pytest.mark.parametrize(
    ("fault", "words", "booked"),
    [
        (Refuse(400, code=None, message="bad thing"), "the request was rejected (400): bad thing", False),
        (Refuse(401, code=None), "the key is missing, wrong, or may not use this model (401)", False),
        (Refuse(404, code=None), "no such model or address (404)", False),
        (Refuse(402, code="insufficient_quota"), "no quota left (402)", False),
        (Refuse(429, code="insufficient_quota"), "no quota left (429)", False),
        (Refuse(408, code=None, billed=True), "the provider broke off (408)", True),
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
    assert output.error.startswith("ModelError: openai:gpt-5-mini: ")
    assert words in output.error
    assert infra.budget.snapshot().output_tokens == (100 if booked else 0)
    assert infra.budget.snapshot().input_tokens >= invoice.input_tokens


async def test_a_server_that_is_not_there_costs_nothing() -> None:
    infra = limited("1m tokens")
    async with AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key="none") as client:
        agent = Agent("reader", model=OpenAIChatCompletionsModel("m", openai_client=client))
        output = await ask(OpenAIAgentsRunner({"reader": agent}, retries=1), infra=infra)

    assert output.error is not None
    assert output.error.startswith("ModelError: openai:m: the connection failed")
    assert spent(infra) == (0, 0)


@pytest.mark.parametrize("usage", ["missing", "zero"])
async def test_a_call_without_usage_is_booked_at_its_worst_case(usage: Any) -> None:
    infra = limited("1m tokens")
    with ProviderServer(Answer("two words", usage=usage)) as provider:
        output = await asked(provider, infra, max_output_tokens=100)

    assert output.answer == "two words"
    assert infra.budget.snapshot().output_tokens == 100
    assert infra.budget.snapshot().input_tokens >= provider.settled().spent().input_tokens


async def test_an_error_in_a_tool_is_the_agents_own_and_what_it_cost_is_booked() -> None:
    @function_tool(failure_error_function=None)
    async def search(query: str) -> str:
        """Fail."""
        raise ToolError("search", "no index")

    infra = SharedInfra()
    with ProviderServer(tool_first) as provider:
        output = await asked(provider, infra, agent={"tools": [search]})

    assert "no index" in output.error
    assert not output.error.startswith("ModelError")
    assert spent(infra) == unit(output.tokens) == unit(provider.settled().spent())


@pytest.mark.parametrize("limit", ["1m tokens", "20 agents"])
async def test_a_cancelled_call_is_booked_at_its_worst_case(limit: str) -> None:
    infra = limited(limit)
    with ProviderServer(Answer("too late", after_s=5)) as provider:
        async with model_of(provider) as model:
            runner = OpenAIAgentsRunner({"reader": Agent("reader", model=model)}, max_output_tokens=100)
            with anyio.move_on_after(0.4):
                await Vote([spec()]).run("task", runner=runner, infra=infra)

    assert provider.settled().count("cut") == 1
    assert infra.budget.snapshot().output_tokens == 100
    assert infra.budget.snapshot().input_tokens >= provider.ledger.spent().input_tokens


async def test_so_is_one_that_took_too_long() -> None:
    infra = limited("1m tokens")
    with ProviderServer(Answer("too late", after_s=5)) as provider:
        output = await asked(provider, infra, who=spec(timeout_s=0.4), max_output_tokens=100)

    assert output.error == "timed out after 0.4 s (timeout_s)"
    assert infra.budget.snapshot().output_tokens == 100


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the SDK's: a turn cancelled unstarted
def test_with_random_cancellations_no_less_is_booked_than_invoiced() -> None:
    async def make(provider: ProviderServer) -> Any:
        client = AsyncOpenAI(base_url=provider.openai_url, api_key="none")
        agent = Agent("reader", model=OpenAIChatCompletionsModel("gpt-5-mini", openai_client=client), tools=[search])
        return OpenAIAgentsRunner({"reader": agent}, max_output_tokens=300), client.close

    cancelled_at_random(make, seeds=3)
