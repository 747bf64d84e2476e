"""Git, run so that nothing in a repository or in the user's settings can start a program.

Each call gets an environment made from nothing: no configuration of user or system, no prompt, no transport, no
pager, editor or replaced objects. Hooks and fsmonitor are off on the command line, which no file can override. What
touches file content, and would ask filters, textconv or external diffs, is never run with a repository's own
configuration at all: see ``shadow``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO, Any

import anyio
from anyio.abc import ByteReceiveStream, Process
from msgspec import Struct

from ..errors import WorkspaceError
from .premises import reason

__all__ = ["Commit", "find_commit", "run_git"]

_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "HOME": os.devnull,
    "XDG_CONFIG_HOME": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "GIT_EDITOR": ":",
    "GIT_PAGER": "cat",
    "GIT_ALLOW_PROTOCOL": "none",  # overrides every protocol.*.allow: not even missing objects are fetched
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C",
}
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.sshCommand=false",
    "core.pager=cat",
    "credential.helper=",
    "protocol.allow=never",
    "protocol.ext.allow=never",
    "submodule.recurse=false",
    "worktree.useRelativePaths=false",
    "gc.auto=0",
    "maintenance.auto=false",
)
_MOST_OF_A_COMPLAINT = 400


class Commit(Struct, frozen=True, kw_only=True):
    """A commit, and the repository that it is in: ``common`` is its git directory, shared by all its worktrees."""

    common: Path
    sha: str
    formatted: str


async def run_git(
    arguments: Sequence[str],
    *,
    timeout_s: float,
    variables: Mapping[str, str] | None = None,
    stdin: IO[Any] | None = None,
) -> bytes:
    """What ``git <arguments>`` prints. It is killed after ``timeout_s`` seconds and on cancellation.

    :raises WorkspaceError: when it can't be started, fails or takes too long; with what it complained of.
    """
    command = ["git", "--no-pager", "--literal-pathspecs"]
    for setting in _SETTINGS:
        command += ["-c", setting]
    verb = " ".join(arguments[:4])
    environment = {"PATH": os.environ.get("PATH", os.defpath), **_ENVIRONMENT, **(variables or {})}
    try:
        with anyio.fail_after(timeout_s):
            status, printed, complained = await _finished([*command, *arguments], environment, stdin)
    except TimeoutError:
        raise WorkspaceError(f"git took longer than {timeout_s:g} s: git {verb}") from None
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"git can't be run ({reason(error)}): git {verb}; is it installed?") from error
    if status:
        complaint = complained.decode("utf-8", "replace").strip()[:_MOST_OF_A_COMPLAINT]
        raise WorkspaceError(f"git failed with {status}: {complaint or 'no reason given'}")
    return printed


async def _finished(
    command: Sequence[str], environment: Mapping[str, str], stdin: IO[Any] | None
) -> tuple[int, bytes, bytes]:
    """The exit status of a process that has ended, and what it printed on both outputs."""
    process = await _started(command, environment, stdin)
    printed, complained = bytearray(), bytearray()
    async with process, anyio.create_task_group() as group:
        group.start_soon(_drain, process.stdout, printed)
        group.start_soon(_drain, process.stderr, complained)
    return await process.wait(), bytes(printed), bytes(complained)


async def _started(command: Sequence[str], environment: Mapping[str, str], stdin: IO[Any] | None) -> Process:  # pyright: ignore[reportReturnType] - a shield swallows nothing
    with anyio.CancelScope(shield=True):  # cancelled while it starts one, asyncio leaves process and pipes behind
        return await anyio.open_process(
            command,
            stdin=DEVNULL if stdin is None else stdin,
            stdout=PIPE,
            stderr=PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C in a terminal is for the run, which then ends this in good order
        )


async def _drain(source: ByteReceiveStream | None, into: bytearray) -> None:
    if source is not None:
        async for piece in source:
            into += piece


async def find_commit(repository: Path, revision: str, timeout_s: float) -> Commit:
    """The commit that ``revision`` names in the repository that ``repository`` is, or lies, in.

    :raises WorkspaceError: when there is no such repository or commit.
    """
    at = ["-C", str(repository), "rev-parse"]
    try:
        asked = await run_git(
            [*at, "--path-format=absolute", "--git-common-dir", "--show-object-format"], timeout_s=timeout_s
        )
    except WorkspaceError as error:
        raise WorkspaceError(f"{str(repository)!r} is no git repository that can be used: {error}") from error
    common, *formatted = os.fsdecode(asked).splitlines()
    if len(formatted) != 1:
        raise WorkspaceError(f"{str(repository)!r}: a repository's path can't have line breaks")
    try:
        named = await run_git(
            [*at, "--verify", "--quiet", "--end-of-options", revision + "^{commit}"], timeout_s=timeout_s
        )
    except WorkspaceError as error:
        raise WorkspaceError(f"no commit {revision!r} in {str(repository)!r}: {error}") from error
    return Commit(common=Path(common), sha=named.decode().strip(), formatted=formatted[0])
