"""The value report of a run in words, for ``carpool show --value``."""

from __future__ import annotations

from ..durable.ballots import Ballot
from ..durable.value import Fate, ValueReport
from .amounts import counted, dollars, seconds
from .terminal import on_one_line

__all__ = ["value_lines"]

_FATES: dict[Fate, str] = {
    "answer": "went into the answer",
    "read": "read by another agent",
    "unread": "answered, and nobody read it",
    "nothing": "gave no answer",
    "pending": "not known yet",
}
_CHARS = 48


def value_lines(report: ValueReport) -> list[str]:
    """A line for each thing that is told, labels first."""
    rows = [
        ("useful", f"{report.useful:,} of {counted(report.outputs, 'answer')} by {counted(report.agents, 'agent')}"),
        ("each", _each(report)),
        ("unread", "nothing was spent" if report.never_read is None else f"{report.never_read:.1%} of all tokens"),
        *(("", line) for line in _shares(report)),
        ("starts", _starts(report)),
        *(("refused", f"{number:,} · {on_one_line(why)}") for why, number in report.refusals.items()),
        ("time", _time(report)),
    ]
    lines = [f"{label:<8}{text}".rstrip() for label, text in rows]
    for ballot in report.ballots:
        lines += ["", *_ballot(ballot)]
    return lines


def _each(report: ValueReport) -> str:
    if report.tokens_per_useful is None or report.usd_per_useful is None:
        return "no answer was of use"
    cost = f" · {dollars(report.usd_per_useful)}" if report.spent.cost_usd else ""
    return f"{report.tokens_per_useful:,.0f} tokens{cost} for each useful answer"


def _shares(report: ValueReport) -> list[str]:
    some = [share for share in report.shares if share.agents or share.tokens.total_tokens]
    width = max((len(_FATES[share.fate]) for share in some), default=0)
    return [
        f"{_FATES[share.fate]:<{width}}  {share.share:>6.1%}  {share.tokens.total_tokens:>9,} tokens"
        f"  {counted(share.agents, 'agent')}"
        for share in some
    ]


def _starts(report: ValueReport) -> str:
    parts = [counted(report.starts, "start")]
    parts += [f"{number:,} retried after {on_one_line(why)}" for why, number in report.retries.items()]
    if report.lost:
        parts.append(f"{report.lost:,} lost with their process")
    if report.withdrawn:
        parts.append(f"{report.withdrawn:,} never started for another reason than the budget")
    return " · ".join(parts)


def _time(report: ValueReport) -> str:
    time = report.time
    parts = [
        f"{seconds(time.wall_s)}, {seconds(time.busy_s)} of it with somebody at work",
        f"{time.together:.1f} together",
        f"all agents: worked {seconds(time.worked_s)}",
    ]
    if time.waited_for_agents_s:
        parts.append(f"waited {seconds(time.waited_for_agents_s)} for agents they asked")
    parts.append(f"waited {seconds(time.waited_s)} otherwise")
    return " · ".join(parts)


def _ballot(ballot: Ballot) -> list[str]:
    path = on_one_line(ballot.path)
    if not ballot.settled_after:
        return [f"vote    {path}: nobody won"]
    late = len(ballot.votes) - ballot.decided_after
    surplus = f"; {counted(late, 'vote')} after that cost {ballot.surplus.total_tokens:,} tokens" if late else ""
    lines = [f"vote    {path}: {_cut(ballot.winner)}, by {ballot.winner_votes} of {len(ballot.votes)}"]
    settled = f"the last vote that changed the winner was number {ballot.settled_after}"
    lines.append(f"        {settled}; decided after number {ballot.decided_after}{surplus}")
    for number, vote in enumerate(ballot.votes, 1):
        if vote.changed:
            voter = on_one_line(vote.voter.rpartition("/")[2])
            lines.append(f"        {number:>4}  {voter} → {_cut(vote.winner)}")
    return lines


def _cut(text: str) -> str:
    text = on_one_line(text)
    return text if len(text) <= _CHARS else text[: _CHARS - 1] + "…"
