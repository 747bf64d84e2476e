"""An approver whose answers come from elsewhere: a person at a terminal or a web page, in any thread."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import anyio

from ..clock import Clock, SystemClock
from ..wakeup import Wakeup
from .approvals import ApprovalRequest

__all__ = ["PendingApprovals"]

_ENDED_REMEMBERED = 1_000  # to say of a late answer why it is late, not only that nobody waits for it


class PendingApprovals:
    """Requests that wait to be answered by id and digest. Pass it as the ``approver``.

    A request ends in one way: answered, expired, or withdrawn because who asked was cancelled; then no answer is
    taken any more. ``waiting`` and ``answer`` may be called from any thread.
    """

    def __init__(self, *, expires_s: float | None = None, clock: Clock | None = None) -> None:
        """``expires_s``: seconds for which a request waits; ``None`` is as long as who asked does.

        :raises ValueError: when it is not above 0.
        """
        if expires_s is not None and not expires_s > 0:
            raise ValueError(f"expires_s must be above 0 seconds, not {expires_s!r}")
        self._expires_s = expires_s
        self._clock = clock or SystemClock()
        self._lock = Lock()
        self._waiting: dict[str, _Waiting] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()

    async def __call__(self, request: ApprovalRequest) -> bool:
        """Wait for the answer to ``request``.

        :raises TimeoutError: when there is none within ``expires_s``.
        :raises ValueError: when this very request was asked before: an answer is for one call.
        """
        waiting = _Waiting(request.copy(), self._clock.monotonic())
        with self._lock:
            if request.id in self._waiting or request.id in self._ended:
                raise ValueError(f"the request {request.id!r} was asked before; make a new one for every call")
            self._waiting[request.id] = waiting
        try:
            with anyio.move_on_after(self._expires_s):
                await waiting.ended.wait()
            with self._lock:
                self._end(request.id, "has expired")
        finally:
            with self._lock:
                self._end(request.id, "was withdrawn")
        if waiting.approved is None:
            raise TimeoutError
        return waiting.approved

    def waiting(self) -> list[ApprovalRequest]:
        """The requests that can be answered now, the oldest first; copies."""
        with self._lock:
            self._expire()
            return [each.request.copy() for each in self._waiting.values()]

    def answer(self, request_id: str, arguments_digest: str, approved: bool) -> None:
        """Let the call go ahead, or refuse it.

        ``arguments_digest`` is that of the request that was read: what was not read can't be approved. An answer
        that is refused here changes nothing; the request, if there is one, still waits.

        :raises ValueError: for an id that nobody waits under (never did, or the request is answered, expired or
            withdrawn), another digest, or an ``approved`` that is neither ``True`` nor ``False``.
        """
        with self._lock:
            self._expire()
            waiting = self._waiting.get(request_id)
            if waiting is None:
                how = self._ended.get(request_id, "is not known here")
                raise ValueError(f"the request {request_id!r} {how}; look at those that are waiting")
            if arguments_digest != waiting.request.arguments_digest:
                raise ValueError(f"the request {request_id!r} has other arguments than were read; read it again")
            if approved is not True and approved is not False:
                raise ValueError(f"the answer is True or False, not a {type(approved).__name__}")
            waiting.approved = approved
            self._end(request_id, "is answered already")

    # All under the lock

    def _expire(self) -> None:
        if self._expires_s is None:
            return
        now = self._clock.monotonic()
        for request_id, waiting in list(self._waiting.items()):
            if now >= waiting.since + self._expires_s:
                self._end(request_id, "has expired")

    def _end(self, request_id: str, how: str) -> None:
        waiting = self._waiting.pop(request_id, None)
        if waiting is None:
            return
        self._ended[request_id] = how
        if len(self._ended) > _ENDED_REMEMBERED:
            self._ended.popitem(last=False)
        waiting.ended.set()


class _Waiting:
    __slots__ = ("approved", "ended", "request", "since")

    def __init__(self, request: ApprovalRequest, since: float) -> None:
        self.request = request
        self.since = since
        self.approved: bool | None = None
        self.ended = Wakeup()
