"""State changes of remembered agents: put back in the order in which they were made, once, and over nothing newer."""

from __future__ import annotations

from typing import Any

import pytest

from carpool import StateStore
from carpool.recall import Change, Recalled
from carpool.spawn.restoring import Restoring
from carpool.state import OverlayState


def known(key: str, order: int = 1, version: int = 1, *, origin: str = "another store", **values: Any) -> Recalled:
    changes = [Change(key=name, value=value, version=version) for name, value in values.items()]
    return Recalled(key=key, changes=changes, origin=origin, order=order)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (known("a", 1, 1, k="old"), known("b", 1, 2, k="new")),
        (known("a", 1, 9, k="old"), known("b", 2, 1, k="new")),
    ],
    ids=["in one process", "in two"],
)
def test_the_later_change_stays_whoever_is_asked_first(first: Recalled, second: Recalled, turned: bool) -> None:
    state = StateStore({"k": "before"})
    restoring = Restoring(state, "run")
    for each in (second, first) if turned else (first, second):
        restoring.apply("somebody", each)
    assert state.get("k") == "new"


def test_what_somebody_changed_since_stays_changed() -> None:
    state = StateStore({"k": "before"})
    restoring = Restoring(state, "run")
    restoring.apply("a", known("a", k="old", other="old"))
    state.set("k", "newest", actor="somebody")
    restoring.apply("b", known("b", 1, 2, k="newer", other="newer"))
    assert state.snapshot() == {"k": "newest", "other": "newer"}


def test_a_deletion_is_a_change() -> None:
    state = StateStore({"k": 1, "gone": 1})
    state.delete("gone", actor="somebody")
    restoring = Restoring(state, "run")
    gone = [Change(key=key, deleted=True, version=1) for key in ("k", "never was")]
    restoring.apply("a", Recalled(key="a", changes=gone, origin="o"))
    restoring.apply("b", known("b", gone=2))
    assert state.snapshot() == {"gone": 2}


def test_what_was_made_here_or_put_back_here_before_is_not_made_again() -> None:
    state = StateStore()
    Restoring(state, "run").apply("a", known("a", k=1))
    state.set("k", 2, actor="somebody")
    for restoring in (Restoring(state, "run"), Restoring(state, "run")):
        restoring.apply("a", known("a", k=1))
        restoring.apply("b", known("b", origin=state.id, k=0))
    assert state.get("k") == 2
    assert state.transition_count == 2


def test_the_same_key_in_another_run_is_another_call() -> None:
    state = StateStore()
    Restoring(state, "one").apply("a", known("a", k=1))
    Restoring(state, "other").apply("a", known("a", origin="a third store", k=2))
    assert state.get("k") == 2


def test_what_an_overlay_has_merged_counts_as_put_back_in_its_order() -> None:
    state = StateStore()
    restoring = Restoring(state, "run")
    isolated, later, earlier = known("a", 2, 1, k="a"), known("b", 3, 1, k="b"), known("c", 1, 1, k="c")
    overlay = OverlayState(state, "a")
    for change in restoring.lacking(isolated):
        change.make(overlay, "a")
    restoring.merged(isolated, overlay.merge())
    restoring.apply("c", earlier)
    assert state.get("k") == "a"
    restoring.apply("b", later)
    assert state.get("k") == "b"
    assert restoring.lacking(isolated) == ()
