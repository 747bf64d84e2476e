"""A swarm whose agents work apart: each on its own state, each in its own folder."""

# ruff: noqa: ASYNC240 - the loop has nothing else to do meanwhile

from pathlib import Path
from subprocess import run

import anyio
import pytest

from carpool import AgentSpec, Pipeline, SharedInfra, Swarm
from carpool.workspace import Workspaces


def agents(*names: str) -> list[AgentSpec]:
    return [AgentSpec(name, "work") for name in names]


@pytest.fixture
def anyio_backend() -> str:
    """The machine's own loop: disks and git keep their own time."""
    return "asyncio"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "base"


# State


async def writes_its_name(spec, task, runtime, mailbox) -> str:
    runtime.state.set(f"by_{spec.name}", spec.name, actor=spec.name)
    runtime.state.set("last", spec.name, actor=spec.name)
    return spec.name


async def test_agents_do_not_see_each_others_writes_and_all_are_merged_at_the_end() -> None:
    infra, seen = SharedInfra(), {}
    both = anyio.Event()

    async def runner(spec, task, runtime, mailbox) -> str:
        runtime.state.set(spec.name, 1, actor=spec.name)
        if len(seen) == 1:
            both.set()
        seen[spec.name] = None
        await both.wait()
        seen[spec.name] = (runtime.state.keys(), infra.state.keys())
        return "done"

    result = await Swarm(agents("a", "b"), isolated=True).run("x", runner=runner, infra=infra)

    assert result.all_succeeded
    assert seen == {"a": (["a"], []), "b": (["b"], [])}
    assert [each.key for each in infra.state.transitions()] == ["a", "b"]


async def test_overlays_are_merged_in_agent_order_whoever_is_through_first() -> None:
    infra, gates = SharedInfra(), {name: anyio.Event() for name in "abc"}
    before = {"c": None, "b": "c", "a": "b"}

    async def runner(spec, task, runtime, mailbox) -> str:
        if before[spec.name] is not None:
            await gates[before[spec.name]].wait()
        runtime.state.set(spec.name, 1, actor=spec.name)
        gates[spec.name].set()
        return "done"

    await Swarm(agents("a", "b", "c"), isolated=True).run("x", runner=runner, infra=infra)

    assert [each.actor for each in infra.state.transitions()] == ["a", "b", "c"]


async def test_a_key_that_two_have_changed_is_the_later_agents_error_and_the_others_stay_merged() -> None:
    infra = SharedInfra()
    result = await Swarm(agents("a", "b", "c"), isolated=True).run("x", runner=writes_its_name, infra=infra)

    assert infra.state.snapshot() == {"by_a": "a", "last": "a"}
    assert [output.succeeded for output in result.outputs] == [True, False, False]
    assert result.failed == ["b", "c"]
    assert "'last'" in result.outputs[1].error
    assert result.outputs[1].answer == "b"
    assert result.answer == "a:\na"
    assert result.rounds == [result.outputs]


async def test_without_isolation_all_work_on_the_same_state() -> None:
    infra = SharedInfra()
    result = await Swarm(agents("a", "b")).run("x", runner=writes_its_name, infra=infra)
    assert result.all_succeeded
    assert infra.state.keys() == ["by_a", "by_b", "last"]


async def test_what_a_failed_an_empty_and_a_timed_out_agent_wrote_never_arrives() -> None:
    infra = SharedInfra()

    async def runner(spec, task, runtime, mailbox) -> str:
        runtime.state.set(spec.name, 1, actor=spec.name)
        if spec.name == "raises":
            raise ValueError("broke")
        if spec.name == "late":
            await anyio.sleep_forever()
        return "" if spec.name == "empty" else "done"

    members = [*agents("raises", "empty", "good"), AgentSpec("late", "work", timeout_s=0.02)]
    result = await Swarm(members, isolated=True).run("x", runner=runner, infra=infra)

    assert infra.state.snapshot() == {"good": 1}
    assert result.failed == ["raises", "empty", "late"]


