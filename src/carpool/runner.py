"""What the caller supplies: how an agent does its work. Protocol, and runners made of plain functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, cast

import anyio

from .mailbox import Mailbox
from .runtime import Runtime
from .types import AgentOutput, AgentSpec

__all__ = ["AgentRunner", "FunctionRunner", "RunFunction", "RunnerLike", "run_function"]


class AgentRunner(Protocol):
    """Does the work of one agent and returns its answer, or an output with what it cost.

    Called by the door alone, with a lease at ``runtime.lease``. What it raises is the agent's failure. It
    must let a cancellation through, and clean up by itself.
    """

    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> AgentOutput | str: ...


RunFunction = Callable[[AgentSpec, str, Runtime, Mailbox], Awaitable[AgentOutput | str]]
RunnerLike = AgentRunner | RunFunction


def run_function(runner: RunnerLike) -> RunFunction:
    """The function that runs an agent, of a runner or a plain async function.

    :raises TypeError: for anything else.
    """
    found = getattr(runner, "run", runner)
    if not callable(found) or isinstance(runner, type):
        raise TypeError(f"a runner has an async run(spec, task, runtime, mailbox), or is one; not {runner!r}")
    return cast(RunFunction, found)


class FunctionRunner:
    """Agents written as Python functions ``fn(task, runtime)``, found by the agent's name, else by its role.

    A sync function runs in a thread of its own, as many at a time as the pattern starts. A timeout or a
    cancellation does not wait for such a thread: what it still does is not seen.
    """

    def __init__(self, functions: Mapping[str, Callable[[str, Runtime], Any]]) -> None:
        import inspect

        self._functions = dict(functions)
        self._async = {
            name
            for name, function in self._functions.items()
            if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - objects with async __call__
        }
        self._threads = anyio.CapacityLimiter(float("inf"))

    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> AgentOutput | str:
        """:raises LookupError: when there is no function of the agent's name or role."""
        name = spec.name if spec.name in self._functions else spec.role or spec.name
        function = self._functions.get(name)
        if function is None:
            known = ", ".join(sorted(self._functions)) or "none"
            raise LookupError(f"no function for agent {spec.name!r}; there are: {known}")
        if name in self._async:
            return await function(task, runtime)
        from anyio import to_thread  # loaded with the first sync function, not with carpool

        answer = await to_thread.run_sync(function, task, runtime, abandon_on_cancel=True, limiter=self._threads)
        # A sync wrapper around an async function gives a coroutine.
        return await cast("Awaitable[Any]", answer) if isinstance(answer, Awaitable) else answer
