"""The store and its overlays, step by step beside a naive model, and from many threads at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from carpool.errors import StateConflict
from carpool.state import OverlayState, StateStore

from .budget.fake_clock import FakeClock
from .budget.real_threads import together
from .test_json_values import NOT_JSON

GONE = object()
KEYS = ["a", "b", "c", "é"]


def written(value: Any) -> str:
    """A value as text: 1, 1.0 and true are three texts, and a dict in another order is the same."""
    return "gone" if value is GONE else json.dumps(value, sort_keys=True)


def spoil(value: Any) -> None:
    """Change everything in ``value`` that can be changed."""
    if isinstance(value, list):
        for item in value:
            spoil(item)
        value.append("spoiled")
    elif isinstance(value, dict):
        for item in value.values():
            spoil(item)
        value["spoiled"] = True


class Naive:
    """One store as a list of all changes since it was made, replayed for each question."""

    def __init__(self, parent: Naive | None = None) -> None:
        self.parent = parent
        self.changes: list[tuple[str, Any]] = []
        self.history: list[tuple[str, str, str, str, int]] = []
        self.fork = {} if parent is None else parent.content()
        self.fork_versions = {} if parent is None else {key: parent.version(key) for key in KEYS}

    def content(self) -> dict[str, Any]:
        content = {} if self.parent is None else self.parent.content()
        for key, value in self.changes:
            content.pop(key, None)
            if value is not GONE:
                content[key] = value
        return content

    def value(self, key: str) -> Any:
        return self.content().get(key, GONE)

    def version(self, key: str) -> int:
        here = sum(changed == key for changed, _ in self.changes)
        return here + (0 if self.parent is None else self.parent.version(key))

    def change(self, key: str, value: Any, actor: str) -> None:
        old = self.value(key)
        self.changes.append((key, value))
        self.history.append((key, written(old), written(value), actor, self.version(key)))

    def load(self, mapping: dict[str, Any]) -> None:
        content = self.content()
        for key in sorted({*content, *mapping}):
            if written(content.get(key, GONE)) != written(mapping.get(key, GONE)):
                self.changes.append((key, mapping.get(key, GONE)))

    def to_merge(self) -> tuple[dict[str, Any], dict[str, tuple[Any, Any, Any]]]:
        """What only this side changed, and the conflicts as (base, ours, theirs)."""
        assert self.parent is not None
        mine, conflicts = {}, {}
        for key in {key for key, _ in self.changes}:
            base, ours, theirs = self.fork.get(key, GONE), self.value(key), self.parent.value(key)
            if written(ours) in (written(base), written(theirs)):
                continue
            if self.parent.version(key) == self.fork_versions[key]:
                mine[key] = ours
            else:
                conflicts[key] = (base, ours, theirs)
        return mine, conflicts


JSON = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, 2, "", "x", "é"]),
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inside, max_size=2),
    max_leaves=4,
)
SOME_KEY = st.sampled_from(KEYS)
ANY_STORE = st.runner().flatmap(lambda machine: st.sampled_from(machine.open))
AN_OVERLAY = st.runner().flatmap(lambda machine: st.sampled_from(machine.open[1:] or [None]))
MODES = ["error", "ours", "theirs", "function", "function that raises", "function that returns what is not JSON"]


class Layers(RuleBasedStateMachine):
    """A store and overlays on it and on each other. Whatever goes in or comes out is spoiled at once."""

    @initialize(mapping=st.dictionaries(SOME_KEY, JSON))
    def make(self, mapping: dict[str, Any]) -> None:
        model = Naive()
        model.load(json.loads(json.dumps(mapping)))
        store = StateStore(mapping, clock=FakeClock())
        spoil(mapping)
        self.open: list[tuple[StateStore, Naive]] = [(store, model)]
        self.snapshots: list[tuple[StateStore, dict[str, Any], int]] = []
        self.last: dict[tuple[int, str], int] = {}

    # Single keys

    @rule(pair=ANY_STORE, key=SOME_KEY, value=JSON)
    def set(self, pair: tuple[StateStore, Naive], key: str, value: Any) -> None:
        store, model = pair
        model.change(key, json.loads(json.dumps(value)), "writer")
        self.same_last(store.set(key, value, actor="writer"), model)
        spoil(value)

    @rule(pair=ANY_STORE, key=SOME_KEY)
    def delete(self, pair: tuple[StateStore, Naive], key: str) -> None:
        store, model = pair
        there = model.value(key) is not GONE
        transition = store.delete(key, actor="deleter")
        if there:
            model.change(key, GONE, "deleter")
            self.same_last(transition, model)
        else:
            assert transition is None

    @rule(pair=ANY_STORE, key=SOME_KEY, value=JSON, off=st.sampled_from([0, 0, 0, -1, 1, 5]))
    def compare_and_set(self, pair: tuple[StateStore, Naive], key: str, value: Any, off: int) -> None:
        store, model = pair
        expected = model.version(key) + off
        if off:
            with pytest.raises(StateConflict) as conflict:
                store.compare_and_set(key, value, expected, actor="comparer")
            assert (conflict.value.key, conflict.value.version) == (key, model.version(key))
        else:
            model.change(key, json.loads(json.dumps(value)), "comparer")
            self.same_last(store.compare_and_set(key, value, expected, actor="comparer"), model)
        spoil(value)

    @rule(pair=ANY_STORE, key=SOME_KEY)
    def update(self, pair: tuple[StateStore, Naive], key: str) -> None:
        store, model = pair
        given: list[Any] = []

        def wrap(value: Any) -> Any:
            given.append(json.loads(json.dumps(value)))
            spoil(value)
            self.made = [given[-1], {"n": 1}]
            return self.made

        old = model.value(key)
        transition = store.update(key, wrap, actor="updater")
        assert list(map(written, given)) == [written(None if old is GONE else old)]
        model.change(key, json.loads(json.dumps(self.made)), "updater")
        self.same_last(transition, model)
        spoil(self.made)

    @rule(pair=ANY_STORE, key=SOME_KEY, what=st.sampled_from(sorted(NOT_JSON)))
    def write_what_is_not_json(self, pair: tuple[StateStore, Naive], key: str, what: str) -> None:
        store, model = pair
        value = [NOT_JSON[what][0]()]
        for refused in (
            lambda: store.set(key, value, actor="x"),
            lambda: store.compare_and_set(key, value, model.version(key), actor="x"),
            lambda: store.update(key, lambda _: value, actor="x"),
            lambda: store.replace_all({"a": 1, key: value}),
            lambda: store.restore({"b": 1, key: value}, 0),
        ):
            with pytest.raises(ValueError, match=re.escape(f"{key}[0]")):
                refused()

    # Everything at once

    @rule(pair=ANY_STORE)
    def remember(self, pair: tuple[StateStore, Naive]) -> None:
        store, _ = pair
        self.snapshots.append((store, store.snapshot(), store.transition_count))

    @rule(pair=ANY_STORE, which=st.integers(0, 99))
    def roll_back(self, pair: tuple[StateStore, Naive], which: int) -> None:
        store, model = pair
        mine = [(snapshot, count) for owner, snapshot, count in self.snapshots if owner is store]
        if not mine:
            return
        snapshot, count = mine[which % len(mine)]
        store.restore(snapshot, count)
        model.load(json.loads(json.dumps(snapshot)))
        del model.history[count:]

    @rule(pair=ANY_STORE, mapping=st.dictionaries(SOME_KEY, JSON))
    def load(self, pair: tuple[StateStore, Naive], mapping: dict[str, Any]) -> None:
        store, model = pair
        model.load(json.loads(json.dumps(mapping)))
        store.replace_all(mapping)
        spoil(mapping)

    # Overlays

    @rule(pair=ANY_STORE)
    def fork(self, pair: tuple[StateStore, Naive]) -> None:
        store, model = pair
        if len(self.open) < 6:
            self.open.append((OverlayState(store, f"agent {len(self.open)}"), Naive(model)))

    @rule(pair=AN_OVERLAY, mode=st.sampled_from(MODES))
    def merge(self, pair: tuple[OverlayState, Naive] | None, mode: str) -> None:
        if pair is None:
            return
        overlay, model = pair
        assert model.parent is not None
        mine, conflicts = model.to_merge()
        asked: dict[str, tuple[Any, Any, Any]] = {}

        def resolve(key: str, base: Any, ours: Any, theirs: Any) -> Any:
            assert key not in asked
            asked[key] = json.loads(json.dumps((base, ours, theirs)))
            spoil([base, ours, theirs])
            if mode == "function that raises":
                raise ZeroDivisionError
            return {1, 2} if mode == "function that returns what is not JSON" else [key, asked[key]]

        expected_error = {"error": StateConflict, MODES[4]: ZeroDivisionError, MODES[5]: ValueError}.get(mode)
        if conflicts and expected_error:
            with pytest.raises(expected_error) as refusal:
                overlay.merge(resolve if mode.startswith("function") else "error")
            if mode == "error":
                assert refusal.value.key in conflicts
                assert refusal.value.version == model.parent.version(refusal.value.key)
            return  # nothing merged: the invariant looks at the parent, and another merge may be tried

        merged = overlay.merge(resolve if mode.startswith("function") else mode)

        if mode == "ours":
            mine |= {key: ours for key, (_, ours, _) in conflicts.items()}
        elif mode == "function":
            shown = {key: [None if side is GONE else side for side in sides] for key, sides in conflicts.items()}
            assert {key: written(sides) for key, sides in asked.items()} == {k: written(v) for k, v in shown.items()}
            mine |= {key: [key, sides] for key, sides in shown.items()}
        parent = next(store for store, other in self.open if other is model.parent)
        told = {each.key: written(GONE if each.deleted else each.new_value) for each in merged}
        assert told == {key: written(value) for key, value in mine.items()}
        assert parent.transitions(parent.transition_count - len(merged)) == merged
        assert {transition.actor for transition in merged} <= {overlay_name(overlay)}
        for transition in merged:
            model.parent.change(transition.key, mine[transition.key], transition.actor)
            spoil([transition.old_value, transition.new_value])
        assert overlay.merge() == overlay.merge("ours") == []
        self.close(pair)

    def close(self, pair: tuple[StateStore, Naive]) -> None:
        """After its merge an overlay, and what lies on it, is looked at no more."""
        closed = [pair[1]]
        for _, model in self.open:
            if model.parent in closed:
                closed.append(model)
        self.open = [each for each in self.open if each[1] not in closed]

    # What must be true at all times

    def same_last(self, transition: Any, model: Naive) -> None:
        key, old, new, actor, version = model.history[-1]
        assert (transition.key, transition.actor, transition.version) == (key, actor, version)
        assert transition.deleted == (new == "gone")
        assert written(transition.old_value) == ("null" if old == "gone" else old)
        assert written(transition.new_value) == ("null" if new == "gone" else new)
        spoil([transition.old_value, transition.new_value])

    @invariant()
    def both_say_the_same(self) -> None:
        for store, model in getattr(self, "open", []):
            content = model.content()
            assert written(store.snapshot()) == written(content)
            assert store.keys() == sorted(content)
            for key in KEYS:
                value = store.get(key, GONE)
                assert written(value) == written(model.value(key))
                assert store.exists(key) == (key in content)
                assert store.version(key) == model.version(key)
                spoil(value)
            told = [
                (each.key, written(each.old_value), written(each.new_value), each.actor, each.version, each.deleted)
                for each in store.transitions()
            ]
            assert told == [
                (key, old.replace("gone", "null"), new.replace("gone", "null"), actor, version, new == "gone")
                for key, old, new, actor, version in model.history
            ]
            assert store.transition_count == len(told)
            spoil(store.snapshot())
            for each in store.transitions():
                spoil([each.old_value, each.new_value])

    @invariant()
    def versions_rise_with_every_change_and_never_fall(self) -> None:
        for store, _ in getattr(self, "open", []):
            for key in KEYS:
                place, version = (id(store), key), store.version(key)
                assert version >= self.last.get(place, 0)
                self.last[place] = version


def overlay_name(overlay: OverlayState) -> str:
    return overlay._agent_name


Layers.TestCase.settings = settings(
    deadline=None,
    max_examples=60,
    stateful_step_count=30,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
TestLayers = Layers.TestCase


# One store


def test_what_was_never_set_is_not_there() -> None:
    store = StateStore()

    assert store.get("a") is None
    assert store.get("a", 5) == 5
    assert not store.exists("a")
    assert (store.keys(), store.version("a"), store.snapshot(), store.transitions()) == ([], 0, {}, [])
    assert store.delete("a", actor="x") is None


def test_null_is_a_value_and_a_deletion_is_not() -> None:
    store = StateStore()

    setting = store.set("a", None, actor="x")
    assert store.exists("a")
    assert store.get("a", "default") is None
    deleting = store.delete("a", actor="x")

    assert (setting.deleted, deleting.deleted) == (False, True)
    assert store.get("a", "default") == "default"


def test_a_transition_says_what_was_changed_by_whom_and_when() -> None:
    clock = FakeClock()
    store = StateStore({"a": 1}, clock=clock)

    transition = store.set("a", [2], actor="somebody")

    assert (transition.key, transition.old_value, transition.new_value) == ("a", 1, [2])
    assert (transition.actor, transition.version, transition.timestamp) == ("somebody", 2, clock.now())


def test_what_a_store_begins_with_is_no_transition() -> None:
    assert StateStore({"a": 1}).transitions() == []


@pytest.mark.parametrize("what", NOT_JSON)
def test_what_is_not_json_is_refused_with_the_path_before_anything_changes(what: str) -> None:
    store = StateStore({"k": 1})
    make, place = NOT_JSON[what]

    with pytest.raises(ValueError, match=re.escape(f"k{place}")):
        store.set("k", make(), actor="x")
    with pytest.raises(ValueError, match=re.escape(f"k.new{place}")):
        store.replace_all({"other": 1, "k": {"new": make()}})

    assert store.snapshot() == {"k": 1}
    assert (store.version("k"), store.version("other"), store.transition_count) == (1, 0, 0)


@pytest.mark.parametrize("key", [None, 1, True, 1.5, b"a", ("a",), "\ud800"])
def test_a_key_that_is_no_text_is_refused(key: Any) -> None:
    store = StateStore()
    for write in (
        lambda: store.set(key, 1, actor="x"),
        lambda: store.update(key, lambda _: 1, actor="x"),
        lambda: store.compare_and_set(key, 1, 0, actor="x"),
        lambda: store.replace_all({"a": 1, key: 1}),
    ):
        with pytest.raises(ValueError, match=r"key|surrogate"):
            write()

    assert store.snapshot() == {}


def test_the_history_can_not_be_altered_through_a_transition() -> None:
    store = StateStore({"a": [0]})

    spoil(store.set("a", [1], actor="x").new_value)
    spoil(store.set("a", [2], actor="x").old_value)
    for transition in store.transitions():
        spoil([transition.old_value, transition.new_value])

    assert [(each.old_value, each.new_value) for each in store.transitions()] == [([0], [1]), ([1], [2])]


def test_a_function_that_raises_changes_nothing() -> None:
    store = StateStore({"a": [1]})

    def fail(value: list[int]) -> None:
        value.append(2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.update("a", fail, actor="x")

    assert (store.get("a"), store.version("a"), store.transition_count) == ([1], 1, 0)


def test_a_function_may_look_at_the_store_it_updates() -> None:
    store = StateStore({"a": 1, "b": 2})

    store.update("a", lambda value: value + store.get("b"), actor="x")

    assert store.get("a") == 3


def test_an_update_is_made_again_when_another_change_came_first() -> None:
    store = StateStore({"a": 0})
    seen: list[int] = []

    def add(value: int) -> int:
        seen.append(value)
        if len(seen) < 4:
            store.set("a", value + 10, actor="other")
        return value + 1

    store.update("a", add, actor="x")

    assert seen == [0, 10, 20, 30]
    assert store.get("a") == 31


def test_versions_rise_through_delete_restore_and_replacing() -> None:
    store = StateStore()
    versions = [store.version("a")]

    def step(change: Callable[[], object]) -> None:
        change()
        versions.append(store.version("a"))

    step(lambda: store.set("a", 1, actor="x"))
    snapshot = store.snapshot()
    step(lambda: store.set("a", 1, actor="x"))
    step(lambda: store.delete("a", actor="x"))
    step(lambda: store.restore(snapshot, 1))
    step(lambda: store.replace_all({}))
    step(lambda: store.replace_all({"a": 3}))
    step(lambda: store.restore({}, 0))
    step(lambda: store.set("a", 1, actor="x"))

    assert versions == sorted(set(versions))


def test_what_was_read_before_a_rollback_can_not_be_set_after_it() -> None:
    store = StateStore({"a": 1})
    snapshot, count, before = store.snapshot(), store.transition_count, store.version("a")
    store.set("a", 2, actor="x")
    store.restore(snapshot, count)

    assert store.get("a") == 1
    with pytest.raises(StateConflict):
        store.compare_and_set("a", 3, before, actor="x")


def test_loading_what_is_there_changes_no_version() -> None:
    store = StateStore({"a": {"x": 1, "y": [1.5]}})

    store.replace_all({"a": {"y": [1.5], "x": 1}})

    assert store.version("a") == 1


def test_loading_true_over_1_is_a_change() -> None:
    store = StateStore({"a": 1})

    store.replace_all({"a": True})

    assert store.get("a") is True
    assert store.version("a") == 2


def test_transitions_can_be_asked_for_since_a_count() -> None:
    store = StateStore()
    for number in range(4):
        store.set("a", number, actor="x")

    assert [each.new_value for each in store.transitions(since=2)] == [2, 3]
    assert len(store.transitions(since=-1)) == 4
    assert store.transitions(since=4) == store.transitions(since=9) == []


# Threads


def test_eight_threads_that_add_one_200_times_make_1600() -> None:
    store = StateStore({"n": 0})

    def add() -> None:
        for _ in range(200):
            store.update("n", lambda value: value + 1, actor="x")

    together([add] * 8)

    assert store.get("n") == 1_600
    assert store.version("n") == 1_601
    assert [each.new_value for each in store.transitions()] == list(range(1, 1_601))


def test_of_eight_that_compare_and_set_at_once_exactly_one_wins() -> None:
    for _ in range(40):
        store = StateStore({"k": "nobody"})
        winners: list[str] = []
        told: list[int] = []

        def race(name: str, store: StateStore = store, winners: Any = winners, told: Any = told) -> None:
            try:
                store.compare_and_set("k", name, 1, actor=name)
                winners.append(name)
            except StateConflict as conflict:
                told.append(conflict.version)

        together([lambda n=n: race(str(n)) for n in range(8)])

        assert winners == [store.get("k")]
        assert told == [2] * 7


def test_no_reader_sees_half_a_change() -> None:
    store = StateStore({"one": 0, "other": 0})
    done: list[bool] = []

    def write() -> None:
        for number in range(300):
            store.replace_all({"one": number, "other": number})
        done.append(True)

    def read() -> None:
        while not done:
            snapshot = store.snapshot()
            assert snapshot["one"] == snapshot["other"]

    together([write, read, read])


def test_all_the_ways_to_write_from_eight_threads_leave_versions_that_only_rise() -> None:
    store = StateStore()
    writes: list[Callable[[], object]] = [
        lambda: store.set("k", 1, actor="x"),
        lambda: store.delete("k", actor="x"),
        lambda: store.update("k", lambda _: 2, actor="x"),
        lambda: store.replace_all({"k": 3}),
        lambda: store.restore({}, 0),
    ]

    def write(first: int) -> None:
        before = 0
        for step in range(100):
            writes[(first + step) % len(writes)]()
            version = store.version("k")
            assert version >= before
            before = version

    together([lambda n=n: write(n) for n in range(8)])


def test_overlays_merged_from_eight_threads_with_a_function_lose_nothing() -> None:
    store = StateStore({"names": []})
    overlays = [OverlayState(store, str(number)) for number in range(8)]
    for overlay in overlays:
        overlay.set("names", [overlay_name(overlay)], actor="x")

    together([lambda o=overlay: o.merge(lambda key, base, ours, theirs: theirs + ours) for overlay in overlays])

    assert sorted(store.get("names")) == list("01234567")


def test_of_eight_overlays_that_wrote_one_key_exactly_one_is_merged_without_a_conflict() -> None:
    for _ in range(20):
        store = StateStore({"k": "nobody", "own": 0})
        merged: list[str] = []
        overlays = [OverlayState(store, str(number)) for number in range(8)]

        def work(overlay: OverlayState, merged: Any = merged) -> None:
            name = overlay_name(overlay)
            overlay.set("k", name, actor="x")
            overlay.set(f"own {name}", 1, actor="x")
            with suppress(StateConflict):
                overlay.merge()
                merged.append(name)

        together([lambda o=overlay, work=work: work(o) for overlay in overlays])

        assert len(merged) == 1
        assert store.snapshot() == {"k": merged[0], "own": 0, f"own {merged[0]}": 1}


def test_one_overlay_merged_from_eight_threads_is_merged_once() -> None:
    store = StateStore()
    overlay = OverlayState(store, "a")
    overlay.set("k", 1, actor="x")

    together([overlay.merge] * 8)

    assert store.transition_count == 1


def test_overlays_of_disjoint_keys_merge_from_eight_threads_without_a_conflict() -> None:
    store = StateStore()

    def work(name: str) -> None:
        overlay = OverlayState(store, name)
        for number in range(20):
            overlay.set(f"{name} {number}", number, actor="x")
        overlay.merge()

    together([lambda n=n: work(str(n)) for n in range(8)])

    assert len(store.keys()) == 160


# Overlays


def test_reads_fall_through_and_writes_and_deletes_stay() -> None:
    store = StateStore({"a": 1, "b": 2})
    overlay = OverlayState(store, "agent")

    overlay.set("c", 3, actor="x")
    overlay.delete("a", actor="x")
    store.set("b", 20, actor="y")

    assert overlay.snapshot() == {"b": 20, "c": 3}
    assert not overlay.exists("a")
    assert overlay.keys() == ["b", "c"]
    assert store.snapshot() == {"a": 1, "b": 20}


def test_a_merge_is_replayed_as_the_agents_transitions() -> None:
    store = StateStore({"a": 1})
    overlay = OverlayState(store, "agent")
    overlay.set("b", 2, actor="whoever")
    overlay.delete("a", actor="whoever")

    merged = overlay.merge()

    assert store.snapshot() == {"b": 2}
    assert [(each.key, each.actor, each.deleted) for each in store.transitions()] == [
        ("b", "agent", False),
        ("a", "agent", True),
    ]
    assert merged == store.transitions()


def test_an_overlay_that_is_thrown_away_leaves_nothing() -> None:
    store = StateStore({"a": [1]})
    overlay = OverlayState(store, "agent")
    overlay.set("a", [2], actor="x")
    overlay.set("b", 1, actor="x")
    spoil(overlay.get("a"))
    del overlay

    assert (store.snapshot(), store.version("a"), store.transition_count) == ({"a": [1]}, 1, 0)


@pytest.mark.parametrize("theirs", [2, None, "gone"])
@pytest.mark.parametrize("ours", [3, None, "gone"])
@pytest.mark.parametrize("base", [1, "gone"])
def test_a_key_that_both_sides_changed_is_a_conflict_unless_they_agree(base: Any, ours: Any, theirs: Any) -> None:
    def write(store: StateStore, value: Any) -> None:
        if value == "gone":
            store.set("k", "something else", actor="x")
            store.delete("k", actor="x")
        else:
            store.set("k", value, actor="x")

    def merged(on_conflict: Any) -> Any:
        store = StateStore({} if base == "gone" else {"k": base})
        overlay = OverlayState(store, "agent")
        write(overlay, ours)
        write(store, theirs)
        overlay.merge(on_conflict)
        return store.get("k", "gone")

    asked: list[Any] = []

    def decide(*sides: Any) -> str:
        asked.append(sides)
        return "decided"

    no_conflict = ours in (theirs, base)
    if no_conflict:
        assert merged("error") == merged("ours") == merged("theirs") == merged(decide) == theirs
        assert not asked
    else:
        with pytest.raises(StateConflict, match="'agent'"):
            merged("error")
        assert (merged("ours"), merged("theirs"), merged(decide)) == (ours, theirs, "decided")
        assert asked == [("k", *(None if side == "gone" else side for side in (base, ours, theirs)))]


def test_after_a_conflict_nothing_is_merged_and_it_may_be_tried_again() -> None:
    store = StateStore({"k": 1})
    overlay = OverlayState(store, "agent")
    overlay.set("before", 1, actor="x")
    overlay.set("k", 2, actor="x")
    overlay.set("after", 1, actor="x")
    store.set("k", 3, actor="y")

    for _ in range(2):
        with pytest.raises(StateConflict) as conflict:
            overlay.merge()
        assert (conflict.value.key, conflict.value.version) == ("k", 2)
        assert store.snapshot() == {"k": 3}

    assert len(overlay.merge("ours")) == 3
    assert store.snapshot() == {"k": 2, "before": 1, "after": 1}
    assert overlay.merge("ours") == []


@pytest.mark.parametrize("on_conflict", ["mine", "", None, 1, "ERROR", True])
def test_an_unknown_way_to_settle_a_conflict_is_refused_even_without_one(on_conflict: Any) -> None:
    overlay = OverlayState(StateStore(), "agent")
    overlay.set("k", 1, actor="x")

    with pytest.raises(ValueError, match="on_conflict"):
        overlay.merge(on_conflict)

    assert len(overlay.merge()) == 1


def test_a_function_that_settles_a_conflict_can_not_alter_either_side() -> None:
    store = StateStore({"k": [1]})
    overlay = OverlayState(store, "agent")
    overlay.set("k", [2], actor="x")
    store.set("k", [3], actor="y")

    def spoiling(key: str, base: Any, ours: Any, theirs: Any) -> Any:
        spoil([base, ours, theirs])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        overlay.merge(spoiling)

    assert (store.get("k"), overlay.get("k")) == ([3], [2])
    result = [4]
    overlay.merge(lambda *sides: result)
    spoil(result)
    assert store.get("k") == [4]


def test_an_overlay_on_an_overlay_merges_level_by_level() -> None:
    store = StateStore({"k": 0})
    middle = OverlayState(store, "middle")
    top = OverlayState(middle, "top")
    top.set("k", 1, actor="x")

    top.merge()
    assert (store.get("k"), middle.get("k")) == (0, 1)
    assert [each.actor for each in middle.transitions()] == ["top"]

    middle.merge()
    assert store.get("k") == 1
    assert [each.actor for each in store.transitions()] == ["middle"]


def test_what_the_lowest_store_was_given_meanwhile_is_a_conflict_for_the_top_too() -> None:
    store = StateStore({"k": 0})
    top = OverlayState(OverlayState(store, "middle"), "top")
    top.set("k", 1, actor="x")
    store.set("k", 2, actor="y")

    with pytest.raises(StateConflict):
        top.merge()


def test_the_version_of_an_overlay_rises_with_either_side() -> None:
    store = StateStore({"k": 0})
    overlay = OverlayState(store, "agent")
    versions = [overlay.version("k")]
    for change in (
        lambda: overlay.set("k", 1, actor="x"),
        lambda: store.set("k", 2, actor="y"),
        lambda: overlay.delete("k", actor="x"),
        lambda: store.delete("k", actor="y"),
        lambda: overlay.set("k", 3, actor="x"),
        lambda: overlay.merge("ours"),
        lambda: overlay.set("k", 4, actor="x"),
    ):
        change()
        versions.append(overlay.version("k"))

    assert versions == sorted(set(versions))


def test_an_overlay_can_be_rolled_back_without_its_parent_noticing() -> None:
    store = StateStore({"a": 1, "b": 1})
    overlay = OverlayState(store, "agent")
    overlay.set("a", 2, actor="x")
    snapshot, count = overlay.snapshot(), overlay.transition_count
    overlay.set("a", 3, actor="x")
    overlay.delete("b", actor="x")
    overlay.set("c", 1, actor="x")

    overlay.restore(snapshot, count)

    assert overlay.snapshot() == {"a": 2, "b": 1}
    assert store.snapshot() == {"a": 1, "b": 1}
    overlay.merge()
    assert store.snapshot() == {"a": 2, "b": 1}
    assert [each.key for each in store.transitions()] == ["a"]


def test_an_overlay_tells_what_it_would_merge() -> None:
    parent = StateStore({"changed": 1, "deleted": 1, "kept": 1})
    parent.set("changed", 2, actor="somebody")
    overlay = OverlayState(parent, "a")
    overlay.set("changed", 3, actor="a")
    overlay.set("changed", [4], actor="a")
    overlay.delete("deleted", actor="a")
    overlay.set("new", 5, actor="a")
    planned = overlay.changed()
    planned["changed"].new_value.append("not in the store")
    merged = {transition.key: transition for transition in overlay.merge()}

    assert merged["changed"].new_value == [4]
    assert list(planned) == list(merged) == ["changed", "deleted", "new"]
    for key, transition in merged.items():
        assert (planned[key].version, planned[key].deleted) == (transition.version, transition.deleted)
        assert (planned[key].old_value, planned[key].actor) == (transition.old_value, "a")


def test_a_store_knows_what_was_made_in_it_or_brought_to_it() -> None:
    parent = StateStore()
    overlay = OverlayState(parent, "a")
    assert parent.knows(parent.id)
    assert not parent.knows(overlay.id)
    overlay.merge()
    assert parent.knows(overlay.id)
    parent.brought("from elsewhere")
    assert parent.knows("from elsewhere")
    assert not StateStore().knows("from elsewhere")


def test_versions_are_told_of_every_key_that_ever_was() -> None:
    store = StateStore({"a": 1})
    store.set("b", 1, actor="x")
    store.delete("a", actor="x")
    assert store.versions() == {"a": 2, "b": 1}
    overlay = OverlayState(store, "o")
    overlay.set("b", 2, actor="o")
    assert overlay.versions() == {"a": 2, "b": 2}


# Proposals


async def test_proposals_on_one_store_run_one_after_the_other() -> None:
    store = StateStore({"n": 0})
    inside: list[int] = []

    async def propose(number: int) -> None:
        async with store.proposal_lock():
            inside.append(number)
            assert len(inside) == 1
            snapshot, count = store.snapshot(), store.transition_count
            for _ in range(3):
                await checkpoint()
                store.update("n", lambda value: value + 1, actor=str(number))
            if number % 2:
                store.restore(snapshot, count)  # takes back its own writes, and no other's
            inside.remove(number)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(propose, number)

    assert store.get("n") == 30
    assert store.transition_count == 30


async def test_a_proposal_that_is_cancelled_while_it_waits_or_works_lets_the_next_one_in() -> None:
    store = StateStore()
    scopes: list[anyio.CancelScope] = []
    done: list[int] = []

    async def propose(number: int) -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            async with store.proposal_lock():
                if number < 2:
                    await anyio.sleep_forever()
                done.append(number)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(propose, number)
            for _ in range(5):
                await checkpoint()
            scopes[2].cancel()  # waits
            scopes[0].cancel()  # works
            for _ in range(5):
                await checkpoint()
            scopes[1].cancel()  # was let in

    assert done == [3, 4]


def test_a_store_outlives_the_loop_its_proposals_ran_in() -> None:
    store = StateStore()

    async def propose() -> None:
        async with store.proposal_lock():
            await checkpoint()
            store.update("n", lambda value: (value or 0) + 1, actor="x")

    async def propose_three() -> None:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(propose)

    for _ in range(2):
        anyio.run(propose_three)

    assert store.get("n") == 6


async def test_two_stores_do_not_wait_for_each_other() -> None:
    store = StateStore()
    with anyio.fail_after(5):
        async with store.proposal_lock(), OverlayState(store, "a").proposal_lock(), StateStore().proposal_lock():
            pass
