"""The value report of a run, as the page shows it: with who read whom, and answers cut to what a table has room for."""

from __future__ import annotations

from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from ..durable import RunDocument
from ..durable.ballots import Ballot
from ..durable.readings import readings_of
from ..durable.value import fates_of, value_of
from .picture import Picture
from .rows import shortened

__all__ = ["worth_of"]

_ANSWER_CHARS = 160
_VOTES = 1_000
_READERS = 50


def worth_of(document: RunDocument, picture: Picture) -> dict[str, Any]:
    """``report``; and for each agent of the picture, by its number, ``fates`` (what became of what it spent) and
    ``readers`` (who read its answer; of many, the first)."""
    readings = readings_of(document)
    report = value_of(document, readings)
    report = replace(report, ballots=[_short(ballot) for ballot in report.ballots])
    numbers = {place.fate.key: place.n for place in picture.places if place.fate is not None}
    by_place = [numbers.get(agent.key) for agent in document.agents]
    fates: dict[str, str] = {}
    readers: dict[str, list[int]] = {}
    for number, fate, read_by in zip(by_place, fates_of(document, readings), readings.readers, strict=True):
        if number is None:
            continue
        fates[str(number)] = fate
        if read_by:
            known = [by_place[reader] for reader in sorted(read_by)]
            readers[str(number)] = [reader for reader in known if reader is not None][:_READERS]
    return {"report": to_builtins(report), "fates": fates, "readers": readers}


def _short(ballot: Ballot) -> Ballot:
    votes = [
        replace(vote, answer=shortened(vote.answer, _ANSWER_CHARS), winner=shortened(vote.winner, _ANSWER_CHARS))
        for vote in ballot.votes[:_VOTES]
    ]
    return replace(ballot, votes=votes, winner=shortened(ballot.winner, _ANSWER_CHARS))
