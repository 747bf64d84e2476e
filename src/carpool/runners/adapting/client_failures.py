"""What the errors of the openai and anthropic packages mean, and of others that are made alike."""

from __future__ import annotations

from typing import Any, cast

from ...errors import ModelError
from ..model.causes import LOOP_HAS_ENDED, causes, class_names, is_of_an_ended_loop, why_not_sendable
from ..model.failures import FailureKind

__all__ = ["client_failure"]

_LONGEST_TEXT = 500

_BY_STATUS: dict[int, tuple[FailureKind, str, bool]] = {
    401: ("permanent", "the key is missing, wrong, or may not use this model", True),
    402: ("quota", "no quota left", True),
    403: ("permanent", "the key is missing, wrong, or may not use this model", True),
    404: ("permanent", "no such model or address", True),
    408: ("transient", "the provider broke off", False),
    409: ("transient", "the provider broke off", False),
    425: ("transient", "the provider broke off", False),
    429: ("transient", "rate limit reached", True),
    503: ("transient", "the provider is overloaded or down", True),
    529: ("transient", "the provider is overloaded or down", True),
}
"""Kind, in words, and whether nothing was done: the same as ``model.failures`` says of Pydantic AI's errors."""

_NEVER_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout"}
"""Of httpx and httpx2: no connection was made, or none was free."""


def client_failure(error: Exception, model: str) -> ModelError:
    """What ``error``, raised by a call of ``model``, means."""
    response: Any = getattr(error, "response", None)
    status: Any = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    if not isinstance(status, int):
        status = None
    kind, text, refused = _meaning(error, status)
    where = "" if status is None else f" ({status})"
    return ModelError(
        kind,
        model,
        f"{text}{where}: {_said(error if status else why_not_sendable(error) or error)}",
        status=status,
        retry_after_s=_retry_after_s(response),
        refused=refused,
    )


def _meaning(error: Exception, status: int | None) -> tuple[FailureKind, str, bool]:
    """What it is, in words, and whether the provider has refused to do anything."""
    names = class_names(error)
    if status is not None and status >= 400:
        return _meaning_of_status(error, status)
    if why_not_sendable(error) is not None:
        return "permanent", "the request can't be sent", True
    if is_of_an_ended_loop(error):
        return "transient", LOOP_HAS_ENDED, False
    if "APITimeoutError" in names or "TimeoutException" in names or isinstance(error, TimeoutError):
        return "transient", "timed out", _was_never_sent(error)
    if "APIConnectionError" in names or "TransportError" in names or isinstance(error, ConnectionError):
        return "transient", "the connection failed", _was_never_sent(error)
    if "UserError" in names:  # the agents package has looked at the request, and does not send it
        return "permanent", "the client library refuses the request", True
    return "permanent", "the answer can't be read", False


def _meaning_of_status(error: Exception, status: int) -> tuple[FailureKind, str, bool]:
    if _is_quota(error):
        return "quota", "no quota left", True
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status < 500:
        return "permanent", "the request was rejected", True
    return "transient", "the provider failed", False


def _was_never_sent(error: BaseException) -> bool:
    return any(_NEVER_SENT & class_names(cause) for cause in causes(error))


def _is_quota(error: Exception) -> bool:
    body = _inner(getattr(error, "body", None))
    codes = {getattr(error, "code", None), getattr(error, "type", None), body.get("code"), body.get("type")}
    return bool(codes & {"insufficient_quota", "billing_error"})


def _retry_after_s(response: Any) -> float | None:
    headers = getattr(response, "headers", None)
    try:
        seconds = float(headers["retry-after"]) if headers is not None else -1.0
    except (KeyError, ValueError, TypeError):
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _said(error: BaseException) -> str:
    """The provider's own words, or the library's, in one line."""
    text = _inner(getattr(error, "body", None)).get("message")
    if not isinstance(text, str) or not text:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:_LONGEST_TEXT]


def _inner(body: Any) -> dict[str, Any]:
    """What a body says of the error: the anthropic package gives all of it, openai what is inside."""
    if not isinstance(body, dict):
        return {}
    fields = cast("dict[str, Any]", body)
    inner = fields.get("error")
    return cast("dict[str, Any]", inner) if isinstance(inner, dict) else fields
