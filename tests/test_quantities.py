"""Limits as people type them, and what is said about what can't be read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from carpool.quantities import parse_limits
from carpool.types import BudgetLimits

CALM = settings(deadline=None, print_blob=True)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        (
            "500k tokens, $2.50, 20 agents, 10m",
            {"max_total_tokens": 500_000, "max_cost_usd": 2.5, "max_agents": 20, "max_seconds": 600},
        ),
        (" , ,20 agents,", {"max_agents": 20}),
        # tokens
        ("500 tokens", {"max_total_tokens": 500}),
        ("1 token", {"max_total_tokens": 1}),
        ("0 tokens", {"max_total_tokens": 0}),
        ("1.5k tokens", {"max_total_tokens": 1_500}),
        ("2.3m tokens", {"max_total_tokens": 2_300_000}),
        ("0.29m tokens", {"max_total_tokens": 290_000}),
        (".5k tokens", {"max_total_tokens": 500}),
        ("1g tokens", {"max_total_tokens": 1_000_000_000}),
        ("10M tokens", {"max_total_tokens": 10_000_000}),
        ("500K Tokens", {"max_total_tokens": 500_000}),
        ("500k total tokens", {"max_total_tokens": 500_000}),
        ("200k input tokens, 50k output tokens", {"max_input_tokens": 200_000, "max_output_tokens": 50_000}),
        (
            "1k input tokens, 2k output tokens, 3k tokens",
            {"max_input_tokens": 1_000, "max_output_tokens": 2_000, "max_total_tokens": 3_000},
        ),
        ("1_000_000 tokens", {"max_total_tokens": 1_000_000}),
        ("18446744073709551615 tokens", {"max_total_tokens": 2**64 - 1}),
        # a comma between digits groups thousands
        ("1,000 agents", {"max_agents": 1_000}),
        ("1,000,000 tokens,5 agents", {"max_total_tokens": 1_000_000, "max_agents": 5}),
        ("$1,234.50, 5 agents", {"max_cost_usd": 1_234.5, "max_agents": 5}),
        ("10m,500 agents", {"max_seconds": 600, "max_agents": 500}),
        # dollars
        ("$0", {"max_cost_usd": 0.0}),
        ("$2", {"max_cost_usd": 2.0}),
        ("$ 2.50", {"max_cost_usd": 2.5}),
        ("$.5", {"max_cost_usd": 0.5}),
        ("$0.0000004", {"max_cost_usd": 0.0000004}),
        ("2.50 usd", {"max_cost_usd": 2.5}),
        ("3 dollars", {"max_cost_usd": 3.0}),
        ("1 DOLLAR", {"max_cost_usd": 1.0}),
        # agents
        ("1 agent", {"max_agents": 1}),
        ("0 agents", {"max_agents": 0}),
        ("2k agents", {"max_agents": 2_000}),
        ("20agents", {"max_agents": 20}),
        # time
        ("90s", {"max_seconds": 90}),
        ("10 m", {"max_seconds": 600}),
        ("10M", {"max_seconds": 600}),
        ("1.5h", {"max_seconds": 5_400}),
        ("1h30m", {"max_seconds": 5_400}),
        ("1h 30m 15s", {"max_seconds": 5_415}),
        ("2d", {"max_seconds": 172_800}),
        ("250ms", {"max_seconds": 0.25}),
        ("10 min", {"max_seconds": 600}),
        ("0s", {"max_seconds": 0}),
        # depth
        ("depth 3", {"max_depth": 3}),
        ("Depth 0", {"max_depth": 0}),
    ],
)
def test_what_people_type_is_read(text: str, limits: dict[str, Any]) -> None:
    assert BudgetLimits.parse(text) == BudgetLimits(**limits)
    assert parse_limits(text) == limits


UNREADABLE = [
    "500k",
    "20",
    "agents",
    "tokens 500",
    "$",
    "depth",
    "-5 agents",
    "- 5 agents",
    "+5 agents",
    "$-1",
    "-$1",
    "-10m",
    "1.5 agents",
    "0.5 tokens",
    "1.2345k tokens",
    "depth 1.5",
    "depth -1",
    "nan tokens",
    "inf agents",
    "$inf",
    "$nan",
    "1e6 tokens",
    "$1e3",
    "0x10 agents",
    "ten agents",
    "½ agents",
    "² agents",
    "5 €",
    "2.50$",
    "$2 usd",
    "$1 $2",
    "1..5 agents",
    "1. agents",
    "20 agents 10m",
    "20 agents; 10m",
    "20 agents and 10m",
    "20 agents\n10m",
    "10 parsecs",
    "10mm",
    "1h30",
    "m",
    "500 k k tokens",
    "500k tokensx",
    "x500k tokens",
    "5 agents of 10",
    "unlimited",
    "none",
    "\x00",
    "max_agents=5",
    "'5 agents'",
]


@pytest.mark.parametrize("text", ["", "  ", ",", " , ,\n"])
def test_a_text_that_names_no_limit_does_not_mean_no_limit(text: str) -> None:
    with pytest.raises(ValueError, match="says no tokens or dollars, and no other limit; write for example") as error:
        BudgetLimits.parse(text)

    assert repr(text) in str(error.value)


@pytest.mark.parametrize("part", UNREADABLE)
def test_the_part_that_can_not_be_read_is_named(part: str) -> None:
    with pytest.raises(ValueError, match="budget"):
        BudgetLimits.parse(part)
    with pytest.raises(ValueError, match="budget") as error:
        BudgetLimits.parse(f"7 tokens, {part}, $3")

    assert repr(part) in str(error.value)
    assert "'7 tokens'" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("$2,50", "50"),
        ("1,0000 agents", "1"),
        ("1,00 agents", "1"),
        ("12,34,567 agents", "12"),
        ("5 agents, 500", "500"),
    ],
)
def test_a_comma_that_groups_no_thousands_separates(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=f"'{named}'"):
        BudgetLimits.parse(text)


@pytest.mark.parametrize("text", ["$2.50,100", "$2.50,100,000", "1.5,000k tokens"])
def test_a_comma_behind_a_fraction_groups_nothing(text: str) -> None:
    """Two dollars fifty and something unreadable; never 2.501 dollars."""
    with pytest.raises(ValueError, match="budget"):
        BudgetLimits.parse(text)


@pytest.mark.parametrize(
    ("text", "name", "part"),
    [
        ("5 agents, 6 agents", "max_agents", "6 agents"),
        ("10m, 5 tokens, 5s", "max_seconds", "5s"),
        ("500k tokens, 1k total tokens", "max_total_tokens", "1k total tokens"),
        ("$1, 1 usd", "max_cost_usd", "1 usd"),
        ("depth 2, depth 2", "max_depth", "depth 2"),
    ],
)
def test_a_limit_that_is_set_twice_is_refused_by_name(text: str, name: str, part: str) -> None:
    with pytest.raises(ValueError, match=name) as error:
        BudgetLimits.parse(text)

    assert repr(part) in str(error.value)


@pytest.mark.parametrize("part", ["$" + "9" * 400, "9" * 400 + "h", "depth " + "9" * 5_000])
def test_a_number_beyond_all_floats_is_refused_by_its_part(part: str) -> None:
    with pytest.raises(ValueError, match="budget") as error:
        BudgetLimits.parse(f"5 agents, {part}")

    assert part[:12] in str(error.value).removeprefix(f"budget {f'5 agents, {part}'!r}")


@pytest.mark.parametrize("part", ["9" * 400 + " agents", "9" * 400 + "g tokens"])
def test_a_count_of_any_length_is_read_or_refused_as_a_value(part: str) -> None:
    try:
        limits = BudgetLimits.parse(part)
    except ValueError:
        return
    assert max(limits.max_agents or 0, limits.max_total_tokens or 0) >= int("9" * 400)


@pytest.mark.parametrize(
    "text", ["1s" * 5_000 + "!", "1" * 50_000, "1h " * 5_000 + "x", " " * 50_000 + "x", "1,111" * 5_000]
)
def test_a_long_text_that_can_not_be_read_is_refused_soon(text: str) -> None:
    with pytest.raises(ValueError, match="budget"):
        BudgetLimits.parse(text)


def test_an_error_shows_how_to_write_it() -> None:
    with pytest.raises(ValueError, match="500k tokens"):
        BudgetLimits.parse("lots")


# Any text

NUMBERS = st.sampled_from(["5", "1,000", "2.5", ".5", "$", "_", "-", "\u0663"])  # the last is an Arabic three
UNITS = st.sampled_from(["k", "m", "g", "h", "s", "ms", "d", "tokens", "agents", "usd", "depth ", "input ", "output "])
PIECES = NUMBERS | UNITS | st.sampled_from([" ", ",", ", ", "\n", "é"])


@CALM
@given(text=st.lists(PIECES, max_size=8).map("".join) | st.text("09.,$ mkhs\té\0", max_size=20))
def test_any_text_is_limits_or_a_value_error_that_shows_it(text: str) -> None:
    try:
        limits = BudgetLimits.parse(text)
    except ValueError as error:
        shown = str(error)
    else:
        assert isinstance(limits, BudgetLimits)
        return
    assert repr(text) in shown


@CALM
@given(
    tokens=st.none() | st.integers(0, 10**15),
    read=st.none() | st.integers(0, 10**9),
    cents=st.none() | st.integers(0, 10**8),
    agents=st.none() | st.integers(0, 10**6),
    seconds=st.none() | st.integers(0, 10**6),
    depth=st.none() | st.integers(0, 99),
    mixed=st.randoms(use_true_random=False),
    grouped=st.booleans(),
)
def test_what_is_written_out_is_read_back_in_any_order(
    tokens, read, cents, agents, seconds, depth, mixed, grouped
) -> None:
    comma = "," if grouped else ""
    parts = {
        "max_total_tokens": (tokens, f"{tokens or 0:{comma}} tokens"),
        "max_input_tokens": (read, f"{read or 0:{comma}} input tokens"),
        "max_cost_usd": (None if cents is None else cents / 100, f"${(cents or 0) / 100:{comma}.2f}"),
        "max_agents": (agents, f"{agents or 0:{comma}} agents"),
        "max_seconds": (seconds, f"{seconds}s"),
        "max_depth": (depth, f"depth {depth}"),
    }
    given_parts = [(name, value, text) for name, (value, text) in parts.items() if value is not None]
    assume(given_parts)
    mixed.shuffle(given_parts)

    limits = BudgetLimits.parse(", ".join(text for _, _, text in given_parts))

    assert limits == BudgetLimits(**{name: value for name, value, _ in given_parts})
