"""The waiting line: who waits, who is let in, who is refused, and that nobody ever waits in vain."""

from __future__ import annotations

import gc
import queue
import random
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule

from carpool.budget import CoordinationBudget, Lease, Waiter
from carpool.errors import AgentLimitReached, BudgetError, BudgetExhausted
from carpool.types import BudgetLimits, TokenAccounting

from .fake_clock import FakeClock
from .real_threads import together
from .waiting_teams import Agent, WaitingTeams

CALM = settings(deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))


def tokens(count: int) -> TokenAccounting:
    return TokenAccounting(input_tokens=count)


def asleep() -> None:
    raise AssertionError("nobody was to be woken")


class Bell:
    """A wake that counts."""

    def __init__(self) -> None:
        self.rung = 0

    def __call__(self) -> None:
        self.rung += 1


class Order:
    """Who was woken, by the place in which they joined."""

    def __init__(self) -> None:
        self.waiters: list[Waiter] = []
        self.let_in: list[int] = []

    def join(self, budget: CoordinationBudget, size: TokenAccounting, depth: int = 1) -> Waiter:
        place = len(self.waiters)
        waiter = made_to_wait(budget.begin_or_wait(size, depth, (), lambda: self.let_in.append(place)))
        self.waiters.append(waiter)
        return waiter


def let_in(answer: Lease | Waiter) -> Lease:
    assert isinstance(answer, Lease)
    return answer


def made_to_wait(answer: Lease | Waiter) -> Waiter:
    assert isinstance(answer, Waiter)
    return answer


@pytest.fixture
def hundred() -> CoordinationBudget:
    return CoordinationBudget(BudgetLimits(max_input_tokens=100), clock=FakeClock())


# Waiting


def test_a_start_that_fits_does_not_wait(hundred: CoordinationBudget) -> None:
    lease = let_in(hundred.begin_or_wait(tokens(100), 1, (), asleep))

    assert lease.hold == hundred.snapshot().held == tokens(100)


def test_a_start_that_only_holds_keep_out_waits_and_changes_nothing(hundred: CoordinationBudget) -> None:
    with let_in(hundred.begin_or_wait(tokens(60), 1, (), asleep)):
        before = hundred.snapshot()

        waiter = made_to_wait(hundred.begin_or_wait(tokens(50), 1, (), asleep))

        assert hundred.snapshot() == before
        assert waiter.lease is None
        assert waiter.denial is None
        waiter.leave()


def test_a_waiter_is_let_in_when_a_lease_settles_below_its_hold(hundred: CoordinationBudget) -> None:
    lease, bell = let_in(hundred.begin_or_wait(tokens(60), 1, (), asleep)), Bell()
    waiter = made_to_wait(hundred.begin_or_wait(tokens(50), 1, (), bell))

    lease.settle(tokens(50))

    assert bell.rung == 1
    assert waiter.lease is not None
    assert hundred.snapshot().held == tokens(50)
    assert hundred.snapshot().agents_started == 2


def test_a_waiter_is_refused_when_what_kept_it_out_has_become_real_spend(hundred: CoordinationBudget) -> None:
    lease, bell = let_in(hundred.begin_or_wait(tokens(60), 1, (), asleep)), Bell()
    waiter = made_to_wait(hundred.begin_or_wait(tokens(50), 1, (), bell))

    lease.settle(tokens(60))

    assert bell.rung == 1
    assert waiter.lease is None
    assert isinstance(waiter.denial, BudgetExhausted)
    assert not waiter.denial.held_back
    assert waiter.denial.dimension == "input_tokens"


def test_a_start_that_real_spend_keeps_out_is_refused_at_once(hundred: CoordinationBudget) -> None:
    lease = let_in(hundred.begin_or_wait(tokens(10), 1, (), asleep))
    hundred.record(tokens(60))

    with pytest.raises(BudgetExhausted) as denial:
        hundred.begin_or_wait(tokens(50), 1, (), asleep)

    assert lease.state == "held"
    assert not denial.value.held_back


def test_nobody_waits_for_a_slot(hundred: CoordinationBudget) -> None:
    hundred.raise_limits(BudgetLimits(max_agents=1))
    lease = let_in(hundred.begin_or_wait(tokens(60), 1, (), asleep))

    with pytest.raises(AgentLimitReached):
        hundred.begin_or_wait(tokens(5), 1, (), asleep)
    with pytest.raises(BudgetExhausted) as denial:  # spend is asked before the cap; the cap is why it can't wait
        hundred.begin_or_wait(tokens(50), 1, (), asleep)

    assert lease.state == "held"
    assert not denial.value.held_back


