"""What a run shows of itself: lines, answer and bill for people, or JSON for programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from ..errors import BudgetError, JournalError
from ..eventlog import EventLog
from ..events import Event, encode
from ..results import CoordinationResult
from ..types import AgentOutput, BudgetLimits
from .amounts import counted, limits
from .assembly import Assembly
from .bill import Bill, bill_of, wording
from .coordinate import Ending
from .environment import ceiling
from .journal import said_of
from .lines import Lines
from .refusals import held_down, worded
from .terminal import Screen, harmless, harmless_json, on_one_line
from .usage import STOPPED_BY_THE_BUDGET

if TYPE_CHECKING:
    from .perform import Recording

__all__ = ["JsonReport", "TextReport"]

_NAMED_AT_MOST = 6
_REASONS_AT_MOST = 3
_REASON_CHARS = 240  # of one reason: two lines and a half of a common terminal


class TextReport:
    """For people: each change as a line on stderr, the answer on stdout, the bill on stderr.

    With ``quiet`` there is only the answer and, where there is none, why.
    """

    def __init__(
        self,
        screen: Screen,
        work: Assembly,
        budget: BudgetLimits,
        recording: Recording | None = None,
        *,
        quiet: bool,
        command: str = "run",
    ) -> None:
        self._screen = screen
        self._command = command
        self._work = work
        self._budget = budget
        self._recording = recording
        self._quiet = quiet
        self._ceiling = ceiling()
        self._lines = Lines(work.names, work.labels, screen.width)
        self._unread: set[str] = set()
        if not quiet:
            allowed = "no budget" if budget.is_unbounded else f"budget {limits(budget)}"
            screen.say((work.title, "bold"), (f" · {allowed}", "dim"))

    def event(self, event: Event) -> None:
        if self._quiet:
            return
        if len(self._unread) < len(self._work.unreadable):
            self._tell_unreadable()
        if line := self._lines.of(event):
            self._screen.say(*line)

    def stopping(self) -> None:
        if not self._quiet:
            self._screen.say(("stopping; what has finished is kept (again to end at once)", "bold yellow"))

    def ended(self, ending: Ending, log: EventLog) -> None:
        """:raises OutputClosedError: when the answer can't be written; the bill is told all the same."""
        bill = replace(bill_of(log.events()), purse=ending.purse)
        if self._recording is not None:
            bill = replace(bill, before=self._recording.spent, in_vain=self._recording.in_vain)
        try:
            if not ending.unheard:
                self._answer(ending)
        finally:
            if not self._quiet:
                self._tell_bill(bill, ending)
        if why := self._why_no_answer(ending, bill):
            self._screen.say((f"carpool {self._command}: ", "red"), (why, ""), wrap=True)

    def _answer(self, ending: Ending) -> None:
        text = ending.answer.strip("\n") if ending.answer.strip() else _answers(ending.result, self._work)
        if text:
            if self._screen.is_one_place:
                self._aside()
            self._screen.answer(harmless(text))

    def _tell_bill(self, bill: Bill, ending: Ending) -> None:
        self._tell_unreadable()
        self._aside()
        # Of a run that the journal did not hand out, nobody here knows what it has spent.
        untold = isinstance(ending.error, JournalError) and not bill.started + bill.replayed
        rows = wording(bill, BudgetLimits() if untold else self._budget)
        if unreadable := self._work.unreadable:
            names = _some([f"{on_one_line(label)} ({reason})" for label, reason in unreadable.items()])
            rows.insert(1, ("items", f"{len(self._work.labels)} · {len(unreadable)} unread: {names}"))
        rows.append(("ended", _how_it_ended(ending, bill, self._ceiling)))
        if (run_id := self._on_record(ending)) is not None:
            rows.append(("run", run_id + _what_next(ending, bill, self._ceiling, run_id)))
        for label, text in rows:
            self._screen.say((f"{label:<8}", "dim"), (on_one_line(text), ""), wrap=True)

    def _on_record(self, ending: Ending) -> str | None:
        """Under which id the journal knows the run, if it does."""
        return self._recording.run_id if self._recording is not None and ending.on_record else None

    def _why_no_answer(self, ending: Ending, bill: Bill) -> str:
        """One line for who finds nothing on stdout; empty if there is an answer, or nothing to explain."""
        if ending.answer.strip() or ending.interrupted or ending.unheard:
            return ""
        if ending.error is not None:
            return on_one_line(_told(ending.error, self._ceiling))
        work = self._work
        if work.labels and len(work.unreadable) == len(work.labels):
            names = _some([f"{on_one_line(label)} ({reason})" for label, reason in work.unreadable.items()])
            return f"no answer: none of {counted(len(work.labels), 'item')} could be read: {names}"
        if bill.refused:
            return f"no answer: {on_one_line(worded(bill.refusals, self._ceiling))}"
        return f"no answer: {_failures(ending.result, work, self._on_record(ending))}"

    def _tell_unreadable(self) -> None:
        for label, reason in self._work.unreadable.items():
            if label not in self._unread:
                self._unread.add(label)
                self._screen.say(*self._lines.unreadable(label, reason))

    def _aside(self) -> None:
        if not self._quiet:
            self._screen.say()


