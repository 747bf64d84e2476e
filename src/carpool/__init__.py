"""carpool: many LLM agents under one enforced budget. Bounded in parallel, nothing paid for is lost."""

from .budget import CoordinationBudget, Lease, budget_skipped_output, is_budget_skipped
from .clock import Clock, SystemClock
from .errors import (
    AgentFailed,
    AgentLimitReached,
    BudgetError,
    BudgetExhausted,
    CarpoolError,
    NoOutput,
    ToolError,
)
from .eventlog import EventLog
from .infra import SharedInfra
from .mailbox import Mailbox
from .patterns import (
    Item,
    MapReduce,
    MapReduceResult,
    Pattern,
    Pipeline,
    PipelineResult,
    Plan,
    Swarm,
    SwarmResult,
    UnreadableItem,
    Vote,
    VoteResult,
)
from .results import CoordinationResult
from .runner import AgentRunner, FunctionRunner
from .runtime import Runtime
from .spawn import Run, open_run
from .state import OverlayState, StateStore
from .types import (
    AgentOutcome,
    AgentOutput,
    AgentSpec,
    BudgetLimits,
    BudgetSnapshot,
    Evidence,
    EvidenceKind,
    Message,
    MessageKind,
    OutcomeMetrics,
    OutcomeStatus,
    TokenAccounting,
)

__all__ = [
    "AgentFailed",
    "AgentLimitReached",
    "AgentOutcome",
    "AgentOutput",
    "AgentRunner",
    "AgentSpec",
    "BudgetError",
    "BudgetExhausted",
    "BudgetLimits",
    "BudgetSnapshot",
    "CarpoolError",
    "Clock",
    "CoordinationBudget",
    "CoordinationResult",
    "EventLog",
    "Evidence",
    "EvidenceKind",
    "FunctionRunner",
    "Item",
    "Lease",
    "Mailbox",
    "MapReduce",
    "MapReduceResult",
    "Message",
    "MessageKind",
    "NoOutput",
    "OutcomeMetrics",
    "OutcomeStatus",
    "OverlayState",
    "Pattern",
    "Pipeline",
    "PipelineResult",
    "Plan",
    "Run",
    "Runtime",
    "SharedInfra",
    "StateStore",
    "Swarm",
    "SwarmResult",
    "SystemClock",
    "TokenAccounting",
    "ToolError",
    "UnreadableItem",
    "Vote",
    "VoteResult",
    "budget_skipped_output",
    "is_budget_skipped",
    "open_run",
]
