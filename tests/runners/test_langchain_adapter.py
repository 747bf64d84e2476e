"""Runnables of LangChain and graphs of LangGraph on carpool's budget."""

from __future__ import annotations

import itertools
import operator
import random
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

import anyio
import pytest

pytest.importorskip("langchain", reason="needs LangChain")

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableParallel
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from pydantic import BaseModel

from carpool import SharedInfra, TokenAccounting, Vote, open_run
from carpool.errors import ToolError
from carpool.runners.langchain import LangChainRunner
from carpool.runners.model import ModelPrice
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


_seconds = itertools.count(60)


def made(provider: ProviderServer, protocol: str = "chat", **options: Any) -> Any:
    options["timeout"] = float(next(_seconds))  # models that are alike in that too share their connections
    if protocol == "messages":
        return ChatAnthropic(
            model="claude-haiku-4-5", base_url=provider.url, api_key="none", **{"max_tokens": 4_096, **options}
        )
    responses = protocol == "responses"
    return ChatOpenAI(
        model="gpt-5-mini", base_url=provider.openai_url, api_key="none", use_responses_api=responses, **options
    )


async def close(model: Any) -> None:
    if isinstance(model, ChatAnthropic):
        model._client.close()
        await model._async_client.close()
    else:
        model.root_client.close()
        await model.root_async_client.close()


@asynccontextmanager
async def model_of(provider: ProviderServer, protocol: str = "chat", **options: Any) -> AsyncIterator[BaseChatModel]:
    model = made(provider, protocol, **options)
    try:
        yield model
    finally:
        await close(model)


async def asked(
    provider: ProviderServer, infra: SharedInfra | None = None, protocol: str = "chat", **options: Any
) -> Any:
    """What comes of one agent, who has a tool."""
    who, agent_options = options.pop("who", None), options.pop("agent", {"tools": [search]})
    model_options = {"max_retries": 0, **options.pop("model", {})}
    async with model_of(provider, protocol, **model_options) as model:
        runner = LangChainRunner({"reader": create_agent(model, **agent_options)}, **options)
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
    price = ModelPrice(0.25, 2, cache_read=0.025, cache_write=0.3)
    prices = {"openai:gpt-5-mini": price, "anthropic:claude-haiku-4-5": price}
    written = 2 if protocol == "messages" else None
    with ProviderServer(Answer("four words are here", cache_read=3, cache_write=written)) as provider:
        output = await asked(provider, infra, protocol, prices=prices)

    (entry,) = provider.settled().entries
    assert (output.tokens.cache_read_tokens, output.tokens.cache_write_tokens) == (3, written or 0)
    assert infra.budget.snapshot().cost_usd == pytest.approx(price.cost(entry.tokens), abs=1e-9)


async def test_a_model_behind_an_unknown_address_has_no_price() -> None:
    with ProviderServer() as provider:
        output = await asked(provider, limited("$1"))

    assert not output.tokens.priced


async def test_an_agent_keeps_its_prompt_and_the_specs_is_added() -> None:
    with ProviderServer() as provider:
        for protocol in PROTOCOLS:
            output = await asked(
                provider, None, protocol, who=spec(system_prompt="And be brief."), agent={"system_prompt": "Be kind."}
            )
            assert output.answer == "ok"

    assert [one.system.split("\n") for one in provider.asked] == [["Be kind.", "And be brief."]] * 3


@pytest.mark.parametrize("protocol", ["chat", "responses"])
async def test_a_structured_response_is_the_answer_as_json(protocol: str) -> None:
    with ProviderServer('{"name": "Oslo", "people": 7}') as provider:
        output = await asked(provider, protocol=protocol, agent={"response_format": City})

    assert output.answer == '{"name":"Oslo","people":7}'


async def test_whatever_else_a_runnable_gives_is_text_as_it_is_or_json() -> None:
    with ProviderServer('{"name": "Oslo", "people": 7}') as provider:
        async with model_of(provider) as model:
            prompt = ChatPromptTemplate.from_messages([("system", "Be kind."), ("user", "{question}")])
            runnables: dict[str, Runnable[Any, Any]] = {
                "model": model,
                "bound": model.bind(temperature=1).with_retry(),
                "chain": prompt | model | StrOutputParser(),
                "typed": model.with_structured_output(City),
                "function": RunnableLambda(lambda text: {"length": len(text)}),
            }
            runner = LangChainRunner(runnables)
            outputs = {name: await ask(runner, spec(name, "Brief."), "Where?") for name in runnables}

    text = '{"name": "Oslo", "people": 7}'
    assert {name: output.answer for name, output in outputs.items()} == {
        "model": text,
        "bound": text,
        "chain": text,
        "typed": '{"name":"Oslo","people":7}',
        "function": '{"length":14}',
    }
    said = [(one.system, one.messages[0][1]) for one in provider.asked]
    assert said == [
        ("Brief.", "Where?"),
        ("Brief.", "Where?"),
        ("Be kind.", "Brief.\n\nWhere?"),
        ("Brief.", "Where?"),
    ]


