"""What a run was worth: what its answers cost, what of it nobody read, what it did twice, where its time went.

A fold over a run's document, which changes nothing and asks nobody. Who read whose answer is told in
:mod:`~carpool.durable.readings`, and what each vote changed in :mod:`~carpool.durable.ballots`. What is not on record
is not told: how long a start waited in line for the budget, and what a runner said wrongly about its spend.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from msgspec import Struct

from ..types import TokenAccounting
from .ballots import Ballot, ballots_of
from .document import AgentRecord, RunDocument
from .readings import Readings, answered, readings_of, was_withdrawn

__all__ = ["FATES", "Fate", "Share", "TimeSpent", "ValueReport", "fates_of", "value_of"]

Fate = Literal["answer", "read", "unread", "nothing", "pending"]

FATES: tuple[Fate, ...] = ("answer", "read", "unread", "nothing", "pending")
"""What became of what an agent spent:

- ``answer``: its answer went into the answer of its pattern, in a run that ended with one; a run that the budget
  stopped counts as such, because it makes do with what it has
- ``read``: another agent read its answer, or its pattern its verdict
- ``unread``: it answered, and nobody read that
- ``nothing``: it gave no answer, or it was spent on starts that came to nothing
- ``pending``: it still runs, or what it answered may still be read
"""

_ENDED_WITH_AN_ANSWER = frozenset(("completed", "budget_exhausted", "max_rounds"))


class Share(Struct, frozen=True, kw_only=True):
    """A part of what was spent: by how many agents, and its share of all tokens, from 0 to 1."""

    fate: Fate
    agents: int
    tokens: TokenAccounting
    share: float


class TimeSpent(Struct, frozen=True, kw_only=True):
    """Seconds. ``wall_s`` is from the first start to the last end, ``busy_s`` the part of it in which anybody ran.

    The others are sums over agents, and of an agent from its start to its end: ``worked_s``, its runner was at work;
    ``waited_for_agents_s``, agents ran that it had asked for; ``waited_s``, the rest: for another start after one that
    failed, and until it was on record. ``together`` is how many were at work on average while anybody was.
    """

    wall_s: float = 0.0
    busy_s: float = 0.0
    worked_s: float = 0.0
    waited_for_agents_s: float = 0.0
    waited_s: float = 0.0
    together: float = 0.0


class ValueReport(Struct, frozen=True, kw_only=True):
    """``outputs``: agents that gave an answer. ``useful``: those whose answer went into the run's, or was read by one
    that is useful itself; what each cost is everything that was spent, shared out among them, and ``None`` without any.

    ``never_read`` is the share of tokens with the fate ``unread`` or ``nothing``; ``None`` if none were spent.
    ``retries`` and ``refusals`` are counted by why: the class of the error, the limit that was reached. ``lost`` counts
    starts whose process died, ``withdrawn`` agents that never started for another reason than the budget.
    """

    run_id: str
    status: str
    spent: TokenAccounting
    agents: int
    outputs: int
    useful: int
    tokens_per_useful: float | None
    usd_per_useful: float | None
    never_read: float | None
    shares: list[Share]
    ballots: list[Ballot]
    starts: int
    retries: dict[str, int]
    refusals: dict[str, int]
    lost: int
    withdrawn: int
    time: TimeSpent


def value_of(document: RunDocument, readings: Readings | None = None) -> ValueReport:
    """The report on a run that has ended, or on what there is of one; ``readings``, if somebody has them already."""
    agents = document.agents
    readings = readings or readings_of(document)
    useful, spent = len(_useful(document, readings)), document.spent
    shares = _shares(agents, fates_of(document, readings))
    vain = sum(share.tokens.total_tokens for share in shares if share.fate in ("unread", "nothing"))
    total = sum(share.tokens.total_tokens for share in shares)
    return ValueReport(
        run_id=document.run_id,
        status=document.status,
        spent=spent,
        agents=len(agents),
        outputs=sum(map(answered, agents)),
        useful=useful,
        tokens_per_useful=spent.total_tokens / useful if useful else None,
        usd_per_useful=spent.cost_usd / useful if useful else None,
        never_read=vain / total if total else None,
        shares=shares,
        ballots=ballots_of(document),
        starts=sum(agent.starts for agent in agents),
        retries=_counted(_class_of(event) for event in _of_kind(document, "agent_retrying")),
        refusals=_counted(_limit_of(event) for event in _skipped(document) if not was_withdrawn(event)),
        lost=sum(agent.lost for agent in agents),
        withdrawn=sum(map(was_withdrawn, _skipped(document))),
        time=_time(agents),
    )


def fates_of(document: RunDocument, readings: Readings) -> list[Fate]:
    """What became of what each agent spent, in the order of the document."""
    return [_fate(place, document, readings) for place in range(len(document.agents))]


def _fate(place: int, document: RunDocument, readings: Readings) -> Fate:
    agent = document.agents[place]
    if agent.status == "running":
        return "pending"
    if not answered(agent):
        return "nothing"
    if readings.readers[place] or place in readings.verdicts:
        return "read"
    if document.status == "running":
        return "pending"
    return "answer" if place in readings.final and document.status in _ENDED_WITH_AN_ANSWER else "unread"


def _useful(document: RunDocument, readings: Readings) -> set[int]:
    if document.status not in _ENDED_WITH_AN_ANSWER:
        return set()
    read: dict[int, list[int]] = {}
    for place, readers in enumerate(readings.readers):
        for reader in readers:
            read.setdefault(reader, []).append(place)
    useful = readings.final | readings.verdicts
    reached = list(useful)
    while reached:
        for place in read.get(reached.pop(), ()):
            if place not in useful:
                useful.add(place)
                reached.append(place)
    return useful


def _shares(agents: Sequence[AgentRecord], fates: Sequence[Fate]) -> list[Share]:
    """All that was spent, by what became of it. What starts cost that came to nothing is apart from what the last one
    did."""
    spent: dict[Fate, TokenAccounting] = dict.fromkeys(FATES, TokenAccounting())
    for agent, fate in zip(agents, fates, strict=True):
        if fate != "nothing" and agent.output is not None:
            spent[fate] += (last := agent.output.tokens or TokenAccounting())
            spent["nothing"] += _less(agent.spent, last)
        else:
            spent[fate] += agent.spent
    total, counts = sum(tokens.total_tokens for tokens in spent.values()), Counter(fates)
    return [
        Share(fate=fate, agents=counts[fate], tokens=tokens, share=tokens.total_tokens / total if total else 0.0)
        for fate, tokens in spent.items()
    ]


def _less(all_of_it: TokenAccounting, part: TokenAccounting) -> TokenAccounting:
    return TokenAccounting(
        input_tokens=max(0, all_of_it.input_tokens - part.input_tokens),
        output_tokens=max(0, all_of_it.output_tokens - part.output_tokens),
        cost_usd=max(0.0, all_of_it.cost_usd - part.cost_usd),
        priced=all_of_it.priced,
    )


# Retries and refusals


def _of_kind(document: RunDocument, kind: str) -> Iterable[dict[str, Any]]:
    return (event for event in document.events if event.get("kind") == kind)


def _skipped(document: RunDocument) -> Iterable[dict[str, Any]]:
    return _of_kind(document, "agent_skipped")


def _limit_of(event: dict[str, Any]) -> str:
    """What the reason says before it says the numbers."""
    return str(event.get("reason", "")).partition(":")[0] or "unknown"


def _class_of(event: dict[str, Any]) -> str:
    name = str(event.get("error", "")).partition(":")[0]
    return name if name.isidentifier() else "other"


def _counted(reasons: Iterable[str]) -> dict[str, int]:
    return dict(Counter(reasons).most_common())


# Time


def _time(agents: Sequence[AgentRecord]) -> TimeSpent:
    spans: dict[str, tuple[float, float]] = {}
    at_work: dict[str, float] = {}
    asked_for: dict[str, list[tuple[float, float]]] = {}
    for agent in agents:
        if agent.ended is None:
            continue
        ended, worked = agent.ended.timestamp(), (agent.output.duration_ms / 1e3 if agent.output is not None else 0.0)
        began = agent.began.timestamp()
        if worked > ended - began and not agent.lost:
            began = agent.first_started.timestamp()  # it was retried: its time at work is that of all attempts
        spans[agent.path] = span = began, max(began, ended)
        at_work[agent.path] = min(worked, span[1] - began) if agent.status != "cancelled" else span[1] - began
        if agent.parent is not None:
            asked_for.setdefault(agent.parent, []).append(span)
    if not spans:
        return TimeSpent()
    for_agents = {path: _covered(asked_for.get(path, ()), within=span) for path, span in spans.items()}
    busy = _covered(spans.values())
    worked = sum(max(0.0, at_work[path] - for_agents[path]) for path in spans)
    waited = sum(end - begin - at_work[path] for path, (begin, end) in spans.items())
    return TimeSpent(
        wall_s=max(end for _, end in spans.values()) - min(begin for begin, _ in spans.values()),
        busy_s=busy,
        worked_s=worked,
        waited_for_agents_s=sum(for_agents.values()),
        waited_s=waited,
        together=worked / busy if busy else 0.0,
    )


def _covered(spans: Iterable[tuple[float, float]], within: tuple[float, float] = (0.0, float("inf"))) -> float:
    """How long at least one of ``spans`` lasts."""
    covered, until = 0.0, within[0]
    for begin, end in sorted(spans):
        begin, end = max(begin, until), min(end, within[1])
        if end > begin:
            covered, until = covered + end - begin, end
    return covered
