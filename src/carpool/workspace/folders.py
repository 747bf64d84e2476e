"""Folders held by descriptor: opened, read and removed without ever following a symbolic link.

Every name is looked up relative to an open folder, one component at a time. So whoever swaps a folder for a link
while this works, at whatever moment, gets the link refused or removed, and never what it points to.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager

from ..clock import new_id

__all__ = ["TooLarge", "open_folder", "read_beneath", "remove_tree"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # not blocking: a fifo must not hang us
_OWNER_MAY = 0o700
_NOT_HERE = (errno.ELOOP, errno.EMLINK, errno.ENXIO)  # a link, a link as BSD says it, a socket
_MOST_COLLISIONS = 200


class TooLarge(Exception):
    """A file is larger than was left to read."""


@contextmanager
def open_folder(name: str | bytes, parent: int | None = None) -> Generator[int]:
    """The descriptor of a folder, which is closed afterwards.

    :raises OSError: when it is not there, or is a link or a file.
    """
    descriptor = os.open(name, _FOLDER, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


# Reading


def read_beneath(root: int, path: bytes, most: int) -> tuple[str, bytes] | None:
    """Git's mode and the content of what is at ``path`` under the folder ``root``; for a link, its target.

    ``None`` when there is no such thing as git would keep: nothing, a folder, a device, or a path that leads
    through a link or out of the folder.

    :raises TooLarge: for more than ``most`` bytes.
    :raises OSError: when it can't be read.
    """
    *folders, name = path.split(b"/")
    if not all(part not in (b"", b".", b"..") for part in (*folders, name)):
        return None
    held: list[int] = []
    try:
        parent = root
        for folder in folders:
            parent = os.open(folder, _FOLDER, dir_fd=parent)
            held.append(parent)
        return _leaf(parent, name, most)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in _NOT_HERE:
            return None
        raise
    finally:
        for descriptor in held:
            os.close(descriptor)


def _leaf(parent: int, name: bytes, most: int) -> tuple[str, bytes] | None:
    kind = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    if stat.S_ISLNK(kind):
        return "120000", os.readlink(name, dir_fd=parent)
    if not stat.S_ISREG(kind):
        return None
    descriptor = os.open(name, _FILE, dir_fd=parent)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)  # of what was opened: the name may stand for something else by now
        if not stat.S_ISREG(status.st_mode):
            return None
        if status.st_size > most:
            raise TooLarge
        content = file.read(most + 1)
    if len(content) > most:
        raise TooLarge
    return ("100755" if status.st_mode & stat.S_IXUSR else "100644"), content


# Removing


def remove_tree(name: str, parent: int) -> None:
    """Remove ``name`` from the folder ``parent``, with all that is in it; nothing, if it is not there.

    A link is removed, not followed. Holds two descriptors and no stack, however deep the tree: what is nested is
    moved up to the top and removed there. Folders that their owner may not write to are made writable first.

    :raises OSError: when something can't be removed, or others go on adding to it.
    """
    try:
        with _writable(name, parent) as top:
            _empty(top)
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except OSError as error:
        if not _is_no_folder(name, parent):
            raise error
        os.unlink(name, dir_fd=parent)


def _empty(top: int) -> None:
    prefix, moved, collisions = f".removing-{new_id()}-", 0, 0
    while folders := _unlink_files(top):
        for folder in folders:
            try:
                with _writable(folder, top) as inner:
                    for nested in _unlink_files(inner):
                        moved += 1
                        _move(nested, inner, f"{prefix}{moved}", top)
                os.rmdir(folder, dir_fd=top)
            except OSError:
                # Somebody else is at work in here: look again, but not for ever.
                collisions += 1
                if collisions > _MOST_COLLISIONS:
                    raise


def _move(name: str, parent: int, to: str, top: int) -> None:
    try:
        os.rename(name, to, src_dir_fd=parent, dst_dir_fd=top)
    except PermissionError:
        _let_owner_in(name, parent)  # moving a folder writes to it: its ".." changes
        os.rename(name, to, src_dir_fd=parent, dst_dir_fd=top)


def _unlink_files(folder: int) -> list[str]:
    """Remove whatever is no folder; returns the names of the folders."""
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
                continue
            try:
                os.unlink(entry.name, dir_fd=folder)
            except FileNotFoundError:
                continue
            except IsADirectoryError:
                folders.append(entry.name)
    return folders


@contextmanager
def _writable(name: str, parent: int) -> Generator[int]:
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        _let_owner_in(name, parent)
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
    try:
        mode = os.fstat(descriptor).st_mode
        if mode & _OWNER_MAY != _OWNER_MAY:
            os.fchmod(descriptor, stat.S_IMODE(mode) | _OWNER_MAY)
        yield descriptor
    finally:
        os.close(descriptor)


def _let_owner_in(name: str, parent: int) -> None:
    """Make a folder readable that its owner can't open; through a descriptor, so that no link is followed."""
    path_only = getattr(os, "O_PATH", None)
    if path_only is None:
        return
    descriptor = os.open(name, path_only | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{descriptor}", _OWNER_MAY)  # noqa: PTH101 - a descriptor, not a path
    finally:
        os.close(descriptor)


def _is_no_folder(name: str, parent: int) -> bool:
    try:
        return not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
