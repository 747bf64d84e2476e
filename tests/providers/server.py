"""A provider on a loopback port, that speaks three protocols, does what a script says and keeps its own ledger.

    with ProviderServer(lambda asked: Answer("hello")) as provider:
        client = AsyncOpenAI(base_url=provider.openai_url, api_key="any", max_retries=0)
        …
        assert provider.ledger.spent() == what_carpool_booked

OpenAI chat completions and responses under ``openai_url``, Anthropic messages under ``url``; streaming and not, with
tools. It runs in a thread with a loop of its own, so that what a test does to its own loop doesn't touch it; all the
providers of a process share that thread and its port, and nothing else.

What is generated is billed, also when nobody gets it: a request that the client gives up, that hangs or is cut is in
the ledger with all its input and all its output (status ``cut``). A refused one costs nothing, unless its script
says so. An agent of which the ledger speaks is the request's header ``x-agent``, else the text of the first message.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Any, Self

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from .ledger import Entry, Ledger
from .reading import read_chat, read_messages, read_responses
from .script import Answer, Asked, Cut, Hang, Malformed, Refuse, Script, count_tokens
from .writing import Said, body, pieces, refusal, said

__all__ = ["Answer", "Asked", "Cut", "Entry", "Hang", "Ledger", "Malformed", "ProviderServer", "Refuse", "count_tokens"]

Read = Callable[[int, Mapping[str, str], dict[str, Any]], Asked]


class ProviderServer:
    """``script`` is asked for every request, or is the answer to each, or a list of answers of which the last repeats.

    ``asked`` are all requests that came, ``ledger`` is the invoice.
    """

    def __init__(self, script: Script = "ok") -> None:
        self.script = script
        self.ledger = Ledger()
        self.asked: list[Asked] = []
        self._lock = Lock()
        self._cached: dict[str, int] = {}  # by digest of a marked prefix
        self._key = secrets.token_hex(8)

    @property
    def url(self) -> str:
        """The base URL for the Anthropic SDK."""
        return f"{_host().url}/{self._key}"

    @property
    def openai_url(self) -> str:
        """The base URL for the OpenAI SDK."""
        return f"{self.url}/v1"

    def __enter__(self) -> Self:
        _host().providers[self._key] = self
        return self

    def __exit__(self, *_: object) -> None:
        del _host().providers[self._key]  # whoever still hangs is left hanging

    def settled(self, within_s: float = 5.0) -> Ledger:
        """The ledger, once no request is open any more: a client may be gone before the server has noticed."""
        until = monotonic() + within_s
        while self.ledger.in_flight and monotonic() < until:
            sleep(0.002)
        return self.ledger

    def reply(self, read: Read, headers: Mapping[str, str], content: dict[str, Any], at: float) -> _Reply:
        """The response to a request that came ``at``."""
        with self._lock:
            asked = read(len(self.asked) + 1, headers, content)
            self.asked.append(asked)
            agent = headers.get("x-agent") or next((text for _, text in asked.messages), "")
            entry = Entry(asked.number, asked.protocol, asked.model, agent, at)
            self.ledger.begin(entry)
        answer = self._answer(asked)
        what = said(asked, answer, entry)
        self._cache(asked, answer, entry)
        return _Reply(asked, answer, what, self.ledger, entry)

    def _answer(self, asked: Asked) -> Answer:
        line = self.script
        if callable(line):
            line = line(asked)
        elif isinstance(line, Sequence) and not isinstance(line, str):
            line = line[min(asked.number, len(line)) - 1]
        if isinstance(line, str):
            return Answer(line)
        return line if isinstance(line, Answer) else Answer("broken off before its end", fault=line)

    def _cache(self, asked: Asked, answer: Answer, entry: Entry) -> None:
        """What was marked before is read from the cache, what is marked now for the first time is written to it."""
        read = write = 0
        for prefix in asked.marked:
            key = hashlib.sha256(f"{asked.model}\n{prefix}".encode()).hexdigest()
            count = min(count_tokens(prefix), entry.input_tokens)
            if key in self._cached:
                read = max(read, count)
            else:
                self._cached[key] = count
            write = max(write, count)
        entry.cache_read = read if answer.cache_read is None else answer.cache_read
        entry.cache_write = max(write - read, 0) if answer.cache_write is None else answer.cache_write


class _Host:
    """The thread and the port."""

    def __init__(self) -> None:
        self.providers: dict[str, ProviderServer] = {}
        paths = {"chat/completions": read_chat, "responses": read_responses, "messages": read_messages}
        routes = [
            Route(f"/{{key}}/v1/{path}", partial(self._endpoint, read), methods=["POST"])
            for path, read in paths.items()
        ]
        app = Starlette(routes=routes)
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=0,
            log_level="critical",
            lifespan="off",
            backlog=4_096,
            timeout_keep_alive=120,  # a client on a busy machine takes its time; closed on, it would have to ask again
        )
        self._server = uvicorn.Server(config)
        thread = Thread(target=self._server.run, name="providers", daemon=True)
        thread.start()
        while not self._server.started:
            thread.join(0.005)
            if not thread.is_alive():
                raise RuntimeError("the server of the providers did not start")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    async def _endpoint(self, read: Read, request: Request) -> Any:
        at, content = monotonic(), await request.json()
        provider = self.providers.get(request.path_params["key"])
        if provider is None:
            return Response("there is no such provider any more", 410)
        return provider.reply(read, request.headers, content, at)


@cache
def _host() -> _Host:
    return _Host()


class _Reply:
    """The response to one request: sends it, or fails to, and says in the ledger how it ended."""

    def __init__(self, asked: Asked, answer: Answer, what: Said, ledger: Ledger, entry: Entry) -> None:
        self._asked = asked
        self._answer = answer
        self._said = what
        self._fault = answer.fault
        self._ledger = ledger
        self._entry = entry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_gone, receive, tasks.cancel_scope)
                await anyio.sleep(self._answer.after_s)
                await self._send(send)
                tasks.cancel_scope.cancel()
        finally:
            self._ledger.end(self._entry, "cut")

    async def _send(self, send: Send) -> None:
        if isinstance(self._fault, Refuse):
            await self._refuse(send, self._fault)
        elif self._asked.stream:
            await self._stream(send)
        else:
            await self._whole(send)

    async def _refuse(self, send: Send, fault: Refuse) -> None:
        entry = self._entry
        if not fault.billed:
            entry.input_tokens = entry.output_tokens = entry.cache_read = entry.cache_write = 0
        headers = [] if fault.retry_after is None else [(b"retry-after", fault.retry_after.encode())]
        await _start(send, fault.status, "application/json", headers)
        self._ledger.end(entry, "refused")
        await _end(send, json.dumps(refusal(self._asked, fault)).encode())

    async def _whole(self, send: Send) -> None:
        fault, content = self._fault, json.dumps(body(self._said)).encode()
        if isinstance(fault, Hang):
            await anyio.sleep_forever()
        length = [(b"content-length", str(len(content)).encode())]
        if isinstance(fault, Malformed):
            self._entry.reported = False
            await _start(send, 200, "application/json")
            self._ledger.end(self._entry, "completed")
            await _end(send, content[: len(content) // 2])
            return
        await _start(send, 200, "application/json", length)
        if isinstance(fault, Cut):
            await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})
            raise ConnectionAbortedError("cut by the script")
        self._ledger.end(self._entry, "completed")
        await _end(send, content)

    async def _stream(self, send: Send) -> None:
        fault = self._fault
        await _start(send, 200, "text/event-stream")
        for place, piece in enumerate(self._pieces()):
            if isinstance(fault, Hang) and place >= fault.after:
                await anyio.sleep_forever()
            if isinstance(fault, Cut) and place >= fault.after:
                raise ConnectionAbortedError("cut by the script")
            await send({"type": "http.response.body", "body": piece.encode(), "more_body": True})
            await anyio.sleep(self._answer.between_s)
        self._ledger.end(self._entry, "completed")
        await _end(send, b"")

    def _pieces(self) -> Iterator[str]:
        for place, piece in enumerate(pieces(self._said)):
            if isinstance(self._fault, Malformed) and place == self._fault.after:
                self._entry.reported = False
                head, _, _ = piece.partition("data: ")
                yield f"{head}data: {{\n\n"
            else:
                yield piece


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _start(send: Send, status: int, kind: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    named = [(b"content-type", kind.encode()), *(headers or ())]
    await send({"type": "http.response.start", "status": status, "headers": named})


async def _end(send: Send, content: bytes) -> None:
    await send({"type": "http.response.body", "body": content, "more_body": False})
