"""One frozen class per fact, told apart by ``kind``; encoding and decoding of them.

A fact names whom it is about, never what was said: prompts, answers and tool parameters stay out, a digest and
an error's class stand in their place. ``seq`` and ``timestamp`` are set by the log that an event is appended to.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import msgspec
from msgspec import Struct, field

from .types import BudgetSnapshot, TokenAccounting

__all__ = [
    "ActionDeduplicated",
    "ActionEvent",
    "ActionExecuting",
    "ActionFailed",
    "ActionRejected",
    "ActionRetrying",
    "ActionSkipped",
    "ActionSucceeded",
    "ActionValidated",
    "AgentCancelled",
    "AgentEvent",
    "AgentFailed",
    "AgentFinished",
    "AgentReplayed",
    "AgentRetrying",
    "AgentSkipped",
    "AgentStarted",
    "BudgetExhausted",
    "BudgetWarning",
    "Event",
    "LimitsRaised",
    "PolicyViolated",
    "ProposalReceived",
    "RunFinished",
    "RunStarted",
    "StateChanged",
    "StateRolledBack",
    "StateSnapshotTaken",
    "UnknownEvent",
    "decode",
    "encode",
]


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="kind"):
    """What every event has; ``seq`` counts from 1 within its log."""

    kind: ClassVar[str] = ""

    run: str = ""
    seq: int = 0
    timestamp: datetime | None = None


class UnknownEvent(Event, frozen=True, tag="unknown"):
    """An event of a kind that this version does not know; ``data`` is all that was read, kept as it was."""

    kind: str = field(name="unknown_kind", default="")  # pyright: ignore[reportIncompatibleVariableOverride]
    data: dict[str, Any] = {}


class RunStarted(Event, frozen=True, tag="run_started"):
    """A coordination begins; ``pattern`` is its name."""

    kind: ClassVar[str] = "run_started"
    pattern: str = ""


class RunFinished(Event, frozen=True, tag="run_finished"):
    """A coordination ended, by a result or by the ``error`` whose class is named."""

    kind: ClassVar[str] = "run_finished"
    pattern: str = ""
    stop_reason: str = ""
    duration_ms: float = 0.0
    usage: TokenAccounting | None = None
    error: str | None = None


class BudgetWarning(Event, frozen=True, tag="budget_warning"):
    """Four fifths of the limit on ``dimension`` are spent; said once for each."""

    kind: ClassVar[str] = "budget_warning"
    dimension: str = ""
    spent: float = 0.0
    limit: float = 0.0


class BudgetExhausted(Event, frozen=True, tag="budget_exhausted"):
    """The budget refused a start, for the first time in this run."""

    kind: ClassVar[str] = "budget_exhausted"
    reason: str = ""
    snapshot: BudgetSnapshot | None = None


class LimitsRaised(Event, frozen=True, tag="limits_raised"):
    """Somebody replaced limits of the shared budget while it was in use."""

    kind: ClassVar[str] = "limits_raised"
    snapshot: BudgetSnapshot | None = None


class AgentEvent(Event, frozen=True, tag="agent_event"):
    """``path`` is the agent's place in the tree of patterns; ``parent`` the path of the agent that asked."""

    agent: str = ""
    path: str = ""
    parent: str | None = None


class AgentStarted(AgentEvent, frozen=True, tag="agent_started"):
    """Let in by the budget, which holds ``held`` for it; its runner is called next."""

    kind: ClassVar[str] = "agent_started"
    attempt: int = 1
    held: TokenAccounting | None = None


class AgentFinished(AgentEvent, frozen=True, tag="agent_finished"):
    """Its runner returned; ``tokens`` is what was booked, over all attempts."""

    kind: ClassVar[str] = "agent_finished"
    duration_ms: float = 0.0
    turns: int = 0
    tool_calls: int = 0
    answer_chars: int = 0
    tokens: TokenAccounting | None = None


class AgentFailed(AgentEvent, frozen=True, tag="agent_failed"):
    """Its last attempt failed with ``error``; the tokens are booked all the same."""

    kind: ClassVar[str] = "agent_failed"
    duration_ms: float = 0.0
    error: str = ""
    tokens: TokenAccounting | None = None


class AgentSkipped(AgentEvent, frozen=True, tag="agent_skipped"):
    """It never started and cost nothing: refused by the budget, or cancelled before; ``reason`` says which."""

    kind: ClassVar[str] = "agent_skipped"
    reason: str = ""


class AgentCancelled(AgentEvent, frozen=True, tag="agent_cancelled"):
    """Cancelled from outside while it ran."""

    kind: ClassVar[str] = "agent_cancelled"
    duration_ms: float = 0.0
    tokens: TokenAccounting | None = None


class AgentReplayed(AgentEvent, frozen=True, tag="agent_replayed"):
    """Remembered from an earlier process: its output is used again, its runner not called."""

    kind: ClassVar[str] = "agent_replayed"
    tokens: TokenAccounting | None = None


class AgentRetrying(AgentEvent, frozen=True, tag="agent_retrying"):
    """Attempt ``attempt`` was admitted after the one before failed with ``error``."""

    kind: ClassVar[str] = "agent_retrying"
    attempt: int = 2
    error: str = ""


