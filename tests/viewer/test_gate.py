"""Who is let in: of every combination of host, origin, method and secret, only the right ones."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple

import pytest

from carpool.viewer.gate import CONTENT_POLICY, Gate, new_token

PORT = 8123
TOKEN = "t" * 43
COOKIE = f"carpool-page-{PORT}={sha256(f'page of {TOKEN}'.encode()).hexdigest()}"

HOSTS = {
    f"127.0.0.1:{PORT}": True,
    f"localhost:{PORT}": True,
    "127.0.0.1": False,
    "localhost": False,
    "127.0.0.1:80": False,
    f"127.0.0.1:{PORT}0": False,
    f"evil.example:{PORT}": False,
    "evil.example": False,
    f"127.0.0.1.evil.example:{PORT}": False,
    f"localhost.evil.example:{PORT}": False,
    f"0.0.0.0:{PORT}": False,
    f"[::1]:{PORT}": False,
    f"user@127.0.0.1:{PORT}": False,
    "": False,
    None: False,
}
ORIGINS = {
    None: True,
    "same": True,
    "null": False,
    "": False,
    "http://127.0.0.1": False,
    f"https://127.0.0.1:{PORT}": False,
    "http://127.0.0.1:80": False,
    f"http://evil.example:{PORT}": False,
    "https://evil.example": False,
    f"http://127.0.0.1:{PORT}.evil.example": False,
    f"http://127.0.0.1:{PORT}/": False,
    "file://": False,
}
METHODS = {"GET": True, "HEAD": True, "POST": False, "PUT": False, "DELETE": False, "OPTIONS": False}
SECRETS = {"right": True, "wrong": False, "of another start": False, "none": False}


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    let_in: bool

    def header(self, name: str) -> str:
        (value,) = [value for key, value in self.headers if key == name]
        return value


async def ask(
    method: str = "GET",
    path: str = "/api/runs",
    query: str = "",
    headers: Iterable[tuple[str, str]] = (),
    kind: str = "http",
) -> Answer:
    """The answer of a gate before an application that says 200 to everything."""
    let_in = False
    sent: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal let_in
        let_in = True
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody reads what is sent along")

    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    await Gate(application, TOKEN, PORT)(scope, receive, send)
    if not sent:
        return Answer(0, [], let_in)
    return Answer(sent[0]["status"], [(n.decode(), v.decode()) for n, v in sent[0]["headers"]], let_in)


def credentials(path: str, secret: str) -> tuple[str, list[tuple[str, str]]]:
    """The query and the headers with which ``secret`` is told where ``path`` takes it."""
    token = {"right": TOKEN, "wrong": TOKEN[:-1] + "u", "of another start": new_token(), "none": None}[secret]
    if token is None:
        return "", []
    if path.startswith("/api/"):
        return "", [("authorization", f"Bearer {token}")]
    if path == "/":
        return f"token={token}", []
    key = sha256(f"page of {token}".encode()).hexdigest()
    return "", [("cookie", f"other=1; carpool-page-{PORT}={key}")]


@pytest.mark.parametrize("origin", ORIGINS, ids=repr)
@pytest.mark.parametrize("host", HOSTS, ids=repr)
async def test_only_the_right_host_origin_method_and_secret_together_are_let_in(
    host: str | None, origin: str | None
) -> None:
    for path in ("/", "/page/app.js", "/api/runs", "/api/run/follow"):
        for method, reads in METHODS.items():
            for secret, is_right in SECRETS.items():
                query, headers = credentials(path, secret)
                if host is not None:
                    headers.append(("host", host))
                if origin is not None:
                    headers.append(("origin", f"http://{host}" if origin == "same" else origin))
                expected = HOSTS[host] and ORIGINS[origin] and reads and is_right

                answer = await ask(method, path, query, headers)

                case = f"{method} {path} {secret}"
                assert answer.let_in == expected, case
                assert (answer.status == 200) == expected, case
                assert answer.header("content-security-policy") == CONTENT_POLICY, case
                assert answer.header("cache-control") == "no-store", case


HOST = ("host", f"127.0.0.1:{PORT}")
BEARER = ("authorization", f"Bearer {TOKEN}")


@pytest.mark.parametrize(
    ("site", "mode", "destination", "path", "is_let_in"),
    [
        ("none", "navigate", "document", "/", True),
        ("same-origin", "cors", "empty", "/", True),
        ("cross-site", "navigate", "document", "/", True),  # a link to it, with its token
        ("same-site", "navigate", "document", "/", True),
        ("cross-site", "navigate", "iframe", "/", False),
        ("cross-site", "no-cors", "script", "/", False),
        ("same-site", "no-cors", "image", "/", False),
        ("cross-site", "navigate", "document", "/api/runs", False),
        ("cross-site", "cors", "empty", "/api/runs", False),
        ("same-site", "cors", "empty", "/api/runs", False),
        ("cross-site", "no-cors", "script", "/page/app.js", False),
        ("nonsense", "navigate", "document", "/api/runs", False),
    ],
)
async def test_what_the_browser_says_of_where_a_request_comes_from_counts(
    site: str, mode: str, destination: str, path: str, is_let_in: bool
) -> None:
    query, headers = credentials(path, "right")
    said = [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", destination)]

    answer = await ask("GET", path, query, [HOST, *headers, *said])

    assert answer.let_in == is_let_in


@pytest.mark.parametrize(
    "headers",
    [
        [HOST, HOST, BEARER],
        [HOST, ("host", "evil.example"), BEARER],
        [HOST, BEARER, BEARER],
        [HOST, BEARER, ("origin", f"http://127.0.0.1:{PORT}"), ("origin", "http://evil.example")],
        [HOST, ("authorization", TOKEN)],
        [HOST, ("authorization", f"Basic {TOKEN}")],
        [HOST, ("authorization", "Bearer")],
        [HOST, ("authorization", "Bearer ")],
        [HOST, ("authorization", f"Bearer {TOKEN} ")],
        [HOST, ("authorization", f"Bearer {TOKEN[:20]}")],
        [HOST, ("authorization", "Bearer \xff\xfe")],
        [HOST, ("cookie", COOKIE)],  # good for the page, not for data
    ],
)
async def test_data_is_refused_to_a_request_that_is_doubtful(headers: list[tuple[str, str]]) -> None:
    assert not (await ask(headers=headers)).let_in


@pytest.mark.parametrize(
    "query", ["token=", "token", f"token={TOKEN}&token={TOKEN}", f"Token={TOKEN}", f"x={TOKEN}", f"token={TOKEN}%00"]
)
async def test_the_page_is_refused_to_an_address_that_is_doubtful(query: str) -> None:
    assert not (await ask(path="/", query=query, headers=[HOST])).let_in


async def test_the_token_in_an_address_opens_the_page_and_no_data() -> None:
    assert (await ask(path="/", query=f"token={TOKEN}", headers=[HOST])).let_in
    assert not (await ask(path="/api/runs", query=f"token={TOKEN}", headers=[HOST])).let_in
    assert not (await ask(path="/page/app.js", query=f"token={TOKEN}", headers=[HOST])).let_in


async def test_opening_the_page_sets_a_cookie_that_is_not_the_token_and_that_scripts_and_other_sites_do_not_get() -> (
    None
):
    answer = await ask(path="/", query=f"token={TOKEN}", headers=[HOST])

    cookie = answer.header("set-cookie")
    assert cookie == f"{COOKIE}; HttpOnly; SameSite=Strict; Path=/"
    assert TOKEN not in cookie
    assert (await ask(path="/", headers=[HOST, ("cookie", COOKIE)])).let_in  # it was loaded again
    refused = await ask(path="/", query="token=wrong", headers=[HOST])
    assert "set-cookie" not in dict(refused.headers)


@pytest.mark.parametrize("path", ["", "/unknown", "/api", "//api/runs", "/pages/app.js", "/favicon.ico"])
async def test_what_is_neither_page_nor_data_is_refused_whatever_the_secret(path: str) -> None:
    headers = [HOST, BEARER, ("cookie", COOKIE)]

    assert not (await ask(path=path, query=f"token={TOKEN}", headers=headers)).let_in


async def test_websockets_are_not_answered() -> None:
    answer = await ask(kind="websocket", headers=[HOST, BEARER])

    assert not answer.let_in
    assert answer.status == 0


async def test_every_answer_forbids_to_frame_sniff_keep_or_tell_on() -> None:
    for headers in ([HOST, BEARER], []):
        answer = await ask(headers=headers)

        assert answer.header("x-frame-options") == "DENY"
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("referrer-policy") == "no-referrer"
        assert answer.header("cross-origin-resource-policy") == "same-origin"
    assert "unsafe" not in CONTENT_POLICY
    assert "require-trusted-types-for 'script'" in CONTENT_POLICY


def test_two_starts_have_two_tokens() -> None:
    assert new_token() != new_token()
    assert len(new_token()) >= 43
