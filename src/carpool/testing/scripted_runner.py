"""A runner that does what a script says, and keeps a bill of what it really did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anyio
from msgspec import UNSET

from ..errors import BudgetExhausted
from ..mailbox import Mailbox
from ..runtime import Runtime
from ..types import AgentOutput, AgentSpec, TokenAccounting
from .bill import Bill, CallMade
from .reply import Line, Reply, Script

__all__ = ["ScriptedRunner"]


class ScriptedRunner:
    """Answers, spends, delays and fails as ``script`` says; every call is on ``bill``.

    A reply is found by the agent's name, else by its role, else it is ``default``. Without one the call raises
    ``LookupError``, which is that agent's failure. A list of replies is gone through by each agent for itself, one
    per call, so that ``{"mapper": [Reply(raises=OSError), "done"]}`` lets every mapper fail once; its last
    entry repeats. Made for one event loop at a time; runs that follow or overlap share the bill.
    """

    def __init__(self, script: Script | None = None, *, default: Line | Callable[[AgentSpec, str], Line] | None = None):
        self.script = dict(script or {})
        self.default = default
        self.bill = Bill()

    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> Any:
        """An output, or whatever object the script wants to come back."""
        call = self.bill.begin(spec, task, anyio.current_time())
        end = "cancelled"
        try:
            returned = await self._play(self._reply(call), call, runtime, mailbox)
            end = "returned"
        except Exception:
            end = "raised"
            raise
        finally:
            self.bill.end(call, end, anyio.current_time())
        return returned

    def _reply(self, call: CallMade) -> Reply:
        spec = call.spec
        found = self.script.get(spec.name, self.script.get(spec.role or "", self.default))
        if found is None:
            raise LookupError(f"the script has nothing for agent {spec.name!r}, and no default")
        if callable(found):
            found = found(spec, call.task)
        if isinstance(found, Sequence) and not isinstance(found, str):
            found = found[min(call.number, len(found)) - 1]
        return Reply(found) if isinstance(found, str) else found

    async def _play(self, reply: Reply, call: CallMade, runtime: Runtime, mailbox: Mailbox) -> Any:
        if reply.spends is not None:
            self.bill.charge(call, reply.spends, anyio.current_time())
        if reply.model_calls:
            turns = await self._call_model(reply, call, runtime)
        else:
            turns = 1
            await self._wait(reply, call)
        said = None if reply.does is None else await reply.does(call.spec, call.task, runtime, mailbox)

        if reply.raises is not None:
            raise reply.raises
        if reply.returns is not UNSET:
            return reply.returns
        if said is None:
            said = reply.answer if isinstance(reply.answer, str) else reply.answer(call.spec, call.task)
        tokens = self._truth(reply, call) if reply.reports is UNSET else reply.reports
        return AgentOutput(name=call.agent, answer=said, turns=turns, tokens=tokens)

    async def _call_model(self, reply: Reply, call: CallMade, runtime: Runtime) -> int:
        """The number of model calls that were made before the lease refused one."""
        lease, turns = runtime.lease, 0
        for tokens in reply.model_calls:
            try:
                if lease is not None and reply.reserves:
                    lease.reserve(tokens)
            except BudgetExhausted:
                break
            await self._wait(reply, call)
            self.bill.charge(call, tokens, anyio.current_time())
            if lease is not None:
                lease.charge(tokens)
            turns += 1
        return turns

    async def _wait(self, reply: Reply, call: CallMade) -> None:
        swallowed = 0
        while True:
            try:
                if reply.hangs:
                    await anyio.sleep_forever()
                elif reply.after_s is not None:
                    await anyio.sleep(reply.after_s)
                return
            except anyio.get_cancelled_exc_class():
                if swallowed >= reply.swallows:
                    raise
                swallowed += 1
                call.swallowed += 1
                if swallowed >= reply.swallows:
                    return

    def _truth(self, reply: Reply, call: CallMade) -> TokenAccounting | None:
        return call.spent if reply.spends is not None or reply.model_calls else None
