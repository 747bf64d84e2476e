"""Main delegates through a tool; whatever becomes of that is its to deal with."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import anyio
import pytest

from carpool import (
    AgentFailed,
    AgentSpec,
    BudgetLimits,
    CarpoolError,
    Delegator,
    DelegatorResult,
    SharedInfra,
    Swarm,
    TokenAccounting,
    ToolError,
)
from carpool.policy import PolicyEngine, deny_tool
from carpool.testing import Reply, ScriptedRunner

from ..scenes import assert_nothing_left, names, spec, specs, story

Call = tuple[str, str]


def asks(*calls: Call, at_once: bool = False, then: Callable[[Any], Any] | None = None) -> Reply:
    """Makes these calls, and answers with what each came to."""

    async def act(who, task, runtime, mailbox) -> str:
        got = [""] * len(calls)

        async def ask(place: int) -> None:
            specialist, subtask = calls[place]
            try:
                got[place] = await runtime.call_tool("delegate", specialist=specialist, task=subtask)
            except ToolError as error:
                got[place] = f"! {error.message}"

        async with anyio.create_task_group() as group:
            for place in range(len(calls)):
                if at_once:
                    group.start_soon(ask, place)
                else:
                    await ask(place)
        if then is not None:
            await then(runtime)
        return json.dumps(got)

    return Reply(does=act)


async def delegate(main: Reply, *, infra: SharedInfra | None = None, script: Any = None, **options: Any):
    runner = ScriptedRunner({"main": main, **(script or {})}, default=lambda who, task: f"{who.name} did {task}")
    specialists = {"x": spec("expert"), "y": spec("y")}
    result = await Delegator(spec("main"), specialists, **options).run("go", runner=runner, infra=infra)
    return result, json.loads(result.answer), runner


async def test_a_call_runs_the_specialist_and_returns_its_answer() -> None:
    result, got, runner = await delegate(asks(("x", "this"), ("y", "that"), ("x", "more")))

    assert got == ["x_1 did this", "y_1 did that", "x_2 did more"]
    assert [(each.specialist, each.subtask, each.success) for each in result.delegations] == [
        ("x", "this", True),
        ("y", "that", True),
        ("x", "more", True),
    ]
    assert names(result.outputs) == ["main", "x_1", "y_1", "x_2"]
    assert result.final_answer == result.answer
    assert [call.spec.role for call in runner.bill.calls[1:]] == ["expert", "y", "expert"]


async def test_several_calls_at_once_run_at_once_and_stay_in_order() -> None:
    script = {"x_1": Reply("slow", after_s=9), "y_1": Reply("fast", after_s=1)}
    result, got, runner = await delegate(asks(("x", "1"), ("y", "2"), at_once=True), script=script)

    assert got == ["slow", "fast"]
    assert runner.bill.most_in_flight == 3
    assert [each.result for each in result.delegations] == ["slow", "fast"]
    assert names(result.outputs) == ["main", "x_1", "y_1"]


async def test_an_unknown_specialist_is_a_tool_error_and_a_record() -> None:
    result, got, runner = await delegate(asks(("z", "this")))

    assert got == ["! no specialist 'z'; there are: x, y"]
    assert [(each.specialist, each.success) for each in result.delegations] == [("z", False)]
    assert len(runner.bill.calls) == 1


async def test_a_failure_is_a_tool_error_and_a_record() -> None:
    result, got, _ = await delegate(asks(("x", "this")), script={"expert": Reply(raises=OSError("no line"))})

    assert got == ["! x_1 failed: OSError: no line"]
    assert [(each.result, each.success) for each in result.delegations] == [("x_1 failed: OSError: no line", False)]
    assert result.failed == ["x_1"]


async def test_a_denial_tells_main_to_do_without() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_agents=1))
    result, got, _ = await delegate(asks(("x", "1"), ("y", "2")), infra=infra)

    assert got[0] == "x_1 did 1"
    assert got[1].startswith("! y_1 was not started, do without it: agent limit reached: 1 of at most 1")
    assert (result.stop_reason, result.skipped) == ("budget_exhausted", ["y_1"])


async def test_main_is_booked_and_not_gated() -> None:
    cost = TokenAccounting(input_tokens=5)
    infra = SharedInfra(budget=BudgetLimits(max_agents=0))
    runner = ScriptedRunner({"main": Reply("alone", spends=cost)})
    result = await Delegator(spec("main"), {"x": spec("x")}).run("go", runner=runner, infra=infra)

    assert result.answer == "alone"
    assert infra.budget.snapshot().input_tokens == 5
    assert infra.budget.snapshot().agents_started == 0


async def test_mains_own_budget_is_the_budget_of_those_it_asks() -> None:
    main = spec("main", budget=BudgetLimits(max_agents=1))
    runner = ScriptedRunner({"main": asks(("x", "1"), ("x", "2"))}, default="ok")
    result = await Delegator(main, {"x": spec("x")}).run("go", runner=runner)

    assert [each.success for each in result.delegations] == [True, False]


@pytest.mark.parametrize("most", [0, 1, 3])
async def test_max_delegations_holds_for_calls_at_once(most: int) -> None:
    calls = [("x", str(number)) for number in range(5)]
    result, got, runner = await delegate(asks(*calls, at_once=True), max_delegations=most)

    assert len(runner.bill.calls) == 1 + most
    assert [each.success for each in result.delegations] == [True] * most + [False] * (5 - most)
    assert "max_delegations" in got[4]


async def test_an_unknown_name_uses_up_no_delegation() -> None:
    _, got, _ = await delegate(asks(("z", "1"), ("x", "2")), max_delegations=1)

    assert got[1] == "x_1 did 2"


@pytest.mark.parametrize("arguments", [{}, {"specialist": "x"}, {"specialist": "x", "task": ""}, {"specialist": 1}])
async def test_arguments_that_do_not_fit_reach_nobody(arguments: dict[str, Any]) -> None:
    async def act(who, task, runtime, mailbox) -> str:
        with pytest.raises(ToolError, match="don't fit"):
            await runtime.call_tool("delegate", **arguments)
        return "ok"

    runner = ScriptedRunner({"main": Reply(does=act)})
    result = await Delegator(spec("main"), {"x": spec("x")}).run("go", runner=runner)

    assert result.delegations == []


async def test_the_tool_lists_the_specialists_with_descriptions() -> None:
    seen: list[Any] = []

    async def act(who, task, runtime, mailbox) -> str:
        seen.append(runtime.tools["delegate"].schema)
        return "ok"

    specialists = {
        "x": AgentSpec("x", "You know it all.\nAnd more."),
        "y": AgentSpec("y", "…", metadata={"description": "for sums"}),
        "z": Swarm(specs("ab")),
    }
    await Delegator(spec("main"), specialists).run("go", runner=ScriptedRunner({"main": Reply(does=act)}))

    (schema,) = seen
    assert schema.parameters["properties"]["specialist"]["enum"] == ["x", "y", "z"]
    assert schema.parameters["required"] == ["specialist", "task"]
    assert schema.description.endswith("- x: You know it all.\n- y: for sums\n- z: a team, swarm")


async def test_a_specialist_cannot_delegate() -> None:
    seen: list[Any] = []

    async def act(who, task, runtime, mailbox) -> str:
        seen.append(list(runtime.tools))
        return "ok"

    await delegate(asks(("x", "this")), script={"expert": Reply(does=act)})

    assert seen == [[]]


async def test_a_call_is_an_action_of_main_in_the_log() -> None:
    infra = SharedInfra()
    await delegate(asks(("x", "this")), infra=infra)

    kinds = [event.kind for event in infra.log.events() if event.kind.startswith("action_")]
    assert kinds == ["action_validated", "action_executing", "action_succeeded"]
    assert [event.parent for event in infra.log.events(agent="x_1")] == ["delegator/main"] * 2
    assert infra.log.events(agent="x_1")[0].path == "delegator/main/x_1"


async def test_a_policy_can_forbid_delegating() -> None:
    policies = PolicyEngine()
    policies.register("alone", deny_tool("delegate"))
    seen: list[str] = []

    async def act(who, task, runtime, mailbox) -> str:
        with pytest.raises(CarpoolError) as caught:
            await runtime.call_tool("delegate", specialist="x", task="this")
        seen.append(type(caught.value).__name__)
        return "ok"

    infra = SharedInfra(policies=policies)
    await Delegator(spec("main"), {"x": spec("x")}).run(
        "go", runner=ScriptedRunner({"main": Reply(does=act)}), infra=infra
    )

    assert seen == ["PolicyDenied"]


async def test_delegating_needs_no_tier_beyond_reading() -> None:
    _, got, _ = await delegate(asks(("x", "this")), infra=SharedInfra(granted_tier="read_only"))

    assert got == ["x_1 did this"]


async def test_a_failed_main_carries_its_delegations() -> None:
    async def break_down(runtime: Any) -> None:
        raise OSError("no line")

    with pytest.raises(AgentFailed, match="no line") as caught:
        await delegate(asks(("x", "this"), then=break_down))

    partial = caught.value.partial
    assert type(partial) is DelegatorResult
    assert [(each.result, each.success) for each in partial.delegations] == [("x_1 did this", True)]
    assert names(partial.outputs) == ["main", "x_1"]
    assert partial.stop_reason == "failed"


async def test_mains_timeout_stops_whom_it_asked_and_keeps_what_had_ended() -> None:
    infra = SharedInfra()
    runner = ScriptedRunner(
        {"main": asks(("x", "1"), ("y", "2"), at_once=True), "a": "A", "b": Reply(hangs=True), "y_1": "Y"}
    )
    pattern = Delegator(spec("main", timeout_s=5), {"x": Swarm(specs("ab"), "sequential"), "y": spec("y")})
    with pytest.raises(AgentFailed, match="timed out") as caught:
        await pattern.run("go", runner=runner, infra=infra)

    partial = caught.value.partial
    assert names(partial.outputs) == ["main", "a", "y_1"]
    assert [each.success for each in partial.delegations] == [False, True]
    assert partial.delegations[0].result == "it was stopped before it ended"
    assert story(infra.log, "b") == ["started", "cancelled"]
    assert_nothing_left(infra)


async def test_main_may_try_again_and_its_delegations_add_up() -> None:
    runner = ScriptedRunner(
        {"main": [Reply(does=asks(("x", "1")).does, raises=OSError), asks(("x", "2"))]}, default="ok"
    )
    result = await Delegator(spec("main", retries=1), {"x": spec("x")}).run("go", runner=runner)

    assert names(result.outputs) == ["main", "x_1", "x_2"]


async def test_a_team_of_teams_with_holds_comes_to_an_end() -> None:
    hold = TokenAccounting(input_tokens=60)
    main = spec("main", estimate=hold)
    team = Swarm([Delegator(main, {"x": spec("x", estimate=hold)}, name=name) for name in "ab"])
    runner = ScriptedRunner({"main": asks(("x", "1"), ("x", "2"))}, default=Reply("ok", spends=TokenAccounting()))
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=100))
    result = await team.run("go", runner=runner, infra=infra)

    assert all(output.succeeded for output in result.outputs)
    assert_nothing_left(infra)


async def test_the_answer_for_main_is_cut_where_a_limit_is_set_and_the_record_is_not() -> None:
    result, got, _ = await delegate(asks(("x", "1")), script={"expert": "y" * 50}, quote_limit=10)

    assert got == ["y" * 10 + "\n[40 more characters are left out here]"]
    assert result.delegations[0].result == "y" * 50


def test_a_pattern_cannot_be_main() -> None:
    with pytest.raises(ValueError, match="'swarm' is a pattern, and delegate is a tool for one agent"):
        Delegator(Swarm(specs("ab")), {"x": spec("x")})


def test_what_it_is_made_of_is_checked() -> None:
    with pytest.raises(ValueError, match="specialists"):
        Delegator(spec("main"), {})
    with pytest.raises(ValueError, match="specialists"):
        Delegator(spec("main"), {" ": spec("x")})
    with pytest.raises(ValueError, match="both called 'main'"):
        Delegator(spec("main"), {"main": spec("x")})
    with pytest.raises(ValueError, match="max_delegations"):
        Delegator(spec("main"), {"x": spec("x")}, max_delegations=-1)
    with pytest.raises(TypeError, match="member"):
        Delegator(spec("main"), {"x": cast(Any, "x")})
    with pytest.raises(TypeError, match="member"):
        Delegator(cast(Any, "main"), {"x": spec("x")})


def test_its_plan_knows_no_bound_without_a_limit() -> None:
    specialists = {"x": spec("x"), "y": Swarm(specs("abc"))}
    open_ended, bounded = Delegator(spec("m"), specialists), Delegator(spec("m"), specialists, 2)

    assert (open_ended.plan().agents_min, open_ended.plan().agents_max) == (1, None)
    assert (bounded.plan().agents_min, bounded.plan().agents_max) == (1, 7)
