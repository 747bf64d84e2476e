"""``carpool events``: what a run's log says, and, with ``--follow``, what it says next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import anyio
from cyclopts import Parameter

from ..durable import Journal, RunDocument, document_of
from ..durable.telling import Teller
from ..events import AgentEvent, Event, encode
from .journal import JournalFlag, run_called, with_journal
from .labels import labels_of
from .lines import Lines
from .terminal import Screen, harmless_json
from .usage import DONE

__all__ = ["events"]

_LOOKS_EVERY_S = 0.25
_NAME = 16  # columns that any name has, so that lines which come later stand below those before


def events(
    run: Annotated[str, Parameter(help="The run: its id, the beginning of it, or last.")],
    /,
    *,
    follow: Annotated[bool, Parameter(negative="", help="Go on until the run ends.")] = False,
    json: Annotated[bool, Parameter(negative="", help="A line of JSON for each, with every field.")] = False,
    journal: JournalFlag = None,
) -> int:
    """Print the events of a run."""

    async def work(journal: Journal, screen: Screen) -> int:
        run_id = (await run_called(journal, run)).run_id
        await _tell(journal, run_id, screen, as_json=json, follow=follow)
        return DONE

    return with_journal("events", journal, work)


async def _tell(journal: Journal, run_id: str, screen: Screen, *, as_json: bool, follow: bool) -> None:
    teller, known = Teller(run_id), None
    shown: Callable[[Event], str | None] | None = _as_json if as_json else None
    while True:
        header = await journal.header(run_id)
        live = header is not None and journal.is_live(header)  # asked before looking: what is written last is seen
        if header is not None and (known is None or header.rows != known.rows):
            stored = await journal.read(run_id) if known is None else await journal.read_on(known)
            known = stored.header
            if shown is None:
                shown = _AsText(document_of(stored, live=live))
            for event in teller.tell(stored.rows):
                if (line := shown(event)) is not None:
                    screen.answer(line)
        if not follow or not live:
            return
        await anyio.sleep(_LOOKS_EVERY_S)


def _as_json(event: Event) -> str:
    return harmless_json(encode(event).decode())


class _AsText:
    """The lines that a run shows while it goes on. Who will be in it is not known beforehand."""

    def __init__(self, run: RunDocument) -> None:
        names = {str(event["agent"]) for event in run.events if "agent" in event}
        labels = labels_of(run)
        self._lines = Lines(names - labels.keys(), labels, at_least=_NAME)

    def __call__(self, event: Event) -> str | None:
        line = self._lines.of(event)
        if line is None:
            return None
        where = f"  {event.path}" if isinstance(event, AgentEvent) and event.path.count("/") > 1 else ""
        return ("".join(text for text, _ in line).rstrip() + where).rstrip()
