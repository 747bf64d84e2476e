"""Turns for agents that run for the last time: one after the other, so that one that kills its process dies alone.

Whoever was in flight when processes died may be what killed them, or only have been there. Run together once more, all
of them would die together once more, and all be refused for what one of them does.
"""

from __future__ import annotations

import anyio

__all__ = ["TURN_S", "Turn", "Turns"]

TURN_S = 60.0
"""How long a turn keeps the others waiting. Agents that wait for each other's messages go on after that."""


class Turn:
    """From ``Turns.take`` until ``end``, or until it has been long enough."""

    def __init__(self, free: anyio.Semaphore) -> None:
        from asyncio import get_running_loop  # here, because importing carpool must not load it

        self._free: anyio.Semaphore | None = free
        self._timer = get_running_loop().call_later(TURN_S, self.end)

    def end(self) -> None:
        """The next one may begin. Ended again, it changes nothing."""
        self._timer.cancel()
        free, self._free = self._free, None
        if free is not None:
            free.release()


class Turns:
    """One at a time, first come, first served."""

    def __init__(self) -> None:
        self._free = anyio.Semaphore(1)

    async def take(self) -> Turn:
        """Waits for the turns before it; cancelled meanwhile, it takes none."""
        await self._free.acquire()
        return Turn(self._free)
