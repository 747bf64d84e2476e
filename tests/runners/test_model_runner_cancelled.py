"""Agents that are model calls, in virtual time and without sockets: pauses, timeouts, a cancellation at every await."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

pytest.importorskip("pydantic_ai", reason="needs the extra models")

from pydantic_ai.exceptions import ModelConnectionError, ModelHTTPError, ModelRateLimitError
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from carpool import AgentSpec, BudgetLimits, SharedInfra, TokenAccounting, open_run
from carpool.runners.model import ModelRunner, RateLimits
from carpool.testing import VirtualClock, cancel_at_every_await
from carpool.testing.cancellation import Ended, How

from ..scenes import assert_nothing_left

INPUT, OUTPUT, MOST = 40, 7, 100


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def anyio_backend(clock: VirtualClock) -> tuple[str, dict[str, Callable[[], object]]]:
    return "asyncio", {"loop_factory": clock.new_event_loop}


async def look(at: str) -> str:
    """Look at something."""
    await anyio.sleep(0.1)
    return f"{at}: nothing"


class Model:
    """One that takes a second for an answer, asks for two tools first, and keeps a bill. ``fails`` are what its first
    calls end with."""

    def __init__(self, *fails: Exception) -> None:
        self.fails = list(fails)
        self.began: list[float] = []
        self.bill = 0
        self.in_flight = 0

    async def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self.began.append(anyio.current_time())
        if self.fails:
            raise self.fails.pop(0)
        self.bill += INPUT + OUTPUT  # it has begun, and is paid for whatever comes
        self.in_flight += 1
        try:
            await anyio.sleep(1)
        finally:
            self.in_flight -= 1
        usage = RequestUsage(input_tokens=INPUT, output_tokens=OUTPUT)
        first = sum(isinstance(message, ModelRequest) for message in messages) == 1
        if first and info.function_tools:
            calls = [ToolCallPart("look", {"at": place}) for place in ("here", "there")]
            return ModelResponse(parts=[TextPart("let me look"), *calls], usage=usage)
        return ModelResponse(parts=[TextPart("done")], usage=usage)

    def runner(self, **options: Any) -> ModelRunner:
        return ModelRunner("mine", models={"mine": FunctionModel(self)}, max_output_tokens=MOST, **options)


SPEC = AgentSpec("reader", "Read.", tools=["look"])


def team(clock: VirtualClock, limit: int = 1_000_000) -> SharedInfra:
    return SharedInfra(budget=BudgetLimits(max_total_tokens=limit), tools=[look], clock=clock)


# A cancellation at every await


class Cancelled:
    """Three agents of two turns, that share limits of the provider and a budget in which two calls find room."""

    limit = 700

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.model = Model(rate_limited("0.5"))
        self.limits = RateLimits(in_flight=2)
        self.infra = team(clock, self.limit)

    async def run(self) -> None:
        async with (
            self.model.runner(rate_limits=self.limits) as runner,
            open_run(runner=runner, infra=self.infra) as run,
        ):
            await run.fan_out([(AgentSpec(f"a{n}", "Read.", tools=["look"]), "task") for n in range(3)], 3)

    def check(self, ended: Ended) -> None:
        spent = self.infra.budget.snapshot().total_tokens
        assert self.model.bill <= spent <= self.limit
        if not ended.cancelled:
            assert spent == self.model.bill
        assert (self.model.in_flight, self.limits.in_flight, self.limits.waiting) == (0, 0, 0)
        assert_nothing_left(self.infra)


@pytest.mark.parametrize("how", ["task", "scope"])
def test_cancelled_anywhere_it_books_what_was_begun_and_leaves_nothing(how: How) -> None:
    assert cancel_at_every_await(Cancelled, how=how, times=2) > 30


# Pauses


def rate_limited(retry_after: str | None = None) -> Exception:
    headers = None if retry_after is None else {"retry-after-ms": str(float(retry_after) * 1000)}
    return ModelHTTPError.for_category(ModelRateLimitError, status_code=429, model_name="m", headers=headers)


async def test_pauses_between_attempts_grow_and_have_an_end(clock: VirtualClock) -> None:
    pauses: list[list[float]] = []
    for _ in range(20):
        model = Model(*[rate_limited() for _ in range(9)])
        async with model.runner(retries=9) as runner, open_run(runner=runner, infra=team(clock)) as run:
            assert (await run.agent(AgentSpec("a", "Read."), "task")).succeeded
        pauses.append([later - earlier for earlier, later in zip(model.began, model.began[1:], strict=False)])

    longest = [max(each[place] for each in pauses) for place in range(9)]
    assert all(pause <= min(0.5 * 2**place, 30.0) + 1e-6 for place, pause in enumerate(longest))
    assert longest[0] > 0.1
    assert longest[-1] > 10
    assert min(map(min, pauses)) < 1, "agents that fail together should not come back together"


async def test_it_never_comes_back_before_the_provider_has_asked_it_to(clock: VirtualClock) -> None:
    model = Model(rate_limited("7.5"))
    limits = RateLimits()
    async with (
        model.runner(rate_limits=limits) as runner,
        open_run(runner=runner, infra=team(clock)) as run,
    ):
        outputs = await run.fan_out([(AgentSpec(f"a{n}", "Read."), "task") for n in range(4)], 4)

    assert all(output.succeeded for output in outputs)
    assert [begun for begun in model.began if 0 < begun < 7.5] == []
    assert len(model.began) == 5


async def test_a_slot_is_held_around_the_model_call_only_and_not_around_the_tools(clock: VirtualClock) -> None:
    """Two agents of two turns and a tool between them, with one call at a time: the tools run during calls."""
    model = Model()
    async with (
        model.runner(rate_limits=RateLimits(in_flight=1)) as runner,
        open_run(runner=runner, infra=team(clock)) as run,
    ):
        await run.fan_out([(AgentSpec(f"a{n}", "Read.", tools=["look"]), "task") for n in range(2)], 2)

    assert clock.monotonic() == pytest.approx(4.0)
    assert model.began == pytest.approx([0.0, 1.0, 2.0, 3.0])


async def test_tokens_per_minute_count_what_was_used_once_that_is_known(clock: VirtualClock) -> None:
    """A call is thought to use some 150 tokens, and uses 47: of 200 in a minute two fit, not one."""
    model = Model()
    async with (
        model.runner(rate_limits=RateLimits(tokens_per_minute=200)) as runner,
        open_run(runner=runner, infra=team(clock)) as run,
    ):
        outputs = await run.fan_out([(AgentSpec(f"a{n}", "Read."), "task") for n in range(3)], 3)

    assert all(output.succeeded for output in outputs)
    assert model.began == pytest.approx([0.0, 1.0, 60.0])


async def test_limits_can_be_given_for_each_model(clock: VirtualClock) -> None:
    model = Model()
    runner = ModelRunner(
        models={"slow": FunctionModel(model), "fast": FunctionModel(model)},
        rate_limits={"slow": RateLimits(requests_per_minute=1)},
    )
    async with runner, open_run(runner=runner, infra=team(clock)) as run:
        specs = [AgentSpec(f"{name}{n}", "Read.", model=name) for n in range(2) for name in ("slow", "fast")]
        await run.fan_out([(spec, "task") for spec in specs], 4)

    assert sorted(model.began) == pytest.approx([0.0, 0.0, 0.0, 60.0])


# Time


async def test_a_call_has_its_time_and_an_agent_has_its_own(clock: VirtualClock) -> None:
    model = Model()
    infra = team(clock)
    async with (
        model.runner(call_timeout_s=0.5, retries=1) as runner,
        open_run(runner=runner, infra=infra) as run,
    ):
        hasty = await run.agent(AgentSpec("hasty", "Read."), "task")

    assert hasty.error is not None
    assert "no answer within 0.5 s (call_timeout_s)" in hasty.error
    assert len(model.began) == 2
    assert infra.budget.snapshot().output_tokens == 2 * MOST


async def test_a_connection_that_was_never_made_is_not_booked(clock: VirtualClock) -> None:
    model = Model(
        ModelConnectionError("m", "refused", phase="connect"), ModelConnectionError("m", "lost", phase="read")
    )
    infra = team(clock)
    async with model.runner() as runner, open_run(runner=runner, infra=infra) as run:
        output = await run.agent(AgentSpec("a", "Read."), "task")

    assert output.succeeded
    assert infra.budget.snapshot().output_tokens == MOST + OUTPUT


async def test_an_error_in_a_stream_that_had_begun_is_booked_even_if_it_is_a_refusal(clock: VirtualClock) -> None:
    late = ModelHTTPError.for_category(ModelRateLimitError, status_code=429, model_name="m", in_stream=True)
    infra = team(clock)
    async with Model(late).runner() as runner, open_run(runner=runner, infra=infra) as run:
        output = await run.agent(AgentSpec("a", "Read."), "task")

    assert output.succeeded
    assert infra.budget.snapshot().output_tokens == MOST + OUTPUT


async def test_time_that_is_up_stops_an_agent_between_its_calls(clock: VirtualClock) -> None:
    model = Model()
    infra = SharedInfra(budget=BudgetLimits(max_seconds=1.05), tools=[look], clock=clock)
    async with model.runner() as runner, open_run(runner=runner, infra=infra) as run:
        output = await run.agent(SPEC, "task")

    assert (output.answer, len(model.began)) == ("let me look", 1)
    assert output.tokens == TokenAccounting(input_tokens=INPUT, output_tokens=OUTPUT, priced=False)
