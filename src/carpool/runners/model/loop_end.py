"""Connections that a client of somebody else's keeps, closed when the event loop ends that they belong to.

The HTTP clients of the openai and anthropic packages know nothing of event loops: in the next one they write the next
request to a connection of the last, and can't read the answer, which then was paid for and is lost.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import anyio

__all__ = ["close_idle", "close_when_the_loop_ends"]

_STEPS = 6  # from a model, through wrappers, to the HTTP client


async def close_when_the_loop_ends(model: object) -> None:
    """Have this event loop, when it ends, close what the client of ``model`` keeps open then. The client stays as it
    is, and open: in another loop it connects anew. It is not kept alive for this.

    Without a client that is known nothing happens; asked for again, nothing more. Never suspends.
    """
    http = _http_client(model)
    if http is None:
        return
    from anyio.lowlevel import current_token

    loop = current_token().native_token
    kept = _kept.get(loop)
    if kept is None:
        kept = _kept[loop] = _Kept()
        kept.keeper = _close_at_the_end(loop, kept.clients)
        await anext(kept.keeper)  # the loop closes the async generators that are still open when it ends
    kept.clients[id(http)] = http


class _Kept:
    """What one loop has to close."""

    def __init__(self) -> None:
        self.clients: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self.keeper: AsyncGenerator[None] | None = None


_kept: WeakKeyDictionary[Any, _Kept] = WeakKeyDictionary()
"""By loop, for all runners: one that is dropped a moment before its loop ends would have no time left to close it."""


async def _close_at_the_end(loop: object, clients: WeakValueDictionary[int, Any]) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        _kept.pop(loop, None)  # what is open here knows its loop, and would keep it
        with anyio.CancelScope(shield=True):
            for client in list(clients.values()):
                await close_idle(client)


async def close_idle(model: object) -> None:
    """Close the connections that the client of ``model`` keeps and does not use."""
    for pool in _pools(_http_client(model)):
        for connection in list(pool.connections):
            if connection.is_idle():
                await connection.aclose()


def _http_client(model: object) -> Any:
    """A model has a client of its provider's package, and that has one of httpx."""
    found: Any = model
    for _ in range(_STEPS):
        if found is None or hasattr(found, "_mounts"):
            return found
        inner = (getattr(found, name, None) for name in ("wrapped", "client", "_client"))
        found = next((each for each in inner if each is not None), None)
    return None


def _pools(http: Any) -> list[Any]:
    transports = [] if http is None else [getattr(http, "_transport", None), *http._mounts.values()]
    pools = [getattr(transport, "_pool", None) for transport in transports]
    return [pool for pool in pools if hasattr(pool, "connections")]
