"""Run by tests as ``python postgres_owner.py DSN BILL [elsewhere]``: a process that takes runs, and can be killed.

It reads the id of a run, tries to run it, and says ``has it`` when its only agent is at work, or ``in use``. The agent
is done when the next line comes. Whatever the runner does is on a bill: a line for each call, forced to the disk.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
from anyio import to_thread
from msgspec.structs import replace

from carpool import AgentSpec, SharedInfra, open_run
from carpool.durable.postgres import PostgresJournal
from carpool.errors import RunInUse

SPEC = AgentSpec("worker", "Do it.")


async def main(dsn: str, bill: str, *elsewhere: str) -> None:
    async def work(spec, task, runtime, mailbox):
        with Path(bill).open("a") as file:  # noqa: ASYNC230 - it is to be written before anything else happens
            file.write(f"{task}\n")
            file.flush()
            os.fsync(file.fileno())
        print("has it", flush=True)
        await to_thread.run_sync(sys.stdin.readline)
        return "done"

    async with PostgresJournal(dsn) as journal:
        if elsewhere:
            # As if on another machine: nobody can look whether the process is still there.
            journal.owner = replace(journal.owner, host="elsewhere", boot="elsewhere", space="elsewhere")
        while run_id := (await to_thread.run_sync(sys.stdin.readline)).strip():
            try:
                async with open_run(runner=work, infra=SharedInfra(journal=journal), run_id=run_id) as run:
                    await run.fan_out([(SPEC, run_id)], 1)
            except RunInUse:
                print("in use", flush=True)
            else:
                print("done", flush=True)


anyio.run(main, *sys.argv[1:])
