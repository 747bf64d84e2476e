"""A worktree's patch, applied to where it began, gives what was in the worktree: byte for byte, or it stays."""

# ruff: noqa: ASYNC221, PTH101, PTH102, PTH103, PTH118, PTH120, PTH123, PTH208, PTH211 - the loop has nothing else to do meanwhile, and a name need not be text

import os
import stat
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carpool.errors import WorkspaceError
from carpool.workspace import Workspaces


@pytest.fixture
def workspaces(repository, base) -> Workspaces:
    return Workspaces.git_worktree(repository.path, base)


# One kind of change each. Every function changes the worktree ``at`` of ``repository``.


def modified(at: Path, repository) -> None:
    (at / "a.txt").write_text("one\nTWO\n")


def modified_in_place_to_the_same_size_and_time(at: Path, repository) -> None:
    before = (at / "a.txt").stat()
    (at / "a.txt").write_text("ONE\ntwo\n")
    os.utime(at / "a.txt", ns=(before.st_atime_ns, before.st_mtime_ns))


def staged(at: Path, repository) -> None:
    modified(at, repository)
    repository.git("add", "a.txt", at=at)


def staged_and_modified_again(at: Path, repository) -> None:
    staged(at, repository)
    (at / "a.txt").write_text("three\n")


def untracked(at: Path, repository) -> None:
    (at / "new" / "deep").mkdir(parents=True)
    (at / "new" / "deep" / "file").write_text("new")


def binary(at: Path, repository) -> None:
    (at / "data.bin").write_bytes(os.urandom(5000))
    (at / "new.bin").write_bytes(b"\0\1\2" * 1000)


def deleted(at: Path, repository) -> None:
    (at / "a.txt").unlink()
    (at / "data.bin").unlink()


def everything_deleted(at: Path, repository) -> None:
    for path in at.iterdir():
        if path.name != ".git":
            repository.git("rm", "-r", "--quiet", path.name, at=at)


def renamed(at: Path, repository) -> None:
    repository.git("mv", "folder", "moved", at=at)
    (at / "data.bin").rename(at / "moved" / "data.bin")


def committed(at: Path, repository) -> None:
    untracked(at, repository)
    modified(at, repository)
    repository.git("add", "--all", at=at)
    repository.git("commit", "--quiet", "-m", "work", at=at)


def committed_on_a_branch_and_changed_again(at: Path, repository) -> None:
    repository.git("checkout", "--quiet", "-b", "feature", at=at)
    committed(at, repository)
    (at / "a.txt").write_text("later\n")


def committed_and_taken_back(at: Path, repository) -> None:
    committed(at, repository)
    repository.git("reset", "--quiet", "--hard", "HEAD~1", at=at)
    (at / "other").write_text("other")


def executable(at: Path, repository) -> None:
    (at / "a.txt").chmod(0o755)


def emptied_and_empty(at: Path, repository) -> None:
    (at / "a.txt").write_text("")
    (at / "empty").write_text("")


def without_a_last_newline(at: Path, repository) -> None:
    (at / "a.txt").write_text("one\ntwo")


def a_link_for_a_file(at: Path, repository) -> None:
    (at / "a.txt").unlink()
    (at / "a.txt").symlink_to("/etc/passwd")


def a_link_for_a_folder(at: Path, repository) -> None:
    (at / "folder" / "b.txt").unlink()
    (at / "folder").rmdir()
    (at / "folder").symlink_to(".")


def a_folder_for_a_file(at: Path, repository) -> None:
    (at / "a.txt").unlink()
    (at / "a.txt").mkdir()
    (at / "a.txt" / "inside").write_text("in")


def a_file_for_a_folder(at: Path, repository) -> None:
    (at / "folder" / "b.txt").unlink()
    (at / "folder").rmdir()
    (at / "folder").write_text("file")


def a_fifo_for_a_file(at: Path, repository) -> None:
    (at / "a.txt").unlink()
    os.mkfifo(at / "a.txt")


def latin_1(at: Path, repository) -> None:
    (at / "a.txt").write_bytes("one\nzwölf\n".encode("latin-1"))
    (at / "b.txt").write_text("ä\n")


def a_nul_far_down(at: Path, repository) -> None:
    (at / "late").write_bytes(b"x\n" * 8000 + b"\0\n")


def line_endings(at: Path, repository) -> None:
    (at / ".gitattributes").write_text("* text=auto eol=crlf ident\n*.txt working-tree-encoding=UTF-16\n")
    (at / "a.txt").write_bytes(b"one\r\ntwo\r\n$Id$\nthree\rfour\n")
    (at / "mixed").write_bytes(b"a\r\nb\n\r\n")


