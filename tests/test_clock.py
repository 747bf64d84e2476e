"""The machine's clock, and ids."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from carpool.clock import Clock, SystemClock, new_id, utc_now


def test_monotonic_time_never_goes_back() -> None:
    clock = SystemClock()

    seen = [clock.monotonic() for _ in range(1_000)]

    assert seen == sorted(seen)
    assert all(isinstance(each, float) for each in seen)


def test_two_system_clocks_tell_the_same_time() -> None:
    before, after = SystemClock().monotonic(), SystemClock().monotonic()

    assert 0 <= after - before < 5


@pytest.mark.parametrize("now", [SystemClock().now, utc_now])
def test_wall_time_is_utc_and_says_so(now) -> None:
    told = now()

    assert told.utcoffset() == timedelta(0)
    assert abs(told - datetime.now(UTC)) < timedelta(seconds=5)


def test_wall_time_moves_on() -> None:
    clock = SystemClock()
    first = clock.now()

    assert clock.now() >= first


def test_a_clock_of_ones_own_needs_two_methods_and_no_base_class() -> None:
    class Stopped:
        def monotonic(self) -> float:
            return 7.0

        def now(self) -> datetime:
            return datetime(2025, 1, 1, tzinfo=UTC)

    clock: Clock = Stopped()

    assert clock.monotonic() == 7.0


@pytest.mark.parametrize("digits", [1, 2, 7, 8, 12, 31, 32])
def test_an_id_has_so_many_hexadecimal_digits(digits: int) -> None:
    made = new_id(digits)

    assert len(made) == digits
    assert set(made) <= set("0123456789abcdef")


def test_ids_differ() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_every_digit_of_an_id_is_chance() -> None:
    made = [new_id(7) for _ in range(2_000)]

    for place in range(7):
        assert len({each[place] for each in made}) == 16
