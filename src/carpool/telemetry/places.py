"""Where a span stands while it is open: what it lies in, and what lies in it."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.trace import Span, StatusCode, set_span_in_context

from ..types import TokenAccounting
from .values import Attributes, Failure

__all__ = ["Place", "RunPlace"]


class Place:
    """The open span of a run, a pattern, an agent or a call of a tool."""

    __slots__ = (
        "_context",
        "above",
        "attempt",
        "began",
        "held",
        "latest",
        "model",
        "path",
        "patterns",
        "span",
        "tools",
    )

    def __init__(self, span: Span, path: str, above: Place | None, began: int) -> None:
        self.span = span
        self.path = path
        self.above = above
        self.began = began
        self.latest = began  # the last instant at which anything in it is known to have happened
        self.patterns: dict[str, Place] = {}  # by path; nothing says when one ends, so they end with what they lie in
        self.tools: dict[tuple[str, str], list[Place]] = {}  # by proposal and action
        self.held: TokenAccounting | None = None
        self.attempt = 1
        self.model: Attributes = {}  # what a traced runner knows of the model
        self._context: Context | None = None

    @property
    def context(self) -> Context:
        """For spans inside it."""
        if self._context is None:
            self._context = set_span_in_context(self.span, Context())
        return self._context

    def reaches(self, at: int) -> None:
        """Something in it happened then, and so in all that it lies in."""
        place: Place | None = self
        while place is not None and place.latest < at:
            place.latest = at
            place = place.above

    def end(self, at: int, error: Failure | None) -> None:
        """End the span, not before it began."""
        if error is not None:
            self.span.set_attribute("error.type", error[0])
            self.span.set_status(StatusCode.ERROR, error[1])
        at = max(at, self.began)
        self.span.end(at)
        self.reaches(at)

    def end_patterns(self) -> None:
        """End the patterns in it, the innermost first, each where the last that is known of it happened."""
        found = list(self.patterns.values())
        for pattern in found:  # grows meanwhile
            found += pattern.patterns.values()
        for pattern in reversed(found):
            pattern.end(pattern.latest, None)
        self.patterns.clear()


class RunPlace(Place):
    """A run; ``agents`` are those in flight, by path. One path is more than once in flight only where a pattern of
    the user's own asks for the same spec twice at a time; then they are told apart by nothing, and taken in turn."""

    __slots__ = ("agents",)

    def __init__(self, span: Span, path: str, began: int) -> None:
        super().__init__(span, path, None, began)
        self.agents: dict[str, list[Place]] = {}

    def agent(self, path: str | None) -> Place | None:
        """The agent in flight that was begun last there."""
        begun = self.agents.get(path) if path is not None else None
        return begun[-1] if begun else None
