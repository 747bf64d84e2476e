"""Pipes of other programs: read and written in pieces, of which only so much is kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress

import anyio

__all__ = ["Head", "PipeEnd", "Tail", "drain", "feed", "open_pipe", "pour"]

_CHUNK = 65_536


class PipeEnd:
    """One end of a pipe. Closing it again does nothing, so that its number can't hit who got it next."""

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        number, self.number = self.number, -1
        if number >= 0:
            os.close(number)


def open_pipe(readers: ExitStack, writers: ExitStack) -> tuple[PipeEnd, PipeEnd]:
    """A pipe, its ends to be closed by who they belong to, or before.

    :raises OSError: when there are too many open files.
    """
    read_end, write_end = map(PipeEnd, os.pipe())
    readers.callback(read_end.close)
    writers.callback(write_end.close)
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


async def feed(pipe: PipeEnd, data: bytes) -> None:
    """Write ``data`` and close; who does not want to read it all need not."""
    try:
        await pour(pipe, data)
    finally:
        pipe.close()


async def pour(pipe: PipeEnd, data: bytes) -> None:
    """Write ``data``, or as much of it as is read before the other end closes."""
    os.set_blocking(pipe.number, False)
    rest = memoryview(data)
    with suppress(BrokenPipeError):
        while rest:
            await anyio.wait_writable(pipe.number)
            with suppress(BlockingIOError):
                rest = rest[os.write(pipe.number, rest[:_CHUNK]) :]


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

    @property
    def left_out(self) -> int:
        return self._left_out

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
