"""Tiers and approvals inside a proposal: who waits, who goes on, and what exactly was approved."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from carpool import Runtime, SharedInfra
from carpool.actions import ToolRateLimit, ToolSchema
from carpool.errors import PolicyDenied
from carpool.events import ActionRejected, encode
from carpool.policy import ApprovalRequest, PendingApprovals, digest_of
from carpool.testing import VirtualClock

from .acting import Notes, call, kinds, propose, statuses, write


def tool(name: str, tier: Any, notes: Notes, **fields: Any) -> tuple[ToolSchema, Any]:
    return ToolSchema(name=name, tier=tier, **fields), notes.note


@pytest.mark.parametrize("granted", ["read_only", "sandbox_edit", "full_access"])
@pytest.mark.parametrize("needed", ["read_only", "sandbox_edit", "full_access"])
async def test_what_is_granted_runs_and_nothing_beyond(runtime_with, granted: str, needed: str) -> None:
    notes = Notes()
    runtime: Runtime = runtime_with(granted_tier=granted)
    runtime.register_tool(*tool("note", needed, notes))
    ranks = ["read_only", "sandbox_edit", "full_access"]

    result = await runtime.execute(propose(call("a")))

    allowed = ranks.index(needed) <= ranks.index(granted)
    assert statuses(result) == ("a:succeeded" if allowed else "a:rejected")
    assert len(notes.calls) == allowed


async def test_siblings_go_on_while_one_waits_for_an_answer(clock: VirtualClock) -> None:
    pending, notes = PendingApprovals(clock=clock), Notes()
    infra = SharedInfra(clock=clock, granted_tier="read_only", approver=pending)
    runtime = infra.make_runtime()
    runtime.register_tool(*tool("deploy", "full_access", notes))
    runtime.register_tool(*tool("note", "read_only", notes))
    results: list[Any] = []

    async def proposes() -> None:
        results.append(
            await runtime.execute(
                propose(
                    call("a", "deploy", parameters={"it": "prod"}, failure_behavior="skip"),
                    call("b", parameters={"it": 1}, failure_behavior="skip"),
                    call("c", parameters={"it": 2}, failure_behavior="skip"),
                )
            )
        )

    async with anyio.create_task_group() as group:
        group.start_soon(proposes)
        await anyio.sleep(3_600)
        assert notes.calls == [1, 2]
        assert await infra.make_runtime().execute(propose()) is not None
        (asked,) = pending.waiting()
        assert (asked.tool, asked.arguments) == ("deploy", {"it": "prod"})
        pending.answer(asked.id, asked.arguments_digest, True)

    assert statuses(results[0]) == "a:succeeded b:succeeded c:succeeded"
    assert notes.calls == [1, 2, "prod"]


@pytest.mark.parametrize("answer", [False, None, 1, "yes", OSError("broken")], ids=repr)
async def test_anything_but_true_is_a_refusal_and_nothing_runs(runtime_with, answer: Any) -> None:
    async def approver(request: ApprovalRequest) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    notes = Notes()
    runtime: Runtime = runtime_with(granted_tier="read_only", approver=approver)
    runtime.register_tool(*tool("note", "sandbox_edit", notes))

    with pytest.raises(PolicyDenied, match="needs the tier sandbox_edit"):
        await runtime.call_tool("note", it="canary-argument")

    assert notes.calls == []
    assert kinds(runtime.log)[-1] == "action_rejected"
    assert b"canary" not in b"".join(map(encode, runtime.log.events()))


async def test_arguments_that_are_swapped_while_somebody_is_asked_are_not_run(runtime_with) -> None:
    arguments: dict[str, Any] = {"to": {"place": "test"}}
    digests: list[str] = []

    async def approver(request: ApprovalRequest) -> bool:
        digests.append(request.arguments_digest)
        arguments["to"]["place"] = "prod"
        request.arguments["it"]["to"]["place"] = "prod"
        return True

    notes = Notes()
    runtime: Runtime = runtime_with(granted_tier="read_only", approver=approver)
    runtime.register_tool(*tool("note", "full_access", notes))

    await runtime.execute({"actions": [{"tool": "note", "parameters": {"it": arguments}}]})
    arguments["to"]["place"] = "test"
    await runtime.call_tool("note", it=arguments)

    assert digests == [digest_of({"it": {"to": {"place": "test"}}})] * 2
    assert all(each == {"to": {"place": "test"}} for each in notes.calls)


async def test_arguments_that_are_swapped_after_the_answer_are_not_run_either(
    runtime_with, clock: VirtualClock
) -> None:
    arguments: dict[str, Any] = {"place": "test"}

    async def approver(request: ApprovalRequest) -> bool:
        return request.arguments == {"it": {"place": "test"}}

    notes = Notes(fails=1)
    runtime: Runtime = runtime_with(granted_tier="read_only", approver=approver)
    rate = ToolRateLimit(max_calls=1, interval_secs=10)
    runtime.register_tool(*tool("note", "full_access", notes, rate_limit=rate))

    async def swaps() -> None:
        await anyio.sleep(5)
        arguments["place"] = "prod"

    async with anyio.create_task_group() as group:
        group.start_soon(swaps)
        action = {"tool": "note", "parameters": {"it": arguments}, "failure_behavior": "retry"}
        result = await runtime.execute({"actions": [action]})

    assert result.all_succeeded
    assert notes.calls == [{"place": "test"}] * 2


async def test_an_approval_is_for_one_call(runtime_with) -> None:
    asked: list[str] = []

    async def approver(request: ApprovalRequest) -> bool:
        asked.append(request.id)
        return len(asked) == 1

    runtime: Runtime = runtime_with(granted_tier="read_only", approver=approver)
    runtime.register_tool(*tool("note", "full_access", Notes()))

    await runtime.call_tool("note", it=1)
    with pytest.raises(PolicyDenied):
        await runtime.call_tool("note", it=1)

    assert len(set(asked)) == 2


async def test_arguments_that_are_not_json_can_not_be_approved(runtime_with) -> None:
    async def approver(request: ApprovalRequest) -> bool:
        return True

    notes = Notes()
    runtime: Runtime = runtime_with(granted_tier="read_only", approver=approver)
    runtime.register_tool(*tool("note", "full_access", notes))

    with pytest.raises(PolicyDenied):
        await runtime.call_tool("note", it={1})

    assert notes.calls == []


async def test_nobody_is_asked_about_what_can_not_run_anyway(runtime_with) -> None:
    asked: list[Any] = []

    async def approver(request: ApprovalRequest) -> bool:
        asked.append(request)
        return True

    async def takes_number(n: int) -> int:
        return n

    runtime: Runtime = runtime_with(granted_tier="read_only", approver=approver)
    runtime.register_tool(takes_number)
    runtime.policies.register("no", lambda action, state: "no" if action.parameters.get("n") == 2 else None)

    for arguments in ({"n": "one"}, {"n": 2}, {}):
        await runtime.execute({"actions": [{"tool": "takes_number", "parameters": arguments}]})

    assert asked == []


async def test_cancelled_while_somebody_is_asked_nothing_runs_and_nobody_waits(clock: VirtualClock) -> None:
    pending, notes = PendingApprovals(clock=clock), Notes()
    runtime = SharedInfra(clock=clock, granted_tier="read_only", approver=pending).make_runtime()
    runtime.register_tool(*tool("note", "full_access", notes))

    with anyio.move_on_after(1):
        await runtime.execute(propose(write("a", "k", 1), call("b")))

    assert (pending.waiting(), notes.calls, runtime.state.snapshot()) == ([], [], {})


async def test_every_violation_of_a_policy_is_logged_and_told(runtime_with) -> None:
    notes = Notes()
    runtime: Runtime = runtime_with(notes.note)
    runtime.policies.register("one", lambda action, state: "first reason")
    runtime.policies.register("two", lambda action, state: 1 / 0)  # type: ignore[arg-type,return-value]

    with pytest.raises(PolicyDenied) as denied:
        await runtime.call_tool("note")

    assert [each.split(":")[0] for each in denied.value.violations] == ["one", "two"]
    assert kinds(runtime.log) == ["proposal_received", "policy_violation", "policy_violation", "action_rejected"]
    rejected = runtime.log.events()[-1]
    assert isinstance(rejected, ActionRejected)
    assert "first reason" in rejected.reason


async def test_a_policy_sees_the_state_that_actions_before_it_left(runtime_with) -> None:
    runtime: Runtime = runtime_with(Notes().note)
    runtime.policies.register("locked", lambda action, state: "locked" if state.get("lock") else None)

    result = await runtime.execute(propose(call("a"), write("b", "lock", True), call("c", failure_behavior="skip")))

    assert statuses(result) == "a:succeeded b:succeeded c:rejected"
