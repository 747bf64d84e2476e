"""Events folded into spans: of runs, of the patterns in them, of agents and of calls of tools.

Promise: every span that is begun is ended, once, not before it began; what it lies in was begun before it. That
holds of any sequence of events, whole or not, in order or not. Times are those of the events, and nothing else
is asked: not the clock, not the log. A span lies in what its path says; a run, in the context of its caller.

No event says when a pattern inside a pattern begins or ends: its span reaches from the first to the last event
in it, and is ended with what it lies in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Tracer

from .. import events
from ..types import TokenAccounting
from .actions import ActionFold
from .measures import Measures
from .places import Place, RunPlace
from .values import Attributes, Failure, amounts, count, failure, instant, snapshot, spent, text, usage

__all__ = ["SpanFold"]

_CANCELLED: Failure = ("CancelledError", "cancelled from outside while it ran")


class SpanFold:
    """Not for several threads at once. ``inherits`` lies new runs in the context that ``tell`` is called in."""

    def __init__(self, tracer: Tracer, measures: Measures | None = None) -> None:
        self.inherits = False
        self._tracer = tracer
        self._measures = measures
        self._runs: dict[str, RunPlace] = {}
        self._latest = 0
        self._actions = ActionFold(tracer, measures)
        self._tellers: dict[type[events.Event], Callable[[Any, int], None]] = {
            events.RunStarted: self._run_started,
            events.RunFinished: self._run_finished,
            events.BudgetWarning: self._budget_warning,
            events.BudgetExhausted: self._budget_exhausted,
            events.LimitsRaised: self._limits_raised,
            events.AgentStarted: self._agent_started,
            events.AgentFinished: self._agent_finished,
            events.AgentFailed: self._agent_failed,
            events.AgentCancelled: self._agent_cancelled,
            events.AgentRetrying: self._agent_retrying,
            events.AgentSkipped: self._agent_skipped,
            events.AgentReplayed: self._agent_replayed,
        }

    def tell(self, event: events.Event) -> None:
        """Fold one more event. One of a kind that is not known here says nothing."""
        at = self._latest if event.timestamp is None else instant(event.timestamp)
        self._latest = max(self._latest, at)
        teller = self._tellers.get(type(event))
        if teller is not None:
            teller(event, at)
        elif isinstance(event, events.ActionEvent):
            run = self._runs.get(event.run)
            self._actions.tell(event, at, None if run is None else run.agent(event.path) or run)

    def agent(self, run: str, path: str) -> Place | None:
        """The open span of an agent in flight."""
        place = self._runs.get(run)
        return None if place is None else place.agent(path)

    def close(self, why: str) -> None:
        """End what is still open, with a status that says ``why``, at the last instant that was told of."""
        for run in list(self._runs.values())[::-1]:
            self._broken_off(run, why)
        self._runs.clear()
        self._actions.close(self._latest, why)

    # Runs

    def _run_started(self, event: events.RunStarted, at: int) -> None:
        if (before := self._runs.pop(event.run, None)) is not None:
            self._broken_off(before, "the run was begun again before it had ended")
        self._begin_run(event.run, event.pattern, at, None if self.inherits else Context(), {})

    def _begin_run(self, run: str, name: str, at: int, context: Context | None, more: Attributes) -> RunPlace:
        attributes: Attributes = {**_workflow(name, run), **more}
        span = self._tracer.start_span(_named("invoke_workflow", name), context, attributes=attributes, start_time=at)
        place = self._runs[run] = RunPlace(span, name, at)
        return place

    def _run_of(self, event: events.AgentEvent, at: int) -> RunPlace:
        """The run of an agent, begun here where its beginning is not in the log."""
        run = self._runs.get(event.run)
        if run is None:
            run = self._begin_run(event.run, event.path.partition("/")[0], at, Context(), {"carpool.incomplete": True})
        return run

    def _run_finished(self, event: events.RunFinished, at: int) -> None:
        run = self._runs.pop(event.run, None)
        if run is None:
            return
        self._end_inside(run, at, "the run ended before this did")
        run.span.set_attributes({"carpool.stop_reason": text(event.stop_reason), **spent(event.usage)})
        error = None if event.error is None else failure(event.error)
        run.end(at, error)
        if self._measures is not None:
            self._measures.took("invoke_workflow", event.duration_ms, error and error[0])

    def _broken_off(self, run: RunPlace, why: str) -> None:
        self._end_inside(run, self._latest, why)
        run.end(self._latest, ("unfinished", why))

    def _end_inside(self, run: RunPlace, at: int, why: str) -> None:
        """End agents that have no end of their own, those that were begun last first, and then the patterns."""
        for begun in list(run.agents.values())[::-1]:
            for place in begun[::-1]:
                self._end_agent(place, at, ("unfinished", why))
        run.end_patterns()
        self._actions.end_all(run, at, why)

    # What the budget says

    def _budget_warning(self, event: events.BudgetWarning, at: int) -> None:
        if (run := self._runs.get(event.run)) is not None:
            attributes: Attributes = {
                "carpool.budget.dimension": event.dimension,
                "carpool.budget.spent": float(event.spent),
                "carpool.budget.limit": float(event.limit),
            }
            run.span.add_event("carpool.budget.warning", attributes, at)

    def _budget_exhausted(self, event: events.BudgetExhausted, at: int) -> None:
        if (run := self._runs.get(event.run)) is not None:
            attributes: Attributes = {"carpool.reason": text(event.reason), **snapshot(event.snapshot)}
            run.span.add_event("carpool.budget.exhausted", attributes, at)

    def _limits_raised(self, event: events.LimitsRaised, at: int) -> None:
        # The budget is shared: it happened to every run in flight.
        for run in self._runs.values():
            run.span.add_event("carpool.budget.limits_raised", snapshot(event.snapshot), at)

    # Where an agent stands

    def _place_of(self, run: RunPlace, event: events.AgentEvent, at: int) -> Place:
        """What the agent lies in: who asked for it, or the innermost pattern, which is begun with its first agent."""
        name = f"/{event.agent}"
        path = event.path[: -len(name)] if event.path.endswith(name) else event.path.rpartition("/")[0]
        asker = run.agent(event.parent)
        place, reached = run if asker is None else asker, event.parent or run.path
        if not path.startswith(f"{reached}/"):
            return place
        for step in path[len(reached) + 1 :].split("/"):
            reached = f"{reached}/{step}"
            place = run.agent(reached) or self._pattern(place, event.run, step, reached, at)
        return place

    def _pattern(self, above: Place, run: str, name: str, path: str, at: int) -> Place:
        pattern = above.patterns.get(path)
        if pattern is None:
            attributes: Attributes = {**_workflow(name, run), "carpool.path": text(path)}
            span = self._tracer.start_span(
                _named("invoke_workflow", name), above.context, attributes=attributes, start_time=at
            )
            pattern = above.patterns[path] = Place(span, path, above, at)
        return pattern

    def _begin_agent(self, event: events.AgentEvent, at: int, more: Attributes) -> Place:
        run = self._run_of(event, at)
        above = self._place_of(run, event, at)
        attributes: Attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": text(event.agent),
            "gen_ai.conversation.id": text(event.run),
            "carpool.path": text(event.path),
            **more,
        }
        span = self._tracer.start_span(
            _named("invoke_agent", event.agent), above.context, attributes=attributes, start_time=at
        )
        above.reaches(at)
        return Place(span, event.path, above, at)

    # While it runs

    def _agent_started(self, event: events.AgentStarted, at: int) -> None:
        run = self._run_of(event, at)
        place = run.agent(event.path) if event.attempt > 1 else None
        if place is None:
            place = self._begin_agent(event, at, {})
            run.agents.setdefault(event.path, []).append(place)
        else:
            self._let_go(place)
        place.attempt = event.attempt
        if event.held is not None and event.held != _NOTHING:
            held: Attributes = {"carpool.attempt": event.attempt, **amounts("carpool.budget", event.held)}
            place.span.add_event("carpool.budget.held", held, at)
            place.held = event.held
            if self._measures is not None:
                self._measures.hold(event.held)

    def _agent_retrying(self, event: events.AgentRetrying, at: int) -> None:
        if (place := self.agent(event.run, event.path)) is not None:
            attributes: Attributes = {"carpool.attempt": event.attempt, "error.type": failure(event.error)[0]}
            place.span.add_event("carpool.agent.retrying", attributes, at)

    def _let_go(self, place: Place) -> None:
        if place.held is not None and self._measures is not None:
            self._measures.let_go(place.held)
        place.held = None

    # How it ends

    def _agent_finished(self, event: events.AgentFinished, at: int) -> None:
        about: Attributes = {
            "carpool.turns": count(event.turns),
            "carpool.tool_calls": count(event.tool_calls),
            "carpool.answer_chars": event.answer_chars,
        }
        self._agent_ended(event, at, "finished", None, about)

    def _agent_failed(self, event: events.AgentFailed, at: int) -> None:
        self._agent_ended(event, at, "failed", failure(event.error), {})

    def _agent_cancelled(self, event: events.AgentCancelled, at: int) -> None:
        self._agent_ended(event, at, "cancelled", _CANCELLED, {})

    def _agent_ended(
        self,
        event: events.AgentFinished | events.AgentFailed | events.AgentCancelled,
        at: int,
        end: str,
        error: Failure | None,
        about: Attributes,
    ) -> None:
        place = self._take(event, at)
        place.span.set_attributes({**about, **usage(event.tokens), "carpool.attempts": place.attempt})
        settled = amounts("carpool.budget", event.tokens or _NOTHING)
        place.span.add_event("carpool.budget.settled", settled, at)
        if self._measures is not None:
            self._measures.agent(end, event.tokens, place.model)
            self._measures.took("invoke_agent", event.duration_ms, error and error[0], place.model)
        self._end_agent(place, at, error)

    def _take(self, event: events.AgentFinished | events.AgentFailed | events.AgentCancelled, at: int) -> Place:
        """The span of an agent that ended; where its start is not in the log, one as long as it says it took."""
        run = self._run_of(event, at)
        begun = run.agents.get(event.path)
        if not begun:
            ran = min(at, max(0, int(event.duration_ms * 1e6)))
            return self._begin_agent(event, at - ran, {"carpool.incomplete": True})
        if len(begun) == 1:
            del run.agents[event.path]
        return begun.pop(0)

    def _end_agent(self, place: Place, at: int, error: Failure | None) -> None:
        self._let_go(place)
        self._actions.end_all(place, at, "the agent ended before this did")
        place.end_patterns()
        place.end(at, error)

    # Those that never start

    def _agent_skipped(self, event: events.AgentSkipped, at: int) -> None:
        above = self._place_of(self._run_of(event, at), event, at)
        is_refusal = not event.reason.startswith("never started: ")
        attributes: Attributes = {
            "gen_ai.agent.name": text(event.agent),
            "carpool.path": text(event.path),
            "carpool.reason": text(event.reason),
        }
        above.span.add_event("carpool.budget.refused" if is_refusal else "carpool.agent.skipped", attributes, at)
        above.reaches(at)
        if self._measures is not None:
            self._measures.agent("skipped", None, {})
            if is_refusal:
                self._measures.refused()

    def _agent_replayed(self, event: events.AgentReplayed, at: int) -> None:
        place = self._begin_agent(event, at, {"carpool.replayed": True, **spent(event.tokens)})
        place.end(at, None)
        if self._measures is not None:
            self._measures.agent("replayed", None, {})


def _workflow(name: str, run: str) -> Attributes:
    return {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": text(name),
        "gen_ai.conversation.id": text(run),
    }


def _named(operation: str, name: str) -> str:
    return f"{operation} {text(name)}" if name else operation


_NOTHING = TokenAccounting()
