"""Whom a spec means, and what of it can't be had from an agent that another library runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ...errors import ConfigError
from ...runtime import Runtime
from ...types import AgentSpec

__all__ = ["agent_for", "refuse_what_is_not_ours"]

A = TypeVar("A")


def agent_for(spec: AgentSpec, agents: Mapping[str, A], library: str) -> A:
    """The agent that ``spec`` means: that of its name, else of its role.

    :raises LookupError: when there is none.
    """
    found = agents.get(spec.name)
    if found is None and spec.role is not None:
        found = agents.get(spec.role)
    if found is None:
        known = ", ".join(sorted(agents)) or "none"
        raise LookupError(f"no {library} agent for {spec.name!r}; there are: {known}")
    return found


def refuse_what_is_not_ours(
    spec: AgentSpec, runtime: Runtime, library: str, *, tools: bool = False, caching: bool = False
) -> None:
    """What ``spec`` asks for can't be had where the agent brings its own; unless the library lets it be added.

    :raises ConfigError: for a model, for ``tools`` or ``caching`` that can't be added, and for tools that are nowhere.
    """
    where = f"agent {spec.name!r} is one of {library}"
    if spec.model is not None:
        raise ConfigError(f"{where}, with a model of its own: leave out AgentSpec(model={spec.model!r})")
    if spec.cache_control and not caching:
        raise ConfigError(f"{where}: whether its prompts are cached is set there; leave out AgentSpec(cache_control=…)")
    given = sorted({*spec.tools, *runtime.tools})
    if given and not tools:
        raise ConfigError(
            f"{where}, with tools of its own: it can't be given {', '.join(given)} of its team or pattern"
        )
    if missing := [name for name in spec.tools if name not in runtime.tools]:
        known = ", ".join(sorted(runtime.tools)) or "none"
        raise ConfigError(f"agent {spec.name!r} names tools that its team has not: {missing}; it has: {known}")
