"""One row of a picture: an agent, or one that was refused; and how the page is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ..durable.history import Fate
from ..durable.readings import was_withdrawn
from ..durable.records import Entry
from ..types import AgentSpec, TokenAccounting
from .rows import AgentRow, ms_between, shortened

__all__ = ["Place", "label_in", "row_of"]

_ERROR_CHARS = 200
_NAME_CHARS = 200
_PATH_CHARS = 2_000
_ITEM = "<<<item "


class Place:
    """One row of the picture: an agent, or one that the budget refused and that never had a fate."""

    __slots__ = ("at", "changed", "events", "fate", "label", "n", "parent", "path", "reason")

    def __init__(self, n: int, path: str) -> None:
        self.n = n
        self.path = path
        self.fate: Fate | None = None
        self.label = ""
        self.reason = ""  # why it was refused
        self.parent: str | None = None  # who had asked for it
        self.at = 0.0  # when
        self.changed = 0  # the number of the row that changed it last
        self.events: list[tuple[int, float, Entry | bytes]] = []  # number among the run's events, moment, what happened


def row_of(place: Place, specs: Mapping[str, AgentSpec], created: datetime) -> AgentRow:
    """What stands at ``place`` now, in a run that was created then."""
    fate = place.fate
    if fate is None:
        return _refused(place)
    spec, output, spent = specs.get(fate.spec), fate.output, fate.spent
    held = fate.started.hold if fate.status == "running" else TokenAccounting()
    if fate.status == "running":
        spent += fate.started.earlier
    ended = None if fate.status in ("running", "lost") else fate.ended_at
    return AgentRow(
        n=place.n,
        path=shortened(fate.path, _PATH_CHARS),
        name=shortened(fate.agent, _NAME_CHARS),
        role=shortened(fate.roles.rpartition("/")[2], _NAME_CHARS),
        parent=None if fate.parent is None else shortened(fate.parent, _PATH_CHARS),
        label=place.label,
        status=fate.status,
        first=ms_between(created, fate.first_started),
        began=ms_between(created, fate.began),
        ended=None if ended is None else ms_between(created, ended),
        worked=0.0 if output is None else round(output.duration_ms, 1),
        starts=fate.starts,
        lost=fate.lost,
        input=spent.input_tokens,
        output=spent.output_tokens,
        usd=spent.cost_usd,
        priced=spent.priced,
        held_input=held.input_tokens,
        held_output=held.output_tokens,
        held_usd=held.cost_usd,
        turns=0 if output is None else output.turns,
        tools=0 if output is None else output.tool_calls,
        task_chars=len(fate.task),
        answer_chars=0 if output is None else len(output.answer),
        model="" if spec is None else shortened(spec.model or "", _NAME_CHARS),
        error="" if output is None else shortened(output.error or "", _ERROR_CHARS),
    )


def _refused(place: Place) -> AgentRow:
    name = shortened(place.path.rpartition("/")[2], _NAME_CHARS)
    return AgentRow(
        n=place.n,
        path=shortened(place.path, _PATH_CHARS),
        name=name,
        role=name,
        parent=None if place.parent is None else shortened(place.parent, _PATH_CHARS),
        status="withdrawn" if was_withdrawn({"reason": place.reason}) else "refused",
        first=place.at,
        began=place.at,
        ended=place.at,
        error=shortened(place.reason, _ERROR_CHARS),
    )


def label_in(task: str) -> str:
    """Which item a mapper was given, as its prompt says."""
    start = 0 if task.startswith(_ITEM) else task.find("\n" + _ITEM) + 1
    if not task.startswith(_ITEM, start):
        return ""
    end = task.find("\n", start)
    return shortened(task[start + len(_ITEM) : end].removesuffix(">>>"), _NAME_CHARS)
