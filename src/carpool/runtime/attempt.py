"""One action: checked, asked about, executed as often as it may be, committed."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from msgspec.structs import replace

from .. import events
from ..actions import Action, ActionResult, ActionStatus, ActionType, FailureBehavior, Precondition
from ..errors import ToolError, worded
from ..json_values import json_copy
from ..policy import digest_of
from ..tools import Prepared, Tool

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["Attempt", "log_digest"]

DEEPEST = 16
"""Tool calls within tool calls; a tool that calls itself through its runtime ends there."""

_FIRST_PAUSE_S = 0.1  # doubles with every further attempt
_MOST_DOUBLINGS = 20  # more than a day: beyond that a pause stays as it is, before it is no number any more
_depth: ContextVar[int] = ContextVar("carpool_tool_depth", default=0)


class Rejected(Exception):
    """The action may not run; the text is for the agent, ``logged`` for the log, which gets no parameters;
    ``denied`` are the reasons of policies, tiers and approvers."""

    def __init__(self, text: str, logged: str | None = None, denied: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.logged = logged or text
        self.denied = list(denied)


class Attempt:
    """One action of one proposal. ``output`` is the raw output; results carry it without secrets."""

    def __init__(self, runtime: Runtime, proposal_id: str, action: Action) -> None:
        self._runtime = runtime
        self._proposal_id = proposal_id
        self._action = action
        self._digest = ""
        self._redacted = runtime.team.redactor.text  # who proposes chooses ids, names and keys, and the log keeps them
        self._id = self._redacted(action.id)
        self._tool_name = None if action.tool is None else self._redacted(action.tool)
        self._began = runtime.clock.monotonic()
        self.output: Any = None
        self.error: BaseException | None = None
        self.denied: list[str] = []
        self.calls = 0
        self.retries = 0

    async def result(self, parameters: dict[str, Any]) -> ActionResult:
        """What comes of the action with these parameters. Raises nothing but a cancellation.

        They must be nobody else's: what is checked and asked about is what runs, however long that takes.
        """
        action = self._action
        if parameters is not action.parameters:
            action = self._action = replace(action, parameters=parameters)
        try:
            call = self._validated(action)
            await self._permitted(action)
        except Rejected as refusal:
            self.denied = refusal.denied
            return self.rejected(str(refusal), refusal.logged)
        self._log(events.ActionValidated)
        remembered = self._remembered(action)
        if remembered is not None:
            return remembered
        return await self._executed(action, call)

    def rejected(self, reason: str, logged: str | None = None) -> ActionResult:
        self._log(events.ActionRejected, reason=self._redacted(logged or reason))
        return self._made(ActionStatus.REJECTED, error=reason)

    def forget(self) -> None:
        """Its proposal was rolled back: what it wrote is gone, so that it is not done any more."""
        if self._action.writes and self._digest:
            self._runtime.memory.forget_done(self._digest)

    # May it run?

    def _validated(self, action: Action) -> Prepared | None:
        state = self._runtime.state
        for condition in action.preconditions:
            if not condition.holds(state.exists(condition.key), state.get(condition.key)):
                raise Rejected(f"precondition not met: {condition.description or _worded(condition)}")
        if action.type == ActionType.TOOL_CALL:
            return self._prepared(action)
        key = action.parameters.get("key")
        if not isinstance(key, str) or not key:
            raise Rejected(f"a {action.type} needs parameters.key, a string")
        if action.type == ActionType.STATE_WRITE and "value" not in action.parameters:
            raise Rejected("a state_write needs parameters.value")
        return None

    def _prepared(self, action: Action) -> Prepared:
        tool = self._tool(action)
        if _depth.get() >= DEEPEST:
            raise Rejected(f"tool calls are nested {DEEPEST} deep; a tool that calls itself must come to an end")
        try:
            return tool.prepare_in(action.parameters, self._runtime.workspace)
        except ValueError as error:
            raise Rejected(str(error), "arguments don't fit the schema") from None

    def _tool(self, action: Action) -> Tool:
        tools = self._runtime.tools
        tool = tools.get(action.tool or "")
        if tool is None:
            known = ", ".join(sorted(tools)) or "none"
            raise Rejected(f"agent {self._runtime.agent!r} has no tool {action.tool!r}; it has: {known}")
        return tool

    async def _permitted(self, action: Action) -> None:
        team = self._runtime.team
        violations = team.policies.check(action, team.state)
        for violation in violations:
            self._log(events.PolicyViolated, policy=violation.policy, reason=self._redacted(violation.reason))
        if violations:
            reasons = [f"{each.policy}: {each.reason}" for each in violations]
            raise Rejected("; ".join(reasons), denied=reasons)
        if action.type == ActionType.TOOL_CALL:
            await self._runtime.ask_for_tier(action, self._tool(action).schema)

    # Running it

    def _remembered(self, action: Action) -> ActionResult | None:
        """What an idempotent action, or a tool whose outputs keep, has given before."""
        tool = self._runtime.tools.get(action.tool or "")
        ttl = tool.schema.cache_ttl_secs if tool is not None else None
        if not (action.idempotent or ttl):
            return None
        try:
            what: dict[str, Any] = {"type": str(action.type), "tool": action.tool, "effects": action.expected_effects}
            self._digest = digest_of({**what, "parameters": action.parameters})
        except ValueError:
            return None  # not JSON: can't be told from all other arguments
        memory = self._runtime.memory
        done = memory.done(self._digest) if action.idempotent else None
        cached = memory.output(self._digest) if ttl else None
        if done is None and cached is None:
            return None
        self._log(events.ActionDeduplicated)
        if done is not None:
            self.output = done.output
            return self._made(ActionStatus.SUCCEEDED, output=self.output, state_changes=done.state_changes)
        self.output = cached[0] if cached else None
        effects = action.expected_effects  # the output is old, the effects are this action's own
        return self._unwritten(effects) or self._made(ActionStatus.SUCCEEDED, output=self.output, state_changes=effects)

    async def _executed(self, action: Action, call: Prepared | None) -> ActionResult:
        attempts = 1 + (max(0, action.max_retries) if action.failure_behavior == FailureBehavior.RETRY else 0)
        digest = log_digest(action.parameters)
        for attempt in range(1, attempts + 1):
            self._log(events.ActionExecuting, parameters_digest=digest, attempt=attempt)
            try:
                self.output = await self._performed(action, call)
            except BaseException as error:
                self.error = error
                if isinstance(error, anyio.get_cancelled_exc_class()) and not _is_cancelled():
                    self.error = RuntimeError("the tool cancelled itself")
                elif not isinstance(error, Exception):
                    self._log(events.ActionFailed, duration_ms=self._elapsed_ms(), error=type(error).__name__)
                    raise
                if attempt < attempts:
                    self.retries += 1
                    self._log(events.ActionRetrying, attempt=attempt + 1, error=type(self.error).__name__)
                    await anyio.sleep(_FIRST_PAUSE_S * 2 ** min(attempt - 1, _MOST_DOUBLINGS))
            else:
                return self._committed(action)
        self._log(events.ActionFailed, duration_ms=self._elapsed_ms(), error=type(self.error).__name__)
        return self._made(ActionStatus.FAILED, error=worded(self.error or ToolError(action.tool or "", "failed")))

    async def _performed(self, action: Action, call: Prepared | None) -> Any:
        if call is None:
            return self._on_state(action)
        tool = self._tool(action)
        if tool.schema.rate_limit is not None:
            await self._runtime.memory.wait_for_turn(tool.schema.name, tool.schema.rate_limit)
        self.calls += 1
        depth = _depth.set(_depth.get() + 1)
        try:
            if action.timeout_ms is None:
                output = await call()
            else:
                output = await _within(action.timeout_ms, call)
        finally:
            _depth.reset(depth)
        if tool.check_output is not None and (problems := tool.check_output(output)):
            raise ValueError(f"the output does not fit the schema: {problems}")
        return output

    def _on_state(self, action: Action) -> Any:
        state, key = self._runtime.state, action.parameters["key"]
        if action.type == ActionType.STATE_READ:
            return state.get(key)
        if action.type == ActionType.ASSERTION:
            operator, value = action.parameters.get("operator", "eq"), action.parameters.get("value")
            wanted = Precondition(key=key, operator=operator, value=value)
            if not wanted.holds(state.exists(key), state.get(key)):
                raise AssertionError(f"assertion does not hold: {_worded(wanted)}")
            return True
        return None  # a write is a commit

    def _committed(self, action: Action) -> ActionResult:
        changes = dict(action.expected_effects)
        if action.type == ActionType.STATE_WRITE:
            changes[action.parameters["key"]] = action.parameters["value"]
        if (failure := self._unwritten(changes)) is not None:
            return failure
        self._log(events.ActionSucceeded, duration_ms=self._elapsed_ms())
        result = self._made(ActionStatus.SUCCEEDED, output=self.output, state_changes=changes)
        self._keep(action, result)
        return result

    def _unwritten(self, changes: dict[str, Any]) -> ActionResult | None:
        """Write ``changes`` to the state, all of them or, when one is not JSON, none: then the failure."""
        try:
            changes = json_copy(changes, "state") if changes else changes
        except ValueError as error:
            self._log(events.ActionFailed, duration_ms=self._elapsed_ms(), error=type(error).__name__)
            return self._made(ActionStatus.FAILED, error=worded(error))
        for key, value in changes.items():
            transition = self._runtime.state.set(key, value, actor=self._runtime.agent or "runtime")
            self._log(events.StateChanged, key=self._redacted(key), version=transition.version)
        return None

    def _keep(self, action: Action, result: ActionResult) -> None:
        if not self._digest:
            return
        if action.idempotent:
            self._runtime.memory.keep_done(self._digest, replace(result, output=self.output))
        tool = self._runtime.tools.get(action.tool or "")
        if tool is not None and tool.schema.cache_ttl_secs:
            self._runtime.memory.keep_output(self._digest, self.output, tool.schema.cache_ttl_secs)

    # What came of it

    def _made(
        self,
        status: ActionStatus,
        *,
        output: Any = None,
        error: str | None = None,
        state_changes: dict[str, Any] | None = None,
    ) -> ActionResult:
        redactor = self._runtime.team.redactor
        return ActionResult(
            action_id=self._action.id,
            status=status,
            output=redactor.value(output),
            error=None if error is None else redactor.text(error),
            state_changes=redactor.value(state_changes or {}),
            duration_ms=self._elapsed_ms(),
            timestamp=self._runtime.clock.now(),
        )

    def _elapsed_ms(self) -> float:
        return (self._runtime.clock.monotonic() - self._began) * 1e3

    def _log(self, kind: Any, **fields: Any) -> None:
        self._runtime.log_action(kind, self._proposal_id, action=self._id, tool=self._tool_name, **fields)


async def _within(timeout_ms: float, call: Prepared) -> Any:
    with anyio.move_on_after(timeout_ms / 1e3):
        return await call()
    raise TimeoutError(f"no result within {timeout_ms:g} ms")


def log_digest(value: Any) -> str:
    """SHA-256 over the canonical JSON of ``value``; over its ``repr`` where it is no JSON."""
    from hashlib import sha256  # loads a shared library, and only who calls tools needs it

    try:
        text = msgspec.json.encode(value, order="deterministic")
    except (TypeError, ValueError, RecursionError):
        text = _printed(value).encode("utf-8", "replace")
    return sha256(text).hexdigest()


def _is_cancelled() -> bool:
    """Whether anybody asked this task to cancel. A tool can raise the exception by itself; then nobody did."""
    from asyncio import current_task  # here, because importing carpool must not load it

    task = current_task()
    return task is None or task.cancelling() > 0


def _printed(value: Any) -> str:
    try:
        return repr(value)
    except Exception:
        return f"a {type(value).__qualname__} that can't be printed"


def _worded(condition: Precondition) -> str:
    value = "" if condition.operator in ("exists", "not_exists") else " the value given"
    return f"state {condition.key!r} {condition.operator}{value}"
