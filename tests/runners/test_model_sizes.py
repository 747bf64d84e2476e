"""How much a request is before it is sent, and how much of it the budget has room for."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from carpool import BudgetLimits, CoordinationBudget, TokenAccounting
from carpool.errors import BudgetExhausted
from carpool.runners.model import ModelPrice
from carpool.runners.model.sizes import InputSize, without_surrogates
from carpool.runners.model.worst_case import WorstCase
from carpool.tokens import estimate_tokens

from ..providers.script import count_tokens

ROOT = Path(__file__).parents[2]


def size_of(*texts: str, margin: float = 4 / 3) -> InputSize:
    size = InputSize(margin)
    for text in texts:
        size.add(text)
    return size


# Sizes


@settings(deadline=None)
@given(some.lists(some.text(max_size=80), max_size=5))
def test_the_quick_bound_is_never_below_a_byte_for_a_token(texts: list[str]) -> None:
    texts = [without_surrogates(text) for text in texts]

    assert size_of(*texts).at_most() >= sum(len(text.encode()) for text in texts)


@settings(deadline=None)
@given(some.text(max_size=200))
def test_the_close_bound_is_the_estimate_and_a_third_more(text: str) -> None:
    text = without_surrogates(text)

    assert size_of(text).expected() >= estimate_tokens(text) * 4 / 3


@pytest.mark.parametrize("path", ["README.md", "docs/patterns.md", "src/carpool/spawn/door.py"])
def test_both_bounds_hold_for_what_people_send(path: str) -> None:
    text = (ROOT / path).read_text()
    size = size_of(text)

    assert count_tokens(text) <= size.expected() <= size.at_most()


def test_what_was_estimated_once_is_not_forgotten_and_not_counted_twice() -> None:
    size = size_of("one two three")
    first = size.expected()
    assert size.expected() == first

    size.add("four")
    assert first < size.expected() < 2 * first


def test_tools_and_frames_count_too() -> None:
    size = size_of()
    empty = size.expected()
    size.add_frame("Be brief. " * 20)
    framed = size.expected()
    size.add_tools(['{"name": "search"}', '{"name": "look"}'])

    assert framed > empty + 40
    assert size.expected() > framed + 400
    assert size_of().expected() == empty


def test_what_the_provider_has_counted_replaces_the_estimate() -> None:
    size = size_of("word " * 1_000)
    size.counted(1_100, tool_calls=2)
    size.add("five more words for you")

    assert 1_100 + 5 <= size.expected() <= 1_100 + 80
    assert size.expected() <= size.at_most()


def test_a_provider_that_counts_next_to_nothing_is_not_believed() -> None:
    size = size_of("word " * 1_000)
    size.counted(1, tool_calls=0)

    assert size.expected() >= 5_000 // 8


def test_a_larger_margin_makes_a_larger_estimate() -> None:
    assert size_of("word " * 100, margin=2.0).expected() > size_of("word " * 100, margin=1.0).expected() + 90


@pytest.mark.parametrize(("text", "clean"), [("plain", "plain"), ("\ud83d half", "? half"), ("é 🚤", "é 🚤")])
def test_half_characters_become_question_marks(text: str, clean: str) -> None:
    assert without_surrogates(text) == clean


# What fits

PRICE = ModelPrice(2, 10, above=((1_000, ModelPrice(4, 20)),))
AMOUNTS = some.integers(0, 2_000)
LIMITS: dict[str, Any] = {
    "max_input_tokens": some.none() | AMOUNTS,
    "max_output_tokens": some.none() | AMOUNTS,
    "max_total_tokens": some.none() | AMOUNTS,
    "max_cost_usd": some.none() | some.floats(0, 0.05),
}


@settings(deadline=None)
@given(
    limits=some.fixed_dictionaries(LIMITS),
    spent=some.tuples(AMOUNTS, AMOUNTS),
    held=some.none() | some.tuples(AMOUNTS, AMOUNTS),
    own=some.none() | some.tuples(AMOUNTS, AMOUNTS),
    charged=some.none() | some.tuples(AMOUNTS, AMOUNTS),
    size=some.integers(1, 2_000),
    most=some.integers(1, 2_000),
)
def test_the_output_that_fits_is_granted_and_a_few_tokens_more_are_not(
    limits: dict[str, Any], spent: Any, held: Any, own: Any, charged: Any, size: int, most: int
) -> None:
    budget = CoordinationBudget(BudgetLimits(**limits))
    budget.record(amount(spent))
    with ExitStack() as leases:
        try:
            if held is not None:
                leases.enter_context(budget.try_begin_agent(amount(held)))
            lease = leases.enter_context(budget.try_begin_agent(None if own is None else amount(own)))
        except BudgetExhausted:
            return
        if charged is not None:
            lease.charge(amount(charged))
        if budget.is_exhausted or any(over != 0 for over in over_limit(budget, limits)):
            return

        worst = WorstCase(lease, PRICE, writes_cache=False)
        room = worst.output_that_fits(size, most)
        if room > 0 and worst.fits(worst.of(size, 0)):
            lease.reserve(worst.of(size, room))
        if room < most:
            with pytest.raises(BudgetExhausted):
                lease.reserve(worst.of(size, max(room, 0) + 2))


def amount(pair: tuple[int, int]) -> TokenAccounting:
    return PRICE.costed(TokenAccounting(input_tokens=pair[0], output_tokens=pair[1]))


def over_limit(budget: CoordinationBudget, limits: dict[str, Any]) -> list[float]:
    """By how much spend and holds together are over each limit: a lease that spent more than it held does that."""
    now = budget.snapshot()
    taken = {
        "max_input_tokens": now.input_tokens + now.held.input_tokens,
        "max_output_tokens": now.output_tokens + now.held.output_tokens,
        "max_total_tokens": now.total_tokens + now.held.total_tokens,
        "max_cost_usd": now.cost_usd + now.held.cost_usd,
    }
    return [max(0, taken[name] - limit) for name, limit in limits.items() if limit is not None]


def test_of_an_unknown_price_only_tokens_count() -> None:
    budget = CoordinationBudget(BudgetLimits(max_cost_usd=1e-6, max_output_tokens=500))
    with budget.try_begin_agent() as lease:
        worst = WorstCase(lease, None, writes_cache=True)

        assert worst.output_that_fits(1_000, 4_000) == 500
        assert worst.of(10, 10) == TokenAccounting(input_tokens=10, output_tokens=10, priced=False)


def test_a_cache_that_may_be_written_to_is_the_worst_case() -> None:
    price = ModelPrice(1, 1, cache_read=0.1, cache_write=1.25, cache_write_1h=2)
    with CoordinationBudget().try_begin_agent() as lease:
        written = WorstCase(lease, price, writes_cache=True).of(1_000_000, 0)
        plain = WorstCase(lease, price, writes_cache=False).of(1_000_000, 0)

    assert (written.cost_usd, plain.cost_usd) == (2.0, 1.0)
