"""Tools of MCP servers, real ones: started over stdio, over HTTP on loopback, and in this process."""

from __future__ import annotations

import builtins
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import pytest

pytest.importorskip("mcp", reason="needs the extra mcp")

from mcp import types

from carpool import AgentSpec, FunctionRunner, Runtime, SharedInfra, open_run
from carpool.actions import Action, ActionProposal
from carpool.errors import ConfigError, ToolError
from carpool.mcp_tools import StdioServer, mcp_tools

from .servers import low_level, server

SCRIPT = str(Path(__file__).with_name("servers.py"))
STDIO = StdioServer(sys.executable, ["-W", "ignore", SCRIPT, "stdio"])


@contextmanager
def http_server() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", SCRIPT, "http", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(1_000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            process_wait(process, 0.01)
        yield f"http://127.0.0.1:{port}/mcp", process
    finally:
        process.kill()
        process.wait()


def process_wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise AssertionError(f"the server ended with {process.returncode}")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Of a server that all tests of this file share: to start one takes longer than to test it."""
    with http_server() as (url, _):
        yield url


@pytest.fixture(params=["memory", "http"])
def reached(request: pytest.FixtureRequest, url: str) -> Any:
    """The same server in two ways."""
    return url if request.param == "http" else server()


# What servers offer


async def test_a_servers_tools_have_its_names_descriptions_and_schemas(reached: Any) -> None:
    async with mcp_tools(reached) as tools:
        schemas = {tool.schema.name: tool.schema for tool in tools}

    assert list(schemas) == ["add", "say", "refuse", "wait", "crash", "environment", "shout"]
    assert schemas["add"].description == "Add two numbers."
    assert schemas["add"].parameters["properties"]["a"]["type"] == "integer"
    assert schemas["add"].returns is not None
    assert {schema.tier for schema in schemas.values()} == {"full_access"}


async def test_calls_are_actions_like_any_other(reached: Any) -> None:
    async with mcp_tools(reached, prefix="calc_", tier="read_only", only=["add", "say", "refuse"]) as tools:
        runtime = SharedInfra(tools=tools, granted_tier="read_only").make_runtime()

        assert sorted(runtime.tools) == ["calc_add", "calc_refuse", "calc_say"]
        assert await runtime.call_tool("calc_add", a=2, b=3) == {"total": 5}
        assert await runtime.call_tool("calc_say", word="héy") == "said héy"
        with pytest.raises(ToolError, match=r"'calc_refuse'.*not this"):
            await runtime.call_tool("calc_refuse", word="this")
        with pytest.raises(ToolError, match=r"calc_add.*\$\.a: the value is not of type"):
            await runtime.call_tool("calc_add", a="two")
        result = await runtime.execute(
            ActionProposal(
                actions=[
                    Action(id="a", tool="calc_add", parameters={"a": 1}),
                    Action(id="b", tool="calc_say", parameters={"word": "$a.output!"}, dependencies=["a"]),
                    Action(id="c", tool="calc_refuse", parameters={"word": "it"}, dependencies=["b"]),
                ]
            )
        )

    assert [each.output for each in result.results] == [{"total": 2}, "said {'total': 2}!", None]
    assert "not it" in (result.results[2].error or "")


# One connection


async def test_several_agents_call_through_one_connection_at_the_same_time(reached: Any) -> None:
    async def work(task: str, runtime: Runtime) -> str:
        return await runtime.call_tool("wait", seconds=0.5)

    async with mcp_tools(reached) as tools:
        began = monotonic()
        async with open_run(runner=FunctionRunner({"worker": work}), infra=SharedInfra(tools=tools)) as run:
            jobs = [(AgentSpec(f"w{n}", "", role="worker", tools=["wait"]), "t") for n in range(10)]
            outputs = await run.fan_out(jobs, 10)

        assert [output.answer for output in outputs] == ["waited"] * 10
        assert monotonic() - began < 3


async def test_a_timeout_or_a_cancellation_ends_one_call_and_no_other(reached: Any) -> None:
    async with mcp_tools(reached, timeout_s=0.3) as tools:
        runtime = SharedInfra(tools=tools).make_runtime()
        with pytest.raises(ToolError, match=r"no answer within 0.3 s"):
            await runtime.call_tool("wait", seconds=30)
        with anyio.move_on_after(0.1):
            await runtime.call_tool("wait", seconds=30)

        async with anyio.create_task_group() as group:
            group.start_soon(lambda: runtime.call_tool("wait", seconds=0.1))
            with anyio.move_on_after(0.05):
                await runtime.call_tool("wait", seconds=30)

        assert await runtime.call_tool("say", word="still here") == "said still here"


async def test_a_server_that_crashes_fails_the_calls_in_flight_and_nothing_else() -> None:
    failed: dict[str, str] = {}

    async def call(runtime: Runtime, name: str, **arguments: Any) -> None:
        try:
            await runtime.call_tool(name, **arguments)
        except ToolError as error:
            failed[name] = str(error)

    async with mcp_tools(STDIO) as tools, mcp_tools(server(), prefix="other_") as others:
        runtime = SharedInfra(tools=[*tools, *others]).make_runtime()
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: call(runtime, "wait", seconds=30))
                group.start_soon(lambda: call(runtime, "other_wait", seconds=0.5))
                await anyio.sleep(0.2)
                group.start_soon(lambda: call(runtime, "crash", words="out of luck"))
        await call(runtime, "say", word="anybody?")
        assert await runtime.call_tool("other_say", word="yes") == "said yes"

    assert sorted(failed) == ["crash", "say", "wait"]
    for text in failed.values():
        assert f"MCP server {sys.executable} has ended the connection: out of luck" in text


async def test_an_http_server_that_is_killed_fails_the_calls_in_flight_and_nothing_else() -> None:
    with http_server() as (url, process):
        async with mcp_tools(url, timeout_s=5) as tools:
            runtime = SharedInfra(tools=tools).make_runtime()
            texts: list[str] = []

            async def call(name: str, **arguments: Any) -> None:
                with pytest.raises(ToolError) as error:
                    await runtime.call_tool(name, **arguments)
                texts.append(str(error.value))

            with anyio.fail_after(20):
                async with anyio.create_task_group() as group:
                    group.start_soon(lambda: call("wait", seconds=30))
                    await anyio.sleep(0.3)
                    process.kill()
                await call("say", word="anybody?")

    assert len(texts) == 2
    assert all(url.removesuffix("/mcp") in text or "no answer" in text for text in texts)


async def test_a_server_that_is_started_sees_little_may_shout_and_ends_with_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OPENAI_API_KEY", "DATABASE_URL", "ALLOWED"):
        monkeypatch.setenv(name, "canary")
    allowed = StdioServer(sys.executable, [SCRIPT, "stdio"], env=["ALLOWED", "PYTHONWARNINGS=ignore"])

    async with mcp_tools(allowed) as tools:
        runtime = SharedInfra(tools=tools).make_runtime()
        names = (await runtime.call_tool("environment")).split()
        assert await runtime.call_tool("add", a=1, b=1) == {"total": 2}
        assert await runtime.call_tool("shout", kilobytes=5_000) == "shouted"

    assert "ALLOWED" in names
    assert not {"OPENAI_API_KEY", "DATABASE_URL"} & set(names)
    with pytest.raises(ToolError, match="the connection is closed: its block has ended"):
        await runtime.call_tool("say", word="x")


@pytest.mark.parametrize(
    "error", [LookupError("mine"), KeyboardInterrupt(), ExceptionGroup("g", [OSError()])], ids=repr
)
async def test_what_is_raised_in_the_block_comes_out_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        async with mcp_tools(server()):
            raise error

    assert raised.value is error


async def test_cancelled_the_block_ends_the_server_and_the_calls() -> None:
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:

            async def work() -> None:
                async with mcp_tools(STDIO) as tools:
                    runtime = SharedInfra(tools=tools).make_runtime()
                    group.start_soon(cancel_soon)
                    await runtime.call_tool("wait", seconds=30)

            async def cancel_soon() -> None:
                await anyio.sleep(0.1)
                group.cancel_scope.cancel()

            group.start_soon(work)


# What servers do


def tool(name: str = "t", **fields: Any) -> types.Tool:
    return types.Tool(name=name, **{"description": "", "input_schema": {"type": "object"}} | fields)


def text(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)


def result(*content: Any, **fields: Any) -> types.CallToolResult:
    return types.CallToolResult(content=list(content), **fields)


IMAGE = types.ImageContent(type="image", data="AAAA", mime_type="image/png")


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (result(text("a"), text("b")), "a\nb"),
        (result(), ""),
        (result(text("text"), structured_content={"a": [1]}), {"a": [1]}),
        (result(text("text"), IMAGE), ["text", {"type": "image", "data": "AAAA", "mimeType": "image/png"}]),
    ],
    ids=["text", "nothing", "structured", "an image"],
)
async def test_structured_content_comes_before_text_and_text_before_parts(answer: Any, output: Any) -> None:
    async with mcp_tools(low_level([tool()], answer)) as tools:
        assert await SharedInfra(tools=tools).make_runtime().call_tool("t") == output


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (result(text("it is broken"), text("really"), is_error=True), "it is broken\nreally"),
        (result(is_error=True), "no more than that it failed"),
        (ValueError("inside"), "answered with error"),
    ],
    ids=["a result that is an error", "an error without words", "an exception"],
)
async def test_an_error_of_the_server_is_a_failed_action(answer: Any, told: str) -> None:
    async with mcp_tools(low_level([tool()], answer)) as tools:
        runtime = SharedInfra(tools=tools).make_runtime()
        with pytest.raises(ToolError, match=told):
            await runtime.call_tool("t")
        done = await runtime.execute(ActionProposal(actions=[Action(tool="t")]))

    assert done.results[0].status == "failed"


async def test_an_output_that_does_not_fit_what_the_server_declared_is_not_repeated() -> None:
    listed = tool(output_schema={"type": "object", "properties": {"n": {"type": "integer"}}})
    answer = result(structured_content={"n": "hunter2-canary"})
    async with mcp_tools(low_level([listed], answer)) as tools:
        with pytest.raises(ToolError, match="does not fit the schema") as error:
            await SharedInfra(tools=tools).make_runtime().call_tool("t")

    assert "canary" not in str(error.value)


async def test_a_long_list_of_tools_is_read_to_its_end() -> None:
    async with mcp_tools(low_level([tool(f"t{n}") for n in range(30)])) as tools:
        assert [each.schema.name for each in tools] == [f"t{n}" for n in range(30)]


async def test_an_invalid_schema_of_a_server_is_refused_by_name_unless_it_is_not_wanted() -> None:
    bad = tool("bad", input_schema={"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}})
    with pytest.raises(ConfigError, match=r"tool 'x_bad': not a valid JSON Schema.*nothing is fetched"):
        async with mcp_tools(low_level([tool("good"), bad]), prefix="x_"):
            pass
    async with mcp_tools(low_level([tool("good"), bad]), only=["good"]) as tools:
        assert [each.schema.name for each in tools] == ["good"]
    with pytest.raises(ConfigError, match=r"has no tool best, nicer; it has: bad, good"):
        async with mcp_tools(low_level([tool("good"), bad]), only=["good", "nicer", "best"]):
            pass


# Servers that are none


async def test_a_server_that_can_not_be_reached_is_an_error_that_says_which() -> None:
    with pytest.raises(ToolError, match=r"MCP server no_such_server can't be connected to: FileNotFoundError"):
        async with mcp_tools(StdioServer("no_such_server")):
            pass
    with pytest.raises(ToolError, match=r"MCP server http://127.0.0.1:9/mcp can't be connected to"):
        async with mcp_tools("http://user:secret@127.0.0.1:9/mcp?key=secret"):
            pass


async def test_a_program_that_ends_at_once_is_quoted() -> None:
    ends = StdioServer("/bin/sh", ["-c", "echo 'no such model' >&2; exit 1"])
    with pytest.raises(ToolError, match=r"(?s)can't be connected to: .*no such model"), anyio.fail_after(20):
        async with mcp_tools(ends):
            pass


async def test_a_program_that_never_answers_is_given_up() -> None:
    began = monotonic()
    with pytest.raises(ToolError, match=r"no connection to MCP server sleep within 0.3 s"):
        async with mcp_tools(StdioServer("sleep", ["60"]), connect_timeout_s=0.3):
            pass

    assert monotonic() - began < 8


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "mcp":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return original(name, *arguments, **named)

    monkeypatch.delitem(sys.modules, "mcp")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'carpool\[mcp\]'"):
        async with mcp_tools(STDIO):
            pass


def test_importing_the_module_loads_nothing_heavy() -> None:
    script = "import sys, carpool.mcp_tools; print([m for m in ('mcp', 'pydantic', 'httpx2') if m in sys.modules])"
    source = str(Path(os.environ.get("PYTHONPATH", "").partition(os.pathsep)[0] or "src").resolve())
    output = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
    )

    assert output.stdout.strip() == "[]"
