"""The one door: every agent of every pattern starts, is paid for and ends in ``Start.output``.

In order: recall from the journal → a lease from the budget → *started* in the log → the agent's runtime → its
runner, under its timeout → settle → the journal → *finished* in the log. Nothing else calls a runner.

What is an agent's own failure comes back as its output: an exception, a timeout, a refusal by the budget, a
runner that cancels itself. What ends the run goes through: a cancellation, after the agent is settled and
logged, and a journal that can't be written. No task, lease or place in the line is left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
from msgspec.structs import replace

from .. import events
from ..budget import Lease, budget_skipped_output
from ..errors import BudgetError, BudgetExhausted, JournalError, ToolError, worded
from ..isolation import Isolation
from ..recall import Ask, Call, Change, Ending, EndStatus, Recalled
from ..runtime import Identity, Runtime
from ..state import OverlayState, Undo
from ..tools import Tool
from ..types import AgentOutcome, AgentOutput, AgentSpec, TokenAccounting
from .accepting import accepted, storable
from .paying import settled, wait_for_lease
from .turns import Turn

if TYPE_CHECKING:
    from .run import Run

__all__ = ["Start", "ToolsOfOneStart"]

ToolsOfOneStart = Iterable[Tool | Callable[..., Any]] | Callable[[Runtime], Iterable[Tool | Callable[..., Any]]]

_WARN_AT = 0.8


class Start:
    """One agent that is asked for, from asking to its end; its retries are further starts of the same."""

    __slots__ = (
        "acts",
        "call",
        "cancelled_after",
        "earlier",
        "gated",
        "isolation",
        "known",
        "limited",
        "noted",
        "place",
        "purse",
        "roles",
        "shared",
        "spec",
        "task",
        "tools",
        "turn",
        "whose",
    )

    def __init__(
        self,
        place: Run,
        spec: AgentSpec,
        task: str,
        tools: ToolsOfOneStart,
        gated: bool,
        isolation: Isolation | None,
    ) -> None:
        name, shared = spec.name, place.shared
        self.place = place
        self.shared = shared
        self.spec = spec
        self.task = task
        self.tools = tools
        self.gated = gated
        self.isolation = isolation
        shared.mailbox.admit(name)
        self.whose = Identity(shared.run_id, name, f"{place.path}/{name}", place.parent)
        self.roles = f"{place.roles}/{spec.role or name}"
        self.purse = purse = place.purse if spec.budget is None else place.purse.child(spec.budget)
        self.limited = purse.has_spend_limit
        self.earlier = _NOTHING  # what attempts before the present one have spent
        # Where agents are remembered:
        self.call: Call | None = None
        self.known = _UNKNOWN
        self.acts: Runtime | None = None  # the last attempt's
        self.noted: Undo | None = None
        self.cancelled_after: TokenAccounting | None = None
        self.turn: Turn | None = None  # if it runs for the last time

    async def output(self) -> AgentOutput:
        """What came of it; it is kept in its place's record too, for an error on the way out to carry."""
        try:
            if self.shared.remembers and (remembered := await self._remembered()) is not None:
                return remembered
            # Admitted at once, as a rule; only who has to wait pays for waiting.
            lease = self._try_lease() or await self._wait_for_lease()
            if self.call is not None:
                await self._record_start(self.call, lease, 1)
        except BudgetError as denial:
            return self._skipped(denial)
        except BaseException as error:
            if self.cancelled_after is None:
                self._log(events.AgentSkipped, reason=f"never started: {type(error).__name__}")
            raise
        else:
            if self.call is None:
                return self._ended(await self._attempts(lease))
            return await self._recorded(self.call, lease)
        finally:
            if self.turn is not None:
                self.turn.end()

    # Before it starts

    async def _remembered(self) -> AgentOutput | None:
        """What came of it in an earlier process, if it need not or must not run again."""
        whose, shared = self.whose, self.shared
        self.call = call = Call(
            roles=self.roles,
            path=whose.path,
            spec=self.spec,
            task=self.task,
            parent=whose.parent,
            slots=int(self.gated),
        )
        self.known = known = await shared.recall.recall(call, settled=self.place.settled)
        if known.spent is not None:  # the run's own purse has booked all that was spent when it was opened
            self.purse.record_past(known.spent, 0, outside=shared.purse)
        if known.output is not None:
            return await self._replayed(call, known.output)
        if known.refusal is not None or self.place.settled:
            return self._refused(known.refusal or "it is not on record, and who asked for it does not run again")
        self.whose = replace(whose, key=known.key)
        # Before the lease, so that nobody waits here for whom others wait; inside an agent, its turn is theirs.
        if known.alone and self.place.parent is None:
            self.turn = await shared.last_chances.take()
        return None

    async def _replayed(self, call: Call, output: AgentOutput) -> AgentOutput:
        known, shared = self.known, self.shared
        output = replace(output, name=self.spec.name)
        self.purse.record_past(output.tokens, call.slots, outside=shared.purse)
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

    def _try_lease(self) -> Lease | None:
        """A lease, or ``None`` when only the holds of agents in flight stand in the way, or asking takes waiting.

        :raises BudgetError: when the budget refuses.
        """
        if not self.gated:
            return self.purse.begin_ungated()
        if self.purse.is_shared:
            return None
        try:
            return self.purse.try_begin_agent(self._estimate(), depth=self.place.depth)
        except BudgetExhausted as denial:
            if not denial.held_back:
                raise
            return None

    async def _wait_for_lease(self) -> Lease:
        return await wait_for_lease(self.purse, self._estimate(), self.place.depth, self.place.ancestors)

    def _estimate(self) -> TokenAccounting | None:
        if self.spec.estimate is None and self.limited:
            return self.shared.largest.get(self.roles)
        return self.spec.estimate

    def _skipped(self, denial: BudgetError) -> AgentOutput:
        self.place.record.deny(self.roles, denial)
        if not self.shared.said_exhausted:
            self.shared.said_exhausted = True
            self.shared.log.append(
                events.BudgetExhausted(run=self.shared.run_id, reason=str(denial), snapshot=denial.snapshot)
            )
        self._log(events.AgentSkipped, reason=str(denial))
        return self.place.record.keep(budget_skipped_output(self.spec.name, denial))

    # While it runs

    async def _attempts(self, lease: Lease) -> AgentOutput:
        output = await self._attempt(lease, 1)
        return await self._retries(output) if self.spec.retries and output.error is not None else output

    async def _attempt(self, lease: Lease, attempt: int) -> AgentOutput:
        """One start: what came of it, with what it spent as its tokens. Settles the lease in any case."""
        shared, spec, whose = self.shared, self.spec, self.whose
        shared.log.add(
            events.AgentStarted(
                run=whose.run,
                agent=whose.agent,
                path=whose.path,
                parent=whose.parent,
                timestamp=shared.clock.now(),
                attempt=attempt,
                held=lease.hold,
            )
        )
        task, began = shared.this_task(), shared.clock.monotonic()
        cancels = task.cancelling()
        try:
            if self.isolation is not None:
                output = await self._apart(self.isolation, lease, began)
            else:
                self.acts = runtime = Runtime(shared.team, self._granted() if spec.tools else None, whose, lease)
                if self.tools:
                    self._register_tools(runtime)
                if spec.timeout_s is None:
                    returned = await shared.call_runner(spec, self.task, runtime, shared.mailbox)
                else:
                    returned = await self._within(spec.timeout_s, spec, runtime)
                output = accepted(spec.name, returned, (shared.clock.monotonic() - began) * 1e3)
        except Exception as error:
            output = self._failed(error, began)
        except BaseException as stop:
            if not isinstance(stop, anyio.get_cancelled_exc_class()):
                self._cancelled(lease.settle(), began)  # a coroutine that is thrown away can't wait any more
                raise
            if task.cancelling() > cancels:
                self._cancelled(await self._spent(lease, None), began)
                raise
            output = self._failed(RuntimeError("the runner cancelled itself"), began)
        output = self._settled(output, await self._spent(lease, output.tokens))
        if task.cancelling() > cancels:
            await self._swallowed(output)
        return output

    async def _record_start(self, call: Call, lease: Lease, attempt: int) -> None:
        # The budget was not asked about who is not gated, and holds nothing: lost, it would have cost nothing.
        hold = lease.hold if self.gated else self._estimate() or _NOTHING
        try:
            await self.shared.recall.started(call, self.known, attempt, hold, self.earlier)
        except BaseException as error:
            lease.release()
            if attempt == 1 and isinstance(error, anyio.get_cancelled_exc_class()):
                # That it starts is on record; that it did not is to be so too, or it would count as lost, at its hold.
                self._log(events.AgentStarted, held=lease.hold)
                self._log(events.AgentCancelled, duration_ms=0.0, tokens=_NOTHING)
                await self._record_cancelled(call, _NOTHING)
            raise

    def _granted(self) -> dict[str, Tool]:
        offered = self.shared.infra.tools
        return {name: offered[name] for name in self.spec.tools if name in offered}

    def _register_tools(self, runtime: Runtime) -> None:
        for tool in self.tools(runtime) if callable(self.tools) else self.tools:
            runtime.register_tool(tool)

    async def _within(self, timeout_s: float | None, spec: AgentSpec, runtime: Runtime) -> object:
        with anyio.move_on_after(timeout_s):
            return await self.shared.call_runner(spec, self.task, runtime, self.shared.mailbox)
        raise _TimedOut(f"timed out after {timeout_s or 0:g} s (timeout_s)")

    async def _apart(self, isolation: Isolation, lease: Lease, began: float) -> AgentOutput:
        """The same with surroundings of its own, which are gone when this returns, and have said what came of
        them.

        :raises WorkspaceError: when there is no folder to be had.
        """
        shared, infra = self.shared, self.shared.infra
        async with isolation.around(self.spec, shared.run_id) as prepared:
            state = infra.state if prepared.state is None else prepared.state
            log = infra.log if prepared.log is None else prepared.log  # an empty log is false
            team = infra.team(state=state, log=log, mailbox=shared.mailbox, approvals=shared.approvals)
            self.acts = runtime = Runtime(team, self._granted(), self.whose, lease, prepared.workspace)
            try:
                self._register_tools(runtime)
                returned = await self._within(self.spec.timeout_s, prepared.spec, runtime)
                output = accepted(self.spec.name, returned, (shared.clock.monotonic() - began) * 1e3)
            except Exception as error:
                output = self._failed(error, began)
            with anyio.CancelScope(shield=True):  # looked at also when the runner has swallowed a cancellation
                output = await prepared.finish(output)
        return output

    def _failed(self, error: Exception, began: float) -> AgentOutput:
        text = str(error) if isinstance(error, _TimedOut) else worded(error)
        text = self.shared.infra.redactor.text(storable(text))
        outcome = AgentOutcome.failure(text)
        if isinstance(error, _TimedOut):
            outcome = AgentOutcome.timeout(text, 0, self.spec.max_turns)
        if isinstance(error, BudgetError):
            self.place.record.deny(self.roles, error)
        duration_ms = (self.shared.clock.monotonic() - began) * 1e3
        return AgentOutput(name=self.spec.name, error=text, outcome=outcome, duration_ms=duration_ms)

    async def _spent(self, lease: Lease, reported: TokenAccounting | None) -> TokenAccounting:
        return await settled(lease, reported) if self.purse.is_shared else lease.settle(reported)

    def _cancelled(self, spent: TokenAccounting, began: float) -> None:
        self.cancelled_after = spent = spent + self.earlier
        duration_ms = (self.shared.clock.monotonic() - began) * 1e3
        self._log(events.AgentCancelled, duration_ms=duration_ms, tokens=spent)

    def _settled(self, output: AgentOutput, spent: TokenAccounting) -> AgentOutput:
        """What is booked is what it cost; only an agent that told nothing and cost nothing has no report."""
        reported = output.tokens
        if self.limited:
            self._learn(spent)
        if reported is spent or reported == spent or (reported is None and spent == _NOTHING):
            return output
        return replace(output, tokens=spent)

    async def _swallowed(self, output: AgentOutput) -> NoReturn:
        """The runner was cancelled from outside and returned all the same: what it returned is kept, and the
        cancellation goes on from here."""
        if self.earlier is not _NOTHING:
            output = replace(output, tokens=self.earlier + (output.tokens or _NOTHING))
        if self.call is None:
            self._ended(output)
        else:
            await self._record_end(self.call, output)
        from anyio.lowlevel import checkpoint  # loaded when something runs, not with carpool

        await checkpoint()  # a cancelled scope raises here, in a way that it knows as its own
        raise anyio.get_cancelled_exc_class()("cancelled while an agent's runner swallowed it")

    async def _retries(self, output: AgentOutput) -> AgentOutput:
        """Start again after a failure, as often as the spec allows and the budget admits."""
        attempt = 1
        while output.error is not None and attempt <= self.spec.retries:
            try:
                lease = self._try_lease() or await self._wait_for_lease()
                self.earlier = output.tokens or _NOTHING
                if self.call is not None:
                    await self._record_start(self.call, lease, attempt + 1)
            except BudgetError as denial:
                self.place.record.deny(self.roles, denial)
                break
            except BaseException:
                if self.call is None:
                    self._ended(output)  # with what it came to before
                else:
                    with anyio.CancelScope(shield=True), suppress(JournalError):
                        await self._record_end(self.call, output)
                raise
            attempt += 1
            self._log(events.AgentRetrying, attempt=attempt, error=output.error)
            before, output = output, await self._attempt(lease, attempt)
            tokens = output.tokens if before.tokens is None else before.tokens + (output.tokens or _NOTHING)
            output = replace(output, tokens=tokens, duration_ms=before.duration_ms + output.duration_ms)
        return output

    # After it ended

    async def _recorded(self, call: Call, lease: Lease) -> AgentOutput:
        """The attempts, with what comes of them on record."""
        with self.shared.infra.state.undoable() as self.noted:
            try:
                output = await self._attempts(lease)
            except BaseException:
                if self.cancelled_after is not None:
                    await self._record_cancelled(call, self.cancelled_after)
                raise
        return await self._record_end(call, output)

    async def _record_cancelled(self, call: Call, spent: TokenAccounting) -> None:
        self.cancelled_after = spent
        gone = AgentOutput(name=self.spec.name, tokens=spent)
        with anyio.CancelScope(shield=True), suppress(JournalError):  # not on record, it counts as lost
            await self.shared.recall.ended(call, self.known, self._ending("cancelled", gone))

    async def _record_end(self, call: Call, output: AgentOutput) -> AgentOutput:
        """Paid for is paid for: whatever keeps the journal from being written, the output is not lost here."""
        ending = self._ending("completed" if output.error is None else "failed", output)
        try:
            await self.shared.recall.ended(call, self.known, ending)
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

    def _ended(self, output: AgentOutput) -> AgentOutput:
        whose = self.whose
        if output.error is not None:
            self._log(events.AgentFailed, duration_ms=output.duration_ms, error=output.error, tokens=output.tokens)
            return self.place.record.keep(output)
        self.shared.log.add(
            events.AgentFinished(
                run=whose.run,
                agent=whose.agent,
                path=whose.path,
                parent=whose.parent,
                timestamp=self.shared.clock.now(),
                duration_ms=output.duration_ms,
                turns=output.turns,
                tool_calls=output.tool_calls,
                answer_chars=len(output.answer),
                tokens=output.tokens,
            )
        )
        return self.place.record.keep(output)

    def _learn(self, spent: TokenAccounting) -> None:
        """Remember the largest spend of this role, and warn once when a limit comes near."""
        largest = self.shared.largest
        before = largest.get(self.roles)
        if before is None or spent != before:
            largest[self.roles] = spent if before is None else before.largest(spent)
        if self.purse.is_near_limits(_WARN_AT):
            self._warn()

    def _warn(self) -> None:
        for dimension, used, limit in self.purse.near_limits(_WARN_AT):
            if dimension not in self.shared.warned:
                self.shared.warned.add(dimension)
                self.shared.log.append(
                    events.BudgetWarning(run=self.shared.run_id, dimension=dimension, spent=used, limit=limit)
                )

    def _log(self, kind: Callable[..., events.AgentEvent], **fields: Any) -> None:
        whose = self.whose
        self.shared.log.append(kind(run=whose.run, agent=whose.agent, path=whose.path, parent=whose.parent, **fields))


class _TimedOut(Exception):
    pass


_NOTHING = TokenAccounting()
_UNKNOWN = Recalled()
