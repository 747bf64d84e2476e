"""One command, from start to end: both pipes drained, memory bounded, nothing left behind.

Between us and the command is a ``keeper``, a small process that ends all that came of the command, whether we ask
for it or die. Pipes are read here, not by asyncio's streams: those keep what they read, fail on long lines, and
would have the end of the process wait for the last holder of a pipe.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import anyio
from msgspec import Struct

from .pipes import Tail, drain, feed, open_pipe, pour

if TYPE_CHECKING:
    from asyncio.subprocess import Process

__all__ = ["Ended", "how", "run_bounded", "with_complaint"]

_COMPLAINT_BYTES = 4_096  # of standard error, its end
_STRAGGLERS_S = 0.5  # how long a pipe is read that somebody holds who was handed it from outside the family
_LAST_S = 6.0  # the keeper gives up after 4; then it is stopped itself, or stuck
_KEEPER = os.path.join(os.path.dirname(__file__), "keeper.py")  # noqa: PTH118, PTH120 - pathlib is slow to load
_FOR_OUR_PYTHON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # where the keeper's Python may have to look for itself


class Ended(Struct, frozen=True):
    """How it ended: ``code`` is negative for a signal; ``complaint`` is the end of standard error."""

    code: int
    complaint: str
    timed_out: bool


def how(ended: Ended) -> str:
    """``exit code 3``, or ``ended by SIGSEGV``."""
    return f"exit code {ended.code}" if ended.code >= 0 else f"ended by {_signal_name(-ended.code)}"


def with_complaint(text: str, ended: Ended) -> str:
    """``text``, and the end of standard error if there is any."""
    return f"{text}: {ended.complaint}" if ended.complaint else text


async def run_bounded(
    argv: list[str],
    *,
    stdin: bytes,
    cwd: str | None,
    env: dict[str, str],
    timeout_s: float | None,
    grace_s: float,
    take: Callable[[bytes], None],
) -> Ended:
    """Run ``argv`` until it ends or time is up; its standard output goes to ``take``, piece by piece.

    Before this returns or raises, all descendants have ended too. If they are asked to by a timeout or a
    cancellation, the command's process group gets SIGTERM first; SIGKILL follows when the command has ended, or
    after ``grace_s``. Not ended is who belongs to somebody else (``sudo``), and what the kernel can't end.

    :raises OSError: when it can't be started; nothing of it has run then.
    :raises ValueError: for a string that no program can be passed.
    """
    complaint = Tail(_COMPLAINT_BYTES)
    with ExitStack() as ours, ExitStack() as theirs:
        in_theirs, in_ours = open_pipe(theirs, ours)
        out_ours, out_theirs = open_pipe(ours, theirs)
        err_ours, err_theirs = open_pipe(ours, theirs)
        keeper = _Keeper(argv, env, ours, theirs, grace_s)
        await keeper.start(in_theirs.number, out_theirs.number, err_theirs.number, cwd)
        try:
            theirs.close()  # or we would hold our own pipes open
            with anyio.move_on_after(timeout_s) as limit:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(keeper.order)
                    tasks.start_soon(feed, in_ours, stdin)
                    async with anyio.create_task_group() as readers:
                        readers.start_soon(drain, out_ours.number, take)
                        readers.start_soon(drain, err_ours.number, complaint.take)
                        await keeper.wait()
                        readers.cancel_scope.deadline = anyio.current_time() + _STRAGGLERS_S
                    tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await keeper.end()
        code = keeper.code_of_command(limit.cancelled_caught, complaint.text())
    return Ended(code, complaint.text(), limit.cancelled_caught)


class _Keeper:
    """Our side of ``keeper``, which says what is asked of it and what it says."""

    def __init__(self, argv: list[str], env: dict[str, str], ours: ExitStack, theirs: ExitStack, grace_s: float):
        strings = [*argv, *(f"{name}={value}" for name, value in env.items())]
        if any("\0" in each for each in strings):
            raise ValueError("a NUL can't be passed to a program, neither in an argument nor in a variable")
        self._order = b"".join(os.fsencode(each) + b"\0" for each in strings)
        self._arguments = len(argv)
        self._leash_theirs, self._leash = open_pipe(theirs, ours)
        self._status, self._status_theirs = open_pipe(ours, theirs)
        self._grace_s = grace_s
        self._ordered = False
        self._process: Process | None = None
        self._said: dict[str, int] = {}

    async def start(self, stdin: int, stdout: int, stderr: int, cwd: str | None) -> None:
        from asyncio import create_subprocess_exec
        from errno import ENOEXEC

        if not sys.executable or getattr(sys, "frozen", False):
            raise OSError(ENOEXEC, "a command needs a Python to keep it, and sys.executable is none")
        pipes = (self._leash_theirs.number, self._status_theirs.number)
        numbers = map(str, (*pipes, os.getpid(), self._arguments, len(self._order)))
        with anyio.CancelScope(shield=True):  # cancelled inside, it could leave a process that nobody knows
            self._process = await create_subprocess_exec(
                *(sys.executable, "-I", "-S", _KEEPER, *numbers),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                env={name: os.environ[name] for name in _FOR_OUR_PYTHON if name in os.environ},
                pass_fds=pipes,
                start_new_session=True,
            )

    async def order(self) -> None:
        await pour(self._leash, self._order)
        self._ordered = True

    async def wait(self) -> None:
        if self._process is not None:
            await self._process.wait()

    async def end(self) -> None:
        """Ask, wait, kill; then nobody of the command is left, and neither is its keeper."""
        process = self._process
        if process is None:
            return
        if process.returncode is None and self._ordered:
            with anyio.move_on_after(self._grace_s), suppress(OSError):
                os.write(self._leash.number, b"t")
                await process.wait()
        self._leash.close()
        with anyio.move_on_after(_LAST_S):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        self._hear()

    def _hear(self) -> None:
        """What it has said; if it was killed before it was done, its work on the command's group is done here."""
        from signal import SIGKILL

        os.set_blocking(self._status.number, False)
        with suppress(BlockingIOError):
            lines = os.read(self._status.number, 4_096).decode().splitlines()
            self._said = {what: int(number) for what, number in map(str.split, lines)}
        if "pid" in self._said and "exit" not in self._said:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._said["pid"], SIGKILL)

    def code_of_command(self, timed_out: bool, complaint: str) -> int:
        """:raises OSError: when the command has not been started."""
        from errno import ECHILD
        from signal import SIGKILL

        if "errno" in self._said:
            raise OSError(self._said["errno"], os.strerror(self._said["errno"]))
        if "exit" not in self._said and "pid" not in self._said and not timed_out:
            raise OSError(ECHILD, f"{sys.executable} did not run its keeper: {complaint}")
        return self._said.get("exit", -SIGKILL)  # who loses its keeper is killed


def _signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
