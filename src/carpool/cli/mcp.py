"""``carpool mcp``: coordinations and team files as tools of an MCP server, over standard input and output.

Standard output is the protocol's alone: whatever else prints, prints to stderr. The server ends when its client closes
the connection or goes away, and, in good order, at Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import anyio
from cyclopts import Parameter

from ..durable import Journal
from ..errors import ConfigError
from ..runner import RunnerLike
from ..types import BudgetLimits
from .environment import at_most, with_environment
from .flags import Budget, Estimate, Flags
from .interrupts import stopping_on_interrupt
from .journal import JOURNAL, JournalFlag, journal_at
from .runner_choice import chosen_runner
from .team_assembly import team_at
from .terminal import Screen, printing_to_stderr
from .usage import DONE, FAILED, INTERRUPTED, UsageError

if TYPE_CHECKING:
    from mcp.server import Server

    from ..mcp_server import OfferedTeam

__all__ = ["mcp"]


def mcp(
    *files: Annotated[Path, Parameter(name="FILE", help="Team files: each is a tool, called like the file.")],
    budget: Budget = None,
    estimate: Estimate = None,
    runner: Annotated[str | None, Parameter(help="As of run.")] = None,
    model: Annotated[str | None, Parameter(help="As of run.")] = None,
    base_url: Annotated[str | None, Parameter(help="As of run.")] = None,
    command: Annotated[str | None, Parameter(help="As of run.")] = None,
    journal: JournalFlag = None,
    no_journal: Annotated[bool, Parameter(negative="", group=JOURNAL, help="Record nothing.")] = False,
) -> int:
    """Serve MCP on standard input and output."""
    streams: tuple[TextIO | None, ...] = (sys.stdin, sys.stdout)  # None where the process was started without
    if None in streams:
        raise UsageError("standard input or output is closed, and a client speaks over both")
    try:
        from ..mcp_server import coordination_server
    except ModuleNotFoundError:
        raise UsageError("carpool mcp needs the extra mcp; run: pip install 'carpool[mcp]'") from None
    flags = with_environment(
        Flags(budget=budget, estimate=estimate, runner=runner, model=model, base_url=base_url, command=command)
    )
    limits = at_most(flags.budget or BudgetLimits())
    opened = None if no_journal else journal_at(journal)
    with printing_to_stderr():  # a runner's module may print when it is imported
        teams = _offered(files)
        chosen = chosen_runner(flags, elsewhere=bool(files))
    try:
        server = coordination_server(chosen, budget=limits, teams=teams, estimate=estimate, journal=opened)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return _served(server, opened)


def _offered(files: Sequence[Path]) -> list[OfferedTeam]:
    from ..mcp_server import OfferedTeam

    teams: list[OfferedTeam] = []
    for file in files:
        team = team_at(file)
        try:
            own: RunnerLike | None = team.make_runner() if team.names_runner else None
        except ConfigError as error:
            raise UsageError(str(error)) from None
        teams.append(
            OfferedTeam(
                name=file.stem,
                description=team.task or f"The team of {file.name}: a {team.pattern.kind}.",
                pattern=team.pattern,
                task=team.task,
                has_items=team.items is not None,
                budget=team.budget,
                runner=own,
                around=team.infra,
            )
        )
    return teams


def _served(server: Server, journal: Journal | None) -> int:
    left = False
    try:
        anyio.run(_serve, server, journal)
    except* BrokenPipeError:
        left = True
    if left:
        Screen().say(("carpool mcp: the client has gone; what it had asked for was stopped", ""))
    return FAILED if left else DONE


async def _serve(server: Server, journal: Journal | None) -> None:
    from mcp.server.stdio import stdio_server

    async with stdio_server() as (read, write):
        async with AsyncExitStack() as stack:
            if journal is not None:
                await stack.enter_async_context(journal)
            scope = stack.enter_context(anyio.CancelScope())
            stack.enter_context(stopping_on_interrupt(scope.cancel))
            await server.run(read, write, server.create_initialization_options())
        if scope.cancel_called:
            os._exit(INTERRUPTED)  # all is settled and stored; a thread still waits for the client's next word
