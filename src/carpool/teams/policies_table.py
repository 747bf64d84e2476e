"""Policies as a team file says them: the path of a CAR policy file, or the same entries in the file itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from ..clock import Clock
from ..policy import Check, PolicyEngine, rules
from .paths import path_in
from .table import NotNegative, Seconds, Table, Text

__all__ = [
    "AllowToolParam",
    "DenyKeyword",
    "DenyTool",
    "DenyToolParam",
    "DenyToolParamMatching",
    "PoliciesTable",
    "RateLimitTool",
    "RequireState",
    "engine_from",
]


class Entry(Table, frozen=True, kw_only=True):
    """What every entry may say of itself."""

    name: Text | None = None
    description: str = ""


class DenyTool(Entry, frozen=True, kw_only=True):
    """Refuses every call of the tool."""

    tool: Text


class DenyKeyword(Entry, frozen=True, kw_only=True):
    """Refuses actions that have the word in their parameters or expected effects."""

    word: Text


class DenyToolParam(Entry, frozen=True, kw_only=True):
    """Refuses calls whose parameter equals a value or contains one; with neither, calls that have it."""

    tool: Text
    param: Text
    equals: Any = UNSET
    contains: str | int | float | bool | UnsetType = UNSET


class AllowToolParam(Entry, frozen=True, kw_only=True):
    """Refuses calls whose parameter is not exactly one of the list."""

    tool: Text
    param: Text
    allow: list[Any]


class DenyToolParamMatching(Entry, frozen=True, kw_only=True):
    """Refuses calls in whose parameter the regular expression is found."""

    tool: Text
    param: Text
    matches: str


class RateLimitTool(Entry, frozen=True, kw_only=True):
    """Refuses calls beyond so many within so many seconds. ``interval_secs`` is CAR's name of ``interval_s``."""

    tool: Text
    max_calls: NotNegative
    interval_s: Seconds | None = None
    interval_secs: Seconds | None = None

    def __post_init__(self) -> None:
        if (self.interval_s is None) == (self.interval_secs is None):
            raise ValueError("needs either 'interval_s' or 'interval_secs'")


class RequireState(Entry, frozen=True, kw_only=True):
    """Refuses every action unless the state has that value."""

    key: Text
    value: Any


class PoliciesTable(Table, frozen=True, kw_only=True):
    """Rules by name, each with a list of what it is for."""

    deny_tool: list[str | DenyTool] = []
    deny_keyword: list[str | DenyKeyword] = []
    deny_tool_param: list[DenyToolParam] = []
    allow_tool_param: list[AllowToolParam] = []
    deny_tool_param_matching: list[DenyToolParamMatching] = []
    rate_limit_tool: list[RateLimitTool] = []
    require_state: list[RequireState] = []

    def __post_init__(self) -> None:
        names = [name for name, _, _ in _entries(self)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two policies are called {twice[0]!r}")


def engine_from(policies: str | PoliciesTable | None, folder: Path, clock: Clock | None = None) -> PolicyEngine:
    """A new engine; its rate limits have counted nothing yet. A relative path lies in ``folder``.

    :raises ConfigError: for a policy file that is not understood.
    :raises ValueError: for an entry with a value that its rule does not take.
    """
    if isinstance(policies, str):
        return PolicyEngine.from_toml(path_in(folder, policies), clock=clock)
    engine = PolicyEngine()
    for name, rule, entry in _entries(policies) if policies is not None else ():
        engine.register(name, _check(name, rule, entry, clock), entry.description)
    return engine


def _check(name: str, rule: str, entry: Any, clock: Clock | None) -> Check:
    try:
        check: Check = getattr(rules, rule)(**_arguments(rule, entry, clock))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if problem := getattr(check, "problem", None):
        raise ValueError(f"{name}: {problem}")
    return check


def _entries(table: PoliciesTable) -> list[tuple[str, str, Any]]:
    """Name, rule and entry; who has no name is called by its place, as in a policy file."""
    found: list[tuple[str, str, Any]] = []
    for rule in table.__struct_fields__:
        entries: Sequence[Any] = getattr(table, rule)
        for place, entry in enumerate(entries, 1):
            if isinstance(entry, str):
                entry = DenyTool(tool=entry) if rule == "deny_tool" else DenyKeyword(word=entry)
            found.append((entry.name or f"{rule}[{place}]", rule, entry))
    return found


def _arguments(rule: str, entry: Any, clock: Clock | None) -> dict[str, Any]:
    given = {key: value for key, value in asdict(entry).items() if key not in ("name", "description")}
    if rule == "rate_limit_tool":
        seconds = given.pop("interval_secs")
        given |= {"interval_s": given["interval_s"] or seconds, "clock": clock}
    return {key: value for key, value in given.items() if value is not UNSET}
