"""Tools of MCP servers: one connection, that several agents call through, for the length of a block.

Promise: calls run side by side; what fails one of them, a timeout or a cancellation, touches no other. When the
server dies, calls in flight and later ones fail with its last words; nothing else is cancelled. With the block the
connection ends, and a server that was started for it too.

Failure: a result that the server marks as an error, an error that it answers with, a lost connection and a timeout
are failed actions. Needs the extra ``mcp``.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import anyio
from msgspec import Struct

from .actions import Tier, ToolSchema
from .errors import ConfigError, ToolError
from .schemas import checker
from .tools import Prepared, Tool
from .tools.environment import environment
from .tools.pipes import Tail, drain

if TYPE_CHECKING:
    from anyio.abc import TaskGroup, TaskStatus
    from mcp import Client
    from mcp_types import CallToolResult
    from mcp_types import Tool as Listed

__all__ = ["McpTool", "StdioServer", "mcp_tools"]

_MOST_PAGES = 100
_LAST_WORDS_BYTES = 4_096
_LAST_WORDS_S = 0.2  # how long they are waited for, once the connection is lost


class StdioServer(Struct, frozen=True):
    """A server that is started for the block, and spoken to over its standard input and output.

    ``env`` is as for ``CommandTool``: names to pass on, or ``NAME=value``. ``mcp`` itself adds ``HOME``, ``PATH``,
    ``USER``, ``LOGNAME``, ``SHELL`` and ``TERM``; nothing else of the environment is there.
    """

    command: str
    args: Sequence[str] = ()
    env: Collection[str] = ()
    cwd: str | os.PathLike[str] | None = None


class McpTool(Tool):
    """One tool of a server. Its output is the structured content of the result, else its text, else its parts."""

    def __init__(self, schema: ToolSchema, name: str, connection: _Connection, timeout_s: float) -> None:
        """``name`` is what the server calls it.

        :raises ConfigError: when a schema that the server gave is invalid.
        """
        super().__init__(schema)
        self._check = checker(schema.parameters, f"tool {schema.name!r}")
        self._name = name
        self._connection = connection
        self._timeout_s = timeout_s

    def prepare(self, arguments: dict[str, Any]) -> Prepared:
        if problems := self._check(arguments):
            raise ValueError(f"arguments don't fit: {problems}")
        return lambda: self._call(arguments)

    async def _call(self, arguments: dict[str, Any]) -> Any:
        with anyio.move_on_after(self._timeout_s):
            result = await self._connection.call(self.schema.name, self._name, arguments)
            return _output(self.schema.name, result)
        raise TimeoutError(f"the MCP server gave no answer within {self._timeout_s:g} s")


@asynccontextmanager
async def mcp_tools(
    server: StdioServer | str | Any,
    *,
    prefix: str = "",
    only: Collection[str] | None = None,
    tier: Tier = "full_access",
    timeout_s: float = 60.0,
    connect_timeout_s: float = 30.0,
) -> AsyncGenerator[list[Tool]]:
    """``async with mcp_tools(server) as tools``: the server's tools, to give to ``SharedInfra(tools=…)``.

    ``server`` is a :class:`StdioServer`, a URL (streamable HTTP), or whatever else ``mcp.Client`` connects to.
    ``prefix`` goes before the server's names, for when two servers have the same; ``only`` takes the tools that it
    names, by the server's names. What a server says of its tools is its own word: the ``tier`` is yours to say.

    :raises ConfigError: without the extra ``mcp``, for an invalid schema, or a name in ``only`` that there is none of.
    :raises ToolError: when the server can't be reached within ``connect_timeout_s``.
    """
    _require_mcp()
    connection = _Connection(server)
    raised: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        try:
            await _connected(connection, tasks, connect_timeout_s)
            listed = await connection.list_tools()
            yield [
                McpTool(_schema(each, prefix, tier), each.name, connection, timeout_s)
                for each in _chosen(listed, only, connection.name)
            ]
        except (anyio.get_cancelled_exc_class(), GeneratorExit):
            raise
        except BaseException as error:
            raised = error  # raised below: the task group would make it part of a group
        finally:
            connection.closing.set()
    if raised is not None:
        raise raised


async def _connected(connection: _Connection, tasks: TaskGroup, timeout_s: float) -> None:
    with anyio.move_on_after(timeout_s):
        return await tasks.start(connection.live)
    raise ToolError("mcp", f"no connection to {connection.name} within {timeout_s:g} s")


class _Connection:
    """The connection to one server. It lives in a task of its own, so that its end is nobody else's."""

    def __init__(self, server: Any) -> None:
        self.name = _name_of(server)
        self.closing = anyio.Event()
        self._server = server
        self._client: Client | None = None
        self._calls: set[anyio.CancelScope] = set()
        self._why_gone = "the connection is closed: its block has ended"
        self._last_words = Tail(_LAST_WORDS_BYTES)
        self._said_all = anyio.Event()

    async def live(self, *, task_status: TaskStatus[None]) -> None:
        """Connect, and stay so until the block ends or the connection breaks.

        :raises ToolError: when there was never one.
        """
        from mcp import Client

        connected = False
        try:
            async with AsyncExitStack() as stack:
                target = await self._target(stack)
                async with Client(target) as self._client:
                    connected = True
                    task_status.started()
                    await self.closing.wait()
        except Exception as error:
            if not connected:
                raise ToolError("mcp", f"{self.name} can't be connected to: {self._told(_innermost(error))}") from None
            if not self.closing.is_set():
                self._why_gone = self._told(_innermost(error))
        finally:
            self._client = None
            for call in self._calls:
                call.cancel()

    async def list_tools(self) -> list[Listed]:
        found: list[Listed] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            if self._client is None:
                break
            page = await self._client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if cursor is None:
                return found
        raise ToolError("mcp", f"{self.name} has no end to its list of tools, or ended before it")

    async def call(self, tool: str, name: str, arguments: dict[str, Any]) -> CallToolResult:
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED

        if self._client is None:
            raise ToolError(tool, f"{self.name}: {self._why_gone}")
        with anyio.CancelScope() as scope:
            self._calls.add(scope)
            try:
                return await self._client.call_tool(name, arguments)
            except MCPError as error:
                if error.code == CONNECTION_CLOSED:
                    raise ToolError(tool, f"{self.name} has ended the connection{await self._words()}") from None
                raise ToolError(tool, f"{self.name} answered with error {error.code}: {error.message}") from None
            except RuntimeError:
                # Its text would repeat the output.
                raise ToolError(tool, f"{self.name}: the output does not fit the schema that it declares") from None
            finally:
                self._calls.discard(scope)
        raise ToolError(tool, f"{self.name}: {self._why_gone}")

    async def _target(self, stack: AsyncExitStack) -> Any:
        if not isinstance(self._server, StdioServer):
            return self._server
        from mcp import StdioServerParameters
        from mcp.client.stdio import stdio_client

        parameters = StdioServerParameters(
            command=self._server.command,
            args=list(self._server.args),
            env=environment(self._server.env),
            cwd=None if self._server.cwd is None else os.fspath(self._server.cwd),
        )
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        read_end, write_end = os.pipe()
        stack.callback(os.close, read_end)
        tasks.start_soon(self._listen, read_end)
        return _with_stderr(stdio_client, parameters, write_end)

    async def _listen(self, pipe: int) -> None:
        """Drain the server's standard error, so that it never blocks on it, and keep its end."""
        await drain(pipe, self._last_words.take)
        self._said_all.set()

    async def _words(self) -> str:
        if isinstance(self._server, StdioServer):
            with anyio.move_on_after(_LAST_WORDS_S):
                await self._said_all.wait()
        words = self._last_words.text()
        return f": {words}" if words else ""

    def _told(self, error: BaseException) -> str:
        words = self._last_words.text()
        return f"{type(error).__name__}: {error}" + (f": {words}" if words else "")


