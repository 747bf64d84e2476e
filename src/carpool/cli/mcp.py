"""``carpool mcp``: coordinations and team files as tools of an MCP server, over standard input and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import Parameter

from ..errors import ConfigError
from ..runner import RunnerLike
from ..types import BudgetLimits, TokenAccounting
from .environment import at_most, with_environment
from .flags import Budget, Estimate, Flags
from .recording import JOURNAL, JournalFlag, journal_at
from .runner_from import runner_from
from .team import team_at
from .usage import DONE, UsageError

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
    try:
        from mcp.server.stdio import stdio_server

        from ..mcp_server import OfferedTeam, coordination_server
    except ModuleNotFoundError:
        raise UsageError("carpool mcp needs the extra mcp; run: pip install 'carpool[mcp]'") from None
    flags = with_environment(
        Flags(budget=budget, estimate=estimate, runner=runner, model=model, base_url=base_url, command=command)
    )
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
    limits = at_most(flags.budget or BudgetLimits())
    most: TokenAccounting | None = estimate
    chosen = runner_from(flags)

    async def serve() -> None:
        if no_journal:
            await run(None)
        else:
            async with journal_at(journal) as opened:
                await run(opened)

    async def run(opened: object) -> None:
        server = coordination_server(chosen, budget=limits, teams=teams, estimate=most, journal=opened)
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    anyio.run(serve)
    return DONE