def test_nobody_waits_for_what_is_kept_back_for_the_finalizer(hundred: CoordinationBudget) -> None:
    workers = hundred.keeping_back(tokens(40))
    worker = let_in(workers.begin_or_wait(tokens(20), 1, (), asleep))

    with pytest.raises(BudgetExhausted) as denial:
        workers.begin_or_wait(tokens(61), 1, (), asleep)
    assert not denial.value.held_back
    waiter = made_to_wait(workers.begin_or_wait(tokens(60), 1, (), Bell()))
    finalizer = let_in(hundred.begin_or_wait(tokens(40), 1, (), asleep))

    assert (worker.state, waiter.lease, finalizer.state) == ("held", None, "held")


def test_time_that_runs_out_refuses_a_waiter_when_it_is_asked_again() -> None:
    clock = FakeClock()
    budget = CoordinationBudget(BudgetLimits(max_input_tokens=100, max_seconds=5), clock=clock)
    lease = let_in(budget.begin_or_wait(tokens(60), 1, (), asleep))
    waiter = made_to_wait(budget.begin_or_wait(tokens(50), 1, (), Bell()))

    clock.advance(5)
    lease.settle(tokens(1))

    assert isinstance(waiter.denial, BudgetExhausted)
    assert waiter.denial.dimension == "seconds"


def test_a_slot_that_is_gone_refuses_a_waiter_when_it_is_asked_again(hundred: CoordinationBudget) -> None:
    hundred.raise_limits(BudgetLimits(max_agents=2))
    lease = let_in(hundred.begin_or_wait(tokens(60), 1, (), asleep))
    waiter = made_to_wait(hundred.begin_or_wait(tokens(50), 1, (), Bell()))
    last = let_in(hundred.begin_or_wait(tokens(1), 1, (), asleep))

    lease.settle(tokens(1))

    assert last.state == "held"
    assert isinstance(waiter.denial, AgentLimitReached)


# Room


@pytest.mark.parametrize("how", ["settle", "release", "leave the block", "drop", "raise_limits"])
def test_whatever_makes_room_asks_the_line(how: str, hundred: CoordinationBudget) -> None:
    lease, bell = let_in(hundred.begin_or_wait(tokens(60), 1, (), asleep)), Bell()
    other = let_in(hundred.begin_or_wait(tokens(10), 1, (), asleep))
    waiter = made_to_wait(hundred.begin_or_wait(tokens(50), 1, (), bell))

    if how == "settle":
        lease.settle(tokens(1))
    elif how == "release":
        lease.release()
    elif how == "leave the block":
        lease.charge(tokens(1))
        with lease:
            pass
    elif how == "drop":
        lease.charge(tokens(1))
        del lease
        gc.collect()
    elif how == "raise_limits":
        hundred.raise_limits(BudgetLimits(max_input_tokens=120))

    assert bell.rung == 1
    assert waiter.lease is not None
    other.release()


def test_a_reservation_that_ends_lets_a_waiter_in(hundred: CoordinationBudget) -> None:
    lease, bell = let_in(hundred.begin_or_wait(None, 1, (), asleep)), Bell()
    lease.reserve(tokens(80))
    waiter = made_to_wait(hundred.begin_or_wait(tokens(50), 1, (), bell))

    lease.charge(tokens(10))

    assert bell.rung == 1
    assert waiter.lease is not None


def test_a_smaller_reservation_lets_a_waiter_in(hundred: CoordinationBudget) -> None:
    lease, bell = let_in(hundred.begin_or_wait(None, 1, (), asleep)), Bell()
    lease.reserve(tokens(80))
    waiter = made_to_wait(hundred.begin_or_wait(tokens(50), 1, (), bell))

    lease.reserve(tokens(50))

    assert bell.rung == 1
    assert waiter.lease is not None


def test_limits_that_are_lowered_refuse_those_who_can_never_be_let_in(hundred: CoordinationBudget) -> None:
    lease, bell = let_in(hundred.begin_or_wait(tokens(60), 1, (), asleep)), Bell()
    waiter = made_to_wait(hundred.begin_or_wait(tokens(50), 1, (), bell))

    hundred.raise_limits(BudgetLimits(max_input_tokens=49))

    assert lease.state == "held"
    assert bell.rung == 1
    assert waiter.denial is not None
    assert not waiter.denial.held_back


