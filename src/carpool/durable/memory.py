"""A journal that lasts as long as its object: the reference for all others, and what tests run on."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from ..errors import RunNotFound
from .claim import Step
from .journal import Journal, StoredRun
from .records import Row, RunHeader, verified

__all__ = ["MemoryJournal"]


class MemoryJournal(Journal):
    """Runs in memory. It survives whatever happens to a run, and nothing that happens to its process."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        self._headers: dict[str, RunHeader] = {}
        self._rows: dict[str, list[Row]] = {}

    async def change(self, run_id: str, step: Callable[[RunHeader | None], Step]) -> RunHeader:
        from anyio.lowlevel import checkpoint  # loaded when something runs, not with carpool

        with self._lock:
            header, rows = step(self._headers.get(run_id))
            self._headers[run_id] = header
            self._rows.setdefault(run_id, []).extend(rows)
        await checkpoint()  # where it may be cancelled: nothing is to be lost any more
        return header

    async def header(self, run_id: str) -> RunHeader | None:
        return self._headers.get(run_id)

    async def read(self, run_id: str) -> StoredRun:
        with self._lock:
            if run_id not in self._headers:
                raise RunNotFound(run_id)
            header, rows = self._headers[run_id], tuple(self._rows[run_id])
        return StoredRun(header, verified(f"run {run_id!r}", header, rows))

    async def runs(self) -> list[RunHeader]:
        with self._lock:
            return sorted(self._headers.values(), key=lambda header: header.updated, reverse=True)

    async def erase(self, run_id: str, check: Callable[[RunHeader | None], None]) -> None:
        with self._lock:
            check(self._headers.get(run_id))
            del self._headers[run_id], self._rows[run_id]
