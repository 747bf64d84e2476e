"""What one runtime remembers of its own calls: outputs to use again, and how often a tool may be called."""

from __future__ import annotations

from typing import Any

import anyio

from ..actions import ActionResult, ToolRateLimit
from ..clock import Clock
from ..json_values import json_copy

__all__ = ["Memory", "own_copy"]

_FIRST_SWEEP = 64


class Memory:
    """Results of idempotent actions, outputs that may be used again for a while, and a bucket per limited tool."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._done: dict[str, ActionResult] = {}
        self._outputs: dict[str, tuple[float, Any]] = {}
        self._sweep_at = _FIRST_SWEEP
        self._buckets: dict[str, _Bucket] = {}

    def done(self, digest: str) -> ActionResult | None:
        """The result of an idempotent action that has succeeded here."""
        return self._done.get(digest)

    def keep_done(self, digest: str, result: ActionResult) -> None:
        self._done[digest] = result

    def forget_done(self, digest: str) -> None:
        self._done.pop(digest, None)

    def output(self, digest: str) -> tuple[Any] | None:
        """An output that is not too old, in a tuple, because ``None`` is one."""
        until, output = self._outputs.get(digest, (0.0, None))
        if self._clock.monotonic() >= until:
            self._outputs.pop(digest, None)
            return None
        return (own_copy(output),)

    def keep_output(self, digest: str, output: Any, ttl_s: float) -> None:
        now = self._clock.monotonic()
        if len(self._outputs) >= self._sweep_at:
            self._outputs = {each: kept for each, kept in self._outputs.items() if kept[0] > now}
            self._sweep_at = max(_FIRST_SWEEP, 2 * len(self._outputs))  # so that sweeping costs a constant per call
        self._outputs[digest] = (now + ttl_s, own_copy(output))

    async def wait_for_turn(self, tool: str, limit: ToolRateLimit) -> None:
        """Return when ``tool`` may be called again under ``limit``."""
        bucket = self._buckets.get(tool)
        if bucket is None:
            bucket = self._buckets[tool] = _Bucket(limit, self._clock)
        await bucket.take()


class _Bucket:
    """A token bucket: full at first, a token back every ``interval / max_calls`` seconds. Turns are given out
    in the order of asking, so that nobody starves; who is cancelled in the line takes none."""

    def __init__(self, limit: ToolRateLimit, clock: Clock) -> None:
        self._size = limit.max_calls
        self._every = limit.interval_secs / limit.max_calls
        self._clock = clock
        self._full_at = clock.monotonic()  # when all tokens taken so far will be back
        self._line = anyio.Lock()

    async def take(self) -> None:
        async with self._line:
            wait = self._full_at - self._clock.monotonic() - (self._size - 1) * self._every
            if wait > 0:
                await anyio.sleep(wait)
            self._full_at = max(self._full_at, self._clock.monotonic()) + self._every


def own_copy(value: Any) -> Any:
    """A copy that nobody else can change; what is not JSON is handed on as it is."""
    try:
        return json_copy(value)
    except ValueError:
        return value
