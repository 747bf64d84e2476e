"""Telemetry of what goes on now, by watching the log of an infra, and of a stored run, by reading its events."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Self

from ..errors import ConfigError
from ..eventlog import EventLog
from ..events import Event, RunFinished, RunStarted
from ..infra import SharedInfra
from ..runner import RunnerLike

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from ..runtime import Identity
    from .measures import Measures
    from .places import Place
    from .runner import TracedRunner
    from .spans import SpanFold

__all__ = ["Telemetry", "export", "instrument"]

_SCOPE = "carpool"
_logger = logging.getLogger("carpool.telemetry")


def instrument(
    infra: SharedInfra,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> Telemetry:
    """Turn the events of every run on ``infra`` into spans and metrics, until what it returns is closed::

        with instrument(infra) as telemetry:
            result = await team.run(task, runner=telemetry.runner(runner), infra=infra)

    Without a provider the global one is used. Runs in flight are told of from their beginning, in a trace of their
    own; metrics begin now.

    :raises ConfigError: without the extra ``otel``.
    """
    _require_opentelemetry()
    from opentelemetry import metrics, trace

    from .measures import Measures
    from .spans import SpanFold

    measures = Measures(metrics.get_meter(_SCOPE, meter_provider=meter_provider))
    fold = SpanFold(trace.get_tracer(_SCOPE, tracer_provider=tracer_provider), measures)
    return Telemetry(infra, fold, measures)


def export(events: EventLog | Iterable[Event], *, tracer_provider: TracerProvider | None = None) -> None:
    """Spans of a stored run, ``EventLog.from_jsonl(path)`` for instance, at the times at which everything happened.

    What the log has no end of is ended with it, and marked as unfinished. No metrics: they would be of today.

    :raises ConfigError: without the extra ``otel``.
    """
    _require_opentelemetry()
    from opentelemetry import trace

    from .spans import SpanFold

    fold = SpanFold(trace.get_tracer(_SCOPE, tracer_provider=tracer_provider))
    for event in events.events() if isinstance(events, EventLog) else events:
        fold.tell(event)
    fold.close("the log ends while this was still open")


class Telemetry:
    """What ``instrument`` returns. Close it, or leave its block, to stop watching.

    Events become spans in the thread that appends them, before the append returns: when a run has returned, its
    spans have been handed to the provider. How long that takes is the span processor's affair; the SDK's
    ``BatchSpanProcessor`` exports in a thread of its own, so that a slow exporter holds up no run. (While one
    thread is at it, others append without waiting, and it tells of their events too.)

    Nothing that goes wrong here reaches a run. What a provider raises may cost the spans that it was raised for; the
    first such error is logged, all are counted in ``failures``.
    """

    def __init__(self, infra: SharedInfra, fold: SpanFold, measures: Measures) -> None:
        self.failures = 0
        self._infra = infra
        self._log = infra.log
        self._fold = fold
        self._folding = Lock()
        self._closed = False
        self._watching = self._log.waking(self._catch_up)
        with self._folding:
            self._watching.__enter__()
            past = self._log.events()
            self._position = len(past)
            measures.counting = False
            for event in _in_flight(past):
                self._tell(event)
            measures.counting = fold.inherits = True
        self._catch_up()

    def runner(self, runner: RunnerLike, *, content: bool = False) -> TracedRunner:
        """``runner``, with the agent's span as the current one while it works: spans that it begins, or that the
        client of a model or an HTTP library begins by itself, lie in the agent's.

        ``spec.model`` goes on the span as ``gen_ai.request.model``, and what is before its colon as
        ``gen_ai.provider.name``. With ``content``, so do system prompt, task and answer, without the infra's secrets.
        """
        from .runner import TracedRunner

        return TracedRunner(self, runner, self._infra.redactor if content else None)

    def place_of(self, whose: Identity) -> Place | None:
        """The open span of the agent of a runtime; ``None`` for one that is not on this infra, or after closing."""
        with self._folding:
            self._tell_new()
            place = None if self._closed else self._fold.agent(whose.run, whose.path)
        self._catch_up()  # others may have found the lock taken meanwhile
        return place

    def close(self) -> None:
        """Stop watching. What is still open is ended, and marked as unfinished. Closing again does nothing."""
        with self._folding:
            if self._closed:
                return
            self._watching.__exit__(None, None, None)
            self._tell_new()
            self._closed = True
            with self.harmless():
                self._fold.close("telemetry was closed while this was still open")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def harmless(self) -> Generator[None]:
        """What is raised within the block ends it, and goes no further."""
        try:
            yield
        except Exception as error:
            self._failed(error)

    def _catch_up(self) -> None:
        """Called after every append, in any thread: also by an exporter that appends in turn, from in here."""
        while self._position < len(self._log) and not self._closed:
            # Whoever has the lock looks again when it has given it back, so that nothing is left lying.
            if not self._folding.acquire(blocking=False):
                return
            try:
                self._tell_new()
            finally:
                self._folding.release()

    def _tell_new(self) -> None:
        if self._closed:
            return
        for event in self._log.events(since=self._position):
            self._position += 1
            self._tell(event)

    def _tell(self, event: Event) -> None:
        try:  # not ``harmless``, which costs more than many an event
            self._fold.tell(event)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        if self.failures == 1:
            _logger.error("telemetry failed; the run goes on, later failures are only counted", exc_info=error)


def _in_flight(events: list[Event]) -> list[Event]:
    """The events of the runs that have begun and not ended, since they began."""
    began: dict[str, int] = {}
    for place, event in enumerate(events):
        if isinstance(event, RunStarted):
            began[event.run] = place
        elif isinstance(event, RunFinished):
            began.pop(event.run, None)
    return [event for place, event in enumerate(events) if place >= began.get(event.run, len(events))]


def _require_opentelemetry() -> None:
    try:
        from opentelemetry import metrics, trace  # noqa: F401 # pyright: ignore[reportUnusedImport]
    except ImportError:
        raise ConfigError("telemetry needs the extra otel: pip install 'carpool[otel]'") from None
