"""What is passed around: specs, outputs, usage, limits, messages, outcomes. Values, no behaviour.

Every type is a frozen, keyword-only ``msgspec.Struct``; its wire form is what ``msgspec.json`` makes of it:
snake_case, RFC 3339 UTC timestamps, unknown keys ignored on reading. ``AgentSpec("name", "prompt")`` may be
positional. Constructing checks the values that money depends on (usage and limits); decoding checks all.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite
from typing import Any, Literal

from msgspec import Struct, field
from msgspec.structs import force_setattr

from .clock import utc_now

__all__ = [
    "AgentOutcome",
    "AgentOutput",
    "AgentSpec",
    "BudgetLimits",
    "BudgetSnapshot",
    "Evidence",
    "EvidenceKind",
    "Message",
    "MessageKind",
    "OutcomeMetrics",
    "OutcomeStatus",
    "TokenAccounting",
    "refuse_unless_limits",
]


class TokenAccounting(Struct, frozen=True, kw_only=True, gc=False, repr_omit_defaults=True):
    """Tokens read and written, and what they cost.

    ``input_tokens`` includes the cached ones, which ``cache_read_tokens`` and ``cache_write_tokens`` break
    out. ``cost_usd`` is US dollars. ``priced=False`` says that the tokens are known and their price is not:
    under a cost cap such spend stops further starts, because an unknown price is not zero.

    :raises ValueError: for a count or cost that is negative, NaN, infinite or no number.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    priced: bool = True

    def __post_init__(self) -> None:
        # One chained test on the way in: this runs for every report of every model call.
        if (
            type(self.input_tokens) is int is type(self.output_tokens)
            and type(self.cache_read_tokens) is int is type(self.cache_write_tokens)
            and self.input_tokens >= 0 <= self.output_tokens
            and self.cache_read_tokens >= 0 <= self.cache_write_tokens
            and type(self.cost_usd) in _NUMBERS
            and 0 <= self.cost_usd <= _LARGEST
        ):
            return
        for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"):
            _refuse_unless_count(self, name)
        _refuse_unless_amount(self, "cost_usd")

    @property
    def total_tokens(self) -> int:
        """Input and output together; cached tokens are part of the input."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: TokenAccounting) -> TokenAccounting:
        return TokenAccounting(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=min(self.cost_usd + other.cost_usd, _LARGEST),
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            priced=self.priced and other.priced,
        )

    def largest(self, other: TokenAccounting) -> TokenAccounting:
        """The larger of the two, dimension by dimension."""
        return TokenAccounting(
            input_tokens=max(self.input_tokens, other.input_tokens),
            output_tokens=max(self.output_tokens, other.output_tokens),
            cost_usd=max(self.cost_usd, other.cost_usd),
            cache_read_tokens=max(self.cache_read_tokens, other.cache_read_tokens),
            cache_write_tokens=max(self.cache_write_tokens, other.cache_write_tokens),
            priced=self.priced and other.priced,
        )


class BudgetLimits(Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """What may be spent at most. ``None`` is no limit; zero is one, and denies the first agent.

    Checked before every start, and before every model call by a runner that reserves. A spend limit can be
    overshot only by what agents in flight spend beyond what they hold: with true estimates not at all.

    - ``max_input_tokens``, ``max_output_tokens``, ``max_total_tokens``: tokens
    - ``max_cost_usd``: US dollars; ``unpriced`` says what spend of unknown price does under this cap:
      ``"refuse"`` the next start, or ``"allow"`` it
    - ``max_agents``: starts, retries included
    - ``max_seconds``: wall time since the first start
    - ``max_depth``: nesting; an agent of the outermost pattern is at 1, one that it asks for at 2

    :raises ValueError: for a limit that is negative, NaN, infinite or no number.
    """

    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    max_total_tokens: int | None = None
    max_cost_usd: float | None = None
    max_agents: int | None = None
    max_seconds: float | None = None
    max_depth: int | None = None
    unpriced: Literal["refuse", "allow"] = "refuse"

    def __post_init__(self) -> None:
        for name in ("max_input_tokens", "max_output_tokens", "max_total_tokens", "max_agents", "max_depth"):
            if getattr(self, name) is not None:
                _refuse_unless_count(self, name)
        for name in ("max_cost_usd", "max_seconds"):
            if getattr(self, name) is not None:
                _refuse_unless_amount(self, name)
        if self.unpriced not in ("refuse", "allow"):
            raise ValueError(f"unpriced must be 'refuse' or 'allow', not {self.unpriced!r}")

    @classmethod
    def parse(cls, text: str) -> BudgetLimits:
        """Read ``"500k tokens, $2.50, 20 agents, 10m"``.

        :raises ValueError: naming the part that can't be read.
        """
        from .quantities import parse_limits  # a table of regular expressions that most programs never need

        return cls(**parse_limits(text))

    @property
    def is_unbounded(self) -> bool:
        """True when no limit is set."""
        return self == BudgetLimits(unpriced=self.unpriced)


class BudgetSnapshot(Struct, frozen=True, kw_only=True):
    """A purse at one instant, never torn: ``total_tokens`` is the sum of the two beside it.

    ``exhausted`` speaks of the spend limits, not of ``max_agents``. ``held`` is what agents in flight may
    still spend; ``overrun`` what settled ones spent beyond what they held and reserved.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cost_usd: float = 0.0
    agents_started: int = 0
    limits: BudgetLimits = field(default_factory=BudgetLimits)
    exhausted: bool = False
    held: TokenAccounting = field(default_factory=TokenAccounting)
    overrun: TokenAccounting = field(default_factory=TokenAccounting)
    elapsed_s: float = 0.0

    def __post_init__(self) -> None:
        _refuse_unless_amount(self, "cost_usd")
        _refuse_unless_amount(self, "elapsed_s")


