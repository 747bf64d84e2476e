"""A base while somebody lives in it: the folder, the notes of who has which place, and a lock that dies with us.

In the base, beside the agents' folders, lies ``.carpool``. For every folder it has a note, named
``<folder>@<owner>``, written before the folder is made and removed after the folder is; ``<owner>`` is a file
beside it that its process, whose id is in the name, holds locked. The system lets go of a lock when a process ends,
however it ends. So a note whose owner is not locked is a leftover, in every process and container on this machine,
and a process id that is used again misleads nobody.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from ..clock import new_id
from ..errors import WorkspaceError
from .folders import open_folder, remove_tree

__all__ = ["Facts", "Note", "Premises", "has_notes", "notes_in", "owner_of", "owners_in", "reason"]

_NOTES = ".carpool"
_SHADOW = ".git"  # a worktree's own git directory lies beside its note, as <folder>.git
_OWNER = re.compile(r"(?P<pid>[0-9]+)-[0-9a-f]{12}")
_NOTE = re.compile(rf"(?P<folder>[a-z0-9_-]+)@(?P<owner>{_OWNER.pattern})")
_MOST_OF_ONE_NAME = 10_000
_ATTEMPTS = 100
_CREATE = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class Facts(Struct, kw_only=True):
    """What a note says of its folder. ``repository`` is the common git directory of a worktree."""

    run_id: str = ""
    agent: str = ""
    created: str = ""
    repository: str | None = None
    commit: str | None = None
    formatted: str = "sha1"


class Note(Struct, frozen=True, kw_only=True):
    """A note as it lies in the base; ``facts`` is empty where a dying process could not finish writing."""

    name: str
    folder: str
    owner: str
    pid: int
    facts: Facts
    modified_s: float


class Premises:
    """An open base. Not shared between threads; whoever shares it locks."""

    def __init__(self, root: Path, folder: int, notes: int, owner: str, lock: int) -> None:
        self.root = root
        self.folder = folder
        self.notes = notes
        self.owner = owner
        self._lock = lock

    @classmethod
    def open(cls, base: Path) -> Premises:
        """Make ``base`` if it is not there, resolve what links lead to it, once, and hold it.

        :raises WorkspaceError: when that is not possible.
        """
        held: list[int] = []
        try:
            base.mkdir(parents=True, exist_ok=True)
            root = base.resolve(strict=True)
            with open_folder(str(root)) as folder:
                held.append(os.dup(folder))
            notes, owner, lock = _become_owner(held[0])
        except (OSError, ValueError) as error:
            for descriptor in held:
                os.close(descriptor)
            raise WorkspaceError(f"can't keep workspaces in {str(base)!r}: {reason(error)}") from error
        return cls(root, held[0], notes, owner, lock)

    def close(self) -> None:
        """Let go of the base; nobody lives in it any more."""
        try:
            os.unlink(self.owner, dir_fd=self.notes)
            os.rmdir(_NOTES, dir_fd=self.folder)  # only if nobody else has notes in it
        except OSError:
            pass
        for descriptor in (self._lock, self.notes, self.folder):
            os.close(descriptor)

    def claim(self, name: str, facts: Facts) -> str:
        """Make a new folder called ``name``, or ``name-2`` and so on, and note whose it is. Returns its name.

        :raises WorkspaceError: when it can't be made.
        """
        try:
            for number in range(1, _MOST_OF_ONE_NAME):
                folder = name if number == 1 else f"{name}-{number}"
                if self._is_free(folder) and self._make(folder, facts):
                    return folder
        except OSError as error:
            raise WorkspaceError(f"can't make a workspace in {str(self.root)!r}: {reason(error)}") from error
        raise WorkspaceError(f"there are {_MOST_OF_ONE_NAME:,} folders called {name!r} in {str(self.root)!r} already")

    def remove(self, folder: str, owner: str | None = None) -> None:
        """Remove the folder and, after it, its note.

        :raises OSError: when the folder can't be removed; then the note stays.
        """
        remove_tree(folder, self.folder)
        self.forget(folder, owner)

    def forget(self, folder: str, owner: str | None = None) -> None:
        """Remove the note alone: the folder is from now on its finder's."""
        remove_tree(folder + _SHADOW, self.notes)
        remove_tree(f"{folder}@{owner or self.owner}", self.notes)

    def shadow(self, folder: str) -> Path:
        """Where a worktree's own git directory lies."""
        return self.root / _NOTES / (folder + _SHADOW)

    def save(self, name: str, text: str) -> Path:
        """Write a new file beside the folders; returns where."""
        for number in range(1, _MOST_OF_ONE_NAME):
            stem, _, ending = name.rpartition(".")
            numbered = name if number == 1 else f"{stem}-{number}.{ending}"
            try:
                descriptor = os.open(numbered, _CREATE, 0o600, dir_fd=self.folder)
            except FileExistsError:
                continue
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            return self.root / numbered
        raise FileExistsError(name)

    def _is_free(self, folder: str) -> bool:
        try:
            os.stat(folder, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return True
        return False

    def _make(self, folder: str, facts: Facts) -> bool:
        note = f"{folder}@{self.owner}"
        try:
            with os.fdopen(os.open(note, _CREATE, 0o600, dir_fd=self.notes), "wb") as file:
                file.write(msgspec.json.encode(facts))
        except FileExistsError:
            return False  # ours, whose folder went before its note
        except OSError:
            remove_tree(note, self.notes)
            raise
        try:
            os.mkdir(folder, 0o700, dir_fd=self.folder)
        except OSError as error:
            os.unlink(note, dir_fd=self.notes)
            if isinstance(error, FileExistsError):
                return False
            raise
        return True


def notes_in(root: int) -> list[Note]:
    """The notes in the base that is open at ``root``; those that nobody can read too."""
    found: list[Note] = []
    try:
        with open_folder(_NOTES, root) as notes:
            for name in sorted(os.listdir(notes)):  # noqa: PTH208 - a descriptor, not a path
                match = _NOTE.fullmatch(name)
                if match is not None:
                    facts, modified_s = _read(name, notes)
                    pid = int(match["pid"])
                    found.append(
                        Note(name=name, folder=match["folder"], owner=match["owner"], pid=pid, facts=facts,
                             modified_s=modified_s)
                    )  # fmt: skip
    except FileNotFoundError:
        pass
    return found


def has_notes(base: Path) -> bool:
    """Whether anybody lives, or has lived and died, in ``base``."""
    return os.path.isdir(base / _NOTES)  # noqa: PTH112 - false, also where the path can't be looked at


def owners_in(root: int) -> list[str]:
    """All owners in the base that is open at ``root``, those too that have no notes."""
    with open_folder(_NOTES, root) as notes:
        names = sorted(os.listdir(notes))  # noqa: PTH208 - a descriptor, not a path
    return [name for name in names if _OWNER.fullmatch(name)]


@contextmanager
def owner_of(root: int, owner: str) -> Generator[bool]:
    """Whether ``owner`` is dead; if so, nobody else is told the same until the block is left."""
    with open_folder(_NOTES, root) as notes:
        try:
            # Made anew where the file is missing: somebody has to be able to take hold of the notes it left.
            lock = os.open(owner, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=notes)
        except OSError:
            yield False
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            yield False
            return
        try:
            yield True
        finally:
            if not any(note.owner == owner for note in notes_in(root)):
                remove_tree(owner, notes)
            os.close(lock)


def reason(error: Exception) -> str:
    """What went wrong, without the paths that the caller names anyway."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _read(name: str, notes: int) -> tuple[Facts, float]:
    try:
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=notes), "rb") as file:
            modified_s = os.fstat(file.fileno()).st_mtime
            return msgspec.json.decode(file.read(1_000_000), type=Facts), modified_s
    except (OSError, msgspec.MsgspecError):
        return Facts(), 0.0


def _become_owner(base: int) -> tuple[int, str, int]:
    """The notes of the base, opened, and in them a new file that is ours and locked."""
    for _ in range(_ATTEMPTS):
        with suppress(FileExistsError):
            os.mkdir(_NOTES, 0o700, dir_fd=base)
        with open_folder(_NOTES, base) as notes:
            owner = f"{os.getpid()}-{new_id()}"
            lock = _locked(owner, notes)
            if lock is not None:
                return os.dup(notes), owner, lock
    raise OSError("others keep removing its .carpool folder")


def _locked(owner: str, notes: int) -> int | None:
    """``None`` when somebody has removed the folder, or took the file for a leftover, before it was locked."""
    try:
        lock = os.open(owner, _CREATE, 0o600, dir_fd=notes)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.stat(owner, dir_fd=notes, follow_symlinks=False)
    except (BlockingIOError, FileNotFoundError):
        os.close(lock)
        return None
    except OSError:
        os.close(lock)
        raise
    return lock
