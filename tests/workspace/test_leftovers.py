"""What a killed process leaves behind is found, told from what is in use, and removed without losing anything."""

# ruff: noqa: ASYNC221 - the loop has nothing else to do meanwhile

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from carpool.errors import WorkspaceError
from carpool.workspace import Workspaces

ROOT = Path(__file__).parents[2]

STAY = """
import sys
from pathlib import Path
import anyio
sys.path.insert(0, sys.argv[1])
from carpool.workspace import Workspaces

base, repository = Path(sys.argv[2]), sys.argv[3]
workspaces = Workspaces.git_worktree(repository, base) if repository else Workspaces.directory(base)

async def main():
    async with workspaces.provide("writer", "r1") as workspace:
        (workspace.path / "work").write_text("precious")
        print("inside", flush=True)
        sys.stdin.read()

anyio.run(main)
"""

# Dies at the nth step of a workspace's life, for every n; a step is a call of git, or one that changes the disk.
DIE = """
import os, signal, sys
from pathlib import Path
import anyio
sys.path.insert(0, sys.argv[1])
from carpool.workspace import Workspaces

base, repository = Path(sys.argv[2]), sys.argv[3]

async def main():
    async with Workspaces.git_worktree(repository, base).provide("writer", "r1") as workspace:
        (workspace.path / "work").write_text("precious")
        print(f"worked {step}", flush=True)

def steps(event, arguments):
    global left
    if event in {"subprocess.Popen", "os.mkdir", "os.rmdir", "os.rename", "shutil.copyfile"}:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(steps)
step, killed, left = 0, True, 0
while killed:
    step += 1
    child = os.fork()
    if not child:
        left = step
        anyio.run(main)
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
print(f"lived {step}", flush=True)
"""


class Lodger:
    """Another process that has a workspace, until it is killed."""

    def __init__(self, base: Path, repository: Path | str = "") -> None:
        command = [sys.executable, "-c", STAY, str(ROOT / "src"), str(base), str(repository)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"inside\n"

    def kill(self) -> int:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.pid


@pytest.fixture
def lodge(base):
    lodgers = []

    def moved_in(repository: Path | str = "") -> Lodger:
        lodgers.append(Lodger(base, repository))
        return lodgers[-1]

    yield moved_in
    for lodger in lodgers:
        if lodger.process.returncode is None:
            lodger.kill()


async def test_a_base_that_is_not_there_or_is_empty_has_no_leftovers(base) -> None:
    workspaces = Workspaces.directory(base)
    assert workspaces.leftovers() == await workspaces.remove_leftovers() == []
    assert not base.exists()
    base.mkdir()
    assert workspaces.leftovers() == await workspaces.remove_leftovers() == []
    assert list(base.iterdir()) == []


async def test_a_workspace_in_use_is_told_from_a_leftover_and_left_alone(base, lodge) -> None:
    lodger, workspaces = lodge(), Workspaces.directory(base)
    async with workspaces.provide("reader", "r2") as mine:
        found = {each.agent: each for each in workspaces.leftovers()}
        assert {name: (each.path.name, each.pid, each.alive) for name, each in found.items()} == {
            "writer": ("writer-r1", lodger.process.pid, True),
            "reader": ("reader-r2", os.getpid(), True),
        }
        assert await workspaces.remove_leftovers() == []
        assert mine.path.is_dir()
        assert (base / "writer-r1" / "work").exists()


async def test_a_killed_process_leaves_what_is_found_and_removed(base, lodge) -> None:
    pid, workspaces = lodge().kill(), Workspaces.directory(base)
    (found,) = workspaces.leftovers()
    assert (found.path, found.run_id, found.agent, found.pid) == (base.resolve() / "writer-r1", "r1", "writer", pid)
    assert not found.alive
    assert 0 <= found.age_s < 60

    (removed,) = await workspaces.remove_leftovers()

    assert (removed.path, removed.patch, removed.problem) == (found.path, None, None)
    assert workspaces.leftovers() == []
    assert list(base.iterdir()) == []


async def test_the_age_of_a_leftover_is_asked_of_the_clock(base, lodge) -> None:
    lodge().kill()

    class Later:
        monotonic = staticmethod(lambda: 0.0)
        now = staticmethod(lambda: datetime.now(UTC) + timedelta(days=3))

    (found,) = Workspaces.directory(base, clock=Later()).leftovers()
    assert 3 * 86_400 <= found.age_s < 3 * 86_400 + 60


async def test_a_killed_agents_changes_are_saved_before_its_worktree_is_removed(base, repository, lodge) -> None:
    lodge(repository.path).kill()
    (removed,) = await Workspaces.git_worktree(repository.path, base).remove_leftovers()

    assert removed.problem is None
    assert [path.name for path in base.iterdir()] == ["writer-r1.patch"]
    assert repository.applied(removed.patch.read_text(), "HEAD")[b"work"]
    assert repository.worktrees() == 0


async def test_worktrees_and_folders_of_others_stay(base, repository, lodge) -> None:
    lodge(repository.path).kill()
    repository.git("worktree", "add", "--quiet", "--detach", str(base / "writer-r11"))
    repository.git("worktree", "add", "--quiet", "--detach", str(base.parent / "elsewhere" / "writer-r1"))
    repository.git("worktree", "add", "--quiet", "--detach", str(base.parent / "unplugged"))
    shutil.rmtree(base.parent / "unplugged")
    (base / "mine").mkdir()
    (base / "mine" / "file").write_text("mine")

    await Workspaces.git_worktree(repository.path, base).remove_leftovers()

    assert sorted(path.name for path in base.iterdir()) == ["mine", "writer-r1.patch", "writer-r11"]
    assert repository.worktrees() == 3


async def test_a_leftover_that_was_locked_or_lost_its_repository_stays_with_its_problem(
    base, repository, lodge
) -> None:
    lodge(repository.path).kill()
    workspaces = Workspaces.git_worktree(repository.path, base)
    repository.git("worktree", "lock", str(base / "writer-r1"))
    (locked,) = await workspaces.remove_leftovers()
    assert "locked" in locked.problem
    repository.git("worktree", "unlock", str(base / "writer-r1"))
    (repository.path / ".git").rename(repository.path / "gone")
    (lost,) = await workspaces.remove_leftovers()
    assert lost.problem is not None

    assert (base / "writer-r1" / "work").read_text() == "precious"
    assert len(workspaces.leftovers()) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"created": 5}', b"\xff\xfe", b"null"])
