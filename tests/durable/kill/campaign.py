"""A program: teams of 500 agents whose processes are killed, again and again, until each run has come to its end.

    python -m tests.durable.kill.campaign --folder DIR --shapes 'vote, nest' --kills 40 --seed 7

It has everything imported and forks a child for every process of a run, so that a process costs milliseconds. What it
found is one JSON object on stdout. The same seed plans the same kills; where ANYWHERE strikes, is up to the machine.
"""

from __future__ import annotations

import argparse
import gc
import os
import select
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import anyio._backends._asyncio  # noqa: F401 - else every child would load it
import msgspec
from msgspec import Struct

from .bill import counted, lines_of, sights_of
from .checks import After, Asked, at_the_end, at_the_end_of_poison, whenever
from .on_record import OnRecord, rows_of
from .points import ANYWHERE, ENDING, MERGING, RESTORING, RESUMING, WORKING, Kill
from .process import Came, Order, run_process
from .shapes import AGENTS, AMPLE, shape_of

__all__ = ["Campaign", "Report"]

REPLAYING = ("while replaying", *RESTORING)
PATIENCE_S = 60.0  # for one process; one that takes longer hangs
DEATHS_AT_MOST = 3  # of one agent in flight: at the fourth it would be poison, which is another test's subject


class Report(Struct):
    """``points`` counts the kills at each point; ``in_flight`` the agents that they struck; ``unmerged`` the kills that
    left a write-ahead log behind; ``agents`` those that ran in the runs that were compared at their end."""

    seed: str
    kills: int = 0
    runs: int = 0
    processes: int = 0
    agents: int = 0
    in_flight: int = 0
    unmerged: int = 0
    seconds: float = 0.0
    points: dict[str, int] = {}
    violations: list[str] = []


