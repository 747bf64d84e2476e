"""Actions folded into spans: a call of a tool is one, what else becomes of an action is an event of its agent's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Tracer

from .. import events
from .measures import Measures
from .places import Place
from .values import Attributes, Failure, failure, text

__all__ = ["ActionFold"]

Key = tuple[str, str]
_Open = dict[Key, list[Place]]


class ActionFold:
    """A tool that runs is a span, its attempts are events of that. An action that was refused, skipped or remembered
    never ran and is none; nor is one on the state, which takes no time."""

    def __init__(self, tracer: Tracer, measures: Measures | None) -> None:
        self._tracer = tracer
        self._measures = measures
        self._outside: _Open = {}  # calls of runtimes that belong to no run
        self._tellers: dict[type[events.Event], Callable[[Any, int, Place | None], None]] = {
            events.ActionExecuting: self._executing,
            events.ActionSucceeded: self._succeeded,
            events.ActionFailed: self._failed,
            events.ActionRetrying: self._retrying,
            events.ActionRejected: self._rejected,
            events.ActionSkipped: self._skipped,
            events.ActionDeduplicated: self._deduplicated,
            events.PolicyViolated: self._violated,
            events.StateChanged: self._changed,
            events.StateRolledBack: self._rolled_back,
        }

    def tell(self, event: events.ActionEvent, at: int, agent: Place | None) -> None:
        """``agent`` is the place of the agent whose action it is; there is none outside of a run."""
        if agent is not None:
            agent.reaches(at)
        teller = self._tellers.get(type(event))
        if teller is not None:
            teller(event, at, agent)

    def end_all(self, agent: Place, at: int, why: str) -> None:
        """End the calls of an agent that have no end of their own."""
        self._end_open(agent.tools, at, why)

    def close(self, at: int, why: str) -> None:
        """The same for calls outside of a run."""
        self._end_open(self._outside, at, why)

    # Calls of tools

    def _executing(self, event: events.ActionExecuting, at: int, agent: Place | None) -> None:
        if event.tool is None:
            return
        call = self._call(event, agent) if event.attempt > 1 else None
        if call is not None:
            call.span.add_event("carpool.action.executing", {"carpool.attempt": event.attempt}, at)
            return
        attributes: Attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": text(event.tool),
            "gen_ai.tool.call.id": text(event.action),
            "carpool.tool.parameters_digest": event.parameters_digest,
        }
        if event.agent:
            attributes["gen_ai.agent.name"] = text(event.agent)
        context = Context() if agent is None else agent.context
        span = self._tracer.start_span(
            f"execute_tool {text(event.tool)}", context, attributes=attributes, start_time=at
        )
        self._open(agent).setdefault(_key(event), []).append(Place(span, event.path, agent, at))

    def _succeeded(self, event: events.ActionSucceeded, at: int, agent: Place | None) -> None:
        if self._end(event, at, agent, None) and self._measures is not None:
            self._measures.took("execute_tool", event.duration_ms, None, _tool(event))

    def _failed(self, event: events.ActionFailed, at: int, agent: Place | None) -> None:
        error = failure(event.error)
        if not self._end(event, at, agent, error):
            _note("failed", event, at, agent, {"error.type": error[0]})
        elif self._measures is not None:
            self._measures.took("execute_tool", event.duration_ms, error[0], _tool(event))

    def _retrying(self, event: events.ActionRetrying, at: int, agent: Place | None) -> None:
        attributes: Attributes = {"carpool.attempt": event.attempt, "error.type": failure(event.error)[0]}
        _note("retrying", event, at, self._call(event, agent) or agent, attributes)

    def _end(self, event: events.ActionEvent, at: int, agent: Place | None, error: Failure | None) -> bool:
        """End the call that ``event`` is about, if there is one."""
        calls, key = self._open(agent), _key(event)
        if key not in calls:
            return False
        call = calls[key].pop(0)
        if not calls[key]:
            del calls[key]
        call.end(at, error)
        return True

    def _call(self, event: events.ActionEvent, agent: Place | None) -> Place | None:
        calls = self._open(agent).get(_key(event))
        return calls[0] if calls else None

    def _open(self, agent: Place | None) -> _Open:
        return self._outside if agent is None else agent.tools

    def _end_open(self, calls: _Open, at: int, why: str) -> None:
        for open_calls in calls.values():
            for call in open_calls:
                call.end(at, ("unfinished", why))
        calls.clear()

    # What never ran, and what was changed

    def _rejected(self, event: events.ActionRejected, at: int, agent: Place | None) -> None:
        _note("rejected", event, at, agent, {"carpool.reason": text(event.reason)})

    def _skipped(self, event: events.ActionSkipped, at: int, agent: Place | None) -> None:
        _note("skipped", event, at, agent, {"carpool.reason": text(event.reason)})

    def _deduplicated(self, event: events.ActionDeduplicated, at: int, agent: Place | None) -> None:
        _note("deduplicated", event, at, agent, {})

    def _violated(self, event: events.PolicyViolated, at: int, agent: Place | None) -> None:
        attributes: Attributes = {"carpool.policy": text(event.policy), "carpool.reason": text(event.reason)}
        _note("policy_violation", event, at, agent, attributes)

    def _changed(self, event: events.StateChanged, at: int, agent: Place | None) -> None:
        attributes: Attributes = {"carpool.state.key": text(event.key), "carpool.state.version": event.version}
        _note("state_changed", event, at, self._call(event, agent) or agent, attributes)

    def _rolled_back(self, event: events.StateRolledBack, at: int, agent: Place | None) -> None:
        _note("state_rolled_back", event, at, agent, {"carpool.state.keys": event.keys})


def _note(what: str, event: events.ActionEvent, at: int, place: Place | None, attributes: Attributes) -> None:
    """An event of the call, else of the agent; outside of a run there is no span that it could be one of."""
    if place is None:
        return
    if event.tool is not None:
        attributes["gen_ai.tool.name"] = text(event.tool)
    if event.action:
        attributes["gen_ai.tool.call.id"] = text(event.action)
    place.span.add_event(f"carpool.action.{what}", attributes, at)


def _key(event: events.ActionEvent) -> Key:
    return event.proposal, event.action


def _tool(event: events.ActionEvent) -> Attributes:
    return {"gen_ai.tool.name": text(event.tool or "")}
