"""Agents that are model calls: what is asked, what is answered, and how the one becomes the other."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

pytest.importorskip("pydantic_ai", reason="needs the extra models")

from pydantic import BaseModel

from carpool import AgentSpec, MapReduce, SharedInfra, TokenAccounting, Vote
from carpool.runners.model import ModelPrice, ModelRunner
from carpool.types import OutcomeStatus

from ..providers.server import Answer, Asked, ProviderServer
from .modelling import CHAT, EVERY_PROTOCOL, MESSAGES, RESPONSES, agent, ask, runner_for

in_every_protocol = pytest.mark.parametrize("model", EVERY_PROTOCOL)


# One turn


@in_every_protocol
async def test_an_agent_is_its_system_prompt_and_its_task(model: str) -> None:
    with ProviderServer("Four boats.") as provider:
        output = await ask(runner_for(provider), agent(system_prompt="Count.", model=model), "How many boats?")

    asked = provider.asked[0]
    assert (output.answer, output.turns, output.tool_calls, output.error) == ("Four boats.", 1, 0, None)
    assert (asked.system, asked.messages, asked.tools) == ("Count.", [("user", "How many boats?")], [])
    assert asked.model == model.partition(":")[2]


@in_every_protocol
async def test_what_it_cost_is_what_the_provider_invoices(model: str) -> None:
    infra = SharedInfra()
    with ProviderServer("Four boats.") as provider:
        output = await ask(runner_for(provider), agent(model=model), infra=infra)

    assert output.tokens is not None
    assert (output.tokens.input_tokens, output.tokens.output_tokens) == (
        provider.settled().spent().input_tokens,
        provider.settled().spent().output_tokens,
    )
    assert infra.budget.snapshot().total_tokens == provider.settled().spent().total_tokens


async def test_an_agent_without_a_model_has_the_runners() -> None:
    with ProviderServer() as provider:
        await ask(runner_for(provider, "openai:its-own"))
        await ask(runner_for(provider, "openai:its-own"), agent(model="openai:the-agents"))

    assert [asked.model for asked in provider.asked] == ["its-own", "the-agents"]


async def test_any_compatible_server_has_the_name_that_its_url_is_given_under() -> None:
    with ProviderServer("from home") as provider:
        runner = ModelRunner("home:llama", base_url=provider.openai_url, api_key="k3y")
        output = await ask(runner)

    asked = provider.asked[0]
    assert (output.answer, asked.model, asked.protocol) == ("from home", "llama", "chat")
    assert asked.headers["authorization"] == "Bearer k3y"
    assert asked.body["max_tokens"] == 4096
    assert "max_completion_tokens" not in asked.body


async def test_a_key_goes_to_its_own_provider_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "openai-key")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "anthropic-key")
    with ProviderServer() as provider:
        urls = {"openai": provider.openai_url, "anthropic": provider.url, "home": provider.openai_url}
        for model in ("openai:a", "anthropic:b", "home:c"):
            await ask(ModelRunner(model, base_url=urls))

    sent = [str(dict(asked.headers)) for asked in provider.asked]
    assert ["openai-key" in each for each in sent] == [True, False, False]
    assert ["anthropic-key" in each for each in sent] == [False, True, False]


async def test_models_of_pydantic_ai_can_be_passed_ready_made() -> None:
    from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
    from pydantic_ai.models.function import AgentInfo, FunctionModel

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse(parts=[TextPart(f"at most {(info.model_settings or {}).get('max_tokens')}")])

    output = await ask(ModelRunner("mine", models={"mine": FunctionModel(answer)}, max_output_tokens=99))

    assert output.answer == "at most 99"


async def test_half_a_character_in_a_task_reaches_the_model_as_a_question_mark() -> None:
    with ProviderServer() as provider:
        output = await ask(runner_for(provider), agent(system_prompt="a\ud800"), "b\udfff")

    assert output.succeeded
    assert (provider.asked[0].system, provider.asked[0].last_text) == ("a?", "b?")


async def test_one_runner_serves_many_event_loops_one_after_the_other() -> None:
    def in_a_loop_of_its_own(runner: ModelRunner) -> str:
        return Vote([agent("a"), agent("b")]).run_sync("Say ok.", runner=runner).answer

    with ProviderServer("ok") as provider:
        runner = runner_for(provider)
        answers = [await anyio.to_thread.run_sync(in_a_loop_of_its_own, runner) for _ in range(3)]

    assert answers == ["ok"] * 3


async def test_it_works_in_a_pattern() -> None:
    def script(asked: Asked) -> Answer:
        return Answer("all four" if asked.system == "Join." else f"read {asked.last_text[-1]}")

    team = MapReduce(mapper=AgentSpec("mapper", "Read."), reducer=AgentSpec("reducer", "Join."))
    with ProviderServer(script) as provider:
        async with runner_for(provider) as runner:
            result = await team.run("Read them.", runner=runner, items=["1", "2", "3", "4"])

    assert result.answer == "all four"
    assert result.usage.total_tokens == provider.settled().spent().total_tokens


# What the metadata asks for


async def test_temperature_and_the_rest_come_from_the_metadata_and_below_it_from_the_runner() -> None:
    spec = agent(model="openai:gpt-4.1", metadata={"model_settings": {"temperature": 0.2, "max_tokens": 77}})
    with ProviderServer() as provider:
        await ask(runner_for(provider, settings={"temperature": 1.0, "top_p": 0.5}), spec)

    body = provider.asked[0].body
    assert (body["temperature"], body["top_p"], body["max_completion_tokens"]) == (0.2, 0.5, 77)


async def test_anthropic_takes_a_temperature_too() -> None:
    spec = agent(model=MESSAGES, metadata={"model_settings": {"temperature": 0.2, "top_k": 5}})
    with ProviderServer() as provider:
        output = await ask(runner_for(provider), spec)

    assert output.succeeded
    assert (provider.asked[0].body["temperature"], provider.asked[0].body["top_k"]) == (0.2, 5)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"temprature": 1}, "there is no model setting 'temprature'; did you mean 'temperature'?"),
        ({"max_retries": 9}, "max_retries can't be set: every attempt has to pass the budget"),
        ({"tool_choice": "required"}, "tool_choice can't be set"),
        ({"openai_native_tools": []}, "openai_native_tools can't be set: the agent's tools are its runtime's tools"),
        ({"extra_body": {"n": 5}}, "extra_body can't have n: the budget limits that"),
        ({"extra_body": {"max_tokens": 10**6}}, "extra_body can't have max_tokens"),
        ({"max_tokens": 0}, "max_tokens must be a whole number above 0, not 0"),
        ([1], "is a mapping, not [1]"),
    ],
)
async def test_a_setting_that_is_none_or_gets_around_a_limit_fails_the_agent(settings: Any, text: str) -> None:
    with ProviderServer() as provider:
        output = await ask(runner_for(provider), agent(metadata={"model_settings": settings}))

    assert output.error is not None
    assert output.error.startswith("ConfigError: agent 'reader'")
    assert text in output.error
    assert (output.tokens, provider.asked) == (None, [])


async def test_cache_control_asks_anthropic_to_cache_and_the_bill_knows_it() -> None:
    spec = agent(system_prompt="Be brief. " * 60, model=MESSAGES, cache_control=True)
    prices = {MESSAGES: ModelPrice(1, 5, cache_read=0.1, cache_write=1.25)}
    with ProviderServer("ok") as provider:
        async with runner_for(provider, prices=prices) as runner:
            infra = SharedInfra()
            first = (await Vote([spec]).run("one", runner=runner, infra=infra)).usage
            second = (await Vote([spec]).run("two", runner=runner, infra=infra)).usage

    written, read = provider.settled().entries
    assert (first.cache_write_tokens, first.cache_read_tokens) == (written.cache_write, 0)
    assert (second.cache_write_tokens, second.cache_read_tokens) == (read.cache_write, read.cache_read)
    assert read.cache_read > 100
    plain = read.input_tokens - read.cache_read - read.cache_write
    expected = (plain + 0.1 * read.cache_read + 1.25 * read.cache_write + 5 * read.output_tokens) / 1e6
    assert second.cost_usd == pytest.approx(expected, abs=1e-9)


async def test_without_cache_control_nothing_is_marked() -> None:
    with ProviderServer() as provider:
        await ask(runner_for(provider), agent(model=MESSAGES))

    assert "cache_control" not in json.dumps(provider.asked[0].body)


# Dollars


async def test_a_known_price_is_booked_and_an_unknown_one_said_to_be_unknown() -> None:
    prices = {"openai:dear": ModelPrice(1_000, 2_000)}
    with ProviderServer("two words") as provider:
        dear = await ask(runner_for(provider, prices=prices), agent(model="openai:dear"))
        unknown = await ask(runner_for(provider), agent(model="openai:gpt-5-mini"))

    assert dear.tokens is not None
    assert unknown.tokens is not None
    assert dear.tokens.cost_usd == pytest.approx((dear.tokens.input_tokens + 2 * 2) / 1_000)
    assert (unknown.tokens.priced, unknown.tokens.cost_usd) == (False, 0.0)


# Text as it comes


@in_every_protocol
async def test_text_is_handed_on_as_it_comes(model: str) -> None:
    heard: list[tuple[str, str]] = []
    with ProviderServer("one two three") as provider:
        output = await ask(runner_for(provider, on_text=lambda *said: heard.append(said)), agent(model=model))

    assert len(heard) == 3
    assert {name for name, _ in heard} == {"reader"}
    assert "".join(text for _, text in heard) == output.answer == "one two three"
    assert output.tokens is not None
    assert output.tokens.total_tokens == provider.settled().spent().total_tokens


async def test_a_listener_may_be_async() -> None:
    heard: list[str] = []

    async def listen(name: str, text: str) -> None:
        await anyio.sleep(0.001)
        heard.append(text)

    with ProviderServer("one two") as provider:
        await ask(runner_for(provider, on_text=listen))

    assert heard == ["one ", "two"]


async def test_a_listener_that_fails_fails_the_agent_and_the_call_is_booked_in_full() -> None:
    def listen(name: str, text: str) -> None:
        raise KeyError("no such window")

    infra = SharedInfra()
    with ProviderServer("one two") as provider:
        output = await ask(runner_for(provider, on_text=listen, max_output_tokens=500), infra=infra)

    assert output.error == "KeyError: 'no such window'"
    assert infra.budget.snapshot().output_tokens == 500
    assert provider.settled().spent().total_tokens <= infra.budget.snapshot().total_tokens


async def test_events_never_hold_what_is_said() -> None:
    infra = SharedInfra()
    with ProviderServer("the answer is sesame") as provider:
        await ask(runner_for(provider, on_text=lambda *_: None), agent(system_prompt="cumin"), "paprika", infra)

    written = "".join(map(repr, infra.log.events()))
    assert not [word for word in ("sesame", "cumin", "paprika") if word in written]


# Answers that fit a schema


BOATS = {
    "type": "object",
    "properties": {"boats": {"type": "integer", "minimum": 0}},
    "required": ["boats"],
    "additionalProperties": False,
}


class Harbour(BaseModel):
    boats: int
    name: str = "unnamed"


async def test_an_answer_that_fits_the_schema_is_json() -> None:
    with ProviderServer('{ "boats":  4 }') as provider:
        output = await ask(runner_for(provider), agent(metadata={"output_schema": BOATS}))

    assert output.answer == '{"boats":4}'
    assert provider.asked[0].body["response_format"]["json_schema"]["schema"]["required"] == ["boats"]


async def test_a_type_of_pydantic_does_as_well_as_a_schema() -> None:
    with ProviderServer('{"boats": 4}') as provider:
        output = await ask(runner_for(provider), agent(metadata={"output_schema": Harbour}))

    assert Harbour.model_validate_json(output.answer) == Harbour(boats=4)


@pytest.mark.parametrize("model", [CHAT, RESPONSES, MESSAGES, "home:llama"])
@pytest.mark.parametrize("schema", [BOATS, {"type": "array", "items": {"type": "integer"}}])
async def test_every_model_is_told_the_schema(model: str, schema: dict[str, Any]) -> None:
    answer = '{"boats": 4}' if schema is BOATS else "```json\n[4]\n```"
    with ProviderServer(answer) as provider:
        spec = agent(model=model, metadata={"output_schema": schema})
        output = await ask(runner_for(provider, base_url={"home": provider.openai_url}), spec)

    assert output.answer == answer.replace(" ", "").removeprefix("```json\n").removesuffix("\n```")
    said = json.dumps(provider.asked[0].body)
    assert "integer" in said
    assert output.error is None


async def test_an_answer_that_does_not_fit_is_asked_for_again_with_what_is_wrong() -> None:
    answers = ["four", '{"boats": "four"}', '{"boats": -1}', '{"boats": 4}']
    with ProviderServer(answers) as provider:
        output = await ask(runner_for(provider), agent(metadata={"output_schema": BOATS}))

    assert (output.answer, output.turns) == ('{"boats":4}', 4)
    objections = [asked.last_text for asked in provider.asked[1:]]
    assert "it is not JSON" in objections[0]
    assert "$.boats" in objections[1]
    assert "$.boats" in objections[2]
    assert "four" not in "".join(objections)


@pytest.mark.parametrize("schema", [BOATS, Harbour])
async def test_an_answer_that_never_fits_fails_the_agent_after_its_turns(schema: Any) -> None:
    with ProviderServer("four") as provider:
        output = await ask(runner_for(provider), agent(max_turns=3, metadata={"output_schema": schema}))

    assert output.error is not None
    assert output.error.endswith("that was turn 3 of at most 3")
    assert (output.answer, output.turns, len(provider.asked)) == ("", 3, 3)
    assert output.tokens is not None
    assert output.tokens.total_tokens == provider.settled().spent().total_tokens


@pytest.mark.parametrize("wrong", ["a text", 7, {"type": "no such type"}])
async def test_a_schema_that_is_none_fails_the_agent_before_it_costs_anything(wrong: Any) -> None:
    with ProviderServer() as provider:
        output = await ask(runner_for(provider), agent(metadata={"output_schema": wrong}))

    assert output.error is not None
    assert output.error.startswith("ConfigError: agent 'reader': metadata['output_schema']")
    assert provider.asked == []


# Answers that end early


async def test_an_answer_cut_off_at_the_token_limit_is_kept_and_says_so() -> None:
    with ProviderServer("one two three four") as provider:
        output = await ask(runner_for(provider, max_output_tokens=2))

    assert (output.answer.strip(), output.error) == ("one two", None)
    assert output.outcome is not None
    assert output.outcome.status == OutcomeStatus.PARTIAL_SUCCESS
    assert output.outcome.evidence[0].data == {"finish_reason": "length"}


async def test_an_answer_without_text_is_a_failure_that_is_paid_for() -> None:
    with ProviderServer("") as provider:
        output = await ask(runner_for(provider))

    assert output.error is not None
    assert "the model gave no text" in output.error
    assert output.tokens is not None
    assert output.tokens.input_tokens > 0


async def test_an_agent_without_turns_asks_nobody() -> None:
    with ProviderServer() as provider:
        output = await ask(runner_for(provider), agent(max_turns=0))

    assert (output.error, provider.asked) == ("no model call is allowed: max_turns is 0", [])


# Said wrongly


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (None, "agent 'reader' has no model: give AgentSpec(model='openai:…') or ModelRunner('openai:…')"),
        ("gpt-5", "model 'gpt-5': give the provider before a colon, as in 'openai:gpt-5'"),
        ("nobody:gpt", "for a server that speaks OpenAI's protocol give ModelRunner(base_url={'nobody': …})"),
        ("openai:gpt-5", "openai needs an API key: set OPENAI_API_KEY, or give ModelRunner(api_key=…)"),
        ("anthropic:claude", "anthropic needs an API key: set ANTHROPIC_API_KEY"),
    ],
)
async def test_a_model_that_can_not_be_asked_says_what_to_do(
    model: str | None, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    infra = SharedInfra()
    output = await ask(ModelRunner(model), infra=infra)

    assert output.error is not None
    assert output.error.startswith("ConfigError")
    assert text in output.error
    assert infra.budget.snapshot().total_tokens == 0


@pytest.mark.parametrize(
    "options",
    [{"max_output_tokens": 0}, {"input_margin": 0.9}, {"retries": -1}, {"call_timeout_s": 0}],
)
def test_a_number_that_can_not_be_meant_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        ModelRunner(**options)


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pydantic_ai.models", None)
    output = await ask(ModelRunner("openai:gpt-5", api_key="any"))

    assert output.error == "ConfigError: ModelRunner needs the extra models: pip install 'carpool[models]'"


def test_importing_the_runner_loads_no_client_library() -> None:
    import subprocess
    import sys

    probe = (
        "import sys, carpool.runners.model; print({'pydantic_ai', 'openai', 'anthropic', 'httpx2'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


async def test_an_agent_that_names_a_tool_that_there_is_none_of_fails_before_it_costs_anything() -> None:
    with ProviderServer() as provider:
        output = await ask(runner_for(provider), agent(tools=["serach"]))

    assert output.error is not None
    assert "names tools that its team has not: ['serach']; it has: none" in output.error
    assert provider.asked == []


async def test_outside_a_run_it_needs_no_lease() -> None:
    infra = SharedInfra()
    with ProviderServer("ok") as provider:
        async with runner_for(provider) as runner:
            output = await runner.run(agent(), "task", infra.make_runtime(), None)  # pyright: ignore[reportArgumentType]

    assert output.tokens == TokenAccounting(
        input_tokens=provider.settled().spent().input_tokens, output_tokens=1, priced=False
    )
