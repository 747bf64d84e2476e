"""The board of a run, told by its events, and its drawing: never wider, higher or older than it may be."""

from datetime import UTC, datetime, timedelta

import pytest

from carpool import BudgetLimits, TokenAccounting
from carpool.cli.board import Board
from carpool.cli.drawing import drawn
from carpool.events import (
    ActionExecuting,
    AgentCancelled,
    AgentFailed,
    AgentFinished,
    AgentReplayed,
    AgentRetrying,
    AgentSkipped,
    AgentStarted,
    BudgetExhausted,
)

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
COST = TokenAccounting(input_tokens=100, output_tokens=20, cost_usd=0.5)


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def started(name: str, seconds: float = 0, **fields) -> AgentStarted:
    return AgentStarted(agent=name, path=f"run/{name}", timestamp=at(seconds), **fields)


def finished(name: str, seconds: float = 1, **fields) -> AgentFinished:
    return AgentFinished(agent=name, path=f"run/{name}", timestamp=at(seconds), duration_ms=1e3, tokens=COST, **fields)


def told(*events) -> Board:
    board = Board()
    for event in events:
        board.tell(event)
    return board


def lines(board: Board, limits=BudgetLimits(), *, expected=None, width=120, height=40, seconds=2.0, labels=None):  # noqa: B008
    text = drawn(
        board, limits, title="team", labels=labels or {}, expected=expected, now=at(seconds), width=width, height=height
    )
    return text.plain.split("\n")


def test_each_agent_is_in_one_state_and_all_are_counted() -> None:
    board = told(
        *(started(name) for name in "abcd"),
        finished("a"),
        AgentFailed(agent="b", path="run/b", duration_ms=5, error="OSError: no", tokens=COST),
        AgentCancelled(agent="c", path="run/c", duration_ms=5, tokens=COST),
        AgentSkipped(agent="e", path="run/e", reason="no room"),
        AgentReplayed(agent="f", path="run/f", tokens=COST),
    )

    assert board.counts == {"finished": 1, "failed": 1, "cancelled": 1, "refused": 1, "recalled": 1}
    assert list(board.running) == ["run/d"]
    assert board.spent.total_tokens == 480
    (counts,) = [line for line in lines(board) if "running" in line]
    assert counts == "▶ 1 running   ✓ 1 finished   ↺ 1 recalled   ✗ 1 failed   – 1 cancelled   ⊘ 1 refused"


def test_the_bar_of_a_resumed_run_begins_with_what_was_spent_before() -> None:
    board = Board(before=TokenAccounting(input_tokens=500))
    for event in (
        AgentReplayed(agent="a", path="vote/a", tokens=TokenAccounting(input_tokens=100)),  # it is among the 500
        AgentStarted(agent="b", path="vote/b"),
        AgentFinished(agent="b", path="vote/b", tokens=TokenAccounting(input_tokens=100)),
    ):
        board.tell(event)

    assert "600 of 1,000 tokens spent" in lines(board, BudgetLimits(max_total_tokens=1_000))[1]
    assert "600 tokens spent · no limit" in lines(board, BudgetLimits())[1]
    assert board.spent.total_tokens == 200


def test_what_is_held_is_shown_beside_what_is_spent_and_what_is_free() -> None:
    board = told(started("a", held=COST), started("b", held=COST), finished("a"))
    bar = lines(board, BudgetLimits(max_total_tokens=480))[1]

    assert bar.endswith("120 of 480 tokens spent · 120 held · 240 free")
    assert (bar.count("█"), bar.count("▒"), bar.count("░")) == (8, 8, 16)


def test_the_limit_that_is_nearest_is_the_one_that_is_drawn() -> None:
    board = told(started("a"), finished("a"))

    assert "$0.50 of $1.00 spent" in lines(board, BudgetLimits(max_total_tokens=10_000, max_cost_usd=1))[1]
    assert "of 200 tokens spent" in lines(board, BudgetLimits(max_total_tokens=200, max_cost_usd=100))[1]
    assert "no limit on spend" in lines(board)[1]


@pytest.mark.parametrize("limits", [BudgetLimits(max_total_tokens=0), BudgetLimits(max_cost_usd=0)])
def test_a_limit_of_nothing_is_full(limits) -> None:
    assert lines(told(), limits)[1].startswith("█" * 32)


