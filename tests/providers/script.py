"""What a fake provider is asked, what it answers, and what goes wrong: values, for tests to write scripts with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Answer", "Asked", "Cut", "Fault", "Hang", "Malformed", "Refuse", "Script", "count_tokens"]

_TOKEN = re.compile(r"[A-Za-z]{1,12}|\d{1,3}|[^\W\d_A-Za-z]{1,3}|[^\w\s]{1,5}|_|\s\s+")


def count_tokens(text: str) -> int:
    """The provider's own tokenizer: nothing of carpool's is in it, as with a real provider's."""
    return len(_TOKEN.findall(text))


@dataclass(frozen=True)
class Asked:
    """One request, whichever protocol it came by."""

    number: int
    """1 for the server's first request."""
    protocol: Literal["chat", "responses", "messages"]
    model: str
    stream: bool
    max_tokens: int | None
    system: str
    messages: list[tuple[str, str]]
    """Role (``user``, ``assistant``, ``tool``) and text; a tool call of the assistant's is its arguments."""
    tools: list[str]
    """The names of the tools that are offered."""
    marked: list[str] = field(repr=False)
    """The text up to each mark of ``cache_control``, in order."""
    headers: Mapping[str, str] = field(repr=False)
    body: dict[str, Any] = field(repr=False)

    @property
    def last_text(self) -> str:
        return self.messages[-1][1] if self.messages else ""

    @property
    def turn(self) -> int:
        """0 for a conversation's first request: how often the assistant has spoken before."""
        speakers = [role for role, _ in self.messages]
        return sum(
            role == "assistant" and before != "assistant"
            for before, role in zip(["", *speakers], speakers, strict=False)
        )

    @property
    def results(self) -> list[str]:
        """What tools have given, oldest first."""
        return [text for role, text in self.messages if role == "tool"]

    def input_tokens(self) -> int:
        """What the provider counts: all texts and tool schemas, and a little for each message and tool."""
        schemas = sum(count_tokens(str(tool)) + 8 for tool in self.body.get("tools") or ())
        said = sum(count_tokens(text) + 4 for _, text in self.messages)
        return count_tokens(self.system) + said + schemas + 3


@dataclass(frozen=True)
class Refuse:
    """An answer with an error status. Not billed, unless ``billed``: some providers fail after the work is done."""

    status: int = 429
    code: str | None = "rate_limit_exceeded"
    message: str = "refused by the script"
    retry_after: str | None = None
    billed: bool = False


@dataclass(frozen=True)
class Malformed:
    """Status 200 and JSON that isn't; in a stream, in place of the piece after ``after``. Billed."""

    after: int = 1


@dataclass(frozen=True)
class Hang:
    """Nothing comes any more, after so many pieces of a stream, until the client goes. Billed."""

    after: int = 0


@dataclass(frozen=True)
class Cut:
    """The connection is closed after so many pieces of a stream, or in the middle of a body. Billed."""

    after: int = 2


Fault = Refuse | Malformed | Hang | Cut


@dataclass(frozen=True)
class Answer:
    """What the model says: ``text``, then ``tools`` as (name, arguments); arguments may be a text that is no JSON.

    ``max_tokens`` of the request cuts the text off; ``output_tokens`` and ``input_tokens`` overrule what the
    provider would count. ``usage`` is what it *reports*: the truth, nothing at all, zeros, or those numbers
    (``input``, ``output``). ``after_s`` is waited before the first byte, ``between_s`` between pieces of a stream.
    """

    text: str = "ok"
    tools: Sequence[tuple[str, dict[str, Any] | str]] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    after_s: float = 0.0
    between_s: float = 0.0
    usage: Literal["true", "missing", "zero"] | dict[str, int] = "true"
    fault: Fault | None = None


Line = Answer | Fault | str
Script = Callable[[Asked], Line] | Sequence[Line] | Line
