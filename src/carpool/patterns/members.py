"""Who takes part in a pattern: names checked, and given to nested patterns that have none of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from ..spawn import Member
from ..types import AgentSpec

__all__ = ["members_of", "renamed"]


def members_of(kind: str, given: Sequence[Member]) -> list[Member]:
    """``given``, each with a name of its own. A pattern without a name is called after its kind, and numbered
    where several of a kind stand side by side.

    :raises ValueError: when there is nobody, or two have one name.
    :raises TypeError: for what is neither a spec nor a pattern.
    """
    for member in given:
        if not isinstance(member, AgentSpec) and not hasattr(member, "execute"):
            raise TypeError(f"{kind}: a member is an AgentSpec or a pattern, not {member!r}")
    if not given:
        raise ValueError(f"{kind} needs at least one agent")
    unnamed = Counter(member.name for member in given if _is_unnamed(member))
    numbers: Counter[str] = Counter()
    members: list[Member] = []
    for member in given:
        if not isinstance(member, AgentSpec) and _is_unnamed(member) and unnamed[member.name] > 1:
            numbers[member.name] += 1
            member = member.named(f"{member.name}_{numbers[member.name]}")
        members.append(member)
    for name, count in Counter(member.name for member in members).items():
        if count > 1:
            raise ValueError(f"{kind}: {count} members are called {name!r}; outputs are told apart by name")
    return members


def renamed(member: Member, name: str) -> Member:
    """``member`` under another name; its role stays what it was."""
    if isinstance(member, AgentSpec):
        return replace(member, name=name, role=member.role or member.name)
    return member.named(name)


def _is_unnamed(member: Member) -> bool:
    return not isinstance(member, AgentSpec) and member.is_unnamed
