"""Ctrl-C and SIGTERM: the first one asks to stop, the second one does not ask. A terminal that closes only asks."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from .usage import INTERRUPTED

__all__ = ["leave", "stopping_on_interrupt"]


_HANGUP: int | None = getattr(signal, "SIGHUP", None)  # not on Windows
_SIGNALS = [number for number in (signal.SIGINT, signal.SIGTERM, _HANGUP) if number is not None]


@contextmanager
def stopping_on_interrupt(stop: Callable[[], None]) -> Generator[None]:
    """Within the block, the first signal calls ``stop`` from the event loop; the next ends the process at once.

    SIGHUP, by which a terminal or a connection says that it is gone, calls ``stop`` as well, and never ends anything:
    the shell and the system may send one each, and nobody is there who was asked to be patient.

    Plain handlers, not the loop's own: those never run while an agent blocks the loop, and then not even the
    second Ctrl-C would end anything. A signal that is ignored, as under ``nohup``, stays ignored. Signals reach
    the main thread only; in any other this does nothing.
    """
    from asyncio import get_running_loop  # slow to load, and loaded by now

    loop = get_running_loop()
    asked = stopping = False

    def handle(number: int, _: Any) -> None:
        nonlocal asked, stopping
        if asked and number != _HANGUP:
            _bring_back_cursor()
            os._exit(INTERRUPTED)
        asked = asked or number != _HANGUP
        if not stopping:
            stopping = True
            loop.call_soon_threadsafe(stop)

    with ExitStack() as undo:
        if threading.current_thread() is threading.main_thread():
            undo.enter_context(_woken_by_signals(loop))
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    undo.callback(signal.signal, number, signal.signal(number, handle))
        yield


@contextmanager
def _woken_by_signals(loop: Any) -> Generator[None]:
    """Have every signal wake ``loop``. One that comes between Python's last look for signals and the loop's wait
    for events would else be handled only when that wait is over, which may be never."""
    if sys.platform == "win32":
        yield  # there the loop does it by itself
        return
    from socket import socketpair

    ours, theirs = socketpair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
        loop.add_reader(ours, ours.recv, 4096)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(ours)


def _bring_back_cursor() -> None:
    """A live view hides it, and has no time to end."""
    if os.environ.get("TERM", "dumb") != "dumb":
        with suppress(OSError):
            if os.isatty(2):
                os.write(2, b"\x1b[?25h\n")


def leave() -> None:
    """End the process, as interrupted, if an agent was left at work in a thread: Python would wait for it.

    All that was written is flushed by then; a screen keeps nothing back.
    """
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        os._exit(INTERRUPTED)