class ActionEvent(AgentEvent, frozen=True, tag="action_event"):
    """What an agent does through its runtime. ``parameters_digest`` is SHA-256 over their canonical JSON."""

    proposal: str = ""
    action: str = ""
    tool: str | None = None


class ProposalReceived(ActionEvent, frozen=True, tag="proposal_received"):
    kind: ClassVar[str] = "proposal_received"
    actions: int = 0


class ActionValidated(ActionEvent, frozen=True, tag="action_validated"):
    kind: ClassVar[str] = "action_validated"


class ActionRejected(ActionEvent, frozen=True, tag="action_rejected"):
    kind: ClassVar[str] = "action_rejected"
    reason: str = ""


class ActionExecuting(ActionEvent, frozen=True, tag="action_executing"):
    kind: ClassVar[str] = "action_executing"
    parameters_digest: str = ""
    attempt: int = 1


class ActionSucceeded(ActionEvent, frozen=True, tag="action_succeeded"):
    kind: ClassVar[str] = "action_succeeded"
    duration_ms: float = 0.0


class ActionFailed(ActionEvent, frozen=True, tag="action_failed"):
    """``error`` is the class of what was raised, never its text."""

    kind: ClassVar[str] = "action_failed"
    duration_ms: float = 0.0
    error: str = ""


class ActionSkipped(ActionEvent, frozen=True, tag="action_skipped"):
    kind: ClassVar[str] = "action_skipped"
    reason: str = ""


class ActionRetrying(ActionEvent, frozen=True, tag="action_retrying"):
    kind: ClassVar[str] = "action_retrying"
    attempt: int = 2
    error: str = ""


class ActionDeduplicated(ActionEvent, frozen=True, tag="action_deduplicated"):
    """An idempotent action that had succeeded before; its earlier result is used."""

    kind: ClassVar[str] = "action_deduplicated"


class PolicyViolated(ActionEvent, frozen=True, tag="policy_violation"):
    kind: ClassVar[str] = "policy_violation"
    policy: str = ""
    reason: str = ""


class StateChanged(ActionEvent, frozen=True, tag="state_changed"):
    kind: ClassVar[str] = "state_changed"
    key: str = ""
    version: int = 0


class StateSnapshotTaken(ActionEvent, frozen=True, tag="state_snapshot"):
    kind: ClassVar[str] = "state_snapshot"
    keys: int = 0


class StateRolledBack(ActionEvent, frozen=True, tag="state_rollback"):
    kind: ClassVar[str] = "state_rollback"
    keys: int = 0


_KNOWN: tuple[type[Event], ...] = (
    RunStarted,
    RunFinished,
    BudgetWarning,
    BudgetExhausted,
    LimitsRaised,
    AgentStarted,
    AgentFinished,
    AgentFailed,
    AgentSkipped,
    AgentCancelled,
    AgentReplayed,
    AgentRetrying,
    ProposalReceived,
    ActionValidated,
    ActionRejected,
    ActionExecuting,
    ActionSucceeded,
    ActionFailed,
    ActionSkipped,
    ActionRetrying,
    ActionDeduplicated,
    PolicyViolated,
    StateChanged,
    StateSnapshotTaken,
    StateRolledBack,
)
_KINDS = {event.kind: event for event in _KNOWN}


def encode(event: Event) -> bytes:
    """One event as JSON, without a line break; fields at their defaults are left out.

    Of an unknown kind, what was read; a character that UTF-8 can't encode becomes a question mark.
    """
    fields: Any = event.data | _set_since_read(event) if isinstance(event, UnknownEvent) else event
    try:
        return msgspec.json.encode(fields)
    except UnicodeEncodeError:
        import json  # an error's text may hold the name of a file that is no UTF-8: rare, and no reason to lose a log

        return json.dumps(msgspec.to_builtins(fields), ensure_ascii=False).encode(errors="replace")


def decode(text: bytes | str) -> Event:
    """The event that ``text`` encodes; an :class:`UnknownEvent` if its kind is not known here.

    :raises ValueError: when it is no JSON object, has no ``kind``, or a field has the wrong type.
    """
    try:
        fields = msgspec.json.decode(text, type=dict[str, Any])
    except RecursionError:
        raise ValueError("an event is not nested this deep") from None
    kind = fields.get("kind")
    if not isinstance(kind, str):
        raise ValueError("an event needs a kind")
    if kind not in _KINDS:
        known = _common(fields)
        return UnknownEvent(kind=kind, data=fields, run=known.run, seq=known.seq, timestamp=known.timestamp)
    return msgspec.convert(fields, _KINDS[kind])


class _Seen(Event, frozen=True, tag="unknown"):
    pass


def _common(fields: dict[str, Any]) -> Event:
    """What every event has, of an unknown one."""
    present = {name: fields[name] for name in ("run", "seq", "timestamp") if name in fields}
    return msgspec.convert({"kind": "unknown"} | present, _Seen)


def _set_since_read(event: UnknownEvent) -> dict[str, Any]:
    """What a log has set; all else is written as it was read, to the last digit."""
    read = _common(event.data)
    return {name: new for name in ("seq", "timestamp") if (new := getattr(event, name)) != getattr(read, name)}
