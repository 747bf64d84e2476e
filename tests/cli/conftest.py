"""The command line as a test types it: in this process where it can be, in one of its own where it must."""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple

import pytest

import carpool.cli

DEADLINE_S = 20
SOURCE = Path(__file__).parents[2] / "src"

# Runners that the tests name as ``crew:name``.
AGENTS = '''
import sys
import time

import anyio

from carpool import AgentOutput, TokenAccounting

COST = TokenAccounting(input_tokens=100, output_tokens=20, cost_usd=0.0125)


async def paid(spec, task, runtime, mailbox):
    return AgentOutput(name=spec.name, answer=f"answer of {spec.name}", tokens=COST)


async def bad_fails(spec, task, runtime, mailbox):
    if spec.name.startswith("bad"):
        raise RuntimeError("no key")
    return AgentOutput(name=spec.name, answer=f"answer of {spec.name}", tokens=COST)


async def fails(spec, task, runtime, mailbox):
    raise RuntimeError("no key")


async def forges(spec, task, runtime, mailbox):
    return "\\x1b]0;title\\x07red \\x1b[31m\\u202egreen\\x9b"


async def first_only(spec, task, runtime, mailbox):
    """The first agent answers, all others sleep."""
    if spec.name in ("mapper_0", "first"):
        return AgentOutput(name=spec.name, answer="the first answer", tokens=COST)
    await anyio.sleep(600)


async def blocks(spec, task, runtime, mailbox):
    print("blocking", file=sys.stderr, flush=True)
    time.sleep(600)


async def swallows(spec, task, runtime, mailbox):
    try:
        await anyio.sleep(600)
    except BaseException:
        return "kept"


class InAThread:
    async def run(self, spec, task, runtime, mailbox):
        await anyio.to_thread.run_sync(time.sleep, 600, abandon_on_cancel=True)


class Demanding:
    def __init__(self, key):
        pass


def not_async(spec, task, runtime, mailbox):
    return "text"


async def too_few(task):
    return "text"


number = 7
'''


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Three files to work on, and ``crew.py``; the current folder."""
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.md").write_text(f"Cats are number {name}. Dogs are not.")
    (tmp_path / "crew.py").write_text(AGENTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("CARPOOL_JOURNAL", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    loaded = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - loaded:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]  # the next test has an ``crew.py`` of its own


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run a command in this process."""

    def run(*arguments: str) -> Ended:
        importlib.invalidate_caches()  # the folder is new, and so may be a module in it
        code = carpool.cli.main(arguments)
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture
def started(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command in a process of its own, which does not outlive the test or a deadline.

    ``on_interrupt`` is what the process is born with for SIGINT: tests that run in the background ignore it.
    """
    running: list[tuple[subprocess.Popen[str], Timer]] = []

    def start(*arguments: str, on_interrupt: Any = signal.SIG_DFL, **options: Any) -> subprocess.Popen[str]:
        ours = signal.signal(signal.SIGINT, on_interrupt)
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "carpool.cli", *arguments],
                **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": folder} | options,
                env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "error"},
            )
        finally:
            signal.signal(signal.SIGINT, ours)
        timer = Timer(DEADLINE_S, process.kill)
        timer.start()
        running.append((process, timer))
        return process

    yield start
    for process, timer in running:
        timer.cancel()
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
