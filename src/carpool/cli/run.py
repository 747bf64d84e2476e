"""``carpool run``: a coordination from flags, its answer and its bill, on record from its first start."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from ..clock import new_id
from .assembly import assemble
from .flags import Flags
from .performing import Recording, perform
from .recording import JOURNAL, JournalFlag, journal_at
from .runner_from import runner_from

__all__ = ["run"]


def run(
    *,
    flags: Flags = Flags(),  # noqa: B008 - frozen, and where the parser looks for the defaults
    journal: JournalFlag = None,
    no_journal: Annotated[
        bool,
        Parameter(negative="", group=JOURNAL, help="Record nothing: what is cut off can't be resumed."),
    ] = False,
) -> int:
    """Run a coordination of agents."""
    runner = runner_from(flags)
    stdin = sys.stdin.buffer.read() if flags.items == ("-",) else b""
    work = assemble(flags, stdin)
    recording = None
    if not no_journal:
        recording = Recording(journal_at(journal), new_id(), Recording.about(flags, stdin))
    return perform("run", work, runner, flags, flags.budget, recording)
