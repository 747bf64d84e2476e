"""What can go wrong with a model call, told apart by what helps: waiting, paying, or mending the request."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, cast

from ...errors import BudgetExhausted, ModelError
from .causes import LOOP_HAS_ENDED, is_of_an_ended_loop, why_not_sendable

__all__ = ["FailureKind", "ModelError", "broken_off", "failure_of", "no_answer", "refused_again", "with_wait"]

FailureKind = Literal["transient", "quota", "permanent"]

_LONGEST_TEXT = 500


def no_answer(model: str, seconds: float) -> ModelError:
    """A call that took longer than it may."""
    return ModelError("transient", model, f"no answer within {seconds:g} s (call_timeout_s)")


def broken_off(model: str) -> ModelError:
    """A stream that ended as if it were whole, and is not."""
    return ModelError("transient", model, "the stream ended before the answer did: no finish reason came, and no usage")


def with_wait(failure: ModelError, longest_s: float) -> ModelError:
    """``failure``, which says so where the provider asks for a longer wait than there may be."""
    asked = failure.retry_after_s
    if failure.kind != "transient" or asked is None or asked <= longest_s:
        return failure
    text = str(failure).removeprefix(f"{failure.model}: ")
    return ModelError(
        failure.kind,
        failure.model,
        f"{text}; asks to wait {asked:g} s, longer than longest_retry_wait_s={longest_s:g}",
        status=failure.status,
        retry_after_s=asked,
        refused=failure.refused,
    )


def refused_again(refusal: BudgetExhausted, failure: ModelError) -> BudgetExhausted:
    """The budget's refusal of another attempt, which names the ``failure`` that it would have been for."""
    return BudgetExhausted(
        f"{refusal.reason}; another attempt was wanted because the last one failed: {failure}",
        refusal.snapshot,
        dimension=refusal.dimension,
        held_back=refusal.held_back,
    )


def failure_of(error: Exception, model: str) -> ModelError:
    """What ``error``, raised by the client library, means.

    Refused, and so not booked, are: 4xx except 408, 409 and 425; 429, 503 and 529; a connection that was never
    made; a request that can't be made at all. All else may have been worked on and is booked in full: other 5xx, a
    connection that broke off, a timeout, an answer that can't be read, every error inside a stream that had begun, and
    a connection of an event loop that has ended.
    """
    status = cast("int | None", getattr(error, "status_code", None))
    kind, text, refused = _meaning(error, status)
    where = "" if status is None else f" ({status})"
    return ModelError(
        kind,
        model,
        f"{text}{where}: {_said(why_not_sendable(error) or error)}",
        status=status,
        retry_after_s=getattr(error, "retry_after", None),
        refused=refused and not getattr(error, "in_stream", False),
    )


def _meaning(error: Exception, status: int | None) -> tuple[FailureKind, str, bool]:
    """What it is, in words, and whether the provider has refused to do anything."""
    if status is None and why_not_sendable(error) is not None:
        return "permanent", "the request can't be sent", True
    if status is None and is_of_an_ended_loop(error):
        return "transient", LOOP_HAS_ENDED, False
    for classes, kind, text, refused in _meanings():
        if isinstance(error, classes):
            return kind, text, _never_sent(error) if refused is None else refused
    if status in _MAY_HAVE_WORKED:
        return "transient", "the provider broke off", False
    if status is not None and 400 <= status < 500:
        return "permanent", "the request was rejected", True
    return "permanent", "the answer can't be read", False


@cache
def _meanings() -> list[tuple[type[Exception], FailureKind, str, bool | None]]:
    """By class, the first that fits; ``None``: refused if it was never sent."""
    from pydantic_ai import exceptions as theirs

    return [
        (theirs.ModelQuotaExceededError, "quota", "no quota left", True),
        (theirs.ModelRateLimitError, "transient", "rate limit reached", True),
        (theirs.ModelUnavailableError, "transient", "the provider is overloaded or down", True),
        (theirs.ModelServerError, "transient", "the provider failed", False),
        (theirs.ModelTimeoutError, "transient", "timed out", None),
        (theirs.ModelRequestTimeout, "transient", "timed out", False),
        (theirs.ModelConnectionError, "transient", "the connection failed", None),
        (theirs.ModelAuthenticationError, "permanent", "the key is missing, wrong, or may not use this model", True),
        (theirs.ModelNotFoundError, "permanent", "no such model or address", True),
        (theirs.ModelContextWindowExceededError, "permanent", "longer than the model can read", True),
        (theirs.ModelRequestRejectedError, "permanent", "the request was rejected", True),
        (theirs.UserError, "permanent", "the client library refuses the request", True),
    ]


_MAY_HAVE_WORKED = (408, 409, 425)


def _never_sent(error: Exception) -> bool:
    """Whether it is sure that no request left: no connection was made, or none was free."""
    return getattr(error, "phase", None) in ("pool", "connect")


def _said(error: BaseException) -> str:
    """The provider's own words, or the library's, in one line."""
    body: Any = getattr(error, "body", None)
    for step in ("error", "message"):
        if isinstance(body, dict):
            body = cast("dict[str, Any]", body).get(step, body)
    text = body if isinstance(body, str) and body else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:_LONGEST_TEXT]
