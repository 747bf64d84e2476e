"""The file of a recording: whole after anything, shared by many, and never some other file."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carpool import (
    AgentOutcome,
    AgentOutput,
    AgentSpec,
    Evidence,
    EvidenceKind,
    OutcomeMetrics,
    OutcomeStatus,
    SharedInfra,
    TokenAccounting,
)
from carpool.errors import ConfigError
from carpool.runners.cassette import Cassette
from carpool.runners.cassette_file import append
from carpool.runners.recording import RecordingRunner
from carpool.runners.replay import ReplayRunner
from carpool.secrets import Redactor
from carpool.spawn.accepting import accepted
from carpool.testing import Reply, ScriptedRunner

from ..scenes import spec, tokens
from .recordings import KEY, ask, call, lines, never, record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.jsonl"


async def test_several_runners_share_a_cassette(path: Path) -> None:
    shared = Cassette(path, "missing")
    for said in ("one", "two"):
        await call(RecordingRunner(ScriptedRunner(default=said), shared), spec("a"))
    shared = Cassette(path)

    assert [(await call(ReplayRunner(shared), spec("a"))).answer for _ in range(2)] == ["one", "two"]


def test_a_mode_that_there_is_not_is_refused(path: Path) -> None:
    for mode in ("none", "once", ""):
        with pytest.raises(ValueError, match="record must be 'missing' or 'all'"):
            RecordingRunner(never, path, record=mode)
    with pytest.raises(ValueError, match="record must be"):
        Cassette(path, "sometimes")
    with pytest.raises(ValueError, match="says itself"):
        RecordingRunner(never, Cassette(path, "missing"), record="all")


async def test_nothing_is_recorded_into_a_cassette_that_is_only_read(path: Path) -> None:
    await record(path, (spec("a"), "t"))
    with pytest.raises(ValueError, match="says itself"):
        RecordingRunner(never, Cassette(path))


# Any output, any text

anything = st.text(st.characters(codec=None), max_size=40) | st.sampled_from(
    ["", "\0", "\ud800", "\udfff\ud800", "\u2028\u2029\x85\r\n", "NaN", "é\0", '{"', "🦊"]
)
anything = anything.filter(lambda text: Redactor().text(text) == text)
counts = st.integers(0, 2**70)
amounts = st.floats(0, 1.7e308) | st.sampled_from([0.1, 1e-320, 5e-324])
usage = st.builds(
    TokenAccounting,
    input_tokens=counts,
    output_tokens=counts,
    cost_usd=amounts,
    cache_read_tokens=counts,
    cache_write_tokens=counts,
    priced=st.booleans(),
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | anything,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(anything, inner, max_size=3),
    max_leaves=6,
)
outcomes = st.builds(
    AgentOutcome,
    status=st.sampled_from(OutcomeStatus),
    summary=anything,
    evidence=st.lists(
        st.builds(Evidence, kind=st.sampled_from(EvidenceKind), description=anything, data=values), max_size=2
    ),
    metrics=st.builds(OutcomeMetrics, turns=counts, duration_ms=amounts),
)
outputs = st.builds(
    AgentOutput,
    name=anything,
    answer=anything,
    turns=counts,
    tool_calls=counts,
    duration_ms=amounts,
    error=st.none() | anything,
    outcome=st.none() | outcomes,
    tokens=st.none() | usage,
    tools_used=st.lists(anything, max_size=2),
)


def given_back(path: Path, agent: AgentSpec, task: str, inner: Any) -> Any:
    async def main() -> Any:
        await call(RecordingRunner(inner, path, record="all"), agent, task)
        return await call(ReplayRunner(path), agent, task)

    return anyio.run(main)


@given(outputs)
@settings(max_examples=150, deadline=None)
def test_any_output_comes_back_as_the_door_takes_it(tmp_path_factory: Any, output: AgentOutput) -> None:
    path = tmp_path_factory.getbasetemp() / "any_output.jsonl"
    replayed = given_back(path, spec("a"), "t", ScriptedRunner(default=Reply(returns=output)))

    assert replayed == accepted("a", output, 0)


@given(anything.filter(str.strip), anything, anything, st.dictionaries(anything, values, max_size=2))
@example("a", "\ud800", "\0", {"\ud800": ["\udfff"]})
@settings(max_examples=150, deadline=None)
def test_a_call_of_any_text_is_found_again(
    tmp_path_factory: Any, name: str, prompt: str, task: str, metadata: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any_text.jsonl"
    agent = AgentSpec(name, prompt, metadata=metadata)

    assert given_back(path, agent, task, ScriptedRunner(default="ok")).answer == "ok"


async def test_what_is_no_json_is_told_by_the_name_of_its_type_and_what_is_not_finite_as_null(path: Path) -> None:
    agent = spec("a", metadata={"output": AgentOutput, "at": object(), "top_p": float("nan"), "n": {"1": float("inf")}})
    evidence = Evidence(kind=EvidenceKind.EVALUATOR, description="", data=[float("nan"), b"x", {1, 2}, path])
    outcome = AgentOutcome(status=OutcomeStatus.DONE, evidence=[evidence])
    inner = ScriptedRunner(default=Reply(returns=AgentOutput(name="a", answer="ok", outcome=outcome)))
    await call(RecordingRunner(inner, path), agent)
    replayed = await call(ReplayRunner(path), agent)

    assert lines(path)[0]["spec"]["metadata"] == {
        "output": "carpool.types.AgentOutput",
        "at": "builtins.object",
        "top_p": None,
        "n": {"1": None},
    }
    assert replayed.outcome.evidence[0].data[:2] == [None, "eA=="]


async def test_a_huge_answer_comes_back(path: Path) -> None:
    answer = "\0 \u2028 é\n" * 3_000_000
    await call(RecordingRunner(ScriptedRunner(default=answer), path), spec("a"))

    assert (await call(ReplayRunner(path), spec("a"))).answer == answer


async def test_what_can_not_be_written_is_handed_on_with_a_warning(path: Path) -> None:
    evidence = Evidence(kind=EvidenceKind.EVALUATOR, description=KEY, data={(1,): 2})
    outcome = AgentOutcome(status=OutcomeStatus.DONE, evidence=[evidence])
    given = AgentOutput(name="a", answer="paid for", outcome=outcome)
    runner = RecordingRunner(ScriptedRunner(default=Reply(returns=given)), path)
    with pytest.warns(UserWarning, match="a call of agent 'a' was not recorded: "):
        assert await call(runner, spec("a")) is given

    assert lines(path) == []


# The file


async def test_it_is_for_its_owner_alone_and_its_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "cassette.jsonl"
    await record(path, (spec("a"), "t"))

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith('{"carpool_cassette": 1}\n{"digest": "')


def test_what_is_not_there_can_not_be_replayed(path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such cassette; record it first"):
        ReplayRunner(path)
    with pytest.raises(ConfigError, match=r"can't be read: Is a directory"):
        ReplayRunner(path.parent)
    assert not path.exists()


@pytest.fixture
def recorded(path: Path) -> bytes:
    """Three calls, with all that a line can have."""

    async def main() -> None:
        inner = ScriptedRunner({"a": "é", "b": Reply(raises=OSError("x")), "c": Reply(model_calls=[tokens(1)])})
        infra = SharedInfra()
        runner = RecordingRunner(inner, path)
        for name in "abc":
            runtime = infra.make_runtime()
            with infra.begin_agent() as runtime.lease, suppress(OSError):
                await runner.run(spec(name), "t", runtime, None)

    anyio.run(main)
    return path.read_bytes()


def test_cut_off_anywhere_it_keeps_the_whole_lines_and_drops_the_rest_with_a_warning(
    path: Path, recorded: bytes
) -> None:
    for size in range(len(recorded) + 1):
        path.write_bytes(recorded[:size])
        ends = recorded[:size].count(b"\n")
        lacks_only_its_end = recorded[size : size + 1] == b"\n"
        whole = max(0, ends - 1 + (lacks_only_its_end and ends > 0))
        if ends == 0 or lacks_only_its_end or recorded[:size].endswith(b"\n"):
            cassette = Cassette(path)
        else:
            with pytest.warns(UserWarning, match="the last line is not whole and was dropped"):
                cassette = Cassette(path)
        assert len(cassette.unused) == whole, size


def test_cut_off_anywhere_it_can_be_recorded_on(path: Path, recorded: bytes) -> None:
    (line,) = (each for each in recorded.splitlines(keepends=True) if b'"b"' in each)
    for size in range(len(recorded) + 1):
        path.write_bytes(recorded[:size])
        append(path, line)
        whole = recorded[:size].rpartition(b"\n")[0]
        cassette = Cassette(path)
        assert cassette.unused[-1].agent == "b"
        assert len(cassette.unused) >= max(0, whole.count(b"\n")) + 1
        assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize("number", [2, 3, 4])
@pytest.mark.parametrize(
    "damage",
    [
        b"{",
        b"<<<<<<< HEAD",
        b"[]",
        b"null",
        b'{"digest": "x"}',
        b'{"digest": "x", "spec": {}, "task": "t", "count": 1}',
        b'{"digest": "x", "spec": {}, "task": "t", "count": 1, "output": {"name": 5}}',
        b'{"digest": "x", "spec": {}, "task": "t", "count": 1, "output": {"name": "a", "tokens": {"cost_usd": -1}}}',
        b'{"carpool_cassette": 1}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=lambda damage: f"{damage[-30:]}",
)
def test_a_damaged_line_is_named(path: Path, recorded: bytes, damage: bytes, number: int) -> None:
    damaged = recorded.split(b"\n")
    damaged[number - 1] = damage
    path.write_bytes(b"\n".join(damaged))

    with pytest.raises(ConfigError, match=rf"cassette\.jsonl:{number}: not a recorded call: "):
        ReplayRunner(path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"dear diary\n", "not a cassette"),
        (b"dear diary", "not a cassette"),
        (b"\n", "not a cassette"),
        (b'{"a": 1}\n{"a": 2}\n', "not a cassette"),
        (b'{"carpool_cassette": "1"}\n', "not a cassette"),
        (b'{"carpool_cassette": 2}\n', "a cassette of format 2; this version of carpool knows format 1"),
        (b'{"carpool_cassette": 2}', "a cassette of format 2"),
        (b"x" * 200_000, "not a cassette"),
    ],
)
@pytest.mark.parametrize("record", ["none", "missing", "all"])
def test_a_file_that_is_no_cassette_is_refused_and_left_alone(
    path: Path, content: bytes, text: str, record: Any
) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=text):
        Cassette(path, record)
    for anew in (False, True):
        if anew or not content.endswith(b"\n"):
            with pytest.raises(ConfigError, match=text):
                append(path, b"{}\n", anew=anew)

    assert path.read_bytes() == content


def test_a_cassette_that_can_not_be_written_to_is_an_error_before_anything_is_paid_for(tmp_path: Path) -> None:
    infra = SharedInfra()
    (tmp_path / "folder").symlink_to(tmp_path / "nowhere")
    runner = RecordingRunner(never, tmp_path / "folder" / "cassette.jsonl")
    output = anyio.run(ask, runner, spec("a", estimate=tokens(9)), "t", infra)

    assert output.error.startswith("FileExistsError")
    assert infra.budget.snapshot().total_tokens == 0


def test_a_disk_that_is_full_loses_no_answer_and_leaves_no_half_line(path: Path, monkeypatch: Any) -> None:
    anyio.run(lambda: record(path, (spec("a"), "before")))
    before = path.read_bytes()

    def write(file: int, content: Any) -> int:
        if len(content) < 50:
            raise OSError(28, "No space left on device")
        return real(file, content[:50])

    real = os.write
    runner = RecordingRunner(ScriptedRunner(default="paid for"), path)
    monkeypatch.setattr(os, "write", write)
    with pytest.warns(UserWarning, match=r"not recorded: OSError: .*No space left"):
        output = anyio.run(call, runner, spec("a"), "then")
    monkeypatch.undo()
    assert output.answer == "paid for"
    assert path.read_bytes() == before

    anyio.run(lambda: record(path, (spec("a"), "after")))
    assert len(Cassette(path).unused) == 2


# Many at once


async def test_many_tasks_record_into_one_file(path: Path) -> None:
    runner = RecordingRunner(ScriptedRunner(default="é" * 5_000), path)
    async with anyio.create_task_group() as group:
        for number in range(300):
            group.start_soon(call, runner, spec("a"), f"task {number % 100}")

    assert sorted((line["task"], line["count"]) for line in lines(path)) == sorted(
        (f"task {number}", count) for number in range(100) for count in (1, 2, 3)
    )


def test_many_threads_record_into_one_file(path: Path) -> None:
    def work(number: int) -> None:
        async def main() -> None:
            for each in range(20):
                await call(runner if number % 2 else RecordingRunner(inner, path), spec(f"a{number}"), f"task {each}")

        anyio.run(main)

    inner = ScriptedRunner(default="é" * 50_000)
    runner = RecordingRunner(inner, path)
    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(Cassette(path).unused) == 160


RECORDER = """
import sys
import anyio
from carpool import AgentSpec, SharedInfra
from carpool.runners.recording import RecordingRunner

async def inner(spec, task, runtime, mailbox):
    return "é" * 300_000

async def main():
    runner = RecordingRunner(inner, sys.argv[1])
    for number in range(10_000):
        await runner.run(AgentSpec(sys.argv[2], ""), f"task {number}", SharedInfra().make_runtime(), None)
        print(number, flush=True)

anyio.run(main)
"""


def test_processes_that_are_killed_while_they_record_leave_what_they_had_answered(path: Path) -> None:
    answered: dict[str, int] = {}
    recorders = [
        subprocess.Popen([sys.executable, "-c", RECORDER, str(path), name], stdout=subprocess.PIPE, text=True)
        for name in ("one", "other")
    ]
    for recorder, name in zip(recorders, ("one", "other"), strict=True):
        assert recorder.stdout is not None
        while recorder.stdout.readline().strip() != "5":
            pass
        recorder.send_signal(signal.SIGKILL)
        answered[name] = 6 + len(recorder.stdout.readlines())
        recorder.stdout.close()
        recorder.wait()
    append(path)  # cuts off what the last of them was in the middle of

    there = [call.agent for call in Cassette(path).unused]
    for name, count in answered.items():
        assert there.count(name) in (count, count + 1)
