"""What would come of a proposal, found out without doing anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from ..actions import Action, ActionProposal, ActionType, levels
from ..json_values import json_copy
from ..state import StateStore

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["Foresight", "Issue", "foresee"]


class Issue(Struct, frozen=True, kw_only=True):
    """One thing that would go wrong (``error``) or might (``warning``) with one action."""

    action_id: str
    severity: Literal["error", "warning"]
    kind: str
    message: str


class Foresight(Struct, frozen=True, kw_only=True):
    """``valid``: no errors, warnings or not. ``state``: the state as it would be."""

    valid: bool
    issues: list[Issue] = []
    state: dict[str, Any] = {}


def foresee(runtime: Runtime, proposal: ActionProposal, *, blocked_take_effect: bool) -> Foresight:
    """Go through ``proposal`` in its order of levels on a copy of the state, calling no tool.

    Only declared effects are known: ``expected_effects`` and state writes. With ``blocked_take_effect`` those
    of an action that would be blocked are applied all the same, so that one error does not hide the next.
    """
    try:
        order = [action for level in levels(proposal.actions) for action in level]
    except ValueError as error:
        issue = Issue(action_id="", severity="error", kind="order", message=str(error))
        return Foresight(valid=False, issues=[issue], state=runtime.state.snapshot())
    state = StateStore(runtime.state.snapshot())
    issues: list[Issue] = []
    writers: dict[str, str] = {}
    blocked: set[str] = set()
    for action in order:
        found = _issues(runtime, action, state, writers)
        issues.extend(found)
        writers.update(dict.fromkeys(action.writes, action.id))
        if any(issue.severity == "error" for issue in found) or not blocked.isdisjoint(action.dependencies):
            blocked.add(action.id)  # and with it what depends on it
        if blocked_take_effect or action.id not in blocked:
            _apply(action, state)
    issues.extend(_unordered(order))
    return Foresight(valid=all(each.severity != "error" for each in issues), issues=issues, state=state.snapshot())


def _issues(runtime: Runtime, action: Action, state: StateStore, writers: dict[str, str]) -> list[Issue]:
    found: list[Issue] = []

    def add(severity: Literal["error", "warning"], kind: str, message: str) -> None:
        found.append(Issue(action_id=action.id, severity=severity, kind=kind, message=message))

    for condition in action.preconditions:
        if not condition.holds(state.exists(condition.key), state.get(condition.key)):
            add("error", "precondition", f"state {condition.key!r} {condition.operator} does not hold")
    for key in action.state_dependencies:
        if not state.exists(key) and key not in writers:
            add("warning", "never_written", f"depends on state {key!r}, which nothing has written or will write")
    for kind, message in _malformed(runtime, action):
        add("error", kind, message)
    for violation in runtime.policies.preview(action, state):
        add("error", "policy", f"{violation.policy}: {violation.reason}")
    return found


def _malformed(runtime: Runtime, action: Action) -> Iterator[tuple[str, str]]:
    """What would keep the action itself from running, whatever the state is: kind and message."""
    if action.type == ActionType.TOOL_CALL:
        tool = runtime.tools.get(action.tool or "")
        if tool is None:
            yield "unknown_tool", f"no tool {action.tool!r}"
        elif not _has_references(action.parameters):
            try:
                tool.prepare_in(action.parameters, runtime.workspace)
            except ValueError as error:
                yield "schema", str(error)
    elif not isinstance(action.parameters.get("key"), str) or not action.parameters["key"]:
        yield "schema", f"a {action.type} needs parameters.key, a string"
    elif action.type == ActionType.STATE_WRITE and "value" not in action.parameters:
        yield "schema", "a state_write needs parameters.value"
    try:
        json_copy(_effects(action), "state")
    except ValueError as error:
        yield "not_json", str(error)


def _effects(action: Action) -> dict[str, Any]:
    effects = dict(action.expected_effects)
    if action.type == ActionType.STATE_WRITE and isinstance(action.parameters.get("key"), str):
        effects[action.parameters["key"]] = action.parameters.get("value")
    return effects


def _apply(action: Action, state: StateStore) -> None:
    for key, value in _effects(action).items():
        with suppress(ValueError):  # reported already
            state.set(key, value, actor=action.id)


def _unordered(order: list[Action]) -> list[Issue]:
    """Writers of one key that only their places in the proposal put in order."""
    issues: list[Issue] = []
    last: dict[str, Action] = {}
    for action in order:
        for key in sorted(action.writes):
            before = last.get(key)
            if before is not None and before.id not in action.dependencies and key not in action.state_dependencies:
                text = f"writes state {key!r} after {before.id} without depending on it"
                issues.append(Issue(action_id=action.id, severity="warning", kind="unordered_writers", message=text))
            last[key] = action
    return issues


def _has_references(value: Any) -> bool:
    return ".output" in str(value) and "$" in str(value)
