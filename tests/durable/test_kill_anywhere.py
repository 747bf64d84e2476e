"""That runs survive SIGKILL anywhere: nothing that was completed runs again, is lost, or is paid for twice.

Programs in ``kill/`` do the killing: ``campaign`` forks a child for every process of a run of 500 agents, has it killed
at some point, and holds what is left against a bill that the runner keeps outside (``checks.CHECKS`` says what must
hold). ``CARPOOL_KILLS`` is how many processes are killed, 200 if it is not set; nightly 5000. ``CARPOOL_SEED`` repeats
a plan: a failure names its seed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import SystemRandom

import msgspec
import pytest

import carpool
from carpool import SharedInfra, open_run
from carpool.durable import SqliteJournal

from .kill.bugs import BUGS
from .kill.campaign import Report
from .kill.checks import CHECKS
from .kill.points import ANYWHERE, POINTS, POISON, POISON_AT_ONCE, RESUMING, Kill
from .kill.shapes import SHAPES

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(carpool.__file__).parents[1])}

KILLS = int(os.environ.get("CARPOOL_KILLS", "200"))
SEED = os.environ.get("CARPOOL_SEED") or str(SystemRandom().randrange(10**6))
PATIENCE_S = 120 + KILLS

LANES = (
    ["nest", "supervisor"],
    ["edited map-reduce", "swarm"],
    ["map-reduce", "tight map-reduce"],
    ["vote", "debate", "isolated swarm"],
)
"""A process each: they wait for the disk as much as they compute. Together every shape that is killed at random."""

pytestmark = [
    pytest.mark.timeout(2 * PATIENCE_S),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the processes that it kills"),
]


def campaign(folder: Path, shapes: Iterable[str], kills: int, *more: str) -> list[Report]:
    told = ["--folder", str(folder), "--shapes", ", ".join(shapes), "--kills", str(kills), "--seed", SEED, *more]
    return msgspec.json.decode(program("campaign", *told), type=list[Report])


def program(name: str, *arguments: str) -> bytes:
    command = [sys.executable, "-m", f"tests.durable.kill.{name}", *arguments]
    ended = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stderr.decode()}"
    return ended.stdout


def killed(folder: Path, shape: str, script: Sequence[Kill]) -> Report:
    """One run, whose processes are killed as ``script`` says."""
    (report,) = campaign(folder, [shape], 0, "--script", msgspec.json.encode(script).decode())
    return report


def violations(reports: Iterable[Report]) -> str:
    return "\n".join(each for report in reports for each in report.violations[:20])


def test_two_hundred_kills_leave_runs_as_if_there_had_been_none(tmp_path):
    assert sorted(shape for lane in LANES for shape in lane) == sorted({*SHAPES} - {"poisoned map-reduce"})
    kills = -(-KILLS // sum(map(len, LANES)))

    with ThreadPoolExecutor(len(LANES)) as lanes:
        ran = [lanes.submit(campaign, tmp_path / str(number), lane, kills) for number, lane in enumerate(LANES)]
        reports = [report for each in ran for report in each.result()]

    assert violations(reports) == ""
    assert sum(report.kills for report in reports) >= KILLS
    struck = sum((Counter(report.points) for report in reports), Counter())
    assert {*struck} == {*POINTS, ANYWHERE}
    for report in reports:
        assert report.runs >= 1
        assert report.agents >= 500
        assert report.in_flight >= report.kills  # else they were killed where nothing was going on
        assert report.unmerged >= report.kills - 3  # those before anything was written


SHOWN, BEFORE, ONCE = "shown only what is durable", "on record before it runs", "paid once"
CAUGHT_BY = {
    "hold released on recovery": ("map-reduce", {"booked", "never less"}),
    "key by position": ("edited map-reduce", {SHOWN, BEFORE, ONCE}),
    "complete before commit": ("swarm", {SHOWN}),
    "told before commit": ("map-reduce", {SHOWN, BEFORE}),
    "start not waited for": ("vote", {BEFORE}),
    "completed forgotten": ("map-reduce", {ONCE}),
    "changes not restored": ("supervisor", {"the same state"}),
    "approvals forgotten": ("swarm", {"asked once"}),
    "inner purses forget": ("nest", {"booked"}),
}
"""Each planted bug, the team in which it is looked for, and the checks of which at least one must find it."""


def test_each_planted_bug_is_caught(tmp_path):
    """The same plans, the same points, the same checks."""
    assert {*CAUGHT_BY} == {*BUGS}

    def found(bug: str) -> set[str]:
        shape = CAUGHT_BY[bug][0]
        reports = campaign(tmp_path / bug.replace(" ", "-"), [shape], 400, "--bug", bug, "--first")
        return {each.partition(":")[0] for report in reports for each in report.violations}

    with ThreadPoolExecutor(2) as lanes:
        for bug, checks in zip(BUGS, lanes.map(found, BUGS), strict=True):
            assert checks <= {*CHECKS}
            assert checks & CAUGHT_BY[bug][1], f"{bug} was not caught, seed {SEED}: {checks}"


@pytest.mark.parametrize("when", [POISON, POISON_AT_ONCE])
def test_a_task_that_kills_its_process_is_run_four_times_and_the_others_complete(when, tmp_path):
    """Also when all who begin with it die with it, again and again."""
    report = killed(tmp_path, "poisoned map-reduce", [Kill(when)] * 5)
    assert violations([report]) == ""
    assert report.points == {when: 4}


def test_killed_over_and_over_while_resuming_it_books_what_was_in_flight_once(tmp_path):
    resuming = [Kill(point) for point in (*RESUMING, *RESUMING, *RESUMING)]
    report = killed(tmp_path, "swarm", [Kill("while it works", 100), *resuming])
    assert violations([report]) == ""
    assert report.kills == 1 + len(resuming)
    assert 1 <= report.in_flight <= 16


def test_a_journal_that_is_killed_while_it_is_made_can_be_used(tmp_path):
    assert program("birth", str(tmp_path), str(max(40, KILLS // 5)), SEED).decode() == ""


async def test_a_log_that_a_removed_file_left_behind_is_not_taken_for_the_new_files(tmp_path):
    async def answer(*_):
        return "yes"

    old, new = tmp_path / "runs.db", tmp_path / "new" / "runs.db"
    new.parent.mkdir()
    async with SqliteJournal(old) as journal:
        async with open_run(runner=answer, infra=SharedInfra(journal=journal), run_id="old"):
            pass
        shutil.copy(old.with_name("runs.db-wal"), new.parent)

    async with SqliteJournal(new) as journal:
        async with open_run(runner=answer, infra=SharedInfra(journal=journal), run_id="new"):
            pass
        assert [header.run_id for header in await journal.runs()] == ["new"]
