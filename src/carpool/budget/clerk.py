"""A thread that comes when it is called, and again and again as long as it is wanted."""

from __future__ import annotations

# Not threading's: it may be called by the collector, and that inside threading's own locks.
from _thread import start_new_thread
from collections.abc import Callable
from contextlib import suppress
from threading import Lock

__all__ = ["Clerk"]


class Clerk:
    """Calls ``work`` every ``every_s`` seconds, from the first call until ``is_wanted`` says no; then the thread ends.

    It does not keep the interpreter alive. What ``work`` raises is nobody's: it has to tell whom it concerns.
    """

    def __init__(self, work: Callable[[], None], is_wanted: Callable[[], bool], every_s: float) -> None:
        self._work = work
        self._is_wanted = is_wanted
        self._every_s = every_s
        self._there = Lock()  # held as long as there is a thread
        self._bell = Lock()  # let go of to ring
        self._bell.acquire()

    def come(self, *, at_once: bool = False) -> bool:
        """See to it that it works soon; false where there is no thread to be had. Never waits; may be called from
        anywhere, by the collector too."""
        if at_once:
            with suppress(RuntimeError):  # somebody has rung already
                self._bell.release()
        if self._there.acquire(blocking=False):
            try:
                start_new_thread(self._attend, ())
            except RuntimeError:  # too many threads, or the interpreter is on its way out
                self._there.release()
                return False
        return True

    def _attend(self) -> None:
        while True:
            self._bell.acquire(timeout=self._every_s)
            with suppress(Exception):
                self._work()
            if self._is_wanted():
                continue
            self._there.release()
            # Somebody may have called just before, and found it there.
            if not (self._is_wanted() and self._there.acquire(blocking=False)):
                return
