"""``carpool run``: a coordination from flags, its answer and its bill."""

from __future__ import annotations

from functools import partial

import anyio

from ..errors import CarpoolError
from ..infra import SharedInfra
from .assembly import assemble
from .coordinate import Ending, coordinate
from .flags import Flags
from .interrupts import leave
from .reports import JsonReport, TextReport
from .runner_by_name import runner_by_name
from .terminal import OutputClosedError, Screen

__all__ = ["run"]


def run(*, flags: Flags = Flags()) -> int:  # noqa: B008 - frozen, and where the parser looks for the defaults
    """Run a coordination of agents."""
    runner = runner_by_name(flags.runner)
    work = assemble(flags)
    infra = SharedInfra(budget=flags.budget)
    screen = Screen()
    report = (
        JsonReport(screen, quiet=flags.quiet)
        if flags.json
        else TextReport(screen, work, flags.budget, quiet=flags.quiet)
    )
    ending: Ending = anyio.run(partial(coordinate, work, runner, infra, report))
    try:
        report.ended(ending, infra.log)
    except OutputClosedError as error:
        ending.unheard = str(error)
    if ending.unheard:
        screen.say((f"carpool run: {ending.unheard}", "red"), wrap=True)
    if ending.error is not None and not isinstance(ending.error, _EXPECTED):
        raise ending.error  # a mistake in carpool, or in what it was given: where it happened is what helps
    if ending.interrupted:
        leave()
    return ending.exit_code


_EXPECTED = (CarpoolError, ValueError, OSError)
