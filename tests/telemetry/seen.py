"""What a provider of the SDK has seen: spans in memory, their tree, metrics, and what must hold of any trace."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import StatusCode


class Seen(SpanProcessor):
    """Every span that was begun and every one that was ended, in order."""

    def __init__(self) -> None:
        self.begun: list[Span] = []
        self.ended: list[ReadableSpan] = []
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(self)
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        self.begun.append(span)

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)

    @property
    def providers(self) -> dict[str, Any]:
        return {"tracer_provider": self.tracers, "meter_provider": self.meters}

    def span(self, name: str) -> ReadableSpan:
        (found,) = self.spans(name)
        return found

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.ended if span.name == name]

    def parent(self, span: ReadableSpan) -> str | None:
        """The name of the span that it lies in."""
        if span.parent is None:
            return None
        (above,) = (each for each in self.begun if each.context == span.parent)
        return above.name

    def tree(self) -> list[str]:
        """Names in order of their beginning, indented by what they lie in."""
        depths = {None: -1}
        lines = []
        for span in self.begun:
            depths[span.context.span_id] = depth = depths[span.parent and span.parent.span_id] + 1
            lines.append("  " * depth + span.name)
        return lines

    def metrics(self) -> dict[str, dict[tuple[str, ...], float]]:
        """By name of the metric and values of the attributes: the sum, or of a histogram the sum."""
        data = self._reader.get_metrics_data()
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = found.setdefault(metric.name, {})
                    for point in metric.data.data_points:
                        key = tuple(str(value) for _, value in sorted(point.attributes.items()))
                        points[key] = point.value if hasattr(point, "value") else point.sum
        return found


def events_of(span: ReadableSpan) -> list[str]:
    return [event.name.removeprefix("carpool.") for event in span.events]


def error_of(span: ReadableSpan) -> tuple[str, str] | None:
    """``error.type`` and the status' description, which go together."""
    kind = (span.attributes or {}).get("error.type")
    assert (kind is None) == (span.status.status_code is StatusCode.UNSET)
    return None if kind is None else (str(kind), span.status.description or "")


def assert_well_formed(seen: Seen) -> None:
    """Each span ended once, not before it began, in a parent of its trace that was begun before it."""
    assert sorted(span.context.span_id for span in seen.begun) == sorted(span.context.span_id for span in seen.ended)
    before: set[tuple[int, int]] = set()
    for span in seen.begun:
        if span.parent is not None:
            assert (span.parent.trace_id, span.parent.span_id) in before
            assert span.parent.trace_id == span.context.trace_id
        before.add((span.context.trace_id, span.context.span_id))
    for span in seen.ended:
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time
        error_of(span)


@contextmanager
def no_complaints() -> Iterator[None]:
    """The SDK says in its own log what it is asked to do with a span that has ended, or with a wrong value."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert said == []
