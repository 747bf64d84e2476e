"""The estimate that reservations are made with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.tokens import estimate_tokens

anything = st.text(st.characters(codec=None))  # lone surrogates, NUL and all


def test_no_text_costs_nothing() -> None:
    assert estimate_tokens("") == 0


@given(anything.filter(bool))
def test_any_text_costs_at_least_one_token_and_at_most_three_for_a_character(text: str) -> None:
    assert 1 <= estimate_tokens(text) <= 3 * len(text)


@given(st.lists(anything.map(str.strip)))
def test_a_sum_of_estimates_covers_the_texts_joined(parts: list[str]) -> None:
    assert estimate_tokens(" ".join(filter(None, parts))) <= sum(map(estimate_tokens, parts))


@pytest.mark.parametrize(
    ("text", "tokens"),  # as o200k_base counts them
    [("hello world", 2), ("Hello, world!", 4), ("The quick brown fox jumps over the lazy dog.", 10)],
)
def test_plain_english_is_counted_well(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ("incomprehensibilities", "cat"),
        ("1234567890", "123"),
        ("吾輩は猫である", "吾輩"),
        ("😀😀😀😀😀", "😀"),
        ("x = {'a': [1, 2]}", "x = a"),
        ("a\n\n\n        b", "a b"),
    ],
)
def test_more_of_the_same_kind_costs_more(more: str, less: str) -> None:
    assert estimate_tokens(more) > estimate_tokens(less)


@pytest.mark.parametrize("unit", ["word ", "a", "9", "字", "😀", " ", "\n", "\0", "_", "!", "é", "\ud800"])
def test_a_megabyte_of_anything_grows_in_proportion(unit: str) -> None:
    count = 1_000_000 // len(unit)
    once, tenth = estimate_tokens(unit * count), estimate_tokens(unit * (count // 10))

    assert once == pytest.approx(10 * tenth, rel=0.01)
