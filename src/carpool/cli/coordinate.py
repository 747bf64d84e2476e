"""A pattern run to its end, or to the user's: watched while it goes on, and never left without its bill."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import anyio

from ..durable import Journal
from ..errors import BudgetError, JournalError
from ..eventlog import EventLog
from ..events import Event
from ..infra import SharedInfra
from ..results import CoordinationResult
from ..runner import RunnerLike
from ..types import BudgetSnapshot
from .assembly import Assembly
from .interrupts import stopping_on_interrupt
from .terminal import OutputClosedError
from .usage import DONE, FAILED, INTERRUPTED, STOPPED_BY_THE_BUDGET

__all__ = ["Ending", "OnRecord", "Report", "coordinate"]

_LOOKS_EVERY_S = 0.5


@dataclass
class Ending:
    """How a run ended. ``result`` is the whole one, or what of it was there when it was stopped. ``on_record``: the
    journal, if there is one, knows of it. ``purse`` is the budget then; ``None`` if it came to none."""

    result: CoordinationResult | None = None
    error: Exception | None = None
    interrupted: bool = False
    on_record: bool = True
    purse: BudgetSnapshot | None = None
    unheard: str = ""  # why stdout can't be written

    @property
    def is_there(self) -> bool:
        return self.result is not None or self.error is not None

    @property
    def answer(self) -> str:
        return self.result.answer if self.result is not None else ""

    @property
    def exit_code(self) -> int:
        if self.interrupted:
            return INTERRUPTED
        if self.unheard:
            return FAILED
        if isinstance(self.error, BudgetError) or self._stop_reason == "budget_exhausted":
            return STOPPED_BY_THE_BUDGET
        return FAILED if self.error is not None or not self.answer.strip() else DONE

    @property
    def _stop_reason(self) -> str:
        return self.result.stop_reason if self.result is not None else ""


class Report(Protocol):
    """What is told of a run while it goes on. What it can't tell is an :class:`OutputClosedError`."""

    def event(self, event: Event) -> None: ...
    def stopping(self) -> None: ...


class OnRecord(Protocol):
    """Under which id the run is recorded, and where somebody may leave word to cancel it."""

    @property
    def run_id(self) -> str: ...
    @property
    def journal(self) -> Journal: ...


async def coordinate(
    work: Assembly, runner: RunnerLike, infra: SharedInfra, report: Report, on_record: OnRecord | None = None
) -> Ending:
    """Run ``work``. An error of the run, an interruption or a closed stdout is in the ending, never raised."""
    ending = Ending()
    follower = _Follower(infra.log, report)
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:

            def interrupt() -> None:
                if ending.is_there:
                    return  # it ended by itself before the loop came to this
                ending.interrupted = True
                report.stopping()
                scope.cancel()

            def unheard(why: str) -> None:
                ending.unheard = why
                scope.cancel()

            group.start_soon(follower.follow, unheard)
            if on_record is not None:
                group.start_soon(_watch_for_cancel, on_record, interrupt)
            with stopping_on_interrupt(interrupt):
                await _run(work, runner, infra, ending, scope, None if on_record is None else on_record.run_id)
        group.cancel_scope.cancel()
    ending.purse = infra.budget.snapshot()
    if not ending.unheard:
        try:
            follower.catch_up()
        except OutputClosedError as error:
            ending.unheard = str(error)
    return ending


async def _watch_for_cancel(on_record: OnRecord, interrupt: Callable[[], None]) -> None:
    """Interrupt once somebody has left word in the journal; a journal that can't be read will say so to the run."""
    while True:
        await anyio.sleep(_LOOKS_EVERY_S)
        with suppress(JournalError):
            header = await on_record.journal.header(on_record.run_id)
            if header is not None and header.cancel:
                interrupt()
                return


async def _run(
    work: Assembly,
    runner: RunnerLike,
    infra: SharedInfra,
    ending: Ending,
    scope: anyio.CancelScope,
    run_id: str | None,
) -> None:
    try:
        ending.result = await work.pattern.run(work.task, runner=runner, infra=infra, run_id=run_id, **work.inputs)
        ending.interrupted = False  # it was done before it could be stopped
    except Exception as error:
        ending.result, ending.error = getattr(error, "partial", None), error
    except anyio.get_cancelled_exc_class() as stop:
        # Not raised on: the scope ends here, and what a runner made of the cancellation may not bear its mark.
        if not scope.cancel_called:
            raise
        ending.result = getattr(stop, "partial", None)


class _Follower:
    """Tells each event of a log to a report, in order, each once."""

    def __init__(self, log: EventLog, report: Report) -> None:
        self._log = log
        self._report = report
        self._told = len(log)

    async def follow(self, unheard: Callable[[str], None]) -> None:
        try:
            async for event in self._log.subscribe(self._told):
                self._tell(event)
        except OutputClosedError as error:
            unheard(str(error))

    def catch_up(self) -> None:
        for event in self._log.events(since=self._told):
            self._tell(event)

    def _tell(self, event: Event) -> None:
        self._told = event.seq
        self._report.event(event)
