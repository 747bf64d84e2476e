"""What an error of a client library came of, where its own class does not say so. By name: httpx is there twice."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["LOOP_HAS_ENDED", "causes", "class_names", "is_of_an_ended_loop", "why_not_sendable"]

LOOP_HAS_ENDED = (
    "the client kept a connection of an event loop that has ended; "
    "keep to one event loop for each client, or make it anew in each"
)

_MOST_CAUSES = 10
_NOT_SENDABLE = {"UnsupportedProtocol", "LocalProtocolError", "InvalidURL"}
"""Of httpx and httpx2: an address or a header that no request can be made of."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """``error``, then what it came of, as far as that can matter."""
    cause: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def class_names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def why_not_sendable(error: BaseException) -> BaseException | None:
    """The cause for which no request could be made, if there is one: then none left."""
    return next((cause for cause in causes(error) if _NOT_SENDABLE & class_names(cause)), None)


def is_of_an_ended_loop(error: BaseException) -> bool:
    """Whether the connection belongs to an event loop that has ended. asyncio has one text for it, and no class.

    The request has left all the same, mostly: the operating system takes what is written to the socket, and only
    waiting for the answer needs the loop.
    """
    return any(type(cause) is RuntimeError and str(cause) == "Event loop is closed" for cause in causes(error))
