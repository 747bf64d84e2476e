"""A proposal on its way in: what is one, what is none, in which order its actions run, and what comes back."""

from __future__ import annotations

import json
from time import process_time
from typing import Any

import anyio
import msgspec
import pytest

from carpool.actions import Action, ActionProposal, ActionType, Precondition, levels

from .acting import Notes, call, kinds, propose, read, statuses, write


async def echo(it: Any) -> Any:
    return it


WIRE = {
    "id": "p1",
    "source": "a model",
    "timestamp": "2025-01-01T00:00:00Z",
    "not_known_here": 1,
    "actions": [
        {"id": "a", "type": "tool_call", "tool": "echo", "parameters": {"it": [1]}, "future": True},
        {"id": "b", "type": "state_write", "parameters": {"key": "k", "value": "v"}},
        {"id": "c", "type": "state_read", "parameters": {"key": "k"}},
        {"id": "d", "type": "assertion", "parameters": {"key": "k", "operator": "eq", "value": "v"}},
    ],
}


async def test_a_dict_and_a_struct_are_the_same_proposal(runtime_with) -> None:
    for proposal in (WIRE, msgspec.convert(WIRE, ActionProposal)):
        runtime = runtime_with(echo)

        result = await runtime.execute(proposal)

        assert (result.proposal_id, result.all_succeeded) == ("p1", True)
        assert [each.output for each in result.results] == [[1], None, "v", True]
        assert runtime.state.snapshot() == {"k": "v"}


async def test_a_result_is_written_in_the_shapes_of_the_wire(runtime_with) -> None:
    result = json.loads(msgspec.json.encode(await runtime_with(echo).execute(WIRE)))

    assert sorted(result) == ["cost", "proposal_id", "results"]
    keys = ["action_id", "duration_ms", "error", "output", "state_changes", "status", "timestamp"]
    assert {tuple(sorted(each)) for each in result["results"]} == {tuple(keys)}
    assert result["results"][1]["state_changes"] == {"k": "v"}


async def test_an_empty_proposal_succeeds_at_once(runtime_with) -> None:
    result = await runtime_with().execute({})

    assert (result.results, result.all_succeeded, result.cost.actions_executed) == ([], True, 0)


NO_PROPOSALS: dict[str, Any] = {
    "a list": [],
    "text": "run this",
    "nothing": None,
    "actions that are no list": {"actions": {"id": "a"}},
    "an action that is no object": {"actions": ["a"]},
    "an unknown type": {"actions": [{"type": "shell"}]},
    "an unknown failure behaviour": {"actions": [{"failure_behavior": "explode"}]},
    "parameters that are a list": {"actions": [{"parameters": [1]}]},
    "an id that is a number": {"actions": [{"id": 1}]},
    "retries that are text": {"actions": [{"max_retries": "3"}]},
    "a time that is none": {"timestamp": "yesterday"},
    "two of one id": {"actions": [{"id": "a"}, {"id": "a"}]},
    "an unknown dependency": {"actions": [{"id": "a", "dependencies": ["b"]}]},
    "itself as a dependency": {"actions": [{"id": "a", "dependencies": ["a"]}]},
    "a circle": {"actions": [{"id": "a", "dependencies": ["b"]}, {"id": "b", "dependencies": ["a"]}]},
    "a struct of no actions": ActionProposal(actions=["a"]),  # type: ignore[list-item]
    "a struct with an id that is none": ActionProposal(actions=[Action(id=None)]),  # type: ignore[arg-type]
    "a struct with parameters that are none": ActionProposal(actions=[Action(parameters=None)]),  # type: ignore[arg-type]
    "a struct with a tool that is a list": ActionProposal(actions=[Action(tool=["a"])]),  # type: ignore[arg-type]
    "a struct with a condition that is text": ActionProposal(actions=[Action(preconditions=["k"])]),  # type: ignore[list-item]
    "a struct with a key that is a number": ActionProposal(
        actions=[Action(preconditions=[Precondition(key=1)])]  # type: ignore[arg-type]
    ),
    "a struct of an unknown type": ActionProposal(actions=[Action(type="shell")]),  # type: ignore[arg-type]
    "a struct whose actions are none": ActionProposal(actions=None),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", NO_PROPOSALS)
async def test_what_is_no_proposal_is_refused_before_anything_runs(runtime_with, what: str) -> None:
    notes = Notes()
    runtime = runtime_with(notes.note)

    with pytest.raises((ValueError, TypeError)):
        await runtime.execute(NO_PROPOSALS[what])

    assert (notes.calls, kinds(runtime.log), runtime.state.snapshot()) == ([], [], {})


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [150, 1_000, 20_000])
async def test_parameters_of_any_depth_are_called_with_or_rejected(runtime_with, depth: int) -> None:
    runtime = runtime_with(echo)
    proposal = {"actions": [{"id": "a", "tool": "echo", "parameters": {"it": nested(depth)}}]}

    result = await runtime.execute(proposal)

    assert statuses(result) in ("a:succeeded", "a:rejected", "a:failed")


