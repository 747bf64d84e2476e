"""What a team shares: state, log, policies, budget, tools and rights; and the making of runtimes from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .actions import Tier
from .budget import CoordinationBudget, Lease
from .clock import Clock, SystemClock
from .eventlog import EventLog
from .events import LimitsRaised
from .mailbox import Mailbox
from .policy import Approvals, Approver, PolicyEngine, tier_allows
from .runtime import Identity, Runtime, TeamContext
from .secrets import Redactor
from .state import OverlayState, StateStore
from .tools import Tool, as_tool
from .types import AgentOutput, BudgetLimits, TokenAccounting, refuse_unless_limits

if TYPE_CHECKING:
    from .recall import RecallSource

__all__ = ["AgentContext", "SharedInfra"]


class SharedInfra:
    """One vehicle and one fare. Runs that are given the same infra share all of it, the budget too."""

    def __init__(
        self,
        *,
        state: StateStore | None = None,
        log: EventLog | None = None,
        policies: PolicyEngine | None = None,
        budget: CoordinationBudget | BudgetLimits | None = None,
        journal: RecallSource | None = None,
        tools: Iterable[Tool | Callable[..., Any]] = (),
        granted_tier: Tier = "full_access",
        approver: Approver | None = None,
        secrets: Iterable[str] = (),
        clock: Clock | None = None,
    ) -> None:
        """``budget`` takes limits or a budget; ``tools`` are what agents may name in their ``spec.tools``.

        A tool beyond ``granted_tier`` runs only if ``approver(request)`` says ``True`` to exactly that call.
        ``secrets`` are values that never enter the log, an error or a result of an action.

        :raises ValueError: when two tools have one name, a secret is too short to be found, or there is no such
            tier.
        """
        if budget is not None and not isinstance(budget, CoordinationBudget):
            refuse_unless_limits(budget, "budget")
        if journal is not None and not hasattr(journal, "open_run"):
            raise TypeError(f"journal is one of carpool.durable, as SqliteJournal('runs.db'), not {journal!r}")
        tier_allows(granted_tier, "read_only")  # refuses a tier that there is none of
        self.clock = clock or SystemClock()
        self.state = state if state is not None else StateStore(clock=self.clock)
        self.log = log if log is not None else EventLog(clock=self.clock)
        self.policies = policies if policies is not None else PolicyEngine()
        self.granted_tier: Tier = granted_tier
        self.approvals = Approvals(approver)
        self.redactor = Redactor(secrets)
        self.journal = journal
        if not isinstance(budget, CoordinationBudget):
            budget = CoordinationBudget(budget, clock=self.clock)
        self.budget = budget
        self.tools: dict[str, Tool] = {}
        for each in map(as_tool, tools):
            if each.schema.name in self.tools:
                raise ValueError(f"two tools are called {each.schema.name!r}")
            self.tools[each.schema.name] = each

    def team(
        self,
        *,
        state: StateStore,
        log: EventLog,
        mailbox: Mailbox | None = None,
        approvals: Approvals | None = None,
    ) -> TeamContext:
        """What runtimes on this infra have in common, with the state and log that they act on."""
        return TeamContext(
            state=state,
            log=log,
            clock=self.clock,
            policies=self.policies,
            granted_tier=self.granted_tier,
            approvals=approvals or self.approvals,
            redactor=self.redactor,
            mailbox=mailbox,
        )

    def begin_agent(self, estimate: TokenAccounting | None = None) -> Lease:
        """Ask the budget for one start, outside any pattern.

        :raises BudgetError: when it is refused.
        """
        return self.budget.try_begin_agent(estimate)

    def record_output(self, output: AgentOutput) -> None:
        """Book what an agent reports that ran outside any pattern and without a lease."""
        self.budget.record_output(output)

    def raise_limits(self, limits: BudgetLimits) -> None:
        """Replace the dimensions that ``limits`` gives, up or down, and say so in the log."""
        self.budget.raise_limits(limits)
        self.log.append(LimitsRaised(snapshot=self.budget.snapshot()))

    def make_runtime(self) -> Runtime:
        """A runtime on the shared state, log and policies, with tools of its own to begin from."""
        return Runtime(self.team(state=self.state, log=self.log), self.tools)

    def make_isolated_runtime(self, agent_name: str) -> tuple[Runtime, AgentContext]:
        """A runtime on an overlay of the state and a log of its own, until its context is merged."""
        context = AgentContext(self, agent_name)
        team = self.team(state=context.state, log=context.log)
        return Runtime(team, self.tools, Identity(agent=agent_name)), context


class AgentContext:
    """What an isolated agent has changed and logged, apart from its team until it is merged."""

    def __init__(self, infra: SharedInfra, agent_name: str) -> None:
        self._infra = infra
        self.state = OverlayState(infra.state, agent_name)
        self.log = EventLog(clock=infra.clock)

    def merge_to_parent(self) -> None:
        """Replay state changes onto the team's state, then the events onto its log; once.

        :raises StateConflict: when others changed the same keys; nothing is merged.
        """
        self.state.merge()
        events, self.log = self.log.events(), EventLog(clock=self._infra.clock)
        self._infra.log.extend(events)
