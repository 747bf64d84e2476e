"""Patterns in which an agent has a part of its own, told by its name: ``--agent 'judge=You are strict.'``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..patterns import (
    AdversarialReview,
    Advisor,
    Delegator,
    Fleet,
    Pattern,
    SpawnSubtask,
    Supervisor,
    Tournament,
)
from ..types import AgentSpec
from .flags import Flags
from .usage import UsageError

__all__ = ["PARTS", "cast"]

PARTS: dict[str, dict[str, str]] = {
    "supervisor": {"supervisor": "Approve the work, or say what to do better."},
    "tournament": {"judge": "Decide which of two answers is better."},
    "adversarial-review": {"reviewer": "Look for what is wrong."},
    "delegator": {"main": "Do the task; give parts of it to the specialists."},
    "spawn-subtask": {"main": "Do the task; have parts of it done by subagents."},
    "advisor": {"executor": "Do the task; ask the advisor where you are not sure.", "advisor": "Give advice."},
    "fleet": {},
}
"""The parts of each pattern, with the prompt of an agent for which none is given."""

_NEEDS_OTHERS = {
    "supervisor": "a worker",
    "tournament": "a competitor",
    "delegator": "a specialist",
    "fleet": "each mission",
}
_USES = 3


def cast(pattern: str, parts: dict[str, AgentSpec], others: Sequence[AgentSpec], flags: Flags) -> Pattern[Any]:
    """The pattern, with its ``parts`` and the ``others``.

    :raises UsageError: when somebody is missing, or nobody is needed.
    """
    if pattern in _NEEDS_OTHERS and not others:
        needed = _NEEDS_OTHERS[pattern]
        raise UsageError(f"--agent is needed for {pattern}: --agent NAME or --agent 'NAME=SYSTEM PROMPT' for {needed}")
    if pattern not in _NEEDS_OTHERS and others:
        names, known = ", ".join(agent.name for agent in others), " and ".join(PARTS[pattern])
        raise UsageError(f"--agent {names}: {pattern} has {known}, and nobody else")
    return _CAST[pattern](parts, others, flags)


def _adversarial_review(parts: dict[str, AgentSpec], _: Sequence[AgentSpec], flags: Flags) -> Pattern[Any]:
    if not flags.criterion:
        raise UsageError("--criterion is needed for adversarial-review: --criterion 'It is true.', once for each")
    return AdversarialReview(parts["reviewer"], flags.criterion)


_CAST: dict[str, Callable[[dict[str, AgentSpec], Sequence[AgentSpec], Flags], Pattern[Any]]] = {
    "supervisor": lambda parts, others, flags: Supervisor(others, parts["supervisor"], flags.rounds or 3),
    "tournament": lambda parts, others, flags: Tournament(others, parts["judge"], max_concurrent=flags.max_concurrent),
    "adversarial-review": _adversarial_review,
    "delegator": lambda parts, others, flags: Delegator(parts["main"], {agent.name: agent for agent in others}),
    "spawn-subtask": lambda parts, others, flags: SpawnSubtask(parts["main"]),
    "advisor": lambda parts, others, flags: Advisor(parts["advisor"], flags.max_uses or _USES, parts["executor"]),
    "fleet": lambda parts, others, flags: Fleet(
        [(agent, agent.system_prompt) for agent in others], max_concurrent=flags.max_concurrent
    ),
}
