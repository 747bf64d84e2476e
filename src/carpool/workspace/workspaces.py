"""Where agents get a place of their own to work in: plain folders, or worktrees of a git repository.

A workspace lies directly in the base and nowhere else, and no two have the same folder. It is gone when its block is
left, whether by success, failure or cancellation, unless ``keep=True``. Changes in a worktree are never thrown away:
who doesn't take them with ``patch`` finds them in a file beside it, and where no patch can hold them, the worktree
stays. What a killed process leaves behind is found by ``leftovers`` and removed by ``remove_leftovers``.

A workspace guards against accident, not attack: an agent has all of its user's rights, and can leave it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Lock

import anyio

from ..clock import Clock, SystemClock
from ..errors import WorkspaceError
from .git import find_commit
from .leftovers import Leftover, leftovers_in, remove_leftovers_in
from .names import folder_name
from .premises import Facts, Premises, has_notes, reason
from .threads import in_thread
from .worktree import Worktree

__all__ = ["Workspace", "Workspaces"]

_MOST_OF_A_PATCH = 64 * 1024 * 1024


class Workspace:
    """One agent's folder, at ``path``. ``kept`` says why it will stay, where it will."""

    def __init__(self, path: Path, worktree: Worktree | None, patch_limit: int) -> None:
        self.path = path
        self.kept: str | None = None
        self._worktree = worktree
        self._patch_limit = patch_limit
        self._taken: str | None = None

    @property
    def rev(self) -> str | None:
        """The full name of the commit that a worktree began at; ``None`` for a folder."""
        return None if self._worktree is None else self._worktree.commit.sha

    @property
    def head(self) -> str | None:
        """The commit that a worktree is at now: another than ``rev``, if the agent has committed."""
        return None if self._worktree is None else self._worktree.head

    @property
    def stays(self) -> bool:
        """Whether the folder is there and will be kept."""
        return self.kept is not None and self.path.is_dir()

    async def patch(self) -> str | None:
        """What is different from ``rev``, for ``git apply``: changed, removed, new and committed files.

        Exact for what git keeps: applied to ``rev`` it gives the same tree. Files that are ignored and were never
        added are not in it. ``None`` when nothing is different, and for a folder, which has nothing to compare with.
        Nobody should be writing in the workspace meanwhile.

        :raises WorkspaceError: when no patch can hold it; then the worktree is kept.
        """
        if self._worktree is None:
            return None
        try:
            self._taken = await self._worktree.patch(self._patch_limit)
        except WorkspaceError as error:
            self.kept = str(error)
            raise
        self.kept = None
        return self._taken

    async def untaken(self) -> str | None:
        """Changes since the last ``patch`` was taken. :raises WorkspaceError: as ``patch``."""
        taken = self._taken
        if self._worktree is not None and self._worktree.is_locked:
            self.kept = "the worktree is locked"
        patch = None if self.kept is not None else await self.patch()
        return None if patch == taken else patch


