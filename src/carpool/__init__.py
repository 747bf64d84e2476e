"""carpool: many LLM agents under one enforced budget. Bounded in parallel, nothing paid for is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from .results import CoordinationResult
from .runner import AgentRunner, FunctionRunner
from .runtime import Runtime
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

if TYPE_CHECKING:
    from .patterns import (
        AdversarialReview,
        AdversarialReviewResult,
        Advisor,
        AdvisorResult,
        Delegation,
        Delegator,
        DelegatorResult,
        Finding,
        Fleet,
        FleetResult,
        Item,
        MapReduce,
        MapReduceResult,
        Match,
        Pattern,
        Pipeline,
        PipelineResult,
        Plan,
        SpawnSubtask,
        SpawnSubtaskResult,
        Subtask,
        Supervisor,
        SupervisorResult,
        Swarm,
        SwarmResult,
        Tournament,
        TournamentResult,
        UnreadableItem,
        Vote,
        VoteResult,
    )
    from .spawn import Run, open_run

__all__ = [
    "AdversarialReview",
    "AdversarialReviewResult",
    "Advisor",
    "AdvisorResult",
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
    "Delegation",
    "Delegator",
    "DelegatorResult",
    "EventLog",
    "Evidence",
    "EvidenceKind",
    "Finding",
    "Fleet",
    "FleetResult",
    "FunctionRunner",
    "Item",
    "Lease",
    "Mailbox",
    "MapReduce",
    "MapReduceResult",
    "Match",
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
    "SpawnSubtask",
    "SpawnSubtaskResult",
    "StateStore",
    "Subtask",
    "Supervisor",
    "SupervisorResult",
    "Swarm",
    "SwarmResult",
    "SystemClock",
    "TokenAccounting",
    "ToolError",
    "Tournament",
    "TournamentResult",
    "UnreadableItem",
    "Vote",
    "VoteResult",
    "budget_skipped_output",
    "is_budget_skipped",
    "open_run",
]


def __getattr__(name: str) -> Any:
    """The patterns and their door, loaded with the first of them that is asked for: so that ``import carpool``
    costs no more than ``import asyncio``, which they will need."""
    from importlib import import_module  # "from . import" would ask this function for the module

    for place in ("carpool.patterns", "carpool.spawn"):
        module = import_module(place)
        if place.endswith(f".{name}"):
            return module
        if name in module.__all__:
            return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
