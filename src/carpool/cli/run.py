"""``carpool run``: a coordination from flags or a team file, its answer and its bill; on record unless told not to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..clock import new_id
from ..types import BudgetLimits
from .assembly import Assembly, assemble, standard_input
from .environment import at_most, with_environment
from .flags import Flags
from .journal import JOURNAL, JournalFlag, journal_at
from .perform import Recording, perform
from .runner_choice import chosen_runner

__all__ = ["TeamFileArgument", "assembled", "run"]

TeamFileArgument = Annotated[
    Path | None,
    Parameter(
        name="FILE", help="A team file (YAML, TOML or JSON) in place of the flags that make a team: carpool init."
    ),
]


def run(
    file: TeamFileArgument = None,
    /,
    *,
    flags: Flags = Flags(),  # noqa: B008 - frozen, and where the parser looks for the defaults
    journal: JournalFlag = None,
    no_journal: Annotated[
        bool, Parameter(negative="", group=JOURNAL, help="Record nothing: what is cut off can't be resumed.")
    ] = False,
) -> int:
    """Run a coordination of agents."""
    flags = with_environment(flags)
    stdin = standard_input().read() if flags.items == ("-",) else b""
    work = assembled(file, flags, stdin)
    runner = chosen_runner(flags, work.make_runner, elsewhere=file is not None)
    recording = None
    if not no_journal:
        recording = Recording(journal_at(journal), new_id(), Recording.about(file, flags, stdin))
    return perform("run", work, runner, flags, at_most(flags.budget or work.budget or BudgetLimits()), recording)


def assembled(file: Path | None, flags: Flags, stdin: bytes | None = None) -> Assembly:
    """:raises UsageError: when what was typed, or the file, can't be run."""
    if file is None:
        return assemble(flags, stdin)
    from .team_assembly import assemble_team  # the readers of files load with the first file

    return assemble_team(file, flags, stdin)