async def test_what_a_denied_agent_would_have_written_never_arrives() -> None:
    from carpool import BudgetLimits

    infra = SharedInfra(budget=BudgetLimits(max_agents=1))
    swarm = Swarm(agents("a", "b"), isolated=True, max_concurrent=1)
    result = await swarm.run("x", runner=writes_its_name, infra=infra)

    assert infra.state.snapshot() == {"by_a": "a", "last": "a"}
    assert result.skipped == ["b"]


async def test_a_swarm_that_is_cancelled_merges_nothing() -> None:
    infra = SharedInfra()
    with anyio.CancelScope() as scope:

        async def runner(spec, task, runtime, mailbox) -> str:
            runtime.state.set(spec.name, 1, actor=spec.name)
            if spec.name == "b":
                scope.cancel()
                await anyio.sleep_forever()
            return "done"

        await Swarm(agents("a", "b"), isolated=True).run("x", runner=runner, infra=infra)

    assert scope.cancelled_caught
    assert infra.state.snapshot() == {}


async def test_of_retries_only_the_one_that_succeeded_counts() -> None:
    infra, attempts = SharedInfra(), []

    async def runner(spec, task, runtime, mailbox) -> str:
        attempts.append(runtime.state.keys())
        runtime.state.set(f"attempt_{len(attempts)}", 1, actor=spec.name)
        if len(attempts) < 3:
            raise ValueError("broke")
        return "done"

    swarm = Swarm([AgentSpec("a", "work", retries=2)], isolated=True)
    result = await swarm.run("x", runner=runner, infra=infra)

    assert result.all_succeeded
    assert attempts == [[], [], []]
    assert infra.state.snapshot() == {"attempt_3": 1}


async def test_the_synthesizer_works_on_the_merged_state() -> None:
    infra = SharedInfra()

    async def runner(spec, task, runtime, mailbox) -> str:
        if spec.name == "sum":
            return " ".join(runtime.state.keys())
        return await writes_its_name(spec, task, runtime, mailbox)

    swarm = Swarm(agents("a", "b"), synthesizer=AgentSpec("sum", "sum up"), isolated=True)
    result = await swarm.run("x", runner=runner, infra=infra)
    assert result.answer == "by_a last"


@pytest.mark.parametrize("mode", ["sequential", "debate"])
def test_agents_that_build_on_each_other_are_not_isolated(mode: str) -> None:
    with pytest.raises(ValueError, match="isolated is for mode 'parallel'"):
        Swarm(agents("a", "b"), mode, isolated=True)


def test_a_pattern_as_a_member_is_not_isolated_without_a_word(base: Path) -> None:
    team = Pipeline(agents("a"))
    for options in ({"isolated": True}, {"workspaces": Workspaces.directory(base)}):
        with pytest.raises(ValueError, match="'pipeline' is a pattern"):
            Swarm([team], **options)
    assert Swarm(agents("a"), synthesizer=team, isolated=True).isolated


# Folders


@pytest.mark.parametrize(("mode", "starts"), [("parallel", 2), ("sequential", 2), ("debate", 4)])
async def test_each_start_has_a_folder_of_its_own_in_every_mode(base: Path, mode: str, starts: int) -> None:
    found = []

    async def runner(spec, task, runtime, mailbox) -> str:
        folder = runtime.workspace
        assert spec.metadata["workspace"] == str(folder)
        assert folder.parent == base.resolve()
        assert list(folder.iterdir()) == []
        (folder / "mine").write_text(spec.name)
        found.append(folder)
        return f"{spec.name} {len(found)}"

    result = await Swarm(agents("a", "b"), mode, workspaces=Workspaces.directory(base)).run("x", runner=runner)

    assert result.all_succeeded
    assert len(found) == starts
    assert list(base.iterdir()) == []


async def test_without_workspaces_there_is_none() -> None:
    async def runner(spec, task, runtime, mailbox) -> str:
        assert runtime.workspace is None
        assert "workspace" not in spec.metadata
        return "done"

    assert (await Swarm(agents("a")).run("x", runner=runner)).all_succeeded