def test_room_that_a_child_purse_gives_back_is_everybodys(hundred: CoordinationBudget) -> None:
    inner = hundred.child(BudgetLimits(max_input_tokens=80)).child(BudgetLimits())
    lease, bell = let_in(inner.begin_or_wait(tokens(80), 1, (), asleep)), Bell()
    waiter = made_to_wait(hundred.begin_or_wait(tokens(50), 1, (), bell))

    lease.settle(tokens(5))

    assert bell.rung == 1
    assert waiter.lease is not None


STEPS: dict[str, Callable[[CoordinationBudget, list[Lease]], object]] = {
    "a snapshot": lambda budget, _: budget.snapshot(),
    "what remains": lambda budget, _: budget.remaining(),
    "a start": lambda budget, others: others.append(budget.try_begin_agent(tokens(1))),
    "a denied start": lambda budget, _: denied(lambda: budget.try_begin_agent(tokens(101))),
    "a start through the line": lambda budget, others: others.append(
        let_in(budget.begin_or_wait(tokens(1), 1, (), asleep))
    ),
    "a denied start through the line": lambda budget, _: denied(
        lambda: budget.begin_or_wait(tokens(101), 1, (), asleep)
    ),
    "a reservation": lambda _, others: others[0].reserve(tokens(1)),
    "a charge": lambda _, others: others[0].charge(tokens(1)),
    "a settlement": lambda _, others: others[0].settle(tokens(1)),
    "a release": lambda _, others: others[0].release(),
    "new limits": lambda budget, _: budget.raise_limits(BudgetLimits(max_agents=50)),
    "another lease collected": lambda _, others: others.pop(),
}


def denied(start: Callable[[], object]) -> None:
    with pytest.raises(BudgetExhausted):
        start()


@pytest.mark.parametrize("step", list(STEPS))
def test_a_lease_collected_inside_a_step_lets_a_waiter_in_when_the_step_ends(step: str) -> None:
    """The collector runs anywhere, also in the middle of a step: who waits must not wait for a next one."""
    clock = CollectingClock()
    budget = CoordinationBudget(BudgetLimits(max_input_tokens=100), clock=clock)
    others = [let_in(budget.begin_or_wait(tokens(1), 1, (), asleep)) for _ in range(2)]
    clock.lost = [let_in(budget.begin_or_wait(tokens(60), 1, (), asleep))]
    bell = Bell()
    waiter = made_to_wait(budget.begin_or_wait(tokens(60), 1, (), bell))
    clock.lost[0].charge(tokens(1))

    clock.armed = True
    STEPS[step](budget, others)

    assert clock.lost == []
    assert bell.rung == 1
    assert waiter.lease is not None


def test_a_lease_collected_inside_a_step_gives_its_room_to_who_waits_before_a_newcomer() -> None:
    clock = CollectingClock()
    budget = CoordinationBudget(BudgetLimits(max_input_tokens=100), clock=clock)
    other = let_in(budget.begin_or_wait(tokens(10), 1, (), asleep))
    clock.lost = [let_in(budget.begin_or_wait(tokens(60), 1, (), asleep))]
    clock.lost[0].charge(tokens(0))
    first = made_to_wait(budget.begin_or_wait(tokens(50), 1, (), Bell()))

    clock.armed = True
    budget.snapshot()
    second = made_to_wait(budget.begin_or_wait(tokens(50), 1, (), Bell()))

    assert first.lease is not None
    assert second.lease is None
    other.release()


