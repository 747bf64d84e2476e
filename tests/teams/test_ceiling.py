"""Of two limits the lower one wins, dimension by dimension."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from carpool import BudgetLimits
from carpool.teams import lower_of

DIMENSIONS = [name for name in BudgetLimits.__struct_fields__ if name != "unpriced"]
LIMITS = st.fixed_dictionaries(
    {name: st.none() | st.integers(0, 5) for name in DIMENSIONS} | {"unpriced": st.sampled_from(["refuse", "allow"])}
).map(lambda fields: BudgetLimits(**fields))


def lower(limits: str, ceiling: str) -> BudgetLimits:
    return lower_of(*(BudgetLimits.parse(text) if text else BudgetLimits() for text in (limits, ceiling)))


def test_each_dimension_is_the_lower_one() -> None:
    assert lower("500k tokens, $2.50, 20 agents", "$5, 10 agents, 1h") == BudgetLimits.parse(
        "500k tokens, $2.50, 10 agents, 1h"
    )


def test_who_sets_no_limit_has_no_say() -> None:
    assert lower("", "5 agents") == lower("5 agents", "") == BudgetLimits(max_agents=5)
    assert lower("", "").is_unbounded


def test_zero_is_a_limit() -> None:
    assert lower("0 agents", "5 agents").max_agents == 0
    assert lower("5 agents", "0 agents").max_agents == 0


@given(LIMITS, LIMITS)
def test_nothing_is_more_than_either_allows_and_nothing_less_than_both(
    limits: BudgetLimits, ceiling: BudgetLimits
) -> None:
    found = lower_of(limits, ceiling)

    for name in DIMENSIONS:
        given = [each for each in (getattr(limits, name), getattr(ceiling, name)) if each is not None]
        assert getattr(found, name) == min(given, default=None)


@given(LIMITS, LIMITS, LIMITS)
def test_the_order_of_asking_does_not_count(one: BudgetLimits, two: BudgetLimits, three: BudgetLimits) -> None:
    def known(limits: BudgetLimits) -> Any:
        return limits if limits.max_cost_usd is not None else [getattr(limits, name) for name in DIMENSIONS]

    assert known(lower_of(one, two)) == known(lower_of(two, one))
    assert known(lower_of(lower_of(one, two), three)) == known(lower_of(one, lower_of(two, three)))
    assert lower_of(one, one) == one


def test_unknown_prices_are_allowed_only_if_all_allow_them_who_limit_the_cost() -> None:
    allowing, refusing = BudgetLimits(max_cost_usd=5, unpriced="allow"), BudgetLimits(max_cost_usd=3)

    assert lower_of(allowing, refusing).unpriced == "refuse"
    assert lower_of(refusing, allowing).unpriced == "refuse"
    assert lower_of(allowing, allowing).unpriced == "allow"
    assert lower_of(allowing, BudgetLimits(max_agents=1)).unpriced == "allow"
    assert lower_of(BudgetLimits(max_agents=1), allowing).unpriced == "allow"
    assert lower_of(BudgetLimits(unpriced="allow"), BudgetLimits(max_agents=1)).unpriced == "allow"