def attributes_against_diffs(at: Path, repository) -> None:
    (at / ".gitattributes").write_text("*.txt -diff binary\n* whitespace=cr-at-eol filter=lfs export-ignore\n")
    (at / "a.txt").write_text("trailing  \n\t \n")


def strange_names(at: Path, repository) -> None:
    for name in (b'quo"te', b"new\nline", b"back\\slash", b"tab\t", b" lead", b"trail ", b"-dash", b"\xff\xfe", b"a:b",
                 "汉é".encode(), b"x" * 255, b"*", b"[a]", b"{,}", b":(top)x", b"!x", b"~", b"a b/c d"):  # fmt: skip
        path = os.path.join(os.fsencode(at), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(name)


def ignored_but_added_by_force(at: Path, repository) -> None:
    (at / "kept.tmp").write_text("kept")
    repository.git("add", "--force", "kept.tmp", at=at)


def ignored_but_committed_by_force(at: Path, repository) -> None:
    ignored_but_added_by_force(at, repository)
    repository.git("commit", "--quiet", "-m", "kept", at=at)


def told_git_not_to_look(at: Path, repository) -> None:
    modified(at, repository)
    (at / "folder" / "b.txt").write_text("hidden")
    repository.git("update-index", "--assume-unchanged", "a.txt", at=at)
    repository.git("update-index", "--skip-worktree", "folder/b.txt", at=at)


def lost_its_git_file(at: Path, repository) -> None:
    modified(at, repository)
    (at / ".git").unlink()


def broke_its_index(at: Path, repository) -> None:
    modified(at, repository)
    index = repository.git("rev-parse", "--absolute-git-dir", at=at)
    Path(index, "index").unlink()


def a_large_file_of_one_line(at: Path, repository) -> None:
    (at / "line").write_text("x" * 2_000_000)


CHANGES = [
    modified, modified_in_place_to_the_same_size_and_time, staged, staged_and_modified_again, untracked, binary,
    deleted, everything_deleted, renamed, committed, committed_on_a_branch_and_changed_again,
    committed_and_taken_back, executable, emptied_and_empty, without_a_last_newline, a_link_for_a_file,
    a_link_for_a_folder, a_folder_for_a_file, a_file_for_a_folder, a_fifo_for_a_file, latin_1, a_nul_far_down,
    line_endings, attributes_against_diffs, strange_names, ignored_but_added_by_force,
    ignored_but_committed_by_force, told_git_not_to_look, lost_its_git_file, broke_its_index,
    a_large_file_of_one_line,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
async def test_a_patch_gives_what_was_in_the_worktree(repository, workspaces, base, tree, change) -> None:
    async with workspaces.provide("writer", "r1") as workspace:
        change(workspace.path, repository)
        expected = tree(workspace.path)
        patch = await workspace.patch()
        assert patch is not None
        assert workspace.rev == repository.git("rev-parse", "HEAD")

    assert repository.applied(patch, workspace.rev) == expected
    assert list(base.iterdir()) == []
    assert repository.worktrees() == 0
    assert not (repository.path / ".git" / "worktrees").exists()


def nothing(at: Path, repository) -> None:
    pass


def touched(at: Path, repository) -> None:
    for path in (at / "a.txt", at / "data.bin"):
        os.utime(path, (1, 1))


def changed_and_changed_back(at: Path, repository) -> None:
    modified(at, repository)
    (at / "a.txt").write_text("one\ntwo\n")


def ignored(at: Path, repository) -> None:
    (at / "scratch.tmp").write_text("scratch")


def empty_folders(at: Path, repository) -> None:
    (at / "void" / "deep").mkdir(parents=True)


def a_socket_and_a_fifo(at: Path, repository) -> None:
    os.mkfifo(at / "fifo")


def an_empty_commit(at: Path, repository) -> None:
    repository.git("commit", "--quiet", "--allow-empty", "-m", "nothing", at=at)


@pytest.mark.parametrize(
    "change",
    [nothing, touched, changed_and_changed_back, ignored, empty_folders, a_socket_and_a_fifo, an_empty_commit],
    ids=lambda change: change.__name__,
)
async def test_what_git_would_not_keep_is_no_change(repository, workspaces, base, change) -> None:
    async with workspaces.provide("writer", "r1") as workspace:
        change(workspace.path, repository)
        assert await workspace.patch() is None

    assert list(base.iterdir()) == []


async def test_a_worktree_stands_as_the_commit_does_whatever_the_attributes_say(repository, workspaces, tree) -> None:
    repository.commit(
        {".gitattributes": "* text=auto eol=crlf ident\n", "mixed": b"a\nb\n", "id": "$Id$\n", "raw.bin": b"\r\n\0"}
    )
    async with workspaces.provide("writer", "r1") as workspace:
        assert (workspace.path / "mixed").read_bytes() == b"a\nb\n"
        assert (workspace.path / "id").read_text() == "$Id$\n"
        assert await workspace.patch() is None
        assert repository.git("status", "--porcelain", at=workspace.path) == ""


async def test_the_head_of_a_worktree_tells_what_was_committed_in_it(repository, workspaces) -> None:
    async with workspaces.provide("writer", "r1") as workspace:
        assert workspace.head == workspace.rev
        committed(workspace.path, repository)
        assert workspace.head == repository.git("rev-parse", "HEAD", at=workspace.path) != workspace.rev


async def test_a_patch_that_was_taken_is_not_saved_again(repository, workspaces, base) -> None:
    async with workspaces.provide("writer", "r1") as workspace:
        modified(workspace.path, repository)
        await workspace.patch()

    assert list(base.iterdir()) == []


# Nobody takes the patch


@pytest.mark.parametrize("ending", [KeyError("mine"), None], ids=["failed", "left"])
async def test_changes_that_nobody_took_are_saved_beside_the_worktree(
    repository, workspaces, base, tree, ending
) -> None:
    notes = []
    try:
        async with workspaces.provide("writer", "r1") as workspace:
            await workspace.patch()
            renamed(workspace.path, repository)
            expected = tree(workspace.path)
            if ending is not None:
                raise ending
    except KeyError as error:
        notes = error.__notes__

    (saved,) = base.iterdir()
    assert saved.name == "writer-r1.patch"
    assert repository.applied(saved.read_text(), workspace.rev) == expected
    assert repository.worktrees() == 0
    assert notes == ([] if ending is None else [f"the changes in the worktree are saved in {str(saved)!r}"])


async def test_changes_of_a_cancelled_agent_are_saved_beside_the_worktree(repository, workspaces, base, tree) -> None:
    for number in (1, 2):
        with anyio.CancelScope() as scope:
            async with workspaces.provide("writer", "r1") as workspace:
                (workspace.path / "work").write_text(str(number))
                scope.cancel()
                await anyio.sleep_forever()

    assert sorted(path.name for path in base.iterdir()) == ["writer-r1-2.patch", "writer-r1.patch"]
    assert repository.applied((base / "writer-r1-2.patch").read_text(), workspace.rev)[b"work"]


# What no patch can hold


def a_repository_inside(at: Path, repository) -> None:
    repository.git("init", "--quiet", "inner", at=at)
    (at / "inner" / "file").write_text("in")


def a_repository_inside_with_commits(at: Path, repository) -> None:
    a_repository_inside(at, repository)
    repository.git("add", "--all", at=at / "inner")
    repository.git("commit", "--quiet", "-m", "inner", at=at / "inner")


def too_much(at: Path, repository) -> None:
    (at / "big").write_bytes(os.urandom(20_000))


def too_much_together(at: Path, repository) -> None:
    for number in range(30):
        (at / f"part{number}").write_bytes(os.urandom(500))


def too_much_removed(at: Path, repository) -> None:
    (at / "huge.bin").unlink()


@pytest.mark.parametrize(
    "change",
    [a_repository_inside, a_repository_inside_with_commits, too_much, too_much_together, too_much_removed],
    ids=lambda change: change.__name__,
)
@pytest.mark.parametrize("asked", [True, False], ids=["asked", "not asked"])
async def test_a_worktree_whose_changes_fit_no_patch_is_kept(repository, base, tree, change, asked) -> None:
    repository.commit({"huge.bin": os.urandom(20_000)})
    workspaces = Workspaces.git_worktree(repository.path, base, patch_limit=10_000)
    async with workspaces.provide("writer", "r1") as workspace:
        change(workspace.path, repository)
        before = tree(workspace.path)
        if asked:
            with pytest.raises(WorkspaceError, match=r"a patch can't hold|patch_limit"):
                await workspace.patch()
            assert workspace.kept is not None

    assert [path.name for path in base.iterdir()] == ["writer-r1"]
    assert tree(workspace.path) == before
    assert repository.worktrees() == 1
    assert workspaces.leftovers() == []


async def test_what_is_in_a_submodule_keeps_the_worktree_and_an_empty_one_does_not(repository, base, tmp_path) -> None:
    other = type(repository)(tmp_path / "other")
    other.commit({"file": "theirs"})
    allowed = ("-c", "protocol.file.allow=always")
    repository.git(*allowed, "submodule", "--quiet", "add", str(other.path), "sub")
    repository.git("commit", "--quiet", "-m", "submodule")
    workspaces = Workspaces.git_worktree(repository.path, base)

    async with workspaces.provide("writer", "r1") as workspace:
        assert await workspace.patch() is None
    assert list(base.iterdir()) == []

    async with workspaces.provide("writer", "r1") as workspace:
        (workspace.path / "sub").rmdir()
        patch = await workspace.patch()
        assert b"sub" not in repository.applied(patch, workspace.rev)

    async with workspaces.provide("writer", "r2") as workspace:
        (workspace.path / "sub" / "work").write_text("mine")
    assert (base / "writer-r2" / "sub" / "work").read_text() == "mine"


async def test_a_worktree_that_was_locked_is_kept(repository, workspaces, base) -> None:
    async with workspaces.provide("writer", "r1") as workspace:
        repository.git("worktree", "lock", str(workspace.path))

    assert workspace.path.is_dir()
    assert workspaces.leftovers() == []


async def test_a_worktree_that_is_gone_is_no_reason_to_fail(repository, workspaces, base) -> None:
    async with workspaces.provide("writer", "r1") as workspace:
        subprocess.run(["rm", "-rf", workspace.path], check=True)
        with pytest.raises(WorkspaceError):
            await workspace.patch()

    assert list(base.iterdir()) == []
    assert repository.worktrees() == 0


# Any tree to any other

NAMES = st.sampled_from(
    [b"a", b"b", b"A", b"a b", b"x.tmp", b".gitignore", "\u00e9".encode(), b"e\xcc\x81", b"\xff", b'"']
)
LINES = st.lists(st.sampled_from([b"one\n", b"two\r\n", b"\n", b"three", b"\xe4\n", b"\t \n", b"$Id$\n"]), max_size=6)
CONTENT = LINES.map(b"".join) | st.binary(max_size=40)
LEAF = st.tuples(st.sampled_from(["100644", "100644", "100755"]), CONTENT) | st.tuples(
    st.just("120000"), st.sampled_from([b"a", b"../..", b"/etc/passwd", b"nowhere"])
)
TREES = st.dictionaries(
    NAMES, st.deferred(lambda: LEAF | st.dictionaries(NAMES, LEAF, min_size=1, max_size=3)), max_size=5
)


def write(folder: bytes, tree: dict) -> None:
    for name, entry in tree.items():
        path = os.path.join(folder, name)
        if isinstance(entry, dict):
            os.mkdir(path)
            write(path, entry)
            continue
        mode, content = entry
        if mode == "120000":
            os.symlink(content, path)
            continue
        with open(path, "wb") as file:
            file.write(b"" if name == b".gitignore" else content)  # what is ignored is another test's matter
        os.chmod(path, stat.S_IMODE(int(mode, 8)))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(before=TREES, after=TREES, steps=st.sampled_from(["as it is", "staged", "committed"]))
def test_a_patch_leads_from_any_tree_to_any_other(request, before: dict, after: dict, steps: str) -> None:
    tree_of, new_repository = request.getfixturevalue("tree"), request.getfixturevalue("new_repository")
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        repository = new_repository(Path(folder) / "repository")
        write(os.fsencode(repository.path), before)
        repository.commit({})

        async def change() -> None:
            workspaces = Workspaces.git_worktree(repository.path, Path(folder) / "base")
            async with workspaces.provide("writer", "r1") as workspace:
                assert tree_of(workspace.path) == tree_of(repository.path)
                repository.git("rm", "-r", "-f", "--quiet", "--ignore-unmatch", ".", at=workspace.path)
                write(os.fsencode(workspace.path), after)
                if steps != "as it is":
                    repository.git("add", "--all", "--force", at=workspace.path)
                if steps == "committed":
                    repository.git("commit", "--quiet", "--allow-empty", "-m", "work", at=workspace.path)
                patch = await workspace.patch()
                assert repository.applied(patch, workspace.rev) == tree_of(workspace.path)
            assert os.listdir(workspaces._base) == []

        anyio.run(change)
