"""Runs of a journal, followed: looked at again when they have changed, by as many readers as there are.

However many follow a run, it is read once for all of them, at most four times a second, and never for more than a
fifth of the time, however long it is. Readers keep nothing here but a cursor: one that is slow, or stalls, is told the
latest when it asks again, and costs nothing meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
from anyio import to_thread

from ..clock import Clock, SystemClock
from ..durable import Journal, RunHeader, StoredRun, document_of
from ..errors import JournalError, RunNotFound
from .picture import Picture
from .rows import Page, Summary
from .summary import summary_of
from .worth import worth_of

__all__ = ["AGENTS_PER_PAGE", "LOOKS_EVERY_S", "Following"]

T = TypeVar("T")

LOOKS_EVERY_S = 0.25
AGENTS_PER_PAGE = 500
_KEPT = 8  # runs that are remembered; what is looked at again after that is read again
_REST = 4  # times as long as a look took, until the next


class _Followed:
    """One run: its picture, as of the last look."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.picture: Picture | None = None
        self.live = False
        self.next_look = 0.0
        self.worth: dict[str, Any] = {}
        self.worth_of: tuple[str, int, bool] | None = None


class Following:
    """Of one journal. For one event loop; a journal that can't be read raises from every method."""

    def __init__(self, journal: Journal, clock: Clock | None = None) -> None:
        self._journal = journal
        self._clock: Clock = clock or SystemClock()
        self._runs: OrderedDict[str, _Followed] = OrderedDict()
        self._closed = False

    def close(self) -> None:
        """Let everybody who follows a run come to the end soon."""
        self._closed = True

    async def runs(self) -> list[Summary]:
        """All, the latest first."""
        return [summary_of(header, live=self._journal.is_live(header)) for header in await self._journal.runs()]

    async def pages(self, run_id: str, cursor: str) -> AsyncGenerator[Page | None]:
        """What is new since ``cursor``, until the run has ended and all is told; ``None`` for every look without news.

        :raises RunNotFound: when there is no such run, or no longer.
        """
        told: Summary | None = None
        while True:
            page = await self.look(run_id, lambda picture, live, cursor=cursor: _page(picture, cursor, live))
            if page.run != told or page.cursor != cursor:
                yield page
            else:
                yield None
            told, cursor = page.run, page.cursor
            if page.more:
                continue
            if self._closed or not page.run.live:
                return
            await anyio.sleep(LOOKS_EVERY_S)

    async def look(self, run_id: str, at: Callable[[Picture, bool], T]) -> T:
        """What ``at`` finds in the picture of a run, and whether that is live; as new as need be.

        :raises RunNotFound: when there is no such run.
        :raises JournalCorrupt: when it is not what was written.
        """
        async with self._at(run_id) as followed:
            picture = await self._fresh(run_id, followed)
            return at(picture, followed.live)

    async def worth(self, run_id: str) -> dict[str, Any]:
        """The value report, and who read whom; made again when the run has changed since.

        :raises RunNotFound: when there is no such run.
        :raises JournalCorrupt: when it is not what was written.
        """
        async with self._at(run_id) as followed:
            picture = await self._fresh(run_id, followed)
            state = picture.edition, picture.taken, followed.live
            if followed.worth_of != state:
                stored = await self._journal.read(run_id)
                followed.worth = await to_thread.run_sync(_worth, stored, followed.live, picture)
                followed.worth_of = state
            return followed.worth

    @asynccontextmanager
    async def _at(self, run_id: str) -> AsyncGenerator[_Followed]:
        """The run, for this task alone; what can't be read is not kept."""
        followed = self._runs.setdefault(run_id, _Followed())
        self._runs.move_to_end(run_id)
        while len(self._runs) > _KEPT:
            self._runs.popitem(last=False)
        async with followed.lock:
            try:
                yield followed
            except JournalError:
                self._runs.pop(run_id, None)
                raise

    async def _fresh(self, run_id: str, followed: _Followed) -> Picture:
        now = self._clock.monotonic()
        picture = followed.picture
        if picture is not None and now < followed.next_look:
            return picture
        header = await self._journal.header(run_id)
        if header is None:
            raise RunNotFound(run_id)
        live = self._journal.is_live(header)  # asked before looking: what is written last is seen
        if picture is None or not picture.is_of(header):
            picture = Picture(header)
        if header.rows != picture.taken or header.updated != picture.header.updated:
            await self._take(picture, header)
        followed.picture, followed.live = picture, live
        took = self._clock.monotonic() - now
        followed.next_look = now + took + max(LOOKS_EVERY_S / 2, _REST * took)
        return picture

    async def _take(self, picture: Picture, header: RunHeader) -> None:
        if header.rows == picture.taken:
            picture.header = header
            return
        stored = await (self._journal.read_on(picture.header) if picture.taken else self._journal.read(header.run_id))
        await to_thread.run_sync(picture.take, stored)


def _page(picture: Picture, cursor: str, live: bool) -> Page:
    return picture.page(cursor, AGENTS_PER_PAGE, live=live)


def _worth(stored: StoredRun, live: bool, picture: Picture) -> dict[str, Any]:
    return worth_of(document_of(stored, live=live), picture)
