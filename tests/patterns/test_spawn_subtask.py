"""Main makes up subagents; none has a tool or a level that was not granted."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from carpool import (
    AgentFailed,
    BudgetLimits,
    SharedInfra,
    SpawnSubtask,
    SpawnSubtaskResult,
    Swarm,
    ToolError,
)
from carpool.testing import Reply, ScriptedRunner

from ..scenes import assert_nothing_left, names, spec, specs

TOOL = "spawn_subtask"


def look() -> str:
    """Look around."""
    return "seen"


def write() -> str:
    """Write it down."""
    return "written"


def team() -> SharedInfra:
    return SharedInfra(tools=[look, write])


def spawns(*calls: dict[str, Any], at_once: bool = False) -> Reply:
    async def act(who, task, runtime, mailbox) -> str:
        got = [""] * len(calls)

        async def ask(place: int) -> None:
            try:
                got[place] = await runtime.call_tool(TOOL, **{"task": "do", "tools": [], **calls[place]})
            except ToolError as error:
                got[place] = f"! {error.message}"

        async with anyio.create_task_group() as group:
            for place in range(len(calls)):
                if at_once:
                    group.start_soon(ask, place)
                else:
                    await ask(place)
        return json.dumps(got)

    return Reply(does=act)


async def spawn(main: Reply, *, script: Any = None, infra: SharedInfra | None = None, tools: Any = (), **options: Any):
    runner = ScriptedRunner({"main": main, **(script or {})}, default=lambda who, task: f"{who.name} did {task}")
    pattern = SpawnSubtask(spec("main", tools=list(tools)), **options)
    result = await pattern.run("go", runner=runner, infra=infra or team())
    return result, json.loads(result.answer), runner


async def test_a_subtask_is_done_by_a_subagent() -> None:
    result, got, runner = await spawn(spawns({"task": "this"}, {"task": "that", "name": "helper"}))

    assert got == ["subtask_1 did this", "helper did that"]
    assert [(each.name, each.task, each.success) for each in result.subtasks] == [
        ("subtask_1", "this", True),
        ("helper", "that", True),
    ]
    assert names(result.outputs) == ["main", "subtask_1", "helper"]
    assert {call.spec.role for call in runner.bill.calls[1:]} == {"subtask"}


async def test_a_subagent_has_main_s_model_and_its_own_prompt_and_turns() -> None:
    runner = ScriptedRunner({"main": spawns({})}, default="ok")
    main = spec("main", model="acme:large")
    await SpawnSubtask(main, subagent_prompt="Be quick.", subagent_max_turns=3).run("go", runner=runner)

    child = runner.bill.calls[1].spec
    assert (child.model, child.system_prompt, child.max_turns) == ("acme:large", "Be quick.", 3)


async def test_it_has_the_tools_it_was_granted_and_no_others() -> None:
    seen: list[Any] = []

    async def act(who, task, runtime, mailbox) -> str:
        seen.append((who.tools, list(runtime.tools)))
        return "ok"

    await spawn(spawns({"tools": ["look"]}, {}), script={"subtask": Reply(does=act)}, tools=["look", "write"])

    assert seen == [(["look"], ["look"]), ([], [])]


@pytest.mark.parametrize("wished", ["write", TOOL, "rm", "delegate"])
async def test_a_tool_that_main_lacks_cannot_be_granted(wished: str) -> None:
    result, got, runner = await spawn(spawns({"tools": ["look", wished]}), tools=["look"])

    assert got == [f"! you can't grant {wished}; you can grant: look"]
    assert [each.success for each in result.subtasks] == [False]
    assert len(runner.bill.calls) == 1


async def test_a_tool_that_was_taken_from_main_meanwhile_cannot_be_granted() -> None:
    async def act(who, task, runtime, mailbox) -> str:
        del runtime.tools["look"]
        with pytest.raises(ToolError, match="can't grant look"):
            await runtime.call_tool(TOOL, task="this", tools=["look"])
        return "[]"

    await spawn(Reply(does=act), tools=["look"])


async def test_the_tool_is_absent_at_the_last_level() -> None:
    seen: dict[str, bool] = {}

    async def act(who, task, runtime, mailbox) -> str:
        seen[who.name] = TOOL in runtime.tools
        if TOOL in runtime.tools:
            wished = runtime.tools[TOOL].schema.parameters["properties"]["tools"]["items"].get("enum", [])
            await runtime.call_tool(TOOL, task="deeper", tools=wished)
        return "[]"

    everyone = Reply(does=act)
    result, _, _ = await spawn(everyone, script={"subtask": everyone}, max_depth=3)

    assert seen == {"main": True, "subtask_1": True, "subtask_1_1": True, "subtask_1_1_1": False}
    assert names(result.outputs) == ["main", "subtask_1", "subtask_1_1", "subtask_1_1_1"]


async def test_spawning_is_granted_by_name_or_not_at_all() -> None:
    seen: list[bool] = []

    async def act(who, task, runtime, mailbox) -> str:
        seen.append(TOOL in runtime.tools)
        return "ok"

    await spawn(spawns({}, {"tools": [TOOL]}), script={"subtask": Reply(does=act)}, max_depth=2)

    assert seen == [False, True]


async def test_a_grandchild_has_no_tool_that_its_parent_lacks() -> None:
    script = {"subtask_1": spawns({"tools": ["write"]})}
    result, _, _ = await spawn(spawns({"tools": [TOOL, "look"]}), script=script, tools=["look", "write"], max_depth=2)

    assert [each.success for each in result.subtasks] == [True, False]
    assert result.subtasks[1].result == "you can't grant write; you can grant: look"


async def test_subtasks_of_a_subagent_stand_behind_it_whoever_is_faster() -> None:
    slow, fast = Reply("slow", after_s=9), Reply("fast", after_s=1)
    script = {
        "subtask_1": spawns({}, {}, at_once=True),
        "subtask_2": spawns({}),
        "subtask_1_1": slow,
        "subtask_1_2": fast,
        "subtask_2_1": fast,
    }
    calls = [{"tools": [TOOL]}, {"tools": [TOOL]}]
    result, _, _ = await spawn(spawns(*calls, at_once=True), script=script, max_depth=2)

    expected = ["subtask_1", "subtask_1_1", "subtask_1_2", "subtask_2", "subtask_2_1"]
    assert [each.name for each in result.subtasks] == expected
    assert names(result.outputs) == ["main", *expected]


@pytest.mark.parametrize("most", [0, 1, 3])
async def test_max_subtasks_holds_for_calls_at_once(most: int) -> None:
    result, got, runner = await spawn(spawns(*[{}] * 5, at_once=True), max_subtasks=most)

    assert len(runner.bill.calls) == 1 + most
    assert [each.success for each in result.subtasks] == [True] * most + [False] * (5 - most)
    assert "max_subtasks" in got[4]


async def test_max_subtasks_counts_those_of_subagents() -> None:
    script = {"subtask_1": spawns({}, {})}
    result, _, _ = await spawn(spawns({"tools": [TOOL]}), script=script, max_subtasks=2, max_depth=2)

    assert [each.success for each in result.subtasks] == [True, True, False]


async def test_two_of_one_name_are_told_apart() -> None:
    result, _, _ = await spawn(spawns({"name": "a"}, {"name": "a"}, {"name": "main"}, {"name": "subtask_5"}, {}))

    assert [each.name for each in result.subtasks] == ["a", "a_2", "main_3", "subtask_5", "subtask_5_5"]


@pytest.mark.parametrize(
    "wrong", [{"name": "../x"}, {"name": ""}, {"name": "a" * 61}, {"task": ""}, {"tools": "look"}, {"tier": "root"}]
)
async def test_arguments_that_do_not_fit_reach_nobody(wrong: dict[str, Any]) -> None:
    result, got, _ = await spawn(spawns(wrong))

    assert got[0].startswith("! arguments don't fit")
    assert result.subtasks == []


async def test_failure_and_denial_are_tool_errors_and_records() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_agents=1))
    script = {"subtask": Reply(raises=OSError("no line"))}
    result, got, _ = await spawn(spawns({}, {}), infra=infra, script=script)

    assert got[0] == "! subtask_1 failed: OSError: no line"
    assert got[1].startswith("! subtask_2 was not started, do without it: agent limit")
    assert [each.success for each in result.subtasks] == [False, False]
    assert result.stop_reason == "budget_exhausted"


async def test_depth_is_bounded_by_the_budget_too() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_depth=2))
    script = {"subtask_1": spawns({})}
    result, _, _ = await spawn(spawns({"tools": [TOOL]}), infra=infra, script=script, max_depth=5)

    assert [each.success for each in result.subtasks] == [True, False]


async def test_a_failed_main_carries_its_subtasks() -> None:
    broken = Reply(does=spawns({}).does, raises=OSError("no line"))
    with pytest.raises(AgentFailed, match="no line") as caught:
        await spawn(broken)

    partial = caught.value.partial
    assert type(partial) is SpawnSubtaskResult
    assert [(each.name, each.success) for each in partial.subtasks] == [("subtask_1", True)]


async def test_main_s_timeout_stops_the_whole_tree() -> None:
    infra = team()
    script = {"main": spawns({"tools": [TOOL]}), "subtask_1": spawns({}), "subtask_1_1": Reply(hangs=True)}
    pattern = SpawnSubtask(spec("main", timeout_s=3), max_depth=2)
    with pytest.raises(AgentFailed, match="timed out") as caught:
        await pattern.run("go", runner=ScriptedRunner(script), infra=infra)

    assert [each.result for each in caught.value.partial.subtasks] == ["it was stopped before it ended"] * 2
    assert_nothing_left(infra)


def test_a_pattern_cannot_be_main() -> None:
    with pytest.raises(ValueError, match="is a pattern"):
        SpawnSubtask(Swarm(specs("ab")))


@pytest.mark.parametrize("wrong", [{"max_depth": 0}, {"max_subtasks": -1}, {"subagent_max_turns": 0}])
def test_what_it_is_made_of_is_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SpawnSubtask(spec("main"), **wrong)


def test_its_plan_knows_no_bound_without_a_limit() -> None:
    assert SpawnSubtask(spec("m")).plan().agents_max is None
    assert SpawnSubtask(spec("m"), max_subtasks=4).plan().agents_max == 5
