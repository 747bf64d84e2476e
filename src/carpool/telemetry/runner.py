"""A runner inside the span of its agent: the one place that sees what is said, and says it only when asked to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

import msgspec
from opentelemetry import context
from opentelemetry.trace import set_span_in_context

from ..mailbox import Mailbox
from ..runner import RunnerLike, run_function
from ..runtime import Identity, Runtime
from ..secrets import Redactor
from ..types import AgentOutput, AgentSpec
from .values import Attributes, text

if TYPE_CHECKING:
    from .places import Place

__all__ = ["TracedRunner", "Watching"]


class Watching(Protocol):
    """What a traced runner asks of the telemetry that it belongs to."""

    def place_of(self, whose: Identity) -> Place | None: ...
    def harmless(self) -> AbstractContextManager[None]: ...


class TracedRunner:
    """Calls a runner and returns what it returns, or raises what it raises; a cancellation goes through.

    ``redactor`` is there when content is wanted, and takes the secrets out of it. A retry is told of over the
    attempt before: the span has the last answer.
    """

    def __init__(self, watching: Watching, runner: RunnerLike, redactor: Redactor | None) -> None:
        self._watching = watching
        self._call = run_function(runner)
        self._redactor = redactor

    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> AgentOutput | str:
        place = self._watching.place_of(runtime.whose)
        if place is None:
            return await self._call(spec, task, runtime, mailbox)
        with self._watching.harmless():
            place.model = _model(spec)
            place.span.set_attributes(place.model)
        self._say(place, lambda said: _question(spec, task, said))

        token = context.attach(set_span_in_context(place.span))
        try:
            returned = await self._call(spec, task, runtime, mailbox)
        finally:
            context.detach(token)

        self._say(place, lambda said: _answer(returned, said))
        return returned

    def _say(self, place: Place, content: Callable[[Callable[[str], str]], Attributes]) -> None:
        if self._redactor is None:
            return
        with self._watching.harmless():
            if place.span.is_recording():  # not after closing, and not where the provider samples it away
                place.span.set_attributes(content(self._redactor.text))


def _model(spec: AgentSpec) -> Attributes:
    if spec.model is None:
        return {}
    provider, colon, name = spec.model.partition(":")
    if not colon:
        return {"gen_ai.request.model": text(spec.model)}
    return {"gen_ai.provider.name": text(provider), "gen_ai.request.model": text(name)}


def _question(spec: AgentSpec, task: str, said: Callable[[str], str]) -> Attributes:
    asked = [{"role": "user", "parts": [_part(said(task))]}]
    attributes: Attributes = {"gen_ai.input.messages": _json(asked)}
    if spec.system_prompt:
        attributes["gen_ai.system_instructions"] = _json([_part(said(spec.system_prompt))])
    return attributes


def _answer(returned: object, said: Callable[[str], str]) -> Attributes:
    """Of a text or an output; whatever else a runner returns, the door makes its agent's failure."""
    answer = returned.answer if isinstance(returned, AgentOutput) else returned
    if not isinstance(answer, str):
        return {}
    failed = isinstance(returned, AgentOutput) and returned.error is not None
    reason = "error" if failed else "stop"
    message = {"role": "assistant", "parts": [_part(said(answer))], "finish_reason": reason}
    return {"gen_ai.output.messages": _json([message])}


def _part(content: str) -> dict[str, str]:
    return {"type": "text", "content": content.encode("utf-8", "replace").decode()}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
