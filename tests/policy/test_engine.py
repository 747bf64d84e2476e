"""The engine asks everybody, on copies, and takes no excuse for an agreement."""

from threading import Barrier, Thread

import msgspec
import pytest

from carpool.actions import Action, Precondition
from carpool.policy import PolicyEngine, PolicyViolation, deny_tool
from carpool.state import OverlayState, StateStore

SECRET = "hunter2-canary"


def engine_of(*checks) -> PolicyEngine:
    engine = PolicyEngine()
    for number, check in enumerate(checks):
        engine.register(f"policy {number}", check)
    return engine


def refuses(check, action: Action | None = None) -> bool:
    return bool(engine_of(check).check(action or Action(tool="t"), StateStore()))


def test_without_policies_everything_passes() -> None:
    assert PolicyEngine().check(Action(tool="t", parameters={"odd": object()}), StateStore()) == []


def test_all_violations_are_collected_in_the_order_of_registration() -> None:
    engine = engine_of(lambda *_: "one", lambda *_: None, lambda *_: "two")

    found = engine.check(Action(id="a1", tool="t"), StateStore())

    assert found == [
        PolicyViolation(policy="policy 0", reason="one", action_id="a1"),
        PolicyViolation(policy="policy 2", reason="two", action_id="a1"),
    ]


def test_a_violation_has_the_wire_names_of_car() -> None:
    text = msgspec.json.encode(PolicyViolation(policy="p", reason="r", action_id="a"))

    assert msgspec.json.decode(text) == {"policy_name": "p", "reason": "r", "action_id": "a"}
    assert msgspec.json.decode(text, type=PolicyViolation).policy == "p"


def test_a_policy_that_comes_after_a_denial_is_still_asked() -> None:
    asked = []
    engine_of(lambda *_: "no", lambda *_: asked.append(1)).check(Action(tool="t"), StateStore())

    assert asked == [1]


def test_unregister_tells_how_many_policies_had_the_name() -> None:
    engine = PolicyEngine()
    for _ in range(2):
        engine.register("twice", deny_tool("t"))
    engine.register("other", deny_tool("t"))

    assert (engine.unregister("twice"), engine.unregister("twice")) == (2, 0)
    assert [each.name for each in engine.policies] == ["other"]


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_a_policy_needs_a_name(name) -> None:
    with pytest.raises(ValueError, match="needs a name"):
        PolicyEngine().register(name, deny_tool("t"))


def test_a_check_must_be_something_to_call() -> None:
    with pytest.raises(ValueError, match="function of an action and a state"):
        PolicyEngine().register("p", "deny")  # type: ignore[arg-type]


# A check that goes wrong


class OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("even its text fails")


def raising(error: Exception):
    def check(action, state):
        raise error

    return check


