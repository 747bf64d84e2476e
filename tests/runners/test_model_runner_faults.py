"""Providers that refuse, break, hang and lie: what is tried again, what is said, and what is booked."""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

pytest.importorskip("pydantic_ai", reason="needs the extra models")

from carpool import AgentOutput, SharedInfra, TokenAccounting, Vote, open_run
from carpool.errors import CarpoolError, ConfigError
from carpool.runners.model import ModelError, ModelRunner, RateLimits

from ..providers.server import Answer, Cut, Hang, Malformed, ProviderServer, Refuse
from .modelling import CHAT, EVERY_PROTOCOL, MESSAGES, agent, ask, limited, runner_for

MOST = 300  # output tokens of a call
in_every_protocol = pytest.mark.parametrize("model", EVERY_PROTOCOL)
streaming_or_not = pytest.mark.parametrize("on_text", [None, lambda name, text: None], ids=["whole", "stream"])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts are for real providers."""
    from carpool.runners.model import calls

    monkeypatch.setattr(calls, "_FIRST_PAUSE_S", 0.001)


async def asked(
    provider: ProviderServer, model: str = CHAT, infra: SharedInfra | None = None, **options: Any
) -> AgentOutput:
    runner = runner_for(provider, **{"max_output_tokens": MOST, **options})
    return await ask(runner, agent(model=model), infra=infra)


def booked(infra: SharedInfra) -> int:
    return infra.budget.snapshot().total_tokens


# Later it may work


@in_every_protocol
@streaming_or_not
@pytest.mark.parametrize("status", [429, 503, 529])
async def test_what_is_refused_for_now_is_tried_again_and_costs_nothing(status: int, model: str, on_text: Any) -> None:
    infra = SharedInfra()
    with ProviderServer([Refuse(status), Refuse(status), "at last"]) as provider:
        output = await asked(provider, model, infra, on_text=on_text)

    assert (output.answer, output.turns) == ("at last", 1)
    assert [entry.status for entry in provider.settled().entries] == ["refused", "refused", "completed"]
    assert booked(infra) == provider.ledger.spent().total_tokens


@in_every_protocol
@streaming_or_not
@pytest.mark.parametrize("status", [500, 504, 408])
async def test_a_server_that_breaks_is_tried_again_and_booked_in_full(status: int, model: str, on_text: Any) -> None:
    infra = SharedInfra()
    with ProviderServer([Refuse(status, code=None, billed=True), "at last"]) as provider:
        output = await asked(provider, model, infra, on_text=on_text)

    invoice = provider.settled().spent()
    assert output.answer == "at last"
    assert booked(infra) >= invoice.total_tokens
    assert infra.budget.snapshot().output_tokens == MOST + 2


@in_every_protocol
@streaming_or_not
async def test_a_connection_that_breaks_off_is_tried_again_and_booked_in_full(model: str, on_text: Any) -> None:
    infra = SharedInfra()
    with ProviderServer([Answer("never heard of again", fault=Cut(2)), "at last"]) as provider:
        output = await asked(provider, model, infra, on_text=on_text)

    assert output.answer == "at last"
    assert booked(infra) >= provider.settled().spent().total_tokens
    assert infra.budget.snapshot().output_tokens == MOST + 2


@in_every_protocol
@streaming_or_not
@pytest.mark.parametrize("after", [0, 2])
async def test_a_server_that_hangs_is_given_up_and_booked_in_full(after: int, model: str, on_text: Any) -> None:
    infra = SharedInfra()
    with ProviderServer([Answer("I was about to say", fault=Hang(after)), "at last"]) as provider:
        output = await asked(provider, model, infra, on_text=on_text, call_timeout_s=0.2)

    assert output.answer == "at last"
    assert booked(infra) >= provider.settled().spent().total_tokens
    assert infra.budget.snapshot().output_tokens == MOST + 2


async def test_a_server_that_is_not_there_costs_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    infra = SharedInfra()
    output = await ask(ModelRunner("home:m", base_url=f"http://127.0.0.1:{port}/v1", retries=2), infra=infra)

    assert output.error is not None
    assert output.error.startswith("ModelError: home:m: the connection failed")
    assert booked(infra) == 0


async def test_after_so_many_attempts_it_gives_up_and_says_why() -> None:
    infra = SharedInfra()
    with ProviderServer(Refuse(429, message="slow down")) as provider:
        output = await asked(provider, infra=infra, retries=2)

    assert output.error == f"ModelError: {CHAT}: rate limit reached (429): slow down"
    assert (len(provider.asked), booked(infra)) == (3, 0)


async def test_without_retries_there_is_one_attempt() -> None:
    with ProviderServer(Refuse(503)) as provider:
        output = await asked(provider, retries=0)

    assert len(provider.asked) == 1
    assert output.error is not None


async def test_a_retry_of_the_agent_is_a_start_of_its_own() -> None:
    infra = SharedInfra()
    with ProviderServer([Refuse(503), Refuse(503), "at last"]) as provider:
        spec = agent(retries=1)
        output = await ask(runner_for(provider, retries=0), agent(retries=2), infra=infra)

    assert (output.answer, len(provider.asked), spec.retries) == ("at last", 3, 1)
    assert infra.budget.snapshot().agents_started == 3


# Asked to wait


async def test_it_waits_as_long_as_the_provider_asks_for() -> None:
    with ProviderServer([Refuse(429, retry_after="1"), "at last"]) as provider:
        output = await asked(provider)

    first, second = provider.settled().entries
    assert output.answer == "at last"
    assert second.at - first.at >= 1.0


async def test_everybody_waits_whom_the_provider_would_refuse_too() -> None:
    limits = RateLimits()
    with ProviderServer(lambda one: Refuse(429, retry_after="1") if one.number == 1 else "ok") as provider:
        async with runner_for(provider, rate_limits=limits) as runner, open_run(runner=runner) as run:
            first, rest = await gathered(
                run.agent(agent("first"), "task"),
                sleep_then(0.2, lambda: run.fan_out([(agent(f"n{n}"), "task") for n in range(5)], 5)),
            )

    ledger = provider.settled()
    assert first.succeeded
    assert all(output.succeeded for output in rest)
    assert min(entry.at for entry in ledger.entries[1:]) - ledger.entries[0].at >= 1.0


async def test_a_wait_that_is_too_long_is_a_failure_at_once() -> None:
    with ProviderServer(Refuse(429, retry_after="3600")) as provider:
        with anyio.fail_after(5):
            output = await asked(provider, longest_retry_wait_s=30)

    assert output.error is not None
    assert len(provider.asked) == 1


# It will never work


@in_every_protocol
@streaming_or_not
@pytest.mark.parametrize(
    ("refuse", "kind", "words"),
    [
        (Refuse(400, code=None, message="bad thing"), "permanent", "the request was rejected (400): bad thing"),
        (Refuse(401, code=None), "permanent", "the key is missing, wrong, or may not use this model (401)"),
        (Refuse(403, code=None), "permanent", "the key is missing, wrong, or may not use this model (403)"),
        (Refuse(404, code=None), "permanent", "no such model or address (404)"),
        (Refuse(413, code=None), "permanent", "the request was rejected (413)"),
        (Refuse(402, code="insufficient_quota"), "quota", "no quota left (402)"),
    ],
)
async def test_what_will_never_work_is_asked_once_costs_nothing_and_is_said_plainly(
    refuse: Refuse, kind: str, words: str, model: str, on_text: Any
) -> None:
    infra = SharedInfra()
    with ProviderServer(refuse) as provider:
        output = await asked(provider, model, infra, on_text=on_text)

    assert output.error is not None
    assert output.error.startswith(f"ModelError: {model}: {words}")
    assert output.error.endswith("needs credit or a higher limit" if kind == "quota" else "asking again does not help")
    assert (len(provider.asked), booked(infra)) == (1, 0)


async def test_a_429_without_credit_is_a_matter_of_paying_not_of_waiting() -> None:
    with ProviderServer(Refuse(429, code="insufficient_quota", message="You exceeded your quota")) as provider:
        output = await asked(provider)

    assert output.error is not None
    assert "no quota left (429): You exceeded your quota" in output.error
    assert len(provider.asked) == 1


@in_every_protocol
@streaming_or_not
def test_an_answer_that_can_not_be_read_is_booked_in_full_and_not_asked_for_again(model: str, on_text: Any) -> None:
    infra = SharedInfra()
    with ProviderServer([Answer("this is broken JSON", fault=Malformed()), "at last"]) as provider:
        output = in_a_loop_of_its_own(lambda: asked(provider, model, infra, on_text=on_text))

    assert output.error is not None
    assert "the answer can't be read" in output.error
    assert infra.budget.snapshot().output_tokens == MOST
    assert booked(infra) >= provider.settled().spent().total_tokens


# Usage that is not to be believed


@in_every_protocol
@streaming_or_not
@pytest.mark.parametrize("usage", ["missing", "zero"])
def test_a_call_without_usage_is_booked_at_what_was_reserved(usage: Any, model: str, on_text: Any) -> None:
    infra = SharedInfra()
    with ProviderServer(Answer("two words", usage=usage)) as provider:
        output = in_a_loop_of_its_own(lambda: asked(provider, model, infra, on_text=on_text))

    # Anthropic's own client can't read an answer without usage; nobody asks for it again.
    assert output.answer == "two words" or (model == MESSAGES and usage == "missing" and output.error)
    assert infra.budget.snapshot().output_tokens == MOST
    assert infra.budget.snapshot().input_tokens >= provider.settled().spent().input_tokens


@in_every_protocol
async def test_wrong_usage_is_believed_as_long_as_it_can_be_true(model: str) -> None:
    infra = SharedInfra()
    with ProviderServer(Answer("two words", usage={"input": 5, "output": 70_000})) as provider:
        output = await asked(provider, model, infra)

    assert output.succeeded
    assert (infra.budget.snapshot().input_tokens, infra.budget.snapshot().output_tokens) == (5, 70_000)


@in_every_protocol
@streaming_or_not
async def test_usage_below_zero_takes_nothing_off_the_bill(model: str, on_text: Any) -> None:
    infra = SharedInfra()
    with ProviderServer(Answer("two words", usage={"input": -50, "output": -2})) as provider:
        await asked(provider, model, infra, on_text=on_text)

    assert booked(infra) >= provider.settled().spent().total_tokens


# Cancelled


@in_every_protocol
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_cancelled_call_is_booked_in_full(has_begun: bool, streams: bool, model: str) -> None:
    infra = SharedInfra()
    slow = {"after_s": 0.0, "between_s": 5.0} if has_begun and streams else {"after_s": 5.0}
    on_text = (lambda name, text: None) if streams else None
    with ProviderServer(Answer("a long answer that takes its time", **slow)) as provider:
        async with (
            runner_for(provider, max_output_tokens=MOST, on_text=on_text) as runner,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(lambda: Vote([agent(model=model)]).run("task", runner=runner, infra=infra))
            await asked_by_somebody(provider)
            tasks.cancel_scope.cancel()

        assert provider.settled().count("cut") == 1
        assert infra.budget.snapshot().output_tokens == MOST
        assert booked(infra) >= provider.ledger.spent().total_tokens > 0


async def asked_by_somebody(provider: ProviderServer) -> None:
    while not provider.asked:  # noqa: ASYNC110 - it is another thread that asks and is asked
        await anyio.sleep(0.005)
    await anyio.sleep(0.05)


async def test_a_timeout_of_the_agent_is_booked_in_full() -> None:
    infra = SharedInfra()
    with ProviderServer(["ok", Hang()]) as provider:
        async with runner_for(provider, max_output_tokens=MOST) as runner:
            await Vote([agent()]).run("Connect.", runner=runner)
            result = await Vote([agent(timeout_s=0.3)]).run("task", runner=runner, infra=infra)

    assert result.votes[0].error == "timed out after 0.3 s (timeout_s)"
    assert infra.budget.snapshot().output_tokens == MOST
    assert booked(infra) >= provider.settled().spent("cut").total_tokens > 0


async def test_an_agent_that_is_cancelled_before_it_asks_anything_costs_nothing() -> None:
    limits = RateLimits(requests_per_minute=1)
    infra = SharedInfra()
    estimate = TokenAccounting(input_tokens=10_000)
    with ProviderServer() as provider:
        async with runner_for(provider, rate_limits=limits) as runner:
            team = Vote([agent("first"), agent("second", estimate=estimate, timeout_s=0.5)], max_concurrent=1)
            result = await team.run("task", runner=runner, infra=infra)

    assert len(provider.asked) == 1
    assert [output.error is None for output in result.votes] == [True, False]
    assert booked(infra) == provider.settled().spent().total_tokens


# The error itself


def test_an_error_tells_its_kind_to_programs_and_survives_a_pickle() -> None:
    import pickle

    error = ModelError("quota", "openai:m", "no quota left (402): pay", status=402, retry_after_s=3.0, refused=True)
    copied = pickle.loads(pickle.dumps(error))

    assert isinstance(error, CarpoolError)
    for each in (error, copied):
        assert (each.kind, each.model, each.status, each.retry_after_s) == ("quota", "openai:m", 402, 3.0)
        assert str(each).startswith("openai:m: no quota left (402): pay; waiting does not help")


async def test_a_key_in_an_errors_text_is_not_passed_on() -> None:
    key = "sk-" + "a" * 40
    with ProviderServer(Refuse(401, code=None, message=f"Incorrect API key provided: {key}")) as provider:
        output = await asked(provider, api_key={"openai": key})

    assert output.error is not None
    assert key not in output.error


def in_a_loop_of_its_own(function: Callable[[], Awaitable[AgentOutput]]) -> AgentOutput:
    """A client library that can't read a stream drops it half read; asyncio closes that in a task, a step later."""

    async def run() -> AgentOutput:
        return await function()

    return anyio.run(run)


