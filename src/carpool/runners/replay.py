"""The runner that repeats what was recorded: the same answers, errors and spend, without a model, key or network.

A call is found by its content, as a journal does it: by the spec that it was derived from and the whole task, never by
its name's number or its place; secrets, and the path of a workspace, don't count. Calls of the same content are given
out in the order in which they were asked when they were recorded.

Repeated is what an agent returned or raised, and what was booked on its lease on the way. Not repeated is what it
did: no tool is called, no other agent is asked, no state is changed, no mail is sent, no file is written. So where an
agent asked for others through a tool, those don't start, and what they spent is not spent. Time is not repeated
either: answers come at once.
"""

from __future__ import annotations

import os

from anyio.lowlevel import checkpoint

from ..mailbox import Mailbox
from ..runtime import Runtime
from ..types import AgentOutput, AgentSpec, TokenAccounting
from .cassette import Cassette
from .recorded_call import Recorded, replay, request_of

__all__ = ["ReplayRunner"]


class ReplayRunner:
    """Runs every agent from the cassette at a path, or from one that others share; writes nothing, ever.

    Each recording is given out once: for a second run of the same team make another runner.

    :raises ConfigError: when there is no such file, or it is no cassette, or has a damaged line, which it names.
    """

    def __init__(self, cassette: str | os.PathLike[str] | Cassette) -> None:
        self.cassette = cassette if isinstance(cassette, Cassette) else Cassette(cassette)

    @property
    def missed(self) -> list[str]:
        """What was asked for and is not recorded: the texts of those errors, in their order."""
        return self.cassette.missed

    @property
    def unused(self) -> list[Recorded]:
        """What is recorded and was not asked for."""
        return self.cassette.unused

    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> AgentOutput:
        """The recorded output. The lease is charged what it was charged, call by call. What had been reserved then is
        reserved now, as far as it was spent; where that does not fit, it is refused as a runner that calls a model is.

        :raises LookupError: when the call is not recorded, with what is nearest to it and how that differs. It spends
            nothing.
        :raises BudgetExhausted: when the lease refuses.
        :raises Exception: what the agent raised when it was recorded.
        """
        await checkpoint()
        request = request_of(spec, task, runtime)
        number, recorded = self.cassette.take(request)
        if recorded is not None:
            return replay(recorded, spec, runtime)
        if runtime.lease is not None:
            runtime.lease.charge(TokenAccounting())  # it is known that nothing was spent
        raise LookupError(self.cassette.miss(request, number))
