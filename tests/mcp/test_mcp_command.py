"""``carpool mcp`` as a client meets it that talks nonsense, shouts, or goes away."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

import carpool.cli

pytest.importorskip("mcp", reason="needs the extra mcp")

SOURCE = Path(__file__).parents[2] / "src"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
READY = {"jsonrpc": "2.0", "method": "notifications/initialized"}
VOTE = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "vote", "arguments": {"task": "t"}}}
CREW = """
import os, sys
import anyio
print("while it is imported")

async def loud(spec, task, runtime, mailbox):
    print("a print")
    sys.stdout.write("half a line")
    os.system("echo from a child")
    return "loud and clear"

async def slow(spec, task, runtime, mailbox):
    print("asleep", file=sys.stderr, flush=True)
    await anyio.sleep(600)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mcp_crew.py").write_text(CREW)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


@pytest.fixture
def serving() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    running: list[tuple[subprocess.Popen[bytes], Timer]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "carpool.cli", "mcp", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        running.append((process, Timer(30, process.kill)))
        running[-1][1].start()
        return process

    yield start
    for process, timer in running:
        timer.cancel()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            with suppress(BrokenPipeError):
                stream.close()


def say(process: subprocess.Popen[bytes], *messages: dict[str, Any] | bytes) -> None:
    assert process.stdin is not None
    for message in messages:
        process.stdin.write((message if isinstance(message, bytes) else json.dumps(message).encode()) + b"\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def wait_until_asleep(process: subprocess.Popen[bytes]) -> None:
    assert process.stderr is not None
    while b"asleep" not in process.stderr.readline():
        assert process.poll() is None


def test_nothing_but_the_protocol_is_on_its_stdout(serving) -> None:
    server = serving("--runner", "mcp_crew:loud")
    say(server, HELLO, READY, VOTE)
    hello, voted = answer(server), answer(server)
    out, err = server.communicate()

    assert (hello["id"], voted["id"], out) == (1, 2, b"")
    assert voted["result"]["structuredContent"]["answer"] == "loud and clear"
    assert all(said in err for said in (b"while it is imported", b"a print", b"half a line", b"from a child"))


def test_garbage_is_passed_over(serving) -> None:
    server = serving()
    say(server, HELLO, READY, b"garbage \xff {", b"[]", b"", {"jsonrpc": "2.0", "id": 5, "method": "tools/list"})

    assert answer(server)["id"] == 1
    while (said := answer(server)).get("id") != 5:
        assert "error" in said
    assert {tool["name"] for tool in said["result"]["tools"]} == {"map_reduce", "vote", "debate", "review"}


def test_a_client_that_goes_away_ends_the_server_and_what_it_had_asked_for(serving) -> None:
    server = serving("--runner", "mcp_crew:slow")
    say(server, HELLO, READY, VOTE)
    wait_until_asleep(server)
    server.stdout.close()
    server.stdin.close()
    said = server.stderr.read()

    assert server.wait() in (0, 1)
    assert b"Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_is_told_to_end_settles_what_goes_on(serving, capsys, number: signal.Signals) -> None:
    server = serving("--runner", "mcp_crew:slow")
    say(server, HELLO, READY, VOTE)
    wait_until_asleep(server)
    server.send_signal(number)

    assert server.wait() == 130
    assert carpool.cli.main(["ps", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "cancelled"


def test_what_can_not_be_served_is_told_before_it_begins(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("team.json").write_text(
        '{"team": {"pattern": "vote", "agents": ["a"]}, "agents": {"a": {"system_prompt": "x"}}}'
    )

    assert carpool.cli.main(["mcp", "team.json", "team.json"]) == 2
    assert "two tools are called 'team'" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", None)
    assert carpool.cli.main(["mcp"]) == 2
    assert "standard input or output is closed" in capsys.readouterr().err
