"""A program: processes that are killed while they make their journal, and others that want to use it then.

    python -m tests.durable.kill.birth FOLDER COUNT SEED

Each process begins where there is no file yet, opens a run, and is killed within the few milliseconds after its first
file is there. On stdout is, for every file that the next process could not use, what was the matter with it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from pathlib import Path
from random import Random

import anyio
import anyio._backends._asyncio
import anyio.to_thread

from carpool import AgentSpec, SharedInfra, open_run
from carpool.durable import SqliteJournal

TAKES_S = 0.02


async def be_born(path: Path) -> None:
    async def answer(*_: object) -> str:
        return "yes"

    async with (
        SqliteJournal(path) as journal,
        open_run(runner=answer, infra=SharedInfra(journal=journal), run_id="one") as run,
    ):
        await run.agent(AgentSpec("a", "Answer."), "Is it there?")


def start(path: Path) -> int:
    child = os.fork()
    if child == 0:
        try:
            anyio.run(be_born, path)
        except BaseException:
            path.with_suffix(".error").write_text(traceback.format_exc())
            os._exit(1)
        os._exit(0)
    return child


def main() -> None:
    folder, chance = Path(sys.argv[1]), Random(sys.argv[3])
    for number in range(int(sys.argv[2])):
        path = folder / str(number) / "runs.db"
        path.parent.mkdir()
        child = start(path)
        latest = time.monotonic() + 10
        while not any(path.parent.iterdir()) and time.monotonic() < latest:
            time.sleep(0.0002)
        time.sleep(chance.uniform(0, TAKES_S))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        files = {each.name: each.stat().st_size for each in path.parent.iterdir()}
        _, status = os.waitpid(start(path), 0)
        if status:
            error = path.with_suffix(".error")
            print(f"{path}: {files}\n{error.read_text() if error.exists() else status}")


if __name__ == "__main__":
    main()
