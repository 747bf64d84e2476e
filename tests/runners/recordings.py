"""What tests of recordings have in common."""

import json
from pathlib import Path
from typing import Any

from carpool import AgentOutput, AgentSpec, SharedInfra, open_run
from carpool.runners.recording import RecordingRunner
from carpool.testing import ScriptedRunner

KEY = "sk-abcdefghijklmnopqrstuvwxyz"
"""Looks like one."""


def lines(path: Path) -> list[dict[str, Any]]:
    """The recorded calls, without the header."""
    return [json.loads(line) for line in path.read_text().splitlines()[1:] if line]


def delete_lines(path: Path, *, having: str) -> None:
    """As somebody does with an editor, who leaves an empty line behind."""
    kept = [line for line in path.read_text().split("\n") if having not in line]
    path.write_text("\n".join([*kept, ""]))


async def never(*_: Any) -> str:
    raise AssertionError("the runner was called")


async def ask(runner: Any, spec: AgentSpec, task: str = "t", infra: SharedInfra | None = None) -> AgentOutput:
    """One agent, through the door."""
    async with open_run(runner=runner, infra=infra) as run:
        return await run.agent(spec, task)


async def call(runner: Any, spec: AgentSpec, task: str = "t", infra: SharedInfra | None = None) -> Any:
    """What the runner itself returns or raises."""
    return await runner.run(spec, task, (infra or SharedInfra()).make_runtime(), None)


async def record(path: Path, *calls: tuple[AgentSpec, str], infra: SharedInfra | None = None) -> None:
    """Each answers ``ok``."""
    runner = RecordingRunner(ScriptedRunner(default="ok"), path)
    for agent, task in calls:
        await call(runner, agent, task, infra)


def gist(output: AgentOutput) -> dict[str, Any]:
    """An output without what depends on the time."""
    fields = {name: getattr(output, name) for name in output.__struct_fields__}
    return {name: value for name, value in fields.items() if name not in ("duration_ms", "outcome")}
