"""Entries and events without secrets: texts are searched, what holds a run together is left as it is.

A secret may be a short number, and then it stands in digests, in times and in counts of tokens too. Those are no
texts, and a journal in which they were replaced could not be read any more.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from msgspec import Struct
from msgspec.structs import asdict, replace

from ..events import Event
from ..secrets import Redactor
from ..types import AgentOutcome, BudgetLimits, Evidence
from .records import Approved, AtStake, Ended, Opened, SpecUsed, Started

__all__ = ["without_secrets"]

S = TypeVar("S", bound=Struct)

_LEFT: dict[type[Struct], frozenset[str]] = {
    AgentOutcome: frozenset(("status",)),
    Approved: frozenset(("request",)),
    AtStake: frozenset(("key",)),
    BudgetLimits: frozenset(("unpriced",)),
    Ended: frozenset(("key", "origin", "purse", "status")),
    Event: frozenset(("kind", "run")),
    Evidence: frozenset(("kind",)),
    Opened: frozenset(("owner",)),
    SpecUsed: frozenset(("digest",)),
    Started: frozenset(("key", "purse", "spec")),
}
_ANYTHING = frozenset(("data", "value"))  # fields that hold any JSON, where a number may be a secret


def without_secrets(value: S, redactor: Redactor) -> S:
    """``value`` with its texts redacted, those inside it too."""
    left = next((names for kind, names in _LEFT.items() if isinstance(value, kind)), frozenset[str]())
    fields = asdict(value).items()
    return replace(value, **{name: _field(name, held, redactor) for name, held in fields if name not in left})


def _field(name: str, held: Any, redactor: Redactor) -> Any:
    if isinstance(held, str | dict) or name in _ANYTHING:
        return redactor.value(held)
    if isinstance(held, Struct):
        return without_secrets(held, redactor)
    if isinstance(held, list | tuple):
        return [_field("", each, redactor) for each in cast("list[Any]", held)]
    return held
