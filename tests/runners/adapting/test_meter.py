"""The model calls of agents that other libraries run: what is held, what is booked, whatever becomes of them."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest

from carpool import AgentOutput, AgentSpec, BudgetLimits, SharedInfra, TokenAccounting, open_run
from carpool.errors import BudgetExhausted, CarpoolError, ModelError
from carpool.runners.adapting.meter import Call, Meter
from carpool.runners.adapting.outcome import adapted
from carpool.runners.adapting.request import Request
from carpool.runners.adapting.terms import Terms
from carpool.runners.model import ModelPrice
from carpool.testing import VirtualClock, cancel_at_every_await

from ...scenes import assert_nothing_left


def terms(**options: Any) -> Terms:
    prices = {"home:*": ModelPrice(1, 8)}
    return Terms(prices, **{"max_output_tokens": 100, "input_margin": 4 / 3, "retries": 2, **options})


class Provider:
    """Bills a request when it comes in: 10 tokens to read, ``written`` to write. Takes ``seconds`` to answer."""

    def __init__(self, written: int = 30, seconds: float = 1.0, failures: list[ModelError] | None = None) -> None:
        self.invoice = TokenAccounting()
        self.out = self.most_out = 0
        self._written = written
        self._seconds = seconds
        self._failures = failures or []

    async def answer(self, allowed: int) -> TokenAccounting:
        if self._failures:
            raise self._failures.pop(0)
        used = TokenAccounting(input_tokens=10, output_tokens=min(self._written, allowed))
        self.invoice += used
        self.out += 1
        self.most_out = max(self.most_out, self.out)
        try:
            await anyio.sleep(self._seconds)
        finally:
            self.out -= 1
        return used


def meant(error: Exception, model: str) -> ModelError:
    return error if isinstance(error, ModelError) else ModelError("permanent", model, str(error))


class Asking:
    """A runner whose agents ask ``calls`` times, ``at_once`` at a time."""

    def __init__(self, provider: Provider, calls: int = 1, at_once: int = 1, **options: Any) -> None:
        self.terms = terms(**options)
        self.provider = provider
        self._calls = calls
        self._at_once = at_once

    async def run(self, spec: AgentSpec, task: str, runtime: Any, mailbox: Any) -> AgentOutput:
        meter = Meter(self.terms, spec, runtime)

        async def one() -> None:
            request = self.request(meter, task)
            await meter.ask(
                request, self.provider.answer, lambda used: request.reported(*_unit(used), 0, 0, said=True), meant
            )

        async def work() -> str:
            for _ in range(self._calls):
                if self._at_once == 1:
                    await one()
                    continue
                async with anyio.create_task_group() as group:
                    for _ in range(self._at_once):
                        group.start_soon(one)
            meter.text = "said"
            return "done"

        return await adapted(spec, meter, work)

    def request(self, meter: Meter, task: str) -> Request:
        request = meter.request("home:m", None, None)
        request.add(task)
        return request


def _unit(tokens: TokenAccounting) -> tuple[int, int]:
    return tokens.input_tokens, tokens.output_tokens


def spent(infra: SharedInfra) -> tuple[int, int]:
    snapshot = infra.budget.snapshot()
    return snapshot.input_tokens, snapshot.output_tokens


async def ask(runner: Any, infra: SharedInfra | None = None, agents: int = 1, **fields: Any) -> list[AgentOutput]:
    async with open_run(runner=runner, infra=infra or SharedInfra()) as run:
        return await run.fan_out([(AgentSpec(f"a{n}", "", **fields), "What is it?") for n in range(agents)], agents)


# What is held and booked


async def test_what_is_reported_is_booked_and_priced() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_cost_usd=1))
    (output,) = await ask(Asking(Provider(seconds=0), calls=3), infra)

    assert output.tokens == TokenAccounting(input_tokens=30, output_tokens=90, cost_usd=(30 * 1 + 90 * 8) / 1e6)
    assert infra.budget.snapshot().cost_usd == pytest.approx(750e-6)


async def test_calls_that_are_out_at_once_are_held_together_and_booked_to_the_token() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=100_000))
    provider = Provider(seconds=0.02)
    held: list[int] = []

    async def watch() -> None:
        while True:
            held.append(infra.budget.snapshot().held.output_tokens)
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        (output,) = await ask(Asking(provider, calls=2, at_once=5), infra)
        group.cancel_scope.cancel()

    assert provider.most_out == 5
    assert max(held) == 500
    assert output.turns == 10
    assert spent(infra) == _unit(provider.invoice) == (100, 300)
    assert infra.budget.snapshot().overrun == TokenAccounting()


async def test_where_there_is_no_room_beside_another_it_is_refused_and_the_others_go_on() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_output_tokens=120))
    provider = Provider(written=5, seconds=0.02)
    (output,) = await ask(Asking(provider, at_once=3, max_output_tokens=100), infra)

    assert output.error is not None  # 100 + 16 are held, and 4 are no room for a call
    assert spent(infra)[1] >= provider.invoice.output_tokens
    assert infra.budget.snapshot().output_tokens <= 120


async def test_without_a_lease_calls_are_counted_all_the_same() -> None:
    runner = Asking(Provider(seconds=0), calls=2)
    output = await runner.run(AgentSpec("a", ""), "?", SharedInfra().make_runtime(), None)

    assert output.tokens is not None
    assert _unit(output.tokens) == (20, 60)


async def test_what_is_not_reported_is_the_worst_case() -> None:
    infra = SharedInfra()

    class Silent(Asking):
        async def run(self, spec: AgentSpec, task: str, runtime: Any, mailbox: Any) -> AgentOutput:
            meter = Meter(self.terms, spec, runtime)

            async def work() -> str:
                return str(await meter.ask(self.request(meter, task), self.provider.answer, lambda _: None, meant))

            return await adapted(spec, meter, work)

    provider = Provider(seconds=0)
    await ask(Silent(provider), infra)

    assert spent(infra)[1] == 100
    assert spent(infra)[0] >= provider.invoice.input_tokens


@pytest.mark.parametrize(("given", "made"), [(0, 5), (-1, 5), (5, -1), (5, 0)])
def test_usage_that_can_not_be_true_says_nothing(given: int, made: int) -> None:
    request = terms().request("home:m", None, None, SharedInfra().clock.now(), clamps=True)

    assert request.reported(given, made, 0, 0, said=True) is None


# Trying again


def failure(kind: Any = "transient", *, refused: bool = True, retry_after_s: float | None = None) -> ModelError:
    return ModelError(kind, "home:m", "no", refused=refused, retry_after_s=retry_after_s)


@pytest.mark.parametrize("refused", [True, False])
async def test_an_attempt_that_failed_is_booked_as_it_may_have_cost(refused: bool) -> None:
    infra = SharedInfra()
    provider = Provider(seconds=0, failures=[failure(refused=refused)])
    (output,) = await ask(Asking(provider), infra)

    assert (output.answer, output.turns) == ("done", 1)
    assert spent(infra)[1] == 30 + (0 if refused else 100)


@pytest.mark.parametrize(
    ("failures", "asked"),
    [
        ([failure("permanent")], 1),
        ([failure("quota")], 1),
        ([failure(retry_after_s=99)], 1),
        ([failure(), failure(), failure(), failure()], 3),
    ],
)
async def test_it_is_tried_again_only_if_that_may_help_and_not_for_ever(failures: list[Any], asked: int) -> None:
    provider = Provider(seconds=0, failures=list(failures))
    (output,) = await ask(Asking(provider, longest_retry_wait_s=60))

    assert (output.error or "").startswith("ModelError: home:m: no")
    assert len(failures) - len(provider._failures) == asked


async def test_a_further_attempt_that_does_not_fit_is_not_made() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_output_tokens=110))
    provider = Provider(seconds=0, failures=[failure(refused=False)])
    (output,) = await ask(Asking(provider), infra)

    assert (output.error or "").startswith("BudgetExhausted")
    assert provider.invoice == TokenAccounting()


# A conversation


def test_of_a_conversation_that_goes_on_only_what_is_new_is_estimated() -> None:
    now = SharedInfra().clock.now()
    first = terms().request("home:m", None, None, now, clamps=True)
    second = terms().request("home:m", None, None, now, clamps=True)
    other = terms().request("home:m", None, None, now, clamps=True)
    for request in (first, second, other):
        request.add_frame("Be kind.")
        request.add_tools(["search: find documents"])
    for request in (first, second):
        request.add("a long question " * 100)
    other.add("another question " * 100)
    second.add("more")
    alone = second.expected()
    first.reported(150, 5, 0, 0, said=True)
    second._size, second.earlier = None, first

    assert second.goes_on_from(first)
    assert not first.goes_on_from(second)
    assert not other.goes_on_from(first)
    assert alone > 600
    assert 200 <= second.expected() < 300  # never less than a token for 8 bytes, whatever was said before


def test_pictures_and_files_weigh_something_and_their_bytes_nothing() -> None:
    request = terms().request("home:m", None, None, SharedInfra().clock.now(), clamps=True)
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    request.add([{"type": "text", "text": "What is this?"}, picture, {"type": "input_file", "file_id": "f"}])

    assert 3_200 < request.expected() < 3_300


# The end


async def test_once_an_agent_has_ended_nothing_more_is_let_out() -> None:
    left: list[Meter] = []

    class Leaving(Asking):
        async def run(self, spec: AgentSpec, task: str, runtime: Any, mailbox: Any) -> AgentOutput:
            left.append(Meter(self.terms, spec, runtime))
            call = await left[0].begin(self.request(left[0], task))
            assert isinstance(call, Call)
            calls.append(call)

            async def work() -> str:
                return "done"

            return await adapted(spec, left[0], work)

    calls: list[Call] = []
    runner, infra = Leaving(Provider()), SharedInfra()
    await ask(runner, infra)
    assert spent(infra)[1] == 100

    with pytest.raises(CarpoolError, match="has ended; what it left behind calls no more models"):
        left[0].begin_now(runner.request(left[0], "?"))
    calls[0].end(TokenAccounting(input_tokens=5, output_tokens=130))
    calls[0].end(TokenAccounting(input_tokens=5, output_tokens=500))
    assert spent(infra)[1] == 130


async def test_who_can_not_wait_is_refused_while_others_hold_what_is_left() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_output_tokens=150))
    refused: list[BudgetExhausted] = []

    class Hasty(Asking):
        async def run(self, spec: AgentSpec, task: str, runtime: Any, mailbox: Any) -> AgentOutput:
            if spec.name == "a0":
                return await super().run(spec, task, runtime, mailbox)
            await anyio.sleep(0.02)
            meter = Meter(self.terms, spec, runtime)
            request = meter.request("home:m", None, None, clamps=False)
            with pytest.raises(BudgetExhausted) as caught:
                meter.begin_now(request)
            refused.append(caught.value)
            meter.close()
            return AgentOutput(name=spec.name, answer="refused", tokens=meter.spent)

    await ask(Hasty(Provider(seconds=0.1)), infra, agents=2)

    assert "100 held by agents in flight" in str(refused[0])
    assert spent(infra)[1] == 30


@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize("at_once", [1, 2])
def test_cancelled_at_any_await_no_less_is_booked_than_invoiced_and_nothing_is_left(how: Any, at_once: int) -> None:
    class Team:
        """Four agents for whose calls there is not room at once."""

        def __init__(self, clock: VirtualClock) -> None:
            self.infra = SharedInfra(budget=BudgetLimits(max_output_tokens=5_000, max_total_tokens=9_000), clock=clock)
            self.provider = Provider(failures=[failure(refused=False, retry_after_s=1)])
            self.runner = Asking(self.provider, 2, at_once, max_output_tokens=2_000, longest_retry_wait_s=5, retries=3)

        async def run(self) -> object:
            return await ask(self.runner, self.infra, agents=4)

        def check(self, ended: Any) -> None:
            assert spent(self.infra)[0] >= self.provider.invoice.input_tokens
            assert spent(self.infra)[1] >= self.provider.invoice.output_tokens
            assert self.infra.budget.snapshot().output_tokens <= 5_000
            assert_nothing_left(self.infra)
            (in_flight,) = self.runner.terms._in_flight.values()
            assert (in_flight.count, in_flight.waiting) == (0, 0)

    assert cancel_at_every_await(Team, how=how) > 20


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_limits_no_limit_is_passed_and_every_token_is_booked(seed: int) -> None:
    chance = random.Random(seed)
    clock = VirtualClock()
    limits = BudgetLimits(
        max_total_tokens=chance.choice((None, chance.randint(100, 3_000))),
        max_output_tokens=chance.choice((None, chance.randint(20, 2_000))),
        max_cost_usd=chance.choice((None, chance.uniform(0.0001, 0.02))),
    )
    infra = SharedInfra(budget=limits, clock=clock)
    provider = Provider(chance.randint(1, 300), seconds=chance.choice((0, 1)))
    runner = Asking(provider, chance.randint(1, 4), chance.choice((1, 3)), max_output_tokens=chance.choice((20, 200)))

    anyio.run(lambda: ask(runner, infra, chance.randint(1, 12)), backend_options={"loop_factory": clock.new_event_loop})

    snapshot = infra.budget.snapshot()
    assert spent(infra)[0] >= provider.invoice.input_tokens
    assert spent(infra)[1] >= provider.invoice.output_tokens
    assert limits.max_total_tokens is None or snapshot.total_tokens <= limits.max_total_tokens
    assert limits.max_output_tokens is None or snapshot.output_tokens <= limits.max_output_tokens
    assert limits.max_cost_usd is None or snapshot.cost_usd <= limits.max_cost_usd
    assert limits.is_unbounded or snapshot.overrun == TokenAccounting()
    assert_nothing_left(infra)
