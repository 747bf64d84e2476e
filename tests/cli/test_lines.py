"""One line for each change of state."""

from datetime import UTC, datetime, timedelta

import pytest

from carpool import TokenAccounting
from carpool.cli.lines import Lines
from carpool.cli.terminal import width_of
from carpool.events import (
    ActionExecuting,
    AgentCancelled,
    AgentEvent,
    AgentFailed,
    AgentFinished,
    AgentReplayed,
    AgentRetrying,
    AgentSkipped,
    AgentStarted,
    BudgetExhausted,
    BudgetWarning,
    Event,
    RunFinished,
    RunStarted,
)

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
LATER = BEGAN + timedelta(seconds=1.5)
SPENT = TokenAccounting(input_tokens=1_000, output_tokens=204, cost_usd=0.0125)


def line(event: Event, names: list[str] | None = None, labels: dict[str, str] | None = None) -> str | None:
    lines = Lines(names or ["a"], labels or {})
    lines.of(RunStarted(timestamp=BEGAN))
    pieces = lines.of(event)
    return None if pieces is None else "".join(text for text, _ in pieces).rstrip()


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (AgentStarted(agent="a", timestamp=BEGAN), "  0.00 s  started   a"),
        (
            AgentFinished(agent="a", timestamp=LATER, duration_ms=1500, tokens=SPENT),
            "  1.50 s  finished  a     1.5 s   1,204 tokens · $0.0125",
        ),
        (AgentFinished(agent="a", timestamp=LATER, duration_ms=1500), "  1.50 s  finished  a     1.5 s"),
        (
            AgentFailed(agent="a", timestamp=LATER, duration_ms=20, error="ValueError: no\nkey"),
            "  1.50 s  failed    a     20 ms   ValueError: no key",
        ),
        (AgentCancelled(agent="a", timestamp=LATER, duration_ms=20), "  1.50 s  cancelled a     20 ms"),
        (AgentSkipped(agent="a", timestamp=LATER, reason="limit reached"), "  1.50 s  refused   a"),
        (AgentSkipped(agent="a", timestamp=LATER, reason="never started: CancelledError"), "  1.50 s  withdrawn a"),
        (
            AgentReplayed(agent="a", timestamp=LATER, tokens=SPENT),
            "  1.50 s  recalled  a             1,204 tokens · $0.0125",
        ),
        (
            AgentRetrying(agent="a", timestamp=LATER, attempt=2, error="ValueError: no"),
            "  1.50 s  retrying  a  start 2, after ValueError: no",
        ),
        (
            BudgetWarning(timestamp=LATER, dimension="total_tokens", spent=810, limit=1_000),
            "  1.50 s  budget    nearly spent: 810 of 1,000 tokens",
        ),
        (
            BudgetWarning(timestamp=LATER, dimension="cost_usd", spent=0.81, limit=1),
            "  1.50 s  budget    nearly spent: $0.81 of $1.00",
        ),
        (BudgetExhausted(timestamp=LATER, reason="limit reached"), "  1.50 s  budget    limit reached"),
    ],
)
def test_a_change_is_one_line(event: Event, told: str) -> None:
    assert line(event) == told


@pytest.mark.parametrize("event", [RunFinished(), ActionExecuting(agent="a"), AgentStarted(agent="a", attempt=2)])
def test_what_is_no_change_for_a_reader_is_no_line(event: Event) -> None:
    assert line(event) is None


def test_a_price_that_is_not_known_is_told() -> None:
    unpriced = TokenAccounting(input_tokens=5, priced=False)

    assert "5 tokens · price unknown" in str(line(AgentFinished(agent="a", tokens=unpriced)))


def test_an_agent_at_an_item_is_told_by_the_item() -> None:
    started = AgentStarted(agent="mapper_3", timestamp=BEGAN)

    assert line(started, labels={"mapper_3": "docs/page.md"}) == "  0.00 s  started   docs/page.md"


def test_names_stand_in_a_column() -> None:
    short, long = (
        line(AgentFinished(agent=name, timestamp=LATER, duration_ms=5), ["a", "a_long_name"])
        for name in ("a", "a_long_name")
    )

    assert str(short).index("5 ms") == str(long).index("5 ms")


def test_a_name_that_nobody_has_foreseen_does_not_run_into_what_is_told_of_it() -> None:
    poison = AgentSkipped(agent="a_long_name", timestamp=LATER, reason="never started: poison")

    assert str(line(poison)).endswith("withdrawn a_long_name  poison")


def test_a_column_may_be_wider_than_the_names_that_are_known() -> None:
    lines = Lines([], {}, at_least=16)
    told = [
        "".join(text for text, _ in lines.of(AgentFinished(agent=name, duration_ms=5)) or []) for name in ("a", "bc")
    ]

    assert {each.index("5 ms") for each in told} == {20 + 16 + 2 + 4}


def test_on_a_narrow_terminal_a_path_keeps_its_end() -> None:
    lines = Lines([], {"mapper_0": "a/very/long/way/down/to/page.md"}, width=80)

    pieces = lines.of(AgentStarted(agent="mapper_0", timestamp=BEGAN))

    assert pieces is not None
    assert pieces[2][0] == "…ong/way/down/to/page.md  "


@pytest.mark.parametrize("event", [AgentStarted, AgentFinished, AgentFailed, AgentSkipped, AgentRetrying])
def test_a_name_can_command_no_terminal(event: type[AgentEvent]) -> None:
    told = line(event(agent="\x1b[2Ja\nb", timestamp=BEGAN))

    assert "\\x1b[2Ja b" in str(told)


def test_why_an_agent_never_started_is_told_unless_it_was_cancelled() -> None:
    poison = AgentSkipped(agent="a", timestamp=LATER, reason="never started: poison: the process died 4 times")

    assert line(poison) == "  1.50 s  withdrawn a  poison: the process died 4 times"


def test_wide_characters_stand_in_the_column_too() -> None:
    names = ["abcdef", "日本語"]
    told = [line(AgentFinished(agent=name, timestamp=LATER, duration_ms=5), names) for name in names]

    assert [width_of(str(each).partition("5 ms")[0]) for each in told] == [32, 32]
