"""Agents that are small scripts, and the asking of one through the door."""

from __future__ import annotations

import sys
from typing import Any

import anyio

from carpool import AgentOutput, AgentSpec, SharedInfra, open_run
from carpool.runners.command import CommandRunner


def literally(text: str) -> str:
    """``text`` in a template, with no place in it."""
    return text.replace("{", "{{").replace("}", "}}")


def python(script: str, *arguments: Any, **settings: Any) -> CommandRunner:
    """Agents that are a Python script; ``arguments`` are templates."""
    return CommandRunner([sys.executable, "-I", "-S", "-c", literally(script), *arguments], **settings)


def shell(script: str, *arguments: Any, **settings: Any) -> CommandRunner:
    return CommandRunner(["/bin/sh", "-c", literally(script), "sh", *arguments], **settings)


def saying(text: str, **settings: Any) -> CommandRunner:
    """Agents that write ``text`` to standard output, whatever the task."""
    return CommandRunner(["printf", "%s", literally(text)], **settings)


async def ask(
    runner: CommandRunner,
    task: str = "do it",
    *,
    infra: SharedInfra | None = None,
    system_prompt: str = "",
    **fields: Any,
) -> AgentOutput:
    """What comes of one agent."""
    with anyio.fail_after(30):
        async with open_run(runner=runner, infra=infra) as run:
            return await run.agent(AgentSpec("agent", system_prompt, **fields), task)
