"""What is served: the page, and the data that it asks for. Read only; the gate stands before it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ..durable.records import encode_json
from ..errors import JournalError, RunNotFound
from .details import detail_of, events_of, slice_of, text_of
from .following import LOOKS_EVERY_S, Following
from .page_files import SHELL, media_type, page_file
from .rows import Page

__all__ = ["site"]

_CHARS = 16_000
_CHARS_AT_MOST = 1_000_000
_EVENTS = 200
_RUNS = 1_000
_QUIET_S = 10.0
"""After so long without news, a stream says that it is still there."""


def site(following: Following) -> Starlette:
    """The application over the runs of ``following``."""
    answers: dict[str, Callable[[Following, Request], Awaitable[Any]]] = {
        "/api/runs": _runs,
        "/api/run/agent": _agent,
        "/api/run/text": _text,
        "/api/run/events": _events,
        "/api/run/worth": _worth,
    }

    async def follow(request: Request) -> Response:
        run_id, cursor = _run_of(request), request.query_params.get("since", "")
        return StreamingResponse(_stream(following, run_id, cursor), media_type="text/event-stream")

    routes = [
        Route("/", _shell),
        Route("/page/{name}", _file),
        Route("/api/run/follow", follow),
        *(Route(path, _answering(following, answer)) for path, answer in answers.items()),
    ]
    site = Starlette(routes=routes)
    site.router.redirect_slashes = False
    return site


# The page


async def _shell(request: Request) -> Response:
    return Response(page_file(SHELL), media_type=media_type(SHELL))


async def _file(request: Request) -> Response:
    name: str = request.path_params["name"]
    try:
        return Response(page_file(name), media_type=media_type(name))
    except LookupError as error:
        return _problem(404, str(error))


# The data


def _answering(
    following: Following, answer: Callable[[Following, Request], Awaitable[Any]]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return Response(encode_json(await answer(following, request)), media_type="application/json")
        except (RunNotFound, LookupError) as error:
            return _problem(404, str(error))
        except ValueError as error:
            return _problem(400, str(error))
        except JournalError as error:
            return _problem(500, str(error))

    return endpoint


async def _runs(following: Following, request: Request) -> Any:
    runs = await following.runs()
    return {"runs": runs[:_RUNS], "count": len(runs)}


async def _agent(following: Following, request: Request) -> Any:
    n = _number(request, "agent")
    return await following.look(
        _run_of(request), lambda picture, live: detail_of(picture, n, chars=_CHARS, events=_EVENTS)
    )


async def _text(following: Following, request: Request) -> Any:
    n, part, start = _number(request, "agent", least=-1), request.query_params.get("part", ""), _number(request, "from")
    chars = min(_number(request, "chars"), _CHARS_AT_MOST)
    return await following.look(
        _run_of(request), lambda picture, live: slice_of(text_of(picture, n, part), start, chars)
    )


async def _events(following: Following, request: Request) -> Any:
    n, start = _number(request, "agent"), _number(request, "from")
    return await following.look(_run_of(request), lambda picture, live: events_of(picture, n, start, _EVENTS))


async def _worth(following: Following, request: Request) -> Any:
    return await following.worth(_run_of(request))


def _run_of(request: Request) -> str:
    return request.query_params.get("run", "")


def _number(request: Request, name: str, *, least: int = 0) -> int:
    text = request.query_params.get(name, "")
    digits = text.removeprefix("-")
    if not (digits.isdecimal() and digits.isascii() and len(digits) < 16) or int(text) < least:
        raise ValueError(f"{name} must be a whole number, {least} or more, not {text!r}")
    return int(text)


def _problem(status: int, text: str) -> Response:
    return Response(encode_json({"error": text}), status_code=status, media_type="application/json")


async def _stream(following: Following, run_id: str, cursor: str) -> AsyncGenerator[bytes]:
    """Pages as server-sent events, the cursor as their id; ``end`` when there is nothing to come, ``problem`` when the
    run can't be read. Nothing is made ahead of what the reader has taken."""
    quiet_s = 0.0
    yield b"retry: 1000\n\n"
    try:
        async with aclosing(following.pages(run_id, cursor)) as pages:
            async for page in pages:
                if page is not None:
                    quiet_s = 0.0
                    yield _event("page", page)
                elif (quiet_s := quiet_s + LOOKS_EVERY_S) >= _QUIET_S:
                    quiet_s = 0.0
                    yield b": still here\n\n"
        yield _event("end", {})
    except JournalError as error:
        yield _event("problem", {"error": str(error)})


def _event(name: str, data: Any) -> bytes:
    cursor = f"id: {data.cursor}\n" if isinstance(data, Page) else ""
    return f"{cursor}event: {name}\ndata: ".encode() + encode_json(data) + b"\n\n"
