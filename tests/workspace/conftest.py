"""A repository to make worktrees of, and a base to make workspaces in."""

# ruff: noqa: PTH113, PTH114, PTH115, PTH116, PTH118, PTH123 - paths here are bytes: a name need not be text

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

WITHOUT_USER = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": "nobody@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


class Repository:
    """A git repository, worked in with git as anybody has it: hooks, filters and all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str, at: Path | None = None, check: bool = True, **variables: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=at or self.path,
            env={**WITHOUT_USER, **variables},
            capture_output=True,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    def commit(self, files: dict[str, str | bytes], message: str = "more") -> str:
        for name, content in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def worktrees(self) -> int:
        return self.git("worktree", "list", "--porcelain").count("worktree ") - 1

    def applied(self, patch: str | None, rev: str) -> dict[bytes, tuple[str, str]]:
        """Name to mode and blob of the tree that ``patch`` makes of ``rev``."""
        index = str(self.path / ".git" / "trial-index")
        self.git("read-tree", rev, GIT_INDEX_FILE=index)
        if patch is not None:
            file = self.path / ".git" / "trial-patch"
            file.write_text(patch, newline="")
            self.git("apply", "--cached", "--whitespace=nowarn", str(file), GIT_INDEX_FILE=index)
        listed = subprocess.run(
            ["git", "ls-files", "--stage", "-z"],
            cwd=self.path,
            env={**WITHOUT_USER, "GIT_INDEX_FILE": index},
            capture_output=True,
            check=True,
        ).stdout
        entries = (entry.partition(b"\t") for entry in listed.split(b"\0")[:-1])
        return {name: tuple(about.decode().split()[:2]) for about, _, name in entries}


def tree_of(folder: Path) -> dict[bytes, tuple[str, str]]:
    """What git would keep of ``folder``, byte for byte, by an independent reading of it."""
    found = {}
    root = os.fsencode(folder)
    for at, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != b".git" or at != root]
        links = [name for name in folders if os.path.islink(os.path.join(at, name))]
        for name in [*files, *links]:
            path = os.path.join(at, name)
            if at == root and name == b".git":
                continue
            if os.path.islink(path):
                mode, content = "120000", os.readlink(path)
            elif os.path.isfile(path):
                mode = "100755" if os.stat(path).st_mode & 0o100 else "100644"
                with open(path, "rb") as file:
                    content = file.read()
            else:
                continue
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            found[os.path.relpath(path, root)] = (mode, blob)
    return found


@pytest.fixture(scope="session", autouse=True)
def _git_is_there() -> None:
    if shutil.which("git") is None:
        pytest.skip("GIT IS MISSING: nothing about worktrees is tested")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory, where the system has that: these tests make and remove thousands of folders."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="carpool-test-") as folder:
        yield Path(folder).resolve()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "base"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.commit(
        {"a.txt": "one\ntwo\n", "folder/b.txt": "bee\n", "data.bin": bytes(range(256)), ".gitignore": "*.tmp\n"}
    )
    return made


@pytest.fixture
def tree():
    return tree_of


@pytest.fixture(scope="session")
def new_repository() -> type[Repository]:
    return Repository
