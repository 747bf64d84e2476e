"""What the flags ask for, put together: a pattern, what it works on, and a runner."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO, TextIO

from ..infra import SharedInfra
from ..items import Files, lines
from ..patterns import Item, MapReduce, Pattern, Pipeline, Swarm, UnreadableItem, Vote
from ..runner import RunnerLike
from ..types import AgentSpec, BudgetLimits
from .amounts import counted
from .flags import Flags
from .parts import PARTS, cast
from .usage import UsageError

__all__ = ["Assembly", "assemble", "items_of", "standard_input"]

MAPPER_PROMPT = "Answer the task from this item alone, briefly."
REDUCER_PROMPT = "Make one brief answer of these answers."


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """``inputs`` go to the pattern beside the task. ``labels`` say which item an agent works on, by the agent's
    name; ``unreadable`` why an item could not be read, by its label, and grows while items are read.

    What a team file says beside: ``budget``, ``make_runner``, and what is ``around`` the infra of a run.
    """

    pattern: Pattern[Any]
    task: str
    names: list[str]
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    unreadable: Mapping[str, str] = field(default_factory=dict[str, str])
    budget: BudgetLimits | None = None
    make_runner: Callable[[], RunnerLike] | None = None
    around: Callable[..., AbstractAsyncContextManager[SharedInfra]] | None = None

    @property
    def title(self) -> str:
        """``map-reduce over 12 items``."""
        items = f" over {counted(len(self.labels), 'item')}" if self.labels else ""
        return self.pattern.name.replace("_", "-") + items


def _pattern(flags: Flags) -> str:
    return flags.pattern or "map-reduce"


def assemble(flags: Flags, stdin: bytes | None = None) -> Assembly:
    """``stdin`` is what ``--items -`` reads; by default, what is on standard input.

    :raises UsageError: when the flags don't go together, or something that they need is missing.
    """
    if flags.task is None or not flags.task.strip():
        raise UsageError("--task is needed: what the agents are asked, for example --task 'What does this say?'")
    for name, patterns in _ONLY_FOR.items():
        if getattr(flags, name) not in (None, ()) and _pattern(flags) not in patterns:
            raise UsageError(f"--{name.replace('_', '-')} is for {' and '.join(patterns)}, not for {_pattern(flags)}")
    try:
        if _pattern(flags) == "map-reduce":
            return _map_reduce(flags, _as_text(flags.task), stdin)
        return _ASSEMBLE[_pattern(flags)](flags, _as_text(flags.task))
    except ValueError as error:
        raise UsageError(str(error)) from None


_ONLY_FOR: dict[str, tuple[str, ...]] = {
    "items": ("map-reduce",),
    "fan_in": ("map-reduce",),
    "reduce_chars": ("map-reduce",),
    "mode": ("swarm",),
    "rounds": ("swarm", "supervisor"),
    "criterion": ("adversarial-review",),
    "max_uses": ("advisor",),
    "quorum": ("vote",),
    "synthesizer": ("swarm", "vote"),
    "max_concurrent": ("map-reduce", "swarm", "vote", "tournament", "fleet"),
}


def _map_reduce(flags: Flags, task: str, stdin: bytes | None) -> Assembly:
    if not flags.items:
        raise UsageError("--items is needed for map-reduce: files, a folder or a glob, as in --items 'docs/**/*.md'")
    prompts = {"mapper": MAPPER_PROMPT, "reducer": REDUCER_PROMPT}
    given = dict(map(_name_and_prompt, flags.agent))
    if len(given) < len(flags.agent):
        raise UsageError("--agent: mapper or reducer is given twice; there is one of each")
    if unknown := given.keys() - prompts.keys():
        names = ", ".join(sorted(unknown))
        raise UsageError(f"--agent {names}: map-reduce has two agents, mapper and reducer; others are for swarm")
    prompts |= {name: prompt for name, prompt in given.items() if prompt}
    mapper, reducer = (_spec(name, prompt, flags) for name, prompt in prompts.items())
    pattern = MapReduce(mapper, reducer, flags.max_concurrent or 5, flags.fan_in, flags.reduce_chars)
    items, labels, unreadable = items_of(flags.items, stdin)
    return Assembly(
        pattern=pattern,
        task=task,
        names=["reducer"],
        inputs={"items": items},
        labels={f"mapper_{index}": label for index, label in enumerate(labels)},
        unreadable=unreadable,
    )


def items_of(paths: tuple[str, ...], stdin: bytes | None) -> tuple[Collection[Any], list[str], Mapping[str, str]]:
    """The items that ``--items`` names, their labels, and those that can't be read.

    :raises UsageError: when there are none.
    """
    if "-" not in paths:
        files = Files(*paths)
        return files, files.labels, files.unreadable
    if len(paths) > 1:
        raise UsageError("--items -: standard input stands alone; give either it or files")
    found: list[Item | UnreadableItem] = lines(standard_input() if stdin is None else BytesIO(stdin))
    if not found:
        raise UsageError("--items -: standard input has no line that is not blank")
    unreadable = {item.label: item.reason for item in found if isinstance(item, UnreadableItem)}
    return found, [item.label for item in found], unreadable


def standard_input() -> BinaryIO:
    """:raises UsageError: when it is closed."""
    stdin: TextIO | None = sys.stdin  # None where the process was started without
    if stdin is None:
        raise UsageError("--items -: standard input is closed")
    return stdin.buffer


def _swarm(flags: Flags, task: str) -> Assembly:
    if flags.rounds is not None and flags.mode != "debate":
        raise UsageError("--rounds is for a debate; add --mode debate")
    team = _team(flags)
    pattern = Swarm(
        team,
        flags.mode or "parallel",
        _synthesizer(flags),
        flags.rounds or 2,
        flags.max_concurrent,
    )
    return Assembly(pattern=pattern, task=task, names=[agent.name for agent in team])


def _pipeline(flags: Flags, task: str) -> Assembly:
    team = _team(flags)
    return Assembly(pattern=Pipeline(team), task=task, names=[agent.name for agent in team])


def _vote(flags: Flags, task: str) -> Assembly:
    team = _team(flags)
    pattern = Vote(team, _synthesizer(flags), flags.max_concurrent, quorum=flags.quorum)
    return Assembly(pattern=pattern, task=task, names=[agent.name for agent in team])


def _with_parts(flags: Flags, task: str) -> Assembly:
    prompts = PARTS[_pattern(flags)]
    team = [_spec(name, prompt or prompts.get(name, ""), flags) for name, prompt in map(_name_and_prompt, flags.agent)]
    given = {agent.name: agent for agent in team}
    parts = {name: given.get(name) or _spec(name, prompt, flags) for name, prompt in prompts.items()}
    others = [agent for agent in team if agent.name not in parts]
    return Assembly(
        pattern=cast(_pattern(flags), parts, others, flags),
        task=task,
        names=[*parts, *(agent.name for agent in others)],
    )


_ASSEMBLE: dict[str, Callable[[Flags, str], Assembly]] = {
    "swarm": _swarm,
    "pipeline": _pipeline,
    "vote": _vote,
    **dict.fromkeys(PARTS, _with_parts),
}


def _team(flags: Flags) -> list[AgentSpec]:
    if not flags.agent:
        pattern = _pattern(flags)
        raise UsageError(
            f"--agent is needed for {pattern}: --agent NAME or --agent 'NAME=SYSTEM PROMPT', once for each agent"
        )
    return [_spec(*_name_and_prompt(each), flags) for each in flags.agent]


def _synthesizer(flags: Flags) -> AgentSpec | None:
    if flags.synthesizer is None:
        return None
    return _spec(*_name_and_prompt(flags.synthesizer), flags)


def _name_and_prompt(text: str) -> tuple[str, str]:
    name, _, prompt = _as_text(text).partition("=")
    if not name.strip():
        raise UsageError(f"--agent {text!r}: an agent needs a name; write NAME or NAME=SYSTEM PROMPT")
    return name.strip(), prompt.strip()


def _spec(name: str, prompt: str, flags: Flags) -> AgentSpec:
    return AgentSpec(
        name,
        prompt or f"You are {name}.",
        timeout_s=flags.timeout,
        retries=flags.retries or 0,
        estimate=flags.estimate,
    )


def _as_text(argument: str) -> str:
    """``argument`` as UTF-8 can hold it; what is not UTF-8 arrives as halves of characters."""
    return argument.encode("utf-8", "replace").decode()
