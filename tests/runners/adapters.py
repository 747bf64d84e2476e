"""What tests of the adapters have in common: agents that answer to a script, and what must hold of what is booked."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from threading import Event
from typing import Any

import anyio

from carpool import AgentOutput, AgentRunner, AgentSpec, BudgetLimits, SharedInfra, TokenAccounting, open_run

from ..providers.server import Answer, Asked, ProviderServer
from ..scenes import assert_nothing_left

STORY = "once upon a time there was a boat " * 200


def spec(name: str = "reader", system_prompt: str = "", **fields: Any) -> AgentSpec:
    return AgentSpec(name, system_prompt, **fields)


def limited(text: str, **fields: Any) -> SharedInfra:
    return SharedInfra(budget=BudgetLimits.parse(text), **fields)


async def ask(
    runner: AgentRunner, who: AgentSpec | None = None, task: str = "What is it?", infra: SharedInfra | None = None
) -> AgentOutput:
    async with open_run(runner=runner, infra=infra or SharedInfra()) as run:
        return await run.agent(who or spec(), task)


def unit(tokens: TokenAccounting) -> tuple[int, int]:
    return tokens.input_tokens, tokens.output_tokens


def spent(infra: SharedInfra) -> tuple[int, int]:
    snapshot = infra.budget.snapshot()
    return snapshot.input_tokens, snapshot.output_tokens


def tool_first(asked: Asked) -> Answer:
    """A model that uses a tool before it answers."""
    if asked.turn == 0 and "search" in asked.tools:
        return Answer("let me see", tools=[("search", {"query": "boats"})])
    return Answer("three boats")


def each_its_own(asked: Asked) -> Answer:
    """Every third agent uses a tool first; each answers with its own number, and as many words."""
    number = int(next(text for role, text in asked.messages if role == "user").split()[-1])
    if number % 3 == 0 and asked.turn == 0:
        return Answer("", tools=[("search", {"query": "boats"})])
    return Answer("word " * (number % 20) + f"{number}")


async def a_hundred_at_once(runner: AgentRunner, provider: ProviderServer) -> None:
    """One agent object, a hundred times at work: nobody gets another's answer, or another's bill."""
    infra = limited("10m tokens")
    at_work = AtWork(runner, 100)

    def once_all_are_there(asked: Asked) -> Answer:
        at_work.all_there.wait(30)
        return each_its_own(asked)

    provider.script = once_all_are_there
    async with open_run(runner=at_work, infra=infra) as run:
        outputs = await run.fan_out([(spec(f"a{n}", role="reader"), f"Say {n}") for n in range(100)], 100)

    ledger = provider.settled()
    assert [output.answer.split()[-1] for output in outputs] == [str(number) for number in range(100)], outputs
    assert [output.turns for output in outputs] == [2 if number % 3 == 0 else 1 for number in range(100)]
    for number, output in enumerate(outputs):
        assert output.tokens is not None
        assert unit(output.tokens) == unit(ledger.spent(agent=f"Say {number}")), output
    assert spent(infra) == unit(ledger.spent())
    assert at_work.all_there.is_set()


class AtWork:
    """Knows when so many agents are at work at once."""

    def __init__(self, inner: AgentRunner, all_of_them: int) -> None:
        self.all_there = Event()
        self._inner = inner
        self._all_of_them = all_of_them
        self._now = 0

    async def run(self, *asked: Any) -> AgentOutput | str:
        self._now += 1
        if self._now == self._all_of_them:
            self.all_there.set()
        try:
            return await self._inner.run(*asked)
        finally:
            self._now -= 1


def chatty(chance: random.Random) -> Callable[[Asked], Answer]:
    """A model that asks for a tool now and then, and talks at any length."""

    def script(asked: Asked) -> Answer:
        text = "word " * chance.randint(1, 120)
        uses = asked.tools and asked.turn < 2 and chance.random() < 0.5
        tools = [("search", {"query": "boats"})] if uses else []
        return Answer(text, tools=tools, after_s=chance.choice((0, 0, 0.005)))

    return script


def random_limits(chance: random.Random) -> BudgetLimits:
    return BudgetLimits(
        max_total_tokens=chance.choice((None, chance.randint(300, 9_000))),
        max_output_tokens=chance.choice((None, chance.randint(50, 3_000))),
        max_input_tokens=chance.choice((None, chance.randint(300, 9_000))),
        max_cost_usd=chance.choice((None, chance.uniform(0.001, 0.05))),
    )


async def no_limit_is_passed(
    runner: AgentRunner,
    provider: ProviderServer,
    limits: BudgetLimits,
    chance: random.Random,
    lost: str | None = None,
) -> None:
    """And every token is booked; where the library loses an answer, which says ``lost``, no less than that."""
    infra = SharedInfra(budget=limits)
    estimate = chance.choice((None, TokenAccounting(input_tokens=200, output_tokens=100, cost_usd=0.001)))
    async with open_run(runner=runner, infra=infra) as run:
        jobs = [(spec(f"a{n}", role="reader", estimate=estimate), "word " * chance.randint(1, 80)) for n in range(25)]
        outputs = await run.fan_out(jobs, chance.choice((1, 4, 25)))

    snapshot, invoice = infra.budget.snapshot(), provider.settled().spent()
    if any(lost is not None and lost in (output.error or "") for output in outputs):
        assert spent(infra)[0] >= invoice.input_tokens
        assert spent(infra)[1] == invoice.output_tokens
    else:
        assert spent(infra) == unit(invoice)
    for spent_now, limit in (
        (snapshot.total_tokens, limits.max_total_tokens),
        (snapshot.output_tokens, limits.max_output_tokens),
        (snapshot.input_tokens, limits.max_input_tokens),
        (snapshot.cost_usd, limits.max_cost_usd),
    ):
        assert limit is None or spent_now <= limit
    assert limits.is_unbounded or snapshot.overrun == TokenAccounting()
    for output in outputs:
        assert output.succeeded or any(why in (output.error or "") for why in ("reached", lost or "reached")), output


def slowly(chance: random.Random) -> Callable[[Asked], Answer]:
    def script(asked: Asked) -> Answer:
        tools = [("search", {"query": "boats"})] if asked.turn == 0 else []
        return Answer("word " * 30, tools=tools, after_s=chance.choice((0.0, 0.03, 2.0)))

    return script


async def forty_are_cancelled(runner: AgentRunner, infra: SharedInfra, chance: random.Random) -> None:
    """Each after a while of its own, and perhaps all of them together before that."""
    async with open_run(runner=runner, infra=infra) as run:
        jobs = [(spec(f"a{n}", role="reader", timeout_s=chance.uniform(0.01, 0.5)), "What is it?") for n in range(40)]
        with anyio.move_on_after(chance.choice((0.4, 0.8, None))):
            await run.fan_out(jobs, 20)


def cancelled_at_random(make: Callable[[ProviderServer], Awaitable[Any]], seeds: int) -> None:
    """With random cancellations no less is booked than invoiced; ``make`` gives a runner and what closes it."""
    cut = 0
    for seed in range(seeds):
        chance = random.Random(1_000 + seed)
        infra = limited("1m tokens")

        async def run(provider: ProviderServer, infra: SharedInfra = infra, chance: random.Random = chance) -> None:
            runner, close = await make(provider)
            try:
                await forty_are_cancelled(runner, infra, chance)
            finally:
                await close()

        with ProviderServer(slowly(chance)) as provider:
            # In a loop of its own: of what is broken off client libraries leave things to be closed later.
            anyio.run(run, provider)
            invoice, booked = provider.settled().spent(), spent(infra)

        cut += provider.ledger.count("cut")
        assert booked[0] >= invoice.input_tokens, f"seed {seed}"
        assert booked[1] >= invoice.output_tokens, f"seed {seed}"
        assert infra.budget.snapshot().total_tokens <= 1_000_000
        assert_nothing_left(infra)
    assert cut > seeds, "hardly anything was cancelled in the middle"