class CollectingClock(FakeClock):
    """Loses the last reference to what it holds in the middle of a step: where the budget asks the time."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[Lease] = []
        self.armed = False

    def monotonic(self) -> float:
        if self.armed:
            self.lost.clear()
        return super().monotonic()


# Order


def test_first_come_is_first_served(hundred: CoordinationBudget) -> None:
    lease, line = let_in(hundred.begin_or_wait(tokens(100), 1, (), asleep)), Order()
    for _ in range(5):
        line.join(hundred, tokens(20))

    lease.settle(tokens(40))

    assert line.let_in == [0, 1, 2]


def test_first_come_is_first_served_whatever_their_depth(hundred: CoordinationBudget) -> None:
    lease, line = let_in(hundred.begin_or_wait(tokens(100), 1, (), asleep)), Order()
    for depth in (1, 2, 2, 1):
        line.join(hundred, tokens(30), depth)

    lease.settle(tokens(40))

    assert line.let_in == [0, 1]


def test_first_come_is_first_served_across_purses(hundred: CoordinationBudget) -> None:
    lease, line = let_in(hundred.begin_or_wait(tokens(100), 1, (), asleep)), Order()
    for purse in (hundred, hundred.child(BudgetLimits()), hundred.child(BudgetLimits()), hundred):
        line.join(purse, tokens(30))

    lease.settle(tokens(10))

    assert line.let_in == [0, 1, 2]


def test_first_come_is_first_served_whatever_they_ask_for(hundred: CoordinationBudget) -> None:
    lease, line = let_in(hundred.begin_or_wait(tokens(100), 1, (), asleep)), Order()
    for size in (30, 31, 29, 30):
        line.join(hundred, tokens(size))

    lease.settle(tokens(10))

    assert line.let_in == [0, 1, 2]


def test_one_that_does_not_fit_keeps_out_nobody_behind_it(hundred: CoordinationBudget) -> None:
    lease, line = let_in(hundred.begin_or_wait(tokens(50), 1, (), asleep)), Order()
    rest = let_in(hundred.begin_or_wait(tokens(50), 1, (), asleep))
    large, small = line.join(hundred, tokens(80)), line.join(hundred, tokens(20))

    lease.settle(tokens(10))
    assert line.let_in == [1]

    rest.settle(tokens(0))
    assert large.lease is None

    assert small.lease is not None
    small.lease.settle(tokens(10))
    assert line.let_in == [1, 0]


def test_one_who_left_the_line_gives_its_turn_to_the_next(hundred: CoordinationBudget) -> None:
    lease, bell = let_in(hundred.begin_or_wait(tokens(100), 1, (), asleep)), Bell()
    leaver = made_to_wait(hundred.begin_or_wait(tokens(60), 1, (), asleep))
    stayer = made_to_wait(hundred.begin_or_wait(tokens(60), 1, (), bell))

    leaver.leave()
    lease.settle(tokens(0))

    assert (leaver.lease, leaver.denial) == (None, None)
    assert stayer.lease is not None
    assert bell.rung == 1


# Leaving


def test_leaving_after_the_grant_gives_the_lease_back(hundred: CoordinationBudget) -> None:
    lease = let_in(hundred.begin_or_wait(tokens(100), 1, (), asleep))
    first = made_to_wait(hundred.begin_or_wait(tokens(60), 1, (), Bell()))
    second = made_to_wait(hundred.begin_or_wait(tokens(60), 1, (), Bell()))
    lease.settle(tokens(0))
    assert first.lease is not None

    first.leave()

    assert second.lease is not None
    assert hundred.snapshot().held == tokens(60)
    assert hundred.snapshot().agents_started == 2


def test_leaving_twice_or_after_a_denial_changes_nothing(hundred: CoordinationBudget) -> None:
    lease = let_in(hundred.begin_or_wait(tokens(100), 1, (), asleep))
    leaver = made_to_wait(hundred.begin_or_wait(tokens(60), 1, (), asleep))
    denied = made_to_wait(hundred.begin_or_wait(tokens(60), 1, (), Bell()))
    leaver.leave()
    lease.settle(tokens(100))
    before = hundred.snapshot()

    leaver.leave()
    denied.leave()

    assert denied.denial is not None
    assert hundred.snapshot() == before


# Who may wait inside whom


def test_a_child_that_only_its_own_parent_keeps_out_is_refused_at_once(hundred: CoordinationBudget) -> None:
    parent = let_in(hundred.begin_or_wait(tokens(60), 1, (), asleep))

    with pytest.raises(BudgetExhausted) as denial:
        hundred.begin_or_wait(tokens(50), 2, (parent.number,), asleep)

    assert denial.value.held_back
    child = let_in(hundred.begin_or_wait(tokens(40), 2, (parent.number,), asleep))
    assert child.hold == tokens(40)


def test_a_grandchild_that_only_its_ancestors_keep_out_is_refused_at_once(hundred: CoordinationBudget) -> None:
    parent = let_in(hundred.begin_or_wait(tokens(60), 1, (), asleep))
    child = let_in(hundred.begin_or_wait(tokens(30), 2, (parent.number,), asleep))

    with pytest.raises(BudgetExhausted):
        hundred.begin_or_wait(tokens(20), 3, (parent.number, child.number), asleep)


def test_a_child_waits_for_a_stranger_that_can_settle(hundred: CoordinationBudget) -> None:
    parent = let_in(hundred.begin_or_wait(tokens(40), 1, (), asleep))
    stranger, bell = let_in(hundred.begin_or_wait(tokens(40), 1, (), asleep)), Bell()
    waiter = made_to_wait(hundred.begin_or_wait(tokens(30), 2, (parent.number,), bell))

    stranger.settle(tokens(0))

    assert bell.rung == 1
    assert waiter.lease is not None


def test_a_child_waits_for_its_sibling(hundred: CoordinationBudget) -> None:
    parent = let_in(hundred.begin_or_wait(tokens(40), 1, (), asleep))
    sibling = let_in(hundred.begin_or_wait(tokens(40), 2, (parent.number,), asleep))
    waiter = made_to_wait(hundred.begin_or_wait(tokens(30), 2, (parent.number,), Bell()))

    sibling.settle(tokens(10))

    assert waiter.lease is not None


def test_two_teams_whose_members_wait_for_each_others_holds_do_not_deadlock(hundred: CoordinationBudget) -> None:
    one = let_in(hundred.begin_or_wait(tokens(50), 1, (), asleep))
    two, bell = let_in(hundred.begin_or_wait(tokens(50), 1, (), asleep)), Bell()
    waiter = made_to_wait(hundred.begin_or_wait(tokens(10), 2, (one.number,), bell))

    with pytest.raises(BudgetExhausted) as denial:
        hundred.begin_or_wait(tokens(10), 2, (two.number,), asleep)
    assert denial.value.held_back

    two.settle(tokens(20))
    assert bell.rung == 1
    assert waiter.lease is not None


def test_a_waiter_is_refused_when_the_last_that_could_settle_left_no_room(hundred: CoordinationBudget) -> None:
    one = let_in(hundred.begin_or_wait(tokens(40), 1, (), asleep))
    two = let_in(hundred.begin_or_wait(tokens(40), 1, (), asleep))
    stranger, first, second = let_in(hundred.begin_or_wait(tokens(20), 1, (), asleep)), Bell(), Bell()
    earlier = made_to_wait(hundred.begin_or_wait(tokens(10), 2, (one.number,), first))
    later = made_to_wait(hundred.begin_or_wait(tokens(10), 2, (two.number,), second))

    stranger.settle(tokens(20))

    assert first.rung + second.rung == 1  # the other one now waits for the team that was refused
    refused, waiting = (earlier, later) if first.rung else (later, earlier)
    assert isinstance(refused.denial, BudgetExhausted)
    assert refused.denial.held_back
    (one if refused is earlier else two).settle(tokens(0))
    assert waiting.lease is not None


def test_who_waits_inside_nobody_waits_for_a_team_that_waits_for_itself(hundred: CoordinationBudget) -> None:
    """The team's member is refused, because then its parent can settle; the outsider stays."""
    parent = let_in(hundred.begin_or_wait(tokens(60), 1, (), asleep))
    outsider = made_to_wait(hundred.begin_or_wait(tokens(70), 1, (), Bell()))

    with pytest.raises(BudgetExhausted):
        hundred.begin_or_wait(tokens(50), 2, (parent.number,), asleep)
    assert outsider.denial is None

    parent.settle(tokens(10))
    assert outsider.lease is not None