async def test_an_input_of_ones_own_making_goes_in_as_it_is() -> None:
    with ProviderServer(lambda one: one.last_text) as provider:
        async with model_of(provider) as model:
            chain = ChatPromptTemplate.from_template("{name}: {question}") | model
            runner = LangChainRunner(
                {"reader": chain}, make_input=lambda spec, task: {"name": spec.name, "question": task}
            )
            output = await ask(runner, task="Where?")

    assert output.answer == "reader: Where?"


class Counted(TypedDict):
    count: int


class Said(TypedDict):
    messages: Annotated[list[Any], operator.add]
    who: str


def graph_of(node: Any, state: Any, **options: Any) -> Any:
    graph = StateGraph(state)
    graph.add_node("only", node)
    graph.add_edge(START, "only")
    graph.add_edge("only", END)
    return graph.compile(**options)


async def test_a_graph_without_messages_needs_to_be_told_what_goes_in() -> None:
    graph = graph_of(lambda state: {"count": state["count"] + 1}, Counted)

    refused = await ask(LangChainRunner({"reader": graph}))
    output = await ask(LangChainRunner({"reader": graph}, make_input=lambda spec, task: {"count": 1}))

    assert "its graph has no messages but" in (refused.error or "")
    assert "give LangChainRunner(make_input=…)" in (refused.error or "")
    assert output.answer == '{"count":2}'


async def test_where_a_text_goes_in_the_specs_prompt_stands_before_the_task() -> None:
    with ProviderServer() as provider:
        async with model_of(provider) as model:
            prompt = ChatPromptTemplate.from_messages([("system", "Be kind."), ("user", "{question}")])
            plain = LangChainRunner({"reader": prompt | model})
            own = LangChainRunner({"reader": prompt | model}, make_input=lambda spec, task: {"question": task})
            for runner in (plain, own):
                assert (await ask(runner, spec(system_prompt="Be brief."))).succeeded

    assert [asked.messages for asked in provider.asked] == [
        [("user", "Be brief.\n\nWhat is it?")],
        [("user", "What is it?")],
    ]


async def test_config_and_context_are_made_for_each_run() -> None:
    heard: list[str] = []

    class Listening(BaseCallbackHandler):
        def on_llm_end(self, response: Any, **_: Any) -> None:
            heard.append(response.generations[0][0].text)

    with ProviderServer(lambda one: one.last_text) as provider:
        async with model_of(provider) as model:

            async def node(state: Said, runtime: Any) -> dict[str, Any]:
                return {"messages": [await model.ainvoke(f"{runtime.context} asks")]}

            graph = StateGraph(Said, context_schema=str)
            graph.add_node("only", node)
            graph.add_edge(START, "only")
            runner = LangChainRunner(
                {"reader": graph.compile(checkpointer=InMemorySaver())},
                config=lambda spec, runtime: {
                    "callbacks": [Listening()],
                    "configurable": {"thread_id": runtime.effect_id("thread")},
                },
                context=lambda spec, runtime: f"{spec.name} of {runtime.agent}",
            )
            infra = limited("1m tokens")
            output = await ask(runner, infra=infra)

    assert output.answer == "reader of reader asks"
    assert heard == ["reader of reader asks"]
    assert spent(infra) == unit(provider.settled().spent()) != (0, 0)


