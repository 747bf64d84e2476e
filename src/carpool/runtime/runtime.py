"""What one agent acts through: its tools, the state, its lease, its mail. Everything it does is in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from .budget import Lease
from .clock import Clock, new_id
from .errors import ToolError
from .eventlog import EventLog
from .events import ActionExecuting, ActionFailed, ActionSucceeded, ActionValidated, Event, ProposalReceived
from .mailbox import Inbox, Mailbox
from .state import StateStore
from .tools import Tool, as_tool

__all__ = ["Identity", "Runtime", "TeamContext"]


class Identity(Struct, frozen=True):
    """Whose runtime it is, in the words of the log: the run, the agent, its path, and who asked for it."""

    run: str = ""
    agent: str = ""
    path: str = ""
    parent: str | None = None


class TeamContext:
    """What the runtimes of one team have in common."""

    def __init__(self, state: StateStore, log: EventLog, clock: Clock, mailbox: Mailbox | None = None) -> None:
        self.state = state
        self.log = log
        self.clock = clock
        self.mailbox = mailbox


class Runtime:
    """One agent's way to act. State and log are the team's; the tools are its own.

    ``lease`` is the agent's place in the budget: a runner reserves and charges it per model call.
    """

    __slots__ = ("_offered", "_team", "_tools", "lease", "whose")

    def __init__(
        self,
        team: TeamContext,
        tools: dict[str, Tool] | None = None,
        whose: Identity | None = None,
        lease: Lease | None = None,
    ) -> None:
        self._team = team
        self._offered = tools  # shared with others: never changed here
        self._tools: dict[str, Tool] | None = None
        self.whose = whose or Identity()
        self.lease = lease

    @property
    def agent(self) -> str:
        """The name of the agent."""
        return self.whose.agent

    @property
    def state(self) -> StateStore:
        return self._team.state

    @property
    def log(self) -> EventLog:
        return self._team.log

    @property
    def tools(self) -> dict[str, Tool]:
        """The tools that this agent can call, by name."""
        if self._tools is None:
            self._tools = dict(self._offered or {})
        return self._tools

    @property
    def inbox(self) -> Inbox:
        """The agent's own inbox in this run."""
        if self._team.mailbox is None:
            raise RuntimeError("this runtime belongs to no run, so it has no inbox")
        return self._team.mailbox.register(self.agent)

    def register_tool(self, tool: Tool | Callable[..., Any]) -> Tool:
        """Let this agent, and no other, call ``tool``.

        :raises ValueError: for a function that can't be a tool, or a name that is taken.
        """
        added = as_tool(tool)
        if added.schema.name in self.tools:
            raise ValueError(f"agent {self.agent!r} has a tool {added.schema.name!r} already")
        self.tools[added.schema.name] = added
        return added

    async def call_tool(self, name: str, /, **arguments: Any) -> Any:
        """Run one tool as one action and return its output.

        The log gets what was called by whom with which outcome; of the arguments a digest, of an error its
        class. Cancelled, the action is logged as failed.

        :raises ToolError: for a tool that this agent does not have, arguments that don't fit, or its failure.
        """
        log, clock = _ActionLog(self, name), self._team.clock
        log.add(ProposalReceived, actions=1)
        tool = self.tools.get(name)
        if tool is None:
            log.add(ActionFailed, error="UnknownTool")
            known = ", ".join(sorted(self.tools)) or "none"
            raise ToolError(name, f"agent {self.agent!r} has no such tool; it has: {known}")
        log.add(ActionValidated)
        log.add(ActionExecuting, parameters_digest=_digest(arguments))
        began = clock.monotonic()
        try:
            output = await tool.call(arguments)
        except BaseException as error:
            log.add(ActionFailed, duration_ms=(clock.monotonic() - began) * 1e3, error=type(error).__name__)
            if isinstance(error, ToolError) or not isinstance(error, Exception):
                raise
            raise ToolError(name, f"{type(error).__name__}: {error}") from error
        log.add(ActionSucceeded, duration_ms=(clock.monotonic() - began) * 1e3)
        return output


class _ActionLog:
    """The events of one action, each of which says whose it is."""

    def __init__(self, runtime: Runtime, tool: str) -> None:
        self._log = runtime.log
        whose = runtime.whose
        self._common: dict[str, Any] = {
            "run": whose.run,
            "agent": whose.agent,
            "path": whose.path,
            "parent": whose.parent,
            "proposal": new_id(),
            "action": new_id(),
            "tool": tool,
        }

    def add(self, kind: Callable[..., Event], **fields: Any) -> None:
        self._log.append(kind(**self._common, **fields))


def _digest(arguments: dict[str, Any]) -> str:
    from hashlib import sha256  # loads a shared library, and only who calls tools needs it

    try:
        text = msgspec.json.encode(arguments, order="deterministic")
    except (TypeError, ValueError):
        text = repr(sorted(arguments)).encode("utf-8", "replace")  # not JSON: the names are all that is sure
    return sha256(text).hexdigest()

