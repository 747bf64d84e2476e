"""What an agent made in a folder of its own is part of what is remembered of it; a folder is not."""

from __future__ import annotations

from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from carpool import SharedInfra, StateStore, Swarm
from carpool.durable import MemoryJournal, SqliteJournal
from carpool.testing.journal_desk import agents, gist
from carpool.workspace import Workspaces


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    (path / "a.txt").write_text("one\n")
    who = ["-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "-q"], ["add", "--all"], [*who, "commit", "-q", "-m", "first"]):
        run(["git", *command], cwd=path, check=True)
    return path


async def test_a_patch_is_replayed_and_no_folder_is_made_for_it(repository: Path, tmp_path: Path) -> None:
    async def runner(spec: Any, task: str, runtime: Any, mailbox: Any) -> str:
        called.append(spec.name)
        (runtime.workspace / "a.txt").write_text(f"two, by {spec.name}\n")
        runtime.state.set(spec.name, "done", actor=spec.name)
        return "done"

    called: list[str] = []
    results: list[Any] = []
    async with SqliteJournal(tmp_path / "runs.db") as journal:
        for time in ("first", "second"):
            base = tmp_path / time
            team = Swarm(agents("ab"), workspaces=Workspaces.git_worktree(repository, base), max_concurrent=1)
            infra = SharedInfra(journal=journal, state=StateStore())
            results.append(gist(await team.run("t", runner=runner, infra=infra, run_id="run")))
            assert infra.state.snapshot() == {"a": "done", "b": "done"}
            assert base.exists() == (time == "first")

    assert called == ["a", "b"]
    assert results[0] == results[1]
    patches = [output["outcome"]["evidence"][0]["data"]["patch"] for output in results[1]["outputs"]]
    assert all(f"+two, by {name}" in patch for name, patch in zip("ab", patches, strict=True))


@pytest.mark.parametrize("isolated", [True, False])
async def test_state_is_put_back_with_a_folder_with_an_overlay_or_with_both(isolated: bool, tmp_path: Path) -> None:
    async def runner(spec: Any, task: str, runtime: Any, mailbox: Any) -> str:
        runtime.state.set(spec.name, 1, actor=spec.name)
        runtime.state.set("last", spec.name, actor=spec.name)
        return "done"

    journal = MemoryJournal()
    team = Swarm(agents("a"), isolated=isolated, workspaces=Workspaces.directory(tmp_path / "base"))
    for _ in range(3):
        infra = SharedInfra(journal=journal)
        await team.run("t", runner=runner, infra=infra, run_id="run")
        assert infra.state.snapshot() == {"a": 1, "last": "a"}