async def test_an_agent_is_found_by_its_name_else_by_its_role() -> None:
    runner = LangChainRunner({name: RunnableLambda(lambda _, name=name: name) for name in ("mapper", "mapper_2")})
    answers = [await ask(runner, spec(name, role="mapper")) for name in ("mapper_1", "mapper_2")]
    missing = await ask(runner, spec("nobody"))

    assert [output.answer for output in answers] == ["mapper", "mapper_2"]
    assert missing.error == "LookupError: no LangChain agent for 'nobody'; there are: mapper, mapper_2"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "gpt-5"}, ", with a model of its own: leave out AgentSpec(model='gpt-5')"),
        ({"cache_control": True}, "whether its prompts are cached is set there; leave out AgentSpec(cache_control=…)"),
        ({"tools": ["search"]}, ", with tools of its own: it can't be given search of its team or pattern"),
    ],
)
async def test_what_can_not_be_had_is_refused_before_it_costs_anything(fields: dict[str, Any], words: str) -> None:
    with ProviderServer() as provider:
        output = await asked(provider, SharedInfra(tools=[search]), who=spec(**fields))

    assert output.error.startswith("ConfigError: agent 'reader' is one of LangChain")
    assert output.error.endswith(words)
    assert provider.asked == []


async def test_the_runnables_own_object_is_never_changed() -> None:
    with ProviderServer() as provider:
        async with model_of(provider) as model:
            graph = create_agent(model, [search], system_prompt="Be kind.")
            before = {name: repr(value) for name, value in vars(graph).items()}
            await ask(LangChainRunner({"reader": graph}), spec(system_prompt="Be brief."))

    assert {name: repr(value) for name, value in vars(graph).items()} == before
    assert model.callbacks is None


async def test_one_agent_object_serves_a_hundred_at_once() -> None:
    with ProviderServer() as provider:
        async with model_of(provider) as model:
            await a_hundred_at_once(LangChainRunner({"reader": create_agent(model, [search])}), provider)


async def test_more_model_calls_than_its_turns_end_an_agent() -> None:
    with ProviderServer(Answer("more", tools=[("search", {"query": "x"})])) as provider:
        output = await asked(provider, who=spec(max_turns=3))

    assert len(provider.asked) == output.turns == 3
    assert output.error == "agent 'reader' asked for more than 3 model calls (max_turns); raise it to go on"
    assert output.outcome.status == OutcomeStatus.TIMEOUT
    assert unit(output.tokens) == unit(provider.settled().spent())


async def test_a_graph_that_waits_for_a_human_has_failed() -> None:
    def node(state: Said) -> Any:
        return {"who": interrupt("who?")}

    runner = LangChainRunner(
        {"reader": graph_of(node, Said, checkpointer=InMemorySaver())},
        config=lambda spec, runtime: {"configurable": {"thread_id": "1"}},
    )
    output = await ask(runner)

    assert "was interrupted and waits for an answer" in (output.error or "")


async def test_nothing_is_traced_unless_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_core.tracers.langchain import LangChainTracer

    handlers: list[Any] = []

    async def node(state: Said, config: RunnableConfig) -> dict[str, Any]:
        handlers.extend(config["callbacks"].handlers)
        return {"messages": [HumanMessage("done")]}

    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2", "LANGSMITH_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    output = await ask(LangChainRunner({"reader": graph_of(node, Said)}))

    assert output.answer == "done"
    assert handlers
    assert not [each for each in handlers if isinstance(each, LangChainTracer)]


# The budget, call by call


async def test_a_call_is_made_only_if_all_that_it_may_generate_fits() -> None:
    infra = limited("600 tokens")
    with ProviderServer(STORY) as provider:
        refused = await asked(provider, infra, agent={}, model={"max_tokens": 1_000})
        output = await asked(provider, infra, agent={}, model={"max_tokens": 300})

    assert refused.error.startswith("BudgetExhausted")
    assert [one.max_tokens for one in provider.asked] == [300]
    assert output.outcome.evidence[0].data == {"finish_reason": "length"}
    assert spent(infra) == unit(provider.settled().spent())
    assert infra.budget.snapshot().overrun == TokenAccounting()


@in_every_protocol
async def test_a_limit_that_is_set_for_a_call_is_what_it_may_generate(protocol: str) -> None:
    infra = limited("600 tokens")
    with ProviderServer(STORY) as provider:
        async with model_of(provider, protocol, max_retries=0) as model:
            runner = LangChainRunner({"small": model.bind(max_tokens=300), "large": model})
            small, large = await ask(runner, spec("small"), infra=infra), await ask(runner, spec("large"), infra=infra)

    assert small.answer
    assert (large.error or "").startswith("BudgetExhausted")
    assert [one.max_tokens for one in provider.asked] == [300]


async def test_where_there_is_no_limit_so_much_is_reserved_and_not_enforced() -> None:
    infra = limited("600 tokens")
    with ProviderServer(Answer("more than was thought", output_tokens=900)) as provider:
        output = await asked(provider, infra, agent={}, max_output_tokens=100)

    assert provider.asked[0].max_tokens is None
    assert output.answer == "more than was thought"
    assert spent(infra) == unit(provider.settled().spent())
    assert infra.budget.snapshot().overrun.output_tokens > 700


