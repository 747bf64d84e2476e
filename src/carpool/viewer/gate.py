"""The gate before everything that is served: who may ask, how, and what every answer says about itself.

The page shows what agents said and cost, and any page that is open in the same browser, like any program on the same
machine, can send requests to this port. So each request is refused unless

- its method only reads (``GET``, ``HEAD``),
- its ``Host`` is this server, port included: a foreign name that was made to point here stays outside,
- its ``Origin`` is this server or none, and so is what the browser says of where it comes from,
- it carries the secret: the token, in the address that opens the page or in the header ``Authorization`` of a request
  for data; or, for the files of the page, a cookie that is good for nothing else. A cookie is sent to every port of a
  host, so whoever serves another one may come to know it; the token never leaves the page.

There is nothing that a request could change. Comparisons take the same time whatever they find.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs

__all__ = ["CONTENT_POLICY", "Gate", "new_token"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Nothing from elsewhere, nothing inline; and no text can be made into markup or code, even by a mistake."""

_METHODS = ("GET", "HEAD")
_DATA = "/api/"
_FILES = "/page/"
_HEADERS = [
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


def new_token() -> str:
    """256 random bits, for one server and as long as that runs."""
    import secrets

    return secrets.token_urlsafe(32)


class Gate:
    """``application`` behind the gate, an ASGI application itself. ``port`` is the one that is listened on."""

    def __init__(self, application: Application, token: str, port: int) -> None:
        self._application = application
        self._token = token
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        self._cookie = f"carpool-page-{port}"
        self._page_key = sha256(f"page of {token}".encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # neither websockets nor a lifespan

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS, *self._cookies(scope, message)]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._application(scope, receive, sending)
        else:
            await _refuse(*refusal, sending)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Why the request is refused, if it is."""
        headers = _Headers(scope["headers"])
        host = headers.only("host")
        if host not in self._hosts:
            return 421, "this is not the server of that name"
        if scope["method"] not in _METHODS:
            return 405, "only GET and HEAD: nothing can be changed here"
        if headers.has("origin") and headers.only("origin") != f"http://{host}":
            return 403, "not asked from this page"
        if not self._comes_from_here(scope, headers):
            return 403, "not asked from this page"
        if not self._has_secret(scope, headers):
            return 401, "open the address that carpool view printed; this one lacks its token"
        return None

    def _comes_from_here(self, scope: Scope, headers: _Headers) -> bool:
        """By what the browser says, if it says it. The page itself may be opened by a link from anywhere: it takes the
        token."""
        site = headers.only("sec-fetch-site") if headers.has("sec-fetch-site") else "none"
        if site in ("none", "same-origin"):
            return True
        opened = headers.only("sec-fetch-mode") == "navigate" and headers.only("sec-fetch-dest") == "document"
        return opened and scope["path"] == "/" and self._has_token_in_address(scope)

    def _has_secret(self, scope: Scope, headers: _Headers) -> bool:
        path: str = scope["path"]
        if path.startswith(_DATA):
            kind, _, token = headers.only("authorization").partition(" ")
            return kind.lower() == "bearer" and _same(token, self._token)
        if path.startswith(_FILES):
            return self._has_cookie(headers)
        return path == "/" and (self._has_token_in_address(scope) or self._has_cookie(headers))

    def _has_token_in_address(self, scope: Scope) -> bool:
        tokens = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        return len(tokens) == 1 and _same(tokens[0], self._token)

    def _has_cookie(self, headers: _Headers) -> bool:
        cookies = (cookie.strip().partition("=") for value in headers.every("cookie") for cookie in value.split(";"))
        keys = [value for name, _, value in cookies if name == self._cookie]
        return len(keys) == 1 and _same(keys[0], self._page_key)

    def _cookies(self, scope: Scope, message: Message) -> list[tuple[bytes, bytes]]:
        if message["status"] != 200 or scope["path"] != "/" or not self._has_token_in_address(scope):
            return []
        return [(b"set-cookie", f"{self._cookie}={self._page_key}; HttpOnly; SameSite=Strict; Path=/".encode())]


class _Headers:
    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in headers:
            self._values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def has(self, name: str) -> bool:
        return name in self._values

    def every(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def only(self, name: str) -> str:
        """Its value; of a header that is missing, or there more than once, none."""
        values = self.every(name)
        return values[0] if len(values) == 1 else ""


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


async def _refuse(status: int, reason: str, send: Send) -> None:
    body = f"{reason}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    if status == 405:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