async def test_look_alikes_at_once_get_folders_of_their_own(base: Path) -> None:
    names = ["writer", "Writer", "WRITER", "writer ", "wrıter", "../writer", "é", "e\u0301"]
    all_in, folders = anyio.Event(), set()

    async def runner(spec, task, runtime, mailbox) -> str:
        folders.add(str(runtime.workspace).casefold())
        if len(folders) == len(names):
            all_in.set()
        await all_in.wait()
        return "done"

    result = await Swarm(agents(*names), workspaces=Workspaces.directory(base)).run("x", runner=runner)
    assert result.all_succeeded


async def test_a_folder_that_cannot_be_had_is_that_agents_error_and_not_the_runs(base: Path) -> None:
    base.write_text("a file")

    async def runner(spec, task, runtime, mailbox) -> str:
        pytest.fail("no agent may start without its folder")

    result = await Swarm(agents("a", "b"), workspaces=Workspaces.directory(base)).run("x", runner=runner)

    assert result.failed == ["a", "b"]
    assert all(output.error.startswith("WorkspaceError: can't keep workspaces in") for output in result.outputs)


async def test_folders_are_gone_after_a_failure_a_timeout_and_a_cancellation(base: Path) -> None:
    with anyio.CancelScope() as scope:

        async def runner(spec, task, runtime, mailbox) -> str:
            (runtime.workspace / "mine").write_text(spec.name)
            if spec.name == "raises":
                raise ValueError("broke")
            await anyio.sleep(0.05)
            scope.cancel()
            await anyio.sleep_forever()

        members = [*agents("raises", "cancelled"), AgentSpec("late", "work", timeout_s=0.01)]
        await Swarm(members, workspaces=Workspaces.directory(base)).run("x", runner=runner)

    assert scope.cancelled_caught
    assert list(base.iterdir()) == []


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    (path / "a.txt").write_text("one\n")
    who = ["-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "-q"], ["add", "--all"], [*who, "commit", "-q", "-m", "first"]):
        run(["git", *command], cwd=path, check=True)
    return path


async def test_what_each_agent_changed_in_its_worktree_is_evidence_that_applies(base: Path, repository: Path) -> None:
    async def runner(spec, task, runtime, mailbox) -> str:
        if spec.name != "idle":
            (runtime.workspace / f"{spec.name}.txt").write_text(spec.name)
        if spec.name == "raises":
            raise ValueError("broke")
        return "done"

    swarm = Swarm(agents("a", "raises", "idle"), workspaces=Workspaces.git_worktree(repository, base))
    result = await swarm.run("x", runner=runner)

    patches = {
        output.name: [each.data["patch"] for each in output.outcome.evidence if each.description == "workspace patch"]
        for output in result.outputs
        if output.outcome is not None
    }
    assert {name: len(found) for name, found in patches.items()} == {"a": 1, "raises": 1}
    for found in patches.values():
        run(["git", "apply"], cwd=repository, input=found[0].encode(), check=True)  # noqa: ASYNC221 - nobody waits
    assert sorted(path.name for path in repository.glob("*.txt")) == ["a.txt", "raises.txt"]
    assert result.failed == ["raises"]
    assert list(base.iterdir()) == []


async def test_a_revision_that_is_not_there_is_each_agents_error(base: Path, repository: Path) -> None:
    workspaces = Workspaces.git_worktree(repository, base, "nowhere")
    result = await Swarm(agents("a"), workspaces=workspaces).run("x", runner=writes_its_name)
    assert result.outputs[0].error.startswith("WorkspaceError: no commit 'nowhere' in")


async def test_state_and_folder_can_both_be_ones_own(base: Path, repository: Path) -> None:
    infra = SharedInfra()

    async def runner(spec, task, runtime, mailbox) -> str:
        (runtime.workspace / "new").write_text(spec.name)
        return await writes_its_name(spec, task, runtime, mailbox)

    workspaces = Workspaces.git_worktree(repository, base)
    result = await Swarm(agents("a", "b"), isolated=True, workspaces=workspaces).run("x", runner=runner, infra=infra)

    assert result.failed == ["b"]
    assert infra.state.get("last") == "a"
    assert [output.outcome.evidence[0].description for output in result.outputs] == ["workspace patch"] * 2