async def test_a_call_that_does_not_fit_is_not_made() -> None:
    infra = limited("60 tokens")
    with ProviderServer() as provider:
        async with model_of(provider) as model:
            runner = LangChainRunner({"reader": model})
            result = await Vote([spec()]).run("What is it?", runner=runner, infra=infra)

    assert provider.asked == []
    assert spent(infra) == (0, 0)
    assert result.stop_reason == "budget_exhausted"


def talkative(asked: Asked) -> Answer:
    return Answer(f"so far {asked.turn}", tools=[("search", {"query": "boats " * 40})], output_tokens=200)


async def test_an_agent_that_is_stopped_between_calls_gives_what_it_has() -> None:
    infra = limited("900 tokens")
    with ProviderServer(talkative) as provider:
        output = await asked(provider, infra, model={"max_tokens": 200})

    assert len(provider.asked) > 1
    assert output.answer == f"so far {len(provider.asked) - 1}"
    assert output.outcome.status == OutcomeStatus.PARTIAL_SUCCESS
    assert output.outcome.evidence[0].data == {"budget": "total_tokens"}
    assert spent(infra) == unit(provider.settled().spent())
    assert infra.budget.snapshot().total_tokens <= 900


async def test_calls_that_do_not_fit_together_wait_for_each_other() -> None:
    infra = limited("3000 tokens")
    with ProviderServer(Answer("just a few words now", after_s=0.02)) as provider:
        async with model_of(provider, max_tokens=1_000) as model:
            runner = LangChainRunner({"reader": model})
            async with open_run(runner=runner, infra=infra) as run:
                outputs = await run.fan_out([(spec(f"a{n}", role="reader"), "task") for n in range(20)], 20)

    assert [output.answer for output in outputs] == ["just a few words now"] * 20
    assert provider.settled().most_in_flight < 4
    assert spent(infra) == unit(provider.ledger.spent())


@pytest.mark.parametrize("seed", range(6))
async def test_no_limit_is_ever_passed_and_every_token_is_booked(seed: int) -> None:
    chance = random.Random(seed)
    limits = random_limits(chance)
    prices = {"openai:*": ModelPrice(1, 8), "anthropic:*": ModelPrice(1, 8, cache_write=1.25)}
    with ProviderServer(chatty(chance)) as provider:
        most = chance.choice((50, 150, 1_000))
        async with model_of(provider, PROTOCOLS[seed % 3], max_tokens=most, max_retries=0) as model:
            runner = LangChainRunner({"reader": create_agent(model, [search])}, prices=prices)
            await no_limit_is_passed(runner, provider, limits, chance)


@pytest.mark.parametrize("stream_usage", [True, False])
async def test_a_streamed_call_is_booked_by_its_usage_or_at_its_worst_case(stream_usage: bool) -> None:
    infra = limited("1m tokens")
    with ProviderServer("a few words") as provider:
        options = {"streaming": True, "stream_usage": stream_usage, "max_tokens": 100}
        output = await asked(provider, infra, model=options)

    invoice = provider.settled().spent()
    assert provider.asked[0].stream
    assert output.answer == "a few words"
    assert infra.budget.snapshot().output_tokens == (invoice.output_tokens if stream_usage else 100)
    assert infra.budget.snapshot().input_tokens >= invoice.input_tokens


async def test_an_answer_from_langchains_own_cache_costs_nothing() -> None:
    infra = limited("1m tokens")
    with ProviderServer("remembered") as provider:
        async with model_of(provider, cache=InMemoryCache()) as model:
            runner = LangChainRunner({"reader": model})
            first, second = await ask(runner, infra=infra), await ask(runner, infra=infra)

    assert first.answer == second.answer == "remembered"
    assert len(provider.asked) == 1
    assert spent(infra) == unit(provider.settled().spent())


async def test_models_that_complete_a_text_are_asked_about_too() -> None:
    infra = limited("5000 tokens")
    output = await ask(LangChainRunner({"reader": FakeListLLM(responses=["done"])}), infra=infra)
    refused = await ask(LangChainRunner({"reader": FakeListLLM(responses=["done"])}), infra=infra)

    assert output.answer == "done"
    assert infra.budget.snapshot().output_tokens == 4_096  # it reports no usage
    assert (refused.error or "").startswith("BudgetExhausted")