async def gathered(*awaitables: Any) -> list[Any]:
    results: list[Any] = [None] * len(awaitables)

    async def one(place: int, awaitable: Any) -> None:
        results[place] = await awaitable

    async with anyio.create_task_group() as tasks:
        for place, awaitable in enumerate(awaitables):
            tasks.start_soon(one, place, awaitable)
    return results


async def sleep_then(seconds: float, function: Any) -> Any:
    await anyio.sleep(seconds)
    return await function()


# What can't be sent


@pytest.mark.parametrize(
    ("url", "instead"),
    [
        ("127.0.0.1:8931/v1", "http://127.0.0.1:8931/v1"),
        ("localhost:8000/v1", "http://localhost:8000/v1"),
        ("htp://here/v1", "http://"),
        ("http://", "http://"),
        ("http:///v1", "http://"),
        ("http://here:port/v1", "http://"),
        ("http://[::1/v1", "http://"),
        ("http://he re/v1", "http://"),
        ("", "http://"),
    ],
)
def test_a_base_url_that_is_none_is_refused_before_anybody_asks(url: str, instead: str) -> None:
    for given in (url, {"home": url}):
        with pytest.raises(ConfigError, match=f"'home' is {re.escape(repr(url))}.* as in '{instead}"):
            ModelRunner("home:m", base_url=given)


