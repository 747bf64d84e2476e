"""Teams written as team files: the way back from patterns to tables, and from tables to text."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Literal, cast, get_args

from msgspec import NODEFAULT, Struct, structs

from ..errors import ConfigError
from ..items import Files
from ..json_values import json_copy
from ..patterns import Delegator, Item, Pattern, Vote, normalise
from ..spawn import Member
from ..types import AgentSpec, BudgetLimits, TokenAccounting
from ..workspace import Workspaces
from .decoding import decode
from .document import TeamTable
from .items_list import ListedItems
from .paths import path_in
from .source import Source
from .tables import MEMBERS, AgentTable, AnyPattern
from .workspaces_table import ListedWorkspaces

__all__ = ["Format", "dump_team", "team_document"]

Format = Literal["yaml", "toml", "json"]

_TABLES: dict[str, type[Struct]] = {str(table.__struct_config__.tag): table for table in get_args(AnyPattern)}


def dump_team(pattern: Pattern[Any], format: Format = "yaml", **others: Any) -> str:  # noqa: A002 - its usual name
    """``pattern`` as the text of a team file, which ``load_team`` reads as the same team. ``others`` as for
    :func:`team_document`.

    :raises ValueError: for what a file can't say: a pattern or function of one's own, items that are no list of texts
        or files; in TOML, also a null.
    :raises ConfigError: for YAML without the extra ``yaml``.
    """
    document = team_document(pattern, **others)
    if format == "toml":
        from .toml_text import write_toml

        return write_toml(document)
    if format == "json":
        from .json_text import write_json

        return write_json(document)
    if format != "yaml":
        raise ValueError(f"format must be 'yaml', 'toml' or 'json', not {format!r}")
    try:
        from .yaml_text import write_yaml
    except ImportError:
        raise ConfigError("to write YAML, pip install 'carpool[yaml]'; or choose TOML or JSON") from None
    return write_yaml(document)


def team_document(pattern: Pattern[Any], *, folder: str | os.PathLike[str] = ".", **others: Any) -> dict[str, Any]:
    """The same as plain data. Agents stand under their names in ``agents``; those who share a name and are not the same
    stand where they work. Paths are written as seen from ``folder``, where the file is to be.

    ``others`` are further keys of the file (``task``, ``budget``, ``runner``, ``tools``, ``policies``,
    ``granted_tier``), each as it is to stand there; a ``budget`` may be limits.

    :raises ValueError: as :func:`dump_team`.
    """
    dumper = _Dumper(pattern, os.fspath(folder))
    if isinstance(budget := others.get("budget"), BudgetLimits):
        others["budget"] = _set(budget)
    team = dumper.pattern(pattern)
    given = {key: value for key, value in others.items() if value is not None}
    document = given | ({"agents": dumper.agents} if dumper.agents else {}) | {"team": team}
    try:
        document = json_copy(document)
        decode(Source("the team", document, lambda place: None), TeamTable)
    except (ConfigError, ValueError) as error:
        raise ValueError(f"a team file can't say this: {error}") from None
    return document


class _Dumper:
    def __init__(self, pattern: Pattern[Any], folder: str) -> None:
        self._folder = folder
        specs: dict[str, list[AgentSpec]] = {}
        for spec in _specs(pattern):
            same = specs.setdefault(spec.name, [])
            if spec not in same:
                same.append(spec)
        self.agents = {name: _agent(same[0]) for name, same in specs.items() if len(same) == 1}

    def pattern(self, pattern: Pattern[Any]) -> dict[str, Any]:
        """Its table, without what is as it would be anyway."""
        table = _table_of(pattern)
        written: dict[str, Any] = {"pattern": pattern.kind}
        if not pattern.is_unnamed:
            written["name"] = pattern.name
        names = _names_to_write(pattern)
        for field in structs.fields(table):
            value: Any = getattr(pattern, field.name)
            if field.name == "name" or value == _default(field):
                continue
            if field.name in MEMBERS:
                written[field.name] = self._members(value, names)
            elif field.name == "items":
                written[field.name] = self._items(value)
            elif isinstance(value, Workspaces):
                written[field.name] = self._workspaces(value)
            else:
                written[field.name] = _set(value) if isinstance(value, Struct) else value
        return written

    def _members(self, value: Any, names: dict[int, str | None]) -> Any:
        if isinstance(value, list):
            return [self._members(each, names) for each in cast("list[Any]", value)]
        if isinstance(value, dict):
            return {key: self._members(each, names) for key, each in cast("dict[str, Any]", value).items()}
        if isinstance(value, tuple):
            member, mission = cast("tuple[Member, str]", value)
            return {"agent": self._members(member, names), "mission": mission}
        if isinstance(value, AgentSpec):
            return value.name if value.name in self.agents else {"name": value.name, **_agent(value)}
        table = self.pattern(value)
        if (name := names[id(value)]) is not None:
            return table | {"name": name}
        table.pop("name", None)
        return table

    def _items(self, items: Any) -> list[Any]:
        if isinstance(items, ListedItems):
            return [
                _item(each) if isinstance(each, Item) else self._path(path_in(items.folder, each))
                for each in items.given
            ]
        if isinstance(items, Files):
            return [self._path(label) for label in items.labels]
        listed = cast("Collection[Any]", items)
        if not isinstance(items, Collection) or isinstance(items, Mapping):
            raise ValueError(f"items of type {type(listed).__name__} can't be written; pass them to run")
        return [_item(each) for each in listed]

    def _workspaces(self, workspaces: Workspaces) -> dict[str, Any]:
        if not isinstance(workspaces, ListedWorkspaces):
            raise ValueError("workspaces that were made in Python can't be written; add them to the file by hand")
        settings = workspaces.settings
        kind = "git_worktree" if "repo" in settings else "directory"
        return {kind: settings | {key: self._path(settings[key]) for key in ("base", "repo") if key in settings}}

    def _path(self, path: str | os.PathLike[str]) -> str:
        return os.path.relpath(path, self._folder)


def _specs(pattern: Pattern[Any]) -> list[AgentSpec]:
    """All agents, however deep."""
    found: list[AgentSpec] = []
    for member in _members_of(pattern):
        found += [member] if isinstance(member, AgentSpec) else _specs(cast("Pattern[Any]", member))
    return found


def _members_of(pattern: Pattern[Any]) -> list[Member]:
    """Those directly in it, in the order of the constructor's arguments."""
    found: list[Member] = []
    for field in structs.fields(_table_of(pattern)):
        value: Any = getattr(pattern, field.name) if field.name in MEMBERS else None
        if isinstance(value, dict):
            value = list(cast("dict[str, Any]", value).values())
        several = cast("list[Any]", value if isinstance(value, list) else [] if value is None else [value])
        found += [each[0] if isinstance(each, tuple) else each for each in several]
    return found


