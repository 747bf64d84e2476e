"""Processes that want the same run: one has it, and one that is frozen and wakes too late writes nothing."""

# ruff: noqa: ASYNC110 - the loop has nothing else to do meanwhile

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import anyio
import pytest

from carpool import SharedInfra, Swarm
from carpool.durable import SqliteJournal, ownership
from carpool.errors import RunInUse
from carpool.testing import ScriptedRunner
from carpool.testing.journal_desk import agents

from ..scenes import answers


class Racer:
    """One of the processes."""

    def __init__(self, folder: Path, silence_s: float) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                Path(__file__).with_name("racing.py"),
                folder / "runs.db",
                folder / "bill",
                str(silence_s),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.hear() == "ready"

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def racers(folder: Path, count: int, *, silence_s: float = 15.0) -> Iterator[list[Racer]]:
    started = [Racer(folder, silence_s) for _ in range(count)]
    try:
        yield started
        for racer in started:
            if racer.process.poll() is None:
                racer.say("")
                assert racer.process.wait(30) == 0
    finally:
        for racer in started:
            racer.process.kill()
            racer.process.wait()
            for stream in (racer.process.stdin, racer.process.stdout):
                stream.close()


def race(both: list[Racer], run_id: str, chance: random.Random) -> None:
    """Both at once: one gets it, the other is told so before that one has ended."""
    for racer in chance.sample(both, 2):
        racer.say(run_id)
        if chance.random() < 0.5:
            sleep(chance.random() * 0.005)
    heard = {racer: racer.hear() for racer in both}
    assert Counter(heard.values()) == {"called": 1, "in use": 1}, heard
    winner = next(racer for racer, what in heard.items() if what == "called")
    winner.say("go on")
    assert winner.hear() == "ended"


DIES = """
import os, signal, sys, anyio
from carpool.durable import SqliteJournal
from carpool.testing.journal_desk import Desk

async def main():
    desk = Desk(SqliteJournal(sys.argv[1]))
    for number in range(60):
        await desk.open(f"left {number}")
    os.kill(os.getpid(), signal.SIGKILL)

anyio.run(main)
"""


def test_two_processes_race_for_one_run_two_hundred_times(tmp_path: Path) -> None:
    """New runs, and such as a process that was killed has left behind."""
    chance = random.Random(5)
    subprocess.run([sys.executable, "-c", DIES, str(tmp_path / "runs.db")], check=False)
    names = [*(f"new {number}" for number in range(140)), *(f"left {number}" for number in range(60))]
    with racers(tmp_path, 2) as both:
        for run_id in names:
            race(both, run_id, chance)

    calls = Counter(line.rpartition(" ")[0] for line in (tmp_path / "bill").read_text().splitlines())
    assert calls == Counter(names)


@pytest.fixture
def impatient(monkeypatch) -> float:
    """Seconds after which a process that is silent is taken to be gone, for the test and those that it starts."""
    monkeypatch.setattr(ownership, "SILENCE_S", 2.0)
    return 2.0


async def test_a_process_that_is_frozen_is_replaced_and_writes_nothing_when_it_wakes(
    tmp_path: Path, impatient: float
) -> None:
    with racers(tmp_path, 1, silence_s=impatient) as (frozen,):
        frozen.say("run")
        assert frozen.hear() == "called"
        async with SqliteJournal(tmp_path / "runs.db") as journal:
            with pytest.raises(RunInUse, match=f"process {frozen.process.pid}"):
                await take(journal)
            frozen.process.send_signal(signal.SIGSTOP)
            await until_it_is_free(journal)
            assert answers((await take(journal)).outputs) == ["mine"]
            before = await journal.read("run")

            frozen.process.send_signal(signal.SIGCONT)
            frozen.say("go on")
            assert frozen.hear() == "lost"
            assert await journal.read("run") == before
            assert before.header.epoch == 2
            assert before.header.completed == 1

            # It is as good as any other afterwards.
            frozen.say("run")
            assert frozen.hear() == "ended"


async def test_a_process_that_is_frozen_and_wakes_in_time_goes_on(tmp_path: Path, impatient: float) -> None:
    with racers(tmp_path, 1, silence_s=impatient) as (frozen,):
        frozen.say("run")
        assert frozen.hear() == "called"
        for _ in range(3):
            frozen.process.send_signal(signal.SIGSTOP)
            await anyio.sleep(0.2)
            async with SqliteJournal(tmp_path / "runs.db") as journal:
                with pytest.raises(RunInUse):
                    await take(journal)
            frozen.process.send_signal(signal.SIGCONT)
        frozen.say("go on")
        assert frozen.hear() == "ended"


async def test_an_agent_that_takes_much_longer_than_the_silence_is_left_alone(tmp_path: Path, impatient: float) -> None:
    with racers(tmp_path, 1, silence_s=impatient) as (slow,):
        slow.say("run")
        assert slow.hear() == "called"
        async with SqliteJournal(tmp_path / "runs.db") as journal:
            for _ in range(5):
                await anyio.sleep(impatient / 3)
                with pytest.raises(RunInUse):
                    await take(journal)
        slow.say("go on")
        assert slow.hear() == "ended"


async def test_a_process_that_died_is_replaced_at_once(tmp_path: Path) -> None:
    with racers(tmp_path, 1) as (dying,):
        dying.say("run")
        assert dying.hear() == "called"
        dying.process.kill()
        dying.process.wait()
        async with SqliteJournal(tmp_path / "runs.db") as journal:
            assert answers((await take(journal)).outputs) == ["mine"]


async def take(journal: SqliteJournal):
    runner = ScriptedRunner(default="mine")
    return await Swarm(agents("a")).run("t", runner=runner, infra=SharedInfra(journal=journal), run_id="run")


async def until_it_is_free(journal: SqliteJournal) -> None:
    with anyio.fail_after(30):
        while journal.is_live(await journal.header("run")):
            await anyio.sleep(0.05)
