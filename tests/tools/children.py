"""Scripts that commands run in tests, and a look at what is left of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio

from carpool import Runtime, SharedInfra
from carpool.tools import CommandTool


def python(script: str, *arguments: str, **settings: Any) -> CommandTool:
    """A tool ``it`` that runs a Python script; ``arguments`` are templates. ``{`` in the script means itself."""
    script = script.replace("{", "{{").replace("}", "}}")
    return CommandTool("it", [sys.executable, "-I", "-S", "-c", script, *arguments], **settings)


def shell(script: str, *arguments: str, **settings: Any) -> CommandTool:
    return CommandTool(
        "it", ["/bin/sh", "-c", script.replace("{", "{{").replace("}", "}}"), "sh", *arguments], **settings
    )


def runtime_with(*tools: Any, **settings: Any) -> Runtime:
    return SharedInfra(tools=tools, **settings).make_runtime()


async def run(tool: CommandTool, **arguments: Any) -> str:
    with anyio.fail_after(20):
        return await runtime_with(tool).call_tool("it", **arguments)


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie that its foster parent has not reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def until(holds: Callable[[], bool], seconds: float = 5) -> bool:
    """Look every 10 ms whether it holds; whether it did within ``seconds``."""
    for _ in range(int(seconds * 100)):
        if holds():
            return True
        await anyio.sleep(0.01)
    return holds()


async def pids_in(path: Path, count: int) -> list[int]:
    """The process ids that children wrote into ``path``, once there are so many."""
    assert await until(lambda: len(written(path)) >= count)
    return written(path)


def written(path: Path) -> list[int]:
    return [int(each) for each in path.read_text().split()] if path.exists() else []


def own_children() -> set[int]:
    """Children of this process, reaped or not."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that has ended meanwhile
            found |= {int(each) for each in (task / "children").read_text().split()}
    return found


def own_pipes() -> int:
    count = 0
    for each in Path("/proc/self/fd").iterdir():
        try:
            count += str(each.readlink()).startswith("pipe:")
        except OSError:
            continue
    return count
