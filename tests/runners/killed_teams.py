"""A program: teams of commands with families, each in a process of its own that is killed at some moment.

``killed_teams.py COUNT FOLDER``: as many processes, four at a time, each a fork of this one, which has imported all
there is to import. Every other one gets its SIGKILL at any moment within 300 ms, and the others soon after their
first command has written its id into FOLDER. All that a command starts has FOLDER in its environment.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import anyio

from carpool import AgentSpec, open_run
from carpool.runners.command import CommandRunner

AT_ONCE = 4
FAMILY = """
echo $$ >> "$0"
trap '' TERM
(sleep 61 & echo $! >> "$0"; sleep 61) &
setsid sh -c 'echo $$ >> "$0"; sleep 61' "$0" &
(setsid sh -c 'sleep 61' & echo $! >> "$0") &
wait
"""


async def team(note: Path) -> None:
    runner = CommandRunner(["/bin/sh", "-c", FAMILY, str(note)], env=["PATH", f"CARPOOL_TEAM={note.parent}"])
    async with open_run(runner=runner) as run:
        await run.fan_out([(AgentSpec(f"a{number}", ""), "go") for number in range(2)], None)


def start(note: Path) -> int:
    process = os.fork()
    if process == 0:
        anyio.run(team, note)
        os._exit(1)
    return process


def kill(process: int, note: Path, when: float) -> None:
    wait_for_command = not int(note.name) % 2
    while wait_for_command and not note.exists() and time.monotonic() < when + 10:
        time.sleep(0.001)
    time.sleep(max(0, when - time.monotonic()))
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def main() -> None:
    chance, folder = random.Random(6), Path(sys.argv[2])
    to_kill: list[tuple[int, Path, float]] = []
    for number in range(int(sys.argv[1])):
        note = folder / str(number)
        to_kill.append((start(note), note, time.monotonic() + chance.uniform(0, 0.3)))
        os.write(1, f"{to_kill[-1][0]}\n".encode())
        if len(to_kill) == AT_ONCE:
            kill(*to_kill.pop(0))
    for each in to_kill:
        kill(*each)


if __name__ == "__main__":
    main()
