"""A real server on a real port: who gets through to it, and that it ends when it is told to."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import NamedTuple

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from carpool.durable import MemoryJournal, RunHeader
from carpool.viewer.serving import Address, serving

from .runs import every_outcome


class Live(MemoryJournal):
    """Whatever is in it is running."""

    def is_live(self, header: RunHeader) -> bool:
        return header.run_id == "live"


@pytest.fixture(scope="module")
def journal() -> Live:
    return Live()


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="module")
def address(journal: Live, portal: BlockingPortal) -> Iterator[Address]:
    portal.call(every_outcome, journal, "r")
    portal.call(every_outcome, journal, "live")
    with portal.wrap_async_context_manager(serving(journal)) as address:
        yield address


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def ask(address: Address, path: str = "/api/runs", method: str = "GET", **headers: str) -> Answer:
    with closing(http.client.HTTPConnection("127.0.0.1", address.port, timeout=10)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


def bearer(address: Address) -> dict[str, str]:
    return {"authorization": f"Bearer {address.token}"}


def test_whoever_has_the_token_gets_the_runs(address: Address) -> None:
    answer = ask(address, **bearer(address))

    assert answer.status == 200
    assert {run["run"] for run in json.loads(answer.body)["runs"]} == {"r", "live"}
    assert answer.headers["server"] is None


def test_the_address_opens_the_page_and_its_cookie_the_files(address: Address) -> None:
    url = address.url("r")
    assert url == f"http://127.0.0.1:{address.port}/?token={address.token}#/run/r"

    page = ask(address, f"/?token={address.token}")
    cookie = (page.headers["set-cookie"] or "").partition(";")[0]

    assert page.status == 200
    assert ask(address, "/page/app.js", cookie=cookie).status == 200
    assert ask(address, "/page/app.js").status == 401
    assert ask(address, "/api/runs", cookie=cookie).status == 401


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"authorization": "Bearer wrong"}, 401),
        ("GET", {"host": "evil.example"}, 421),
        ("GET", {"host": "127.0.0.1"}, 421),
        ("GET", {"origin": "http://evil.example"}, 403),
        ("GET", {"origin": "null"}, 403),
        ("GET", {"sec_fetch_site": "cross-site"}, 403),
        ("POST", {}, 405),
        ("POST", {"content_type": "text/plain"}, 405),
        ("OPTIONS", {"origin": "http://evil.example", "access_control_request_method": "GET"}, 405),
        (
            "GET",
            {"upgrade": "websocket", "connection": "upgrade", "sec_websocket_key": "x" * 16},
            200,
        ),  # just an answer
    ],
)
def test_others_do_not(address: Address, method: str, headers: dict[str, str], status: int) -> None:
    answer = ask(address, method=method, **bearer(address) | headers)

    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] is None
    assert "default-src 'none'" in (answer.headers["content-security-policy"] or "")


def test_it_listens_on_this_machine_alone(address: Address) -> None:
    assert address.url().startswith("http://127.0.0.1:")
    with socket.socket() as other:
        other.bind(("127.0.0.2", address.port))  # free: not every address of this machine is listened on


def test_a_port_that_is_taken_is_an_error(portal: BlockingPortal, journal: Live, address: Address) -> None:
    async def again() -> None:
        async with serving(journal, address.port):
            raise AssertionError("it is taken")

    with pytest.raises(OSError, match="in use"):
        portal.call(again)


def test_it_ends_soon_though_somebody_follows_a_run(portal: BlockingPortal, journal: Live, address: Address) -> None:
    with ExitStack() as stack:
        with portal.wrap_async_context_manager(serving(journal)) as other:
            connection = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", other.port, timeout=10)))
            connection.request("GET", "/api/run/follow?run=live", headers=bearer(other))
            stream = stack.enter_context(closing(connection.getresponse()))
            assert stream.readline() == b"retry: 1000\n"
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert b"event: page" in stream.read()


def test_many_who_do_not_read_keep_nobody_from_reading(address: Address) -> None:
    stalled = []
    for _ in range(50):
        connection = socket.create_connection(("127.0.0.1", address.port))
        connection.sendall(
            f"GET /api/run/follow?run=live HTTP/1.1\r\nHost: 127.0.0.1:{address.port}\r\n"
            f"Authorization: Bearer {address.token}\r\n\r\n".encode()
        )
        stalled.append(connection)
    try:
        for _ in range(10):
            assert ask(address, "/api/run/agent?run=r&agent=0", **bearer(address)).status == 200
    finally:
        for connection in stalled:
            connection.close()


async def test_leaving_by_an_error_ends_the_server_too() -> None:
    ports: list[int] = []

    async def fail() -> None:
        async with serving(MemoryJournal()) as address:
            ports.append(address.port)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()
    with pytest.raises(OSError, match="failed"):
        await anyio.connect_tcp("127.0.0.1", ports[0])


async def test_a_server_that_is_cancelled_while_it_starts_leaves_no_port_open() -> None:
    for steps in range(6):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:

                async def serve() -> None:
                    async with serving(MemoryJournal()):
                        await anyio.sleep_forever()

                tasks.start_soon(serve)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