class JsonReport:
    """For programs: each event on stdout as the log encodes it, and the result as the last line.

    The last line is ``{"kind": "result", "exit_code": …}`` with the fields of the result; after an interruption
    those of what there was, and where there was nothing only ``answer`` and ``run_id``. ``error`` is the class and
    text of what ended the run early, or ``null``. With ``quiet`` it is the only line.
    """

    def __init__(self, screen: Screen, *, quiet: bool) -> None:
        self._screen = screen
        self._quiet = quiet

    def event(self, event: Event) -> None:
        if not self._quiet:
            self._screen.answer(_line(event, encode))

    def stopping(self) -> None:
        pass  # the events tell

    def ended(self, ending: Ending, log: EventLog) -> None:
        """:raises OutputClosedError: when it can't be written."""
        if ending.unheard:
            return
        error, fields = ending.error, {"answer": "", "run_id": None}
        if ending.result is not None:
            fields = msgspec.to_builtins(ending.result, enc_hook=repr)
        line = {
            "kind": "result",
            "exit_code": ending.exit_code,
            "interrupted": ending.interrupted,
            "error": None if error is None else f"{type(error).__name__}: {error}",
            **fields,
        }
        self._screen.answer(_line(line, msgspec.json.encode))


def _line(value: Any, encode: Callable[[Any], bytes]) -> str:
    try:
        text = encode(value).decode()
    except UnicodeEncodeError:
        # Half a character, deep in what a runner returned: the slower encoder writes it as an escape.
        import json

        text = json.dumps(msgspec.to_builtins(value))
    return harmless_json(text)


def _answers(result: CoordinationResult | None, work: Assembly) -> str:
    """What finished agents answered, each under its name: all there is where no one answer was made."""
    good = [output for output in result.outputs if output.succeeded] if result is not None else []
    return "\n\n".join(f"{_named(output, work)}:\n{output.answer}" for output in good)


def _named(output: AgentOutput, work: Assembly) -> str:
    return on_one_line(work.labels.get(output.name, output.name))


def _told(error: Exception, most: BudgetLimits | None) -> str:
    text = str(error)
    if isinstance(error, BudgetError):
        text = worded((text,), most)
    if isinstance(error, JournalError):
        text = said_of(error)
    return f"{type(error).__name__}: {text}"


def _how_it_ended(ending: Ending, bill: Bill, most: BudgetLimits | None) -> str:
    if ending.interrupted:
        return "interrupted"
    if ending.unheard:
        return "stopped: nobody reads the output"
    if ending.exit_code == STOPPED_BY_THE_BUDGET:
        return f"stopped by the budget: {worded(bill.refusals, most) or ending.error or ''}".rstrip(": ")
    if ending.error is not None:
        return f"failed: {_told(ending.error, most)}"
    return {"completed": "done", "no_output": "no answer", "max_rounds": "done, after the last round"}.get(
        bill.stop_reason, bill.stop_reason
    )


def _what_next(ending: Ending, bill: Bill, most: BudgetLimits | None, run_id: str) -> str:
    if ending.exit_code == STOPPED_BY_THE_BUDGET:
        first = ""
        if most is not None and held_down(bill.refusals, most):
            first = f"raise CARPOOL_MAX_BUDGET, which is {limits(most)}, then "
        return f" · to go on: {first}carpool resume {run_id} --add-budget LIMITS"
    if ending.interrupted or ending.error is not None:
        return f" · to go on: carpool resume {run_id}"
    return ""


def _failures(result: CoordinationResult | None, work: Assembly, run_id: str | None) -> str:
    """Who failed, by why: what went wrong for all of them went wrong once. The first few reasons, and where the
    others are."""
    names: dict[str, list[str]] = {}
    for output in result.outputs if result is not None else []:
        if output.error is not None:
            names.setdefault(on_one_line(output.error), []).append(_named(output, work))
    if not names:
        return "nobody gave one"
    told = [f"{_cut(error)} ({_some(who)})" for error, who in list(names.items())[:_REASONS_AT_MOST]]
    if more := len(names) - len(told):
        where = "" if run_id is None else f": carpool show {run_id}"
        told.append(f"and {counted(more, 'other reason')}{where}")
    return "; ".join(told)


def _cut(reason: str) -> str:
    return reason if len(reason) <= _REASON_CHARS else reason[: _REASON_CHARS - 1] + "…"


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more:,} more" if more > 0 else "")
