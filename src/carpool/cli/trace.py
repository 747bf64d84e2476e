"""``carpool trace``: a run as one HTML file, which opens offline with the views of ``carpool view``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..durable import Journal
from .journal import JournalFlag, run_called, with_journal
from .terminal import Screen, on_one_line
from .usage import DONE, FAILED

__all__ = ["trace"]


def trace(
    run: Annotated[str, Parameter(help="The run: its id, the beginning of it, or last.")],
    /,
    *,
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], metavar="FILE", help="Where to; by default RUN.html, here.")
    ] = None,
    journal: JournalFlag = None,
) -> int:
    """Write a run as one HTML file."""

    async def work(journal: Journal, screen: Screen) -> int:
        from ..viewer.trace import trace

        header = await run_called(journal, run)
        live = journal.is_live(header)
        stored = await journal.read(header.run_id)
        path = output or Path(f"{_as_file_name(header.run_id)}.html")
        try:
            with path.open("wb") as file:
                for piece in trace(stored, live=live):
                    file.write(piece)
        except OSError as error:
            screen.say((f"carpool trace: {path}: {error.strerror}", ""))
            return FAILED
        size = path.stat().st_size
        screen.say((on_one_line(f"wrote {path}, {size / 1e6:.1f} MB; it holds every task and answer of the run"), ""))
        return DONE

    return with_journal("trace", journal, work)


def _as_file_name(run_id: str) -> str:
    """A name of the user's may hold anything; only what is safe in every file system stays."""
    name = "".join(char if char.isalnum() or char in "-_." else "_" for char in run_id)
    return name.lstrip(".")[:100] or "run"
