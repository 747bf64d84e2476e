"""``carpool cancel``, ``rm`` and ``export``: what can be done with a run on record beside looking at it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from ..durable import Journal, document_of
from .recording import JournalFlag, run_called, with_journal
from .terminal import OutputClosedError, Screen
from .usage import DONE, FAILED

__all__ = ["cancel", "export", "rm"]

_RUN = Parameter(help="The run: its id, the beginning of it, or last.")


def cancel(run: Annotated[str, _RUN], /, *, journal: JournalFlag = None) -> int:
    """Ask a running run to stop."""

    async def work(journal: Journal, screen: Screen) -> int:
        run_id = (await run_called(journal, run)).run_id
        if not await journal.request_cancel(run_id):
            screen.say((f"carpool cancel: run {run_id} is not running; carpool show {run_id} tells how it ended", ""))
            return FAILED
        screen.say((f"run {run_id} was asked to stop; what has finished is kept: carpool resume {run_id} goes on", ""))
        return DONE

    return with_journal("cancel", journal, work)


def rm(
    runs: Annotated[tuple[str, ...], Parameter(name="RUN", help="Runs: ids, or beginnings of them.")],
    /,
    *,
    journal: JournalFlag = None,
) -> int:
    """Take runs out of the journal."""

    async def work(journal: Journal, screen: Screen) -> int:
        for run_id in [(await run_called(journal, run)).run_id for run in runs]:  # all are found before any goes
            await journal.remove(run_id)
            screen.say((f"removed run {run_id}", ""))
        return DONE

    return with_journal("rm", journal, work)


def export(
    run: Annotated[str, _RUN],
    /,
    *,
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], metavar="FILE", help="Where to; standard output by default.")
    ] = None,
    journal: JournalFlag = None,
) -> int:
    """Write a run as one JSON document."""

    async def work(journal: Journal, screen: Screen) -> int:
        header = await run_called(journal, run)
        document = document_of(await journal.read(header.run_id), live=journal.is_live(header))
        text = msgspec.json.format(msgspec.json.encode(document, enc_hook=repr)).decode()
        try:
            if output is None:
                screen.answer(text)
            else:
                output.write_text(text + "\n", encoding="utf-8")
        except OutputClosedError:
            return FAILED
        except OSError as error:
            screen.say((f"carpool export: {output}: {error.strerror}", ""))
            return FAILED
        return DONE

    return with_journal("export", journal, work)
