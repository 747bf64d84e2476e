"""The port by which the door remembers finished agents; by default it remembers nothing.

The door asks ``recall`` before a start, and tells ``started`` before the runner is called and ``ended`` before
anybody sees the output. A call is recognised by content: the role path in the tree of patterns, the spec that
it was derived from and the whole task; identical calls are told apart by count, never by time or place.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from .types import AgentOutput, AgentSpec, TokenAccounting

__all__ = ["Call", "Forgetful", "Recall", "RecallSource"]


class Call(Struct, frozen=True, kw_only=True):
    """One agent that is asked for. ``roles`` is its role path, without indexes; ``path`` its present place."""

    roles: str
    path: str
    spec: AgentSpec
    task: str


class Recall(Protocol):
    """The memory of one run. Its methods may wait for a disk; the loop goes on meanwhile."""

    async def recall(self, call: Call) -> AgentOutput | None:
        """The output of this call from an earlier process, or ``None``. Each is given out once."""
        ...

    async def started(self, call: Call, attempt: int, hold: TokenAccounting) -> None:
        """Returns when it is durable that ``attempt`` holds ``hold`` and is about to be run."""
        ...

    async def ended(self, call: Call, output: AgentOutput) -> None:
        """Returns when output and settlement (``output.tokens``) are durable. A failed one is not recalled."""
        ...

    async def aclose(self) -> None:
        """The run is over in this process, however it ended."""
        ...


class RecallSource(Protocol):
    """What ``SharedInfra(journal=…)`` takes: gives each run its memory."""

    async def open_run(self, run_id: str) -> Recall:
        """The memory of ``run_id``, for this process alone."""
        ...


class Forgetful:
    """Remembers nothing. The door knows it and skips the asking."""

    async def recall(self, call: Call) -> AgentOutput | None:
        return None

    async def started(self, call: Call, attempt: int, hold: TokenAccounting) -> None:
        pass

    async def ended(self, call: Call, output: AgentOutput) -> None:
        pass

    async def aclose(self) -> None:
        pass
