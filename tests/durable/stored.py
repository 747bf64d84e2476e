"""A journal file with runs in it, as a process leaves it that ended well, or was killed; made by running this."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import msgspec
from msgspec.structs import replace

from carpool import BudgetLimits, Delegator, MapReduce, Pipeline, SharedInfra, StateStore, Swarm, Vote
from carpool.durable import SqliteJournal
from carpool.durable.claim import Step
from carpool.testing import Reply, ScriptedRunner
from carpool.testing.journal_desk import COST, Desk, agent, agents, calling, gist

RUNS = ("map-reduce", "delegator", "teams", "cut short")
"""The runs that are there at the end, and one more that is only described."""


async def changes(spec: Any, task: str, runtime: Any, mailbox: Any) -> str:
    runtime.state.set("found", [1, 2.5, None, "ü"], actor=spec.name)
    runtime.state.delete("a", actor=spec.name)
    return f"x: {task}"


SCRIPT = {
    "m": calling("delegate", {"specialist": "x", "task": "größer"}),
    "x": Reply("x", spends=COST, does=changes),
    "fails": Reply(model_calls=[COST], raises=OSError("no")),
}


def pattern(run_id: str) -> Any:
    return {
        "map-reduce": MapReduce(agent("a"), agent("r")).over(items=[f"item {number}" * 20 for number in range(8)]),
        "delegator": Delegator(agent("m"), {"x": agent("x")}),
        "cut short": Swarm(agents("abcd", estimate=COST), max_concurrent=2),
        "teams": Vote([Pipeline(agents("ab")), agent("fails", retries=1), agent("c", estimate=COST)]),
    }[run_id]


def infra(journal: SqliteJournal) -> SharedInfra:
    limits = BudgetLimits(max_total_tokens=100_000)
    return SharedInfra(journal=journal, budget=limits, state=StateStore({"a": 1}), secrets=["a secret"])


def runner() -> ScriptedRunner:
    return ScriptedRunner(
        SCRIPT, default=Reply(lambda spec, task: f"{spec.role or spec.name}: {task[:40]}", spends=COST)
    )


async def make(path: str, ending: str) -> None:
    """All runs; ``ending`` is ``killed`` or ``closed``."""
    async with SqliteJournal(path) as journal:
        for run_id in RUNS[:3]:
            await pattern(run_id).run("the task", runner=runner(), infra=infra(journal), run_id=run_id)
        await Desk(journal).run(pattern(RUNS[3]), SCRIPT, run_id=RUNS[3], task="the task", dies_at="c")
        # Not heard of since the machine began: on another one, nobody else could know that its process is gone.
        await journal.change(RUNS[3], lambda header: Step(replace(header, beat=0.0)))
        await journal.describe("described", {"command": ["run"], "items": [1, None, "ü"]})
        if ending == "killed":
            os.kill(os.getpid(), signal.SIGKILL)


def made(folder: Path, ending: str) -> Path:
    """The path of a journal that another process has made in ``folder``."""
    path = folder / "runs.db"
    done = subprocess.run([sys.executable, __file__, str(path), ending], check=False)
    assert done.returncode == (-signal.SIGKILL if ending == "killed" else 0)
    return path


def copy(path: Path, folder: Path) -> Path:
    """The journal and all that lies beside it, in another folder."""
    folder.mkdir()
    for file in path.parent.iterdir():
        shutil.copy(file, folder)
    return folder / path.name


async def told(journal: SqliteJournal) -> dict[str, Any]:
    """All that can be read from it."""
    runs = await journal.runs()
    return {run.run_id: msgspec.to_builtins(await journal.read(run.run_id)) for run in runs}


async def resumed(journal: SqliteJournal, run_id: str) -> Any:
    """What comes of a run that is run again, whom it calls, and what is spent and changed then."""
    team, calls = infra(journal), runner()
    result = await pattern(run_id).run("the task", runner=calls, infra=team, run_id=run_id)
    spent = team.budget.snapshot().total_tokens
    return {"result": gist(result), "calls": calls.bill.agents, "spent": spent, "state": team.state.snapshot()}


if __name__ == "__main__":
    anyio.run(make, sys.argv[1], sys.argv[2])
