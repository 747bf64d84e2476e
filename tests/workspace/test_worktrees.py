"""Making a worktree, and what comes of it when that can't be done."""

# ruff: noqa: ASYNC221 - the loop has nothing else to do meanwhile

import os
import sys
from pathlib import Path

import anyio
import pytest

from carpool.errors import WorkspaceError
from carpool.workspace import Workspaces


async def test_a_worktree_is_the_commit_and_the_repository_is_as_before(repository, base, tree) -> None:
    config = (repository.path / ".git" / "config").read_bytes()
    async with Workspaces.git_worktree(repository.path, base).provide("writer", "r1") as workspace:
        assert workspace.path == base.resolve() / "writer-r1"
        assert tree(workspace.path) == tree(repository.path)
        assert repository.git("status", "--porcelain", at=workspace.path) == ""
        assert repository.git("symbolic-ref", "-q", "HEAD", at=workspace.path, check=False) == ""
        assert repository.worktrees() == 1

    assert list(base.iterdir()) == []
    assert repository.worktrees() == 0
    assert repository.git("status", "--porcelain") == ""
    assert repository.git("for-each-ref", "--format=%(refname)") == "refs/heads/main"
    assert (repository.path / ".git" / "config").read_bytes() == config
    assert not (repository.path / ".git" / "worktrees").exists()


@pytest.mark.parametrize("rev", ["HEAD~1", "main~1", "v1", "side", "@~1"])
async def test_a_worktree_begins_at_the_revision_that_was_asked_for(repository, base, rev: str) -> None:
    first = repository.commit({"a.txt": "first\n"}, "first")
    repository.git("tag", "-a", "v1", "-m", "one")
    repository.git("branch", "side")
    repository.commit({"a.txt": "later\n"}, "later")
    async with Workspaces.git_worktree(repository.path, base, rev).provide("writer", "r1") as workspace:
        assert workspace.rev == first
        assert (workspace.path / "a.txt").read_text() == "first\n"


async def test_a_revision_is_looked_up_when_each_begins(repository, base) -> None:
    workspaces = Workspaces.git_worktree(repository.path, base)
    async with workspaces.provide("writer", "r1") as before:
        pass
    newest = repository.commit({"more": "more"})
    async with workspaces.provide("writer", "r1") as after:
        assert before.rev != after.rev == newest


async def test_a_worktree_can_be_of_a_bare_repository_a_subfolder_or_another_worktree(
    repository, base, tmp_path
) -> None:
    repository.git("clone", "--quiet", "--bare", str(repository.path), str(tmp_path / "bare"))
    repository.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    for where in (tmp_path / "bare", repository.path / "folder", tmp_path / "linked"):
        async with Workspaces.git_worktree(where, base).provide("writer", "r1") as workspace:
            (workspace.path / "new").write_text("new")
            assert "new" in await workspace.patch()
        assert list(base.iterdir()) == []


async def test_a_worktree_can_be_of_a_repository_with_the_longer_digests(base, tmp_path) -> None:
    from subprocess import run

    path = tmp_path / "sha256"
    run(["git", "init", "--quiet", "--object-format=sha256", str(path)], check=True)
    who = ["-c", "user.name=n", "-c", "user.email=e"]
    run(["git", "-C", str(path), *who, "commit", "--quiet", "--allow-empty", "-m", "first"], check=True)
    async with Workspaces.git_worktree(path, base).provide("writer", "r1") as workspace:
        assert len(workspace.rev) == 64
        (workspace.path / "new").write_text("new")
        assert "new" in await workspace.patch()


async def test_a_kept_worktree_is_an_ordinary_one(repository, base) -> None:
    workspaces = Workspaces.git_worktree(repository.path, base, keep=True)
    async with workspaces.provide("writer", "r1") as workspace:
        (workspace.path / "new").write_text("new")

    assert [path.name for path in base.iterdir()] == ["writer-r1"]
    assert repository.git("status", "--porcelain", at=workspace.path) == "?? new"
    repository.git("worktree", "remove", "--force", str(workspace.path))


async def test_paths_may_have_spaces_colons_quotes_and_letters_of_any_script(repository, tmp_path, tree) -> None:
    odd = tmp_path / "a b:c\"d'é汉#%"
    repository.path.rename(odd)
    repository.path = odd
    async with Workspaces.git_worktree(odd, odd.with_name(odd.name + " base")).provide("writer", "r1") as workspace:
        (workspace.path / "new").write_text("new")
        assert tree(workspace.path) == repository.applied(await workspace.patch(), "HEAD")


# What can't be done


@pytest.mark.parametrize("rev", ["", "-x", "--upload-pack=touch x", "a\0b", "a\nb"])
def test_what_can_be_no_revision_is_refused_when_it_is_named(repository, base, rev: str) -> None:
    with pytest.raises(ValueError, match="rev must name a commit"):
        Workspaces.git_worktree(repository.path, base, rev)


@pytest.mark.parametrize(
    "rev", ["nowhere", "HEAD:a.txt", "HEAD^{tree}", "HEAD~99", "0" * 40, "a..b", "HEAD main", "..", "@{9}"]
)
async def test_a_revision_that_is_no_commit_is_a_workspace_error_that_names_it(repository, base, rev: str) -> None:
    with pytest.raises(WorkspaceError) as failed:
        async with Workspaces.git_worktree(repository.path, base, rev).provide("writer", "r1"):
            pytest.fail("there can be no workspace")

    assert f"no commit {rev!r} in" in str(failed.value)
    assert list(base.iterdir()) == []
    assert repository.worktrees() == 0