@asynccontextmanager
async def _with_stderr(stdio_client: Any, parameters: Any, write_end: int) -> AsyncGenerator[Any]:
    """The transport of a started server, whose standard error goes to ``write_end``."""
    async with AsyncExitStack() as stack:
        with os.fdopen(write_end, "w") as stderr:
            streams = await stack.enter_async_context(stdio_client(parameters, errlog=stderr))
        yield streams  # the server alone has its end now: what it leaves unsaid when it dies, nobody will say


# What servers say


def _chosen(listed: list[Listed], only: Collection[str] | None, server: str) -> list[Listed]:
    if only is None:
        return listed
    names = {each.name for each in listed}
    if missing := sorted(set(only) - names):
        raise ConfigError(f"{server} has no tool {', '.join(missing)}; it has: {', '.join(sorted(names)) or 'none'}")
    return [each for each in listed if each.name in only]


def _schema(listed: Listed, prefix: str, tier: Tier) -> ToolSchema:
    return ToolSchema(
        name=prefix + listed.name,
        description=listed.description or "",
        parameters=listed.input_schema,
        returns=listed.output_schema,
        tier=tier,
    )


def _output(tool: str, result: CallToolResult) -> Any:
    parts = [
        each.text if each.type == "text" else each.model_dump(mode="json", by_alias=True, exclude_none=True)
        for each in result.content
    ]
    is_text = all(isinstance(part, str) for part in parts)
    if result.is_error:
        raise ToolError(tool, "\n".join(map(str, parts)) or "the MCP server says no more than that it failed")
    if result.structured_content is not None or "structured_content" in result.model_fields_set:
        return result.structured_content
    return "\n".join(cast("list[str]", parts)) if is_text else parts


def _name_of(server: Any) -> str:
    if isinstance(server, StdioServer):
        return f"MCP server {server.command}"
    if isinstance(server, str):
        from urllib.parse import urlsplit

        place = urlsplit(server)  # without what may be secret in it: user, password, query
        return f"MCP server {place.scheme}://{place.hostname}{f':{place.port}' if place.port else ''}{place.path}"
    return f"MCP server {getattr(server, 'name', type(server).__name__)}"


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def _require_mcp() -> None:
    try:
        import mcp  # noqa: F401 # pyright: ignore[reportUnusedImport]
    except ImportError:
        raise ConfigError("MCP servers need the extra mcp: pip install 'carpool[mcp]'") from None
