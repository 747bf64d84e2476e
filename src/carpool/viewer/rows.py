"""What the page is told of a run: one row for each agent, points of the budget's burn, and what goes around them.

Times are milliseconds since the run was created, to a tenth; absolute ones, milliseconds since 1970. Long texts are
not in here: the page asks for them when somebody looks at an agent.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

__all__ = ["AgentRow", "BurnPoint", "LimitsRow", "Page", "Summary", "epoch_ms", "ms_between", "shortened"]


class AgentRow(Struct, array_like=True, frozen=True, kw_only=True):
    """One agent. ``n`` is its number in the run, from 0, in the order in which it was first heard of.

    ``status``: ``running``, ``completed``, ``failed``, ``cancelled``, ``lost``; ``refused`` by the budget; or
    ``withdrawn``, never started for another reason. ``first`` and ``began`` are its first and its last start;
    ``worked`` is how long its runner says it was at work. ``label`` is the item that it was given. Tokens and dollars
    are those of all its starts; those that it still holds stand beside them.
    """

    n: int
    path: str
    name: str
    role: str
    parent: str | None
    label: str = ""
    status: str
    first: float
    began: float
    ended: float | None
    worked: float = 0.0
    starts: int = 0
    lost: int = 0
    input: int = 0
    output: int = 0
    usd: float = 0.0
    priced: bool = True
    held_input: int = 0
    held_output: int = 0
    held_usd: float = 0.0
    turns: int = 0
    tools: int = 0
    task_chars: int = 0
    answer_chars: int = 0
    model: str = ""
    error: str = ""


class BurnPoint(Struct, array_like=True, frozen=True, kw_only=True):
    """The budget from ``t`` on: what all agents have spent, what those at work hold, how many they are, and how many
    starts there were."""

    t: float
    input: int
    output: int
    usd: float
    held_input: int
    held_output: int
    held_usd: float
    running: int
    starts: int


class LimitsRow(Struct, array_like=True, frozen=True, kw_only=True):
    """The limits from ``t`` on; ``None`` is no limit."""

    t: float
    total: int | None
    input: int | None
    output: int | None
    usd: float | None
    agents: int | None
    seconds: float | None


class Summary(Struct, frozen=True, kw_only=True):
    """A run, as a list of runs shows it. ``task`` is the beginning of a text of ``task_chars`` characters."""

    run: str
    pattern: str
    status: str
    live: bool
    error: str | None
    task: str
    task_chars: int
    created: float
    updated: float
    duration: float
    processes: int
    started: int
    completed: int
    failed: int
    cancelled: int
    tokens: int
    usd: float
    priced: bool
    limits: dict[str, float]


class Page(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is new of a run since a cursor, or a part of it if that is much: then there is ``more``.

    ``cursor`` is what to ask with next. ``fresh`` says that what was told before is to be forgotten, because it was of
    another run by the same name.
    """

    run: Summary
    cursor: str
    now: float
    fresh: bool = False
    more: bool = False
    agents: list[AgentRow] = []
    burn: list[BurnPoint] = []
    limits: list[LimitsRow] = []
    notes: list[dict[str, Any]] = []


def epoch_ms(moment: datetime) -> float:
    return round(moment.timestamp() * 1e3, 1)


def ms_between(begin: datetime, moment: datetime) -> float:
    return round((moment - begin).total_seconds() * 1e3, 1)


def shortened(text: str, most: int) -> str:
    """The beginning of ``text``, with an ellipsis where more was."""
    return text if len(text) <= most else text[: most - 1] + "…"
