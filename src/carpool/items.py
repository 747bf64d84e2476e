"""Files and lines of text as items of a map-reduce: found and counted at once, each read when its turn comes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from glob import glob, has_magic
from pathlib import Path, PurePath
from stat import S_ISDIR, S_ISREG

from anyio import to_thread

from .patterns import Item, UnreadableItem

__all__ = ["LARGEST_BYTES", "Files", "lines"]

LARGEST_BYTES = 2_000_000
"""The largest file or line that is an item, about half a million tokens: what no mapper could take in at once."""


class Files(Collection[Item | UnreadableItem]):
    """The text files that ``paths`` name, each an item labelled with its path.

    A path is a file; a folder, which stands for all files in it, however deep; or a glob, in which ``**`` stands
    for any number of folders. A name that exists is never taken for a glob. Hidden files and folders count only
    where a glob names them (``.github/**``), and folders behind symbolic links are not entered by ``**``. Each
    path's files are sorted by name; the paths keep their order; a file that several of them name counts once.

    The files are found here and now, so that their number is known; each is read only when it is asked for, in a
    thread under ``async for``. What can't be read is no error but an :class:`UnreadableItem`: a path that matches
    nothing, a file that is gone, forbidden, not regular, empty, larger than ``max_bytes``, or not UTF-8 text.
    ``unreadable`` has what is known of these so far, as reasons by label.

    :raises ValueError: when there is no path, or none of them matches a file; it names them.
    """

    def __init__(self, *paths: str | os.PathLike[str], max_bytes: int = LARGEST_BYTES) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be 1 or more, not {max_bytes!r}")
        self.max_bytes = max_bytes
        self.unreadable: dict[str, str] = {}
        found: dict[str, bool] = {}  # path to whether it is there; a dict keeps the order, and one of each
        for path in (os.fspath(given) for given in paths):
            there = _files_of(path)
            found.update(dict.fromkeys(there, True) if there else {path: False})
        if not any(found.values()):
            named = ", ".join(repr(_label(path)) for path in found) or "no path given"
            raise ValueError(f"no file to read: {named} in {_label(str(Path.cwd()))}")
        self._paths = found
        self.unreadable.update((_label(path), "matches no file") for path, there in found.items() if not there)

    @property
    def labels(self) -> list[str]:
        """The label of each item, in order, without reading any."""
        return [_label(path) for path in self._paths]

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Item | UnreadableItem]:
        for path in self._paths:
            yield self._item(path)

    async def __aiter__(self) -> AsyncIterator[Item | UnreadableItem]:
        for path in self._paths:
            # A folder on a network that hangs must not stop the loop, nor a cancellation.
            yield await to_thread.run_sync(self._item, path, abandon_on_cancel=True)

    def __contains__(self, item: object) -> bool:
        return any(item == each for each in self)

    def __repr__(self) -> str:
        return f"Files({len(self)} items)"

    def _item(self, path: str) -> Item | UnreadableItem:
        label = _label(path)
        if not self._paths[path]:
            return UnreadableItem(label=label, reason="matches no file")
        try:
            return Item(label=label, text=_text_of(_bytes_of(Path(path), self.max_bytes)))
        except _UnreadableError as error:
            reason = str(error)
        except OSError as error:
            reason = _REASONS.get(type(error)) or error.strerror or type(error).__name__
        self.unreadable[label] = reason
        return UnreadableItem(label=label, reason=reason)


def lines(stream: Iterable[bytes], *, max_bytes: int = LARGEST_BYTES) -> list[Item | UnreadableItem]:
    """Each line of a binary ``stream``, standard input for instance, as an item; blank ones are left out.

    All of it is read now: an item for each line that is there must be known before the first one is worked on.
    """
    items: list[Item | UnreadableItem] = []
    for number, line in enumerate(stream, start=1):
        data = line.rstrip(b"\r\n")
        if not data.strip():
            continue
        label = f"line {number}"
        try:
            if len(data) > max_bytes:
                raise _too_large(len(data), max_bytes)
            items.append(Item(label=label, text=_text_of(data)))
        except _UnreadableError as error:
            items.append(UnreadableItem(label=label, reason=str(error)))
    return items


# Finding


def _files_of(path: str) -> list[str]:
    """The files that ``path`` names, sorted; none if it matches nothing."""
    if not path:
        return []  # as a Path it would be the current folder
    there = Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises where there is no such user
    if there.is_dir():
        return sorted(_under(str(there), ("**",)))
    if there.exists() or there.is_symlink():
        return [str(there)]
    return sorted(_matches(there.parts)) if has_magic(path) else []


def _matches(parts: tuple[str, ...]) -> Iterator[str]:
    if "**" not in parts:
        # Not Path.glob: it refuses absolute patterns, and takes hidden files for others.
        found = glob(str(PurePath(*parts)))  # noqa: PTH207
        yield from (path for path in found if not Path(path).is_dir())
        return
    # Not glob's own "**": it follows symbolic links, and never comes back from two that form a knot.
    at = parts.index("**")
    before = str(PurePath(*parts[:at]))
    for folder in glob(before) if has_magic(before) else [before]:  # noqa: PTH207
        if Path(folder).is_dir():
            yield from _under(folder, parts[at:])


def _under(folder: str, pattern: tuple[str, ...]) -> Iterator[str]:
    """The files at any depth in ``folder`` whose path from there fits ``pattern``, and the folders on the way
    that can't be listed."""
    unlisted: list[OSError] = []
    hidden = any(part.startswith(".") for part in pattern)
    for place, folders, files in os.walk(folder, onerror=unlisted.append):
        here = PurePath(place).relative_to(folder).parts
        if not hidden:
            folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (str(PurePath(place, name)) for name in files if _fits((*here, name), pattern))
    yield from (str(error.filename) for error in unlisted)


def _fits(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not parts or not pattern:
        return not parts and not pattern
    if pattern[0] != "**":
        named = pattern[0].startswith(".") or not parts[0].startswith(".")
        return named and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
    rest = pattern[1:] or ("*",)
    return _fits(parts, rest) or (not parts[0].startswith(".") and _fits(parts[1:], pattern))


def _label(path: str) -> str:
    """``path`` as text: a name that is no UTF-8 can't be part of a prompt."""
    return os.fsencode(path).decode("utf-8", "replace")


# Reading


class _UnreadableError(Exception):
    pass


_REASONS: dict[type[OSError], str] = {FileNotFoundError: "no such file", PermissionError: "permission denied"}


def _bytes_of(path: Path, max_bytes: int) -> bytes:
    status = path.stat()
    if S_ISDIR(status.st_mode):
        raise _UnreadableError("a folder that can't be listed")  # one that can be is not among the files
    if not S_ISREG(status.st_mode):
        raise _UnreadableError("not a regular file")  # opening a pipe would wait for whoever writes to it
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise _too_large(max(status.st_size, len(data)), max_bytes)
    return data


def _text_of(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _UnreadableError("UTF-16 text; convert it to UTF-8")
    if b"\0" in data:
        raise _UnreadableError(f"binary: a NUL byte at {data.index(0):,}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _UnreadableError(f"not UTF-8 text: byte {data[error.start]:#04x} at {error.start:,}") from None
    if not text.strip():
        raise _UnreadableError("empty")
    return text


def _too_large(size: int, max_bytes: int) -> _UnreadableError:
    return _UnreadableError(f"too large: {size:,} bytes of at most {max_bytes:,}; split it")
