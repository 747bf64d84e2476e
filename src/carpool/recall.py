"""The port by which the door remembers agents, finished or not; by default it remembers nothing.

The door asks ``recall`` before a start, tells ``started`` before the runner is called and ``ended`` before anybody
sees the output. A call is recognised by content (:func:`carpool.content.content_digest`): the role path in the tree
of patterns, the spec that it was derived from and the whole task; identical calls are told apart by count, never by
time or place. What was completed is given out again, each once; what was lost, has failed or was cancelled runs again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from msgspec import Struct, field

from .events import Event, RunFinished
from .secrets import Redactor
from .types import AgentOutput, AgentSpec, BudgetLimits, TokenAccounting

__all__ = [
    "Ask",
    "Attempt",
    "Call",
    "Change",
    "Changeable",
    "EndStatus",
    "Ending",
    "Facts",
    "Forgetful",
    "Holdings",
    "Opening",
    "Past",
    "Recall",
    "RecallSource",
    "Recalled",
]

EndStatus = Literal["completed", "failed", "cancelled"]


class Call(Struct, frozen=True, kw_only=True):
    """One agent that is asked for. ``roles`` is its role path, without indexes; ``path`` its present place, and
    ``parent`` the path of the agent that asks for it, if one does. ``slots`` is 0 for one that takes no slot."""

    roles: str
    path: str
    spec: AgentSpec
    task: str
    parent: str | None = None
    slots: int = 1


class Change(Struct, frozen=True, kw_only=True):
    """What an agent made of one key of the state, at the last. ``version`` is the key's after that: of two changes made
    in one process, the higher is the later."""

    key: str
    value: Any = None
    deleted: bool = False
    version: int = 0

    def make(self, state: Changeable, actor: str) -> None:
        """Change ``state`` like this, as ``actor``."""
        if self.deleted:
            state.delete(self.key, actor=actor)
        else:
            state.set(self.key, self.value, actor=actor)


class Changeable(Protocol):
    """The state of a team, as far as a change needs it."""

    def set(self, key: str, value: Any, *, actor: str) -> Any: ...
    def delete(self, key: str, *, actor: str) -> Any: ...


class Ask(Struct, frozen=True, kw_only=True):
    """One call of a tool by which an agent asked for another agent."""

    tool: str
    arguments: dict[str, Any]


class Ending(Struct, frozen=True, kw_only=True):
    """How a call ended. ``output.tokens`` is what all its attempts in this process have spent; ``origin`` the id of the
    store, or the overlay on one, in which it made its ``changes``."""

    status: EndStatus
    output: AgentOutput
    changes: Sequence[Change] = ()
    origin: str = ""
    asks: Sequence[Ask] = ()


class Attempt(Struct, frozen=True, kw_only=True):
    """One start of a call, the ``number``-th in this process; the ones before it have spent ``earlier``. It holds
    ``hold`` of the budget; ``at_stake()``, from any thread, is what it would be booked at if nobody ever said what it
    cost: the hold or, where that is more, what it has charged and reserved by now."""

    number: int
    hold: TokenAccounting
    earlier: TokenAccounting
    at_stake: Callable[[], TokenAccounting]


class Recalled(Struct, kw_only=True):
    """What is remembered of one call.

    ``key`` tells it from all others of its run, in every process; ``spec`` is the digest of its spec. ``output`` is
    there if it need not run again, with its ``changes`` of the state, made in ``origin``, and the ``asks`` made inside
    it; ``order`` counts the processes up to the one in which it ended. ``spent`` is what its earlier starts cost that
    came to nothing. With a ``refusal`` it must not run again; ``alone``, once more, and not beside others of its kind.
    """

    key: str = ""
    spec: str = ""
    output: AgentOutput | None = None
    changes: Sequence[Change] = ()
    asks: Sequence[Ask] = ()
    origin: str = ""
    order: int = 0
    spent: TokenAccounting | None = None
    alone: bool = False
    refusal: str | None = None


class Past(Struct, frozen=True, kw_only=True):
    """What earlier processes have taken of the budget ``purse``: all their spend, and the slots of what they
    completed."""

    purse: str
    spent: TokenAccounting
    slots: int


class Facts(Protocol):
    """The log of events, as a journal reads it."""

    def events(self, *, since: int = 0) -> list[Event]: ...
    def waking(self, wake: Callable[[], None]) -> AbstractContextManager[None]: ...
    def __len__(self) -> int: ...


class Opening(Struct, frozen=True, kw_only=True):
    """Who opens a run: what a journal writes down of it, and where it finds its events."""

    run_id: str
    log: Facts
    redactor: Redactor
    pattern: str = "run"
    task: str = ""
    purse: str = ""  # the id of the budget, by which it is known what that has booked already
    limits: BudgetLimits = field(default_factory=BudgetLimits)


class Recall(Protocol):
    """The memory of one run. Its methods may wait for a disk; the loop goes on meanwhile. Cancelled while it waits,
    ``started``, ``ended`` and ``approved`` let that through once it is known that what they were told is durable."""

    @property
    def past(self) -> Sequence[Past]:
        """What was spent under this run before it was opened, to be booked once."""
        ...

    async def recall(self, call: Call, *, settled: bool = False) -> Recalled:
        """What is known of this call. What was completed is given out once; with ``settled``, for a call inside an
        agent that is itself remembered, what has failed is given out too."""
        ...

    async def started(self, call: Call, known: Recalled, attempt: Attempt) -> None:
        """Returns when it is durable that ``attempt`` is about to be run, and what it holds."""
        ...

    async def ended(self, call: Call, known: Recalled, ending: Ending) -> None:
        """Returns when output, settlement and state changes are durable, in one transaction."""
        ...

    def was_approved(self, request: str) -> bool:
        """Whether somebody approved of this in an earlier process; each yes counts once. ``request`` is a digest."""
        ...

    async def approved(self, request: str) -> None:
        """Returns when it is durable that somebody approved."""
        ...

    async def aclose(self, finished: RunFinished) -> None:
        """The run is over in this process, however it ended; returns when that is durable. Said again, it changes
        nothing."""
        ...


class Holdings(Struct, frozen=True, kw_only=True):
    """What is stored of a run: how many calls were completed, lost, have failed or were cancelled; what all of them
    spent; what the completed ones were estimated at; and a memory to recall from that can't be written to."""

    completed: int
    lost: int
    failed: int
    cancelled: int
    spent: TokenAccounting
    memory: Recall


class RecallSource(Protocol):
    """What ``SharedInfra(journal=…)`` takes: gives each run its memory."""

    async def open_run(self, opening: Opening) -> Recall:
        """The memory of ``opening.run_id``, for this process alone.

        :raises RunInUse: when another has it.
        """
        ...

    async def holdings(self, run_id: str) -> Holdings:
        """What is stored of ``run_id``; nothing is claimed or written.

        :raises RunNotFound: when there is no such run.
        """
        ...


class Forgetful:
    """Remembers nothing. The door knows it and skips the asking."""

    past = ()

    async def recall(self, call: Call, *, settled: bool = False) -> Recalled:
        return Recalled()

    async def started(self, call: Call, known: Recalled, attempt: Attempt) -> None:
        pass

    async def ended(self, call: Call, known: Recalled, ending: Ending) -> None:
        pass

    def was_approved(self, request: str) -> bool:
        return False

    async def approved(self, request: str) -> None:
        pass

    async def aclose(self, finished: RunFinished) -> None:
        pass
