"""What the budget said no to: each limit once; of an operator's ceiling nobody is told to raise it."""

import pytest

from carpool import BudgetLimits, CoordinationBudget, TokenAccounting
from carpool.cli.refusals import first_of_each, held_down, worded
from carpool.errors import BudgetError

MOST = TokenAccounting(input_tokens=1_000, output_tokens=500, cost_usd=0.5)


def refusal(limits: BudgetLimits) -> str:
    """What a purse with these limits says, when it is asked for one start too many."""
    budget = CoordinationBudget(limits)
    for _ in range(9):
        try:
            budget.try_begin_agent(MOST).settle(MOST)
        except BudgetError as error:
            return str(error)
    raise AssertionError(f"{limits!r} refuses nothing")


SET = [
    BudgetLimits(max_agents=2),
    BudgetLimits(max_total_tokens=3_500),
    BudgetLimits(max_input_tokens=2_500),
    BudgetLimits(max_output_tokens=1_200),
    BudgetLimits(max_cost_usd=1.25),
    BudgetLimits(max_cost_usd=0),
    BudgetLimits(max_seconds=0),
]


@pytest.mark.parametrize("limits", SET, ids=repr)
def test_a_limit_that_is_the_ceiling_can_be_raised_by_nobody_here(limits: BudgetLimits) -> None:
    said = refusal(limits)

    assert held_down([said], limits) == [said]
    assert "; raise max_" in said
    assert "; raise max_" not in worded([said], limits)
    assert worded([said], limits).endswith("; CARPOOL_MAX_BUDGET allows no more")


@pytest.mark.parametrize("limits", SET, ids=repr)
def test_a_limit_below_the_ceiling_or_without_one_is_told_as_it_is(limits: BudgetLimits) -> None:
    said = refusal(limits)

    for ceiling in (None, BudgetLimits(), BudgetLimits(max_agents=9, max_total_tokens=9, max_cost_usd=9.0)):
        assert held_down([said], ceiling) == []
        assert worded([said], ceiling) == said


def test_the_first_of_each_limit_stands_for_all_of_it() -> None:
    said = [refusal(limits) for limits in SET[:3]]

    assert first_of_each([*said, refusal(BudgetLimits(max_agents=3)), *said]) == tuple(said)
    assert worded(said, None) == "; and ".join(said)
