"""Agents and patterns as a team file says them: a struct for each table. Decoder and JSON Schema are made from these.

A pattern's table has the names and defaults of its constructor's arguments; an agent's table those of
``AgentSpec``. Where Python takes a member, a file takes a name from ``agents``, or a table.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from ..patterns import Item
from ..patterns.spawn_subtask import SUBAGENT_PROMPT
from ..types import TokenAccounting
from .table import Budget, NotNegative, Positive, Seconds, Table, Text
from .workspaces_table import WorkspacesTable

__all__ = [
    "MEMBERS",
    "AdversarialReviewTable",
    "AdvisorTable",
    "AgentTable",
    "AnyPattern",
    "DelegatorTable",
    "FleetTable",
    "InlineAgent",
    "MapReduceTable",
    "Member",
    "Mission",
    "PatternTable",
    "PipelineTable",
    "SpawnSubtaskTable",
    "SupervisorTable",
    "SwarmTable",
    "TournamentTable",
    "VoteTable",
]

# Agents


class AgentTable(Table, frozen=True, kw_only=True, tag_field="pattern", tag="agent"):
    """An agent; its name is the key that it stands under."""

    system_prompt: str
    tools: list[str] = []
    max_turns: Positive = 10
    metadata: dict[str, Any] = {}
    cache_control: bool = False
    model: str | None = None
    timeout_s: Seconds | None = None
    retries: NotNegative = 0
    estimate: str | TokenAccounting | None = None
    budget: Budget | None = None
    role: str | None = None


class InlineAgent(AgentTable, frozen=True, kw_only=True, tag_field="pattern", tag="agent"):
    """An agent in the place where it works."""

    name: Text


# Patterns

MEMBERS = frozenset(
    [
        *("advisor", "agents", "competitors", "executor", "judge", "main", "mapper", "reducer"),
        *("reviewer", "specialists", "stages", "supervisor", "synthesizer", "workers"),
    ]
)
"""The keys of patterns behind which members stand."""


class PatternTable(Table, frozen=True, kw_only=True):
    """What all patterns take."""

    name: Text | None = None
    budget: Budget | None = None
    quote_limit: Positive | None = None


class SwarmTable(PatternTable, frozen=True, kw_only=True, tag_field="pattern", tag="swarm"):
    """Several agents on one task: side by side, one after the other, or in debate."""

    agents: Members
    mode: Literal["parallel", "sequential", "debate"] = "parallel"
    synthesizer: Member | None = None
    rounds: Positive = 2
    max_concurrent: Positive | None = None
    isolated: bool = False
    workspaces: WorkspacesTable | None = None
    reserve_for_finalizer: bool | None = None


class PipelineTable(PatternTable, frozen=True, kw_only=True, tag_field="pattern", tag="pipeline"):
    """Each stage works on the answer of the one before."""

    stages: Members
    on_failure: Literal["stop", "continue"] = "stop"


class SupervisorTable(PatternTable, frozen=True, kw_only=True, tag_field="pattern", tag="supervisor"):
    """Workers answer, a supervisor approves or says what to do better, round by round."""

    workers: Members
    supervisor: Member
    max_rounds: Positive = 3


class DelegatorTable(PatternTable, frozen=True, kw_only=True, tag_field="pattern", tag="delegator"):
    """One agent does the work, and gives parts of it to specialists."""

    main: Member
    specialists: Annotated[dict[str, Member], Meta(min_length=1)]
    max_delegations: NotNegative | None = None


class SpawnSubtaskTable(PatternTable, frozen=True, kw_only=True, tag_field="pattern", tag="spawn_subtask"):
    """One agent does the work, and has parts of it done by subagents that it makes up itself."""

    main: Member
    subagent_prompt: str = SUBAGENT_PROMPT
    subagent_max_turns: Positive = 10
    max_subtasks: NotNegative | None = None
    max_depth: Positive = 1


class MapReduceTable(PatternTable, frozen=True, kw_only=True, tag_field="pattern", tag="map_reduce"):
    """One agent per item; one more makes a single answer of theirs."""

    mapper: Member
    reducer: Member
    max_concurrent: Positive = 5
    fan_in: Annotated[int, Meta(ge=2)] | None = None
    reduce_chars: Annotated[int, Meta(ge=2)] | None = None
    reserve_for_finalizer: bool | None = None
    items: list[str | Item] | None = None


class VoteTable(PatternTable, frozen=True, kw_only=True, tag_field="pattern", tag="vote"):
    """Several agents answer the same question; the answer that most of them give wins."""

    agents: Members
    synthesizer: Member | None = None
    max_concurrent: Positive | None = None
    quorum: Positive | None = None
    stop_when_decided: bool = True
    reserve_for_finalizer: bool | None = None


class TournamentTable(PatternTable, frozen=True, kw_only=True, tag_field="pattern", tag="tournament"):
    """Competitors answer once; a judge compares them two by two until one is left."""

    competitors: Members
    judge: Member
    both_orders: bool = False
    max_concurrent: Positive | None = None


class AdversarialReviewTable(PatternTable, frozen=True, kw_only=True, tag_field="pattern", tag="adversarial_review"):
    """A reviewer looks for what is wrong with the task, which is the work, criterion by criterion."""

    reviewer: Member
    criteria: Annotated[list[Text], Meta(min_length=1)]
    fail_on_blockers: bool = True


class AdvisorTable(PatternTable, frozen=True, kw_only=True, tag_field="pattern", tag="advisor"):
    """Whoever does the work may ask for advice, a bounded number of times."""

    advisor: Member
    max_uses: Positive
    executor: Member | None = None


class FleetTable(PatternTable, frozen=True, kw_only=True, tag_field="pattern", tag="fleet"):
    """Agents that each have a mission of their own."""

    agents: Annotated[list[Mission], Meta(min_length=1)]
    agent_timeout_s: Seconds | None = None
    max_concurrent: Positive | None = None


class Mission(Table, frozen=True, kw_only=True):
    """One agent of a fleet, and what it is to do."""

    agent: Member
    mission: str


AnyPattern = (
    SwarmTable
    | PipelineTable
    | SupervisorTable
    | DelegatorTable
    | SpawnSubtaskTable
    | MapReduceTable
    | VoteTable
    | TournamentTable
    | AdversarialReviewTable
    | AdvisorTable
    | FleetTable
)
Member = str | InlineAgent | AnyPattern
Members = Annotated[list[Member], Meta(min_length=1)]
