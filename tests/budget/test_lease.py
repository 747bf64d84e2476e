"""A lease: held, then settled or released, once; what it holds, reserves, charges and finally has spent."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.budget import CoordinationBudget, Lease
from carpool.errors import BudgetExhausted
from carpool.types import BudgetLimits, TokenAccounting

from .fake_clock import FakeClock

NOTHING = TokenAccounting()


def tokens(read: int = 0, written: int = 0, cost: float = 0.0) -> TokenAccounting:
    return TokenAccounting(input_tokens=read, output_tokens=written, cost_usd=cost)


def spent(budget: CoordinationBudget) -> TokenAccounting:
    now = budget.snapshot()
    return tokens(now.input_tokens, now.output_tokens, now.cost_usd)


@pytest.fixture
def budget() -> CoordinationBudget:
    return CoordinationBudget(BudgetLimits(max_input_tokens=100), clock=FakeClock())


# Once


def test_a_lease_starts_held_with_its_estimate(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10, 20, 0.5))

    assert (lease.state, lease.hold, lease.charged) == ("held", tokens(10, 20, 0.5), NOTHING)
    assert budget.snapshot().held == tokens(10, 20, 0.5)
    assert budget.snapshot().agents_started == 1


def test_settling_again_or_releasing_afterwards_changes_nothing(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10))
    answer = lease.settle(tokens(7))
    before = budget.snapshot()

    again = [lease.settle(), lease.settle(tokens(99)), lease.settle(tokens(1))]
    lease.release()
    with lease:
        pass

    assert again == [answer] * 3 == [tokens(7)] * 3
    assert lease.state == "settled"
    assert budget.snapshot() == before


def test_releasing_gives_hold_and_slot_back_and_again_or_settling_afterwards_changes_nothing(
    budget: CoordinationBudget,
) -> None:
    lease = budget.try_begin_agent(tokens(10))
    lease.release()
    before = budget.snapshot()

    lease.release()
    lease.settle()
    lease.settle(tokens(5))

    assert lease.state == "released"
    assert budget.snapshot() == before
    assert (before.agents_started, before.held, before.input_tokens) == (0, NOTHING, 0)


def test_releasing_gives_an_open_reservation_back(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10))
    lease.reserve(tokens(50))

    lease.release()

    assert budget.snapshot().held == NOTHING
    assert spent(budget) == NOTHING


# What it ends with


@pytest.mark.parametrize(
    ("charges", "report", "final"),
    [
        ([], tokens(5, 5, 0.5), tokens(5, 5, 0.5)),
        ([], tokens(99, 99, 9.0), tokens(99, 99, 9.0)),
        ([], NOTHING, NOTHING),
        ([tokens(3, 8, 0.25)], tokens(5, 5, 0.5), tokens(5, 8, 0.5)),
        ([tokens(3, 3), tokens(3, 3)], tokens(5, 7), tokens(6, 7)),
        ([tokens(4)], NOTHING, tokens(4)),
        ([tokens(4)], None, tokens(4)),
        ([NOTHING], None, NOTHING),
        ([], None, tokens(10, 10, 1.0)),
    ],
)
def test_the_end_is_the_larger_of_charged_and_reported_in_each_dimension(
    charges: list[TokenAccounting],
    report: TokenAccounting | None,
    final: TokenAccounting,
    budget: CoordinationBudget,
) -> None:
    lease = budget.try_begin_agent(tokens(10, 10, 1.0))
    for charge in charges:
        lease.charge(charge)

    assert lease.settle(report) == final

    assert lease.charged == spent(budget) == final
    assert budget.snapshot().held == NOTHING


def test_without_a_report_an_open_reservation_is_spent_on_top_of_what_was_charged(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10))
    lease.charge(tokens(4))
    lease.reserve(tokens(20))

    assert lease.settle() == spent(budget) == tokens(24)
    assert budget.snapshot().overrun == NOTHING


def test_without_a_report_an_open_reservation_is_spent_instead_of_the_hold(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(50))
    lease.reserve(tokens(3))

    assert lease.settle() == spent(budget) == tokens(3)


def test_a_reservation_that_was_charged_is_no_longer_open(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(50))
    lease.reserve(tokens(30))
    lease.charge(tokens(1))

    assert lease.settle() == spent(budget) == tokens(1)


def test_a_refused_reservation_is_not_spent(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10))
    with pytest.raises(BudgetExhausted):
        lease.reserve(tokens(101))

    assert lease.settle() == spent(budget) == tokens(10)


def test_asking_without_an_amount_is_no_reservation(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10))
    lease.reserve()

    assert lease.settle() == spent(budget) == tokens(10)


def test_a_lease_without_an_estimate_that_says_nothing_spends_nothing(budget: CoordinationBudget) -> None:
    assert budget.try_begin_agent().settle() == spent(budget) == NOTHING


def test_what_the_cache_saved_survives_settling(budget: CoordinationBudget) -> None:
    report = TokenAccounting(input_tokens=10, cache_read_tokens=8, cache_write_tokens=1)
    charged = budget.try_begin_agent()
    charged.charge(report)
    charged.charge(report)

    assert budget.try_begin_agent().settle(report) == report
    assert charged.settle() == report + report


# What it holds


def test_charges_use_up_the_hold_first(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10, 10))

    held: list[TokenAccounting] = []
    for charge in (tokens(4), tokens(4, 12), tokens(4, 1)):
        lease.charge(charge)
        held.append(budget.snapshot().held)

    assert held == [tokens(6, 10), tokens(2), NOTHING]
    assert spent(budget) == tokens(12, 13)


def test_a_reservation_holds_only_what_the_hold_lacks(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10, 10))
    lease.charge(tokens(4))

    lease.reserve(tokens(8, 8))

    assert budget.snapshot().held == tokens(8, 10)


def test_a_second_reservation_replaces_the_first(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10))

    held: list[int] = []
    for wish in (50, 100, 20, 5):
        lease.reserve(tokens(wish))
        held.append(budget.snapshot().held.input_tokens)

    assert held == [50, 100, 20, 10]


def test_a_refused_reservation_leaves_the_earlier_one(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10))
    lease.reserve(tokens(60))
    before = budget.snapshot()

    with pytest.raises(BudgetExhausted) as refused:
        lease.reserve(tokens(101))

    assert budget.snapshot() == before == refused.value.snapshot
    assert not refused.value.held_back
    assert lease.settle() == tokens(60)


def test_the_next_charge_ends_a_reservation_even_if_it_is_nothing(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10))
    lease.reserve(tokens(60))

    lease.charge(NOTHING)

    assert budget.snapshot().held == tokens(10)


def test_a_reservation_is_held_in_every_purse_above(budget: CoordinationBudget) -> None:
    inner = budget.child(BudgetLimits()).child(BudgetLimits())
    lease = inner.try_begin_agent(tokens(10))

    lease.reserve(tokens(40))

    assert budget.snapshot().held == inner.snapshot().held == tokens(40)


# Whether a call may be made


def test_a_call_fits_exactly(budget: CoordinationBudget) -> None:
    lease, other = budget.try_begin_agent(), budget.try_begin_agent(tokens(30))
    lease.charge(tokens(20))

    lease.reserve(tokens(50))
    with pytest.raises(BudgetExhausted):
        lease.reserve(tokens(51))

    assert other.state == "held"


def test_a_call_may_use_up_its_own_hold_in_a_full_purse(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(100))

    lease.reserve()
    lease.reserve(tokens(100))
    lease.charge(tokens(99))
    lease.reserve(tokens(1))
    lease.charge(tokens(1))

    with pytest.raises(BudgetExhausted):
        lease.reserve()


def test_asking_without_an_amount_says_no_once_a_limit_is_crossed(budget: CoordinationBudget) -> None:
    lease, other = budget.try_begin_agent(tokens(10)), budget.try_begin_agent(tokens(90))

    lease.charge(tokens(60))
    lease.reserve()
    lease.charge(tokens(40))

    for wish in (None, NOTHING, tokens(1)):
        with pytest.raises(BudgetExhausted) as refused:
            lease.reserve(wish)
        assert refused.value.dimension == "input_tokens"
    assert other.state == "held"


def test_a_call_is_asked_of_every_purse_above() -> None:
    root = CoordinationBudget(BudgetLimits(max_output_tokens=10))
    lease = root.child(BudgetLimits()).child(BudgetLimits(max_input_tokens=10)).try_begin_agent()

    with pytest.raises(BudgetExhausted, match="max_output_tokens"):
        lease.reserve(tokens(0, 11))
    with pytest.raises(BudgetExhausted, match="max_input_tokens"):
        lease.reserve(tokens(11, 0))
    lease.reserve(tokens(10, 10))


@pytest.mark.parametrize("wish", [None, tokens(1, 1, 0.1)])
def test_a_call_is_asked_in_the_order_in_which_a_start_is(wish: TokenAccounting | None) -> None:
    limits = BudgetLimits(max_input_tokens=5, max_output_tokens=5, max_total_tokens=10, max_cost_usd=1.0)
    root = CoordinationBudget(limits, clock=FakeClock())
    lease = root.child(BudgetLimits(max_input_tokens=1)).try_begin_agent()
    lease.charge(tokens(5, 5, 1.0))

    order: list[str] = []
    for raised in (
        BudgetLimits(max_input_tokens=50),
        BudgetLimits(max_output_tokens=50),
        BudgetLimits(max_total_tokens=50),
        BudgetLimits(max_cost_usd=9.0),
    ):
        with pytest.raises(BudgetExhausted) as refused:
            lease.reserve(wish)
        order.append(refused.value.dimension)
        root.raise_limits(raised)
    with pytest.raises(BudgetExhausted) as refused:
        lease.reserve(wish)

    assert order == ["input_tokens", "output_tokens", "total_tokens", "cost_usd"]
    assert refused.value.snapshot.limits == BudgetLimits(max_input_tokens=1)


def test_a_call_of_a_worker_leaves_what_is_kept_back_for_the_finalizer(budget: CoordinationBudget) -> None:
    worker = budget.keeping_back(tokens(40)).try_begin_agent()

    with pytest.raises(BudgetExhausted):
        worker.reserve(tokens(61))
    worker.reserve(tokens(60))
    worker.charge(tokens(60))

    finalizer = budget.try_begin_agent(tokens(40))
    assert finalizer.state == "held"


def test_a_worker_that_has_used_up_the_workers_purse_is_stopped_between_calls(budget: CoordinationBudget) -> None:
    """That purse is so much smaller: a worker that asks without an amount must not eat what is kept back."""
    worker = budget.keeping_back(tokens(40)).try_begin_agent()

    worker.charge(tokens(59))
    worker.reserve()
    worker.charge(tokens(1))

    with pytest.raises(BudgetExhausted):
        worker.reserve()


def test_a_worker_that_has_used_up_the_workers_purse_may_not_even_reserve_nothing(budget: CoordinationBudget) -> None:
    worker = budget.keeping_back(tokens(40)).try_begin_agent(tokens(60))

    worker.charge(tokens(60))

    with pytest.raises(BudgetExhausted):
        worker.reserve(tokens(0, 5))


def test_the_agent_cap_and_the_depth_do_not_stop_a_call() -> None:
    budget = CoordinationBudget(BudgetLimits(max_agents=1, max_depth=1))
    lease = budget.try_begin_agent()

    lease.reserve()
    lease.reserve(tokens(5))

    assert budget.snapshot().held == tokens(5)


# Telling never raises


def test_a_charge_beyond_everything_is_booked(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10))

    lease.charge(tokens(1_000))
    lease.charge(tokens(1_000))
    lease.settle(tokens(3_000))

    assert spent(budget) == tokens(3_000)
    assert budget.is_exhausted


def test_a_late_charge_is_booked_and_takes_no_hold_back(budget: CoordinationBudget) -> None:
    inner = budget.child(BudgetLimits())
    lease = inner.try_begin_agent(tokens(10))
    lease.settle(tokens(4))

    lease.charge(tokens(5))

    assert spent(budget) == spent(inner) == lease.charged == tokens(9)
    assert budget.snapshot().held == NOTHING
    assert lease.state == "settled"
    assert lease.settle(tokens(50)) == tokens(9)


def test_a_charge_on_a_released_lease_is_booked_and_takes_no_slot(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10))
    lease.release()

    lease.charge(tokens(5))
    lease.settle()

    assert spent(budget) == tokens(5)
    assert (budget.snapshot().agents_started, budget.snapshot().held) == (0, NOTHING)


@pytest.mark.parametrize("costs", [(10**400, 0.5), (0.5, 10**400), (1e308, 1e308), (1.7976931348623157e308, 1)])
def test_telling_a_cost_beyond_all_floats_raises_nothing(
    costs: tuple[float, float], budget: CoordinationBudget
) -> None:
    """It may be refused as a report, like infinity; but a report that there is can be told."""
    try:
        reports = [tokens(1, 0, cost) for cost in costs]
    except ValueError:
        return
    lease = budget.try_begin_agent()

    for report in reports:
        lease.charge(report)
    lease.settle(reports[0])

    assert budget.snapshot().cost_usd == (2**64 - 1) / 10**9
    assert budget.snapshot().input_tokens == 2


# Overrun


@pytest.mark.parametrize(
    ("hold", "charges", "report", "overrun"),
    [
        (tokens(10), [], tokens(10), NOTHING),
        (tokens(10), [], tokens(13), tokens(3)),
        (tokens(10), [], tokens(9, 2, 0.5), tokens(0, 2, 0.5)),
        (tokens(10), [tokens(8), tokens(8)], None, tokens(6)),
        (tokens(10), [tokens(8)], tokens(15), tokens(5)),
        (None, [], tokens(7, 1), tokens(7, 1)),
        (None, [tokens(7)], None, tokens(7)),
        (NOTHING, [tokens(7)], tokens(9), tokens(9)),
    ],
)
def test_overrun_is_what_was_spent_beyond_the_hold_once_the_lease_has_settled(
    hold: TokenAccounting | None,
    charges: list[TokenAccounting],
    report: TokenAccounting | None,
    overrun: TokenAccounting,
) -> None:
    root = CoordinationBudget()
    inner = root.child(BudgetLimits())
    lease = inner.try_begin_agent(hold)
    for charge in charges:
        lease.charge(charge)
    assert root.snapshot().overrun == NOTHING

    lease.settle(report)

    assert root.snapshot().overrun == inner.snapshot().overrun == overrun


def test_what_was_reserved_is_no_overrun(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10))
    lease.reserve(tokens(30))
    lease.charge(tokens(30))
    lease.reserve(tokens(20))
    lease.charge(tokens(25))

    lease.settle()

    assert budget.snapshot().overrun == tokens(5)


def test_a_late_charge_beyond_the_hold_is_overrun(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10))
    lease.settle(tokens(10))

    lease.charge(tokens(5))

    assert budget.snapshot().overrun == tokens(5)


def test_a_released_lease_leaves_no_overrun(budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10))

    lease.release()

    assert budget.snapshot().overrun == NOTHING


def test_what_is_recorded_without_a_lease_is_no_overrun(budget: CoordinationBudget) -> None:
    budget.record(tokens(500))

    assert budget.snapshot().overrun == NOTHING


# Leaving the block, dropping


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit, BaseException])
def test_leaving_the_block_by_an_error_settles_and_lets_it_through(
    error: type[BaseException], budget: CoordinationBudget
) -> None:
    lease = budget.try_begin_agent(tokens(10))
    lease.charge(tokens(3))

    with pytest.raises(error), lease:
        raise error

    assert lease.state == "settled"
    assert spent(budget) == tokens(3)


def test_leaving_the_block_without_a_report_spends_the_hold(budget: CoordinationBudget) -> None:
    with budget.try_begin_agent(tokens(10)) as lease:
        assert isinstance(lease, Lease)

    assert spent(budget) == tokens(10)


def test_what_is_reported_inside_the_block_stands(budget: CoordinationBudget) -> None:
    with budget.try_begin_agent(tokens(10)) as lease:
        lease.settle(tokens(2))

    assert spent(budget) == tokens(2)


@pytest.mark.parametrize("charge", [None, tokens(4)])
def test_a_dropped_lease_is_settled(charge: TokenAccounting | None, budget: CoordinationBudget) -> None:
    lease = budget.try_begin_agent(tokens(10))
    if charge is not None:
        lease.charge(charge)

    del lease
    gc.collect()

    assert budget.snapshot().held == NOTHING
    assert budget.snapshot().agents_started == 1
    assert spent(budget) == (charge or tokens(10))


def test_a_lease_in_a_cycle_is_settled_when_it_is_collected(budget: CoordinationBudget) -> None:
    ring: list[object] = [budget.try_begin_agent(tokens(10))]
    ring.append(ring)

    del ring
    gc.collect()

    assert budget.snapshot().held == NOTHING
    assert spent(budget) == tokens(10)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="elsewhere nothing is collected at once")
def test_a_refused_call_does_not_keep_the_dropped_lease_alive(budget: CoordinationBudget) -> None:
    """An error whose traceback leads back to itself would, until the collector happens to pass by."""
    gc.collect()
    gc.disable()
    try:
        lease = budget.try_begin_agent(tokens(10))
        with suppress(BudgetExhausted):
            lease.reserve(tokens(500))
        del lease

        assert budget.snapshot().held == NOTHING
    finally:
        gc.enable()


def test_a_lease_that_ended_is_not_settled_again_when_it_is_dropped(budget: CoordinationBudget) -> None:
    for end in (Lease.release, Lease.settle):
        lease = budget.try_begin_agent(tokens(10))
        end(lease)
        before = budget.snapshot()

        del lease
        gc.collect()

        assert budget.snapshot() == before


# Numbers


def test_leases_have_numbers_of_their_own_in_the_whole_tree(budget: CoordinationBudget) -> None:
    inner = budget.child(BudgetLimits())
    leases = [purse.try_begin_agent() for purse in (budget, inner, budget, inner)]

    assert len({lease.number for lease in leases}) == 4


AMOUNTS = st.builds(tokens, st.integers(0, 30), st.integers(0, 30), st.sampled_from([0.0, 0.1, 0.2, 0.5, 1 / 3]))


@settings(deadline=None, print_blob=True)
@given(
    hold=st.none() | AMOUNTS,
    charges=st.lists(AMOUNTS, max_size=5),
    report=st.none() | AMOUNTS,
    mixed=st.randoms(use_true_random=False),
)
def test_the_order_of_charges_does_not_matter(
    hold: TokenAccounting | None,
    charges: list[TokenAccounting],
    report: TokenAccounting | None,
    mixed: Random,
) -> None:
    def end() -> tuple[TokenAccounting, TokenAccounting]:
        purse = CoordinationBudget()
        lease = purse.try_begin_agent(hold)
        for charge in charges:
            lease.charge(charge)
        lease.settle(report)
        return spent(purse), purse.snapshot().overrun

    in_order = end()
    mixed.shuffle(charges)

    assert end() == in_order
