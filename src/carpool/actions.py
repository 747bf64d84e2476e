"""What an agent proposes to do: actions, preconditions, results, and the order in which they may run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, cast

from msgspec import UNSET, Struct, UnsetType, field

from .clock import new_id, utc_now
from .json_values import json_equal

__all__ = [
    "Action",
    "ActionProposal",
    "ActionResult",
    "ActionStatus",
    "ActionType",
    "CostSummary",
    "FailureBehavior",
    "Precondition",
    "ProposalResult",
    "Tier",
    "ToolRateLimit",
    "ToolSchema",
    "levels",
]

Tier = Literal["read_only", "sandbox_edit", "full_access"]
"""How much a tool may do; each includes the ones before it."""


class ToolRateLimit(Struct, frozen=True, kw_only=True):
    """At most ``max_calls`` in any ``interval_secs``, by a token bucket; further calls wait.

    :raises ValueError: for a limit that lets nothing through, ever.
    """

    max_calls: int
    interval_secs: float

    def __post_init__(self) -> None:
        if self.max_calls < 1 or not 0 < self.interval_secs < float("inf"):
            raise ValueError(f"a rate limit needs max_calls >= 1 and interval_secs > 0, not {self!r}")


class ToolSchema(Struct, frozen=True, kw_only=True):
    """A tool as a model sees it, and what its runtime keeps to when it is called.

    - ``parameters``, ``returns``: JSON Schemas; arguments, and with ``returns`` the output, are checked
    - ``idempotent``: calling it again with the same arguments changes nothing more
    - ``cache_ttl_secs``: an output is used again for so long, for the same arguments
    - ``rate_limit``: further calls wait
    - ``tier``: what a team must be granted for its agents to call it
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    returns: dict[str, Any] | None = None
    idempotent: bool = False
    cache_ttl_secs: float | None = None
    rate_limit: ToolRateLimit | None = None
    tier: Tier = "full_access"


class ActionType(StrEnum):
    TOOL_CALL = "tool_call"
    STATE_WRITE = "state_write"
    STATE_READ = "state_read"
    ASSERTION = "assertion"


class FailureBehavior(StrEnum):
    """What a failed action does to its proposal: roll it all back, try again, or go on without it."""

    ABORT = "abort"
    RETRY = "retry"
    SKIP = "skip"


class ActionStatus(StrEnum):
    PROPOSED = "proposed"
    VALIDATED = "validated"
    REJECTED = "rejected"
    EXECUTING = "executing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


class Precondition(Struct, frozen=True, kw_only=True):
    """What must hold of the state. ``operator`` is one of ``eq neq gt lt gte lte exists not_exists contains``;
    an unknown one does not hold, and neither does a comparison whose sides are not numbers."""

    key: str
    operator: str = "eq"
    value: Any = None
    description: str = ""

    def holds(self, exists: bool, actual: Any) -> bool:
        """Whether it holds of a key that ``exists`` or not, with the value ``actual``."""
        match self.operator:
            case "exists":
                return exists
            case "not_exists":
                return not exists
            case "eq":
                return exists and json_equal(actual, self.value)
            case "neq":
                return not (exists and json_equal(actual, self.value))
            case "contains":
                return exists and _contains(actual, self.value)
            case "gt" | "lt" | "gte" | "lte":
                return exists and _compares(self.operator, actual, self.value)
            case _:
                return False


class Action(Struct, frozen=True, kw_only=True):
    """One step that an agent proposes.

    ``dependencies`` are ids of actions that must succeed first; ``state_dependencies`` are keys that it reads.
    ``timeout_ms`` bounds one attempt; ``max_retries`` counts for ``failure_behavior="retry"`` alone.
    A ``state_write`` sets ``parameters["key"]`` to ``parameters["value"]``; a ``state_read`` returns
    ``parameters["key"]``; ``expected_effects`` of a tool call are written to the state when it succeeds.
    """

    id: str = field(default_factory=new_id)
    type: ActionType = ActionType.TOOL_CALL
    tool: str | None = None
    parameters: dict[str, Any] = {}
    preconditions: list[Precondition] = []
    expected_effects: dict[str, Any] = {}
    state_dependencies: list[str] = []
    idempotent: bool = False
    max_retries: int = 3
    failure_behavior: FailureBehavior = FailureBehavior.ABORT
    timeout_ms: float | None = None
    metadata: dict[str, Any] = {}
    dependencies: list[str] = []

    @property
    def writes(self) -> set[str]:
        """The state keys that it says it changes."""
        keys = set(self.expected_effects)
        if self.type == ActionType.STATE_WRITE and isinstance(key := self.parameters.get("key"), str):
            keys.add(key)
        return keys

    @property
    def reads(self) -> set[str]:
        """The state keys that it says it depends on."""
        keys = {*self.state_dependencies, *(condition.key for condition in self.preconditions)}
        if self.type in (ActionType.STATE_READ, ActionType.ASSERTION) and isinstance(
            key := self.parameters.get("key"), str
        ):
            keys.add(key)
        return keys