@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRET),
        KeyError(SECRET),
        OddError(),
        RecursionError(),
        MemoryError(),
        StopIteration(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_check_that_raises_is_a_violation_that_names_the_class_only(error: Exception) -> None:
    (found,) = engine_of(raising(error)).check(Action(tool="t"), StateStore())

    assert type(error).__name__ in found.reason
    assert SECRET not in found.reason


@pytest.mark.parametrize("answer", [True, False, 0, 1, [], {}, b"", ["no"], object(), float("nan")])
def test_an_answer_that_is_neither_text_nor_none_is_a_violation(answer) -> None:
    assert refuses(lambda *_: answer)


def test_an_empty_reason_is_a_violation() -> None:
    assert refuses(lambda *_: "")


def test_an_async_check_is_a_violation_and_leaves_no_coroutine_behind() -> None:
    async def check(action, state) -> None:
        return None

    (found,) = engine_of(check).check(Action(tool="t"), StateStore())

    assert "coroutine" in found.reason


def test_a_check_of_the_wrong_signature_is_a_violation() -> None:
    assert refuses(lambda action: None)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_stops_the_program_goes_through(error) -> None:
    with pytest.raises(error):
        engine_of(raising(error())).check(Action(tool="t"), StateStore())


# What a check gets to see


def test_no_check_changes_the_action_or_what_the_next_one_sees() -> None:
    def vandal(action, state) -> None:
        action.parameters["command"] = "harmless"
        action.parameters["list"].clear()
        action.expected_effects["more"] = 1
        action.metadata["m"]["x"] = 1
        action.dependencies.append("b")
        action.state_dependencies.append("k")
        action.preconditions[0].value.append(1)
        action.preconditions.clear()

    seen = []
    action = Action(
        tool="shell",
        parameters={"command": "rm", "list": [1]},
        metadata={"m": {}},
        preconditions=[Precondition(key="k", value=[])],
    )
    before = msgspec.json.encode(action)

    assert engine_of(vandal, lambda each, _: seen.append(msgspec.json.encode(each))).check(action, StateStore()) == []
    assert msgspec.json.encode(action) == before == seen[0]


CHANGES = [
    lambda state: state.set("k", 2, actor="x"),
    lambda state: state.delete("k", actor="x"),
    lambda state: state.compare_and_set("k", 2, 1, actor="x"),
    lambda state: state.update("k", lambda _: 2, actor="x"),
    lambda state: state.restore({}, 0),
    lambda state: state.replace_all({}),
    lambda state: state.merge(),
    lambda state: state.proposal_lock(),
    lambda state: setattr(state, "get", None),
    lambda state: state.__setitem__("k", 2),
    lambda state: state._values.clear(),
    lambda state: state._write("k", 2),
]


@pytest.mark.parametrize("change", CHANGES, ids=[str(place) for place in range(len(CHANGES))])
def test_a_check_that_would_change_the_state_is_a_violation(change) -> None:
    state = OverlayState(StateStore({"k": 1}), "a")

    assert engine_of(lambda _, view: change(view)).check(Action(tool="t"), state)
    assert (state.snapshot(), state.transition_count) == ({"k": 1}, 0)


def test_values_read_from_the_state_are_copies() -> None:
    state = StateStore({"k": [1]})

    engine_of(lambda _, view: view.get("k").clear() or view.snapshot()["k"].clear()).check(Action(tool="t"), state)

    assert state.get("k") == [1]


def test_a_check_can_read_the_state() -> None:
    state = StateStore({"k": 1})
    seen = []
    engine_of(lambda _, v: seen.extend([v.get("k"), v.exists("x"), v.keys(), v.version("k"), v.snapshot()])).check(
        Action(tool="t"), state
    )

    assert seen == [1, False, ["k"], 1, {"k": 1}]


class Text(str):
    """A string that claims to be whatever it is compared with, and no other."""

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


NOT_JSON = [
    Action(tool=Text("t")),
    *(
        Action(tool="t", parameters={"p": value})
        for value in (object(), {1, 2}, b"rm -rf", ("rm", "-rf"), float("nan"), float("inf"), Text("rm"), {1: 2})
    ),
    Action(tool="t", parameters={"p": "\ud800"}),
    Action(tool="t", parameters=Text("x")),  # type: ignore[arg-type]
    Action(tool="t", metadata={"p": object()}),
    Action(tool="t", expected_effects={"p": object()}),
    Action(tool="t", preconditions=[Precondition(key="k", value=object())]),
    Action(tool="t", preconditions=["no precondition"]),  # type: ignore[list-item]
]


@pytest.mark.parametrize("action", NOT_JSON, ids=[str(place) for place in range(len(NOT_JSON))])
def test_an_action_that_is_not_json_is_refused_by_every_policy(action: Action) -> None:
    found = engine_of(lambda *_: None, lambda *_: None).check(action, StateStore())

    assert len(found) == 2
    assert all("not plain JSON" in each.reason for each in found)


def test_an_action_that_contains_itself_is_refused() -> None:
    loop: dict = {}
    loop["again"] = loop

    assert refuses(lambda *_: None, Action(tool="t", parameters=loop))


# Threads


def test_policies_come_and_go_while_actions_are_checked() -> None:
    engine = engine_of(deny_tool("t"))
    start, counts, errors = Barrier(6), [], []

    def change() -> None:
        start.wait()
        for _ in range(200):
            engine.register("more", deny_tool("t"))
            engine.unregister("more")

    def ask() -> None:
        start.wait()
        try:
            counts.extend([len(engine.check(Action(tool="t"), StateStore())) for _ in range(200)])
        except Exception as error:
            errors.append(error)

    threads = [Thread(target=target) for target in (change, change, change, ask, ask, ask)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert errors == []
    assert min(counts) >= 1
    assert [each.name for each in engine.policies] == ["policy 0"]
