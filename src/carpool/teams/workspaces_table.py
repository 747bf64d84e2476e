"""Workspaces as a team file says them, and the making of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from ..workspace import Workspaces
from .paths import path_in
from .table import Positive, Seconds, Table, Text

__all__ = ["DirectoryTable", "GitWorktreeTable", "ListedWorkspaces", "WorkspacesTable", "workspaces_from"]


class DirectoryTable(Table, frozen=True, kw_only=True):
    """The arguments of ``Workspaces.directory``."""

    base: Text
    keep: bool = False


class GitWorktreeTable(Table, frozen=True, kw_only=True):
    """The arguments of ``Workspaces.git_worktree``."""

    repo: Text
    base: Text
    rev: Text = "HEAD"
    keep: bool = False
    patch_limit: Positive = 67_108_864
    timeout_s: Seconds = 60.0


class WorkspacesTable(Table, frozen=True, kw_only=True):
    """A folder or a git worktree of its own for each agent; one of the two."""

    directory: DirectoryTable | None = None
    git_worktree: GitWorktreeTable | None = None

    def __post_init__(self) -> None:
        if (self.directory is None) == (self.git_worktree is None):
            raise ValueError("needs either 'directory' or 'git_worktree'")


class ListedWorkspaces(Workspaces):
    """Workspaces that know what they were made with, so that they can be written to a file again."""

    settings: dict[str, Any]
    """The arguments, by name; with ``repo`` they are those of ``git_worktree``."""


def workspaces_from(table: WorkspacesTable, folder: Path) -> Workspaces:
    """Relative paths lie in ``folder``. Nothing is made yet.

    :raises ValueError: for a path or revision that can be none.
    """
    if table.directory is not None:
        settings = _arguments(table.directory, folder, "base")
        made: Any = ListedWorkspaces.directory(**settings)
    else:
        settings = _arguments(table.git_worktree, folder, "base", "repo")
        made = ListedWorkspaces.git_worktree(**settings)
    made.settings = settings
    return made


def _arguments(table: Any, folder: Path, *paths: str) -> dict[str, Any]:
    arguments = asdict(table)
    return arguments | {name: path_in(folder, arguments[name]) for name in paths}
