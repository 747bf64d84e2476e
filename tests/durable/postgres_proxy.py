"""What stands between a journal and its server in tests: a wire that is cut or slow, and a pooler of transactions."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

conninfo = pytest.importorskip("psycopg.conninfo", reason="psycopg is not installed: pip install 'carpool[postgres]'")

# The wire


class Chunk(NamedTuple):
    """What came over the wire in one piece: the ``number``-th of all, over the ``connection``-th connection."""

    number: int
    connection: int
    to_server: bool
    data: bytes


PASS, CUT, LINGER = "pass", "cut", "linger"
"""What becomes of a chunk. ``CUT``: it is lost, and the connection with it; ``LINGER``: and the server does not notice
for a while."""

LINGERS_S = 0.2

Meddle = Callable[[Chunk], Awaitable[str]]


@asynccontextmanager
async def wire(dsn: str, meddle: Meddle) -> AsyncGenerator[str]:
    """A dsn that leads to the same server, over a wire on which ``meddle`` decides what becomes of each chunk."""
    server = conninfo.conninfo_to_dict(dsn)
    counted = connections = 0

    async def carry(client: SocketStream) -> None:
        nonlocal connections
        connections += 1
        connection = connections
        try:
            target = await anyio.connect_tcp(str(server["host"]), int(server["port"] or 0))
        except OSError:
            await client.aclose()
            return
        async with client, target, anyio.create_task_group() as pumps:

            async def pump(source: SocketStream, sink: SocketStream, to_server: bool) -> None:
                nonlocal counted
                with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    while True:
                        data = await source.receive()
                        counted += 1
                        fate = await meddle(Chunk(counted, connection, to_server, data))
                        if fate == LINGER:
                            await client.aclose()
                            await anyio.sleep(LINGERS_S)
                        if fate != PASS:
                            break
                        await sink.send(data)
                pumps.cancel_scope.cancel()

            pumps.start_soon(pump, client, target, True)
            pumps.start_soon(pump, target, client, False)

    async with _listening(carry) as port:
        yield conninfo.make_conninfo(dsn, host="127.0.0.1", port=port)


@asynccontextmanager
async def _listening(handle: Callable[[SocketStream], Awaitable[None]]) -> AsyncGenerator[int]:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        try:
            yield listener.extra(SocketAttribute.local_port)
        finally:
            tasks.cancel_scope.cancel()


# The pooler

_CANCEL, _SSL, _GSS = 80877102, 80877103, 80877104
_SESSIONS = 3


@asynccontextmanager
async def pooler(dsn: str) -> AsyncGenerator[str]:
    """A dsn that leads to the same database through a pooler in transaction mode, which gives every transaction another
    of its few sessions: whoever leaves anything in a session does not find it again, and others do."""
    target = conninfo.conninfo_to_dict(dsn)
    sessions = [await _session(target) for _ in range(_SESSIONS)]
    pooled = _Pooler(target, sessions)
    try:
        async with _listening(pooled.serve) as port:
            yield conninfo.make_conninfo(dsn, host="127.0.0.1", port=port)
    finally:
        for session in sessions:
            await session.stream.aclose()


class _Pooler:
    def __init__(self, target: dict, sessions: list[_Messages]) -> None:
        self._target = target
        self._sessions = sessions
        self._free = anyio.Semaphore(len(sessions))
        self._greeting = sessions[0].greeting

    async def serve(self, stream: SocketStream) -> None:
        client = _Messages(stream)
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while (code := int.from_bytes((await client.startup())[:4])) in (_SSL, _GSS):
                    await stream.send(b"N")
                if code == _CANCEL:
                    return
                number = random.randbytes(8)  # as poolers do: one of their own, which is no session's
                await stream.send(self._greeting + _message(b"K", number) + _message(b"Z", b"I"))
                while True:
                    await self._transaction(client, *await client.message())

    async def _transaction(self, client: _Messages, kind: bytes, body: bytes) -> None:
        async with self._free:
            session = self._sessions.pop(0)
            try:
                while kind != b"X":
                    await session.stream.send(_message(kind, body))
                    if kind in b"QS" and await self._answer(session, client) == b"I":
                        return
                    kind, body = await client.message()
                raise anyio.EndOfStream
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await session.stream.aclose()  # whatever was begun in it
                    session = await _session(self._target)
                raise
            finally:
                self._sessions.append(session)

    async def _answer(self, session: _Messages, client: _Messages) -> bytes:
        """All that the session answers, and the state that it is in then."""
        kind, body = b"", b""
        while kind != b"Z":
            kind, body = await session.message()
            await client.stream.send(_message(kind, body))
        return body


class _Messages:
    """The protocol of PostgreSQL, version 3: messages of a kind, a length and a body."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.greeting = b""
        self._left = b""

    async def startup(self) -> bytes:
        return await self._take(int.from_bytes(await self._take(4)) - 4)

    async def message(self) -> tuple[bytes, bytes]:
        kind = await self._take(1)
        return kind, await self.startup()

    async def _take(self, count: int) -> bytes:
        while len(self._left) < count:
            self._left += await self.stream.receive()
        taken, self._left = self._left[:count], self._left[count:]
        return taken


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body


async def _session(target: dict) -> _Messages:
    """A session of the server's, which asks for no password here."""
    stream = await anyio.connect_tcp(str(target["host"]), int(target["port"]))
    stream.extra(SocketAttribute.raw_socket).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    names = f"user\0{target['user']}\0database\0{target['dbname']}\0client_encoding\0UTF8\0\0".encode()
    await stream.send((len(names) + 8).to_bytes(4) + (196608).to_bytes(4) + names)
    session = _Messages(stream)
    while True:
        kind, body = await session.message()
        if kind == b"E":
            raise RuntimeError(f"the server refused a session: {body!r}")
        if kind in b"RS":
            session.greeting += _message(kind, body)
        if kind == b"Z":
            return session
