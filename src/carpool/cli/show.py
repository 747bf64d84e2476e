"""``carpool show``: one run as a tree of its agents, with what each cost and how long it took; or one agent of it."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import msgspec
from cyclopts import Parameter

from ..durable import AgentRecord, Journal, RunDocument, document_of
from ..durable.value import ValueReport, value_of
from ..events import AgentSkipped
from ..types import TokenAccounting
from .amounts import counted, dollars, limits, seconds
from .bill import why_withdrawn
from .journal import JournalFlag, run_called, with_journal
from .labels import label_of, labels_of
from .terminal import Screen, harmless, harmless_json, on_one_line, padded, width_of
from .usage import DONE, UsageError
from .value import value_lines

__all__ = ["show"]

_UNFINISHED = ("failed", "cancelled", "lost")
_WIDEST = 56  # columns for whom a line is about
_SIGNS = {"completed": "✓", "failed": "✗", "cancelled": "–", "lost": "!", "running": "…"}


def show(
    run: Annotated[str, Parameter(help="The run: its id, the beginning of it, or last.")],
    agent: Annotated[
        str | None, Parameter(help="An agent of it, by name, path or item: its task, its answer, its error.")
    ] = None,
    /,
    *,
    value: Annotated[
        bool, Parameter(negative="", help="What it was worth: what useful answers cost, and what nobody read.")
    ] = False,
    json: Annotated[bool, Parameter(negative="", help="As JSON, on one line.")] = False,
    journal: JournalFlag = None,
) -> int:
    """Show a run."""
    if value and agent is not None:
        raise UsageError("--value is of a whole run, not of an agent")

    async def work(journal: Journal, screen: Screen) -> int:
        header = await run_called(journal, run)
        document = document_of(await journal.read(header.run_id), live=journal.is_live(header))
        if agent is not None:
            for record in _agents_called(document, agent):
                screen.answer(_json(record) if json else _agent(record, _never_started(document).get(record.path)))
        elif value:
            report = value_of(document)
            screen.answer(_json(report) if json else "\n".join([*_head(document), "", *value_lines(report)]))
        elif json:
            screen.answer(_json(msgspec.structs.replace(document, events=[])))
        else:
            screen.answer("\n".join([*_head(document), "", *_tree(document)]).rstrip())
        return DONE

    return with_journal("show", journal, work)


def _json(value: RunDocument | AgentRecord | ValueReport) -> str:
    return harmless_json(msgspec.json.encode(value, enc_hook=repr).decode())


def _head(document: RunDocument) -> list[str]:
    rows = [
        ("run", f"{document.run_id} · {document.pattern.replace('_', '-')} · {document.status.replace('_', ' ')}"),
        ("task", on_one_line(document.task) or "none"),
        ("agents", _counts(document)),
        ("spent", _spent(document.spent) or "nothing"),
        ("budget", "none" if document.limits.is_unbounded else limits(document.limits)),
        ("time", _times(document)),
    ]
    return [f"{label:<8}{text}" for label, text in rows]


def _counts(document: RunDocument) -> str:
    numbers = Counter(agent.status for agent in document.agents)
    told = [f"{numbers[status]:,} {status}" for status in _SIGNS if numbers[status]]
    starts = sum(agent.starts for agent in document.agents)
    return " · ".join([counted(starts, "start"), *told])


def _times(document: RunDocument) -> str:
    began = f"began {document.created.astimezone():%Y-%m-%d %H:%M:%S}"
    took = f"{seconds(document.duration_ms / 1e3)} at work" if document.duration_ms else "no process has ended it"
    processes = f" · in {document.processes} processes" if document.processes > 1 else ""
    return f"{began} · {took}{processes}"


def _tree(document: RunDocument) -> list[str]:
    """Every agent under the patterns, and the agents, that it stands in; siblings by their first start."""
    tree: dict[str, list[str]] = {}
    agents: dict[str, list[AgentRecord]] = {}  # of a name that was given to another item, both
    for agent in document.agents:
        agents.setdefault(agent.path, []).append(agent)
    skipped = _never_started(document)
    for path in agents:
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            above, place = "/".join(parts[: depth - 1]), "/".join(parts[:depth])
            if place not in tree.setdefault(above, []):
                tree[above].append(place)
    width = min(
        _WIDEST,
        max((2 * each.path.count("/") + width_of(_titled(each.path, each)) for each in document.agents), default=0),
    )
    lines: list[str] = []
    stack = [(place, 0) for place in reversed(tree.get("", []))]
    while stack:
        place, depth = stack.pop()
        if place not in agents:
            lines.append("  " * depth + on_one_line(place.rpartition("/")[2]))
        lines += [_line(each, _titled(place, each), depth, width, skipped.get(place)) for each in agents.get(place, ())]
        stack += [(below, depth + 1) for below in reversed(tree.get(place, []))]
    return lines


def _titled(path: str, agent: AgentRecord, between: str = "  ") -> str:
    """The last name of ``path``, and the item of ``agent`` if it has one."""
    label = label_of(agent)
    return on_one_line(path.rpartition("/")[2]) + ("" if label is None else between + on_one_line(label))


def _line(agent: AgentRecord, name: str, depth: int, width: int, skipped: AgentSkipped | None) -> str:
    indented = "  " * depth + f"{_SIGNS[agent.status]} {name}"
    took = seconds((agent.ended - agent.began).total_seconds()) if agent.ended is not None else ""
    notes = [_spent(agent.spent)]
    if agent.status in ("lost", "running", "cancelled"):
        notes.append(agent.status)
    if agent.starts > 1:
        notes.append(counted(agent.starts, "start"))
    if agent.output is not None and agent.output.error is not None:
        notes.append(on_one_line(agent.output.error))
    if skipped is not None and agent.status in _UNFINISHED:
        notes.append(on_one_line(why_withdrawn(skipped) or ""))  # a refusal by the budget is told by the run
    return f"{padded(indented, width + 4)}  {took:>8}  {' · '.join(note for note in notes if note)}".rstrip()


def _spent(tokens: TokenAccounting) -> str:
    if tokens == TokenAccounting():
        return ""
    price = dollars(tokens.cost_usd) if tokens.priced else "price unknown"
    return f"{tokens.total_tokens:,} tokens" + (f" · {price}" if tokens.cost_usd or not tokens.priced else "")


def _agents_called(document: RunDocument, typed: str) -> list[AgentRecord]:
    found = [agent for agent in document.agents if typed in (agent.name, agent.path)]
    # Of a role there may be many: each item has its mapper, each delegation its specialist.
    found = found or [agent for agent in document.agents if typed == agent.roles.rpartition("/")[2]]
    found = found or [agent for agent in document.agents if typed == label_of(agent)]
    if not found:
        _refuse_never_started(document, typed)
        names = ", ".join(_titled(agent.path, agent, " of ") for agent in document.agents[:8]) or "none"
        more = len(document.agents) - 8
        others = f" and {more:,} more: carpool show {document.run_id}" if more > 0 else ""
        raise UsageError(f"no agent {typed!r} in run {document.run_id}; there are: {names}{others}")
    return found


def _refuse_never_started(document: RunDocument, typed: str) -> None:
    """:raises UsageError: if the agent is not on record because it was never started; it says why."""
    labels = labels_of(document)
    for skipped in _never_started(document).values():
        if typed in (skipped.agent, skipped.path, labels.get(skipped.agent)):
            why = why_withdrawn(skipped) or skipped.reason
            raise UsageError(f"{typed!r} was never started in run {document.run_id}: {why}")


def _never_started(document: RunDocument) -> dict[str, AgentSkipped]:
    """By its path, for each agent that was asked for and not started, unless it was after that; but for those whose
    path was also another's, because an event does not tell them apart."""
    found: dict[str, AgentSkipped] = {}
    for fields in document.events:
        path: str = fields.get("path", "")
        if fields["kind"] == AgentSkipped.kind:
            found[path] = AgentSkipped(agent=fields.get("agent", ""), path=path, reason=fields.get("reason", ""))
        else:
            found.pop(path, None)
    for path, number in Counter(agent.path for agent in document.agents).items():
        if number > 1:
            found.pop(path, None)
    return found


def _agent(agent: AgentRecord, skipped: AgentSkipped | None) -> str:
    label = label_of(agent)
    item = "" if label is None else f" · {on_one_line(label)}"
    parts = [f"{agent.path}{item} · {agent.status} · {_spent(agent.spent) or 'nothing spent'}"]
    if skipped is not None and agent.status in _UNFINISHED:
        parts.append(f"not started again:\n{harmless(why_withdrawn(skipped) or skipped.reason)}")
    if agent.spec is not None and agent.spec.system_prompt:
        parts.append(f"system prompt:\n{harmless(agent.spec.system_prompt)}")
    parts.append(f"task:\n{harmless(agent.task)}")
    if agent.output is not None and agent.output.answer:
        parts.append(f"answer:\n{harmless(agent.output.answer)}")
    if agent.output is not None and agent.output.error is not None:
        parts.append(f"error:\n{harmless(agent.output.error)}")
    return "\n\n".join(parts) + "\n"
