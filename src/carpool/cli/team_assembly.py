"""A team file, with what flags and environment say in its place: flags before environment before file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..patterns import MapReduce
from ..teams import TeamFile, read_team
from .assembly import Assembly, items_of
from .flags import Flags
from .usage import UsageError

__all__ = ["assemble_team", "team_at"]

_IN_THE_FILE = (
    *("pattern", "agent", "synthesizer", "mode", "rounds", "criterion", "max_uses", "quorum", "fan_in"),
    *("reduce_chars", "estimate", "max_concurrent", "timeout", "retries"),
)
"""Flags that make a team; with a file, the file does."""

_ENDINGS = (".yaml", ".yml", ".toml", ".json")


def team_at(file: Path) -> TeamFile:
    """:raises UsageError: when it can't be read, or says what can't be."""
    try:
        return read_team(file)
    except ConfigError as error:
        raise UsageError(str(error)) from None


def assemble_team(file: Path, flags: Flags, stdin: bytes | None = None) -> Assembly:
    """The team of ``file`` on the task and items that are given, or else on those that the file says.

    :raises UsageError: when flags and file don't go together, or something is missing.
    """
    if file.suffix not in _ENDINGS:
        endings = ", ".join(_ENDINGS)
        raise UsageError(
            f"don't know what to do with {str(file)!r}: a team file ends in {endings}; put quotes around texts"
        )
    for name in _IN_THE_FILE:
        if getattr(flags, name) not in (None, ()):
            raise UsageError(f"--{name.replace('_', '-')}: {file} says what the team is; change it there")
    team = team_at(file)
    task = flags.task if flags.task is not None else team.task
    if task is None:
        raise UsageError(f"--task is needed: {file} says none")
    inputs, labels, unreadable = _inputs(file, team, flags, stdin)
    return Assembly(
        pattern=team.pattern,
        task=task.encode("utf-8", "replace").decode(),
        names=list(team.document.agents),
        inputs=inputs,
        labels=labels,
        unreadable=unreadable,
        budget=team.budget,
        make_runner=team.make_runner if team.names_runner else None,
        around=team.infra,
    )


def _inputs(
    file: Path, team: TeamFile, flags: Flags, stdin: bytes | None
) -> tuple[dict[str, Any], dict[str, str], Any]:
    """The items for the pattern, if they are given here; and the labels of whatever items there are."""
    pattern = team.pattern
    if not isinstance(pattern, MapReduce):
        if flags.items:
            raise UsageError(f"--items: the team of {file} is a {pattern.kind}, and only a map_reduce has items")
        return {}, {}, {}
    inputs: dict[str, Any] = {}
    if flags.items:
        items, labels, unreadable = items_of(flags.items, stdin)
        inputs = {"items": items}
    elif team.items is None:
        raise UsageError(f"--items is needed: {file} says none")
    else:
        labels, unreadable = team.items.labels, team.items.unreadable
    mapper = pattern.mapper.name
    return inputs, {f"{mapper}_{index}": label for index, label in enumerate(labels)}, unreadable
