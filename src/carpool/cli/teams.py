"""``carpool init``, ``check`` and ``schema``: writing a team file, and knowing whether it is understood."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
from cyclopts import Parameter

from ..patterns import MapReduce
from ..teams import starter, team_schema
from .assembly import Assembly
from .environment import at_most
from .plan import told, verdict
from .team import team_at
from .terminal import OutputClosedError, Screen
from .usage import DONE, FAILED, UsageError

__all__ = ["check", "init", "schema"]

_FORMATS = {".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json"}


def init(
    file: Annotated[Path, Parameter(name="FILE", help="Where to; the ending says the format.")] = Path("team.yaml"),
    /,
) -> int:
    """Write a team file to begin from."""
    if file.suffix not in _FORMATS:
        raise UsageError(f"{file}: a team file ends in {', '.join(_FORMATS)}")
    text = starter(cast("Literal['yaml', 'toml', 'json']", _FORMATS[file.suffix]))
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise UsageError(f"{file}: there is one already, and it is left as it is; name another") from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    Screen().say((f"{file} is a team that runs as it is: carpool run {file}", ""))
    return DONE


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
    try:
        screen.answer(told(work, planned, budget, *verdict(planned, budget)))
        if inputs:
            screen.say(("the items are given when it runs: carpool run FILE --items …; they are not counted here", ""))
    except OutputClosedError:
        return FAILED
    return DONE


def schema() -> int:
    """Print the JSON Schema of team files."""
    try:
        Screen().answer(msgspec.json.format(msgspec.json.encode(team_schema())).decode())
    except OutputClosedError:
        return FAILED
    return DONE