def no_repository(repository) -> Path:
    (repository.path.parent / "plain").mkdir()
    return repository.path.parent / "plain"


def nothing_at_all(repository) -> Path:
    return repository.path / "missing"


def a_file(repository) -> Path:
    return repository.path / "a.txt"


def a_broken_one(repository) -> Path:
    (repository.path / ".git" / "HEAD").write_text("nonsense")
    return repository.path


def one_with_broken_settings(repository) -> Path:
    (repository.path / ".git" / "config").write_text("[core\n")
    return repository.path


def one_from_the_future(repository) -> Path:
    repository.git("config", "core.repositoryFormatVersion", "99")
    return repository.path


@pytest.mark.parametrize(
    "where", [no_repository, nothing_at_all, a_file, a_broken_one, one_with_broken_settings, one_from_the_future]
)
async def test_what_is_no_repository_is_a_workspace_error_that_names_it(repository, base, where, monkeypatch) -> None:
    path = where(repository)
    with pytest.raises(WorkspaceError) as failed:
        async with Workspaces.git_worktree(path, base).provide("writer", "r1"):
            pytest.fail("there can be no workspace")

    assert f"{str(path)!r} is no git repository that can be used" in str(failed.value)
    assert list(base.iterdir()) == []


async def test_an_empty_repository_has_no_commit_to_begin_at(base, tmp_path, new_repository) -> None:
    empty = new_repository(tmp_path / "empty")
    with pytest.raises(WorkspaceError, match="no commit 'HEAD'"):
        async with Workspaces.git_worktree(empty.path, base).provide("writer", "r1"):
            pytest.fail("there can be no workspace")


def git_that(tmp_path: Path, monkeypatch, what: str, when: str) -> None:
    """A git before the real one, that does ``what`` when called for ``when``."""
    real = next(Path(each, "git") for each in os.environ["PATH"].split(":") if Path(each, "git").exists())
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "git").write_text(f'#!/bin/sh\ncase "$*" in *{when}*) {what};; *) exec {real} "$@";; esac\n')
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize("when", ["worktree", "read-tree"])
async def test_a_full_disk_is_a_workspace_error_and_leaves_nothing(
    repository, base, tmp_path, monkeypatch, when
) -> None:
    git_that(tmp_path, monkeypatch, "echo 'fatal: No space left on device' >&2; exit 128", when)
    with pytest.raises(WorkspaceError, match="git failed with 128: fatal: No space left on device"):
        async with Workspaces.git_worktree(repository.path, base).provide("writer", "r1"):
            pytest.fail("there can be no workspace")

    assert list(base.iterdir()) == []
    assert repository.worktrees() == 0


async def test_git_that_hangs_is_killed_in_time(repository, base, tmp_path, monkeypatch) -> None:
    git_that(tmp_path, monkeypatch, "exec sleep 1000", "read-tree")
    with pytest.raises(WorkspaceError, match=r"git took longer than 0\.5 s: git read-tree"):
        async with Workspaces.git_worktree(repository.path, base, timeout_s=0.5).provide("writer", "r1"):
            pytest.fail("there can be no workspace")

    assert list(base.iterdir()) == []
    assert repository.worktrees() == 0


async def test_a_cancellation_while_git_works_kills_it_and_leaves_nothing(
    repository, base, tmp_path, monkeypatch
) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    git_that(tmp_path, monkeypatch, f": > {started}; exec sleep 1000", "read-tree")
    async with anyio.create_task_group() as group:

        async def work() -> None:
            async with Workspaces.git_worktree(repository.path, base).provide("writer", "r1"):
                pytest.fail("there can be no workspace")

        group.start_soon(work)
        await anyio.to_thread.run_sync(started.read_bytes)
        group.cancel_scope.cancel()

    assert list(base.iterdir()) == []
    assert repository.worktrees() == 0


async def test_a_machine_without_git_is_told_so(repository, base, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(WorkspaceError, match="is it installed"):
        async with Workspaces.git_worktree(repository.path, base).provide("writer", "r1"):
            pytest.fail("there can be no workspace")


async def test_a_repository_that_is_locked_for_too_long_is_a_workspace_error(repository, base) -> None:
    import fcntl

    held = os.open(repository.path / ".git", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with pytest.raises(WorkspaceError, match="was locked by others for"):
            async with Workspaces.git_worktree(repository.path, base, timeout_s=0.2).provide("writer", "r1"):
                pytest.fail("there can be no workspace")
    finally:
        os.close(held)

    assert list(base.iterdir()) == []


def test_bounds_have_to_be_above_zero(repository, base) -> None:
    for bounds in ({"patch_limit": 0}, {"timeout_s": 0}, {"timeout_s": float("nan")}):
        with pytest.raises(ValueError, match="must be above 0"):
            Workspaces.git_worktree(repository.path, base, **bounds)


def test_importing_carpool_does_not_load_workspaces() -> None:
    from subprocess import run

    probe = "import sys, carpool; sys.exit(any(name.startswith('carpool.workspace') for name in sys.modules))"
    assert run([sys.executable, "-c", probe], check=False, env={**os.environ}).returncode == 0
