"""Pipes of other programs: read and written in pieces, of which only so much is kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress

import anyio

__all__ = ["Head", "Tail", "drain", "feed", "open_pipe"]

_CHUNK = 65_536


def open_pipe(readers: ExitStack, writers: ExitStack) -> tuple[int, int]:
    """A pipe, its ends to be closed by who they belong to."""
    read_end, write_end = os.pipe()
    readers.callback(os.close, read_end)
    writers.callback(os.close, write_end)
    return read_end, write_end


async def drain(pipe: int, take: Callable[[bytes], None]) -> None:
    """Hand everything that comes out of ``pipe`` to ``take``, until nobody can write to it any more."""
    os.set_blocking(pipe, False)
    while True:
        await anyio.wait_readable(pipe)
        try:
            chunk = os.read(pipe, _CHUNK)
        except BlockingIOError:
            continue
        if not chunk:
            return
        take(chunk)


async def feed(pipe: int, data: bytes) -> None:
    with _closing(pipe), suppress(BrokenPipeError):
        os.set_blocking(pipe, False)
        rest = memoryview(data)
        while rest:
            await anyio.wait_writable(pipe)
            with suppress(BlockingIOError):
                rest = rest[os.write(pipe, rest[:_CHUNK]) :]


@contextmanager
def _closing(pipe: int) -> Generator[None]:
    """Afterwards a read from the other end sees the end; ``pipe`` stays a number that its owner may close."""
    try:
        yield
    finally:
        nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nothing, pipe, inheritable=False)
        os.close(nothing)


class Head:
    """The first so many bytes, and how many more there were."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = bytearray()
        self._left_out = 0

    def take(self, chunk: bytes) -> None:
        room = self._most - len(self._kept)
        self._kept += chunk[:room]
        self._left_out += max(0, len(chunk) - room)

    def text(self) -> str:
        text = self._kept.decode("utf-8", "replace")
        return f"{text}\n[{self._left_out:,} more bytes left out]" if self._left_out else text


class Tail:
    """The last so many bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = b""

    def take(self, chunk: bytes) -> None:
        self._kept = (self._kept + chunk)[-self._most :]

    def text(self) -> str:
        return self._kept.decode("utf-8", "replace").strip()
