"""``carpool rm``: runs taken out of the journal."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ..durable import Journal
from .journal import JournalFlag, run_called, with_journal
from .terminal import Screen
from .usage import DONE

__all__ = ["rm"]


def rm(
    runs: Annotated[tuple[str, ...], Parameter(name="RUN", help="Runs: ids, or beginnings of them.")],
    /,
    *,
    journal: JournalFlag = None,
) -> int:
    """Take runs out of the journal."""

    async def work(journal: Journal, screen: Screen) -> int:
        for run_id in {(await run_called(journal, run)).run_id: None for run in runs}:  # all are found before any goes
            await journal.remove(run_id)
            screen.say((f"removed run {run_id}", ""))
        return DONE

    return with_journal("rm", journal, work)
