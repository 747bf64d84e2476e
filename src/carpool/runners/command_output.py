"""How the answer and the usage stand in what a command writes to standard output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from ..errors import ConfigError
from .command_readers import JsonReader, LinesReader, Picks, Reader, TextReader
from .json_paths import Amounts

__all__ = ["CLAUDE_JSON", "CODEX_JSON_LINES", "JsonLines", "JsonOutput", "OutputFormat", "TextOutput"]


class OutputFormat(Protocol):
    """Makes a reader for each start of a command, which keeps at most so many bytes."""

    def reader(self, most_bytes: int) -> Reader: ...


class TextOutput:
    """All of it is the answer, without the white space around it. Usage is unknown."""

    def reader(self, most_bytes: int) -> Reader:
        return TextReader(most_bytes)


class _PickedOutput(Picks, frozen=True, kw_only=True):
    def __post_init__(self) -> None:
        for path in (self.answer, self.error, self.turns):
            if path is not None and (not isinstance(path, str) or not path):
                raise ConfigError(f"a path is names with dots between them, not {path!r}")
        Amounts(self.usage)  # refuses what is none


class JsonOutput(_PickedOutput, frozen=True, kw_only=True):
    """It is one JSON document, in which paths lead to what is wanted: ``result``, ``choices.0.message.content``.

    - ``answer``: a string counts as it is, anything else as JSON
    - ``error``: a string, an object or ``true`` there says that the agent failed
    - ``turns``: how many model calls were made
    - ``usage``: for each amount its path, or paths to be added up (see ``UsagePaths``)

    :raises ConfigError: for what is no path or no amount.
    """

    def reader(self, most_bytes: int) -> Reader:
        return JsonReader(self, most_bytes)


class JsonLines(_PickedOutput, frozen=True, kw_only=True):
    """Each line is a JSON value. The paths of ``JsonOutput`` are looked for in every line.

    - ``where``: what must stand in a line, by path, for its ``answer`` to be one
    - ``answers``: of several the ``"last"`` is it, or they are pieces to ``"join"``
    - ``usages``: of several the ``"last"`` is it, because they are running totals, or ``"add"`` them up

    A line that is no JSON is passed over, and so is one that is longer than the bound.

    :raises ConfigError: for what is no path or no amount.
    """

    where: Mapping[str, Any] = {}
    answers: Literal["last", "join"] = "last"
    usages: Literal["last", "add"] = "last"

    def reader(self, most_bytes: int) -> Reader:
        join, add = self.answers == "join", self.usages == "add"
        return LinesReader(self, self.where, most_bytes, join=join, add=add)


CLAUDE_JSON = JsonOutput(
    answer="result",
    error="is_error",
    turns="num_turns",
    usage={
        # What is read from the cache, and what is written to it, is counted apart from the other input.
        "input_tokens": (
            "usage.input_tokens",
            "usage.cache_read_input_tokens",
            "usage.cache_creation_input_tokens",
        ),
        "output_tokens": "usage.output_tokens",
        "cache_read_tokens": "usage.cache_read_input_tokens",
        "cache_write_tokens": "usage.cache_creation_input_tokens",
        "cost_usd": "total_cost_usd",
    },
)
"""``claude -p --output-format json``, as Claude Code's pages on headless mode and on cost tracking describe it. The
cost is that program's own estimate."""

CODEX_JSON_LINES = JsonLines(
    answer="item.text",
    where={"type": "item.completed", "item.type": "agent_message"},
    error="error.message",
    usage={
        "input_tokens": "usage.input_tokens",
        "output_tokens": "usage.output_tokens",
        "cache_read_tokens": "usage.cached_input_tokens",
    },
)
"""``codex exec --json``, as ``docs/exec.md`` in Codex's repository describes it. It tells no cost: under a cost limit
its spend is unpriced."""
