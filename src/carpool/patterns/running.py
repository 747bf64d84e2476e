"""A coroutine run to its end from where there is no loop, or watched while it runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import anyio

from ..eventlog import EventLog
from ..events import Event
from ..wakeup import Wakeup

__all__ = ["run_to_end", "stream_to_end"]

T = TypeVar("T")


def run_to_end(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run what ``start`` returns in a loop of its own; in a thread, if this one has a loop already."""
    from anyio.lowlevel import current_token  # loaded when something runs, not with carpool

    try:
        current_token()
    except anyio.NoEventLoopError:
        return anyio.run(start)
    from anyio.from_thread import start_blocking_portal  # slow to load, and only notebooks need it

    with start_blocking_portal() as portal:
        future = portal.start_task_soon(start)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()  # leaving the portal waits for the run to clean up
            raise


async def stream_to_end(
    log: EventLog, run_id: str, start: Callable[[], Coroutine[Any, Any, T]]
) -> AsyncGenerator[Event | T]:
    """The events of ``run_id`` while what ``start`` returns goes on, and then what that returns or raises."""
    from asyncio import CancelledError, current_task, get_running_loop

    arrived, position = Wakeup(), len(log)
    # The one task outside a task group: a group can't stay open across a yield, because an iterator that is
    # dropped early is closed from another task. It ends in the finally, however this is left.
    run = get_running_loop().create_task(start())
    run.add_done_callback(lambda _: arrived.set())
    try:
        with log.waking(arrived.set):
            ended = False
            while not ended:
                ended = run.done()  # asked before looking: what is appended before the end is seen after it
                for event in log.events(since=position):
                    position = event.seq
                    if event.run in (run_id, ""):
                        yield event
                if not ended:
                    await arrived.wait()
        yield run.result()
    finally:
        reader = current_task()
        asked = reader.cancelling() if reader is not None else 0
        run.cancel()
        # Shielded, because a scope that is cancelled asks again and again until it is left.
        with anyio.CancelScope(shield=True), suppress(CancelledError, Exception):
            await run
        if reader is not None and reader.cancelling() > asked:
            raise CancelledError("cancelled while the run that was left came to its end")
