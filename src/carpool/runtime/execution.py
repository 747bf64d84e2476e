"""One proposal from receipt to result: levels, validation, policy, execution, commit, and rollback on abort.

Promise: every action ends with one result, in the proposal's order, whatever its tool does; the log says how.
Denial: an action that a check, a policy, a tier or an approver refuses is rejected, never retried.
Failure: ``abort`` (the default) takes the state back to before the proposal, marks earlier successes rolled
back and skips the rest; ``retry`` tries again; ``skip`` goes on. What a tool did outside the state is not undone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio
from msgspec.structs import replace

from .. import events
from ..actions import (
    Action,
    ActionProposal,
    ActionResult,
    ActionStatus,
    CostSummary,
    FailureBehavior,
    ProposalResult,
    levels,
)
from ..state import StateStore, Undo
from ..turnstile import Turnstile
from .attempt import Attempt
from .memory import own_copy
from .substitution import substituted

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["Execution"]


class _Turn:
    """A proposal's turn on a store. A tool may propose in turn: such proposals take turns inside this one."""

    def __init__(self) -> None:
        self.inner = Turnstile()
        self.over = False


_turns: ContextVar[dict[int, _Turn] | None] = ContextVar("carpool_turns", default=None)
"""By store: the turn of this task, or of the one that it works for. Asking for the store's own lock would wait
for ever."""


class Execution:
    """The run of one proposal on one runtime."""

    def __init__(self, runtime: Runtime, proposal: ActionProposal) -> None:
        self._runtime = runtime
        self._proposal = proposal
        self._levels = levels(proposal.actions)
        self._results: dict[str, ActionResult] = {}
        self._attempts: dict[str, Attempt] = {}
        self._aborted_by: str | None = None

    async def run(self) -> ProposalResult:
        runtime, state = self._runtime, self._runtime.state
        runtime.log_action(events.ProposalReceived, self._proposal.id, actions=len(self._proposal.actions))
        began = runtime.clock.monotonic()
        async with AsyncExitStack() as stack:
            if self._is_large():
                await self._take_turn(stack, state)
                self._log(events.StateSnapshotTaken, keys=len(state.keys()))
            with state.undoable() as undo:
                await self._run_or_restore(undo)
        return self._result((runtime.clock.monotonic() - began) * 1e3)

    def _is_large(self) -> bool:
        """Whether others' proposals must wait for this one; for one call that declares no writes they need not."""
        return len(self._proposal.actions) > 1 or any(each.writes for each in self._proposal.actions)

    async def _take_turn(self, stack: AsyncExitStack, state: StateStore) -> None:
        turns = _turns.get() or {}
        outer = turns.get(id(state))
        inside = outer is not None and not outer.over  # a task may outlive the proposal that it was started in
        await stack.enter_async_context(outer.inner if outer is not None and inside else state.proposal_lock())
        turn = _Turn()
        stack.callback(setattr, turn, "over", True)
        stack.callback(_turns.reset, _turns.set({**turns, id(state): turn}))

    async def _run_or_restore(self, undo: Undo) -> None:
        try:
            await self._run_levels()
        except BaseException:
            self._restore(undo)
            raise
        if self._aborted_by is not None:
            self._restore(undo)

    def _restore(self, undo: Undo) -> None:
        keys = undo.take_back()
        if keys or self._is_large():
            self._log(events.StateRolledBack, keys=keys)
        for attempt in self._attempts.values():
            attempt.forget()
        for action_id, result in self._results.items():
            if result.status == ActionStatus.SUCCEEDED:
                self._results[action_id] = replace(result, rolled_back=True)

    # Level by level

    async def _run_levels(self) -> None:
        for level in self._levels:
            if len(level) > 1 and all(each.failure_behavior != FailureBehavior.ABORT for each in level):
                async with anyio.create_task_group() as group:
                    for action in level:
                        group.start_soon(self._run_action, action)
            else:
                for action in level:
                    await self._run_action(action)

    async def _run_action(self, action: Action) -> None:
        if self._aborted_by is not None:
            return self._skip(action, f"action {self._aborted_by} aborted the proposal")
        for needed in action.dependencies:
            if self._results[needed].status != ActionStatus.SUCCEEDED:
                return self._skip(action, f"action {needed}, which it depends on, did not succeed")
        attempt = self._attempts[action.id] = Attempt(self._runtime, self._proposal.id, action)
        try:
            parameters = own_copy(substituted(action.parameters, self._outputs(action)))
        except ValueError as error:
            result = attempt.rejected(str(error))
        except RecursionError:
            result = attempt.rejected("the parameters are nested too deep")
        else:
            result = await attempt.result(parameters)
        self._results[action.id] = result
        if result.status in (ActionStatus.FAILED, ActionStatus.REJECTED) and self._is_abort(action, result):
            self._aborted_by = action.id
        return None

    def _is_abort(self, action: Action, result: ActionResult) -> bool:
        # A rejection is final, so that "retry" has nothing to try again.
        if action.failure_behavior == FailureBehavior.RETRY:
            return result.status == ActionStatus.REJECTED
        return action.failure_behavior == FailureBehavior.ABORT

    def _outputs(self, action: Action) -> Callable[[str], Any]:
        def output_of(action_id: str) -> Any:
            attempt = self._attempts.get(action_id)
            if action_id not in action.dependencies or attempt is None:
                raise ValueError(f"${action_id}.output is used without {action_id!r} among the dependencies")
            return attempt.output

        return output_of

    def _skip(self, action: Action, reason: str) -> None:
        redact = self._runtime.team.redactor.text
        reason, tool = redact(reason), None if action.tool is None else redact(action.tool)
        self._runtime.log_action(
            events.ActionSkipped, self._proposal.id, action=redact(action.id), tool=tool, reason=reason
        )
        self._results[action.id] = ActionResult(
            action_id=action.id, status=ActionStatus.SKIPPED, error=reason, timestamp=self._runtime.clock.now()
        )

    def _log(self, kind: Callable[..., events.Event], **fields: Any) -> None:
        self._runtime.log_action(kind, self._proposal.id, **fields)

    def _result(self, duration_ms: float) -> ProposalResult:
        results = [self._results[action.id] for action in self._proposal.actions]
        statuses = [result.status for result in results]
        cost = CostSummary(
            tool_calls=sum(attempt.calls for attempt in self._attempts.values()),
            actions_executed=_count(statuses, ActionStatus.SUCCEEDED, ActionStatus.FAILED),
            actions_rejected=_count(statuses, ActionStatus.REJECTED),
            actions_skipped=_count(statuses, ActionStatus.SKIPPED),
            total_duration_ms=duration_ms,
            retries=sum(attempt.retries for attempt in self._attempts.values()),
        )
        return ProposalResult(proposal_id=self._proposal.id, results=results, cost=cost)


def _count(statuses: Sequence[ActionStatus], *wanted: ActionStatus) -> int:
    return sum(status in wanted for status in statuses)
