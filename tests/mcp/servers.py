"""MCP servers that tests talk to. Run as a script it is one: ``servers.py stdio`` or ``servers.py http PORT``."""

from __future__ import annotations

import os
import sys
from typing import Any

import anyio
from mcp import types
from mcp.server import MCPServer, Server
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel


class Sum(BaseModel):
    total: int


def server() -> MCPServer:
    made = MCPServer("calculator", version="1", log_level="CRITICAL")

    @made.tool()
    def add(a: int, b: int = 1) -> Sum:
        """Add two numbers."""
        return Sum(total=a + b)

    @made.tool(structured_output=False)
    def say(word: str) -> str:
        """Say it."""
        return f"said {word}"

    @made.tool()
    def refuse(word: str) -> str:
        """Never do it."""
        raise ToolError(f"not {word}")

    @made.tool(structured_output=False)
    async def wait(seconds: float) -> str:
        """Take a while."""
        await anyio.sleep(seconds)
        return "waited"

    @made.tool(structured_output=False)
    async def crash(words: str) -> str:
        """End the server."""
        print(words, file=sys.stderr, flush=True)
        os._exit(3)

    @made.tool(structured_output=False)
    def environment() -> str:
        """What the server knows of ours."""
        return "\n".join(sorted(os.environ))

    @made.tool(structured_output=False)
    def shout(kilobytes: int) -> str:
        """Write a lot where nobody listens."""
        for _ in range(kilobytes):
            sys.stderr.write("x" * 1024)
        return "shouted"

    return made


def low_level(tools: list[types.Tool], result: Any = None) -> Server:
    """A server that lists ``tools``, a page each, and answers every call with ``result``."""

    async def listing(ctx: Any, params: Any) -> types.ListToolsResult:
        place = int(params.cursor or 0) if params else 0
        following = str(place + 1) if place + 1 < len(tools) else None
        return types.ListToolsResult(tools=tools[place : place + 1], next_cursor=following)

    async def call(ctx: Any, params: Any) -> types.CallToolResult:
        if isinstance(result, Exception):
            raise result
        return result

    return Server("low", version="1", on_list_tools=listing, on_call_tool=call)


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server().run(transport="stdio")
    else:
        server().run(transport="streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
