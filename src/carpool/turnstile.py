"""A lock that tasks of several event loops, in several threads, take in turn."""

from __future__ import annotations

from collections import deque
from threading import Lock
from types import TracebackType

from .wakeup import Wakeup

__all__ = ["Turnstile"]


class Turnstile:
    """``async with`` it: one task at a time, first come, first served. Not re-entrant.

    A task that is cancelled while it waits leaves the line; if it had just been let in, the next one is.
    """

    def __init__(self) -> None:
        self._guard = Lock()
        self._taken = False
        self._line: deque[Wakeup] = deque()

    async def __aenter__(self) -> None:
        with self._guard:
            if not self._taken:
                self._taken = True
                return
            turn = Wakeup()
            self._line.append(turn)
        try:
            await turn.wait()
        except BaseException:
            self._leave(turn)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_in()

    def _leave(self, turn: Wakeup) -> None:
        with self._guard:
            if turn in self._line:
                self._line.remove(turn)
                return
        self._let_in()  # it was this one's turn already

    def _let_in(self) -> None:
        with self._guard:
            if not self._line:
                self._taken = False
                return
            turn = self._line.popleft()
        turn.set()
