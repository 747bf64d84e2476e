"""What every place of one run has in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ..budget import CoordinationBudget
from ..infra import SharedInfra
from ..mailbox import Mailbox
from ..policy import Approvals
from ..recall import Forgetful, Recall
from ..runner import RunFunction
from ..types import TokenAccounting
from .approving import RememberedApprovals
from .door import Start
from .restoring import Restoring
from .turns import Turns

if TYPE_CHECKING:
    from asyncio import Task

__all__ = ["Shared"]


class Shared:
    """One run: its runner, its memory, its mail, and what has been learned and said in it so far."""

    def __init__(
        self,
        infra: SharedInfra,
        call_runner: RunFunction,
        run_id: str,
        recall: Recall,
        purse: CoordinationBudget,
        task: str = "",
    ) -> None:
        self.infra = infra
        self.call_runner = call_runner
        self.run_id = run_id
        self.task = task
        self.purse = purse
        self.recall = recall
        self.start: type[Start] = Start
        self.approvals: Approvals = infra.approvals
        if not isinstance(recall, Forgetful):
            from .remembered import RememberedStart  # not for those who remember nothing

            self.start = RememberedStart
            self.approvals = RememberedApprovals(infra.approvals, recall)
            self.restoring = Restoring(infra.state, run_id)
            self.last_chances = Turns()
        self.mailbox = Mailbox()
        self.clock = infra.clock
        self.log = infra.log
        self.team = infra.team(state=infra.state, log=infra.log, mailbox=self.mailbox, approvals=self.approvals)
        self.largest: dict[str, TokenAccounting] = {}  # role path -> the most that one start of it has spent
        self.said_exhausted = False
        self.warned: set[str] = set()  # dimensions of which a warning was given

        from asyncio import current_task, get_running_loop  # here, because importing carpool must not load it

        # The task that calls it. Its ``cancelling()`` counts how often it was asked to cancel, natively or by a
        # scope: a runner can swallow the exception, not the count.
        self.this_task = cast("Callable[[], Task[Any]]", partial(current_task, get_running_loop()))
