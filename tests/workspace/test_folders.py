"""A folder of one's own: in the base, empty, and gone afterwards, whatever was done in it and to it."""

# ruff: noqa: ASYNC240, PTH208 - the loop has nothing else to do meanwhile

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import anyio
import pytest

from carpool.errors import WorkspaceError
from carpool.workspace import Workspaces
from carpool.workspace.folders import TooLarge, open_folder, read_beneath, remove_tree

ROOT = Path(__file__).parents[2]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a file that nobody may touch or read."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("secret")
    return folder


def is_untouched(outside: Path) -> bool:
    return os.listdir(outside) == ["precious"] and (outside / "precious").read_text() == "secret"


# From beginning to end


async def test_a_workspace_is_an_empty_folder_of_its_owner_alone(base: Path) -> None:
    async with Workspaces.directory(base).provide("writer", "r1") as workspace:
        assert workspace.path == base.resolve() / "writer-r1"
        assert list(workspace.path.iterdir()) == []
        assert workspace.path.stat().st_mode & 0o777 == 0o700
        assert await workspace.patch() is None
        assert workspace.rev is workspace.head is None


async def test_it_is_gone_afterwards_and_so_is_everything_that_was_noted_about_it(base: Path) -> None:
    async with Workspaces.directory(base).provide("writer", "r1") as workspace:
        (workspace.path / "draft").mkdir()
        (workspace.path / "draft" / "text").write_text("words")

    assert list(base.iterdir()) == []


async def test_it_is_gone_after_a_failure(base: Path) -> None:
    with pytest.raises(KeyError):  # noqa: PT012 - it is the leaving of the inner block that matters
        async with Workspaces.directory(base).provide("writer", "r1") as workspace:
            (workspace.path / "text").write_text("words")
            raise KeyError

    assert list(base.iterdir()) == []


async def test_it_is_gone_after_a_cancellation(base: Path) -> None:
    with anyio.CancelScope() as scope:
        async with Workspaces.directory(base).provide("writer", "r1") as workspace:
            (workspace.path / "text").write_text("words")
            scope.cancel()
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert list(base.iterdir()) == []


async def test_it_is_gone_after_a_cancellation_that_no_scope_knows_of(base: Path) -> None:
    import asyncio

    inside = asyncio.Event()

    async def work() -> None:
        async with Workspaces.directory(base).provide("writer", "r1"):
            inside.set()
            await asyncio.sleep(3600)

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert list(base.iterdir()) == []


async def test_it_stays_where_it_is_to_be_kept_and_is_nobodys_leftover(base: Path) -> None:
    workspaces = Workspaces.directory(base, keep=True)
    async with workspaces.provide("writer", "r1") as workspace:
        (workspace.path / "text").write_text("words")

    assert [path.name for path in base.iterdir()] == ["writer-r1"]
    assert (workspace.path / "text").read_text() == "words"
    assert workspaces.leftovers() == []


async def test_a_second_one_of_the_same_name_gets_another_folder(base: Path) -> None:
    workspaces = Workspaces.directory(base)
    async with workspaces.provide("writer", "r1") as one, workspaces.provide("writer", "r1") as other:
        assert (one.path.name, other.path.name) == ("writer-r1", "writer-r1-2")


async def test_a_folder_that_was_there_before_is_left_alone(base: Path) -> None:
    (base / "writer-r1").mkdir(parents=True)
    (base / "writer-r1" / "mine").write_text("mine")
    (base / "writer-r1-2").symlink_to("nowhere")
    async with Workspaces.directory(base).provide("writer", "r1") as workspace:
        assert workspace.path.name == "writer-r1-3"

    assert sorted(path.name for path in base.iterdir()) == ["writer-r1", "writer-r1-2"]
    assert (base / "writer-r1" / "mine").read_text() == "mine"