def _table_of(pattern: Pattern[Any]) -> type[Struct]:
    """:raises ValueError: for a pattern that no file can say."""
    table = _TABLES.get(pattern.kind)
    if table is None or type(pattern).__module__.partition(".")[0] != "carpool":
        raise ValueError(f"{type(pattern).__name__} is a pattern of your own; a team file has: {', '.join(_TABLES)}")
    if isinstance(pattern, Vote) and pattern.normalize is not normalise:
        raise ValueError(f"{pattern.name}: normalize is a Python function, which a team file does not have")
    return table


def _names_to_write(pattern: Pattern[Any]) -> dict[int, str | None]:
    """The name of each nested pattern, by its id; ``None`` where it has none of its own.

    A pattern without a name is called after its kind when another is made of it, and numbered where several are
    alike. Such a name is left out, if it would come about again; all of a kind are named, if one would not.
    """
    nested = [cast("Pattern[Any]", member) for member in _members_of(pattern) if not isinstance(member, AgentSpec)]
    unnamed = [each for each in nested if each.is_unnamed or (each.role == each.kind and each.name != each.kind)]
    counts = Counter(each.kind for each in unnamed)
    numbers: Counter[str] = Counter()
    expected: dict[int, str] = {}
    for each in unnamed:
        numbers[each.kind] += 1
        is_numbered = counts[each.kind] > 1 and not isinstance(pattern, Delegator)
        expected[id(each)] = f"{each.kind}_{numbers[each.kind]}" if is_numbered else each.kind
    odd = {each.kind for each in unnamed if each.name != expected[id(each)]}
    return {id(each): None if id(each) in expected and each.kind not in odd else each.name for each in nested}


def _agent(spec: AgentSpec) -> dict[str, Any]:
    written = {field.name: getattr(spec, field.name) for field in structs.fields(AgentTable)}
    kept = {
        field.name: written[field.name]
        for field in structs.fields(AgentTable)
        if written[field.name] != _default(field)
    }
    return {
        key: _set(value) if isinstance(value, BudgetLimits | TokenAccounting) else value for key, value in kept.items()
    }


def _item(item: object) -> dict[str, str]:
    if isinstance(item, str):
        return {"text": item}
    if not isinstance(item, Item):
        raise ValueError(f"an item of type {type(item).__name__} can't be written; a team file has texts and files")
    return _set(item) | {"text": item.text}


def _set(value: Struct) -> dict[str, Any]:
    """The fields that are not as they would be anyway."""
    return {f.name: getattr(value, f.name) for f in structs.fields(value) if getattr(value, f.name) != _default(f)}


def _default(field: structs.FieldInfo) -> Any:
    return field.default if field.default_factory is NODEFAULT else field.default_factory()