# Several at once, and without a loop


async def test_branches_that_call_at_once_are_all_held_and_booked() -> None:
    infra = limited("1m tokens")
    held: list[int] = []

    def script(one: Asked) -> Answer:
        held.append(infra.budget.snapshot().held.output_tokens)
        return Answer(f"{len(held)} words", after_s=0.05)

    with ProviderServer(script) as provider:
        async with model_of(provider, max_tokens=100) as model:
            branches = RunnableParallel({name: model | StrOutputParser() for name in "abc"})
            output = await ask(LangChainRunner({"reader": branches}), infra=infra)

    assert output.turns == 3
    assert provider.settled().most_in_flight == 3
    assert max(held) == 300
    assert infra.budget.snapshot().held == TokenAccounting()
    assert spent(infra) == unit(output.tokens or TokenAccounting()) == unit(provider.ledger.spent())


def test_a_branch_for_which_there_is_no_room_fails_the_agent_and_the_others_are_booked() -> None:
    infra = limited("300 tokens")

    async def branching(provider: ProviderServer) -> Any:
        async with model_of(provider, max_tokens=100) as model:
            branches = RunnableParallel(dict.fromkeys("abcd", model))
            return await ask(LangChainRunner({"reader": branches}), infra=infra)

    with ProviderServer(Answer("ok", after_s=0.1)) as provider:
        output = anyio.run(branching, provider)  # a loop of its own: LangChain leaves the other branches running

    assert (output.error or "").startswith("BudgetExhausted")
    assert infra.budget.snapshot().total_tokens <= 300
    assert infra.budget.snapshot().total_tokens >= provider.settled().spent().total_tokens
    assert infra.budget.snapshot().held == TokenAccounting()


@pytest.mark.parametrize("refuse", [True, False])
async def test_synchronous_steps_ask_and_are_booked_as_well(refuse: bool) -> None:
    infra = limited("600 tokens")
    with ProviderServer("from a thread") as provider:
        async with model_of(provider, max_tokens=1_000 if refuse else 100) as model:
            graph = graph_of(lambda state: {"messages": [model.invoke(state["messages"])]}, Said)
            output = await ask(LangChainRunner({"reader": graph}), infra=infra)

    assert len(provider.asked) == (not refuse)
    assert output.answer == ("" if refuse else "from a thread")
    assert (output.error or "").startswith("BudgetExhausted" if refuse else "")
    assert spent(infra) == unit(provider.settled().spent())


@pytest.mark.parametrize(("seen", "config"), [(True, None), (False, {"callbacks": []})], ids=["as it is", "replaced"])
async def test_a_model_that_a_tool_calls_is_on_the_budget_unless_callbacks_are_replaced(
    seen: bool, config: Any
) -> None:
    infra = limited("1m tokens")
    with ProviderServer(tool_first) as provider:
        async with model_of(provider) as model:

            async def search(query: str) -> str:
                """Find documents."""
                return str((await model.ainvoke(f"What are {query}?", config)).text)

            output = await ask(LangChainRunner({"reader": create_agent(model, [search])}), infra=infra)

    invoice = provider.settled().spent()
    assert (output.answer, len(provider.asked)) == ("three boats", 3)
    assert (output.turns, spent(infra) == unit(invoice)) == ((3, True) if seen else (2, False))


async def test_a_thread_that_is_left_behind_makes_no_further_call_and_is_booked() -> None:
    infra = limited("1m tokens")
    errors: list[Exception] = []
    ended = threading.Event()
    with ProviderServer(Answer("late", after_s=0.4)) as provider:
        async with model_of(provider, max_tokens=100) as model:

            def node(state: Said) -> Any:
                try:
                    model.invoke("one")
                    model.invoke("two")
                except Exception as error:
                    errors.append(error)
                finally:
                    ended.set()

            output = await ask(LangChainRunner({"reader": graph_of(node, Said)}), spec(timeout_s=0.2), infra=infra)
            booked = spent(infra)
            assert await anyio.to_thread.run_sync(ended.wait, 5)

    assert output.error == "timed out after 0.2 s (timeout_s)"
    assert len(provider.asked) == 1
    assert "has ended; what it left behind calls no more models" in str(errors[0])
    assert booked == spent(infra)
    assert booked[1] == 100
    assert booked[0] >= provider.settled().spent().input_tokens


