"""The one door: every agent of every pattern starts, is paid for and ends in ``Start.output``.

In order: a lease from the budget → *started* in the log → the agent's runtime → its runner, under its timeout →
settle → *finished* in the log. Nothing else calls a runner. Where agents are remembered, the journal is asked before
the lease, and told before the runner is called and before anybody sees the output (``remembered``).

What is an agent's own failure comes back as its output: an exception, a timeout, a refusal by the budget, a
runner that cancels itself. What ends the run goes through: a cancellation, after the agent is settled and
logged, and a journal that can't be written. No task, lease or place in the line is left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
from msgspec.structs import replace

from .. import events
from ..budget import Lease, budget_skipped_output
from ..errors import BudgetError, BudgetExhausted, JournalError, worded
from ..isolation import Isolation
from ..runtime import Identity, Runtime
from ..tools import Tool
from ..types import AgentOutcome, AgentOutput, AgentSpec, TokenAccounting
from .accepting import accepted, is_own_failure, storable
from .paying import settled, ungated_lease, wait_for_lease

if TYPE_CHECKING:
    from .run import Run

__all__ = ["Start", "ToolsOfOneStart"]

ToolsOfOneStart = Iterable[Tool | Callable[..., Any]] | Callable[[Runtime], Iterable[Tool | Callable[..., Any]]]

_WARN_AT = 0.8


class Start:
    """One agent that is asked for, from asking to its end; its retries are further starts of the same."""

    __slots__ = (
        "acts",
        "earlier",
        "gated",
        "isolation",
        "limited",
        "place",
        "purse",
        "roles",
        "shared",
        "spec",
        "task",
        "tools",
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
        self.acts: Runtime | None = None  # the last attempt's

    async def output(self) -> AgentOutput:
        """What came of it; it is kept in its place's record too, for an error on the way out to carry."""
        try:
            # Admitted at once, as a rule; only who has to wait pays for waiting.
            lease = self._try_lease() or await self._wait_for_lease()
        except BudgetError as denial:
            return self._skipped(denial)
        except BaseException as error:
            self._never_started(error)
            raise
        return self._ended(await self._attempts(lease))

    # What is more to it where agents are remembered

    async def _about_to_run(self, lease: Lease, attempt: int) -> None:
        """Before a runner is called again."""

    async def _end(self, output: AgentOutput) -> AgentOutput:
        """Its end, on the way out of something else."""
        return self._ended(output)

    # Before it starts

    def _try_lease(self) -> Lease | None:
        """A lease, or ``None`` when only the holds of agents in flight stand in the way, or it is had in another way.

        :raises BudgetError: when the budget refuses.
        """
        if not self.gated or self.purse.is_shared:
            return None
        try:
            return self.purse.try_begin_agent(self._estimate(), depth=self.place.depth)
        except BudgetExhausted as denial:
            if not denial.held_back:
                raise
            return None

    async def _wait_for_lease(self) -> Lease:
        if not self.gated:
            return await ungated_lease(self.purse)
        return await wait_for_lease(self.purse, self._estimate(), self.place.depth, self.place.ancestors)

    def _estimate(self) -> TokenAccounting | None:
        if self.spec.estimate is None and self.limited:
            return self.shared.largest.get(self.roles)
        return self.spec.estimate

    def _never_started(self, error: BaseException) -> None:
        self._log(events.AgentSkipped, reason=f"never started: {type(error).__name__}")

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
        except GeneratorExit:
            # Thrown away, by the collector maybe, in the middle of somebody's step: nothing can be waited for.
            self._cancelled(lease.at_stake, began)
            lease.purse.book.drop(lease)
            raise
        except BaseException as error:
            if is_own_failure(error):
                output = self._failed(error, began)
            elif isinstance(error, anyio.get_cancelled_exc_class()) and task.cancelling() <= cancels:
                output = self._failed(RuntimeError("the runner cancelled itself"), began)
            else:
                self._cancelled(await self._spent(lease, None), began)
                raise
        output = self._settled(output, await self._spent(lease, output.tokens))
        if task.cancelling() > cancels:
            await self._swallowed(output)
        return output

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
            except BaseException as error:
                if not is_own_failure(error):
                    raise
                output = self._failed(error, began)
            with anyio.CancelScope(shield=True):  # looked at also when the runner has swallowed a cancellation
                output = await prepared.finish(output)
        return output

    def _failed(self, error: BaseException, began: float) -> AgentOutput:
        if isinstance(error, SystemExit):
            error = RuntimeError(f"the runner wanted to end the program: exit({error.code!r})")
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
        duration_ms = (self.shared.clock.monotonic() - began) * 1e3
        self._log(events.AgentCancelled, duration_ms=duration_ms, tokens=spent + self.earlier)

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
        await self._end(output)
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
                await self._about_to_run(lease, attempt + 1)
            except BudgetError as denial:
                self.place.record.deny(self.roles, denial)
                break
            except BaseException:
                with anyio.CancelScope(shield=True), suppress(JournalError):
                    await self._end(output)  # with what it came to before
                raise
            attempt += 1
            self._log(events.AgentRetrying, attempt=attempt, error=output.error)
            before, output = output, await self._attempt(lease, attempt)
            tokens = output.tokens if before.tokens is None else before.tokens + (output.tokens or _NOTHING)
            output = replace(output, tokens=tokens, duration_ms=before.duration_ms + output.duration_ms)
        return output

    # After it ended

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
