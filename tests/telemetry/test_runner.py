"""A runner inside its agent's span: what is current there, and what is said of the content."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from opentelemetry import trace

from carpool import AgentOutput, SharedInfra, Vote, open_run
from carpool.telemetry import instrument
from carpool.testing import Reply, ScriptedRunner

from ..scenes import spec
from .seen import Seen, assert_well_formed, error_of, no_complaints


@pytest.fixture
def seen():
    seen = Seen()
    with no_complaints():
        yield seen
    assert_well_formed(seen)


def said(seen: Seen, agent: str = "a") -> dict[str, Any]:
    """The content on the span of an agent."""
    attributes = seen.span(f"invoke_agent {agent}").attributes or {}
    names = ("gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages")
    return {name.rpartition("gen_ai.")[2]: json.loads(str(attributes[name])) for name in names if name in attributes}


async def test_spans_of_the_runner_lie_in_the_agents(seen: Seen) -> None:
    tracer = seen.tracers.get_tracer("a client of a model")

    async def look() -> str:
        with tracer.start_as_current_span("GET"):
            return "x"

    async def runner(agent, task, runtime, mailbox) -> str:
        with tracer.start_as_current_span(f"chat {agent.name}"):
            await checkpoint()  # the other one's turn
            return await runtime.call_tool("look")

    infra = SharedInfra(tools=[look])
    team = Vote([spec("a", tools=["look"]), spec("b", tools=["look"])])
    with instrument(infra, **seen.providers) as telemetry:
        await team.run("t", runner=telemetry.runner(runner), infra=infra)

    for name in "ab":
        assert seen.parent(seen.span(f"chat {name}")) == f"invoke_agent {name}"
    assert {seen.parent(span) for span in seen.spans("GET")} == {"chat a", "chat b"}


async def test_nothing_is_current_any_more_when_the_runner_is_through(seen: Seen) -> None:
    infra = SharedInfra()
    script = {"a": Reply(raises=OSError("x"), after_s=None), "b": Reply("fine", after_s=None)}
    with instrument(infra, **seen.providers) as telemetry:
        runner = telemetry.runner(ScriptedRunner(script))
        async with open_run(runner=runner, infra=infra) as run:
            for name in "ab":
                await run.agent(spec(name), "t")
                assert trace.get_current_span() is trace.INVALID_SPAN

    assert seen.tree() == ["invoke_workflow run", "  invoke_agent a", "  invoke_agent b"]


async def test_content_is_said_only_when_it_is_asked_for(seen: Seen) -> None:
    infra = SharedInfra()
    with instrument(infra, **seen.providers) as telemetry:
        runner = telemetry.runner(ScriptedRunner({"a": "an answer"}))
        await Vote([spec("a")]).run("t", runner=runner, infra=infra)

    assert said(seen) == {}


async def test_content_has_the_form_of_the_conventions(seen: Seen) -> None:
    infra = SharedInfra()
    with instrument(infra, **seen.providers) as telemetry:
        runner = telemetry.runner(ScriptedRunner({"a": "an answer"}), content=True)
        await Vote([spec("a")]).run("a task", runner=runner, infra=infra)

    assert said(seen) == {
        "system_instructions": [{"type": "text", "content": "do it"}],
        "input.messages": [{"role": "user", "parts": [{"type": "text", "content": "a task"}]}],
        "output.messages": [
            {"role": "assistant", "parts": [{"type": "text", "content": "an answer"}], "finish_reason": "stop"}
        ],
    }


async def test_content_is_without_the_secrets_of_the_infra(seen: Seen) -> None:
    infra = SharedInfra(secrets=["hunter22"])
    with instrument(infra, **seen.providers) as telemetry:
        runner = telemetry.runner(ScriptedRunner({"a": "it is hunter22"}), content=True)
        await Vote([spec("a")]).run("is it hunter22?", runner=runner, infra=infra)

    assert said(seen)["input.messages"][0]["parts"][0]["content"] == "is it [secret]?"
    assert said(seen)["output.messages"][0]["parts"][0]["content"] == "it is [secret]"
    assert all("hunter22" not in span.to_json() for span in seen.ended)


async def test_of_an_agent_that_raises_only_the_question_is_there(seen: Seen) -> None:
    infra = SharedInfra()
    with instrument(infra, **seen.providers) as telemetry:
        runner = telemetry.runner(ScriptedRunner({"a": Reply(raises=OSError("x"))}), content=True)
        await Vote([spec("a")]).run("t", runner=runner, infra=infra)

    assert list(said(seen)) == ["system_instructions", "input.messages"]
    assert error_of(seen.span("invoke_agent a")) == ("OSError", "OSError: x")


async def test_an_answer_with_an_error_says_so(seen: Seen) -> None:
    infra = SharedInfra()
    output = AgentOutput(name="a", answer="half of it", error="Truncated: ran out of room")
    with instrument(infra, **seen.providers) as telemetry:
        runner = telemetry.runner(ScriptedRunner({"a": Reply(returns=output)}), content=True)
        await Vote([spec("a")]).run("t", runner=runner, infra=infra)

    assert said(seen)["output.messages"][0]["finish_reason"] == "error"
    assert error_of(seen.span("invoke_agent a")) == ("Truncated", "Truncated: ran out of room")


@pytest.mark.parametrize("answer", ["half a \ud83d", "", "\x00\x1b[31m", "é" * 200_000])
async def test_any_answer_can_be_said(seen: Seen, answer: str) -> None:
    infra = SharedInfra()
    with instrument(infra, **seen.providers) as telemetry:
        runner = telemetry.runner(ScriptedRunner({"a": Reply(returns=answer)}), content=True)
        await Vote([spec("a")]).run("half a \ud83d", runner=runner, infra=infra)

    assert telemetry.failures == 0
    content = said(seen)["output.messages"][0]["parts"][0]["content"]
    assert content == answer.encode("utf-8", "replace").decode()


@pytest.mark.parametrize("returned", [None, 17, object(), AgentOutput(name="a")])
async def test_what_a_runner_returns_is_the_doors_affair(seen: Seen, returned: object) -> None:
    outputs: list[object] = []
    for traced in (False, True):
        infra, plain = SharedInfra(), ScriptedRunner({"a": Reply(returns=returned)})
        with instrument(infra, **seen.providers) as telemetry:
            runner = telemetry.runner(plain, content=True) if traced else plain
            result = await Vote([spec("a")]).run("t", runner=runner, infra=infra)
        outputs.append((result.outputs[0].answer, result.outputs[0].error))
        assert telemetry.failures == 0

    assert outputs[0] == outputs[1]


async def test_the_model_of_a_spec_is_on_the_span_and_the_metrics(seen: Seen) -> None:
    infra = SharedInfra()
    script = {"a": "x", "b": "y"}
    with instrument(infra, **seen.providers) as telemetry:
        members = [spec("a", model="openai:gpt-large"), spec("b", model="local")]
        await Vote(members).run("t", runner=telemetry.runner(ScriptedRunner(script)), infra=infra)

    a, b = (dict(seen.span(f"invoke_agent {name}").attributes or {}) for name in "ab")
    assert (a["gen_ai.provider.name"], a["gen_ai.request.model"]) == ("openai", "gpt-large")
    assert "gen_ai.provider.name" not in b
    assert b["gen_ai.request.model"] == "local"
    durations = seen.metrics()["gen_ai.client.operation.duration"]
    assert {key for key in durations if "invoke_agent" in key} == {
        ("invoke_agent", "openai", "gpt-large"),
        ("invoke_agent", "local"),
    }


async def test_a_cancellation_goes_through(seen: Seen) -> None:
    infra = SharedInfra()
    plain = ScriptedRunner({"a": Reply(hangs=True)})
    with instrument(infra, **seen.providers) as telemetry:
        with anyio.move_on_after(0.01) as scope:
            await Vote([spec("a")]).run("t", runner=telemetry.runner(plain, content=True), infra=infra)

    assert scope.cancelled_caught
    assert plain.bill.calls[0].end == "cancelled"
    assert error_of(seen.span("invoke_agent a")) is not None


async def test_outside_of_its_infra_and_after_closing_it_is_the_runner_and_no_more(seen: Seen) -> None:
    with instrument(SharedInfra(), **seen.providers) as telemetry:
        runner = telemetry.runner(ScriptedRunner(default="x"), content=True)
        assert (await Vote([spec("a")]).run("t", runner=runner)).answer == "x"

    assert (await Vote([spec("a")]).run("t", runner=runner)).answer == "x"
    assert seen.begun == []


async def test_closing_while_a_runner_is_at_work_disturbs_nobody(seen: Seen) -> None:
    infra = SharedInfra()

    async def closes(agent, task, runtime, mailbox) -> str:
        telemetry.close()
        return "x"

    telemetry = instrument(infra, **seen.providers)
    plain = ScriptedRunner({"a": Reply(does=closes)})
    result = await Vote([spec("a")]).run("t", runner=telemetry.runner(plain, content=True), infra=infra)

    assert result.answer == "x"
    assert list(said(seen)) == ["system_instructions", "input.messages"]


def test_what_is_no_runner_is_refused(seen: Seen) -> None:
    with instrument(SharedInfra(), **seen.providers) as telemetry, pytest.raises(TypeError, match="a runner has"):
        telemetry.runner(17)