async def test_what_a_thread_that_is_left_behind_uses_beyond_its_worst_case_is_booked_late() -> None:
    infra = limited("1m tokens")
    ended = threading.Event()
    with ProviderServer(Answer("late", after_s=0.4, output_tokens=170)) as provider:
        async with model_of(provider) as model:

            def node(state: Said) -> Any:
                try:
                    model.invoke("one")
                finally:
                    ended.set()

            runner = LangChainRunner({"reader": graph_of(node, Said)}, max_output_tokens=100)
            await ask(runner, spec(timeout_s=0.2), infra=infra)
            assert spent(infra)[1] == 100
            assert await anyio.to_thread.run_sync(ended.wait, 5)

    assert spent(infra)[1] == 170


# What goes wrong


@in_every_protocol
async def test_a_client_that_tries_nothing_again_is_asked_once(protocol: str) -> None:
    with ProviderServer(Refuse(429, message="slow down", retry_after="1")) as provider:
        output = await asked(provider, protocol=protocol)

    assert len(provider.asked) == 1
    assert output.error.startswith("ModelError: ")
    assert output.error.endswith("rate limit reached (429): slow down")
    assert output.tokens is None  # nothing was spent


async def test_attempts_that_a_client_makes_by_itself_are_not_seen() -> None:
    infra = limited("1m tokens")
    with ProviderServer([Refuse(500, code=None, billed=True), "at last"]) as provider:
        output = await asked(provider, infra, model={"max_retries": 2})

    first, second = provider.settled().entries
    assert output.answer == "at last"
    assert spent(infra) == unit(second.tokens)
    assert first.tokens != TokenAccounting()


@pytest.mark.parametrize(
    ("fault", "words", "booked"),
    [
        (Refuse(400, code=None, message="bad thing"), "the request was rejected (400): bad thing", False),
        (Refuse(401, code=None), "the key is missing, wrong, or may not use this model (401)", False),
        (Refuse(404, code=None), "no such model or address (404)", False),
        (Refuse(402, code="insufficient_quota"), "no quota left (402)", False),
        (Refuse(500, code=None, billed=True), "the provider failed (500)", True),
        (Refuse(529, code=None), "the provider is overloaded or down (529)", False),
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
        output = await asked(provider, infra, protocol, model={"max_tokens": 100})

    invoice = provider.settled().spent()
    assert output.error.startswith("ModelError: ")
    assert words in output.error
    assert infra.budget.snapshot().output_tokens == (100 if booked else 0)
    assert infra.budget.snapshot().input_tokens >= invoice.input_tokens


async def test_a_fallback_asks_for_each_of_its_models() -> None:
    infra = limited("1m tokens")
    with ProviderServer([Refuse(500, code=None, billed=True), "at last"]) as provider:
        async with model_of(provider, max_retries=0, max_tokens=100) as first, model_of(provider, "messages") as second:
            runner = LangChainRunner({"reader": first.with_fallbacks([second])})
            output = await ask(runner, infra=infra)

    _, last = provider.settled().entries
    assert (output.answer, output.turns) == ("at last", 2)
    assert infra.budget.snapshot().output_tokens == 100 + last.output_tokens


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
async def test_a_cancelled_call_is_booked_at_its_worst_case(limit: str) -> None:
    infra = limited(limit)
    with ProviderServer(Answer("too late", after_s=5)) as provider:
        async with model_of(provider, max_tokens=100) as model:
            with anyio.move_on_after(0.4):
                await Vote([spec()]).run("task", runner=LangChainRunner({"reader": model}), infra=infra)

    assert provider.settled().count("cut") == 1
    assert infra.budget.snapshot().output_tokens == 100
    assert infra.budget.snapshot().input_tokens >= provider.ledger.spent().input_tokens


def test_so_is_one_that_took_too_long() -> None:
    infra = limited("1m tokens")

    async def hurried(provider: ProviderServer) -> Any:
        return await asked(provider, infra, who=spec(timeout_s=0.4), model={"max_tokens": 100})

    with ProviderServer(Answer("too late", after_s=5)) as provider:
        output = anyio.run(hurried, provider)  # a loop of its own: LangChain tells its callbacks a step later

    assert output.error == "timed out after 0.4 s (timeout_s)"
    assert infra.budget.snapshot().output_tokens == 100


def test_with_random_cancellations_no_less_is_booked_than_invoiced() -> None:
    async def make(provider: ProviderServer) -> Any:
        model = made(provider, max_tokens=300, max_retries=0)
        return LangChainRunner({"reader": create_agent(model, [search])}), lambda: close(model)

    cancelled_at_random(make, seeds=3)