class Workspaces:
    """A base that gives each agent a folder of its own. Safe from any thread and loop; processes may share a base."""

    def __init__(
        self,
        base: str | os.PathLike[str],
        *,
        repository: Path | None,
        rev: str,
        keep: bool,
        patch_limit: int,
        timeout_s: float,
        clock: Clock | None,
    ) -> None:
        self._base = _absolute(base, "base")
        self._repository = repository
        self._rev = rev
        self._keep = keep
        self._patch_limit = patch_limit
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()
        self._guard = Lock()
        self._inside = 0
        self._premises: Premises | None = None

    @classmethod
    def directory(cls, base: str | os.PathLike[str], keep: bool = False, *, clock: Clock | None = None) -> Workspaces:
        """Empty folders in ``base``, which is made when first needed. ``keep`` leaves them there.

        :raises ValueError: for a path that can be none.
        """
        return cls(base, repository=None, rev="", keep=keep, patch_limit=0, timeout_s=0, clock=clock)

    @classmethod
    def git_worktree(
        cls,
        repo: str | os.PathLike[str],
        base: str | os.PathLike[str],
        rev: str = "HEAD",
        keep: bool = False,
        *,
        patch_limit: int = _MOST_OF_A_PATCH,
        timeout_s: float = 60.0,
        clock: Clock | None = None,
    ) -> Workspaces:
        """Worktrees of ``repo`` in ``base``, detached, at the commit that ``rev`` names when each begins.

        Files stand in them as they stand in the commit: no filter and no line-ending conversion is applied.
        ``patch_limit`` bounds a patch, and what has changed, in bytes; ``timeout_s`` each call of git.

        :raises ValueError: for a path or revision that can be none.
        """
        if not rev or rev.startswith("-") or "\0" in rev or "\n" in rev:
            raise ValueError(f"rev must name a commit, as 'HEAD' or 'main' does, not {rev!r}")
        if patch_limit < 1 or not timeout_s > 0:
            raise ValueError(f"patch_limit and timeout_s must be above 0, not {patch_limit!r} and {timeout_s!r}")
        return cls(
            base,
            repository=_absolute(repo, "repo"),
            rev=rev,
            keep=keep,
            patch_limit=patch_limit,
            timeout_s=timeout_s,
            clock=clock,
        )

    @asynccontextmanager
    async def provide(self, agent_name: str, run_id: str) -> AsyncGenerator[Workspace]:
        """A new workspace for the block. Two at a time of one agent and run are two folders.

        An error that leaves the block, a cancellation too, has a note saying where changes were saved.

        :raises WorkspaceError: when it can't be made; nothing is left of it.
        """
        with self._entered() as premises:
            workspace = await self._made(premises, agent_name, run_id)
            try:
                yield workspace
            except BaseException as error:
                said = await self._ended(premises, workspace)
                if said is not None:
                    error.add_note(said)
                raise
            await self._ended(premises, workspace)

    def leftovers(self) -> list[Leftover]:
        """Every folder in the base that some process has, or had, in use; ``alive`` tells which.

        :raises WorkspaceError: when the base can't be read.
        """
        return leftovers_in(self._base, self._clock)

    async def remove_leftovers(self) -> list[Leftover]:
        """Remove the folders of dead processes that carpool made here, and nothing else; returns what there was.

        Changes in a worktree are saved as ``<folder>.patch`` first. What can't be saved or removed stays where it
        is, with its ``problem``.

        :raises WorkspaceError: when the base can't be used.
        """
        if not leftovers_in(self._base, self._clock) and not has_notes(self._base):
            return []  # and no base is made only to be looked at
        timeout_s, patch_limit = self._timeout_s or 60.0, self._patch_limit or _MOST_OF_A_PATCH
        with self._entered() as premises:
            return await remove_leftovers_in(premises, self._clock, patch_limit, timeout_s)

    # From beginning to end

    @contextmanager
    def _entered(self) -> Generator[Premises]:
        """The base, held open while anybody is in it."""
        with self._guard:
            premises = self._premises
            if premises is None:
                premises = self._premises = Premises.open(self._base)
            self._inside += 1
        try:
            yield premises
        finally:
            with self._guard:
                self._inside -= 1
                if not self._inside:
                    self._premises = None
                    premises.close()

    async def _made(self, premises: Premises, agent_name: str, run_id: str) -> Workspace:
        facts = Facts(run_id=_storable(run_id), agent=_storable(agent_name), created=self._clock.now().isoformat())
        if self._repository is None:
            folder = premises.claim(folder_name(agent_name, run_id), facts)
            return Workspace(premises.root / folder, None, 0)

        commit = await find_commit(self._repository, self._rev, self._timeout_s)
        facts.repository, facts.commit, facts.formatted = str(commit.common), commit.sha, commit.formatted
        folder = premises.claim(folder_name(agent_name, run_id), facts)
        path = premises.root / folder
        worktree = Worktree(self._repository, commit, path, premises.shadow(folder), self._timeout_s)
        try:
            await worktree.add()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await in_thread(_remove, premises, folder, worktree)
            raise
        return Workspace(path, worktree, self._patch_limit)

    async def _ended(self, premises: Premises, workspace: Workspace) -> str | None:
        """The end of a workspace, whatever else goes wrong. Says what of it is still to be found, and where."""
        folder = workspace.path.name
        with anyio.CancelScope(shield=True):
            if self._keep:
                premises.forget(folder)
                return None
            said = await _saved(premises, workspace)
            if workspace.stays:
                premises.forget(folder)
                return f"the worktree {str(workspace.path)!r} is kept: {workspace.kept}"
            await in_thread(_remove, premises, folder, workspace._worktree)  # pyright: ignore[reportPrivateUsage]
            return said


async def _saved(premises: Premises, workspace: Workspace) -> str | None:
    """Write changes that nobody has taken to a file beside the workspace."""
    try:
        patch = await workspace.untaken()
        if patch is None:
            return None
        return f"the changes in the worktree are saved in {str(premises.save(f'{workspace.path.name}.patch', patch))!r}"
    except (WorkspaceError, OSError) as error:
        workspace.kept = f"its changes can't be saved: {reason(error)}"
        return None


def _remove(premises: Premises, folder: str, worktree: Worktree | None) -> None:
    """Remove a workspace. What can't be removed stays, with its note, and so is found as a leftover."""
    try:
        if worktree is not None:
            worktree.give_up()
            worktree.unregister()
        premises.remove(folder)
    except OSError:
        return


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _absolute(path: str | os.PathLike[str], name: str) -> Path:
    given = os.fspath(path)
    if not given or "\0" in given or "\n" in given:
        raise ValueError(f"{name} must be a path, without line breaks, not {given!r}")
    return Path(given).absolute()
