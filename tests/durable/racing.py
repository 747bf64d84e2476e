"""A process that runs what its standard input names, and tells on its standard output how that went.

Arguments: the journal, a file that every call of a runner is written to, and after how many seconds a silent process
is taken to be gone. A line is the id of a run. ``called``, and the agent waits for another line; ``in use``; ``ended``;
``lost``, when what was running may not be written.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import anyio

from carpool import SharedInfra, Swarm
from carpool.durable import SqliteJournal, ownership, sqlite
from carpool.errors import RunInUse
from carpool.testing.journal_desk import agents


async def main(path: str, bill: str, silence_s: str) -> None:
    ownership.SILENCE_S, sqlite.BEAT_S, sqlite._TICK_S = float(silence_s), float(silence_s) / 10, float(silence_s) / 60
    calls = os.open(bill, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    run_id, has_called = "", False

    async def runner(spec: Any, *_: Any) -> str:
        nonlocal has_called
        os.write(calls, f"{run_id} {os.getpid()}\n".encode())
        has_called = True
        tell("called")
        await anyio.to_thread.run_sync(sys.stdin.readline)
        return f"answer of {os.getpid()}"

    async with SqliteJournal(path) as journal:
        tell("ready")
        while run_id := (await anyio.to_thread.run_sync(sys.stdin.readline)).strip():
            has_called = False
            try:
                await Swarm(agents("a")).run("t", runner=runner, infra=SharedInfra(journal=journal), run_id=run_id)
            except RunInUse:
                tell("lost" if has_called else "in use")
            else:
                tell("ended")


def tell(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
