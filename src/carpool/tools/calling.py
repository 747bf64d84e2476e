"""The calling of a function that somebody else wrote, async or not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

__all__ = ["call_function", "is_async"]


def is_async(function: Callable[..., Any]) -> bool:
    import inspect  # slow to load, and only who has tools needs it

    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


async def call_function(function: Callable[..., Any], in_loop: bool, values: dict[str, Any]) -> Any:
    """Call it with ``values`` as keywords: in the loop, or in a thread of its own.

    How many run at a time is for who calls to bound: a common limit would let a few that hang, and whose
    callers have given up, keep all others out.
    """
    if in_loop:
        return await cast("Awaitable[Any]", function(**values))
    from anyio import CapacityLimiter, to_thread  # loaded with the first sync function, not with carpool

    output = await to_thread.run_sync(_guarded, function, values, abandon_on_cancel=True, limiter=CapacityLimiter(1))
    return await output if hasattr(output, "__await__") else output  # a plain wrapper around an async function


def _guarded(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    try:
        return function(**values)
    except SystemExit as error:
        # In a thread it can only be the function's own, and it would end the whole run.
        raise RuntimeError(f"the tool wanted to end the program: exit({error.code!r})") from error
