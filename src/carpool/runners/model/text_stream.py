"""Text handed on as it comes, to whoever wants to see it; events never hold any."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["OnText", "TextStream"]

OnText = Callable[[str, str], Awaitable[None] | None]
"""Called with an agent's name and the next piece of its answer."""


class TextStream:
    """Hands text on as it comes."""

    def __init__(self, agent: str, on_text: OnText) -> None:
        self._agent = agent
        self._on_text = on_text
        self.error: Exception | None = None

    async def hear(self, event: Any) -> None:
        text = _text_of(event)
        if not text:
            return
        try:
            waited_for = self._on_text(self._agent, text)
            if isinstance(waited_for, Awaitable):
                await waited_for
        except Exception as error:
            self.error = error
            raise


def _text_of(event: Any) -> str | None:
    """The text that an event of a stream adds to the answer."""
    if event.event_kind == "part_start" and event.part.part_kind == "text":
        return event.part.content
    if event.event_kind == "part_delta" and event.delta.part_delta_kind == "text":
        return event.delta.content_delta
    return None