def test_a_parent_that_settles_while_its_child_waits_no_longer_counts_as_its_ancestor(
    hundred: CoordinationBudget,
) -> None:
    parent = let_in(hundred.begin_or_wait(tokens(40), 1, (), asleep))
    stranger = let_in(hundred.begin_or_wait(tokens(60), 1, (), asleep))
    waiter = made_to_wait(hundred.begin_or_wait(tokens(50), 2, (parent.number,), Bell()))

    parent.settle(tokens(40))
    assert (waiter.lease, waiter.denial) == (None, None)

    stranger.settle(tokens(10))
    assert waiter.lease is not None


# Waking


def within_ten_seconds(function: Callable[[], object]) -> None:
    together([function], within_s=10)


def test_a_wake_may_call_the_budget(hundred: CoordinationBudget) -> None:
    lease, seen = let_in(hundred.begin_or_wait(tokens(100), 1, (), asleep)), []
    waiters: list[Waiter] = []

    def wake() -> None:
        granted = waiters[0].lease
        assert granted is not None
        granted.charge(tokens(5))
        granted.settle()
        hundred.record(tokens(1))
        seen.append(hundred.snapshot().input_tokens)
        assert hundred.remaining() == BudgetLimits(max_input_tokens=100 - 7)

    waiters.append(made_to_wait(hundred.begin_or_wait(tokens(60), 1, (), wake)))

    within_ten_seconds(lambda: lease.settle(tokens(1)))

    assert seen == [7]


