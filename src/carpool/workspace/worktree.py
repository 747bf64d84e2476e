"""A git worktree in a folder that is there already: added, looked at, removed.

The folder guards against accident, not attack: an agent that wants to can reach the repository from it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio

from ..errors import WorkspaceError
from .changes import patch_of
from .folders import open_folder, remove_tree
from .git import Commit, run_git
from .premises import reason
from .shadow import Shadow

__all__ = ["Worktree"]

_POLL_S = 0.005
_SHA = re.compile(r"[0-9a-f]{40,64}")


class Worktree:
    """The worktree of ``commit`` at ``folder``, with carpool's own git directory for it at ``shadow``."""

    def __init__(self, repository: Path, commit: Commit, folder: Path, shadow: Path, timeout_s: float) -> None:
        self.commit = commit
        self._repository = repository
        self._folder = folder
        self._timeout_s = timeout_s
        self._shadow = Shadow(shadow, folder, commit, timeout_s)

    async def add(self) -> None:
        """Fill the empty folder. Adds to one repository take turns, across threads and processes.

        :raises WorkspaceError: when that fails; what was made by then is for ``remove``.
        """
        where = ["-C", str(self._repository), "worktree", "add", "--detach", "--no-checkout", "--force"]
        async with _turn(self.commit.common, self._timeout_s):
            await run_git([*where, str(self._folder), self.commit.sha], timeout_s=self._timeout_s)
        try:
            self._shadow.make()
        except (OSError, ValueError) as error:
            raise WorkspaceError(f"can't make a worktree in {str(self._folder)!r}: {reason(error)}") from error
        await self._shadow.git(["read-tree", "--reset", "-u", self.commit.sha])
        for admin in self._admins():
            shutil.copyfile(self._shadow.index, admin / "index")

    async def patch(self, most: int) -> str | None:
        """What has changed since the commit. :raises WorkspaceError: as ``patch_of``."""
        indexes = [admin / "index" for admin in self._admins() if (admin / "index").is_file()]
        return await patch_of(self._shadow, indexes[0] if indexes else None, most)

    @property
    def was_handed_over(self) -> bool:
        """Whether the folder was ever filled, so that an agent may have worked in it."""
        return self._shadow.index.exists()

    @property
    def head(self) -> str:
        """The commit that the worktree is at; its own, where that can't be told."""
        for admin in self._admins():
            try:
                head = (admin / "HEAD").read_text().strip()
            except (OSError, ValueError):
                continue
            if _SHA.fullmatch(head):
                return head
        return self.commit.sha

    @property
    def is_locked(self) -> bool:
        """Whether somebody has asked git to keep it."""
        return self.was_handed_over and any((admin / "locked").exists() for admin in self._admins())

    def give_up(self) -> None:
        """Nothing in the folder is wanted any more: what is half removed later is not taken for an agent's work."""
        self._shadow.index.unlink(missing_ok=True)

    def unregister(self) -> None:
        """Have the repository forget this worktree and no other. :raises OSError: when it can't be written."""
        for admin in self._admins():
            with open_folder(str(admin.parent)) as worktrees:
                remove_tree(admin.name, worktrees)
        with suppress(OSError), open_folder(str(self.commit.common)) as folder:
            if _lock(folder):  # or somebody is just about to need it
                os.rmdir("worktrees", dir_fd=folder)  # git does the same with the last one

    def _admins(self) -> Iterator[Path]:
        """What the repository keeps about this worktree: its name is ours, and it says so, or was not yet able to."""
        worktrees = self.commit.common / "worktrees"
        named = re.compile(re.escape(self._folder.name) + r"[0-9]*")
        try:
            found = sorted(worktrees.iterdir())
        except OSError:
            return
        for admin in found:
            if named.fullmatch(admin.name) and not admin.is_symlink() and self._is_ours(admin):
                yield admin

    def _is_ours(self, admin: Path) -> bool:
        try:
            said = (admin / "gitdir").read_bytes().strip()
        except FileNotFoundError:
            said = b""
        except OSError:
            return False
        return said == os.fsencode(self._folder / ".git") or (not said and admin.name == self._folder.name)


@asynccontextmanager
async def _turn(common: Path, timeout_s: float) -> AsyncGenerator[None]:
    """One at a time per repository. The lock is on the repository's folder: there is no file to leave behind."""
    try:
        with open_folder(str(common)) as folder:
            try:
                with anyio.fail_after(timeout_s):
                    while not _lock(folder):  # noqa: ASYNC110 - another process may hold it, and can't wake us
                        await anyio.sleep(_POLL_S)
            except TimeoutError:
                raise WorkspaceError(f"{str(common)!r} was locked by others for {timeout_s:g} s") from None
            yield
    except OSError as error:
        raise WorkspaceError(f"can't lock {str(common)!r}: {reason(error)}") from error


def _lock(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
