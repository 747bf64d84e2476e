"""Patterns made of the tables of a team file: names put in, options handed to the constructors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from ..patterns import (
    AdversarialReview,
    Advisor,
    Delegator,
    Fleet,
    Item,
    MapReduce,
    Pattern,
    Pipeline,
    SpawnSubtask,
    Supervisor,
    Swarm,
    Tournament,
    Vote,
)
from ..spawn import Member
from ..types import AgentSpec
from .amounts import estimate_of, limits_of
from .decoding import key_named
from .document import TeamTable
from .items_list import ListedItems
from .source import Place, Source
from .tables import MEMBERS, AgentTable, AnyPattern, InlineAgent, Mission
from .wording import suggestion
from .workspaces_table import workspaces_from

__all__ = ["MOST_MEMBERS", "PATTERNS", "build"]

PATTERNS: dict[str, type[Pattern[Any]]] = {
    pattern.kind: pattern
    for pattern in (
        *(AdversarialReview, Advisor, Delegator, Fleet, MapReduce, Pipeline),
        *(SpawnSubtask, Supervisor, Swarm, Tournament, Vote),
    )
}
"""Every pattern that a file can say, by the word behind ``pattern:``."""

MOST_MEMBERS = 10_000
"""Agents and patterns of a team, counted wherever a name repeats them: a few lines can't stand for millions."""
DEEPEST = 100

T = TypeVar("T")


def build(source: Source, document: TeamTable, folder: Path) -> Pattern[Any]:
    """The pattern that ``document`` says. Relative paths lie in ``folder``. Nothing is imported, read or started.

    :raises ConfigError: for a name that nobody has, for a team that is inside of itself, and for what a constructor
        refuses; with the place.
    """
    builder = _Builder(source, document, folder)
    for name in document.agents:  # those that nobody uses too: what is wrong with them is told
        builder.whole(("agents", name), name)
    team = builder.whole(("team",), document.team)
    if isinstance(team, AgentSpec):
        raise source.refuse(("team",), f"{team.name!r} is one agent; make it a pattern, a pipeline of one for instance")
    return cast("Pattern[Any]", team)


class _Builder:
    def __init__(self, source: Source, document: TeamTable, folder: Path) -> None:
        self._source = source
        self._agents = document.agents
        self._folder = folder
        self._built: dict[str, tuple[Member, int]] = {}
        self._under_way: list[str] = []
        self._depth = 0
        self._count = 0

    def whole(self, place: Place, given: str | InlineAgent | AnyPattern) -> Member:
        """The member, counted by itself."""
        self._count = 0
        return self.member(place, given)

    def member(self, place: Place, given: str | InlineAgent | AnyPattern) -> Member:
        if isinstance(given, str):
            return self._named(place, given)
        return self._made(place, given, given.name)

    def _named(self, place: Place, name: str) -> Member:
        """The member that stands under ``name``; ``place`` is where it is asked for."""
        if name not in self._agents:
            raise self._source.refuse(place, f"no agent {name!r}; {suggestion(name, list(self._agents))}")
        if name in self._under_way:
            around = " in ".join(map(repr, [name, *reversed(self._under_way[self._under_way.index(name) :])]))
            raise self._source.refuse(place, f"a team can't be inside of itself: {around}")
        if name not in self._built:
            self._under_way.append(name)
            before, table = self._count, self._agents[name]
            own_name = table.name if not isinstance(table, AgentTable) and table.name else name
            made = self._made(("agents", name), table, own_name)
            self._built[name] = made, self._count - before
            self._count = before
            self._under_way.pop()
        made, size = self._built[name]
        self._grow(place, size)
        return made

    def _made(self, place: Place, table: AgentTable | AnyPattern, name: str | None) -> Member:
        self._grow(place, 1)
        fields = {field: getattr(table, field) for field in table.__struct_fields__} | {"name": name}
        fields["budget"] = self._checked((*place, "budget"), limits_of, table.budget)
        if isinstance(table, AgentTable):
            fields["estimate"] = self._checked((*place, "estimate"), estimate_of, table.estimate)
            return self._checked(place, lambda given: AgentSpec(**given), fields)
        return self._pattern(place, table, fields)

    def _pattern(self, place: Place, table: AnyPattern, fields: dict[str, Any]) -> Member:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._source.refuse(place, f"patterns are nested deeper than {DEEPEST} levels")
        for field in sorted(MEMBERS.intersection(fields)):
            fields[field] = self._members((*place, field), fields[field])
        self._depth -= 1
        if fields.get("workspaces") is not None:
            where = (*place, "workspaces")
            fields["workspaces"] = self._checked(where, self._workspaces, fields["workspaces"])
        items: list[str | Item] | None = fields.pop("items", None)
        kind = PATTERNS[str(table.__struct_config__.tag)]
        made = self._checked(place, lambda given: kind(**given), fields)
        if items is None:
            return made
        return made.over(items=ListedItems(items, self._folder, partial(self._source.refuse, (*place, "items"))))

    def _members(self, place: Place, given: Any) -> Any:
        """Whatever stands for members, made into them: one, several, several by name, or the missions of a fleet."""
        if given is None:
            return None
        if isinstance(given, list):
            return [self._members((*place, index), each) for index, each in enumerate(cast("list[Any]", given))]
        if isinstance(given, dict):
            return {key: self.member((*place, key), each) for key, each in cast("dict[str, Any]", given).items()}
        if isinstance(given, Mission):
            return self.member((*place, "agent"), given.agent), given.mission
        return self.member(place, given)

    def _workspaces(self, table: Any) -> Any:
        return workspaces_from(table, self._folder.absolute())

    def _checked(self, place: Place, make: Callable[[Any], T], given: Any) -> T:
        """:raises ConfigError: for what ``make`` refuses, with the place of the key that it names."""
        try:
            return make(given)
        except (TypeError, ValueError) as error:
            keys = list(cast("dict[str, Any]", given)) if isinstance(given, dict) else []
            raise self._source.refuse(key_named(place, str(error), keys), str(error)) from None

    def _grow(self, place: Place, size: int) -> None:
        self._count += size
        if self._count > MOST_MEMBERS:
            raise self._source.refuse(place, f"the team has more than {MOST_MEMBERS:,} members, with all that repeat")