def test_a_base_url_is_any_of_http() -> None:
    for url in ("http://here", "https://here:8443/v1/", "HTTP://127.0.0.1:1", "http://[::1]:8000/v1"):
        ModelRunner("home:m", base_url=url)


@in_every_protocol
@streaming_or_not
async def test_what_can_not_be_sent_is_said_at_once_and_costs_nothing(model: str, on_text: Any) -> None:
    with ProviderServer() as provider:
        infra = limited("20k tokens")
        key = {model.partition(":")[0]: "two\nlines"}
        output = await asked(provider, model, infra, on_text=on_text, api_key=key)

    assert output.error is not None
    assert "the request can't be sent: LocalProtocolError" in output.error
    assert (provider.asked, booked(infra)) == ([], 0)


# Attempts, and what they end with


async def test_a_wait_that_is_too_long_is_told_with_both_times() -> None:
    with ProviderServer(Refuse(429, retry_after="300", message="slow down")) as provider:
        output = await asked(provider)

    assert output.error == (
        f"ModelError: {CHAT}: rate limit reached (429): slow down; "
        "asks to wait 300 s, longer than longest_retry_wait_s=60"
    )


async def test_when_the_budget_refuses_another_attempt_the_failure_before_it_is_named() -> None:
    infra = limited("300 tokens")
    with ProviderServer(Refuse(500, message="engine on fire", billed=True)) as provider:
        output = await asked(provider, infra=infra)

    assert output.error is not None
    assert output.error.startswith("BudgetExhausted: ")
    assert "engine on fire" in output.error
    assert booked(infra) <= 300
