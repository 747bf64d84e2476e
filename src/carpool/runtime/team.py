"""Whose runtime it is, and what the runtimes of one team have in common."""

from __future__ import annotations

from msgspec import Struct

from ..actions import Tier
from ..clock import Clock
from ..eventlog import EventLog
from ..mailbox import Mailbox
from ..policy import Approvals, PolicyEngine, tier_allows
from ..secrets import Redactor
from ..state import StateStore

__all__ = ["Identity", "TeamContext"]


class Identity(Struct, frozen=True):
    """In the words of the log: the run, the agent, its path, and the path of the agent that asked for it.

    ``key`` is the same in every process that runs this run again; the path will do where nothing is remembered.
    """

    run: str = ""
    agent: str = ""
    path: str = ""
    parent: str | None = None
    key: str = ""


class TeamContext:
    """State, log, policies, rights and mail of a team."""

    def __init__(
        self,
        *,
        state: StateStore,
        log: EventLog,
        clock: Clock,
        policies: PolicyEngine,
        granted_tier: Tier,
        approvals: Approvals,
        redactor: Redactor,
        mailbox: Mailbox | None = None,
    ) -> None:
        self.state = state
        self.log = log
        self.clock = clock
        tier_allows(granted_tier, "read_only")  # refuses a tier that there is none of
        self.policies = policies
        self.granted_tier: Tier = granted_tier
        self.approvals = approvals
        self.redactor = redactor
        self.mailbox = mailbox
