"""A start where agents are remembered: recalled from the journal if it is done, else on record before and after it.

What is more to it than to any other start: before a lease is asked for, the journal is asked what it has of this very
call; before the runner is called, it is durable that it will be; before anybody sees the output, that is. Cancelled in
between, how it ended is put on record too, or it would count as lost and be charged at its hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from msgspec.structs import replace

from .. import events
from ..budget import Lease
from ..errors import BudgetError, JournalError, ToolError
from ..recall import Ask, Attempt, Call, Change, Ending, EndStatus, Recalled
from ..runtime import Runtime
from ..state import OverlayState, Undo
from ..types import AgentOutcome, AgentOutput, TokenAccounting
from .door import Start
from .paying import released

if TYPE_CHECKING:
    from .turns import Turn

__all__ = ["RememberedStart"]


class RememberedStart(Start):
    """One agent that is asked for in a run with a journal."""

    __slots__ = ("call", "cancelled_after", "known", "noted", "turn")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.call = Call(
            roles=self.roles,
            path=self.whose.path,
            spec=self.spec,
            task=self.task,
            parent=self.whose.parent,
            slots=int(self.gated),
        )
        self.known = _UNKNOWN
        self.noted: Undo | None = None
        self.cancelled_after: TokenAccounting | None = None
        self.turn: Turn | None = None  # if it runs for the last time

    async def output(self) -> AgentOutput:
        try:
            if (remembered := await self._remembered()) is not None:
                return remembered
            lease = self._try_lease() or await self._wait_for_lease()
            await self._about_to_run(lease, 1)
        except BudgetError as denial:
            return self._skipped(denial)
        except BaseException as error:
            if self.cancelled_after is None:
                self._never_started(error)
            raise
        else:
            return await self._recorded(lease)
        finally:
            if self.turn is not None:
                self.turn.end()

    # What is known of it

    async def _remembered(self) -> AgentOutput | None:
        """What came of it in an earlier process, if it need not or must not run again."""
        shared = self.shared
        self.known = known = await shared.recall.recall(self.call, settled=self.place.settled)
        if known.spent is not None:  # the run's own purse has booked all that was spent when it was opened
            self.purse.record_past(known.spent, 0, outside=shared.purse)
        if known.output is not None:
            return await self._replayed(known.output)
        if known.refusal is not None or self.place.settled:
            return self._refused(known.refusal or "it is not on record, and who asked for it does not run again")
        self.whose = replace(self.whose, key=known.key)
        # Before the lease, so that nobody waits here for whom others wait; inside an agent, its turn is theirs.
        if known.alone and self.place.parent is None:
            self.turn = await shared.last_chances.take()
        return None

    async def _replayed(self, output: AgentOutput) -> AgentOutput:
        known = self.known
        output = replace(output, name=self.spec.name)
        self.purse.record_past(output.tokens, self.call.slots, outside=self.shared.purse)
        if self.limited and output.tokens is not None:
            self._learn(output.tokens)
        self._restore(known)
        if known.asks:
            await self._ask_again(known.asks)
        self._log(events.AgentReplayed, tokens=output.tokens)
        return self.place.record.keep(output)

    def _restore(self, known: Recalled) -> None:
        restoring, name = self.shared.restoring, self.spec.name
        if self.isolation is not None and self.isolation.overlays:
            changes = restoring.lacking(known)
            self.isolation.recalled(name, changes, lambda transitions: restoring.merged(known, transitions))
        elif not self.place.settled:  # else they are among the changes of who asked for it
            restoring.apply(name, known)

    async def _ask_again(self, asks: Sequence[Ask]) -> None:
        """Go through what it asked of others once more, so that all of them are told of in this run too."""
        runtime = Runtime(self.shared.team, None, self.whose, recalled=True)
        self._register_tools(runtime)
        for ask in asks:
            if (tool := runtime.tools.get(ask.tool)) is not None:
                with suppress(ToolError, ValueError):
                    await tool.prepare(ask.arguments)()

    def _refused(self, reason: str) -> AgentOutput:
        self._log(events.AgentSkipped, reason=f"never started: {reason}")
        output = AgentOutput(name=self.spec.name, error=reason, outcome=AgentOutcome.failure(reason))
        return self.place.record.keep(output)

    # What is put on record

    async def _about_to_run(self, lease: Lease, attempt: int) -> None:
        # The budget was not asked about who is not gated, and holds nothing: lost, it would have cost nothing.
        hold = lease.hold if self.gated else self._estimate() or _NOTHING
        at_stake = partial(getattr, lease, "at_stake")
        begun = Attempt(number=attempt, hold=hold, earlier=self.earlier, at_stake=at_stake)
        try:
            await self.shared.recall.started(self.call, self.known, begun)
        except BaseException as error:
            await released(lease)
            if attempt == 1 and isinstance(error, anyio.get_cancelled_exc_class()):
                self._log(events.AgentStarted, held=lease.hold)
                self._log(events.AgentCancelled, duration_ms=0.0, tokens=_NOTHING)
                await self._record_cancelled(_NOTHING)
            raise

    async def _recorded(self, lease: Lease) -> AgentOutput:
        """The attempts, with what comes of them on record."""
        with self.shared.infra.state.undoable() as self.noted:
            try:
                output = await self._attempts(lease)
            except BaseException:
                if self.cancelled_after is not None:
                    await self._record_cancelled(self.cancelled_after)
                raise
        return await self._end(output)

    def _cancelled(self, spent: TokenAccounting, began: float) -> None:
        super()._cancelled(spent, began)
        self.cancelled_after = spent + self.earlier

    async def _record_cancelled(self, spent: TokenAccounting) -> None:
        self.cancelled_after = spent
        gone = AgentOutput(name=self.spec.name, tokens=spent)
        with anyio.CancelScope(shield=True), suppress(JournalError):  # not on record, it counts as lost
            await self.shared.recall.ended(self.call, self.known, self._ending("cancelled", gone))

    async def _end(self, output: AgentOutput) -> AgentOutput:
        """Paid for is paid for: whatever keeps the journal from being written, the output is not lost here."""
        ending = self._ending("completed" if output.error is None else "failed", output)
        try:
            await self.shared.recall.ended(self.call, self.known, ending)
        finally:
            self._ended(output)
        return output

    def _ending(self, status: EndStatus, output: AgentOutput) -> Ending:
        acts, store = self.acts, self.shared.infra.state
        changed = {} if self.noted is None else self.noted.changed()
        if acts is not None and isinstance(acts.state, OverlayState):
            store, changed = acts.state, acts.state.changed()
        changes = [
            Change(key=key, value=last.new_value, deleted=last.deleted, version=last.version)
            for key, last in changed.items()
        ]
        asks = () if acts is None else acts.asks
        return Ending(status=status, output=output, changes=changes, origin=store.id, asks=asks)


_NOTHING = TokenAccounting()
_UNKNOWN = Recalled()
