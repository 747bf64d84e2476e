"""Looking at a proposal without running it: all that is wrong, or what would come of it; and no effect at all."""

from __future__ import annotations

from typing import Any

import pytest

from carpool import Runtime
from carpool.actions import Action, Precondition, ToolSchema
from carpool.policy import rate_limit_tool

from .acting import Notes, call, propose, read, write


def found(foresight: Any) -> list[tuple[str, str, str]]:
    return [(issue.action_id, issue.severity, issue.kind) for issue in foresight.issues]


def test_nothing_is_wrong_with_a_proposal_that_would_go_through(runtime_with) -> None:
    runtime = runtime_with(Notes().note)

    foresight = runtime.verify(propose(call("a", expected_effects={"k": 1}), write("b", "l", 2), read("c", "k")))

    assert (foresight.valid, foresight.issues) == (True, [])
    assert foresight.state == {"k": 1, "l": 2}


ERRORS: dict[str, tuple[Action, str]] = {
    "an unknown tool": (call("a", "other"), "unknown_tool"),
    "no tool": (Action(id="a"), "unknown_tool"),
    "arguments that don't fit": (call("a", parameters={"other": 1}), "schema"),
    "an unmet precondition": (call("a", preconditions=[Precondition(key="k", value=1)]), "precondition"),
    "a write without a key": (Action(id="a", type="state_write", parameters={"value": 1}), "schema"),  # type: ignore[arg-type]
    "a write without a value": (Action(id="a", type="state_write", parameters={"key": "k"}), "schema"),  # type: ignore[arg-type]
    "a read without a key": (Action(id="a", type="state_read"), "schema"),  # type: ignore[arg-type]
    "a write of what is not JSON": (write("a", "k", {1}), "not_json"),
    "effects that are not JSON": (call("a", expected_effects={"k": {1}}), "not_json"),
    "what a policy denies": (call("a", "denied"), "policy"),
}


@pytest.mark.parametrize("what", ERRORS)
@pytest.mark.parametrize("how", ["verify", "simulate"])
async def test_each_error_is_found_and_is_one_when_it_is_run(runtime_with, what: str, how: str) -> None:
    action, kind = ERRORS[what]
    runtime: Runtime = runtime_with(Notes().note)
    runtime.register_tool(ToolSchema(name="denied"), lambda: None)
    runtime.policies.register("no", lambda asked, state: "no" if asked.tool == "denied" else None)

    foresight = getattr(runtime, how)(propose(action))

    assert not foresight.valid
    assert ("a", "error", kind) in found(foresight)
    assert not (await runtime.execute(propose(action))).all_succeeded


def test_an_order_that_there_is_none_of_is_an_error(runtime_with) -> None:
    for proposal in ({"actions": [{"id": "a"}, {"id": "a"}]}, {"actions": [{"id": "a", "dependencies": ["b"]}]}):
        assert found(runtime_with().verify(proposal)) == [("", "error", "order")]


def test_what_is_no_proposal_is_refused(runtime_with) -> None:
    for look in (runtime_with().verify, runtime_with().simulate):
        with pytest.raises(ValueError, match="actions"):
            look({"actions": 1})


def test_what_nobody_writes_and_writers_without_an_order_are_warnings(runtime_with) -> None:
    foresight = runtime_with().verify(
        propose(
            write("a", "k", 1),
            write("b", "k", 2),
            write("c", "k", 3, dependencies=["b"]),
            write("d", "k", 4, state_dependencies=["k"]),
            read("e", "l", state_dependencies=["nowhere"]),
        )
    )

    assert foresight.valid
    assert sorted(found(foresight)) == [("b", "warning", "unordered_writers"), ("e", "warning", "never_written")]


def test_a_blocked_action_has_its_effects_in_verify_and_not_in_simulate(runtime_with) -> None:
    runtime = runtime_with()
    runtime.state.set("k", 0, actor="t")
    proposal = propose(
        call("a", "other", expected_effects={"k": 1}),
        write("b", "l", 2, preconditions=[Precondition(key="k", value=1)]),
        write("c", "m", 3),
    )

    verified, simulated = runtime.verify(proposal), runtime.simulate(proposal)

    assert found(verified) == [("a", "error", "unknown_tool")]
    assert verified.state == {"k": 1, "l": 2, "m": 3}
    assert found(simulated) == [("a", "error", "unknown_tool"), ("b", "error", "precondition")]
    assert simulated.state == {"k": 0, "m": 3}


def test_what_depends_on_a_blocked_action_has_no_effects_in_simulate_either(runtime_with) -> None:
    proposal = propose(
        call("a", "other"),
        write("b", "k", 1, dependencies=["a"]),
        write("c", "l", 1, dependencies=["b"]),
        write("d", "m", 1),
    )

    assert runtime_with().simulate(proposal).state == {"m": 1}
    assert runtime_with().verify(proposal).state == {"k": 1, "l": 1, "m": 1}


async def test_looking_has_no_effects_on_tools_state_log_or_rates(runtime_with) -> None:
    notes = Notes()
    runtime: Runtime = runtime_with(notes.note)
    runtime.policies.register("rate", rate_limit_tool("note", 1, 60, clock=runtime.clock))
    runtime.state.set("k", {"a": 1}, actor="t")
    proposal = propose(call("a", idempotent=True, expected_effects={"k": 2}), write("b", "l", 1))

    for look in (runtime.verify, runtime.simulate):
        for _ in range(3):
            foresight = look(proposal)
            assert foresight.valid
            foresight.state["k"] = "changed"

    assert (notes.calls, len(runtime.log), runtime.state.snapshot()) == ([], 0, {"k": {"a": 1}})
    assert (runtime.state.version("k"), runtime.state.transition_count) == (1, 1)
    assert (await runtime.execute(proposal)).all_succeeded


def test_looking_at_ten_thousand_actions_comes_to_an_end(runtime_with) -> None:
    runtime = runtime_with(Notes().note)
    actions = [call(str(n), dependencies=[str(n - 1)] if n else [], parameters={"it": n}) for n in range(10_000)]

    assert runtime.verify(propose(*actions)).valid