ODD_ACTIONS: dict[str, dict[str, Any]] = {
    "no tool": {},
    "a tool that there is none of": {"tool": "other"},
    "a write without a key": {"type": "state_write", "parameters": {"value": 1}},
    "a write without a value": {"type": "state_write", "parameters": {"key": "k"}},
    "a write with a number as key": {"type": "state_write", "parameters": {"key": 1, "value": 1}},
    "a read without a key": {"type": "state_read"},
    "an assertion without a key": {"type": "assertion", "parameters": {"value": 1}},
    "a tool call with one argument too many": {"tool": "echo", "parameters": {"it": 1, "other": 2}},
    "an unknown operator": {"tool": "echo", "parameters": {"it": 1}, "preconditions": [{"key": "k", "operator": "~"}]},
}


@pytest.mark.parametrize("what", ODD_ACTIONS)
async def test_an_action_that_can_not_be_run_is_rejected_and_its_neighbours_are_not(runtime_with, what: str) -> None:
    runtime = runtime_with(echo)
    odd = {"id": "odd", "failure_behavior": "skip", **ODD_ACTIONS[what]}
    fine = {"id": "fine", "tool": "echo", "parameters": {"it": 1}}

    result = await runtime.execute({"actions": [odd, fine]})

    assert statuses(result) == "odd:rejected fine:succeeded"
    assert result.results[0].error


# The order


async def test_actions_that_may_not_abort_run_together_and_others_one_by_one(runtime_with) -> None:
    together: list[int] = []
    at_work = 0

    async def work() -> None:
        nonlocal at_work
        at_work += 1
        together.append(at_work)
        await anyio.sleep(1)
        at_work -= 1

    runtime = runtime_with(work)
    for behavior, most in (("skip", 4), ("retry", 4), ("abort", 1)):
        together.clear()
        await runtime.execute(propose(*(call(name, "work", failure_behavior=behavior) for name in "abcd")))
        assert max(together) == most


async def test_a_reader_waits_for_the_writer_before_it_and_the_next_writer_for_the_reader(runtime_with) -> None:
    result = await runtime_with().execute(
        propose(write("a", "k", 1), read("b", "k"), write("c", "k", 2), read("d", "k"), read("e", "other"))
    )

    assert [each.output for each in result.results] == [None, 1, None, 2, None]


async def test_outputs_are_put_where_they_are_referred_to(runtime_with) -> None:
    result = await runtime_with(echo).execute(
        propose(
            call("a", "echo", parameters={"it": {"n": [1]}}),
            call("b", "echo", parameters={"it": "$a.output"}, dependencies=["a"]),
            call("c", "echo", parameters={"it": ["got $a.output!", "$HOME", "$a.outputs"]}, dependencies=["a"]),
        )
    )

    assert result.results[1].output == {"n": [1]}
    assert result.results[2].output == ["got {'n': [1]}!", "$HOME", "$a.outputs"]


@pytest.mark.parametrize("dependencies", [[], ["b"]])
async def test_an_output_of_an_action_that_is_not_waited_for_is_not_to_be_had(
    runtime_with, dependencies: list[str]
) -> None:
    result = await runtime_with(echo).execute(
        propose(
            call("a", "echo", parameters={"it": 1}),
            call("b", "echo", parameters={"it": 1}),
            call("c", "echo", parameters={"it": "$a.output"}, dependencies=dependencies, failure_behavior="skip"),
        )
    )

    assert statuses(result) == "a:succeeded b:succeeded c:rejected"
    assert "'a' among the dependencies" in (result.results[2].error or "")