def test_overspending_does_not_break_the_bar() -> None:
    bar = lines(told(started("a", held=COST), finished("a"), finished("b")), BudgetLimits(max_total_tokens=100))[1]

    assert bar.startswith("█" * 32 + " ")
    assert "0 free" in bar


def test_what_is_left_is_estimated_from_what_has_ended() -> None:
    board = told(started("a"), finished("a"), started("b"))
    text = "\n".join(lines(board, expected=5))

    assert "3 to come" in text
    assert "about 480 tokens · about $2.00 more, for 4 agents" in text
    assert "more, for" not in "\n".join(lines(board))


def test_a_small_team_is_shown_whole_each_agent_under_who_asked_for_it() -> None:
    board = told(
        started("main"),
        AgentStarted(agent="helper", path="run/main/helper", parent="run/main", timestamp=at(1)),
        started("other", 1),
    )
    shown = [line.split()[:2] for line in lines(board)[4:]]
    helper = next(line for line in lines(board) if "helper" in line)

    assert shown == [["▶", "main"], ["▶", "helper"], ["▶", "other"]]
    assert helper.startswith("  ▶ ")


def test_of_ten_thousand_agents_the_few_that_matter_are_shown_and_kept() -> None:
    board = Board()
    for number in range(10_000):
        board.tell(started(f"m_{number}"))
        if number % 100 == 50:
            board.tell(AgentFailed(agent=f"m_{number}", path=f"run/m_{number}", error="OSError: no", tokens=COST))
        elif number < 9_900:
            board.tell(finished(f"m_{number}"))
    shown = lines(board, height=20)

    assert len(shown) <= 20
    assert board.all is None
    assert len(board.ended) + len(board.bad) <= 128
    assert any("and 92 more running" in line for line in shown)
    assert sum("OSError" in line for line in shown) >= 2
    assert sum(line.startswith("▶ m_") for line in shown) >= 5


@pytest.mark.parametrize("height", [6, 7, 10, 24])
@pytest.mark.parametrize("width", [20, 80])
@pytest.mark.parametrize("agents", [0, 1, 5, 200])
def test_a_drawing_fits_its_terminal(height: int, width: int, agents: int) -> None:
    board = told(*(started(f"agent with a long name {n}") for n in range(agents)), BudgetExhausted(reason="no" * 200))
    shown = lines(board, BudgetLimits(max_cost_usd=1), width=width, height=height, expected=agents * 2)

    assert len(shown) <= height
    assert max(map(len, shown)) <= width


def test_names_and_errors_can_not_move_the_cursor() -> None:
    board = told(
        started("\x1b[2Jevil\nname"),
        AgentFailed(agent="b", path="run/b", error="\x1b]0;title\x07\r\n"),
        AgentRetrying(agent="c", path="run/c", attempt=2, error="\x9b31m"),
    )
    text = "\n".join(lines(board))

    assert not {"\x1b", "\x9b", "\x07", "\r"} & set(text)


def test_an_agent_is_told_by_its_item_and_shows_the_tool_it_is_at() -> None:
    board = told(started("mapper_0"), ActionExecuting(agent="mapper_0", path="run/mapper_0", tool="search", action="1"))
    (line,) = [line for line in lines(board, labels={"mapper_0": "docs/" + "x" * 60 + "/end.md"}) if "end.md" in line]

    assert "…" in line
    assert line.endswith("search")


def test_who_never_started_is_told_from_who_was_refused() -> None:
    board = told(
        AgentSkipped(agent="poor", path="run/poor", reason="the limit is reached"),
        AgentSkipped(agent="late", path="run/late", reason="never started: CancelledError"),
        AgentSkipped(agent="poison", path="run/poison", reason="never started: poison: the process died 4 times"),
    )

    assert board.counts == {"refused": 1, "withdrawn": 2}
    assert (board.ended_count, board.kept_out_count) == (0, 3)
    assert [(place.agent, place.note) for place in board.bad] == [
        ("poor", "the limit is reached"),
        ("poison", "poison: the process died 4 times"),
    ]
    assert any("⊘ 2 withdrawn" in line for line in lines(board))
