"""A stored run as one document: what ``carpool export`` writes, and what whoever looks back at a run reads.

Everything in it is told from the rows of the run, so that the document of a run that goes on is as true as that of
one that has ended; it only has less in it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from ..events import encode
from ..types import AgentOutput, AgentSpec, BudgetLimits, TokenAccounting
from .history import Fate, History
from .journal import StoredRun

__all__ = ["DOCUMENT_FORMAT", "AgentRecord", "RunDocument", "document_of"]

DOCUMENT_FORMAT = 1


class AgentRecord(Struct, frozen=True, kw_only=True):
    """One agent of a run. ``status``: ``running``, ``completed``, ``failed``, ``cancelled``, or ``lost``: its process
    died while it ran.

    ``path`` is its last place in the tree of patterns; ``parent`` the path of the agent that asked for it. ``began`` is
    its last start, ``first_started`` its first; ``spent`` what all its starts cost, those that were lost at what they
    held.
    """

    key: str
    path: str
    name: str
    roles: str
    status: str
    spec: AgentSpec | None
    task: str
    output: AgentOutput | None
    spent: TokenAccounting
    held: TokenAccounting
    first_started: datetime
    began: datetime
    ended: datetime | None = None
    parent: str | None = None
    starts: int = 1
    lost: int = 0


class RunDocument(Struct, frozen=True, kw_only=True):
    """``status``: ``running``; ``interrupted``, its process died; or how its pattern ended last. ``agents`` are in
    the order of their first start, ``events`` as the log encodes them."""

    format: int = DOCUMENT_FORMAT
    run_id: str
    pattern: str
    task: str
    status: str
    error: str | None
    created: datetime
    updated: datetime
    duration_ms: float
    processes: int
    limits: BudgetLimits
    spent: TokenAccounting
    about: dict[str, Any]
    agents: list[AgentRecord]
    events: list[dict[str, Any]]


def document_of(run: StoredRun, *, live: bool) -> RunDocument:
    """``run`` as a document; ``live`` says whether a living process has it.

    :raises JournalCorrupt: when a row can't be read.
    """
    header, history = run.header, run.history()
    if not live:
        history.lose()
    return RunDocument(
        run_id=header.run_id,
        pattern=header.pattern,
        task=header.task,
        status=header.status(live=live),
        error=header.error,
        created=header.created,
        updated=header.updated,
        duration_ms=header.duration_ms,
        processes=header.epoch,
        limits=header.limits,
        spent=history.spent,
        about=header.about,
        agents=[_agent(fate, history) for fate in history.fates.values()],
        events=[msgspec.json.decode(encode(event)) for event in run.events()],
    )


def _agent(fate: Fate, history: History) -> AgentRecord:
    return AgentRecord(
        key=fate.key,
        path=fate.path,
        name=fate.agent,
        roles=fate.roles,
        status=fate.status,
        spec=history.specs.get(fate.spec),
        task=fate.task,
        output=fate.output,
        spent=fate.spent,
        held=fate.started.hold,
        first_started=fate.first_started,
        began=fate.began,
        ended=fate.ended_at if fate.status not in ("running", "lost") else None,
        parent=fate.parent,
        starts=fate.starts,
        lost=fate.lost,
    )
