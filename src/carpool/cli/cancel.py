"""``carpool cancel``: a run that goes on in another process is asked to stop."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ..durable import Journal
from .journal import JournalFlag, run_called, with_journal
from .terminal import Screen
from .usage import DONE, FAILED

__all__ = ["cancel"]


def cancel(
    run: Annotated[str, Parameter(help="The run: its id, the beginning of it, or last.")],
    /,
    *,
    journal: JournalFlag = None,
) -> int:
    """Ask a running run to stop."""

    async def work(journal: Journal, screen: Screen) -> int:
        run_id = (await run_called(journal, run)).run_id
        if not await journal.request_cancel(run_id):
            screen.say((f"carpool cancel: run {run_id} is not running; carpool show {run_id} tells how it ended", ""))
            return FAILED
        screen.say((f"run {run_id} was asked to stop; what has finished is kept: carpool resume {run_id} goes on", ""))
        return DONE

    return with_journal("cancel", journal, work)
