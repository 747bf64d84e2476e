"""The whole of a team file, as one struct."""

from __future__ import annotations

from msgspec import field

from ..actions import Tier
from .policies_table import PoliciesTable
from .runner_table import RunnerTable
from .table import Budget, Table
from .tables import AgentTable, AnyPattern
from .tools_table import ToolsTable

__all__ = ["TeamTable"]


class TeamTable(Table, frozen=True, kw_only=True):
    """A team: its pattern, the agents in it, and what they share."""

    team: str | AnyPattern
    agents: dict[str, AgentTable | AnyPattern] = {}
    task: str | None = None
    budget: Budget | None = None
    runner: str | RunnerTable | None = None
    tools: ToolsTable | None = None
    policies: str | PoliciesTable | None = None
    granted_tier: Tier | None = None
    schema_: str | None = field(default=None, name="$schema")
