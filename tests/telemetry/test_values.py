"""Facts as values of attributes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool import TokenAccounting
from carpool.telemetry.values import amounts, failure, instant, text, usage


@given(st.integers(0, 10**16))
def test_an_instant_is_exact_to_the_microsecond(passed: int) -> None:
    assert instant(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=passed)) == passed * 1_000


def test_an_instant_is_the_same_in_every_zone_and_utc_where_none_is_given() -> None:
    at = datetime(2026, 5, 1, 12, tzinfo=UTC)

    assert instant(at.astimezone(timezone(timedelta(hours=-7)))) == instant(at) == instant(at.replace(tzinfo=None))


def test_what_was_before_1970_is_at_its_beginning() -> None:
    assert instant(datetime(1950, 1, 1, tzinfo=UTC)) == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("ValueError: no", "ValueError"),
        ("ValueError: ", "ValueError"),
        ("CancelledError", "CancelledError"),
        ("timed out after 2.5 s (timeout_s)", "timeout"),
        ("timed out after a while", "_OTHER"),
        ("it went wrong: badly", "_OTHER"),
        ("ÄError: x", "_OTHER"),
        ("x" * 200 + ": y", "_OTHER"),
        ("", "_OTHER"),
    ],
)
def test_the_type_of_an_error_is_a_class_a_timeout_or_other(error: str, kind: str) -> None:
    assert failure(error) == (kind, text(error))


def test_a_long_text_is_cut_and_says_how_long_it_was() -> None:
    assert text("x" * 1_000) == "x" * 1_000
    assert text("x" * 2_500) == "x" * 1_000 + "… (2,500 characters)"


def test_half_a_character_is_a_question_mark() -> None:
    assert text("a\ud83d ü") == "a? ü"


def test_cached_tokens_are_there_only_where_there_are_any() -> None:
    assert usage(TokenAccounting(input_tokens=5)) == {
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 0,
        "carpool.usage.cost_usd": 0.0,
    }


def test_an_unknown_price_is_said_to_be_unknown() -> None:
    assert amounts("x", TokenAccounting(priced=False))["x.priced"] is False
