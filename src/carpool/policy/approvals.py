"""Asking somebody before a tool runs that goes beyond what the team is granted.

An approval is for one call: one tool, one agent, exactly these arguments, once. Only the bool ``True`` approves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from ..actions import Tier
from ..clock import Clock, new_id, utc_now
from ..json_values import json_copy

__all__ = ["ApprovalRequest", "Approvals", "Approver", "digest_of"]


class ApprovalRequest(Struct, frozen=True, kw_only=True):
    """May ``agent`` call ``tool``, which is of ``tier``, with these ``arguments``?

    ``arguments`` are for whoever decides to see, and are not repeated by ``repr``; ``arguments_digest`` is what
    is decided on. Make one with :meth:`of`, which copies the one and computes the other.
    """

    tool: str
    tier: Tier
    arguments: dict[str, Any]
    arguments_digest: str
    agent: str = ""
    path: str = ""
    run: str = ""
    id: str = field(default_factory=new_id)
    timestamp: datetime = field(default_factory=utc_now)

    @classmethod
    def of(
        cls,
        tool: str,
        tier: Tier,
        arguments: dict[str, Any],
        *,
        agent: str = "",
        path: str = "",
        run: str = "",
        clock: Clock | None = None,
    ) -> ApprovalRequest:
        """A request of its own id, with a copy of ``arguments`` and their digest.

        :raises ValueError: when ``arguments`` are not JSON.
        """
        arguments = json_copy(arguments, "arguments")
        return cls(
            tool=tool,
            tier=tier,
            arguments=arguments,
            arguments_digest=digest_of(arguments),
            agent=agent,
            path=path,
            run=run,
            timestamp=clock.now() if clock else utc_now(),
        )

    def copy(self) -> ApprovalRequest:
        """The same request with arguments of its own: changing those changes nothing here."""
        return replace(self, arguments=json_copy(self.arguments))

    def __repr__(self) -> str:
        whom = f"id={self.id!r}, agent={self.agent!r}, tool={self.tool!r}, tier={self.tier!r}"
        return f"ApprovalRequest({whom}, arguments_digest={self.arguments_digest!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in ("id", "agent", "tool", "tier", "arguments_digest")]


Approver = Callable[[ApprovalRequest], Awaitable[bool]]
"""Decides on a request; ``True``, and nothing else, approves."""


class Approvals:
    """Whom to ask, and the reading of the answer. Many requests may wait at a time; none waits for another."""

    def __init__(self, approver: Approver | None = None) -> None:
        """Without an ``approver`` everything is refused."""
        self._approver = approver

    async def ask(self, request: ApprovalRequest) -> bool:
        """Whether ``request`` is approved."""
        return await self.refusal(request) is None

    async def refusal(self, request: ApprovalRequest) -> str | None:
        """Why ``request`` is refused; ``None`` if it is approved.

        Refused is also: when there is nobody to ask, when the approver raises (its class is told, not its text),
        when it answers anything but ``True``, or when the arguments are not those of the digest. A cancellation
        goes through to the approver and comes out again: it approves nothing.

        An approval is no standing right: ask again for every call, and compare :func:`digest_of` the arguments
        that are about to be used with ``request.arguments_digest``.
        """
        beyond = f"tool {request.tool!r} needs the tier {request.tier}, which is not granted"
        if self._approver is None:
            return f"{beyond}, and there is no approver to ask"
        if not _is_whole(request):
            return f"{beyond}, and the arguments are not those of the request's digest"
        try:
            answer: object = await self._approver(request.copy())
        except Exception as error:
            return f"{beyond}, and the approver failed ({type(error).__name__})"
        if answer is True:
            return None
        if answer is False:
            return f"{beyond}, and the approver refused"
        return f"{beyond}, and the approver answered with a {type(answer).__name__}; only True approves"


def _is_whole(request: ApprovalRequest) -> bool:
    try:
        return digest_of(request.arguments) == request.arguments_digest
    except ValueError:
        return False


def digest_of(arguments: dict[str, Any]) -> str:
    """SHA-256 of the arguments' canonical JSON, in hexadecimal: the same for the same arguments in any order of
    keys, and another for any others, such as ``1`` and ``1.0``.

    :raises ValueError: when they are not JSON. What is not has no digest that could be relied on.
    """
    from hashlib import sha256  # loads a shared library, and only who asks needs it

    return sha256(msgspec.json.encode(json_copy(arguments, "arguments"), order="deterministic")).hexdigest()
