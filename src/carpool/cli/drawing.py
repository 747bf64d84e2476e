"""A board drawn for a terminal: one bar for the budget, counts, and the agents, all of them or the interesting few."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from rich.text import Text

from ..types import BudgetLimits, TokenAccounting
from .amounts import counted, dollars, seconds
from .board import Board, Place
from .terminal import ending_within, on_one_line, padded

__all__ = ["drawn"]

_STATES = {
    "running": ("▶", "cyan"),
    "finished": ("✓", "green"),
    "recalled": ("↺", "green"),
    "failed": ("✗", "red"),
    "cancelled": ("–", "yellow"),
    "refused": ("⊘", "yellow"),
    "withdrawn": ("⊘", "yellow"),
}
_BAR = 32
_NAME = 40


class _Gauge(NamedTuple):
    """One limit: what of it is spent, held and free, in words and as shares."""

    spent: float
    held: float
    words: str


def drawn(
    board: Board,
    limits: BudgetLimits,
    *,
    title: str,
    labels: Mapping[str, str],
    expected: int | None,
    now: datetime,
    width: int,
    height: int,
) -> Text:
    """At most ``height`` lines of at most ``width`` characters. ``labels`` say what an agent works on, by its name;
    ``expected`` is how many agents there will be."""
    elapsed = (now - board.began).total_seconds() if board.began else 0.0
    lines = [Text.assemble((title, "bold"), (f" · {seconds(max(0.0, elapsed))}", "dim")), _budget(board, limits)]
    lines.append(_counts(board, expected))
    if left := _left(board, expected):
        lines.append(Text(left, "dim"))
    notice = [Text(on_one_line(board.notice), "yellow")] if board.notice else []
    room = max(1, height - len(lines) - len(notice) - 1)
    lines += [Text(""), *_agents(board, labels, now, room - 1), *notice]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Text("\n").join(lines[:height])


# The budget


def _budget(board: Board, limits: BudgetLimits) -> Text:
    gauge = _tightest(board.booked, board.held, limits)
    if gauge is None:
        spent = board.booked
        return Text(f"{spent.total_tokens:,} tokens{_price(spent)} spent · no limit on spend", "dim")
    filled = min(_BAR, round(gauge.spent * _BAR))
    held = min(_BAR - filled, round(gauge.held * _BAR))
    return Text.assemble(
        ("█" * filled, "red" if gauge.spent >= 1 else "green"),
        ("▒" * held, "yellow"),
        ("░" * (_BAR - filled - held), "dim"),
        f" {gauge.words}",
    )


def _tightest(spent: TokenAccounting, held: TokenAccounting, limits: BudgetLimits) -> _Gauge | None:
    """The limit that is nearest to being reached."""
    gauges: list[_Gauge] = []
    for used, kept, most, unit in (
        (spent.total_tokens, held.total_tokens, limits.max_total_tokens, "tokens"),
        (spent.input_tokens, held.input_tokens, limits.max_input_tokens, "input tokens"),
        (spent.output_tokens, held.output_tokens, limits.max_output_tokens, "output tokens"),
    ):
        if most is not None:
            free = max(0, most - used - kept)
            words = f"{used:,} of {most:,} {unit} spent · {kept:,} held · {free:,} free"
            gauges.append(_Gauge(used / most if most else 1.0, kept / most if most else 0.0, words))
    if (cap := limits.max_cost_usd) is not None:
        free = max(0.0, cap - spent.cost_usd - held.cost_usd)
        words = f"{dollars(spent.cost_usd)} of {dollars(cap)} spent · {dollars(held.cost_usd)} held · "
        share = spent.cost_usd / cap if cap else 1.0
        gauges.append(_Gauge(share, held.cost_usd / cap if cap else 0.0, f"{words}{dollars(free)} free"))
    return max(gauges, key=lambda gauge: gauge.spent + gauge.held, default=None)


# Everybody


def _counts(board: Board, expected: int | None) -> Text:
    text = Text()
    numbers = {**board.counts, "running": len(board.running)}
    for state, (sign, style) in _STATES.items():
        if numbers.get(state):
            text.append("   " if text else "")
            text.append(f"{sign} {numbers[state]:,} {state}", style)
    asked = board.ended_count + board.kept_out_count + len(board.running)
    if expected is not None and expected > asked:
        text.append(f"   · {expected - asked:,} to come" if text else f"{expected:,} to come", "dim")
    return text or Text("nobody has started yet", "dim")


def _left(board: Board, expected: int | None) -> str:
    """What is still to be spent, if those to come cost as much as those who have ended."""
    ended = board.counts.get("finished", 0)
    if expected is None or not ended or not board.spent.total_tokens:
        return ""
    more = expected - board.ended_count - board.kept_out_count
    if more <= 0:
        return ""
    each = board.spent.total_tokens / board.ended_count
    price = board.spent.cost_usd / board.ended_count * more
    about = f" · about {dollars(price)}" if price else ""
    return f"about {round(each * more):,} tokens{about} more, for {counted(more, 'agent')}"


def _agents(board: Board, labels: Mapping[str, str], now: datetime, room: int) -> list[Text]:
    if board.all is not None and len(board.all) <= room:
        return _tree(board.all, labels, now)
    # The interesting few: who runs, longest first; what went wrong; who ended last.
    running = list(board.running.values())
    shown = running[: max(1, room // 2)] if running else []
    rest = room - len(shown) - (len(running) > len(shown))
    bad = list(board.bad)[-max(0, rest // 2) :] if rest > 1 else []
    good = [place for place in board.ended if place not in bad][-max(0, rest - len(bad)) :] if rest > len(bad) else []
    lines = [_line(place, labels, now, 0) for place in shown]
    if len(running) > len(shown):
        lines.append(Text(f"  and {len(running) - len(shown):,} more running", "dim"))
    return [*lines, *(_line(place, labels, now, 0) for place in (*bad, *reversed(good)))][:room]


def _tree(everybody: dict[str, Place], labels: Mapping[str, str], now: datetime) -> list[Text]:
    """In the order in which they were asked for, each under the agent that asked."""
    below: dict[str | None, list[Place]] = {}
    for place in everybody.values():
        below.setdefault(place.parent if place.parent in everybody else None, []).append(place)

    def lines(parent: str | None, depth: int) -> Iterable[Text]:
        for place in below.get(parent, ()):
            yield _line(place, labels, now, depth)
            yield from lines(place.path, depth + 1)

    return list(lines(None, 0))


def _line(place: Place, labels: Mapping[str, str], now: datetime, depth: int) -> Text:
    sign, style = _STATES[place.state]
    took = place.seconds
    if took is None and place.state == "running" and place.since is not None:
        took = max(0.0, (now - place.since).total_seconds())
    name = on_one_line(labels.get(place.agent, place.agent))
    name = padded(ending_within(name, _NAME), max(8, _NAME - 2 * depth))
    spent = f"{place.tokens.total_tokens:,} tokens{_price(place.tokens)}" if place.tokens.total_tokens else ""
    attempt = f"start {place.attempt}" if place.attempt > 1 else ""
    notes = " · ".join(part for part in (attempt, spent, on_one_line(place.note)) if part)
    return Text.assemble(
        "  " * depth,
        (f"{sign} ", style),
        name,
        (f"{'' if took is None else seconds(took):>9}  ", "dim"),
        (notes, "dim" if place.state in ("finished", "recalled") else style),
    )


def _price(tokens: TokenAccounting) -> str:
    if not tokens.priced:
        return " · price unknown"
    return f" · {dollars(tokens.cost_usd)}" if tokens.cost_usd else ""
