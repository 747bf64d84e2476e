"""Money as whole nano-dollars: charges rounded up, limits down, exact in between; every counter stops at 2**64 - 1."""

from __future__ import annotations

from fractions import Fraction
from math import nextafter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carpool.budget import CoordinationBudget
from carpool.budget.amount import MOST, NOTHING, amount_of, nano_down, nano_up, plus, tokens_of
from carpool.types import BudgetLimits, TokenAccounting

NANO = 10**9
LARGEST = MOST / NANO  # dollars that a counter can still tell apart from more

CALM = settings(deadline=None, print_blob=True)
DOLLARS = st.one_of(
    st.floats(min_value=0, max_value=10),
    st.floats(min_value=0, max_value=LARGEST, exclude_max=True),
    st.integers(0, 10**13).map(lambda nanos: nanos / NANO),
    st.integers(1, 10**13).map(lambda nanos: nextafter(nanos / NANO, float("inf"))),
    st.integers(1, 10**13).map(lambda nanos: nextafter(nanos / NANO, 0)),
)


def means_whole_nanos(usd: float) -> bool:
    """Whether it is the nearest float to some whole number of nano-dollars."""
    return round(Fraction(usd) * NANO) / NANO == usd


# Rounding


@CALM
@given(usd=DOLLARS)
@example(usd=0.1 + 0.2)
@example(usd=1 / 3)
@example(usd=5e-324)
@example(usd=nextafter(0.1, 1))
@example(usd=123_456.789_012_345_6)
def test_a_charge_is_never_too_little_and_never_a_nano_too_much(usd: float) -> None:
    nanos = nano_up(usd)

    assert nanos / NANO >= usd
    assert abs(nanos - Fraction(usd) * NANO) < 1
    if not means_whole_nanos(usd):
        assert nanos >= Fraction(usd) * NANO


@CALM
@given(usd=DOLLARS)
@example(usd=0.1 + 0.2)
@example(usd=1 / 3)
@example(usd=5e-324)
@example(usd=nextafter(0.1, 0))
@example(usd=123_456.789_012_345_6)
def test_a_limit_is_never_too_much_and_never_a_nano_too_little(usd: float) -> None:
    nanos = nano_down(usd)

    assert nanos / NANO <= usd
    assert abs(nanos - Fraction(usd) * NANO) < 1
    if not means_whole_nanos(usd):
        assert nanos <= Fraction(usd) * NANO


@CALM
@given(usd=DOLLARS)
def test_up_and_down_differ_only_between_whole_nanos(usd: float) -> None:
    assert nano_up(usd) - nano_down(usd) == (0 if means_whole_nanos(usd) else 1)


@CALM
@given(nanos=st.integers(0, 2**51))  # beyond that, two of them share a float
def test_a_whole_number_of_nanos_is_kept_exactly(nanos: int) -> None:
    assert nano_up(nanos / NANO) == nano_down(nanos / NANO) == nanos


@CALM
@given(one=DOLLARS, other=DOLLARS)
def test_rounding_keeps_the_order(one: float, other: float) -> None:
    small, large = sorted([one, other])

    assert nano_up(small) <= nano_up(large)
    assert nano_down(small) <= nano_down(large)


@pytest.mark.parametrize(
    ("usd", "nanos"),
    [(0, 0), (0.0, 0), (0.0000004, 400), (0.000000001, 1), (2, 2 * NANO), (2.5, 2_500_000_000), (0.29, 290_000_000)],
)
def test_amounts_as_people_write_them_are_exact(usd: float, nanos: int) -> None:
    assert nano_up(usd) == nano_down(usd) == nanos


@pytest.mark.parametrize("usd", [1e-10, 5e-324, 0.4e-9])
def test_less_than_a_nano_is_charged_as_one_and_allowed_as_none(usd: float) -> None:
    assert (nano_up(usd), nano_down(usd)) == (1, 0)


@pytest.mark.parametrize("usd", [LARGEST, 2e10, 1e18, 1e300, 1.7976931348623157e308, 10**30])
def test_more_than_a_counter_can_count_stops_at_its_end(usd: float) -> None:
    assert nano_up(usd) == nano_down(usd) == MOST == 2**64 - 1


# The same through a purse


def test_a_thousand_reports_of_four_ten_millionths_are_four_ten_thousandths() -> None:
    budget = CoordinationBudget()

    for _ in range(1_000):
        budget.record(TokenAccounting(cost_usd=0.0000004))

    assert budget.snapshot().cost_usd == 0.0004


