"""A run that somebody watches: for the first time or resumed, on record or not."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec

from ..durable import Journal
from ..errors import CarpoolError
from ..eventlog import EventLog
from ..infra import SharedInfra
from ..runner import RunnerLike
from ..secrets import Redactor
from ..types import BudgetLimits, TokenAccounting
from .assembly import Assembly
from .coordinate import Ending, coordinate
from .flags import Flags
from .interrupts import leave
from .labels import LABELS, stored_labels
from .reports import JsonReport, TextReport
from .terminal import OutputClosedError, Screen

__all__ = ["Recording", "perform"]


@dataclass(frozen=True)
class Recording:
    """Where and under which id the run is recorded, and what it takes to make it anew. ``spent`` is all that earlier
    processes spent, ``in_vain`` what of it went to starts that came to nothing."""

    journal: Journal
    run_id: str
    made_of: dict[str, Any]
    spent: TokenAccounting = TokenAccounting()  # noqa: RUF009 - frozen
    in_vain: TokenAccounting = TokenAccounting()  # noqa: RUF009 - frozen

    @staticmethod
    def about(file: Path | None, flags: Flags, stdin: bytes) -> dict[str, Any]:
        """What ``carpool resume`` makes the run from: the flags, the team file, the folder, and the items that came by
        stdin."""
        made_of = {"flags": msgspec.to_builtins(flags), "cwd": str(Path.cwd())}
        if file is not None:
            made_of["file"] = str(file)
        if stdin:
            made_of["stdin"] = stdin.decode("utf-8", "replace")
        return Redactor().value(made_of)


def perform(
    command: str,
    work: Assembly,
    runner: RunnerLike,
    flags: Flags,
    budget: BudgetLimits,
    recording: Recording | None,
) -> int:
    """Run ``work`` to its end, or to the user's; the exit code."""
    log = EventLog()
    screen = Screen()
    report = _report(command, screen, work, flags, budget, recording)
    with screen.alone_on_stdout():
        ending: Ending = anyio.run(partial(_recorded, work, runner, log, budget, report, recording))
        try:
            report.ended(ending, log)
        except OutputClosedError as error:
            ending.unheard = str(error)
    if ending.unheard:
        screen.say((f"carpool {command}: {ending.unheard}", "red"), wrap=True)
    if ending.error is not None and not isinstance(ending.error, _EXPECTED):
        raise ending.error  # a mistake in carpool, or in what it was given: where it happened is what helps
    if ending.interrupted:
        leave()
    return ending.exit_code


def _report(
    command: str, screen: Screen, work: Assembly, flags: Flags, budget: BudgetLimits, recording: Recording | None
) -> JsonReport | TextReport:
    if flags.json:
        return JsonReport(screen, quiet=flags.quiet)
    if screen.terminal is None or flags.quiet or flags.lines:
        return TextReport(screen, work, budget, recording, quiet=flags.quiet, command=command)
    from .live_report import LiveReport

    expected = work.pattern.plan(work.task, **work.inputs).agents_min
    return LiveReport(screen, screen.terminal, work, budget, recording, expected, command)


async def _recorded(
    work: Assembly,
    runner: RunnerLike,
    log: EventLog,
    budget: BudgetLimits,
    report: JsonReport | TextReport,
    recording: Recording | None,
) -> Ending:
    async with AsyncExitStack() as stack:
        if recording is not None:
            await stack.enter_async_context(recording.journal)
        on_record = False
        try:
            if recording is not None:
                about = recording.made_of | {LABELS: Redactor().value(stored_labels(work))}
                await recording.journal.describe(recording.run_id, about)
                on_record = True
            around = work.around or _infra
            journal = None if recording is None else recording.journal
            infra = await stack.enter_async_context(around(budget=budget, log=log, journal=journal))
        except CarpoolError as error:
            return Ending(error=error, on_record=on_record)
        return await coordinate(work, runner, infra, report, recording)


@asynccontextmanager
async def _infra(**settings: Any) -> AsyncGenerator[SharedInfra]:
    yield SharedInfra(**settings)


_EXPECTED = (CarpoolError, ValueError, OSError)
