"""The runner that records what another one does, for ``ReplayRunner`` to repeat it without that other."""

from __future__ import annotations

import os
from typing import Any, Literal, cast
from warnings import warn

from anyio.lowlevel import checkpoint

from ..budget import Lease
from ..errors import ConfigError, worded
from ..mailbox import Mailbox
from ..runner import RunnerLike, run_function
from ..runtime import Runtime
from ..secrets import Redactor
from ..spawn.accepting import accepted
from ..types import AgentOutput, AgentSpec, TokenAccounting
from .cassette import Cassette
from .recorded_call import LeaseEntry, Recorded, Request, replay, request_of, without
from .recorded_error import told

__all__ = ["RecordingRunner"]


class RecordingRunner:
    """Runs every agent by ``inner`` and writes each call to the cassette at a path, or to one that others share.

    ``record="missing"``: what is recorded already is repeated, as by ``ReplayRunner``, and costs no call of ``inner``;
    so a recording that was interrupted goes on where it stopped. ``record="all"``: every call goes to ``inner``, and
    the file begins anew with the first. A failure is recorded as an answer is, and repeated as one: to have it tried
    again, delete its line. ``inner`` itself is no part of what a call is recognised by: when its model or settings
    change, record all.

    An answer is in the file before it is handed on. A call that was cancelled, by a timeout too, has none, and is not
    there. What can't be written is handed on all the same, with a warning: it is paid for; but when the file can't be
    opened, the next call is refused before it is paid for. Secrets, those of ``SharedInfra(secrets=…)`` and whatever
    looks like a key, are written as ``[secret]``, in answers too.

    :raises ConfigError: when there is a file that is no cassette, which is never overwritten, or, unless it begins
        anew, is damaged.
    """

    def __init__(
        self,
        inner: RunnerLike,
        cassette: str | os.PathLike[str] | Cassette,
        *,
        record: Literal["missing", "all"] = "missing",
    ) -> None:
        if not isinstance(cassette, Cassette):
            if record not in ("missing", "all"):
                raise ValueError(f"record must be 'missing' or 'all', not {record!r}; ReplayRunner records nothing")
            cassette = Cassette(cassette, record)
        elif cassette.record == "none" or record != "missing":
            raise ValueError(
                "a cassette that is shared says itself what is recorded: Cassette(path, 'missing' or 'all')"
            )
        self.cassette = cassette
        self._call = run_function(inner)

    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> AgentOutput | str:
        """What ``inner`` returns or raises, or did when it was recorded.

        :raises OSError: when the cassette can't be written to; ``inner`` is not called then.
        """
        await checkpoint()
        request = request_of(spec, task, runtime)
        number, recorded = self.cassette.take(request)
        if recorded is not None:
            return replay(recorded, spec, runtime)
        try:
            self.cassette.make_ready()
        except (ConfigError, OSError):
            if runtime.lease is not None:
                runtime.lease.charge(TokenAccounting())  # it is known that nothing was spent
            raise
        meter = _Meter(runtime)
        try:
            with meter:
                returned = await self._call(spec, task, runtime, mailbox)
            output = accepted(spec.name, returned, 0)
        except Exception as error:
            self._write(request, number, meter.entries, error, runtime.team.redactor)
            raise
        self._write(request, number, meter.entries, output, runtime.team.redactor)
        return returned

    def _write(
        self, request: Request, number: int, lease: list[LeaseEntry], end: AgentOutput | Exception, redactor: Redactor
    ) -> None:
        try:
            call = Recorded(
                digest=request.digest,
                spec=request.spec,
                task=request.task,
                count=number,
                output=None if isinstance(end, Exception) else without(redactor, end),
                raised=told(end, redactor) if isinstance(end, Exception) else None,
                lease=lease,
            )
            self.cassette.add(call)
        except Exception as error:
            text = f"{self.cassette.path}: a call of agent {request.agent!r} was not recorded: {worded(error)}"
            warn(redactor.text(text), stacklevel=2)


class _Meter:
    """Within its block, writes down what the lease at ``runtime.lease`` grants and is told."""

    def __init__(self, runtime: Runtime) -> None:
        self.entries: list[LeaseEntry] = []
        self._runtime = runtime
        self._lease = runtime.lease

    def __enter__(self) -> None:
        if self._lease is not None:
            self._runtime.lease = cast(Lease, _MeteredLease(self._lease, self.entries))

    def __exit__(self, *_: object) -> None:
        self._runtime.lease = self._lease


class _MeteredLease:
    def __init__(self, lease: Lease, entries: list[LeaseEntry]) -> None:
        self._lease = lease
        self._entries = entries

    def reserve(self, tokens: TokenAccounting | None = None) -> None:
        self._lease.reserve(tokens)
        self._entries.append(("reserve", tokens))

    def charge(self, tokens: TokenAccounting) -> None:
        self._lease.charge(tokens)
        self._entries.append(("charge", tokens))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lease, name)  # what it says of itself, and settling
