"""``carpool export``: a run as one JSON document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from ..durable import Journal, document_of
from .journal import JournalFlag, run_called, with_journal
from .terminal import Screen
from .usage import DONE, FAILED

__all__ = ["export"]


def export(
    run: Annotated[str, Parameter(help="The run: its id, the beginning of it, or last.")],
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
        except OSError as error:
            screen.say((f"carpool export: {output}: {error.strerror}", ""))
            return FAILED
        return DONE

    return with_journal("export", journal, work)
