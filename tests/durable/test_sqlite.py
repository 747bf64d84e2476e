"""A journal in a file: who may write, what waits for what, and what one run's trouble is to another."""

# ruff: noqa: ASYNC110, ASYNC221, ASYNC240 - the loop has nothing else to do meanwhile

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from carpool import Pipeline, SharedInfra, Swarm
from carpool.durable import SqliteJournal, sqlite
from carpool.durable.sqlite_file import SqliteFile
from carpool.errors import JournalCorrupt, JournalError, RunInUse
from carpool.events import RunStarted
from carpool.testing import ScriptedRunner
from carpool.testing.journal_desk import Desk, agents

from ..scenes import answers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "runs.db"


async def test_the_file_is_made_when_it_is_needed_and_for_its_owner_alone(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        assert await journal.runs() == []
        assert not path.parent.exists()
        recall = await Desk(journal).open()
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert files == dict.fromkeys(["runs.db", "runs.db-lock", "runs.db-shm", "runs.db-wal"], 0o600)
        await Desk(journal).close(recall)

    assert sorted(file.name for file in path.parent.iterdir()) == ["runs.db", "runs.db-lock"]


async def test_it_stays_where_it_was_whatever_folder_the_process_goes_to(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with SqliteJournal("runs.db") as journal:
        await journal.describe("one", {})
        monkeypatch.chdir("/")
        await journal.describe("two", {})
        assert len(await journal.runs()) == 2


async def test_what_is_closed_is_closed(path: Path) -> None:
    journal = SqliteJournal(path)
    async with journal:
        await journal.describe("run", {})
    with pytest.raises(JournalError, match="is closed"):
        await journal.describe("run", {})
    await journal.aclose()


async def test_one_that_was_never_used_can_be_closed(path: Path) -> None:
    async with SqliteJournal(path):
        pass
    assert not path.parent.exists()


async def test_two_runs_that_begin_at_the_same_moment_are_both_there(path: Path) -> None:
    team = Swarm(agents("ab"))
    async with SqliteJournal(path) as journal, anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(run_named, team, journal, f"run {number}")

    async with SqliteJournal(path) as journal:
        assert [run.completed for run in await journal.runs()] == [2] * 20


async def run_named(team: Any, journal: SqliteJournal, run_id: str) -> None:
    await team.run("t", runner=ScriptedRunner(default="x"), infra=SharedInfra(journal=journal), run_id=run_id)


# The loop does not wait


class Gate:
    """Keeps whoever writes or reads from going on until the loop has shown that it lives."""

    def __init__(self, monkeypatch) -> None:
        self.is_open = Event()
        self.held = 0
        gate, write, init = self, SqliteJournal._write, SqliteFile.__init__

        def held_write(journal: SqliteJournal, jobs: Any) -> None:
            gate.wait()
            write(journal, jobs)

        def held_open(file: SqliteFile, path: Path, *, writable: bool) -> None:
            gate.wait()
            init(file, path, writable=writable)

        monkeypatch.setattr(SqliteJournal, "_write", held_write)
        monkeypatch.setattr(SqliteFile, "__init__", held_open)

    def wait(self) -> None:
        self.held += 1
        assert self.is_open.wait(30), "the loop waits for the disk"

    async def beat(self) -> None:
        """The heart of the loop: somebody must be held, and it beats on."""
        while True:
            while not self.held:
                await checkpoint()
            for _ in range(100):
                await checkpoint()
            self.held = 0
            self.is_open.set()
            await checkpoint()
            self.is_open.clear()


async def test_the_loop_goes_on_while_a_disk_is_waited_for(path: Path, monkeypatch) -> None:
    gate = Gate(monkeypatch)
    async with anyio.create_task_group() as group:
        group.start_soon(gate.beat)
        async with SqliteJournal(path) as journal:
            team, runner = Pipeline(agents("ab")), ScriptedRunner(default="x")
            for _ in range(2):
                result = await team.run("t", runner=runner, infra=SharedInfra(journal=journal), run_id="run")
            await journal.describe("run", {})
            await journal.read("run")
            assert len(await journal.runs()) == 1
            await journal.request_cancel("run")
            await journal.remove("run")
        gate.is_open.set()
        group.cancel_scope.cancel()

    assert answers(result.outputs) == ["x", "x"]


async def test_closing_waits_for_what_is_being_written_and_not_in_the_loop(path: Path, monkeypatch) -> None:
    gate = Gate(monkeypatch)
    journal = SqliteJournal(path)
    async with anyio.create_task_group() as group:
        group.start_soon(journal.describe, "run", {})
        while not gate.held:
            await checkpoint()
        group.start_soon(journal.aclose)
        for _ in range(100):
            await checkpoint()
        gate.is_open.set()

    async with SqliteJournal(path) as journal:
        assert len(await journal.runs()) == 1


async def test_a_reader_that_takes_its_time_keeps_nobody_from_writing(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.describe("one", {})
        reader = SqliteFile(path, writable=False)
        with reader.reading() as connection:
            assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
            for number in range(50):
                await journal.describe(f"run {number}", {"text": "x" * 100_000})  # more than the log keeps to itself
            assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
        reader.close()
        assert len(await journal.runs()) == 51


# One's trouble and another's


async def test_each_run_that_could_not_be_written_has_its_own_error(path: Path, monkeypatch) -> None:
    """Two runs whose agents end in one transaction, which fails: each carries its own outputs."""
    errors: dict[str, JournalError] = {}
    ended = 0

    async def runner(spec, task, runtime, mailbox) -> str:
        nonlocal ended
        ended += 1
        if ended == 2:
            monkeypatch.setattr(SqliteFile, "transaction", broken)
        while ended < 2:
            await checkpoint()
        return f"answer to {task}"

    @contextmanager
    def broken(self: SqliteFile):
        raise JournalError("no")
        yield

    async def run(name: str) -> None:
        with pytest.raises(JournalError) as caught:
            await Swarm(agents("a")).run(name, runner=runner, infra=SharedInfra(journal=journal), run_id=name)
        errors[name] = caught.value

    async with SqliteJournal(path) as journal, anyio.create_task_group() as group:
        group.start_soon(run, "one")
        group.start_soon(run, "two")

    assert errors["one"] is not errors["two"]
    for name, error in errors.items():
        assert answers(error.partial.outputs) == [f"answer to {name}"]
        assert error.partial.run_id == name


@pytest.fixture
def quickly(monkeypatch) -> None:
    """Signs of life follow each other as in a film that is shown too fast."""
    monkeypatch.setattr(sqlite, "_TICK_S", 0.01)
    monkeypatch.setattr(sqlite, "BEAT_S", 0.02)


async def test_a_run_that_was_taken_over_does_not_keep_another_from_its_signs_of_life(path: Path, quickly) -> None:
    async with SqliteJournal(path) as journal:
        desk = Desk(journal)
        lost, kept = await desk.open("lost"), await desk.open("kept")
        await desk.kill("lost")
        await beats(journal, "kept")
        with pytest.raises(RunInUse):
            await desk.complete(lost)
        await beats(journal, "kept")
        await desk.close(kept, "kept")


async def test_signs_of_life_go_on_after_one_that_failed(path: Path, quickly, monkeypatch) -> None:
    async with SqliteJournal(path) as journal:
        recall = await Desk(journal).open()
        with monkeypatch.context() as patched:
            failed = Event()

            def fails(self: SqliteFile) -> Any:
                failed.set()
                raise ArithmeticError("not even an error of the journal's own")

            patched.setattr(SqliteFile, "transaction", fails)
            while not failed.is_set():
                await anyio.sleep(0.005)
        await beats(journal, "run")
        await Desk(journal).complete(recall)
        await Desk(journal).close(recall)


async def beats(journal: SqliteJournal, run_id: str) -> None:
    """Waits for the next two signs of life."""
    for _ in range(2):
        before = await journal.header(run_id)
        with anyio.fail_after(10):
            while (await journal.header(run_id)) == before:
                await anyio.sleep(0.005)


async def test_events_are_stored_while_nothing_starts_or_ends(path: Path, quickly) -> None:
    async def runner(spec, task, runtime, mailbox) -> str:
        runtime.log.append(RunStarted(run="run", pattern="said in between"))
        with anyio.fail_after(10):
            while not any(getattr(event, "pattern", "") == "said in between" for event in await stored()):
                await anyio.sleep(0.005)
        return "x"

    async def stored() -> Any:
        return (await journal.read("run")).events()

    async with SqliteJournal(path) as journal:
        await Swarm(agents("a")).run("t", runner=runner, infra=SharedInfra(journal=journal), run_id="run")


async def test_a_file_that_can_not_be_opened_costs_no_descriptor(path: Path) -> None:
    path.parent.mkdir()
    path.mkdir()
    other = path.parent / "text.db"
    other.write_text("no database " * 100)
    async with SqliteJournal(path) as journal, SqliteJournal(other) as text:
        for _ in range(2):
            before = descriptors()
            for _ in range(10):
                for each in (journal, text):
                    with pytest.raises(JournalError):
                        await each.describe("run", {})
                    with pytest.raises(JournalError):
                        await each.runs()
            assert descriptors() <= before + 2  # the writing threads, the first time


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


async def test_it_may_be_used_from_several_loops_at_once(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        errors: list[BaseException] = []

        def work(number: int) -> None:
            try:
                anyio.run(run_named, Pipeline(agents("abc")), journal, f"run {number}")
            except BaseException as error:
                errors.append(error)

        threads = [Thread(target=work, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join)
        assert errors == []
        assert [run.completed for run in await journal.runs()] == [3] * 4


FORKS = """
import os, sys, anyio
from carpool import SharedInfra, Swarm
from carpool.durable import SqliteJournal
from carpool.errors import JournalError
from carpool.testing import ScriptedRunner
from carpool.testing.journal_desk import agents

journal = SqliteJournal(sys.argv[1])

async def run(run_id, journal=journal):
    infra = SharedInfra(journal=journal)
    await Swarm(agents("ab")).run("t", runner=ScriptedRunner(default="x"), infra=infra, run_id=run_id)

anyio.run(run, "before")
child = os.fork()
if child == 0:
    try:
        anyio.run(run, "in the child")
    except JournalError as error:
        assert "fork" in str(error), error
    else:
        raise AssertionError("it was written to from both sides")
    anyio.run(run, "in the child, over its own", SqliteJournal(sys.argv[1]))
    sys.exit(0)  # an end in which everything is torn down, this side's half of the connection too
assert os.waitpid(child, 0)[1] == 0
anyio.run(run, "after")
anyio.run(journal.aclose)
"""


async def test_of_a_process_that_forks_each_side_needs_its_own(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS, str(path)], check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    async with SqliteJournal(path) as journal:
        there = {run.run_id: run.completed for run in await journal.runs()}
    assert there == {"before": 2, "after": 2, "in the child, over its own": 2}


@pytest.mark.parametrize("moved", ["runs.db", "runs.db-lock"])
async def test_a_file_that_is_removed_in_use_takes_nothing_more(moved: str, path: Path) -> None:
    async with SqliteJournal(path) as journal:
        recall = await Desk(journal).open()
        (path.parent / moved).unlink()
        with pytest.raises(JournalError, match="removed or replaced while it was in use"):
            await Desk(journal).complete(recall)
        with pytest.raises(JournalError):
            await Desk(journal).close(recall)


async def test_a_file_that_is_replaced_in_use_takes_nothing_more(path: Path, tmp_path: Path) -> None:
    async with SqliteJournal(tmp_path / "other.db") as other:
        await other.describe("other", {})
    async with SqliteJournal(path) as journal:
        recall = await Desk(journal).open()
        (tmp_path / "other.db").replace(path)
        with pytest.raises(JournalError, match="removed or replaced while it was in use"):
            await Desk(journal).complete(recall)
        with pytest.raises(JournalError):
            await Desk(journal).close(recall)


async def test_a_folder_that_vanishes(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        recall = await Desk(journal).open()
        shutil.rmtree(path.parent)
        with pytest.raises(JournalError, match=f"{path}: it, or runs.db-lock, was removed"):
            await Desk(journal).complete(recall)
        with pytest.raises(JournalError):
            await Desk(journal).close(recall)
        assert await journal.runs() == []


async def test_where_a_file_stands_in_the_way_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with SqliteJournal(tmp_path / "file" / "runs.db") as journal:
        with pytest.raises(JournalError, match="see to the folder and its rights") as caught:
            await journal.describe("run", {})
        assert not isinstance(caught.value, JournalCorrupt)
