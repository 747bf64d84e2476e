"""The budget of agents that are model calls: asked before each, never passed, and true to the provider's invoice."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest

pytest.importorskip("pydantic_ai", reason="needs the extra models")

from carpool import AgentSpec, BudgetLimits, MapReduce, SharedInfra, TokenAccounting, Vote, open_run
from carpool.runners.model import ModelPrice, RateLimits
from carpool.runners.model.calls import LEAST_OUTPUT
from carpool.types import OutcomeStatus

from ..providers.server import Answer, Asked, ProviderServer
from ..scenes import assert_nothing_left
from .modelling import CHAT, EVERY_PROTOCOL, agent, ask, limited, runner_for

in_every_protocol = pytest.mark.parametrize("model", EVERY_PROTOCOL)
STORY = "once upon a time there was a boat " * 200


async def search(query: str) -> str:
    """Find documents."""
    return f"three boats and {query}"


def unit(tokens: TokenAccounting) -> tuple[int, int]:
    return tokens.input_tokens, tokens.output_tokens


def spent(infra: SharedInfra) -> tuple[int, int]:
    snapshot = infra.budget.snapshot()
    return snapshot.input_tokens, snapshot.output_tokens


# Asked before each call


@in_every_protocol
@pytest.mark.parametrize("limit", ["600 tokens", "$0.01", "200 output tokens"])
async def test_the_token_limit_of_a_call_is_lowered_to_what_the_budget_has_left(limit: str, model: str) -> None:
    limits = BudgetLimits(max_output_tokens=200) if "output" in limit else BudgetLimits.parse(limit)
    infra = SharedInfra(budget=limits)
    prices = {model: ModelPrice(10, 30)}  # $0.01 are 300 tokens and a little input
    with ProviderServer(STORY) as provider:
        output = await ask(runner_for(provider, prices=prices), agent(model=model), infra=infra)

    invoice = provider.settled().spent()
    assert provider.asked[0].max_tokens is not None
    assert LEAST_OUTPUT <= provider.asked[0].max_tokens == invoice.output_tokens < 600
    assert output.answer
    assert output.outcome is not None
    assert output.outcome.status == OutcomeStatus.PARTIAL_SUCCESS
    assert spent(infra) == unit(invoice)
    snapshot = infra.budget.snapshot()
    assert snapshot.total_tokens <= (limits.max_total_tokens or snapshot.total_tokens)
    assert snapshot.cost_usd <= (limits.max_cost_usd or snapshot.cost_usd)
    assert snapshot.overrun == TokenAccounting()


@pytest.mark.parametrize("limit", ["60 tokens", "$0.0000001", "0 tokens"])
async def test_a_call_that_does_not_fit_is_not_made(limit: str) -> None:
    infra = limited(limit)
    with ProviderServer() as provider:
        async with runner_for(provider, prices={CHAT: ModelPrice(10, 30)}) as runner:
            result = await Vote([agent()]).run("What is it?", runner=runner, infra=infra)

    assert provider.asked == []
    assert spent(infra) == (0, 0)
    assert result.stop_reason == "budget_exhausted"
    error = result.votes[0].error
    assert error is not None
    assert "reached" in error


async def test_an_agent_that_is_stopped_between_calls_gives_what_it_has() -> None:
    infra = limited("900 tokens", tools=[search])

    def script(asked: Asked) -> Answer:
        return Answer(f"so far {asked.turn}", tools=[("search", {"query": "boats " * 40})], output_tokens=200)

    with ProviderServer(script) as provider:
        spec = agent(tools=["search"])
        output = await ask(runner_for(provider, max_output_tokens=200), spec, infra=infra)

    assert output.succeeded
    assert output.answer == f"so far {len(provider.asked) - 1}"
    assert output.outcome is not None
    assert output.outcome.status == OutcomeStatus.PARTIAL_SUCCESS
    assert output.outcome.evidence[0].data == {"budget": "total_tokens"}
    assert spent(infra) == unit(provider.settled().spent())
    assert infra.budget.snapshot().total_tokens <= 900


async def test_an_agent_may_use_up_what_it_holds_itself() -> None:
    estimate = TokenAccounting(input_tokens=300, output_tokens=300)
    infra = limited("600 tokens")
    with ProviderServer(STORY) as provider:
        output = await ask(runner_for(provider), agent(estimate=estimate), infra=infra)

    assert output.succeeded
    assert provider.settled().spent().output_tokens >= 300
    assert infra.budget.snapshot().total_tokens <= 600


async def test_the_budget_of_one_agent_holds_for_its_calls() -> None:
    infra = SharedInfra()
    with ProviderServer(STORY) as provider:
        spec = agent(budget=BudgetLimits(max_output_tokens=50))
        await ask(runner_for(provider), spec, infra=infra)

    assert provider.asked[0].max_tokens == 50


async def test_under_a_cost_limit_spend_of_unknown_price_stops_the_next_start() -> None:
    infra = limited("$1")
    with ProviderServer() as provider:
        async with runner_for(provider) as runner:
            result = await Vote([agent("one"), agent("two")], max_concurrent=1).run("?", runner=runner, infra=infra)

    assert len(provider.asked) == 1
    assert result.skipped == ["two"]
    assert "the price of some spend is unknown" in (result.votes[1].error or "")


# Waiting for others


async def test_calls_that_do_not_fit_together_wait_for_each_other_instead_of_being_cut_short() -> None:
    """Each may generate 1,000 tokens and generates 5: all fit one after the other, two or three at a time."""
    infra = limited("3000 tokens")
    with ProviderServer(Answer("just a few words now", after_s=0.02)) as provider:
        async with runner_for(provider, max_output_tokens=1_000) as runner, open_run(runner=runner, infra=infra) as run:
            outputs = await run.fan_out([(agent(f"a{n}"), "task") for n in range(20)], 20)

    assert [output.answer for output in outputs] == ["just a few words now"] * 20
    assert {asked.max_tokens for asked in provider.asked} == {1_000}
    assert provider.settled().most_in_flight < 4
    assert spent(infra) == unit(provider.ledger.spent())


async def test_when_nobody_is_out_any_more_the_last_ones_get_what_is_left() -> None:
    infra = limited("1000 tokens")
    with ProviderServer(Answer(STORY, after_s=0.01)) as provider:
        async with runner_for(provider, max_output_tokens=400) as runner, open_run(runner=runner, infra=infra) as run:
            outputs = await run.fan_out([(agent(f"a{n}"), "task") for n in range(10)], 10)

    assert 2 <= sum(output.succeeded for output in outputs) < 10
    assert 900 <= infra.budget.snapshot().total_tokens <= 1_000
    assert spent(infra) == unit(provider.settled().spent())


async def test_who_is_cancelled_while_waiting_for_room_keeps_nobody_out() -> None:
    infra = limited("1500 tokens")
    with ProviderServer(Answer("a few words", after_s=0.1)) as provider:
        async with runner_for(provider, max_output_tokens=1_000) as runner, open_run(runner=runner, infra=infra) as run:
            jobs = [(agent(f"a{n}", timeout_s=0.05 if n in (1, 2, 5) else None), "task") for n in range(8)]
            outputs = await run.fan_out(jobs, 8)

    assert [output.succeeded for output in outputs] == [n not in (1, 2, 5) for n in range(8)]
    assert len(provider.asked) == 5
    assert spent(infra) == unit(provider.settled().spent())


async def test_a_wait_for_the_providers_limits_holds_nothing_of_the_budget() -> None:
    infra = limited("100k tokens")
    limits = RateLimits(in_flight=1)
    with ProviderServer(Answer("ok", after_s=0.05)) as provider:
        async with (
            runner_for(provider, rate_limits=limits) as runner,
            open_run(runner=runner, infra=infra) as run,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(run.fan_out, [(agent(f"a{n}"), "task") for n in range(5)], 5)
            await anyio.sleep(0.03)
            held = infra.budget.snapshot().held.total_tokens
            assert (limits.in_flight, limits.waiting) == (1, 4)

    assert 0 < held < 2 * 4_200
    assert provider.ledger.most_in_flight == 1


# True to the invoice


async def test_dollars_are_those_of_the_invoice() -> None:
    price = ModelPrice(0.25, 2, cache_read=0.025)
    infra = limited("$5")
    with ProviderServer(lambda asked: Answer("word " * asked.number, cache_read=3)) as provider:
        async with runner_for(provider, prices={CHAT: price}) as runner, open_run(runner=runner, infra=infra) as run:
            await run.fan_out([(agent(f"a{n}"), "task " * n) for n in range(30)], 5)

    invoice = sum(round(price.cost(entry.tokens) * 1e12) for entry in provider.settled().entries)
    assert infra.budget.snapshot().cost_usd == pytest.approx(invoice / 1e12, abs=30e-9)
    assert infra.budget.snapshot().cost_usd >= invoice / 1e12 - 1e-15


def chatty(chance: random.Random) -> Any:
    """A model that asks for a tool now and then, and talks at any length."""

    def script(asked: Asked) -> Answer:
        text = "word " * chance.randint(1, 120)
        tools = [("search", {"query": "boats"})] if asked.tools and asked.turn < 2 and chance.random() < 0.5 else []
        return Answer(text, tools=tools, after_s=chance.choice((0, 0, 0.005)))

    return script


@pytest.mark.parametrize("seed", range(12))
async def test_no_limit_is_ever_passed_and_every_token_is_booked(seed: int) -> None:
    chance = random.Random(seed)
    model = EVERY_PROTOCOL[seed % 3]
    limits = BudgetLimits(
        max_total_tokens=chance.choice((None, chance.randint(300, 9_000))),
        max_output_tokens=chance.choice((None, chance.randint(50, 3_000))),
        max_input_tokens=chance.choice((None, chance.randint(300, 9_000))),
        max_cost_usd=chance.choice((None, chance.uniform(0.001, 0.05))),
    )
    infra = SharedInfra(budget=limits, tools=[search])
    options: dict[str, Any] = {
        "prices": {model: ModelPrice(1, 8, cache_write=1.25)},
        "max_output_tokens": chance.choice((50, 150, 1_000)),
        "on_text": chance.choice((None, lambda name, text: None)),
    }
    estimate = chance.choice((None, TokenAccounting(input_tokens=200, output_tokens=100, cost_usd=0.001)))
    with ProviderServer(chatty(chance)) as provider:
        async with runner_for(provider, **options) as runner, open_run(runner=runner, infra=infra) as run:
            jobs = [
                (agent(f"a{n}", tools=["search"], model=model, estimate=estimate), "word " * chance.randint(1, 80))
                for n in range(25)
            ]
            outputs = await run.fan_out(jobs, chance.choice((1, 4, 25)))

    snapshot, invoice = infra.budget.snapshot(), provider.settled().spent()
    assert spent(infra) == unit(invoice), f"seed {seed}"
    for spent_now, limit in (
        (snapshot.total_tokens, limits.max_total_tokens),
        (snapshot.output_tokens, limits.max_output_tokens),
        (snapshot.input_tokens, limits.max_input_tokens),
        (snapshot.cost_usd, limits.max_cost_usd),
    ):
        assert limit is None or spent_now <= limit, f"seed {seed}"
    assert limits.is_unbounded or snapshot.overrun == TokenAccounting(), f"seed {seed}"
    assert all(output.succeeded or "reached" in (output.error or "") for output in outputs), outputs


def test_with_random_cancellations_no_less_is_booked_than_invoiced() -> None:
    cut = 0
    for seed in range(9):
        chance = random.Random(1_000 + seed)
        infra = limited("1m tokens", tools=[search])
        with ProviderServer(slowly(chance)) as provider:
            # In a loop of its own: of a stream that is broken off client libraries leave things to be closed later.
            anyio.run(forty_cancelled, provider, infra, chance, EVERY_PROTOCOL[seed % 3])
            invoice, booked = provider.settled().spent(), spent(infra)

        cut += provider.ledger.count("cut")
        assert booked[0] >= invoice.input_tokens, f"seed {seed}"
        assert booked[1] >= invoice.output_tokens, f"seed {seed}"
        assert infra.budget.snapshot().total_tokens <= 1_000_000
        assert_nothing_left(infra)
    assert cut > 20, "hardly anything was cancelled in the middle"


def slowly(chance: random.Random) -> Any:
    def script(asked: Asked) -> Answer:
        tools = [("search", {"query": "boats"})] if asked.turn == 0 else []
        between = chance.choice((0.0, 0.005)) if asked.stream else 0.0
        return Answer("word " * 30, tools=tools, after_s=chance.uniform(0, 0.06), between_s=between)

    return script


async def forty_cancelled(provider: ProviderServer, infra: SharedInfra, chance: random.Random, model: str) -> None:
    """Each after a while of its own, and perhaps all of them together before that."""
    on_text = chance.choice((None, lambda name, text: None))
    async with (
        runner_for(provider, on_text=on_text, max_output_tokens=300) as runner,
        open_run(runner=runner, infra=infra) as run,
    ):
        await run.agent(agent("first", model=model), "Connect.")
        jobs = [
            (agent(f"a{n}", tools=["search"], model=model, timeout_s=chance.uniform(0.01, 0.25)), "What is it?")
            for n in range(40)
        ]
        with anyio.move_on_after(chance.choice((0.2, 0.4, None))):
            await run.fan_out(jobs, 20)


# Many


@pytest.mark.parametrize(("model", "agents"), [(CHAT, 1_000), (EVERY_PROTOCOL[1], 100), (EVERY_PROTOCOL[2], 100)])
async def test_agents_by_the_hundred_are_all_answered_and_booked_to_the_token(model: str, agents: int) -> None:
    infra = limited("10m tokens", tools=[search])

    def script(asked: Asked) -> Answer:
        """Every third agent uses a tool first; each answers with its own number of words."""
        number = int(asked.messages[0][1].split()[-1])
        if number % 3 == 0 and asked.turn == 0:
            return Answer("", tools=[("search", {"query": "boats"})])
        return Answer("word " * (number % 20) + f"{number}")

    with ProviderServer(script) as provider:
        async with (
            runner_for(provider, rate_limits=RateLimits(in_flight=100)) as runner,
            open_run(runner=runner, infra=infra) as run,
        ):
            jobs = [(agent(f"a{n}", tools=["search"], model=model), f"Say {n}") for n in range(agents)]
            outputs = await run.fan_out(jobs, 100)

    ledger = provider.settled()
    assert [output.answer.split()[-1] for output in outputs] == [str(number) for number in range(agents)]
    assert ledger.most_in_flight <= 100
    assert ledger.count("completed") == len(ledger.entries) == agents + -(-agents // 3)
    assert spent(infra) == unit(ledger.spent())
    assert sum(unit(output.tokens or TokenAccounting())[1] for output in outputs) == ledger.spent().output_tokens


async def test_a_map_reduce_over_a_model_stays_within_its_budget_and_still_answers() -> None:
    reading = TokenAccounting(input_tokens=150, output_tokens=100)
    joining = TokenAccounting(input_tokens=2_000, output_tokens=100)
    team = MapReduce(
        mapper=AgentSpec("mapper", "Read.", estimate=reading),
        reducer=AgentSpec("reducer", "Join.", estimate=joining),
        max_concurrent=6,
    )
    infra = limited("3000 tokens")
    with ProviderServer("a summary of some ten words or so, no more") as provider:
        async with runner_for(provider, max_output_tokens=100) as runner:
            result = await team.run("What?", runner=runner, infra=infra, items=[f"page {n}" for n in range(60)])

    assert result.reduce_outputs[-1].succeeded
    assert 10 < sum(output.succeeded for output in result.map_outputs) < 60
    assert result.stop_reason == "budget_exhausted"
    assert infra.budget.snapshot().total_tokens == provider.settled().spent().total_tokens <= 3_000
