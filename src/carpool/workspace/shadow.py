"""A git directory of carpool's own for each worktree: what handles file content reads no configuration but its.

It has its own index and its own place for objects, and reads the repository's objects as alternates. Nothing that
lies in the repository, in the worktree or in the agent's part of either is configuration to it: so there is no
filter, textconv, external diff, hook or fsmonitor that it could run. Its attributes outrank those in the tree and
turn every conversion off: what is in the commit is what is in the folder, byte for byte, in both directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from .git import Commit, run_git

__all__ = ["Shadow"]

_NO_CONVERSION = "* !filter -ident -text !eol !crlf !working-tree-encoding !diff !merge !whitespace\n"
_ALL_BINARY = "* -diff\n"


class Shadow:
    """The git directory at ``path``, for the worktree ``tree`` of ``commit``."""

    def __init__(self, path: Path, tree: Path, commit: Commit, timeout_s: float) -> None:
        self.path = path
        self.tree = tree
        self.commit = commit
        self._timeout_s = timeout_s

    @property
    def index(self) -> Path:
        return self.path / "index"

    def make(self) -> None:
        """:raises OSError: when it can't be written."""
        commit = self.commit
        for folder in ("objects/info", "refs/heads", "info"):
            (self.path / folder).mkdir(parents=True)
        extension = "" if commit.formatted == "sha1" else f"[extensions]\n\tobjectFormat = {commit.formatted}\n"
        version = 0 if commit.formatted == "sha1" else 1
        self._write("HEAD", "ref: refs/heads/none\n")
        self._write("config", f"[core]\n\trepositoryFormatVersion = {version}\n\tbare = false\n{extension}")
        self._write("objects/info/alternates", f"{commit.common / 'objects'}\n")
        self._write("info/attributes", _NO_CONVERSION)
        exclude = commit.common / "info" / "exclude"
        if exclude.is_file():
            self._write("info/exclude", exclude.read_text(errors="surrogateescape"))

    def treat_all_as_binary(self) -> None:
        """From now on diffs are in git's binary form, which is ASCII whatever the files hold."""
        self._write("info/attributes", _NO_CONVERSION + _ALL_BINARY)

    async def git(self, arguments: Sequence[str], *, index: Path | None = None, stdin: IO[Any] | None = None) -> bytes:
        """Run git here and nowhere else. :raises WorkspaceError: as ``run_git``."""
        variables = {
            "GIT_DIR": str(self.path),
            "GIT_WORK_TREE": str(self.tree),
            "GIT_INDEX_FILE": str(index or self.index),
        }
        return await run_git(arguments, timeout_s=self._timeout_s, variables=variables, stdin=stdin)

    def _write(self, name: str, text: str) -> None:
        with (self.path / name).open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
