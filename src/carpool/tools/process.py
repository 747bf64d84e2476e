"""One process and its group, from start to end: both pipes drained, memory bounded, nothing left behind.

Pipes are read here, not by asyncio's streams: those keep what they read, fail on long lines, and would have the
end of the process wait for the last holder of a pipe.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import anyio
from msgspec import Struct

from .pipes import Head, Tail, drain, feed, open_pipe

if TYPE_CHECKING:
    from asyncio.subprocess import Process

__all__ = ["Ended", "run_bounded"]

_COMPLAINT_BYTES = 4_096  # of standard error, its end
_STRAGGLERS_S = 0.5  # how long a pipe is read that somebody outside the group still holds
_GUARD = 'read -r _; kill -s KILL -- "-$1"'  # its input ends when we do


class Ended(Struct, frozen=True):
    """How it ended: ``code`` is negative for a signal; ``complaint`` is the end of standard error."""

    code: int
    output: str
    complaint: str
    timed_out: bool


async def run_bounded(
    argv: list[str],
    *,
    stdin: bytes,
    cwd: str | None,
    env: dict[str, str],
    timeout_s: float,
    grace_s: float,
    most_bytes: int,
) -> Ended:
    """Run ``argv`` in a session of its own until it ends or time is up; its group ends before this returns or raises.

    :raises OSError: when it can't be started.
    """
    output, complaint = Head(most_bytes), Tail(_COMPLAINT_BYTES)
    with ExitStack() as ours, ExitStack() as theirs:
        in_theirs, in_ours = open_pipe(theirs, ours)
        out_ours, out_theirs = open_pipe(ours, theirs)
        err_ours, err_theirs = open_pipe(ours, theirs)
        process = await _started(argv, in_theirs, out_theirs, err_theirs, cwd=cwd, env=env)
        group = _Group(process, grace_s)
        try:
            theirs.close()  # or we would hold our own pipes open
            await group.set_guard()
            with anyio.move_on_after(timeout_s) as limit:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(feed, in_ours, stdin)
                    async with anyio.create_task_group() as readers:
                        readers.start_soon(drain, out_ours, output.take)
                        readers.start_soon(drain, err_ours, complaint.take)
                        await process.wait()
                        group.kill()
                        readers.cancel_scope.deadline = anyio.current_time() + _STRAGGLERS_S
                    tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await group.end()
        code = process.returncode
    return Ended(code if code is not None else 0, output.text(), complaint.text(), limit.cancelled_caught)


async def _started(
    argv: list[str], stdin: int, stdout: int, stderr: int, *, cwd: str | None, env: dict[str, str]
) -> Process:
    from asyncio import create_subprocess_exec

    with anyio.CancelScope(shield=True):  # cancelled inside, it could leave a process that nobody knows
        return await create_subprocess_exec(
            *argv, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=env, start_new_session=True
        )
    raise AssertionError("a scope that nobody cancels was cancelled")


class _Group:
    """The process group of ``process``, which leads it."""

    def __init__(self, process: Process, grace_s: float) -> None:
        self._process = process
        self._grace_s = grace_s
        self._guard: Process | None = None
        self._leash = ExitStack()

    async def set_guard(self) -> None:
        """Start a shell that kills the group when this process dies. Without a shell there is none."""
        from asyncio import create_subprocess_exec
        from subprocess import DEVNULL

        with ExitStack() as theirs, suppress(OSError), anyio.CancelScope(shield=True):
            read_end, _ = open_pipe(theirs, self._leash)
            self._guard = await create_subprocess_exec(
                "/bin/sh",
                "-c",
                _GUARD,
                "guard",
                str(self._process.pid),
                stdin=read_end,
                stdout=DEVNULL,
                stderr=DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
            )

    def kill(self) -> None:
        """End at once whoever is in the group."""
        from signal import SIGKILL

        self._signal(SIGKILL)

    async def end(self) -> None:
        """Ask, wait, kill; then nobody of the group is left, and neither is the guard."""
        from signal import SIGTERM

        if self._process.returncode is None:
            self._signal(SIGTERM)
            with anyio.move_on_after(self._grace_s):
                await self._process.wait()
            self.kill()
            await self._process.wait()
        if self._guard is not None:
            # Not by its leash: it would kill once more, and the number may be another group's by then.
            with suppress(ProcessLookupError):
                self._guard.kill()
            await self._guard.wait()
        self._leash.close()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
