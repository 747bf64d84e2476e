"""What is recorded, what is not, and how a recording goes on; no secret gets into the file."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from carpool import (
    AgentOutcome,
    AgentOutput,
    AgentSpec,
    Evidence,
    EvidenceKind,
    OutcomeStatus,
    Pipeline,
    SharedInfra,
    Swarm,
)
from carpool.errors import ConfigError, PolicyDenied
from carpool.runners.cassette import Cassette
from carpool.runners.recording import RecordingRunner
from carpool.runners.replay import ReplayRunner
from carpool.runtime import Runtime
from carpool.testing import Ended, Reply, ScriptedRunner, VirtualClock, cancel_at_every_await

from ..scenes import answers, spec, specs, tokens
from .recordings import KEY, ask, call, delete_lines, lines, never, record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.jsonl"


# What is not recorded


async def test_a_call_that_timed_out_is_not_there_and_the_miss_says_that_it_may_be_for_that(path: Path) -> None:
    agent = spec("a", timeout_s=0.01)
    output = await ask(RecordingRunner(ScriptedRunner({"a": Reply(hangs=True)}), path), agent)
    assert output.outcome.status == "timeout"
    assert lines(path) == []

    missed = await ask(ReplayRunner(path), agent)
    assert "nothing is recorded" in missed.error


def test_cancelled_anywhere_a_recording_holds_whole_calls_that_are_replayed(tmp_path: Path) -> None:
    agents = [spec("a"), spec("b", retries=1), spec("c")]
    numbers = iter(range(10_000))

    class Scene:
        def __init__(self, clock: VirtualClock) -> None:
            self.path = tmp_path / f"{next(numbers)}.jsonl"
            self.inner = ScriptedRunner({"b": [Reply(raises=OSError), "b"]}, default="fine")
            self.infra = SharedInfra(clock=clock)

        async def run(self) -> object:
            return await Pipeline(agents).run("t", runner=RecordingRunner(self.inner, self.path), infra=self.infra)

        def check(self, ended: Ended) -> None:
            finished = sum(made.end in ("returned", "raised") for made in self.inner.bill.calls)
            there = len(lines(self.path)) if self.path.exists() else 0
            assert there == finished
            if self.path.exists():
                Cassette(self.path)

    cancel_at_every_await(Scene)
    cancel_at_every_await(Scene, how="scope")


# Secrets


async def test_no_secret_is_in_the_file(path: Path) -> None:
    infra = SharedInfra(secrets=["hunter2-hunter2"])
    told = f"hunter2-hunter2 {KEY} aHVudGVyMi1odW50ZXIy 1234"
    outcome = AgentOutcome(
        status=OutcomeStatus.SUCCESS,
        summary=told,
        evidence=[Evidence(kind=EvidenceKind.TOOL_RESULT, description=told, data={told: [told]})],
    )
    output = AgentOutput(name=told, answer=told, error=told, outcome=outcome, tools_used=[told])
    agent = AgentSpec(told, told, tools=[told], metadata={told: {"deep": [told]}}, model=told)
    error = PolicyDenied(told, [told])
    inner = ScriptedRunner({told: [Reply(returns=output), Reply(raises=error), Reply(returns=told)]})
    runner = RecordingRunner(inner, path)
    await call(runner, agent, told, infra)
    with pytest.raises(PolicyDenied):
        await call(runner, agent, told, infra)
    await call(runner, agent, told, infra)

    written = str(lines(path))
    assert "hunter2" not in written
    assert "sk-abc" not in written
    assert "aHVudGVy" not in written
    assert "1234" in written
    replaying = ReplayRunner(path)
    assert (await call(replaying, agent, told, infra)).answer == "[secret] [secret] [secret] 1234"


async def test_a_recording_is_found_again_when_the_secret_has_changed(path: Path) -> None:
    await record(path, (spec("a"), "log in with swordfish"), infra=SharedInfra(secrets=["swordfish"]))
    replayed = await call(ReplayRunner(path), spec("a"), "log in with dummy", SharedInfra(secrets=["dummy"]))

    assert replayed.answer == "ok"


def test_nothing_in_the_file_lets_one_try_out_what_a_secret_is(path: Path) -> None:
    """A digest of the whole text would tell which of ten thousand numbers it was."""
    for number, pin in enumerate(["1234", "9876"]):
        file = path.with_name(f"{number}.jsonl")
        anyio.run(lambda: record(file, (spec("a"), f"the pin is {pin}"), infra=SharedInfra(secrets=[pin])))  # noqa: B023

    assert path.with_name("0.jsonl").read_bytes() == path.with_name("1.jsonl").read_bytes()


async def test_a_secret_in_an_answer_that_the_next_agent_is_told_breaks_no_replay(path: Path) -> None:
    team = Pipeline(specs("ab"))
    inner = ScriptedRunner({"a": f"the key is {KEY}", "b": lambda who, task: f"told {KEY in task}"})
    recorded = await team.run("t", runner=RecordingRunner(inner, path))
    replayed = await team.run("t", runner=ReplayRunner(path))

    assert (recorded.answer, replayed.answer) == ("told True", "told True")


async def test_a_miss_tells_no_secret(path: Path) -> None:
    infra = SharedInfra(secrets=["swordfish"])
    await record(path, (spec("a"), f"one swordfish {KEY}"), infra=infra)

    with pytest.raises(LookupError) as caught:
        await call(ReplayRunner(path), spec("a"), f"two swordfish {KEY}", infra)
    text = str(caught.value)
    assert "swordfish" not in text
    assert KEY not in text


@pytest.mark.parametrize("secret", ["digest", "count", "answer", "carpool_cassette", "1000", "input_tokens", "name"])
async def test_a_secret_that_is_a_word_of_the_format_leaves_the_file_readable(path: Path, secret: str) -> None:
    infra = SharedInfra(secrets=[secret])
    output = AgentOutput(name="a", answer=f"is {secret}", tokens=tokens(1000), duration_ms=1000.0)
    await call(RecordingRunner(ScriptedRunner({"a": Reply(returns=output)}), path), spec("a"), infra=infra)

    replayed = await call(ReplayRunner(path), spec("a"), infra=infra)
    assert (replayed.answer, replayed.tokens, replayed.duration_ms) == ("is [secret]", tokens(1000), 1000.0)


async def test_the_path_of_a_workspace_is_no_content(path: Path, tmp_path: Path) -> None:
    async def at(runner: Any, folder: str, metadata: dict[str, Any]) -> AgentOutput:
        infra = SharedInfra()
        runtime = Runtime(infra.team(state=infra.state, log=infra.log), workspace=tmp_path / folder)
        return await runner.run(spec("a", metadata=metadata), "t", runtime, None)

    one, other = ({"workspace": str(tmp_path / name), "more": 1} for name in ("one", "other"))
    await at(RecordingRunner(ScriptedRunner(default="ok"), path), "one", one)

    assert (await at(ReplayRunner(path), "other", other)).answer == "ok"
    with pytest.raises(LookupError):
        await at(ReplayRunner(path), "elsewhere", other)  # a path that its user has put there


# Recording again


async def test_what_is_recorded_is_repeated_and_what_is_missing_is_added(path: Path) -> None:
    inner = ScriptedRunner(default=lambda who, task: f"{who.name} {len(inner.bill.calls)}")
    first = await Swarm(specs("ab")).run("t", runner=RecordingRunner(inner, path))
    again = await Swarm(specs("abc")).run("t", runner=RecordingRunner(inner, path))

    assert answers(first.outputs) == ["a 1", "b 2"]
    assert answers(again.outputs) == ["a 1", "b 2", "c 3"]
    assert answers((await Swarm(specs("abc")).run("t", runner=ReplayRunner(path))).outputs) == ["a 1", "b 2", "c 3"]
    assert len(lines(path)) == 3


async def test_recording_all_begins_the_file_anew_with_the_first_call(path: Path) -> None:
    inner = ScriptedRunner(default=lambda who, task: f"{who.name} {len(inner.bill.calls)}")
    await Swarm(specs("ab")).run("t", runner=RecordingRunner(inner, path))
    runner = RecordingRunner(inner, path, record="all")
    assert len(lines(path)) == 2
    await Swarm(specs("ba")).run("t", runner=runner)

    assert [(line["spec"]["name"], line["output"]["answer"]) for line in lines(path)] == [("b", "b 3"), ("a", "a 4")]


def test_a_damaged_cassette_can_be_recorded_anew_and_in_no_other_way(path: Path) -> None:
    anyio.run(lambda: record(path, (spec("a"), "t")))
    path.write_bytes(path.read_bytes() + b"<<<<<<< HEAD\n")
    with pytest.raises(ConfigError):
        RecordingRunner(ScriptedRunner(), path)
    anyio.run(call, RecordingRunner(ScriptedRunner(default="new"), path, record="all"), spec("a"))

    assert [line["output"]["answer"] for line in lines(path)] == ["new"]


def test_a_file_that_becomes_another_meanwhile_is_left_alone_and_nothing_is_paid_for(path: Path) -> None:
    runner = RecordingRunner(never, path, record="all")
    path.write_text("dear diary")
    infra = SharedInfra()
    output = anyio.run(ask, runner, spec("a", estimate=tokens(9)), "t", infra)

    assert output.error.startswith("ConfigError")
    assert infra.budget.snapshot().total_tokens == 0
    assert path.read_text() == "dear diary"


async def test_a_line_that_is_deleted_is_recorded_again(path: Path) -> None:
    script = ScriptedRunner({"a": [Reply(raises=OSError("busy")), "fine"]}, default="ok")
    await Swarm(specs("ab")).run("t", runner=RecordingRunner(script, path))
    delete_lines(path, having="busy")
    result = await Swarm(specs("ab")).run("t", runner=RecordingRunner(script, path))

    assert answers(result.outputs) == ["fine", "ok"]
    assert len(script.bill.calls) == 3


async def test_of_the_same_calls_the_gap_of_a_deleted_one_is_closed(path: Path) -> None:
    script = ScriptedRunner({"a": [Reply(raises=OSError("busy")), "fine", "again"]})
    runner = RecordingRunner(script, path)
    for _ in range(3):
        await ask(runner, spec("a"))
    delete_lines(path, having="busy")
    replaying = ReplayRunner(path)

    assert [(await ask(replaying, spec("a"))).answer for _ in range(2)] == ["fine", "again"]
