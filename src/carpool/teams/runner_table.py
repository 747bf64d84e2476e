"""The runner as a team file says it: a name or import path, a command, or models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from .table import NotNegative, Positive, Seconds, Table, Text

__all__ = [
    "CommandTable",
    "JsonLinesTable",
    "JsonOutputTable",
    "ModelTable",
    "OutputTable",
    "PriceTable",
    "RateLimitsTable",
    "RunnerTable",
    "UsageTable",
]

_NotBelow0 = Annotated[float, Meta(ge=0)]
_Where = str | list[Text] | float


class UsageTable(Table, frozen=True, kw_only=True):
    """For each amount a path, paths to be added up, or the amount itself."""

    input_tokens: _Where | None = None
    output_tokens: _Where | None = None
    cost_usd: _Where | None = None
    cache_read_tokens: _Where | None = None
    cache_write_tokens: _Where | None = None


class JsonOutputTable(Table, frozen=True, kw_only=True):
    """The arguments of ``JsonOutput``: the output is one JSON document."""

    answer: Text
    error: Text | None = None
    turns: Text | None = None
    usage: UsageTable | None = None


class JsonLinesTable(JsonOutputTable, frozen=True, kw_only=True):
    """The arguments of ``JsonLines``: each line of the output is a JSON value."""

    where: dict[str, Any] = {}
    answers: Literal["last", "join"] = "last"
    usages: Literal["last", "add"] = "last"


class OutputTable(Table, frozen=True, kw_only=True):
    """How the answer and the usage stand in what a command writes; one of the two."""

    json: JsonOutputTable | None = None
    json_lines: JsonLinesTable | None = None

    def __post_init__(self) -> None:
        if (self.json is None) == (self.json_lines is None):
            raise ValueError("needs either 'json' or 'json_lines'")


class CommandTable(Table, frozen=True, kw_only=True):
    """The arguments of ``CommandRunner``."""

    argv: Annotated[list[str | list[str]], Meta(min_length=1)]
    stdin: str | None = None
    output: Literal["text", "claude_json", "codex_json_lines"] | OutputTable = "text"
    options: list[str] = []
    env: list[str] | None = None
    cwd: Text | None = None
    timeout_s: Seconds | None = 3_600.0
    grace_s: _NotBelow0 = 2.0
    max_output_bytes: Positive = 4_194_304
    success_codes: list[int] = field(default_factory=lambda: [0])


class RateLimitsTable(Table, frozen=True, kw_only=True):
    """The arguments of ``RateLimits``."""

    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    in_flight: Positive | None = None


class PriceTable(Table, frozen=True, kw_only=True):
    """US dollars per million tokens, as ``ModelPrice`` has them."""

    input: _NotBelow0
    output: _NotBelow0
    cache_read: _NotBelow0 | None = None
    cache_write: _NotBelow0 | None = None
    cache_write_1h: _NotBelow0 | None = None
    above: list[AbovePrice] = []


class AbovePrice(Table, frozen=True, kw_only=True):
    """The price of requests with more than ``tokens`` of input."""

    tokens: Positive
    price: PriceTable


class ModelTable(Table, frozen=True, kw_only=True):
    """The arguments of ``ModelRunner``. ``api_key_env`` names environment variables: keys have no place in a file.
    ``rate_limits_by`` has limits by provider, or by ``provider:name``."""

    model: Text | None = None
    base_url: str | dict[str, str] | None = None
    api_key_env: str | dict[str, str] | None = None
    settings: dict[str, Any] = {}
    max_output_tokens: Positive = 4_096
    input_margin: Annotated[float, Meta(ge=1)] = 4 / 3
    prices: dict[str, PriceTable] = {}
    rate_limits: RateLimitsTable | None = None
    rate_limits_by: dict[str, RateLimitsTable] = {}
    retries: NotNegative = 3
    call_timeout_s: Seconds = 600.0
    longest_retry_wait_s: _NotBelow0 = 60.0

    def __post_init__(self) -> None:
        if self.rate_limits is not None and self.rate_limits_by:
            raise ValueError("takes either 'rate_limits' or 'rate_limits_by'")


class RunnerTable(Table, frozen=True, kw_only=True):
    """A runner with arguments; one of the two."""

    command: CommandTable | None = None
    model: ModelTable | None = None

    def __post_init__(self) -> None:
        if (self.command is None) == (self.model is None):
            raise ValueError("needs either 'command' or 'model'")