def test_many_at_once_from_many_threads_and_loops_get_a_folder_each(base: Path) -> None:
    paths: list[Path] = []
    shared = Workspaces.directory(base)

    async def one(workspaces: Workspaces) -> None:
        async with workspaces.provide("writer", "r1") as workspace:
            (workspace.path / "mine").touch(exist_ok=False)
            paths.append(workspace.path)

    async def many() -> None:
        async with anyio.create_task_group() as group:
            for number in range(16):
                group.start_soon(one, shared if number % 2 else Workspaces.directory(base))

    threads = [Thread(target=anyio.run, args=(many,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(paths) == 64
    assert list(base.iterdir()) == []


# The base


async def test_a_base_that_is_a_link_is_resolved_once(base: Path, tmp_path: Path, outside: Path) -> None:
    (tmp_path / "real").mkdir()
    base.symlink_to(tmp_path / "real")
    async with Workspaces.directory(base).provide("writer", "r1") as workspace:
        assert workspace.path == tmp_path / "real" / "writer-r1"
        base.unlink()
        base.symlink_to(outside)

    assert list((tmp_path / "real").iterdir()) == []
    assert is_untouched(outside)


async def test_a_base_that_is_swapped_while_in_use_is_still_the_one_that_is_cleaned(base, outside, tmp_path) -> None:
    workspaces = Workspaces.directory(base)
    async with workspaces.provide("writer", "r1"):
        base.rename(tmp_path / "moved")
        base.symlink_to(outside)
        async with workspaces.provide("reader", "r1") as second:
            assert (tmp_path / "moved" / second.path.name).is_dir()

    assert list((tmp_path / "moved").iterdir()) == []
    assert is_untouched(outside)


async def test_a_base_above_is_what_it_says_and_not_a_way_out(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    workspaces = Workspaces.directory("../c")
    monkeypatch.chdir("/")
    async with workspaces.provide("writer", "r1") as workspace:
        assert workspace.path.parent == tmp_path / "a" / "c"


@pytest.mark.parametrize("path", ["", "a\0b", "a\nb"])
def test_what_can_be_no_path_is_refused_when_it_is_named(path: str) -> None:
    with pytest.raises(ValueError, match="base must be a path"):
        Workspaces.directory(path)


def a_file(base: Path) -> Path:
    base.write_text("")
    return base


def under_a_file(base: Path) -> Path:
    base.write_text("")
    return base / "deeper"


def a_link_to_nowhere(base: Path) -> Path:
    base.symlink_to(base.parent / "nowhere" / "at" / "all")
    return base


def a_link_to_itself(base: Path) -> Path:
    base.symlink_to(base)
    return base


def a_name_too_long(base: Path) -> Path:
    return base / ("x" * 300)


def a_path_too_long(base: Path) -> Path:
    return base.joinpath(*["x" * 200] * 30)


def a_kernel_folder(_: Path) -> Path:
    return Path("/proc/carpool")


def notes_that_are_a_link(base: Path) -> Path:
    base.mkdir()
    (base / ".carpool").symlink_to(base.parent)
    return base


def notes_that_are_a_file(base: Path) -> Path:
    base.mkdir()
    (base / ".carpool").write_text("mine")
    return base


@pytest.mark.parametrize(
    "spoil",
    [
        a_file, under_a_file, a_link_to_nowhere, a_link_to_itself, a_name_too_long, a_path_too_long, a_kernel_folder,
        notes_that_are_a_link, notes_that_are_a_file,
    ],
)  # fmt: skip
async def test_a_base_that_cannot_be_used_is_a_workspace_error_that_names_it(base: Path, spoil) -> None:
    spoilt = spoil(base)
    if spoil is a_link_to_nowhere:
        spoilt.with_name("nowhere").write_text("")
    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(WorkspaceError, match="can't keep workspaces in"):
        async with Workspaces.directory(spoilt).provide("writer", "r1"):
            pytest.fail("there can be no workspace")

    assert os.listdir("/proc/self/fd") == descriptors


async def test_a_full_disk_is_a_workspace_error_and_leaves_nothing(base: Path, monkeypatch) -> None:
    made, mkdir = [], os.mkdir

    def full(path, *arguments, **named) -> None:
        if str(path).startswith("writer"):
            made.append(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        mkdir(path, *arguments, **named)

    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(WorkspaceError, match="No space left on device"):
        async with Workspaces.directory(base).provide("writer", "r1"):
            pytest.fail("there can be no workspace")

    assert made
    assert list(base.iterdir()) == []


async def test_descriptors_are_closed_when_the_last_has_left(base: Path) -> None:
    before = os.listdir("/proc/self/fd")
    workspaces = Workspaces.directory(base)
    async with workspaces.provide("writer", "r1"), workspaces.provide("reader", "r1"):
        assert len(os.listdir("/proc/self/fd")) <= len(before) + 3
    assert os.listdir("/proc/self/fd") == before


# What agents do in there


async def test_links_out_of_a_workspace_are_removed_and_not_followed(base: Path, outside: Path) -> None:
    async with Workspaces.directory(base).provide("writer", "r1") as workspace:
        (workspace.path / "folder").symlink_to(outside)
        (workspace.path / "file").symlink_to(outside / "precious")
        (workspace.path / "dangling").symlink_to("nowhere")
        (workspace.path / "loop").symlink_to("loop")
        os.link(outside / "precious", workspace.path / "hard")
        os.mkfifo(workspace.path / "fifo")

    assert list(base.iterdir()) == []
    assert is_untouched(outside)


async def test_a_workspace_that_was_replaced_by_a_link_is_unlinked(base: Path, outside: Path) -> None:
    async with Workspaces.directory(base).provide("writer", "r1") as workspace:
        workspace.path.rmdir()
        workspace.path.symlink_to(outside)

    assert list(base.iterdir()) == []
    assert is_untouched(outside)


async def test_a_workspace_that_its_agent_removed_or_made_a_file_is_no_trouble(base: Path) -> None:
    workspaces = Workspaces.directory(base)
    async with workspaces.provide("writer", "r1") as one, workspaces.provide("writer", "r1") as other:
        one.path.rmdir()
        other.path.rmdir()
        other.path.write_text("")

    assert list(base.iterdir()) == []


async def test_a_tree_deeper_than_any_stack_or_table_of_files_is_removed(tmp_path: Path) -> None:
    async with Workspaces.directory(tmp_path / "base").provide("writer", "r1") as workspace:
        with open_folder(str(workspace.path)) as folder:
            at = os.dup(folder)
        for _ in range(3000):
            os.mkdir("deep", dir_fd=at)
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
            below = os.open("deep", os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        os.close(at)

    assert list((tmp_path / "base").iterdir()) == []


NOT_ROOT = """
import os, sys
from pathlib import Path
import anyio
sys.path.insert(0, sys.argv[1])
from carpool.errors import WorkspaceError
from carpool.workspace import Workspaces

base, unused = Path(sys.argv[2]), Path(sys.argv[3])

async def load():
    async with Workspaces.directory(unused).provide("writer", "r1"):
        pass

anyio.run(load)  # what is loaded late might lie where only root may read
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)

async def main():
    async with Workspaces.directory(base).provide("writer", "r1") as workspace:
        for mode in (0o000, 0o111, 0o444, 0o555):
            folder = workspace.path / oct(mode)
            (folder / "inner").mkdir(parents=True)
            (folder / "inner" / "file").write_text("")
            (folder / "inner").chmod(mode)
            folder.chmod(mode)
        workspace.path.chmod(0o000)
    assert list(base.iterdir()) == [], os.listdir(base)
    base.chmod(0o500)
    try:
        async with Workspaces.directory(base).provide("writer", "r1"):
            raise SystemExit("made a workspace in a base that can't be written")
    except WorkspaceError as error:
        assert "Permission denied" in str(error), error

anyio.run(main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that can't be opened is opened for chmod by O_PATH")
def test_folders_that_were_made_read_only_are_removed_and_a_read_only_base_is_refused(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    if os.getuid() == 0:
        os.chown(base, 65534, 65534)
        for each in tmp_path.parents:
            if each.stat().st_mode & 0o001 == 0 and each != Path("/"):
                each.chmod(each.stat().st_mode | 0o011)
        tmp_path.chmod(0o755)
    script = [sys.executable, "-c", NOT_ROOT, str(ROOT / "src"), str(base), str(tmp_path / "unused")]
    done = subprocess.run(script, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


# Somebody swaps folders for links meanwhile


RACE = """
import os, sys
path, target, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
spare = path + ".spare"

def attempt(function, *arguments):
    try:
        function(*arguments)
    except OSError:
        pass

for _ in range(times):
    if not os.path.lexists(path) and not os.path.lexists(spare):
        attempt(os.makedirs, path)
        attempt(os.mknod, path + "/precious")
    attempt(os.rename, path, spare)
    attempt(os.symlink, target, path)
    attempt(os.unlink, path)
    attempt(os.rename, spare, path)
"""


@contextmanager
def racing(path: Path, target: Path, times: int) -> Iterator[subprocess.Popen[bytes]]:
    """Another process makes ``path`` a folder with an empty file ``precious``, and a link to ``target``, in turn."""
    with subprocess.Popen([sys.executable, "-c", RACE, str(path), str(target), str(times)]) as racer:
        try:
            yield racer
        finally:
            racer.kill()


def test_nothing_outside_is_removed_however_a_folder_is_swapped_meanwhile(tmp_path: Path, outside: Path) -> None:
    removed = 0
    with open_folder(str(tmp_path)) as parent, racing(tmp_path / "tree" / "folder", outside, 15_000) as racer:
        while racer.poll() is None:
            try:
                remove_tree("tree", parent)
                removed += 1
            except OSError:
                continue

    assert removed > 20
    assert is_untouched(outside)


def test_nothing_outside_is_read_however_a_folder_is_swapped_meanwhile(tmp_path: Path, outside: Path) -> None:
    inside = tmp_path / "tree"
    inside.mkdir()
    found = set()
    with open_folder(str(inside)) as root, racing(inside / "folder", outside, 15_000) as racer:
        while racer.poll() is None:
            found.add(read_beneath(root, b"folder/precious", 100))

    assert found == {None, ("100644", b"")}


READABLE = {
    b"file": ("100644", b"text"),
    b"script": ("100755", b"#!"),
    b"sub/file": ("100644", b"more"),
    b"link": ("120000", b"/etc/passwd"),
    b"sub/up": ("120000", b".."),
}
UNREADABLE = [
    b"", b".", b"..", b"/", b"/etc/passwd", b"../outside/precious", b"sub/../file", b"sub/./file", b"sub//file",
    b"sub/", b"sub", b"missing", b"sub/missing", b"file/below", b"link/below", b"out/precious", b"sub/up/file",
    b"sub/up/../outside/precious", b"fifo", b"socket", b"loop", b"loop/x", b"/proc/self/fd/0", b"out/../file",
    b"sub/../../outside/precious", b"./file", b"dangling/x",
]  # fmt: skip


@pytest.fixture
def readable(tmp_path: Path, outside: Path) -> Path:
    import socket

    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "file").write_text("text")
    (root / "script").write_text("#!")
    (root / "script").chmod(0o755)
    (root / "sub" / "file").write_text("more")
    for name, target in {
        "link": "/etc/passwd",
        "out": outside,
        "sub/up": "..",
        "loop": "loop",
        "dangling": "no",
    }.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listening, open_folder(str(root)) as folder:
        listening.bind(f"/proc/self/fd/{folder}/socket")
    return root


@pytest.mark.parametrize("path", READABLE)
def test_what_is_in_a_folder_is_read(readable: Path, path: bytes) -> None:
    with open_folder(str(readable)) as root:
        assert read_beneath(root, path, 100) == READABLE[path]


@pytest.mark.parametrize("path", [path for path in UNREADABLE if path != b"loop"])
def test_what_leads_out_of_a_folder_or_is_no_file_is_not_read(readable: Path, path: bytes) -> None:
    with open_folder(str(readable)) as root:
        assert read_beneath(root, path, 100) is None


def test_no_more_is_read_than_may_be(readable: Path) -> None:
    with open_folder(str(readable)) as root, pytest.raises(TooLarge):
        read_beneath(root, b"file", 3)
