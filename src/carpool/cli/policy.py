"""``carpool policy check``: whether a policy file is understood, and what it would do to an action."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ..actions import Action
from ..errors import ConfigError
from ..policy import Policy, PolicyEngine, PolicyViolation
from ..state import StateStore
from .amounts import counted
from .terminal import Screen, on_one_line
from .usage import DONE, FAILED, UsageError

__all__ = ["check"]


def check(file: Path, /, *, action: str | None = None, state: str | None = None) -> int:
    """Read a policy file, and ask it about an action.

    Nothing is executed, and no rate limit counts it.

    Parameters
    ----------
    file
        a policy file (TOML)
    action
        an action as JSON, such as '{"tool": "shell", "parameters": {"command": "ls"}}'
    state
        the state that the action meets, a JSON object; empty if it is not given
    """
    try:
        engine = PolicyEngine.from_toml(file)
    except ConfigError as error:
        raise UsageError(str(error)) from None
    asked = None if action is None else _action(action)
    lines = [f"{file}: {counted(len(engine.policies), 'policy', 'policies')}"]
    lines += [f"  {_described(policy)}" for policy in engine.policies]
    broken = any(_problem(policy) for policy in engine.policies)
    found: list[PolicyViolation] = []
    if asked is not None:
        found = engine.preview(asked, _state(state))
        lines.append(f"{'denied' if found else 'allowed'}: {asked.tool or asked.type.value}")
        lines += [f"  {each.policy}: {each.reason}" for each in found]

    Screen().answer("\n".join(_harmless(line) for line in lines))
    return FAILED if broken or found else DONE


def _described(policy: Policy) -> str:
    if problem := _problem(policy):
        return f"{policy.name}: denies every call of its tool: {problem}"
    return f"{policy.name}: {policy.description}" if policy.description else policy.name


def _problem(policy: Policy) -> str | None:
    return getattr(policy.check, "problem", None)


def _action(text: str) -> Action:
    try:
        return msgspec.json.decode(text, type=Action)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise UsageError(f"--action: is no action as JSON: {error}") from None


def _state(text: str | None) -> StateStore:
    try:
        return StateStore(msgspec.json.decode(text, type=dict[str, Any]) if text is not None else None)
    except (msgspec.MsgspecError, ValueError) as error:
        raise UsageError(f"--state: is no JSON object: {error}") from None


def _harmless(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    return indent + on_one_line(line)
