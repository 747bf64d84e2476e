"""Work on the disk, done in a thread so that the loop goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

__all__ = ["in_thread"]

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


async def in_thread(function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
    """What ``function(*arguments)`` returns. Does not wait for a free thread: tools may have taken all."""
    return await to_thread.run_sync(function, *arguments, limiter=CapacityLimiter(1))
