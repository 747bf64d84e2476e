"""A disk that is full, read-only or broken ends a run with an error that says so; what was durable stays so."""

# ruff: noqa: ASYNC240 - the loop has nothing else to do meanwhile

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from carpool import BudgetLimits, MapReduce, SharedInfra
from carpool.clock import utc_now
from carpool.durable import SqliteJournal, claim, journal, recollection
from carpool.errors import JournalCorrupt, JournalError
from carpool.testing import Reply, ScriptedRunner
from carpool.testing.journal_desk import COST, agent, gist

from ..scenes import answers
from .quick import quick_folder

TEAM = MapReduce(agent("m"), agent("r"), 3).over(items=[f"item {number}" for number in range(8)])
LONG = "an answer " * 300


def runner() -> ScriptedRunner:
    return ScriptedRunner(default=Reply(lambda spec, task: f"{spec.role or spec.name} {LONG}", spends=COST))


async def run(journal: SqliteJournal, called: ScriptedRunner) -> Any:
    infra = SharedInfra(journal=journal, budget=BudgetLimits(max_total_tokens=1_000_000))
    return await TEAM.run("t", runner=called, infra=infra, run_id="run")


async def whole() -> Any:
    return gist(await TEAM.run("t", runner=runner()))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk; see the test with a limit on the size of files")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk_loses_nothing_and_the_run_goes_on_when_there_is_room(small_disk: Path) -> None:
    wanted, failed = await whole(), 0
    for number in range(24):
        path = small_disk / f"{number}.db"
        ballast = small_disk / "ballast"
        async with SqliteJournal(path) as journal:
            ballast.write_bytes(bytes(free(small_disk) - number**2 * 2_000))
            error = await error_of(journal, first := runner(), wanted)
            if error is not None:
                failed += 1
                assert re.match(f"{path}: the disk is full; make room", str(error))
                kept = [] if error.partial is None else error.partial.outputs
                assert len(kept) == len(first.bill.calls)
            ballast.unlink()
            there = (await journal.holdings("run")).completed if await journal.header("run") else 0
            # With the same journal, and at once: nobody has the run any more.
            second = runner()
            assert gist(await run(journal, second)) == wanted
            assert len(second.bill.calls) == 9 - there
        async with SqliteJournal(path) as journal:
            assert gist(await run(journal, third := runner())) == wanted
            assert third.bill.calls == []
        for file in small_disk.iterdir():
            file.unlink()

    assert 3 < failed < 24


async def error_of(journal: SqliteJournal, called: ScriptedRunner, wanted: Any) -> JournalError | None:
    """What ended the run, if it did not end well."""
    try:
        result = await run(journal, called)
    except JournalError as error:
        return error
    assert gist(result) == wanted
    return None


def free(folder: Path) -> int:
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize


def test_a_file_that_may_not_grow_loses_nothing_either() -> None:
    with quick_folder() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.durable.filling", str(folder)],
            check=False,
            capture_output=True,
            cwd=Path(__file__).parents[2],
        )
    assert done.returncode == 0, done.stderr.decode()


# Read-only


@pytest.fixture
def read_only(small_disk: Path) -> Path:
    """A journal with one run in it, on a disk that takes no writes."""
    path = small_disk / "runs.db"

    async def fill() -> None:
        async with SqliteJournal(path) as journal:
            await run(journal, runner())

    anyio.run(fill)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    return path


async def test_a_read_only_file_can_be_read_and_says_that_it_can_not_be_written(read_only: Path) -> None:
    async with SqliteJournal(read_only) as journal:
        assert [header.completed for header in await journal.runs()] == [9]
        assert (await journal.holdings("run")).completed == 9
        assert len((await journal.read("run")).events()) > 9
        called = runner()
        with pytest.raises(JournalError, match=f"{read_only}: .*[Rr]ead-only") as caught:
            await run(journal, called)
        assert not isinstance(caught.value, JournalCorrupt)
        assert called.bill.calls == []


async def test_a_folder_in_which_nothing_may_be_made(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    async with SqliteJournal(tmp_path / "runs.db") as journal:
        with pytest.raises(JournalError, match="see to the folder and its rights"):
            await run(journal, runner())


# The clock


async def test_a_clock_that_jumps_back_a_day_changes_nothing_but_what_it_says(tmp_path: Path, monkeypatch) -> None:
    wanted = await whole()
    async with SqliteJournal(tmp_path / "runs.db") as first, SqliteJournal(tmp_path / "runs.db") as second:
        broken = ScriptedRunner({"m_4": Reply(raises=OSError("no"))}, default=runner().default)
        await run(first, broken)
        await first.describe("another", {})
        for module in (claim, journal, recollection):
            monkeypatch.setattr(module, "utc_now", lambda: utc_now() - timedelta(days=1))
        called = runner()
        assert gist(await run(second, called)) == wanted
        assert len(called.bill.calls) == 2  # the one that had failed, and who is shown its answer
        assert [header.run_id for header in await second.runs()] == ["another", "run"]
        assert gist(await run(first, runner())) == wanted
        events = (await first.read("run")).events()
        assert [event.seq for event in events] == list(range(1, len(events) + 1))


async def test_what_could_not_be_written_is_on_the_error(tmp_path: Path) -> None:
    async with SqliteJournal(tmp_path / "runs.db") as journal:

        async def acts(spec, task, mailbox, runtime) -> str:
            if spec.name == "m_2":
                (tmp_path / "runs.db").unlink()
            return f"answer of {spec.name}"

        with pytest.raises(JournalError) as caught:
            await MapReduce(agent("m"), agent("r"), 1).run(
                "t", items=list("abcd"), runner=acts, infra=SharedInfra(journal=journal), run_id="run"
            )
    assert answers(caught.value.partial.outputs) == [f"answer of m_{number}" for number in range(3)]
