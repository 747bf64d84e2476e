"""What has changed in a worktree, as one patch: exactly, or not at all.

Git tells which names may have changed; their content is read here, by descriptor, and given to git as a stream. So
no program of the repository's runs, and no link leads out. What a patch can't hold (the inside of submodules and of
repositories in the worktree, or more than the limit) is an error, so that the worktree is kept instead. Not in it,
as nowhere in git: ignored files that were never added, empty folders, and modes beside the executable bit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import WorkspaceError
from .folders import TooLarge, open_folder, read_beneath
from .premises import reason
from .shadow import Shadow
from .threads import in_thread

__all__ = ["patch_of"]

_SUBMODULE = b"160000"
_DIFF = (
    "diff-tree", "-r", "-p", "--binary", "--full-index", "--no-commit-id", "--no-renames", "--no-color",
    "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/",
)  # fmt: skip


async def patch_of(shadow: Shadow, their_index: Path | None, most: int) -> str | None:
    """The worktree against its commit, for ``git apply``; ``None`` when nothing has changed.

    ``their_index`` is the agent's: what it added by hand counts, also where it is ignored.

    :raises WorkspaceError: when the patch can't be made, or it or what has changed has more than ``most`` bytes.
    """
    names = await _changed(shadow, their_index)
    if not names:
        return None
    stream = shadow.path / "stream"
    try:
        await in_thread(_write, stream, shadow, sorted(names), most)
        with stream.open("rb") as file:
            await shadow.git(["fast-import", "--quiet", "--force", "--done"], stdin=file)
        patch = await _diff(shadow, most)
        if not _is_text(patch):
            shadow.treat_all_as_binary()
            patch = await _diff(shadow, most)
    except OSError as error:
        raise WorkspaceError(f"the worktree can't be read: {reason(error)}") from error
    except TooLarge:
        raise WorkspaceError(f"the changes are more than the {most:,} bytes that patch_limit allows") from None
    return patch.decode() or None


async def _changed(shadow: Shadow, their_index: Path | None) -> set[bytes]:
    """Names that may have changed, and all that have."""
    ours = dict(_entry(line) for line in _lines(await shadow.git(["ls-files", "-z", "--stage"])))
    names = set(_lines(await shadow.git(["diff-files", "-z", "--name-only", "--ignore-submodules=all"])))
    names.update(_lines(await shadow.git(["ls-files", "-z", "--others", "--exclude-standard"])))
    if their_index is not None:
        theirs = _lines(await shadow.git(["ls-files", "-z"], index=their_index))
        names.update(name for name in theirs if name not in ours and _may_be_added(name))
    for name in names:
        if name.endswith(b"/"):
            raise WorkspaceError(f"a patch can't hold the repository {os.fsdecode(name)!r} inside the worktree")
    names.update(_replaced_submodules(shadow, ours))
    return names


def _replaced_submodules(shadow: Shadow, entries: dict[bytes, bytes]) -> Iterator[bytes]:
    for name, mode in entries.items():
        if mode == _SUBMODULE:
            folder = shadow.tree / os.fsdecode(name)
            if folder.is_symlink() or not folder.is_dir():
                yield name
            elif any(folder.iterdir()):
                raise WorkspaceError(f"a patch can't hold what is in the submodule {os.fsdecode(name)!r}")


def _write(stream: Path, shadow: Shadow, names: list[bytes], most: int) -> None:
    with open_folder(str(shadow.tree)) as root, stream.open("wb") as file:
        file.writelines(_pieces(root, names, shadow.commit.sha, most))


def _pieces(root: int, names: Iterable[bytes], commit: str, most: int) -> Iterator[bytes]:
    """A commit of the worktree as ``git fast-import`` reads it. All removals come first: a file may have become
    a folder, or the other way round."""
    yield b"commit refs/heads/work\ncommitter carpool <carpool> 0 +0000\ndata 0\nfrom %s\n" % commit.encode()
    for name in names:
        yield b"D %s\n" % _quoted(name)
    left = most
    for name in names:
        found = read_beneath(root, name, left)
        if found is not None:
            mode, content = found
            left -= len(content)
            yield b"M %s inline %s\ndata %d\n" % (mode.encode(), _quoted(name), len(content))
            yield content
            yield b"\n"
    yield b"done\n"


async def _diff(shadow: Shadow, most: int) -> bytes:
    written = shadow.path / "patch"
    await shadow.git([*_DIFF, f"--output={written}", shadow.commit.sha, "refs/heads/work"])
    if written.stat().st_size > most:
        raise TooLarge
    return written.read_bytes()


def _is_text(patch: bytes) -> bool:
    """Whether JSON, and every store of JSON, gives it back as it was."""
    if b"\0" in patch:
        return False
    try:
        patch.decode()
    except UnicodeDecodeError:
        return False
    return True


def _lines(listed: bytes) -> list[bytes]:
    return listed.split(b"\0")[:-1]


def _entry(line: bytes) -> tuple[bytes, bytes]:
    about, _, name = line.partition(b"\t")
    return name, about.split()[0]


def _may_be_added(name: bytes) -> bool:
    return not any(part.lower() in (b"", b".", b"..", b".git") for part in name.split(b"/"))


def _quoted(name: bytes) -> bytes:
    plain = all(0x20 <= byte < 0x7F and byte not in b'"\\' for byte in name)
    return b'"%s"' % (name if plain else b"".join(b"\\%03o" % byte for byte in name))
