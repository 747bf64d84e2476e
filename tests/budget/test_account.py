"""The rule that denies: spent + held >= limit, or with an estimate spent + held + estimate > limit. Nothing else."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.budget import CoordinationBudget, Lease
from carpool.errors import AgentLimitReached, BudgetError, BudgetExhausted
from carpool.types import BudgetLimits, BudgetSnapshot, TokenAccounting

from .fake_clock import FakeClock

MOST = 2**64 - 1

CALM = settings(deadline=None, print_blob=True)

SPEND: dict[str, tuple[str, Any]] = {
    # the limit, and one unit of spend that counts against it
    "input_tokens": ("max_input_tokens", TokenAccounting(input_tokens=1)),
    "output_tokens": ("max_output_tokens", TokenAccounting(output_tokens=1)),
    "total_tokens": ("max_total_tokens", TokenAccounting(output_tokens=1)),
    "cost_usd": ("max_cost_usd", TokenAccounting(cost_usd=1e-9)),
}
DIMENSIONS = pytest.mark.parametrize("dimension", list(SPEND))


def units(dimension: str, count: int) -> TokenAccounting:
    unit = SPEND[dimension][1]
    return TokenAccounting(
        input_tokens=unit.input_tokens * count,
        output_tokens=unit.output_tokens * count,
        cost_usd=count / 10**9 if unit.cost_usd else 0.0,
    )


def limited(dimension: str, count: int) -> BudgetLimits:
    return BudgetLimits(**{SPEND[dimension][0]: count / 10**9 if dimension == "cost_usd" else count})


def opened(limits: BudgetLimits | None = None) -> CoordinationBudget:
    return CoordinationBudget(limits, clock=FakeClock())


def denial(budget: CoordinationBudget, estimate: TokenAccounting | None = None, depth: int = 1) -> BudgetError:
    before = budget.snapshot()
    with pytest.raises(BudgetError) as raised:
        budget.try_begin_agent(estimate, depth=depth)
    assert budget.snapshot() == before
    return raised.value


def exhausted(budget: CoordinationBudget, estimate: TokenAccounting | None = None, depth: int = 1) -> BudgetExhausted:
    error = denial(budget, estimate, depth)
    assert isinstance(error, BudgetExhausted)
    return error


# The boundary


@DIMENSIONS
def test_a_start_is_denied_at_the_limit_and_not_one_below(dimension: str) -> None:
    budget = opened(limited(dimension, 10))

    budget.record(units(dimension, 9))
    budget.try_begin_agent().release()
    budget.record(units(dimension, 1))

    assert exhausted(budget).dimension == dimension


@DIMENSIONS
def test_an_estimate_may_fill_the_limit_and_not_go_one_beyond(dimension: str) -> None:
    budget = opened(limited(dimension, 10))
    budget.record(units(dimension, 4))

    assert exhausted(budget, units(dimension, 7)).dimension == dimension
    lease = budget.try_begin_agent(units(dimension, 6))

    assert lease.state == "held"


@DIMENSIONS
def test_holds_count_like_spend(dimension: str) -> None:
    budget = opened(limited(dimension, 10))
    lease = budget.try_begin_agent(units(dimension, 10))

    refused = exhausted(budget)
    lease.settle(units(dimension, 9))
    granted = budget.try_begin_agent(units(dimension, 1))

    assert refused.held_back
    assert granted.state == "held"


@DIMENSIONS
def test_an_estimate_beyond_the_whole_limit_is_not_held_back_by_holds(dimension: str) -> None:
    budget = opened(limited(dimension, 10))
    lease = budget.try_begin_agent(units(dimension, 5))

    assert not exhausted(budget, units(dimension, 11)).held_back
    assert exhausted(budget, units(dimension, 10)).held_back
    assert lease.state == "held"


@DIMENSIONS
def test_a_limit_of_zero_denies_the_first_agent(dimension: str) -> None:
    budget = opened(limited(dimension, 0))

    assert budget.is_exhausted
    assert exhausted(budget).dimension == dimension


@pytest.mark.parametrize(
    ("limits", "dimension"),
    [(BudgetLimits(max_seconds=0), "seconds"), (BudgetLimits(max_depth=0), "depth")],
)
def test_no_time_and_no_depth_deny_the_first_agent(limits: BudgetLimits, dimension: str) -> None:
    budget = opened(limits)

    assert exhausted(budget).dimension == dimension


def test_no_agents_deny_the_first_agent() -> None:
    error = denial(opened(BudgetLimits(max_agents=0)))

    assert isinstance(error, AgentLimitReached)
    assert (error.max_agents, error.started) == (0, 0)


@CALM
@given(limit=st.integers(0, 50), spent=st.integers(0, 50), held=st.integers(0, 50), estimate=st.integers(0, 50))
@pytest.mark.parametrize("dimension", list(SPEND))
def test_no_false_denial_and_no_false_admission(
    dimension: str, limit: int, spent: int, held: int, estimate: int
) -> None:
    budget = opened()
    budget.record(units(dimension, spent))
    holder = budget.try_begin_agent(units(dimension, held))
    budget.raise_limits(limited(dimension, limit))

    try:
        granted: Lease | None = budget.try_begin_agent(units(dimension, estimate))
    except BudgetExhausted:
        granted = None

    assert (granted is None) == (spent + held >= limit or spent + held + estimate > limit)
    assert holder.state == "held"


@CALM
@given(room=st.integers(0, 60), each=st.integers(1, 20))
def test_in_flight_are_at_most_as_many_as_the_room_holds_estimates(room: int, each: int) -> None:
    budget = opened(BudgetLimits(max_total_tokens=room))
    leases: list[Lease] = []

    with suppress(BudgetExhausted):
        while len(leases) <= room:
            leases.append(budget.try_begin_agent(TokenAccounting(input_tokens=each)))

    assert len(leases) == room // each


# Order


def test_the_dimensions_are_asked_in_their_order() -> None:
    clock = FakeClock()
    budget = CoordinationBudget(BudgetLimits(), clock=clock)
    begun = budget.try_begin_agent()
    begun.settle(TokenAccounting(input_tokens=5, output_tokens=5, cost_usd=1.0, priced=False))
    clock.advance(5)
    budget.raise_limits(
        BudgetLimits(
            max_input_tokens=5,
            max_output_tokens=5,
            max_total_tokens=10,
            max_cost_usd=1.0,
            max_seconds=5,
            max_depth=1,
            max_agents=1,
        )
    )
    order: list[str] = []
    for raised in (
        BudgetLimits(max_input_tokens=9),
        BudgetLimits(max_output_tokens=9),
        BudgetLimits(max_total_tokens=19),
        BudgetLimits(max_cost_usd=9.0),
        BudgetLimits(unpriced="allow"),
        BudgetLimits(max_seconds=9, unpriced="allow"),
        BudgetLimits(max_depth=2, unpriced="allow"),
    ):
        order.append(exhausted(budget, depth=2).dimension)
        budget.raise_limits(raised)

    assert isinstance(denial(budget, depth=2), AgentLimitReached)
    assert order == [
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "cost_usd",
        "unpriced",
        "seconds",
        "depth",
    ]


def test_purses_are_asked_from_the_root_down() -> None:
    root = opened(BudgetLimits(max_agents=0))
    child = root.child(BudgetLimits(max_input_tokens=0))

    assert isinstance(denial(child), AgentLimitReached)


# Total


def test_the_total_limits_input_and_output_together() -> None:
    budget = opened(BudgetLimits(max_total_tokens=10))

    lease = budget.try_begin_agent(TokenAccounting(input_tokens=4, output_tokens=6))

    assert exhausted(budget).held_back
    lease.settle(TokenAccounting(input_tokens=9, output_tokens=1))
    assert exhausted(budget).dimension == "total_tokens"
    assert not exhausted(budget).held_back


def test_cached_tokens_are_part_of_the_input_and_not_counted_twice() -> None:
    budget = opened()

    budget.record(TokenAccounting(input_tokens=10, cache_read_tokens=8, cache_write_tokens=2))

    assert budget.snapshot().input_tokens == budget.snapshot().total_tokens == 10


# Unknown prices


def test_spend_of_unknown_price_refuses_the_next_start_under_a_cost_limit() -> None:
    budget = opened(BudgetLimits(max_cost_usd=5.0))

    budget.record(TokenAccounting(input_tokens=1, priced=False))

    assert exhausted(budget).dimension == "unpriced"
    assert not exhausted(budget).held_back
    assert budget.is_exhausted


@pytest.mark.parametrize(
    "limits", [BudgetLimits(max_cost_usd=5.0, unpriced="allow"), BudgetLimits(max_input_tokens=5), BudgetLimits()]
)
def test_spend_of_unknown_price_refuses_nothing_where_it_is_allowed_or_cost_is_no_matter(limits: BudgetLimits) -> None:
    budget = opened(limits)

    budget.record(TokenAccounting(input_tokens=1, priced=False))

    assert budget.try_begin_agent().state == "held"
    assert not budget.is_exhausted


def test_spend_of_unknown_price_in_a_sibling_refuses_where_the_cost_limit_is() -> None:
    root = opened(BudgetLimits(max_cost_usd=5.0))
    one, other = root.child(BudgetLimits()), root.child(BudgetLimits())

    one.record(TokenAccounting(input_tokens=1, priced=False))

    assert exhausted(other).dimension == "unpriced"


def test_spend_of_unknown_price_refuses_only_inside_the_purse_with_the_cost_limit() -> None:
    root = opened()
    capped, free = root.child(BudgetLimits(max_cost_usd=5.0)), root.child(BudgetLimits())

    capped.record(TokenAccounting(input_tokens=1, priced=False))

    assert exhausted(capped).dimension == "unpriced"
    assert free.try_begin_agent().state == "held"


def test_a_known_price_does_not_make_an_unknown_one_known() -> None:
    budget = opened(BudgetLimits(max_cost_usd=5.0))

    with budget.try_begin_agent() as lease:
        lease.charge(TokenAccounting(input_tokens=1, priced=False))
        lease.settle(TokenAccounting(input_tokens=1, cost_usd=0.1))

    assert exhausted(budget).dimension == "unpriced"


def test_a_model_call_is_refused_after_spend_of_unknown_price() -> None:
    budget = opened(BudgetLimits(max_cost_usd=5.0))
    lease = budget.try_begin_agent()
    lease.charge(TokenAccounting(input_tokens=1, priced=False))

    with pytest.raises(BudgetExhausted, match="price"):
        lease.reserve()


def test_an_estimate_of_unknown_price_that_is_never_reported_leaves_spend_of_unknown_price() -> None:
    budget = opened(BudgetLimits(max_cost_usd=5.0))

    budget.try_begin_agent(TokenAccounting(input_tokens=1, priced=False)).settle()

    assert exhausted(budget).dimension == "unpriced"


def test_an_estimate_of_unknown_price_stays_unknown_when_the_lease_only_asked_whether_it_may_go_on() -> None:
    budget = opened(BudgetLimits(max_cost_usd=5.0))
    lease = budget.try_begin_agent(TokenAccounting(input_tokens=1, priced=False))

    lease.reserve()
    lease.settle()

    assert exhausted(budget).dimension == "unpriced"


def test_an_open_reservation_of_unknown_price_that_is_never_reported_leaves_spend_of_unknown_price() -> None:
    budget = opened(BudgetLimits(max_cost_usd=5.0))
    lease = budget.try_begin_agent()

    lease.reserve(TokenAccounting(input_tokens=1, priced=False))
    lease.settle()

    assert exhausted(budget).dimension == "unpriced"


# Time and depth


def test_time_runs_from_the_first_start_and_denies_when_it_is_over() -> None:
    clock = FakeClock()
    budget = CoordinationBudget(BudgetLimits(max_seconds=10), clock=clock)
    clock.advance(100)

    budget.try_begin_agent().settle()
    clock.advance(9.5)
    assert budget.snapshot().elapsed_s == 9.5
    budget.try_begin_agent().settle()
    clock.advance(0.5)

    assert exhausted(budget).dimension == "seconds"


def test_time_does_not_begin_by_a_start_that_is_released() -> None:
    clock = FakeClock()
    budget = CoordinationBudget(BudgetLimits(max_seconds=10), clock=clock)

    first = budget.try_begin_agent()
    clock.advance(4)
    second = budget.try_begin_agent()
    clock.advance(4)
    assert budget.snapshot().elapsed_s == 8
    first.release()
    assert budget.snapshot().elapsed_s == 4
    second.release()

    assert budget.snapshot().elapsed_s == 0
    clock.advance(100)
    assert budget.try_begin_agent().state == "held"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_time_runs_from_the_first_start_whatever_settles_first(order: tuple[int, ...]) -> None:
    clock = FakeClock()
    budget = CoordinationBudget(clock=clock)
    leases: list[Lease] = []
    for _ in range(3):
        leases.append(budget.try_begin_agent())
        clock.advance(1)

    for number in order:
        leases[number].settle()
        assert budget.snapshot().elapsed_s == 3


def test_each_purse_has_its_own_first_start() -> None:
    clock = FakeClock()
    root = CoordinationBudget(clock=clock)
    early, late = root.child(BudgetLimits()), root.child(BudgetLimits(max_seconds=5))

    early.try_begin_agent().settle()
    clock.advance(10)
    lease = late.try_begin_agent()
    clock.advance(1)

    assert [purse.snapshot().elapsed_s for purse in (root, early, late)] == [11, 11, 1]
    assert lease.state == "held"


def test_a_call_is_refused_when_time_is_over() -> None:
    clock = FakeClock()
    budget = CoordinationBudget(BudgetLimits(max_seconds=10), clock=clock)
    lease = budget.try_begin_agent()

    clock.advance(10)

    with pytest.raises(BudgetExhausted, match="max_seconds"):
        lease.reserve()
    with pytest.raises(BudgetExhausted, match="max_seconds"):
        lease.reserve(TokenAccounting(input_tokens=1))


def test_depth_denies_one_below_the_deepest() -> None:
    budget = opened(BudgetLimits(max_depth=2))

    assert budget.try_begin_agent(depth=2).state == "held"
    error = exhausted(budget, depth=3)

    assert (error.dimension, error.held_back) == ("depth", False)


# Counters that stop


@pytest.mark.parametrize("report", [2**63, MOST, 2**64, 2**80])
def test_huge_reports_never_wrap_round_and_reopen_the_gate(report: int) -> None:
    budget = opened(BudgetLimits(max_input_tokens=1_000))
    for _ in range(3):
        budget.record(TokenAccounting(input_tokens=report, output_tokens=report, cost_usd=1e300))
        assert exhausted(budget).dimension == "input_tokens"

    now = budget.snapshot()
    assert (now.input_tokens, now.output_tokens, now.total_tokens) == (MOST, MOST, MOST)
    assert now.cost_usd == MOST / 10**9


def every_counter(now: BudgetSnapshot) -> list[int]:
    return [
        now.input_tokens,
        now.output_tokens,
        now.total_tokens,
        round(now.cost_usd * 10**9),
        *(each for part in (now.held, now.overrun) for each in (part.input_tokens, part.output_tokens)),
    ]


HUGE = TokenAccounting(input_tokens=2**80, output_tokens=2**80, cost_usd=1e308)


def test_what_is_held_stops_too_and_comes_off_again_exactly() -> None:
    budget = opened()
    small = TokenAccounting(input_tokens=3, output_tokens=2, cost_usd=0.5)
    leases = [budget.try_begin_agent(each) for each in (HUGE, HUGE, small)]

    now = budget.snapshot()
    assert (now.held.input_tokens, now.held.output_tokens) == (MOST, MOST)
    assert now.held.cost_usd == MOST / 10**9

    leases[0].release()
    leases[1].release()
    assert budget.snapshot().held == small
    leases[2].release()
    assert budget.snapshot().held == TokenAccounting()


def test_what_is_reserved_stops_too_and_comes_off_again_exactly() -> None:
    budget = opened()
    leases = [budget.try_begin_agent() for _ in range(3)]
    for lease in leases:
        lease.reserve(HUGE)

    assert max(every_counter(budget.snapshot())) <= MOST

    for lease in leases:
        lease.charge(TokenAccounting(input_tokens=1))
    assert budget.snapshot().held == TokenAccounting()
    assert budget.snapshot().input_tokens == 3


def test_overrun_stops_too() -> None:
    budget = opened()
    for _ in range(3):
        lease = budget.try_begin_agent()
        lease.charge(HUGE)
        lease.charge(HUGE)
        lease.settle(HUGE)

    now = budget.snapshot()
    assert now.overrun.input_tokens == now.overrun.output_tokens == now.input_tokens == MOST
    assert now.overrun.cost_usd == now.cost_usd == MOST / 10**9


def test_overrun_is_none_when_huge_spend_was_held() -> None:
    budget = opened()
    for _ in range(2):
        budget.try_begin_agent(HUGE).settle(HUGE)

    assert budget.snapshot().overrun == TokenAccounting()


@pytest.mark.parametrize("limit", [MOST - 1, MOST, 2**64, 2**80])
@pytest.mark.parametrize("name", ["max_input_tokens", "max_output_tokens", "max_total_tokens"])
def test_a_limit_at_or_beyond_the_end_of_the_counter_still_closes(name: str, limit: int) -> None:
    budget = opened(BudgetLimits(**{name: limit}))
    assert budget.try_begin_agent().state

    budget.record(HUGE)

    assert budget.is_exhausted
    assert exhausted(budget).dimension == name.removeprefix("max_")


def test_two_huge_holds_do_not_make_room_for_a_call_under_a_total_limit() -> None:
    budget = opened()
    one, other = budget.try_begin_agent(), budget.try_begin_agent()
    one.reserve(HUGE)
    other.reserve(TokenAccounting(input_tokens=MOST))
    budget.raise_limits(BudgetLimits(max_total_tokens=MOST))

    with pytest.raises(BudgetExhausted):
        one.reserve(TokenAccounting(input_tokens=5))


def test_an_agent_cap_beyond_the_end_of_the_counter_is_a_cap_that_is_never_reached() -> None:
    budget = opened(BudgetLimits(max_agents=2**80, max_depth=2**80))

    assert budget.try_begin_agent(depth=2**70).state == "held"


# What a denial says


def test_a_denial_says_the_numbers_and_what_to_do_next() -> None:
    budget = opened(BudgetLimits(max_total_tokens=1_000))
    workers = budget.keeping_back(TokenAccounting(input_tokens=100))
    budget.record(TokenAccounting(input_tokens=250))
    lease = budget.try_begin_agent(TokenAccounting(output_tokens=350))

    error = exhausted(workers, TokenAccounting(input_tokens=301))

    for number in ("250", "350", "100", "301", "1,000", "max_total_tokens"):
        assert number in str(error)
    assert error.reason == str(error)
    assert error.snapshot == budget.snapshot()
    assert lease.state == "held"


@pytest.mark.parametrize(
    ("limit", "spent", "shown"),
    [(2.5, 2.5, "$2.5"), (0.0004, 0.0004, "$0.0004"), (1_000.0, 1_000.0, "$1,000"), (100.0, 100.0, "$100")],
)
def test_a_denial_for_money_shows_dollars(limit: float, spent: float, shown: str) -> None:
    budget = opened(BudgetLimits(max_cost_usd=limit))
    budget.record(TokenAccounting(cost_usd=spent))

    assert len(re.findall(rf"{re.escape(shown)}(?![\d.]\d)", str(exhausted(budget)))) == 2


def test_a_denial_by_time_or_depth_says_both_sides() -> None:
    clock = FakeClock()
    budget = CoordinationBudget(BudgetLimits(max_seconds=12, max_depth=3), clock=clock)
    deep = str(exhausted(budget, depth=7))
    budget.try_begin_agent().settle()
    clock.advance(34)
    late = str(exhausted(budget))

    assert "7" in deep
    assert "3" in deep
    assert "max_depth" in deep
    assert "34" in late
    assert "12" in late
    assert "max_seconds" in late


def test_a_denial_by_the_agent_cap_says_how_many() -> None:
    budget = opened(BudgetLimits(max_agents=2))
    leases = [budget.try_begin_agent() for _ in range(2)]

    error = denial(budget)

    assert isinstance(error, AgentLimitReached)
    assert (error.max_agents, error.started, error.snapshot) == (2, len(leases), budget.snapshot())
    assert "2 of at most 2" in str(error)


def test_the_snapshot_of_a_denial_is_that_of_the_purse_that_refused() -> None:
    root = opened(BudgetLimits(max_agents=50))
    child = root.child(BudgetLimits(max_input_tokens=0))
    grandchild = child.child(BudgetLimits(max_agents=7))

    assert exhausted(grandchild).snapshot == child.snapshot()
