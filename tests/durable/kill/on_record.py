"""What a journal holds of a run, folded once more: apart from carpool's own reading of it, which is what is tested."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from carpool.durable.sqlite_file import SqliteFile
from carpool.durable.sqlite_tables import Tables

from .bill import content_of

__all__ = ["OnRecord", "rows_of"]


def rows_of(path: Path, run_id: str) -> list[bytes]:
    """All rows of the run, as they are in the file, without merging its write-ahead log; none before its first claim.

    :raises JournalCorrupt: when they are not what was written.
    """
    if not path.exists():
        return []
    file = SqliteFile(path, writable=False)
    try:
        if not file.made:
            return []
        with file.reading() as connection:
            run = Tables(connection, str(path)).run(run_id)
    finally:
        file.close()
    return [] if run is None else [row.body for row in run.rows]


class OnRecord(Struct):
    """The facts at the death of a process, or after its end: whoever runs now, runs no more.

    ``started``, ``completed`` and ``lost`` count by content: starts, outputs with an answer, and starts that came to
    nothing because the process died; ``answers`` is what the completed said. ``booked`` is what all of it cost, input
    and output, lost starts at their holds; ``slots`` those of the completed; ``costs`` and ``slots_at`` tell both by
    path. ``unfinished`` is how often each call was in flight at a death that has not been completed since. ``approved``
    counts what somebody said yes to.
    """

    started: Counter[str] = field(default_factory=Counter)
    completed: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    answers: dict[str, set[str]] = {}
    costs: list[tuple[str, int, int]] = []
    slots_at: Counter[str] = field(default_factory=Counter)
    slots_started: int = 0
    unfinished: dict[str, int] = {}
    approved: Counter[str] = field(default_factory=Counter)

    def booked(self, inside: str = "") -> tuple[int, int]:
        """What was spent at paths that begin with ``inside``."""
        costs = [cost for cost in self.costs if cost[0].startswith(inside)]
        return sum(cost[1] for cost in costs), sum(cost[2] for cost in costs)

    def slots(self, inside: str = "") -> int:
        """The slots of what was completed there."""
        return sum(count for path, count in self.slots_at.items() if path.startswith(inside))

    @classmethod
    def of(cls, rows: Sequence[bytes]) -> OnRecord:
        record, running, contents = cls(), dict[str, dict[str, Any]](), dict[str, str]()
        for body in rows:
            entry = msgspec.json.decode(body)
            match entry["kind"]:
                case "opened":
                    record._die(running, contents)
                case "started":
                    record._start(entry, running, contents)
                case "ended":
                    record._end(entry, running.pop(entry["key"]), contents)
                case "approved":
                    record.approved[entry["request"]] += 1
                case _:
                    pass
        record._die(running, contents)
        return record

    def _start(self, entry: dict[str, Any], running: dict[str, dict[str, Any]], contents: dict[str, str]) -> None:
        key = entry["key"]
        if "task" in entry:
            contents[key] = content_of(entry["roles"].rpartition("/")[2], entry["task"])
        running[key] = entry
        self.started[contents[key]] += 1
        self.slots_started += entry.get("slots", 1)

    def _end(self, entry: dict[str, Any], started: dict[str, Any], contents: dict[str, str]) -> None:
        key, output = entry["key"], entry["output"]
        content = contents[key]
        self._book(started["path"], output.get("tokens"))
        if entry["status"] == "completed":
            self.completed[content] += 1
            self.answers.setdefault(content, set()).add(output.get("answer", ""))
            self.slots_at[started["path"]] += started.get("slots", 1)
            self.unfinished.pop(key, None)

    def _die(self, running: dict[str, dict[str, Any]], contents: dict[str, str]) -> None:
        for key, entry in running.items():
            self._book(entry["path"], entry.get("hold"))
            self._book(entry["path"], entry.get("earlier"))
            self.lost[contents[key]] += 1
            self.unfinished[key] = self.unfinished.get(key, 0) + 1
        running.clear()

    def _book(self, path: str, tokens: dict[str, int] | None) -> None:
        tokens = tokens or {}
        self.costs.append((path, tokens.get("input_tokens", 0), tokens.get("output_tokens", 0)))