class ActionProposal(Struct, frozen=True, kw_only=True):
    """Actions that belong together: validated, run and, on abort, rolled back as one."""

    actions: list[Action] = []
    id: str = field(default_factory=new_id)
    source: str = "unknown"
    timestamp: datetime = field(default_factory=utc_now)
    context: dict[str, Any] = {}


class ActionResult(Struct, frozen=True, kw_only=True):
    """What came of one action. ``rolled_back`` is true or not set, and then not written either."""

    action_id: str
    status: ActionStatus
    output: Any = None
    error: str | None = None
    state_changes: dict[str, Any] = {}
    duration_ms: float = 0.0
    timestamp: datetime = field(default_factory=utc_now)
    rolled_back: bool | UnsetType = UNSET


class CostSummary(Struct, frozen=True, kw_only=True):
    """Counts over one proposal; ``actions_executed`` are those that succeeded or failed."""

    tool_calls: int = 0
    actions_executed: int = 0
    actions_rejected: int = 0
    actions_skipped: int = 0
    total_duration_ms: float = 0.0
    retries: int = 0


class ProposalResult(Struct, frozen=True, kw_only=True):
    """The results of a proposal's actions, in the proposal's order."""

    proposal_id: str
    results: list[ActionResult] = []
    cost: CostSummary = field(default_factory=CostSummary)

    @property
    def all_succeeded(self) -> bool:
        return all(result.status == ActionStatus.SUCCEEDED for result in self.results)


def levels(actions: Sequence[Action]) -> list[list[Action]]:
    """``actions`` in levels: each may run when the ones before it are done, together with its own.

    A reader of a key comes after the earlier writer of it, writers of one key keep their order, a writer comes
    after the earlier readers, and an action after all that it names in ``dependencies``. Linear in the number
    of actions and dependencies.

    :raises ValueError: for two actions of one id, an unknown id, or a cycle, which is named.
    """
    places = {action.id: place for place, action in enumerate(actions)}
    if len(places) < len(actions):
        raise ValueError("two actions of one proposal have the same id")
    before = _edges(actions, places)
    after: list[list[int]] = [[] for _ in actions]
    for place, needed in enumerate(before):
        for each in needed:
            after[each].append(place)

    waits_for = [len(needed) for needed in before]
    ready = [place for place, count in enumerate(waits_for) if not count]
    found: list[list[Action]] = []
    done = 0
    while ready:
        found.append([actions[place] for place in ready])
        done += len(ready)
        coming: list[int] = []
        for place in ready:
            for follower in after[place]:
                waits_for[follower] -= 1
                if not waits_for[follower]:
                    coming.append(follower)
        ready = sorted(coming)
    if done < len(actions):
        stuck = [actions[place].id for place, count in enumerate(waits_for) if count]
        raise ValueError(f"actions wait for each other in a circle, among: {', '.join(stuck[:10])}")
    return found


def _edges(actions: Sequence[Action], places: dict[str, int]) -> list[set[int]]:
    """For each action the places of those that must come before it."""
    last_writer: dict[str, int] = {}
    readers: dict[str, list[int]] = {}  # since the last writer
    before: list[set[int]] = []
    for place, action in enumerate(actions):
        needed: set[int] = set()
        for wanted in action.dependencies:
            if wanted not in places:
                raise ValueError(f"action {action.id!r} depends on {wanted!r}, which is not in the proposal")
            if wanted == action.id:
                raise ValueError(f"action {action.id!r} depends on itself")
            needed.add(places[wanted])
        for key in action.reads:
            if key in last_writer:
                needed.add(last_writer[key])
        for key in action.writes:
            if key in last_writer:
                needed.add(last_writer[key])
            needed.update(readers.pop(key, ()))
            last_writer[key] = place
        for key in action.reads - action.writes:
            readers.setdefault(key, []).append(place)
        needed.discard(place)
        before.append(needed)
    return before


def _contains(actual: Any, wanted: Any) -> bool:
    if isinstance(actual, str):
        return isinstance(wanted, str) and wanted in actual
    if isinstance(actual, list):
        return any(json_equal(item, wanted) for item in cast("list[Any]", actual))
    return isinstance(actual, dict) and isinstance(wanted, str) and wanted in actual


def _compares(operator: str, one: Any, other: Any) -> bool:
    if not _is_number(one) or not _is_number(other):
        return False
    if operator == "gt":
        return one > other
    if operator == "lt":
        return one < other
    return one >= other if operator == "gte" else one <= other


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