def test_a_thousand_charges_of_four_ten_millionths_are_four_ten_thousandths() -> None:
    """Also once the lease has settled: what was charged is booked, nothing is added to it."""
    budget = CoordinationBudget()
    lease = budget.try_begin_agent()

    for _ in range(1_000):
        lease.charge(TokenAccounting(cost_usd=0.0000004))
    assert budget.snapshot().cost_usd == 0.0004

    lease.settle()
    assert budget.snapshot().cost_usd == 0.0004


def test_a_thousand_charges_reserved_one_by_one_fit_into_exactly_their_sum() -> None:
    budget = CoordinationBudget(BudgetLimits(max_cost_usd=0.0004))
    lease, call = budget.try_begin_agent(), TokenAccounting(cost_usd=0.0000004)

    for _ in range(1_000):
        lease.reserve(call)
        lease.charge(call)
    lease.settle()

    assert budget.snapshot().cost_usd == 0.0004
    assert budget.snapshot().overrun == TokenAccounting()


@pytest.mark.parametrize("costs", [(0.1, 0.2), (0.1, 0.7), (0.3, 0.6)])
def test_charges_whose_float_sum_is_off_are_booked_exactly(costs: tuple[float, float]) -> None:
    budget = CoordinationBudget()

    with budget.try_begin_agent() as lease:
        for cost in costs:
            lease.charge(TokenAccounting(cost_usd=cost))

    assert budget.snapshot().cost_usd == sum(round(cost * 10) for cost in costs) / 10


def test_a_charge_and_an_open_reservation_whose_float_sum_is_off_end_as_exactly_both() -> None:
    budget = CoordinationBudget(BudgetLimits(max_cost_usd=0.3))
    lease = budget.try_begin_agent(TokenAccounting(cost_usd=0.1))
    lease.charge(TokenAccounting(cost_usd=0.1))
    lease.reserve(TokenAccounting(cost_usd=0.2))

    lease.settle()

    assert budget.snapshot().cost_usd == 0.3
    assert budget.snapshot().overrun == TokenAccounting()


@CALM
@given(usd=DOLLARS)
def test_spending_the_limit_always_reaches_it(usd: float) -> None:
    budget = CoordinationBudget(BudgetLimits(max_cost_usd=usd))

    budget.record(TokenAccounting(cost_usd=usd))

    assert budget.is_exhausted


@CALM
@given(nanos=st.integers(1, 10**12), starts=st.integers(1, 5))
def test_a_limit_of_so_many_estimates_grants_exactly_so_many(nanos: int, starts: int) -> None:
    budget = CoordinationBudget(BudgetLimits(max_cost_usd=nanos * starts / NANO))

    leases = [budget.try_begin_agent(TokenAccounting(cost_usd=nanos / NANO)) for _ in range(starts)]

    assert len(leases) == starts
    assert budget.remaining().max_cost_usd == 0


# Amounts

COUNTS = st.one_of(st.integers(0, 100), st.integers(2**63, 2**66))
REPORTS = st.builds(TokenAccounting, input_tokens=COUNTS, output_tokens=COUNTS, cost_usd=st.floats(0, 1e12))


@CALM
@given(report=REPORTS)
def test_an_amount_weighs_what_its_report_says_up_to_the_end_of_the_counter(report: TokenAccounting) -> None:
    weighed = tokens_of(amount_of(report))

    assert weighed.input_tokens == min(report.input_tokens, MOST)
    assert weighed.output_tokens == min(report.output_tokens, MOST)
    assert weighed.cost_usd == nano_up(report.cost_usd) / NANO


@CALM
@given(reports=st.lists(REPORTS, max_size=6))
def test_sums_stop_at_the_end_of_the_counter_in_any_order(reports: list[TokenAccounting]) -> None:
    def summed(some: list[TokenAccounting]) -> TokenAccounting:
        amount = NOTHING
        for each in some:
            amount = plus(amount, amount_of(each))
        return tokens_of(amount)

    forward = summed(reports)

    assert forward == summed(reports[::-1])
    assert forward.input_tokens == min(sum(each.input_tokens for each in reports), MOST)
    assert forward.output_tokens == min(sum(each.output_tokens for each in reports), MOST)
    assert forward.cost_usd == min(sum(nano_up(each.cost_usd) for each in reports), MOST) / NANO