async def test_an_action_whose_dependency_did_not_succeed_is_skipped_and_so_on(runtime_with) -> None:
    notes = Notes(fails=1)
    result = await runtime_with(notes.note).execute(
        propose(
            call("a", failure_behavior="skip"),
            call("b", dependencies=["a"]),
            call("c", dependencies=["b"]),
            call("d"),
        )
    )

    assert statuses(result) == "a:failed b:skipped c:skipped d:succeeded"


async def test_a_precondition_is_looked_at_when_its_action_comes_up(runtime_with) -> None:
    is_one = Precondition(key="k", operator="eq", value=1)
    result = await runtime_with().execute(
        propose(
            write("a", "k", 1),
            read("b", "k", preconditions=[is_one]),
            write("c", "k", 2),
            read("d", "k", preconditions=[is_one], failure_behavior="skip"),
        )
    )

    assert statuses(result) == "a:succeeded b:succeeded c:succeeded d:rejected"


@pytest.mark.parametrize(
    ("operator", "value", "holds"),
    [
        ("eq", 3, True), ("eq", 3.0, False), ("eq", True, False), ("neq", 4, True), ("gt", 2, True), ("gt", "2", False),
        ("lt", 4, True), ("gte", 3, True), ("lte", 2, False), ("exists", None, True), ("not_exists", None, False),
        ("contains", 3, False), ("like", 3, False), ("", 3, False),
    ],
)  # fmt: skip
async def test_an_assertion_succeeds_or_fails(runtime_with, operator: str, value: Any, holds: bool) -> None:
    runtime = runtime_with()
    runtime.state.set("k", 3, actor="t")

    result = await runtime.execute(
        {"actions": [{"type": "assertion", "parameters": {"key": "k", "operator": operator, "value": value}}]}
    )

    assert result.all_succeeded is holds


async def test_the_cost_counts_what_was_done(runtime_with) -> None:
    notes = Notes(fails=2)
    result = await runtime_with(notes.note).execute(
        propose(
            call("a", failure_behavior="retry", max_retries=3),
            call("b", "nobody", failure_behavior="skip"),
            call("c", dependencies=["b"], failure_behavior="skip"),
            write("d", "k", 1),
        )
    )

    cost = result.cost
    assert statuses(result) == "a:succeeded b:rejected c:skipped d:succeeded"
    assert (cost.tool_calls, cost.actions_executed, cost.actions_rejected, cost.actions_skipped) == (3, 2, 1, 1)
    assert (cost.retries, cost.total_duration_ms) == (2, pytest.approx(300))


# Size


def chain(count: int) -> list[Action]:
    return [call(str(n), dependencies=[str(n - 1)] if n else []) for n in range(count)]


def one_key(count: int) -> list[Action]:
    return [write(str(n), "k", n) if n % 2 else read(str(n), "k") for n in range(count)]


def independent(count: int) -> list[Action]:
    return [call(str(n)) for n in range(count)]


def one_writer(count: int) -> list[Action]:
    return [write("w", "k", 0), *(read(str(n), "k") for n in range(count - 2)), write("x", "k", 1)]


@pytest.mark.parametrize("shape", [chain, one_key, independent, one_writer])
def test_ten_thousand_actions_are_levelled_in_less_than_a_second(shape) -> None:
    actions = shape(10_000)

    began = process_time()
    found = levels(actions)

    assert process_time() - began < 1
    assert sum(map(len, found)) == 10_000


async def test_two_thousand_actions_leave_two_thousand_results_in_their_order(runtime_with) -> None:
    actions = [call(str(n), "echo", parameters={"it": n}, failure_behavior="skip") for n in range(2_000)]

    result = await runtime_with(echo).execute(propose(*actions))

    assert [each.output for each in result.results] == list(range(2_000))
    assert {each.type for each in actions} == {ActionType.TOOL_CALL}
