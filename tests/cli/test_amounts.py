"""Amounts as people read them."""

import pytest

from carpool import BudgetLimits
from carpool.cli.amounts import counted, dollars, limits, seconds


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0"),
        (0.5, "$0.50"),
        (0.0125, "$0.0125"),
        (0.000001, "$0.000001"),
        (0.0000001, "less than $0.000001"),
        (1, "$1.00"),
        (1234.5, "$1,234.50"),
    ],
)
def test_dollars(amount: float, text: str) -> None:
    assert dollars(amount) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 ms"),
        (0.0421, "42 ms"),
        (0.9999, "1.0 s"),
        (4.24, "4.2 s"),
        (59.97, "1 m 00 s"),
        (185, "3 m 05 s"),
        (3_720, "1 h 02 m"),
    ],
)
def test_seconds(amount: float, text: str) -> None:
    assert seconds(amount) == text


def test_one_is_not_many() -> None:
    assert [counted(number, "agent") for number in (0, 1, 1_200)] == ["0 agents", "1 agent", "1,200 agents"]
    assert counted(2, "entry", "entries") == "2 entries"


def test_limits_read_as_they_could_be_typed() -> None:
    typed = "5,000 tokens, 4,000 input tokens, 1,000 output tokens, $2.50, 20 agents, 3 m 00 s, depth 2"

    assert limits(BudgetLimits.parse(typed)) == typed
    assert limits(BudgetLimits()) == "no limits"
