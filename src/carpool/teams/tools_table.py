"""Tools as a team file says them, and the making of them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, field
from msgspec.structs import asdict

from ..actions import Tier
from ..tools import CommandTool, Tool, as_tool
from .imports import named_object, refuse_unless_path
from .paths import path_in, program_in
from .table import NotNegative, Seconds, Table, Text

__all__ = [
    "CommandToolTable",
    "FunctionTable",
    "McpTable",
    "ToolsTable",
    "check_function",
    "command_tool",
    "function_tool",
    "server_tools",
]


class FunctionTable(Table, frozen=True, kw_only=True):
    """A Python function as a tool, ``module:function``."""

    function: Text
    tier: Tier | None = None


class CommandToolTable(Table, frozen=True, kw_only=True):
    """The arguments of ``CommandTool``; the tool's name is the key that it stands under."""

    argv: Annotated[list[str], Meta(min_length=1)]
    description: str = ""
    parameters: dict[str, Any] | None = None
    options: list[str] = []
    stdin: str | None = None
    timeout_s: Seconds = 60.0
    max_output_bytes: NotNegative = 1_048_576
    env: list[str] | None = None
    cwd: Text | None = None
    success_codes: list[int] = field(default_factory=lambda: [0])
    grace_s: Annotated[float, Meta(ge=0)] = 2.0
    tier: Tier = "full_access"


class McpTable(Table, frozen=True, kw_only=True):
    """An MCP server, by the ``command`` that starts it or the ``url`` where it runs; and what ``mcp_tools`` takes."""

    command: Text | None = None
    args: list[str] = []
    env: list[str] = []
    cwd: Text | None = None
    url: Text | None = None
    prefix: str = ""
    only: list[str] | None = None
    tier: Tier = "full_access"
    timeout_s: Seconds = 60.0
    connect_timeout_s: Seconds = 30.0

    def __post_init__(self) -> None:
        if (self.command is None) == (self.url is None):
            raise ValueError("needs either 'command' or 'url'")
        if self.url is not None and (self.args or self.env or self.cwd is not None):
            raise ValueError("'args', 'env' and 'cwd' are for a 'command', not for a 'url'")


class ToolsTable(Table, frozen=True, kw_only=True):
    """What there is for agents to name in their ``tools``."""

    functions: list[str | FunctionTable] = []
    commands: dict[str, CommandToolTable] = {}
    mcp: dict[str, McpTable] = {}


def check_function(entry: str | FunctionTable) -> None:
    """:raises ConfigError: for what can be no function's path, which is said without importing it."""
    refuse_unless_path(entry if isinstance(entry, str) else entry.function)


def function_tool(entry: str | FunctionTable, folder: Path) -> Tool:
    """Imports the function.

    :raises ConfigError: when it can't be imported.
    :raises TypeError, ValueError: when it is nothing that can be a tool.
    """
    table = entry if isinstance(entry, FunctionTable) else FunctionTable(function=entry)
    return as_tool(named_object(table.function, folder), tier=table.tier)


def command_tool(name: str, table: CommandToolTable, folder: Path) -> Tool:
    """Nothing is started yet.

    :raises ConfigError: for a template, schema or limit that can't be kept to.
    """
    arguments = asdict(table)
    arguments["argv"] = [program_in(folder, table.argv[0]), *table.argv[1:]]
    if table.cwd is not None:
        arguments["cwd"] = path_in(folder, table.cwd).absolute()
    if table.env is None:
        del arguments["env"]
    return CommandTool(name, **arguments)


async def server_tools(table: McpTable, folder: Path, stack: AsyncExitStack) -> list[Tool]:
    """Connects to the server, until ``stack`` is closed.

    :raises ConfigError: without the extra ``mcp``, or for a name in ``only`` that there is none of.
    :raises ToolError: when it can't be reached.
    """
    from ..mcp_tools import StdioServer, mcp_tools  # loads threads and pipes that only servers need

    server: StdioServer | str | None = table.url
    if table.command is not None:
        cwd = None if table.cwd is None else path_in(folder, table.cwd).absolute()
        server = StdioServer(program_in(folder, table.command), table.args, table.env, cwd)
    connected = mcp_tools(
        server,
        prefix=table.prefix,
        only=table.only,
        tier=table.tier,
        timeout_s=table.timeout_s,
        connect_timeout_s=table.connect_timeout_s,
    )
    return await stack.enter_async_context(connected)
