"""What an agent that works apart has changed reaches its team after success only, in order, and all or nothing."""

# ruff: noqa: ASYNC221, PTH208 - the loop has nothing else to do meanwhile

import os
import subprocess
from pathlib import Path

import anyio
import pytest

from carpool import AgentOutcome, AgentOutput, AgentSpec, EvidenceKind, StateStore
from carpool.errors import WorkspaceError
from carpool.isolation import Apart
from carpool.workspace import Workspaces

WRITER, READER = AgentSpec("writer", "write"), AgentSpec("reader", "read")


def said(name: str, answer: str = "done", **fields) -> AgentOutput:
    return AgentOutput(name=name, answer=answer, **fields)


async def write(
    apart: Apart, spec: AgentSpec, key: str, value: object, output: AgentOutput | None = None
) -> AgentOutput:
    """One agent that sets a key in its own state and ends with ``output``."""
    async with apart.around(spec, "r1") as prepared:
        prepared.state.set(key, value, actor=spec.name)
        return await prepared.finish(output or said(spec.name))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    (path / "a.txt").write_text("one\n")
    who = ["-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "-q"], ["add", "--all"], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=path, check=True)
    return path


async def test_without_overlay_or_folder_everything_is_the_teams() -> None:
    async with Apart().around(WRITER, "r1") as prepared:
        assert prepared.spec is WRITER
        assert prepared.state is prepared.log is prepared.workspace is None
        output = said("writer")
        assert await prepared.finish(output) is output


async def test_writes_are_the_agents_own_until_they_are_merged() -> None:
    state = StateStore({"key": "before"})
    apart = Apart(state)
    output = await write(apart, WRITER, "key", "after")
    assert state.get("key") == "before"

    assert apart.merge([output]) == [output]
    assert state.get("key") == "after"
    assert [each.actor for each in state.transitions()] == ["writer"]


@pytest.mark.parametrize(
    "output", [said("writer", error="broke"), said("writer", answer=""), said("writer", answer="", error="skipped")]
)
async def test_what_did_not_succeed_changes_nothing(output: AgentOutput) -> None:
    state = StateStore()
    apart = Apart(state)
    assert apart.merge([await write(apart, WRITER, "key", 1, output)]) == [output]
    assert state.snapshot() == {}


async def test_what_raised_or_was_cancelled_changes_nothing() -> None:
    state = StateStore()
    apart = Apart(state)
    with pytest.raises(KeyError):  # noqa: PT012 - it is the leaving of the inner block that matters
        async with apart.around(WRITER, "r1") as prepared:
            prepared.state.set("key", 1, actor="writer")
            raise KeyError
    with anyio.CancelScope() as scope:
        async with apart.around(READER, "r1") as prepared:
            prepared.state.set("key", 1, actor="reader")
            scope.cancel()
            await anyio.sleep_forever()

    apart.merge([said("writer"), said("reader")])
    assert state.snapshot() == {}


async def test_overlays_are_merged_in_the_order_given_and_a_conflict_is_the_later_ones_error() -> None:
    state = StateStore({"shared": 0})
    apart = Apart(state)
    read = await write(apart, READER, "shared", 2)
    wrote = await write(apart, WRITER, "shared", 1)

    first, second = apart.merge([wrote, read])

    assert first is wrote
    assert second.error.startswith("StateConflict: 'shared' was changed by 'reader'")
    assert not second.succeeded
    assert second.answer == "done"
    assert second.outcome.status == "failure"
    assert state.get("shared") == 1


async def test_a_conflict_merges_nothing_of_its_agent_and_everything_of_others() -> None:
    state = StateStore({"shared": 0})
    apart = Apart(state)
    async with apart.around(READER, "r1") as prepared:
        prepared.state.set("own", 1, actor="reader")
        prepared.state.set("shared", 2, actor="reader")
        read = await prepared.finish(said("reader"))
    wrote = await write(apart, WRITER, "shared", 1)
    last = await write(apart, AgentSpec("last", ""), "other", 3)

    assert [output.succeeded for output in apart.merge([wrote, read, last])] == [True, False, True]
    assert state.snapshot() == {"shared": 1, "other": 3}


async def test_agents_that_wrote_the_same_agree() -> None:
    state = StateStore()
    apart = Apart(state)
    outputs = [await write(apart, spec, "key", {"same": True}) for spec in (WRITER, READER)]
    assert all(output.succeeded for output in apart.merge(outputs))


async def test_a_retry_begins_anew() -> None:
    state = StateStore()
    apart = Apart(state)
    await write(apart, WRITER, "first", 1, said("writer", error="broke"))
    output = await write(apart, WRITER, "second", 2)
    apart.merge([output])
    assert state.snapshot() == {"second": 2}


async def test_merging_twice_merges_once() -> None:
    state = StateStore()
    apart = Apart(state)
    outputs = [await write(apart, WRITER, "key", 1)]
    apart.merge(outputs)
    state.set("key", 2, actor="team")
    assert apart.merge(outputs) == outputs
    assert state.get("key") == 2


async def test_the_spec_tells_where_the_workspace_is_and_keeps_what_else_it_told(tmp_path: Path) -> None:
    spec = AgentSpec("writer", "write", metadata={"colour": "red"})
    async with Apart(workspaces=Workspaces.directory(tmp_path / "base")).around(spec, "r1") as prepared:
        assert prepared.workspace.is_dir()
        assert prepared.spec.metadata == {"colour": "red", "workspace": str(prepared.workspace)}
        assert spec.metadata == {"colour": "red"}
        assert await prepared.finish(said("writer")) == said("writer")
    assert os.listdir(tmp_path / "base") == []


async def test_a_workspace_that_cannot_be_had_is_raised_on_entering(tmp_path: Path) -> None:
    (tmp_path / "base").write_text("")
    with pytest.raises(WorkspaceError):
        async with Apart(workspaces=Workspaces.directory(tmp_path / "base")).around(WRITER, "r1"):
            pytest.fail("there can be no workspace")


async def test_a_changed_worktree_is_evidence_of_its_output(tmp_path: Path, repository: Path) -> None:
    apart = Apart(workspaces=Workspaces.git_worktree(repository, tmp_path / "base"))
    async with apart.around(WRITER, "r1") as prepared:
        (prepared.workspace / "a.txt").write_text("two\n")
        output = await prepared.finish(said("writer"))

    (evidence,) = output.outcome.evidence
    assert (evidence.kind, evidence.description) == (EvidenceKind.STATE_CHANGE, "workspace patch")
    assert set(evidence.data) == {"patch", "rev"}
    assert "-one\n+two\n" in evidence.data["patch"]
    assert len(evidence.data["rev"]) == 40
    assert output.succeeded
    assert output.outcome.status == "success"
    assert os.listdir(tmp_path / "base") == []


async def test_an_unchanged_worktree_is_no_evidence(tmp_path: Path, repository: Path) -> None:
    apart = Apart(workspaces=Workspaces.git_worktree(repository, tmp_path / "base"))
    async with apart.around(WRITER, "r1") as prepared:
        output = said("writer")
        assert await prepared.finish(output) is output


async def test_evidence_is_added_to_what_there_is_and_to_failures_too(tmp_path: Path, repository: Path) -> None:
    apart = Apart(workspaces=Workspaces.git_worktree(repository, tmp_path / "base"))
    failed = said("writer", error="broke", outcome=AgentOutcome.give_up("tired"))
    async with apart.around(WRITER, "r1") as prepared:
        (prepared.workspace / "a.txt").write_text("two\n")
        subprocess.run(
            ["git", "-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-a", "-m", "x"],
            cwd=prepared.workspace,
            check=True,
        )
        output = await prepared.finish(failed)

    assert [each.description for each in output.outcome.evidence] == ["tired", "workspace patch"]
    assert output.outcome.status == "give_up"
    assert set(output.outcome.evidence[1].data) == {"patch", "rev", "head"}
    assert output.error == "broke"


async def test_an_answer_is_not_lost_to_a_patch_that_cannot_be_made(tmp_path: Path, repository: Path) -> None:
    apart = Apart(workspaces=Workspaces.git_worktree(repository, tmp_path / "base", patch_limit=10))
    async with apart.around(WRITER, "r1") as prepared:
        (prepared.workspace / "big").write_text("x" * 1000)
        output = await prepared.finish(said("writer"))

    assert output.succeeded
    (evidence,) = output.outcome.evidence
    assert evidence.description == "workspace kept"
    assert "patch_limit" in evidence.data["reason"]
    assert (Path(evidence.data["path"]) / "big").read_text() == "x" * 1000


async def test_a_conflict_keeps_the_evidence_of_the_patch(tmp_path: Path, repository: Path) -> None:
    state = StateStore({"key": 0})
    apart = Apart(state, Workspaces.git_worktree(repository, tmp_path / "base"))
    async with apart.around(WRITER, "r1") as prepared:
        (prepared.workspace / "new").write_text("new\n")
        prepared.state.set("key", 1, actor="writer")
        output = await prepared.finish(said("writer"))
    state.set("key", 2, actor="somebody")

    (merged,) = apart.merge([output])

    assert "'key'" in merged.error
    assert [each.description for each in merged.outcome.evidence] == ["workspace patch"]