def test_a_wake_may_call_the_budget_also_when_a_lease_was_dropped(hundred: CoordinationBudget) -> None:
    held, seen = [let_in(hundred.begin_or_wait(tokens(100), 1, (), asleep))], []
    held[0].charge(tokens(1))
    waiter = made_to_wait(hundred.begin_or_wait(tokens(60), 1, (), lambda: seen.append(hundred.snapshot().held)))

    within_ten_seconds(held.clear)

    assert waiter.lease is not None
    assert seen == [tokens(60)]


def test_a_wake_may_take_somebody_out_of_the_line_and_ask_for_a_start(hundred: CoordinationBudget) -> None:
    lease, more = let_in(hundred.begin_or_wait(tokens(100), 1, (), asleep)), []

    def wake() -> None:
        second.leave()
        more.append(hundred.begin_or_wait(tokens(30), 1, (), asleep))

    first = made_to_wait(hundred.begin_or_wait(tokens(60), 1, (), wake))
    second = made_to_wait(hundred.begin_or_wait(tokens(50), 1, (), asleep))

    within_ten_seconds(lambda: lease.settle(tokens(0)))

    assert first.lease is not None
    assert let_in(more[0]).state == "held"
    assert hundred.snapshot().held == tokens(90)


def test_everyone_who_gets_an_answer_is_woken_once_and_has_one_answer(hundred: CoordinationBudget) -> None:
    lease = let_in(hundred.begin_or_wait(tokens(100), 1, (), asleep))
    bells = [Bell() for _ in range(20)]
    waiters = [made_to_wait(hundred.begin_or_wait(tokens(10), 1, (), bell)) for bell in bells]

    lease.settle(tokens(50))
    while any(not bell.rung for bell in bells):
        running = [each.lease for each in waiters if each.lease is not None and each.lease.state == "held"]
        running[0].settle()

    assert [bell.rung for bell in bells] == [1] * 20
    assert all((each.lease is None) != (each.denial is None) for each in waiters)
    assert hundred.snapshot().input_tokens == 100


def test_a_wake_that_raises_keeps_nobody_else_asleep(hundred: CoordinationBudget) -> None:
    lease, bell = let_in(hundred.begin_or_wait(tokens(100), 1, (), asleep)), Bell()

    def broken() -> None:
        raise RuntimeError("the loop of this waiter is closed")

    waiters = [made_to_wait(hundred.begin_or_wait(tokens(20), 1, (), wake)) for wake in (broken, bell)]

    with suppress(RuntimeError):  # whether it comes out here is left open
        lease.settle(tokens(10))

    assert bell.rung == 1
    assert all(waiter.lease is not None for waiter in waiters)


def test_the_line_keeps_nobody_alive_who_has_left_it(hundred: CoordinationBudget) -> None:
    lease, bell = let_in(hundred.begin_or_wait(tokens(100), 1, (), asleep)), Bell()
    waiter = made_to_wait(hundred.begin_or_wait(tokens(20), 1, (), bell))
    gone = weakref.ref(bell)

    waiter.leave()
    del waiter, bell
    gc.collect()

    assert lease.state == "held"
    assert gone() is None


# Random teams

SIZES = [None, *(tokens(count) for count in (0, 5, 10, 10, 20, 25, 50)), TokenAccounting(cost_usd=0.25)]
SIZE = st.sampled_from(SIZES)
SPEND = st.sampled_from([*(tokens(count) for count in (0, 1, 5, 10, 20, 60)), TokenAccounting(cost_usd=0.25)])
ROOMS = st.sampled_from(
    [
        BudgetLimits(max_input_tokens=50),
        BudgetLimits(max_input_tokens=100),
        BudgetLimits(max_total_tokens=100, max_cost_usd=1.0),
        BudgetLimits(max_input_tokens=100, max_agents=12),
        BudgetLimits(max_input_tokens=200, max_depth=3),
    ]
)
SMALLER_ROOMS = st.sampled_from(
    [BudgetLimits(), BudgetLimits(max_input_tokens=50), BudgetLimits(max_cost_usd=0.5), BudgetLimits(max_agents=4)]
)


