"""Where runs are recorded, and how one is found again by what the user types of its id."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import anyio
from cyclopts import Group, Parameter

from ..durable import Journal, RunHeader, SqliteJournal
from ..errors import JournalError, RunInUse
from .terminal import Screen, on_one_line
from .usage import FAILED, UsageError

__all__ = ["JOURNAL", "JournalFlag", "journal_at", "journal_file", "run_called", "said_of", "with_journal"]

T = TypeVar("T")

JOURNAL = Group("Where it is recorded", sort_key=5)
JournalFlag = Annotated[
    Path | None,
    Parameter(
        name="--journal",
        env_var="CARPOOL_JOURNAL",
        metavar="FILE",
        group=JOURNAL,
        show_default=False,
        help="The journal, a SQLite file; by default carpool/runs.db in $XDG_STATE_HOME or ~/.local/state.",
    ),
]


def journal_file(given: Path | None) -> Path:
    """The file that is ``given``; else, or if that is empty, ``runs.db`` in carpool's folder for state (XDG base
    directories).

    :raises UsageError: for a folder; or when nothing is given, and this user has no home.
    """
    if given is not None and given != Path():
        if given.is_dir():
            raise UsageError(f"the journal {given} is a folder; name a file with --journal or CARPOOL_JOURNAL")
        return given
    state = os.environ.get("XDG_STATE_HOME", "")
    if state and Path(state).is_absolute():  # a relative path is to be ignored, says the specification
        return Path(state) / "carpool" / "runs.db"
    try:
        return Path.home() / ".local" / "state" / "carpool" / "runs.db"
    except RuntimeError:
        raise UsageError(
            "there is no home folder for a journal; name a file with --journal or CARPOOL_JOURNAL"
        ) from None


def journal_at(path: Path | None) -> SqliteJournal:
    """:raises UsageError: as :func:`journal_file`."""
    return SqliteJournal(journal_file(path))


def with_journal(command: str, path: Path | None, work: Callable[[Journal, Screen], Awaitable[int]]) -> int:
    """The exit code of ``work`` on the journal; what is wrong with the journal is one line on stderr."""

    async def run() -> int:
        async with journal_at(path) as journal:
            return await work(journal, screen)

    screen = Screen()
    try:
        return anyio.run(run)
    except JournalError as error:
        screen.say((f"carpool {command}: ", "red"), (on_one_line(said_of(error)), ""), wrap=True)
        return FAILED


def said_of(error: JournalError) -> str:
    """What ``error`` says, with what can be done about it here."""
    if isinstance(error, RunInUse):
        return (
            f"run {error.run_id!r} is in use by {error.owner}; wait for it, or stop it: carpool cancel {error.run_id}"
        )
    return str(error)


async def run_called(journal: Journal, typed: str) -> RunHeader:
    """The run whose id is ``typed``, or begins with it if only one does; ``last`` is the latest.

    :raises UsageError: when there is none, or more than one.
    """
    exact = await journal.header(typed)
    if exact is not None:
        return exact
    runs = await journal.runs()
    if not runs:
        raise UsageError("there are no runs in this journal yet; carpool run makes one")
    if typed == "last":
        return runs[0]
    found = [run for run in runs if typed and run.run_id.startswith(typed)]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(run.run_id for run in found[:5])
        raise UsageError(f"{len(found)} runs begin with {typed!r}: {some}; type more of the one that is meant")
    raise UsageError(f"no run {typed!r} in this journal; carpool ps lists them")