class Campaign:
    """Runs of one shape, until ``kills`` processes have been killed, or, with ``first``, a violation is found."""

    def __init__(
        self,
        folder: Path,
        shape: str,
        kills: int,
        seed: str,
        bug: str = "",
        *,
        first: bool = False,
        script: Sequence[Kill] = (),
    ) -> None:
        self._folder = folder / shape.replace(" ", "-")
        self._folder.mkdir(parents=True)
        self._shape = shape
        self._bug = bug
        self._first = first
        self._seed = f"{seed} {shape}"
        self._chance = Random(self._seed)
        self._points = self._planned(kills)
        self._script = deque(script)  # what is to happen to the processes of one run, instead of what is planned
        self._asked: dict[int, Asked] = {}
        self.report = Report(self._seed)

    def _planned(self, kills: int) -> list[str]:
        """Every named point once, and as often anywhere; more of all where more is asked."""
        shape, named = shape_of(self._shape, 0), [*RESUMING, *WORKING, *ENDING]
        named += RESTORING if shape.restores else ()
        named += MERGING * 3 if shape.merges else ()
        points: list[str] = []
        while len(points) < kills:
            self._chance.shuffle(named)
            points += [*named, *[ANYWHERE] * len(named)]
        del points[kills:]
        self._chance.shuffle(points)
        return points

    def run(self) -> Report:
        began = time.monotonic()
        most = 2 * len(self._points) + 5
        while (self._points or self._script) and not (self._first and self.report.violations):
            self._one_run(self.report.runs)
            self.report.runs += 1
            if self.report.runs > most:
                raise RuntimeError(f"after {most} runs nobody has come to {self._points}, seed {self._seed!r}")
        self.report.seconds = round(time.monotonic() - began, 1)
        return self.report

    # One run

    def _one_run(self, number: int) -> None:
        folder = self._folder / str(number)
        folder.mkdir()
        limits, rows, process = list(shape_of(self._shape, 0).limits), list[bytes](), 0
        while limits and process < 60:
            order = Order(
                shape=self._shape,
                run_id=f"run {number}",
                folder=folder,
                process=process,
                seed=f"{self._seed} {number}",
                kill=self._next_kill(rows),
                limits=limits[0],
                edition=process if shape_of(self._shape, 0).edited else 0,
                journal=self._folder / "runs.db",  # all runs of the shape are in one file
                bug=self._bug,
            )
            killed = self._process(order)
            rows = self._look(order, rows, killed=killed)
            if self._first and self.report.violations:
                return
            if not killed:
                limits.pop(0)
            process += 1
        if limits:
            self._violation(order, "nothing left open: it does not come to an end")
        elif not self._bug:
            shutil.rmtree(folder)

    def _next_kill(self, rows: list[bytes]) -> Kill:
        """The next of the planned kills, somewhere in what there is still to do."""
        if self._script:
            return self._script.popleft()
        if not self._points:
            return Kill()
        record = OnRecord.of(rows)
        done = record.completed.total()
        left = AGENTS - done
        # Where nothing can be replayed yet, and nothing else is planned any more, it is killed anywhere first.
        point = next((each for each in self._points if done or each not in REPLAYING), ANYWHERE)
        if max(record.unfinished.values(), default=0) >= DEATHS_AT_MOST:
            return Kill()
        if point == ANYWHERE:
            # After it has begun to work, before, or while it replays.
            after = self._chance.choice((0, 1, self._chance.randint(1, 120)))
            return Kill(point, min(after, left), 1, self._chance.uniform(0, 0.012 if after else 0.06))
        if point in REPLAYING:
            return Kill(point, 0, self._chance.randint(1, max(1, done // 2)))
        if point in MERGING:
            return Kill(point, 0, self._chance.randint(1, AGENTS - 1))
        if point in WORKING:
            return Kill(point, self._chance.randint(0, min(120, max(0, left - 20))), self._chance.randint(1, 3))
        return Kill(point)

    def _process(self, order: Order) -> bool:
        """Whether it was killed, as it should be."""
        self.report.processes += 1
        here, there = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(here)
            run_process(order, there)
        os.close(there)
        self._wait(child, here, order)
        os.close(here)
        _, status = os.waitpid(child, 0)
        point, killed = order.kill.point, os.WIFSIGNALED(status)
        if point in self._points:
            self._points.remove(point)
            if not killed:
                self._points.append(point)  # it ended before it came to that point: another time
        if killed:
            self.report.kills += 1
            self.report.points[point] = self.report.points.get(point, 0) + 1
        return killed

    def _wait(self, child: int, pipe: int, order: Order) -> None:
        """Until the child is gone: the pipe ends with it. What it writes there is that ANYWHERE may begin."""
        deadline = time.monotonic() + PATIENCE_S
        while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if not os.read(pipe, 1):
                return
            time.sleep(order.kill.delay_s)
            os.kill(child, signal.SIGKILL)
        os.kill(child, signal.SIGKILL)
        self._violation(order, "nothing left open: the process hangs")

    # What came of it

    def _look(self, order: Order, before: list[bytes], *, killed: bool) -> list[bytes]:
        error = order.folder / "error.txt"
        if error.exists():
            self._violation(order, f"nothing left open: the process failed\n{error.read_text()}")
            error.unlink()
        journal = order.journal or order.folder
        if killed:
            self._disturb(journal)
        rows = rows_of(journal, order.run_id)
        after = After(
            process=order.process,
            before=before,
            rows=rows,
            bill=lines_of(order.folder / "bill.jsonl"),
            sights=sights_of(order.folder / "sights.jsonl"),
            limits=order.limits,
        )
        found = list(whenever(after, self._reference(0)))
        if killed:
            self.report.in_flight += (after.record.lost - after.known.lost).total()
        elif order.limits == AMPLE and not found:
            came = msgspec.json.decode((order.folder / "came.json").read_bytes(), type=Came)
            found += self._compared(after, came, self._reference(order.edition))
            self.report.agents += counted(lines_of(order.folder / "bill.jsonl"), "begins").total()
        for each in found:
            self._violation(order, each)
        return rows

    def _compared(self, after: After, came: Came, whole: Asked) -> Iterator[str]:
        if whole.came is None:
            raise AssertionError("the uninterrupted run has come to nothing")
        if not shape_of(self._shape, 0).poisoned:
            return at_the_end(after, came, whole.came)
        return at_the_end_of_poison(came, whole.came, max(after.record.unfinished.values(), default=0))

    def _disturb(self, journal: Path) -> None:
        """The write-ahead log is as the kill left it. Sometimes its index is gone too, as after a power failure."""
        log, index = journal.with_name("runs.db-wal"), journal.with_name("runs.db-shm")
        self.report.unmerged += log.exists() and log.stat().st_size > 0
        if self._chance.random() < 0.3:
            index.unlink(missing_ok=True)

    def _reference(self, edition: int) -> Asked:
        """What the team asks of its runner when nobody kills it, and what it comes to."""
        if edition not in self._asked:
            folder = self._folder / f"uninterrupted {edition}"
            folder.mkdir()
            order = Order(self._shape, "whole", folder, 0, self._seed, limits=AMPLE, edition=edition)
            if self._process(order) or not (folder / "came.json").exists():
                raise RuntimeError((folder / "error.txt").read_text())
            bill = lines_of(folder / "bill.jsonl")
            came = msgspec.json.decode((folder / "came.json").read_bytes(), type=Came)
            self._asked[edition] = Asked(counted(bill, "begins"), counted(bill, "ends"), came)
        return self._asked[edition]

    def _violation(self, order: Order, text: str) -> None:
        place = f"{order.run_id}, process {order.process}, killed {order.kill.point or 'nowhere'}"
        self.report.violations.append(f"{text}\n    ({place}; seed {order.seed!r}, in {order.folder})")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--shapes", required=True, help="names, with commas between them")
    parser.add_argument("--kills", type=int, required=True, help="of each shape")
    parser.add_argument("--seed", required=True)
    parser.add_argument("--bug", default="")
    parser.add_argument("--script", default="[]", help="kills of the processes of one run, as JSON")
    parser.add_argument("--first", action="store_true", help="end with the first violation")
    given = parser.parse_args()
    gc.freeze()
    script, reports = msgspec.json.decode(given.script, type=list[Kill]), []
    for shape in given.shapes.split(", "):
        campaign = Campaign(given.folder, shape, given.kills, given.seed, given.bug, first=given.first, script=script)
        reports.append(campaign.run())
    sys.stdout.buffer.write(msgspec.json.encode(reports))


if __name__ == "__main__":
    main()
