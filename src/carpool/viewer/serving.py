"""A server for the page, on this machine alone: from its socket to its end."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

import anyio
import uvicorn

from ..durable import Journal
from .following import Following
from .gate import Gate, new_token
from .site import site

__all__ = ["Address", "serving"]

_HOST = "127.0.0.1"
_GRACE_S = 1  # for streams, which don't end by themselves


class Address(NamedTuple):
    """Where a server is. Whoever has the token can read every run of its journal."""

    port: int
    token: str

    def url(self, run_id: str | None = None) -> str:
        """What to open: the list of runs, or one of them."""
        from urllib.parse import quote

        run = "" if run_id is None else f"#/run/{quote(run_id, safe='')}"
        return f"http://{_HOST}:{self.port}/?token={self.token}{run}"


@asynccontextmanager
async def serving(journal: Journal, port: int = 0) -> AsyncGenerator[Address]:
    """Serve the runs of ``journal`` within the block. ``port`` 0 is any that is free.

    Leaving it ends what is being answered; what has not ended after a second is cut off.

    :raises OSError: when the port can't be listened on.
    """
    listening = socket.create_server((_HOST, port))
    try:
        address = Address(listening.getsockname()[1], new_token())
        following = Following(journal)
        server = _Server(
            uvicorn.Config(
                Gate(site(following), address.token, address.port),
                log_config=None,
                log_level="error",
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )

        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listening])
            try:
                yield address
            except Exception as error:
                failure = error  # raised below: a group would be wrapped around it here
            finally:
                following.close()
                server.should_exit = True
        if failure is not None:
            raise failure
    finally:
        listening.close()


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
