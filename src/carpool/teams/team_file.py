"""A team file as a value: its pattern, and what goes with it: task, budget, runner, tools, policies."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..budget import CoordinationBudget
from ..clock import Clock
from ..errors import ConfigError
from ..infra import SharedInfra
from ..patterns import Pattern
from ..patterns.running import run_to_end
from ..policy import PolicyEngine
from ..results import CoordinationResult
from ..runner import RunnerLike
from ..tools import Tool
from ..types import BudgetLimits
from .amounts import limits_of
from .building import build
from .decoding import decode
from .document import TeamTable
from .policies_table import engine_from
from .runner_making import check_runner, runner_from
from .source import Place, Source, read_source
from .tools_table import ToolsTable, check_function, command_tool, function_tool, server_tools

__all__ = ["TeamFile", "load_team", "read_team"]


def load_team(path: str | os.PathLike[str]) -> Pattern[Any]:
    """The pattern of the team file at ``path``.

    :raises ConfigError: as :func:`read_team`.
    """
    return read_team(path).pattern


def read_team(path: str | os.PathLike[str]) -> TeamFile:
    """The team file at ``path``: YAML, TOML or JSON, by the end of its name.

    It is read, understood wholly and checked, and so is the policy file that it names. Nothing is imported, started,
    connected to or looked for: not until a runner, an infra or items are asked for.

    :raises ConfigError: naming file, line, key, and what was expected; without the extra ``yaml`` for a YAML file.
    """
    return TeamFile(read_source(Path(path)), Path(path).parent)


class TeamFile:
    """What a team file says. ``pattern`` runs with any runner and infra; ``run`` with those that the file names.

    A value: it can run any number of times, also at once. Each run has a budget and an infra of its own.
    """

    def __init__(self, source: Source, folder: Path) -> None:
        """:raises ConfigError: as :func:`read_team`."""
        self.document = decode(source, TeamTable)
        self.folder = folder
        self._source = source
        self.pattern = build(source, self.document, folder)
        self.budget = self._at(("budget",), partial(limits_of, self.document.budget)) or BudgetLimits()
        self._check()

    @property
    def task(self) -> str | None:
        """What the agents are asked, where the file says it."""
        return self.document.task

    @property
    def items(self) -> Any:
        """The items of a map-reduce, where it is the team itself and the file says them; else ``None``."""
        return getattr(self.pattern, "items", None)

    @property
    def names_runner(self) -> bool:
        """Whether the file says who does the work."""
        return self.document.runner is not None

    def make_runner(self) -> RunnerLike:
        """The runner that the file names; imports it.

        :raises ConfigError: when it names none, or none that can be had.
        """
        runner = self.document.runner
        if runner is None:
            raise ConfigError(f"{self._source.file}: names no runner, and none was given")
        return self._at(("runner",), lambda: runner_from(runner, self.folder))

    @asynccontextmanager
    async def infra(
        self,
        *,
        budget: CoordinationBudget | BudgetLimits | None = None,
        tools: Iterable[Tool | Callable[..., Any]] = (),
        policies: PolicyEngine | None = None,
        clock: Clock | None = None,
        **settings: Any,
    ) -> AsyncGenerator[SharedInfra]:
        """``async with team.infra() as infra``: what the file says, to run patterns on. MCP servers are there for the
        length of the block.

        ``budget`` is in place of the file's. ``tools`` and ``policies`` are beside the file's. ``settings`` are those
        of :class:`SharedInfra`; a ``granted_tier`` is in place of the file's.

        :raises ConfigError: when a function can't be imported, a server names no such tool, or an extra is missing.
        :raises ToolError: when a server can't be reached.
        """
        async with AsyncExitStack() as stack:
            own = await self._tools(stack)
            engine = self._policies(clock)
            for each in policies.policies if policies is not None else ():
                engine.register(each.name, each.check, each.description)
            if self.document.granted_tier is not None:
                settings.setdefault("granted_tier", self.document.granted_tier)
            yield SharedInfra(
                budget=self.budget if budget is None else budget,
                tools=[*own, *tools],
                policies=engine,
                clock=clock,
                **settings,
            )

    async def run(
        self,
        task: str | None = None,
        *,
        runner: RunnerLike | None = None,
        run_id: str | None = None,
        items: Any = None,
        **settings: Any,
    ) -> CoordinationResult:
        """Run to the end, as ``Pattern.run`` does. What is given is in place of what the file says; ``settings`` are
        those of :meth:`infra`."""
        inputs = {} if items is None else {"items": items}
        runner = self.make_runner() if runner is None else runner
        task = self.task if task is None else task
        async with self.infra(**settings) as infra:
            return await self.pattern.run(task or "", runner=runner, infra=infra, run_id=run_id, **inputs)

    def run_sync(self, task: str | None = None, **arguments: Any) -> CoordinationResult:
        """``run`` for code that is not async."""
        return run_to_end(partial(self.run, task, **arguments))

    def _check(self) -> None:
        """What can be said of the rest without importing, starting or connecting to anything."""
        self._policies(None)
        self._commands()
        for place, entry in enumerate(self.document.tools.functions if self.document.tools is not None else ()):
            self._at(("tools", "functions", place), partial(check_function, entry))
        self._at(("runner",), lambda: check_runner(self.document.runner, self.folder))

    async def _tools(self, stack: AsyncExitStack) -> list[Tool]:
        tools = self.document.tools or ToolsTable()
        found = [
            self._at(("tools", "functions", place), partial(function_tool, entry, self.folder))
            for place, entry in enumerate(tools.functions)
        ]
        found += self._commands()
        for name, table in tools.mcp.items():
            try:
                found += await server_tools(table, self.folder, stack)
            except ConfigError as error:
                raise self._source.refuse(("tools", "mcp", name), str(error)) from None
        return found

    def _commands(self) -> list[Tool]:
        commands = self.document.tools.commands if self.document.tools is not None else {}
        return [
            self._at(("tools", "commands", name), partial(command_tool, name, table, self.folder))
            for name, table in commands.items()
        ]

    def _policies(self, clock: Clock | None) -> PolicyEngine:
        return self._at(("policies",), lambda: engine_from(self.document.policies, self.folder, clock))

    def _at(self, place: Place, make: Callable[[], Any]) -> Any:
        """:raises ConfigError: with the place, for what can't be made."""
        try:
            return make()
        except (ConfigError, TypeError, ValueError) as error:
            raise self._source.refuse(place, str(error)) from None
