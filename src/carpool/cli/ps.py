"""``carpool ps``: the runs on record, the latest first."""

from __future__ import annotations

from typing import Annotated

import msgspec
from cyclopts import Parameter
from msgspec.structs import asdict

from ..durable import Journal, RunHeader
from .amounts import dollars, seconds
from .journal import JournalFlag, with_journal
from .terminal import Screen, harmless_json, on_one_line, padded, width_of
from .usage import DONE

__all__ = ["ps"]

_SHOWN = 20


def ps(
    *,
    all: Annotated[bool, Parameter(negative="", help=f"All, not only the latest {_SHOWN}.")] = False,  # noqa: A002 - the flag's name
    json: Annotated[bool, Parameter(negative="", help="A line of JSON for each.")] = False,
    journal: JournalFlag = None,
) -> int:
    """List the runs on record."""

    async def work(journal: Journal, screen: Screen) -> int:
        runs = await journal.runs()
        shown = runs if all else runs[:_SHOWN]
        if json:
            for run in shown:
                screen.answer(_as_json(run, live=journal.is_live(run)))
        elif shown:
            screen.answer(_as_table([(run, journal.is_live(run)) for run in shown]))
        if not runs:
            screen.say(("no runs yet; carpool run makes one", ""))
        elif len(shown) < len(runs):
            screen.say((f"{len(runs) - len(shown):,} older ones: carpool ps --all", "dim"))
        return DONE

    return with_journal("ps", journal, work)


def _as_table(runs: list[tuple[RunHeader, bool]]) -> str:
    rows = [("RUN", "STATUS", "PATTERN", "STARTS", "DONE", "TOKENS", "COST", "TIME", "BEGAN", "TASK")]
    for run, live in runs:
        spent = run.spent
        rows.append(
            (
                run.run_id,
                run.status(live=live).replace("_", " "),
                run.pattern.replace("_", "-"),
                f"{run.started:,}",
                f"{run.completed:,}",
                f"{spent.total_tokens:,}",
                dollars(spent.cost_usd) + ("" if spent.priced else "+?"),
                seconds((run.updated - run.created).total_seconds() if run.open else run.duration_ms / 1e3),
                f"{run.created.astimezone():%Y-%m-%d %H:%M}",
                _cut(on_one_line(run.task)),
            )
        )
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    right = {3, 4, 5, 6, 7}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place in right else padded(cell, width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _cut(text: str, most: int = 48) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _as_json(run: RunHeader, *, live: bool) -> str:
    # By attribute: the header leaves out what has its default, and a line has all of its fields always.
    fields = {name: value for name, value in asdict(run).items() if name not in _INTERNAL}
    return harmless_json(msgspec.json.encode({"kind": "run", "status": run.status(live=live), **fields}).decode())


_INTERNAL = {"beat", "chain", "rows", "told", "owner", "open"}
