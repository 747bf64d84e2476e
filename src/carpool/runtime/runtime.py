"""One agent's runtime: its tools, the state, its lease, its mail. Everything it does is in the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ..actions import Action, ActionProposal, ActionStatus, Precondition, ProposalResult, Tier, ToolSchema
from ..budget import Lease
from ..clock import Clock, new_id
from ..errors import PolicyDenied, ToolError
from ..eventlog import EventLog
from ..events import Event, ProposalReceived
from ..mailbox import Inbox
from ..policy import ApprovalRequest, PolicyEngine, digest_of, tier_allows
from ..state import StateStore
from ..tools import Tool, as_tool
from .attempt import Attempt, Rejected
from .execution import Execution
from .foresight import Foresight, foresee
from .memory import Memory, own_copy
from .team import Identity, TeamContext

if TYPE_CHECKING:
    from pathlib import Path

    from ..recall import Ask

__all__ = ["Runtime"]

Executor = Callable[[str, dict[str, Any]], Awaitable[Any]]


class Runtime:
    """What one agent acts through. State, log and policies are the team's; tools, executor, caches and rate
    limits are its own.

    ``lease`` is the agent's place in the budget: a runner reserves and charges it per model call.
    ``workspace`` is the agent's own folder, if its pattern gave it one.
    """

    __slots__ = (
        "_executor",
        "_memory",
        "_offered",
        "_tools",
        "asks",
        "lease",
        "recalled",
        "team",
        "whose",
        "workspace",
    )

    def __init__(
        self,
        team: TeamContext,
        tools: dict[str, Tool] | None = None,
        whose: Identity | None = None,
        lease: Lease | None = None,
        workspace: Path | None = None,
        *,
        recalled: bool = False,
    ) -> None:
        self.team = team
        self._offered = tools  # shared with others: never changed here
        self._tools: dict[str, Tool] | None = None
        self._memory: Memory | None = None
        self._executor: Executor | None = None
        self.whose = whose or _NOBODY
        self.lease = lease
        self.workspace = workspace
        self.recalled = recalled  # it does not run: what it asked for is asked for again
        self.asks: list[Ask] = []  # how it has asked for other agents

    @property
    def agent(self) -> str:
        """The name of the agent."""
        return self.whose.agent

    @property
    def state(self) -> StateStore:
        return self.team.state

    @property
    def log(self) -> EventLog:
        return self.team.log

    @property
    def policies(self) -> PolicyEngine:
        return self.team.policies

    @property
    def clock(self) -> Clock:
        return self.team.clock

    @property
    def tools(self) -> dict[str, Tool]:
        """The tools that this agent can call, by name."""
        if self._tools is None:
            self._tools = dict(self._offered or {})
        return self._tools

    @property
    def memory(self) -> Memory:
        """What was called here before."""
        if self._memory is None:
            self._memory = Memory(self.clock)
        return self._memory

    @property
    def inbox(self) -> Inbox:
        """The agent's own inbox in this run."""
        if self.team.mailbox is None:
            raise RuntimeError("this runtime belongs to no run, so it has no inbox")
        return self.team.mailbox.register(self.agent)

    def effect_id(self, name: str) -> str:
        """A stable id for the effect ``name`` outside, an idempotency key for instance: the same on every retry of
        this agent and in every process that resumes this run; without a journal, wherever it has this place."""
        return digest_of({"run": self.whose.run, "agent": self.whose.key or self.whose.path, "effect": name})[:32]

    def register_tool(
        self,
        tool: Tool | ToolSchema | Callable[..., Any] | str,
        function: Callable[..., Any] | None = None,
        *,
        tier: Tier | None = None,
    ) -> Tool:
        """Let this agent, and no other, call ``tool``: a function, a schema with the ``function`` that does it,
        or a bare name, which the executor does.

        :raises ValueError: for what can't be a tool, or a name that is taken.
        :raises ConfigError: for an invalid schema.
        """
        if isinstance(tool, str):
            tool, function = ToolSchema(name=tool), self._by_executor(tool)
        added = as_tool(tool, function, tier)
        if added.schema.name in self.tools:
            raise ValueError(f"agent {self.agent!r} has a tool {added.schema.name!r} already")
        self.tools[added.schema.name] = added
        return added

    def use_executor(self, executor: Executor) -> None:
        """``executor(tool, parameters)`` does the tools that are registered by a bare name."""
        self._executor = executor

    async def call_tool(self, name: str, /, **arguments: Any) -> Any:
        """Run one tool as one action and return its output.

        The log gets what was called by whom with which outcome; of the arguments a digest, of an error its
        class. Cancelled, the action is logged as failed.

        :raises PolicyDenied: when a policy, a tier or an approver refuses.
        :raises ToolError: for a tool that this agent does not have, arguments that don't fit, or its failure.
        """
        tool, arguments, proposal_id = self.tools.get(name), own_copy(arguments), new_id()
        idempotent = tool is not None and tool.schema.idempotent
        # A proposal of one action: one id tells them both.
        action = Action(id=proposal_id, tool=name, parameters=arguments, idempotent=idempotent)
        self.log_action(ProposalReceived, proposal_id, actions=1)
        attempt = Attempt(self, proposal_id, action)
        result = await attempt.result(arguments)
        if result.status == ActionStatus.SUCCEEDED:
            return attempt.output
        redactor = self.team.redactor
        if attempt.denied:
            raise PolicyDenied(redactor.text(name), [redactor.text(reason) for reason in attempt.denied])
        # Without a cause where a traceback would show the secret that the text leaves out.
        cause = None if redactor.is_told_by(attempt.error) else attempt.error
        if isinstance(cause, ToolError):
            raise cause
        raise ToolError(redactor.text(name), result.error or str(result.status)) from cause

    async def execute(self, proposal: ActionProposal | dict[str, Any]) -> ProposalResult:
        """Validate, ask policy, execute and commit a proposal, or its wire JSON as a dict.

        Actions never make it raise: what became of each is in the result, in the proposal's order. Cancelled,
        it takes the state back to before the proposal.

        :raises ValueError: for what is no proposal, before anything runs.
        """
        return await Execution(self, _proposal(proposal)).run()

    def verify(self, proposal: ActionProposal | dict[str, Any]) -> Foresight:
        """What is wrong with ``proposal``, all of it, without any effect: after a blocked action it goes on as
        if that had worked."""
        return foresee(self, _proposal(proposal), blocked_take_effect=True)

    def simulate(self, proposal: ActionProposal | dict[str, Any]) -> Foresight:
        """What the state would be after ``proposal``, without any effect: a blocked action changes nothing."""
        return foresee(self, _proposal(proposal), blocked_take_effect=False)

    # For one action

    async def ask_for_tier(self, action: Action, schema: ToolSchema) -> None:
        """Return when the team's tier covers the tool, or somebody approves of exactly this call."""
        team, whose = self.team, self.whose
        if tier_allows(team.granted_tier, schema.tier):
            return
        try:
            request = ApprovalRequest.of(
                schema.name,
                schema.tier,
                action.parameters,
                agent=whose.agent,
                path=whose.path,
                run=whose.run,
                clock=team.clock,
            )
        except ValueError as error:
            raise Rejected(f"arguments can't be approved: {error}", denied=["arguments are not JSON"]) from None
        refusal = await team.approvals.refusal(request)
        if refusal is None and digest_of(action.parameters) != request.arguments_digest:
            refusal = f"the arguments of {schema.name!r} changed while somebody was asked about them"
        if refusal is not None:
            raise Rejected(refusal, denied=[refusal])

    def log_action(self, kind: Callable[..., Event], proposal: str, action: str = "", **fields: Any) -> None:
        """Append an event of an action of this agent."""
        whose = self.whose
        self.team.log.add(
            kind(
                timestamp=self.team.clock.now(),
                run=whose.run,
                agent=whose.agent,
                path=whose.path,
                parent=whose.parent,
                proposal=proposal,
                action=action,
                **fields,
            )
        )

    def _by_executor(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def execute(**arguments: Any) -> Any:
            if self._executor is None:
                raise ToolError(name, "no executor; register a function, or call use_executor")
            return await self._executor(name, arguments)

        return execute


def _proposal(proposal: ActionProposal | dict[str, Any]) -> ActionProposal:
    """A proposal of which every field is of its type: a struct made by hand need not be.

    :raises ValueError: for anything else.
    """
    if not isinstance(proposal, ActionProposal):
        return msgspec.convert(proposal, ActionProposal)
    fields = msgspec.structs.asdict(proposal)
    fields["actions"] = [_fields(action) for action in proposal.actions]
    return msgspec.convert(fields, ActionProposal)


def _fields(action: Any) -> dict[str, Any]:
    if not isinstance(action, Action):
        raise ValueError(f"an action is an Action, not a {type(action).__name__}")
    conditions: list[Any] = [
        msgspec.structs.asdict(each) if isinstance(each, Precondition) else each for each in action.preconditions
    ]
    return msgspec.structs.asdict(action) | {"preconditions": conditions}


_NOBODY = Identity()