class TeamsMachine(RuleBasedStateMachine):
    agents = Bundle("agents")

    @initialize(root=ROOMS, child=SMALLER_ROOMS, inner=SMALLER_ROOMS, kept=st.sampled_from([None, tokens(10)]))
    def open_the_purses(
        self, root: BudgetLimits, child: BudgetLimits, inner: BudgetLimits, kept: TokenAccounting | None
    ) -> None:
        self.teams = WaitingTeams([root, child, inner], kept)

    @rule(target=agents, purse=st.integers(0, 3), size=SIZE)
    def start_a_team(self, purse: int, size: TokenAccounting | None) -> Any:
        return self.teams.start(purse, size)

    @rule(target=agents, parent=agents, purse=st.integers(0, 3), size=SIZE)
    def ask_for_a_member(self, parent: Agent, purse: int, size: TokenAccounting | None) -> Any:
        return self.teams.start(purse, size, parent) if parent.status == "running" else multiple()

    @rule(agent=agents, report=st.none() | SPEND)
    def settle(self, agent: Agent, report: TokenAccounting | None) -> None:
        if agent.status == "running":
            self.teams.settle(agent, report)

    @rule(agent=agents, how=st.sampled_from(["release", "drop", "leave"]))
    def end_otherwise(self, agent: Agent, how: str) -> None:
        if how == "leave" and agent.waiter is not None and agent.status in ("waiting", "running"):
            self.teams.leave(agent)
        elif how == "release" and agent.status == "running":
            self.teams.release(agent)
        elif how == "drop" and agent.status == "running" and not agent.children:
            self.teams.drop(agent)

    @rule(agent=agents, spend=SPEND)
    def charge(self, agent: Agent, spend: TokenAccounting) -> None:
        if agent.status == "running":
            self.teams.charge(agent, spend)

    @rule(agent=agents, wish=SIZE)
    def reserve(self, agent: Agent, wish: TokenAccounting | None) -> None:
        if agent.status == "running":
            self.teams.reserve(agent, wish)

    @rule(purse=st.integers(0, 3), spend=SPEND)
    def record(self, purse: int, spend: TokenAccounting) -> None:
        self.teams.record(purse, spend)

    @rule(purse=st.integers(0, 3), room=ROOMS | SMALLER_ROOMS)
    def replace_limits(self, purse: int, room: BudgetLimits) -> None:
        self.teams.raise_limits(purse, room)

    @rule(seconds=st.sampled_from([1.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.teams.clock.advance(seconds)

    def teardown(self) -> None:
        if hasattr(self, "teams"):
            self.teams.finish_all(lambda free: free[-1])


TestNobodyWaitsInVain = TeamsMachine.TestCase
TestNobodyWaitsInVain.settings = settings(CALM, max_examples=120, stateful_step_count=40)


@settings(CALM, max_examples=25)
@given(seed=st.integers(0, 2**32), room=ROOMS, kept=st.sampled_from([None, tokens(10)]))
def test_random_nested_teams_always_finish(seed: int, room: BudgetLimits, kept: TokenAccounting | None) -> None:
    """A hundred agents, each of which asks for up to three others and settles once they have."""
    chance = random.Random(seed)
    teams = WaitingTeams([room, BudgetLimits(), BudgetLimits(max_input_tokens=80)], kept)
    for _ in range(100):
        free = [agent for agent in teams.running() if not agent.is_blocked]
        if free and chance.random() < 0.4:
            teams.settle(chance.choice(free), chance.choice([None, tokens(0), tokens(3), tokens(30)]))
            continue
        parents = [agent for agent in teams.running() if agent.depth < 4]
        parent = chance.choice([None, *parents])
        for _ in range(chance.randint(1, 3)):
            teams.start(chance.randrange(4), chance.choice(SIZES), parent)

    teams.finish_all(chance.choice)


# The same from several threads


@dataclass(eq=False)
class Member:
    parent: Member | None
    lease: Lease | None = None
    open_children: int = 0

    @property
    def inside(self) -> tuple[int, ...]:
        above = () if self.parent is None else self.parent.inside
        return above if self.lease is None else (*above, self.lease.number)


class ThreadedTeams:
    """The agents of one thread, a step for each thing that happens: asks for others, settles when they are done."""

    def __init__(self, budget: CoordinationBudget, seed: int) -> None:
        self.chance = random.Random(seed)
        self.budget = budget
        self.steps: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.started = self.spent = 0
        self.waiters: list[tuple[Waiter, Bell]] = []

    def work(self) -> None:
        for _ in range(10):
            everybody = Member(None)
            self._ask_for_some(everybody, depth=1)
            while everybody.open_children:
                self.steps.get(timeout=15)()

    def _ask_for_some(self, parent: Member, depth: int) -> None:
        for _ in range(self.chance.randint(1, 3)):
            self._ask(Member(parent), depth)

    def _ask(self, member: Member, depth: int) -> None:
        assert member.parent is not None
        member.parent.open_children += 1
        purse = self.chance.choice([self.budget, self.budget.child(BudgetLimits(max_input_tokens=60))])
        bell, place = Bell(), []

        def wake() -> None:
            bell()
            self.steps.put(lambda: self._goes_on(member, place[0].lease, depth))

        try:
            answer = purse.begin_or_wait(tokens(self.chance.choice([5, 10, 20, 50])), depth, member.parent.inside, wake)
        except BudgetError:
            answer = None
        if isinstance(answer, Waiter):
            place.append(answer)
            self.waiters.append((answer, bell))
        else:
            self.steps.put(lambda: self._goes_on(member, answer, depth))

    def _goes_on(self, member: Member, lease: Lease | None, depth: int) -> None:
        member.lease = lease
        if lease is not None:
            self.started += 1
            if depth < 3 and self.chance.random() < 0.5:
                self._ask_for_some(member, depth + 1)
                return
        self._ends(member)

    def _ends(self, member: Member) -> None:
        if member.lease is not None:
            spend = self.chance.randint(0, 1)
            self.spent += spend
            member.lease.settle(tokens(spend))
        parent = member.parent
        assert parent is not None
        parent.open_children -= 1
        if not parent.open_children and parent.parent is not None:
            self._ends(parent)


@settings(CALM, max_examples=12, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 2**32))
def test_teams_in_eight_threads_all_finish_and_each_waiter_is_woken_once(seed: int) -> None:
    budget = CoordinationBudget(BudgetLimits(max_input_tokens=2_000))
    budget.record(tokens(1_900))
    teams = [ThreadedTeams(budget, seed + number) for number in range(8)]

    together([team.work for team in teams], within_s=30)

    now = budget.snapshot()
    assert now.held == TokenAccounting()
    assert now.input_tokens == 1_900 + sum(team.spent for team in teams)
    assert now.agents_started == sum(team.started for team in teams)
    for team in teams:
        for waiter, bell in team.waiters:
            assert bell.rung == 1
            assert (waiter.lease is None) != (waiter.denial is None)


def test_a_waiter_that_leaves_while_it_is_let_in_never_keeps_the_lease() -> None:
    for _ in range(60):
        budget = CoordinationBudget(BudgetLimits(max_input_tokens=100))
        lease = budget.try_begin_agent(tokens(100))
        waiter = made_to_wait(budget.begin_or_wait(tokens(50), 1, (), Bell()))

        together([lambda lease=lease: lease.settle(tokens(10)), waiter.leave])

        assert budget.snapshot().held == TokenAccounting()
        assert budget.snapshot().agents_started == 1


def test_a_lease_dropped_while_other_threads_are_at_it_lets_the_waiter_in() -> None:
    for _ in range(60):
        budget = CoordinationBudget(BudgetLimits(max_input_tokens=100))
        lost, other = [budget.try_begin_agent(tokens(60))], budget.try_begin_agent(tokens(1))
        lost[0].charge(tokens(1))
        bell = Bell()
        waiter = made_to_wait(budget.begin_or_wait(tokens(60), 1, (), bell))

        def look_on(budget: CoordinationBudget = budget) -> None:
            for _ in range(5):
                budget.snapshot()
                denied(lambda: budget.try_begin_agent(tokens(101)))

        together([lost.clear, look_on, look_on])

        assert bell.rung == 1
        assert waiter.lease is not None
        assert other.state == "held"


def test_a_thread_that_waits_is_woken_by_another() -> None:
    budget = CoordinationBudget(BudgetLimits(max_input_tokens=10))
    turns: list[int] = []

    def take_turns() -> None:
        for _ in range(40):
            awake = threading.Event()
            answer = budget.begin_or_wait(tokens(10), 1, (), awake.set)
            if isinstance(answer, Waiter):
                assert awake.wait(15)
                assert answer.lease is not None
                answer = answer.lease
            turns.append(budget.snapshot().held.input_tokens)
            answer.settle(tokens(0))

    together([take_turns] * 8, within_s=30)

    assert turns == [10] * 320
