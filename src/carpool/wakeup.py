"""A flag that any thread may raise and one task waits for."""

from __future__ import annotations

from contextlib import suppress
from threading import get_ident
from typing import Any

import anyio

__all__ = ["Wakeup"]


class Wakeup:
    """Made inside a running event loop, waited for there; raised from any thread, before or during a wait.

    A raise is never lost; several of them before a wait count as one.
    """

    __slots__ = ("_event", "_loop", "_thread")

    def __init__(self) -> None:
        from anyio.lowlevel import current_token  # loads half of the standard library, and importing must not

        self._event = anyio.Event()
        self._loop: Any = current_token().native_token
        self._thread = get_ident()

    def set(self) -> None:
        with suppress(RuntimeError):  # a loop that is closed has nobody left to wake
            if get_ident() == self._thread:
                self._event.set()
            else:
                self._loop.call_soon_threadsafe(self._raise)

    async def wait(self) -> None:
        """Return once it is raised, and lower it."""
        await self._event.wait()
        self._event = anyio.Event()

    def _raise(self) -> None:
        self._event.set()
