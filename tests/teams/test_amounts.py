"""Budgets and estimates, as text or as a table."""

import pytest

from carpool import BudgetLimits, TokenAccounting
from carpool.teams.amounts import estimate_of, limits_of


def test_a_budget_is_text_or_limits() -> None:
    assert limits_of("5 agents") == BudgetLimits(max_agents=5) == limits_of(BudgetLimits(max_agents=5))
    assert limits_of(None) is None


def test_an_estimate_is_text_or_an_amount() -> None:
    amount = TokenAccounting(input_tokens=2_000, output_tokens=500, cost_usd=0.01)

    assert estimate_of("2k input tokens, 500 output tokens, $0.01") == amount == estimate_of(amount)
    assert estimate_of(None) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("500 tokens", "say whether these are input or output tokens"),
        ("5 agents", "'5 agents' says no tokens or dollars, or more than these"),
        ("5 input tokens, 1h", "says no tokens or dollars, or more than these"),
        ("", "'' says no tokens or dollars"),
        ("5 apples", "can't read '5 apples'; write for example '2k input tokens, 500 output tokens"),
        ("$1, $2", r"max_cost_usd is set twice, the second time by '\$2'; write for example '2k"),
    ],
)
def test_what_can_not_be_an_estimate_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        estimate_of(text)
