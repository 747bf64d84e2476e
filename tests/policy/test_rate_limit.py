"""The sliding window: a model of it, its edges, and threads."""

from collections import deque
from threading import Barrier, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.actions import Action
from carpool.policy import PolicyEngine, deny_keyword, rate_limit_tool
from carpool.state import StateStore

from ..budget.fake_clock import FakeClock

SEND = Action(tool="send")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def limited(max_calls: int, interval_s: float, clock: FakeClock) -> PolicyEngine:
    engine = PolicyEngine()
    engine.register("limit", rate_limit_tool("send", max_calls, interval_s, clock=clock))
    return engine


def passes(engine: PolicyEngine, action: Action = SEND) -> bool:
    return not engine.check(action, StateStore())


def test_as_many_calls_pass_as_may_and_then_none(clock: FakeClock) -> None:
    engine = limited(3, 60, clock)

    assert [passes(engine) for _ in range(5)] == [True, True, True, False, False]


def test_a_call_makes_room_when_it_is_as_old_as_the_window_and_not_before(clock: FakeClock) -> None:
    engine = limited(1, 60, clock)
    assert passes(engine)

    clock.advance(59.999)
    assert not passes(engine)
    clock.advance(0.001)
    assert passes(engine)


def test_the_window_slides_and_does_not_begin_anew(clock: FakeClock) -> None:
    engine = limited(2, 10, clock)
    assert passes(engine)
    clock.advance(9)
    assert passes(engine)
    clock.advance(1)

    assert [passes(engine), passes(engine)] == [True, False], "one of the two has aged, not both"


def test_a_refused_call_does_not_count(clock: FakeClock) -> None:
    engine = limited(1, 10, clock)
    assert passes(engine)
    for _ in range(9):
        clock.advance(1)
        assert not passes(engine)
    clock.advance(1)

    assert passes(engine)


def test_a_call_that_another_policy_refuses_counts_as_an_attempt(clock: FakeClock) -> None:
    engine = limited(1, 10, clock)
    engine.register("words", deny_keyword("bad"))

    assert not passes(engine, Action(tool="send", parameters={"text": "bad"}))
    assert not passes(engine)


def test_other_tools_are_neither_counted_nor_refused(clock: FakeClock) -> None:
    engine = limited(1, 10, clock)

    assert all(passes(engine, Action(tool="other")) for _ in range(5))
    assert passes(engine)


def test_a_preview_says_the_same_and_counts_nothing(clock: FakeClock) -> None:
    engine = limited(1, 10, clock)

    assert [engine.preview(SEND, StateStore()) for _ in range(5)] == [[]] * 5
    assert passes(engine)
    assert engine.preview(SEND, StateStore()) == engine.check(SEND, StateStore()) != []


def test_none_means_none(clock: FakeClock) -> None:
    engine = limited(0, 1, clock)
    assert not passes(engine)
    clock.advance(1e9)
    assert not passes(engine)


def test_the_text_says_how_long_to_wait(clock: FakeClock) -> None:
    engine = limited(1, 60, clock)
    passes(engine)
    clock.advance(17.5)

    (found,) = engine.check(SEND, StateStore())

    assert found.reason == "tool 'send' may be called 1 times in 60 s; wait 43 s for the next call"


def test_each_engine_has_a_window_of_its_own(clock: FakeClock) -> None:
    one, other = limited(1, 60, clock), limited(1, 60, clock)

    assert [passes(one), passes(other), passes(one), passes(other)] == [True, True, False, False]


@given(
    max_calls=st.integers(0, 4),
    interval_s=st.integers(1, 8),
    pauses=st.lists(st.integers(0, 5), max_size=60),
)
def test_no_window_of_its_length_ever_has_more_calls(max_calls: int, interval_s: int, pauses: list[int]) -> None:
    clock = FakeClock()
    engine = limited(max_calls, interval_s, clock)
    passed: deque[float] = deque()
    for pause in pauses:
        clock.advance(pause)
        recent = [when for when in passed if when > clock.monotonic() - interval_s]
        assert passes(engine) == (len(recent) < max_calls)
        if len(recent) < max_calls:
            passed.append(clock.monotonic())


def test_under_a_free_for_all_exactly_the_limit_passes(clock: FakeClock) -> None:
    engine = limited(50, 60, clock)
    start, passed = Barrier(8), []

    def hammer() -> None:
        start.wait()
        passed.extend(passes(engine) for _ in range(100))

    threads = [Thread(target=hammer) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert passed.count(True) == 50


@pytest.mark.parametrize(
    ("max_calls", "interval_s", "names"),
    [
        (-1, 1, "max_calls"),
        (1.0, 1, "max_calls"),
        (True, 1, "max_calls"),
        ("1", 1, "max_calls"),
        (None, 1, "max_calls"),
        (1, 0, "interval_s"),
        (1, -1, "interval_s"),
        (1, float("nan"), "interval_s"),
        (1, float("inf"), "interval_s"),
        (1, True, "interval_s"),
        (1, "60", "interval_s"),
    ],
)
def test_a_limit_that_is_none_is_refused(max_calls, interval_s, names: str) -> None:
    with pytest.raises(ValueError, match=f"^{names} must"):
        rate_limit_tool("send", max_calls, interval_s)