async def test_a_note_that_cannot_be_read_removes_nothing(base, lodge, content: bytes) -> None:
    lodge().kill()
    (note,) = (base / ".carpool").glob("writer-r1@*")
    note.write_bytes(content)
    workspaces = Workspaces.directory(base)
    (found,) = await workspaces.remove_leftovers()

    assert "can't be read" in found.problem
    assert (base / "writer-r1" / "work").exists()
    shutil.rmtree(base / "writer-r1")
    await workspaces.remove_leftovers()
    assert list(base.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["..@1-0123456789ab", "x@1-nohex", "@1-0123456789ab", "x", ".@1-0123456789ab", "X@1-a"]
)
async def test_what_is_no_note_is_passed_over(base, name: str) -> None:
    (base / ".carpool").mkdir(parents=True)
    (base / ".carpool" / name).write_text("{}")
    workspaces = Workspaces.directory(base)
    assert workspaces.leftovers() == await workspaces.remove_leftovers() == []
    assert base.is_dir()


async def test_a_base_that_cannot_be_looked_at_is_a_workspace_error(base) -> None:
    with pytest.raises(WorkspaceError, match="can't"):
        await Workspaces.directory(base.parent / ("x" * 300)).remove_leftovers()


async def test_two_that_remove_at_once_do_it_once(base, lodge) -> None:
    lodge().kill()
    removed = []

    async def remove() -> None:
        removed.extend(await Workspaces.directory(base).remove_leftovers())

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(remove)

    assert len(removed) == 1
    assert list(base.iterdir()) == []


async def test_whenever_a_process_is_killed_nothing_is_lost_and_everything_can_be_removed(base, repository) -> None:
    command = [sys.executable, "-c", DIE, str(ROOT / "src"), str(base), str(repository.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    steps = int(said[-1].removeprefix("lived "))
    worked = {line for line in said if line.startswith("worked")}
    assert steps > 20
    workspaces = Workspaces.git_worktree(repository.path, base)
    removed = await workspaces.remove_leftovers()

    assert not [each.problem for each in removed if each.problem]
    assert workspaces.leftovers() == []
    saved = list(base.glob("*.patch"))
    assert len(saved) >= len(worked) > 10
    assert len({str(repository.applied(patch.read_text(), "HEAD")) for patch in saved}) == 1
    assert {path.suffix for path in base.iterdir()} <= {".patch"}
    assert repository.worktrees() == 0
    assert repository.git("fsck", "--strict", "--no-dangling") == ""


async def test_sixty_four_worktrees_at_once_are_sixty_four_worktrees(base, repository) -> None:
    workspaces = Workspaces.git_worktree(repository.path, base)
    most, inside = anyio.Event(), []

    async def one() -> None:
        async with workspaces.provide("writer", "r1") as workspace:
            inside.append(workspace.path)
            if len(inside) == 64:
                assert repository.worktrees() == 64
                most.set()
            await most.wait()

    async with anyio.create_task_group() as group:
        for _ in range(64):
            group.start_soon(one)

    assert len(set(inside)) == 64
    assert repository.worktrees() == 0
    assert list(base.iterdir()) == []
