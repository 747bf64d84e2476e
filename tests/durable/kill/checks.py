"""What must hold whenever a process of a run has died, and when the run has come to its end.

Each check compares two of four witnesses: the bill, which the runner wrote; the sights, what patterns were shown; the
rows in the journal; and an uninterrupted run of the same team. A violation begins with the name of its check.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec import Struct, field

from carpool import BudgetLimits

from .bill import Line, Sight, cost_of, counted
from .on_record import OnRecord
from .process import Came

__all__ = ["CHECKS", "After", "Asked", "at_the_end", "at_the_end_of_poison", "whenever"]

CHECKS = {
    "kept": "what was durable at one death is durable at the next, to the byte",
    "shown only what is durable": "an output that a pattern saw is on record, as it saw it",
    "on record before it runs": "no runner is called whose start is not durable",
    "paid once": "no runner is called again for what was completed",
    "booked": "opening a run books exactly what was spent in it, lost starts at what they held",
    "asked once": "nobody is asked to approve again of what is on record as approved",
    "never less": "what is booked never falls from one process to the next, and is never less than the bill",
    "within the limit": "neither the bill nor what is booked passes the limit",
    "the same result": "outputs, their order, names, answers and tokens, and all else that the pattern returns",
    "the same state": "every key of the shared state",
    "nothing left open": "at the end every agent that ran is on record with its end",
}


class Asked(Struct):
    """What an uninterrupted run asked of its runner: how often each content was begun, and how often with success."""

    begun: Counter[str] = field(default_factory=Counter)
    completed: Counter[str] = field(default_factory=Counter)
    came: Came | None = None

    def begins_left(self, content: str, completed: int) -> int:
        """How often the runner may still be called for it in one process."""
        begun, wanted = self.begun.get(content, 1), self.completed.get(content, 1)
        if not completed:
            return max(begun, 1)
        return (wanted - completed) * (begun // max(1, wanted))


class After(Struct):
    """All that is known when a process has died or ended: ``before`` and ``record`` are the journal's rows at the death
    of the one before and now."""

    process: int
    before: Sequence[bytes]
    rows: Sequence[bytes]
    bill: Sequence[Line]
    sights: Sequence[Sight]
    limits: BudgetLimits

    def __post_init__(self) -> None:
        self.known = OnRecord.of(self.before)
        self.record = OnRecord.of(self.rows)

    known: OnRecord = field(default_factory=OnRecord)
    record: OnRecord = field(default_factory=OnRecord)


def whenever(after: After, asked: Asked) -> Iterator[str]:
    """The violations that can be seen when a process has died, or ended."""
    if list(after.rows[: len(after.before)]) != list(after.before):
        yield f"kept: {len(after.before)} rows were durable, and are not what the journal begins with"
    yield from _shown(after)
    yield from _run(after, asked)
    for request, count in after.record.approved.items():
        if count > 1:
            yield f"asked once: {request} was approved {count} times"
    yield from _booked(after)
    yield from _limit(after)


def _shown(after: After) -> Iterator[str]:
    seen = [sight for sight in after.sights if sight.what == "seen" and sight.process == after.process]
    for content, count in (Counter(sight.content for sight in seen) - after.record.completed).items():
        yield f"shown only what is durable: {content} was seen {count} times more than it is on record"
    for sight in seen:
        answers = after.record.answers.get(sight.content)
        if answers is not None and sight.answer not in answers:
            yield f"shown only what is durable: {sight.content} was seen as {sight.answer!r}, and is {answers}"


def _run(after: After, asked: Asked) -> Iterator[str]:
    lines = [line for line in after.bill if line.process == after.process]
    begun, started = counted(lines, "begins"), after.record.started - after.known.started
    for content, count in (begun - started).items():
        yield f"on record before it runs: {content} was begun {count} times more than its start was on record"
    for content, count in begun.items():
        completed = after.known.completed[content]
        if count > (left := asked.begins_left(content, completed)):
            yield f"paid once: {content} was begun {count} times, after {completed} completions {left} were left"


def _booked(after: After) -> Iterator[str]:
    opened = [sight.booked for sight in after.sights if sight.what == "opened" and sight.process == after.process]
    for booked in opened:
        expected = (*after.known.booked(), after.known.slots())
        if booked != expected:
            yield f"booked: {booked} after opening; on record are {expected}"
        before = [sight.booked for sight in after.sights if sight.process < after.process]
        most = max((total for total, _, _ in before), default=0), max((total for _, total, _ in before), default=0)
        if booked[0] < most[0] or booked[1] < most[1]:
            yield f"never less: {booked} after opening; {most} were booked before"
        paid = _paid([line for line in after.bill if line.process < after.process])
        if booked[0] < paid[0] or booked[1] < paid[1]:
            yield f"never less: {booked} after opening; the bill says {paid}"


def _limit(after: After) -> Iterator[str]:
    """Estimates are true here: what is in flight spends no more than it holds, so that nothing may pass the limit."""
    limit = after.limits.max_total_tokens or 0
    for name, total in ("the bill", sum(_paid(after.bill))), ("the journal", sum(after.record.booked())):
        if total > limit:
            yield f"within the limit: {name} says {total} tokens, of {limit}"


def _paid(lines: Sequence[Line]) -> tuple[int, int]:
    """Everything that was begun, at its price: a call that was killed has been paid for too."""
    costs = [cost_of(line.content) for line in lines if line.what == "begins"]
    return sum(cost.input_tokens for cost in costs), sum(cost.output_tokens for cost in costs)


def at_the_end(after: After, came: Came, expected: Came) -> Iterator[str]:
    """The violations that can be seen in what a run came to at last, beside an uninterrupted one."""
    yield from (f"the same result: {each}" for each in _differences(came.result, expected.result))
    yield from (f"the same state: {each}" for each in _differences(came.state, expected.state))
    starts = after.record.slots_started - after.known.slots_started
    booked = (*after.record.booked(), after.known.slots() + starts)
    if came.booked != booked:
        yield f"booked: {came.booked} at the end; on record are {booked}"
    for path, inside in came.purses.items():
        booked = (*after.record.booked(f"{path}/"), after.record.slots(f"{path}/"))
        if inside != booked:
            yield f"booked: {inside} at the end in the purse of {path}; on record are {booked}"
    if after.record.lost != after.known.lost:
        yield f"nothing left open: {after.record.lost - after.known.lost} have no end"


def at_the_end_of_poison(came: Came, expected: Came, deaths: int) -> Iterator[str]:
    """The same where one agent kills every process that it works in: it fails, and nobody else does."""
    ours, theirs = came.result["map_outputs"], expected.result["map_outputs"]
    failed = [output for output in ours if output.get("error") is not None]
    if [output["name"] for output in failed] != ["reader_250"] or "poison" not in failed[0]["error"]:
        yield f"the same result: not one has failed as poison, but {[output['name'] for output in failed]}"
    for mine, its in zip(ours, theirs, strict=True):
        if mine not in failed:
            yield from _differences(mine, its, mine["name"])
    if deaths != 4:
        yield f"paid once: the poison was run in {deaths} processes, not in 4"


def _differences(one: object, other: object, place: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        if list(one) != list(other) and sorted(one) != sorted(other):
            yield f"{place}: keys {sorted(set(one) ^ set(other))[:3]} are in one of them"
        for key in one.keys() & other.keys():
            yield from _differences(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            yield f"{place}: {len(one)} instead of {len(other)}"
        for number, (mine, its) in enumerate(zip(one, other, strict=False)):
            yield from _differences(mine, its, f"{place}[{number}]")
    elif one != other:
        yield f"{place}: {str(one)[:80]!r} instead of {str(other)[:80]!r}"
