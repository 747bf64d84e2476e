"""A program: commands that write more than anybody wants, and how much memory each took here, in a line of JSON."""

import json
import os
from pathlib import Path

import anyio

from carpool import AgentOutput, AgentSpec, open_run
from carpool.runners.command import CommandRunner
from carpool.runners.command_output import JsonLines, JsonOutput, OutputFormat, TextOutput

LINES = JsonLines(answer="text", usage={"input_tokens": "in"})
END = """printf '\\n{{"text": "the end", "in": 5}}\\n'"""
FLOODS: dict[str, tuple[str, OutputFormat]] = {
    "1 GB of text": ("head -c 1073741824 /dev/zero | tr '\\0' x", TextOutput()),
    "1 GB for one document": ("head -c 1073741824 /dev/zero", JsonOutput(answer="text")),
    "1 GB of lines": (f'yes \'{{{{"text": "{"x" * 60_000}"}}}}\' | head -c 1073741824; {END}', LINES),
    "a line of 100 MB": (f"head -c 104857600 /dev/zero | tr '\\0' x; {END}", LINES),
    "100 MB of binary lines": (f"head -c 104857600 /dev/urandom; {END}", LINES),
    "100 MB of binary text": ("head -c 104857600 /dev/urandom", TextOutput()),
    "1 GB on standard error": ("head -c 1073741824 /dev/zero >&2; echo the end", TextOutput()),
}


def memory(what: str) -> int:
    """``VmRSS`` or, since the last reset, ``VmHWM``, in MB."""
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) for line in file if line.startswith(what)) // 1024


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


async def ask(script: str, output: OutputFormat) -> AgentOutput:
    async with open_run(runner=CommandRunner(["/bin/sh", "-c", script], output=output)) as run:
        return await run.agent(AgentSpec("agent", ""), "")


async def main() -> None:
    await ask("echo warm", TextOutput())
    for what, (script, output) in FLOODS.items():
        before = memory("VmRSS")
        reset_peak()
        said = await ask(script, output)
        growth = memory("VmHWM") - before
        line = {"what": what, "mb": growth, "answer": said.answer[-60:], "chars": len(said.answer), "error": said.error}
        os.write(1, json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    anyio.run(main)
