"""When two answers are the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.patterns.vote import normalise


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris", "paris"),
        ("Paris", "  Paris.\n"),
        ("Paris", "**Paris**"),
        ("Paris", '"Paris!"'),
        ("new  york", "New\tYork"),
        ("Straße", "STRASSE"),
        ("５", "5"),
        ("ﬁne", "fine"),
        ("(yes)", "yes"),
        ("«oui»", "oui"),
    ],
)
def test_the_same_answer(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5", "-5"),
        ("5", "5%"),
        ("$5", "5"),
        ("0.5", "5"),
        (".5", "5"),
        ("C", "C#"),
        ("C", "C++"),
        ("a b", "ab"),
        ("!", "?"),
    ],
)
def test_another_answer(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(min_size=1))
def test_an_answer_never_becomes_nothing(text: str) -> None:
    assert normalise(text) or not text.strip()
