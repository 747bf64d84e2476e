"""``carpool check``: whether a team file is understood, and what it may start and spend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ..patterns import MapReduce
from .assembly import Assembly
from .environment import at_most
from .plan import told, verdict
from .team_assembly import team_at
from .terminal import Screen
from .usage import DONE

__all__ = ["check"]


def check(file: Annotated[Path, Parameter(name="FILE", help="A team file.")], /) -> int:
    """Say whether a team file is understood, and what it may start and spend at most."""
    team = team_at(file)
    work = Assembly(pattern=team.pattern, task=team.task or "", names=[])
    budget = at_most(team.budget)
    inputs: dict[str, Any] = {}
    if isinstance(team.pattern, MapReduce) and team.items is None:
        inputs = {"items": []}
    planned = team.pattern.plan(work.task, **inputs)
    screen = Screen()
    screen.answer(told(work, planned, budget, *verdict(planned, budget)))
    if inputs:
        screen.say(("the items are given when it runs: carpool run FILE --items …; they are not counted here", ""))
    return DONE