class _Named(Struct, frozen=True):
    name: str
    system_prompt: str


class AgentSpec(_Named, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Who an agent is; what it does with it is the runner's business.

    - ``tools``: names of the tools it may use
    - ``max_turns``: model calls the runner may make for one answer
    - ``cache_control``: ask the provider to cache the prompt
    - ``model``: ``"provider:name"``
    - ``timeout_s``: wall seconds for one start; a timeout is the agent's failure, not the run's
    - ``retries``: further starts after a failure, each asked of the budget anew
    - ``estimate``: the most that one start should spend; held while it runs
    - ``budget``: limits for this agent, and for whatever agents it asks for, alone
    - ``role``: the base name, where a pattern derived this spec (``mapper_3`` has role ``mapper``)
    """

    tools: list[str] = []
    max_turns: int = 10
    metadata: dict[str, Any] = {}
    cache_control: bool = False
    model: str | None = None
    timeout_s: float | None = None
    retries: int = 0
    estimate: TokenAccounting | None = None
    budget: BudgetLimits | None = None
    role: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"an agent needs a name, not {self.name!r}")
        if type(self.retries) is not int or self.retries < 0:
            raise ValueError(f"agent {self.name!r}: retries must be 0 or more, not {self.retries!r}")
        if self.timeout_s is not None and not (isfinite(self.timeout_s) and self.timeout_s > 0):
            raise ValueError(f"agent {self.name!r}: timeout_s must be above 0 seconds, not {self.timeout_s!r}")
        if self.estimate is not None and not isinstance(self.estimate, TokenAccounting):
            raise TypeError(f"agent {self.name!r}: estimate is a TokenAccounting, not {self.estimate!r}")
        if self.budget is not None:
            refuse_unless_limits(self.budget, f"agent {self.name!r}: budget")
        if isinstance(self.tools, str):
            raise TypeError(f"agent {self.name!r}: tools is a list of names, not {self.tools!r}")


def refuse_unless_limits(value: object, what: str) -> None:
    """:raises TypeError: for what are no limits; a text among them is a common mistake."""
    if not isinstance(value, BudgetLimits):
        raise TypeError(f"{what} is BudgetLimits(…), not {value!r}; a text is read by BudgetLimits.parse")


class OutcomeStatus(StrEnum):
    """How an agent says that it ended."""

    SUCCESS = "success"
    PARTIAL_SUCCESS = "partial_success"
    GIVE_UP = "give_up"
    TIMEOUT = "timeout"
    FAILURE = "failure"
    DONE = "done"


class EvidenceKind(StrEnum):
    """Where a piece of evidence comes from."""

    SELF_ASSESSMENT = "self_assessment"
    TOOL_RESULT = "tool_result"
    STATE_CHANGE = "state_change"
    EXTERNAL_VERIFICATION = "external_verification"
    STOP_REASON = "stop_reason"
    EVALUATOR = "evaluator"


class Evidence(Struct, frozen=True, kw_only=True):
    """One fact that supports an outcome; ``data`` is any JSON value."""

    kind: EvidenceKind
    description: str
    data: Any = None


class OutcomeMetrics(Struct, frozen=True, kw_only=True):
    """Counts behind an outcome; ``duration_ms`` in milliseconds."""

    turns: int = 0
    tool_calls: int = 0
    duration_ms: float = 0.0
    retries: int = 0
    actions_succeeded: int = 0
    actions_failed: int = 0

    def __post_init__(self) -> None:
        _refuse_unless_amount(self, "duration_ms")


class AgentOutcome(Struct, frozen=True, kw_only=True):
    """How an agent ended, in its own words, with evidence."""

    status: OutcomeStatus
    summary: str = ""
    evidence: list[Evidence] = []
    metrics: OutcomeMetrics = field(default_factory=OutcomeMetrics)
    timestamp: datetime = field(default_factory=utc_now)

    def __post_init__(self) -> None:
        _keep_in_utc(self)

    @classmethod
    def success(cls, summary: str) -> AgentOutcome:
        return cls(status=OutcomeStatus.SUCCESS, summary=summary)

    @classmethod
    def failure(cls, summary: str) -> AgentOutcome:
        return cls(status=OutcomeStatus.FAILURE, summary=summary)

    @classmethod
    def timeout(cls, summary: str, turns: int, max_turns: int) -> AgentOutcome:
        """Out of turns or out of time: ``turns`` of at most ``max_turns`` were made."""
        stop = Evidence(
            kind=EvidenceKind.STOP_REASON,
            description=f"stopped after {turns} of at most {max_turns} turns",
            data={"turns": turns, "max_turns": max_turns},
        )
        return cls(status=OutcomeStatus.TIMEOUT, summary=summary, evidence=[stop], metrics=OutcomeMetrics(turns=turns))

    @classmethod
    def give_up(cls, reason: str) -> AgentOutcome:
        stop = Evidence(kind=EvidenceKind.STOP_REASON, description=reason)
        return cls(status=OutcomeStatus.GIVE_UP, summary=reason, evidence=[stop])


class AgentOutput(Struct, frozen=True, kw_only=True, gc=False, repr_omit_defaults=True):
    """What came of one agent. ``tool_calls`` is a count; ``tokens=None`` means that none were reported."""

    name: str
    answer: str = ""
    turns: int = 0
    tool_calls: int = 0
    duration_ms: float = 0.0
    error: str | None = None
    outcome: AgentOutcome | None = None
    tokens: TokenAccounting | None = None
    tools_used: list[str] = []

    def __post_init__(self) -> None:
        if not 0 <= self.duration_ms <= _LARGEST:
            _refuse_unless_amount(self, "duration_ms")

    @property
    def succeeded(self) -> bool:
        """No error, and an answer that is not empty."""
        return self.error is None and bool(self.answer)


class MessageKind(StrEnum):
    """What a message between agents is about."""

    TASK_ASSIGNMENT = "task_assignment"
    RESULT = "result"
    FEEDBACK = "feedback"
    DELEGATE_REQUEST = "delegate_request"
    DELEGATE_RESPONSE = "delegate_response"
    CUSTOM = "custom"


class Message(Struct, frozen=True, kw_only=True):
    """One message between agents; ``payload`` is any JSON value. ``sender`` is ``from`` on the wire."""

    sender: str = field(name="from")
    to: str
    kind: MessageKind
    payload: Any
    timestamp: datetime = field(default_factory=utc_now)

    def __post_init__(self) -> None:
        _keep_in_utc(self)


_NUMBERS = (float, int)
_LARGEST = 1.7976931348623157e308  # the largest float: sums stop there, and an int beyond it is no amount


def _keep_in_utc(owner: AgentOutcome | Message) -> None:
    """Timestamps are written in UTC, wherever they were taken.

    :raises ValueError: for one without a time zone, which could be any time.
    """
    timestamp = owner.timestamp
    if timestamp.tzinfo is UTC:
        return
    if timestamp.tzinfo is None:
        raise ValueError(f"a timestamp needs a time zone: {timestamp!r}")
    force_setattr(owner, "timestamp", timestamp.astimezone(UTC))


def _refuse_unless_count(owner: Struct, name: str) -> None:
    value: object = getattr(owner, name)
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} must be a whole number, 0 or more, not {value!r}")


def _refuse_unless_amount(owner: Struct, name: str) -> None:
    value: object = getattr(owner, name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
        raise ValueError(f"{name} must be a number, 0 or more and finite, not {value!r}")
