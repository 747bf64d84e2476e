"""Every error carpool raises, in one tree. Imports nothing.

    CarpoolError
    ├── BudgetError               the budget said no
    │   ├── BudgetExhausted       a spend, time or depth limit is reached, or the estimate does not fit
    │   └── AgentLimitReached     as many agents were started as may be
    ├── AgentFailed               an agent that the run cannot go on without has failed
    ├── UnknownSpecialist         a delegation to a name that is not on the list
    ├── NoOutput                  nobody was left to give an answer
    ├── AdvisorExhausted          the advisor has been asked as often as allowed
    ├── MailboxError
    │   ├── UnknownRecipient      nobody of that name in this run
    │   ├── MailboxTimeout        nothing arrived in time
    │   └── MailboxFull           the recipient is not reading
    ├── ModelError                a call of a language model came to nothing
    ├── PolicyDenied              a rule or a missing right forbids the action
    ├── ToolError                 a tool failed, was called wrongly, or does not exist
    ├── StateConflict             the state changed under a compare-and-set or a merge
    ├── JournalError              the record of a run cannot be read or written
    │   ├── RunNotFound           no such run in this journal
    │   ├── RunInUse              another process holds this run
    │   └── JournalCorrupt        what was read is not what was written
    ├── WorkspaceError            a folder for an agent could not be made, or lies where it must not
    └── ConfigError               a file or setting that cannot be used as it is

A wrong argument is not in the tree: that is a ``ValueError`` (or ``TypeError``), as everywhere in Python.

Every error pickles. One that ends a run part-way has ``partial``, the result with everything already paid
for, and ``usage``, what that cost; on all others both are ``None``. The fields are machine-readable; the
text says what happened, with the numbers, and what to do next.
"""

from __future__ import annotations

from typing import Any, Literal

__all__ = [
    "AdvisorExhausted",
    "AgentFailed",
    "AgentLimitReached",
    "BudgetError",
    "BudgetExhausted",
    "CarpoolError",
    "ConfigError",
    "JournalCorrupt",
    "JournalError",
    "MailboxError",
    "MailboxFull",
    "MailboxTimeout",
    "ModelError",
    "NoOutput",
    "PolicyDenied",
    "RunInUse",
    "RunNotFound",
    "StateConflict",
    "ToolError",
    "UnknownRecipient",
    "UnknownSpecialist",
    "WorkspaceError",
]


def worded(error: BaseException) -> str:
    """``TypeName: text``, as an agent's error is written; an exception that can't be printed is no exception."""
    try:
        text = str(error)
    except Exception:
        text = "(it has a text that can't be printed)"
    return f"{type(error).__name__}: {text}"


class CarpoolError(Exception):
    """The root: ``except CarpoolError`` catches all that carpool itself raises."""

    partial: Any = None
    usage: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the class with its *message*; here each class takes fields instead.
        return _revive, (type(self), self.args, self.__dict__)


def _revive(kind: type[CarpoolError], args: tuple[Any, ...], fields: dict[str, Any]) -> CarpoolError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


class BudgetError(CarpoolError):
    """The budget refused a start or a model call. ``snapshot`` is the refusing purse as it then stood."""

    def __init__(self, text: str, snapshot: Any = None) -> None:
        super().__init__(text)
        self.snapshot = snapshot


class BudgetExhausted(BudgetError):
    """A spend, time or depth limit refused.

    ``reason`` is the whole sentence; ``dimension`` the limit that refused (``"input_tokens"``,
    ``"output_tokens"``, ``"total_tokens"``, ``"cost_usd"``, ``"unpriced"``, ``"seconds"``, ``"depth"``).
    ``held_back`` is true when only the holds of agents in flight stand in the way: asking again after one
    of them settles may succeed.
    """

    def __init__(self, reason: str, snapshot: Any = None, *, dimension: str = "", held_back: bool = False) -> None:
        super().__init__(reason, snapshot)
        self.reason = reason
        self.dimension = dimension
        self.held_back = held_back


class AgentLimitReached(BudgetError):
    """``started`` agents of at most ``max_agents`` were started; the next one is refused."""

    def __init__(self, max_agents: int, started: int, snapshot: Any = None) -> None:
        super().__init__(
            f"agent limit reached: {started} of at most {max_agents} agents started; raise max_agents to go on",
            snapshot,
        )
        self.max_agents = max_agents
        self.started = started


class AgentFailed(CarpoolError):
    """The agent ``name``, without whom the pattern has no result, failed with ``message``."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"agent {name!r} failed and the run cannot go on without it: {message}")
        self.name = name
        self.message = message


class UnknownSpecialist(CarpoolError):
    """``name`` is not among the ``known`` specialists."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"no specialist {name!r}; there are: {', '.join(known)}")
        self.name = name
        self.known = known


class NoOutput(CarpoolError):
    """No agent gave an answer that the pattern could go on with."""


class AdvisorExhausted(CarpoolError):
    """The advisor was consulted ``used`` times of at most ``max_uses``."""

    def __init__(self, used: int, max_uses: int) -> None:
        super().__init__(f"the advisor was consulted {used} of at most {max_uses} times; go on without it")
        self.used = used
        self.max_uses = max_uses


class MailboxError(CarpoolError):
    """A message could not be sent or received."""


class UnknownRecipient(MailboxError):
    """Nobody called ``name`` takes part in this run; ``known`` are those who do."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"no recipient {name!r} in this run; known: {', '.join(known) or 'nobody'}")
        self.name = name
        self.known = known


class MailboxTimeout(MailboxError):
    """No message for ``name`` within ``timeout_s`` seconds."""

    def __init__(self, name: str, timeout_s: float) -> None:
        super().__init__(f"no message for {name!r} within {timeout_s:g} s")
        self.name = name
        self.timeout_s = timeout_s


class MailboxFull(MailboxError):
    """The inboxes of ``names`` hold ``capacity`` unread messages; everyone else got the message."""

    def __init__(self, names: list[str], capacity: int) -> None:
        super().__init__(
            f"inbox full ({capacity} unread): {', '.join(names)}; send again once they have read, or send less"
        )
        self.names = names
        self.capacity = capacity


_WHAT_TO_DO = {
    "transient": "",
    "quota": "; waiting does not help, the account needs credit or a higher limit",
    "permanent": "; asking again does not help",
}


class ModelError(CarpoolError):
    """A model call that came to nothing.

    ``kind`` is ``"transient"`` (a rate limit, an overloaded or broken server, a lost connection: later it may work),
    ``"quota"`` (no credit left) or ``"permanent"`` (a wrong key, model or request, an answer that can't be read).
    ``status`` is the HTTP status, if there was one; ``retry_after_s`` what the provider asked to wait. ``refused``
    says that the provider answered that it did nothing, or was never reached: then nothing is booked for the call.
    """

    def __init__(
        self,
        kind: Literal["transient", "quota", "permanent"],
        model: str,
        text: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        refused: bool = False,
    ) -> None:
        super().__init__(f"{model}: {text}{_WHAT_TO_DO[kind]}")
        self.kind = kind
        self.model = model
        self.status = status
        self.retry_after_s = retry_after_s
        self.refused = refused


class PolicyDenied(CarpoolError):
    """A policy, a tier or an approver refused the action on ``tool``; ``violations`` says which and why."""

    def __init__(self, tool: str, violations: list[str]) -> None:
        super().__init__(f"tool {tool!r} was denied: {'; '.join(violations)}")
        self.tool = tool
        self.violations = violations


class ToolError(CarpoolError):
    """The tool ``tool`` could not be run, or failed with ``message``."""

    def __init__(self, tool: str, message: str) -> None:
        super().__init__(f"tool {tool!r}: {message}")
        self.tool = tool
        self.message = message


class StateConflict(CarpoolError):
    """``key`` is at version ``version``, not at the one that was expected. Read it again, then retry."""

    def __init__(self, key: str, version: int, text: str) -> None:
        super().__init__(text)
        self.key = key
        self.version = version


class JournalError(CarpoolError):
    """The record of a run cannot be read or written."""


class RunNotFound(JournalError):
    """The journal holds no run ``run_id``."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"no run {run_id!r} in this journal")
        self.run_id = run_id


class RunInUse(JournalError):
    """``run_id`` is being run by ``owner`` at this moment."""

    def __init__(self, run_id: str, owner: str) -> None:
        super().__init__(f"run {run_id!r} is in use by {owner}; wait for it, or choose another run_id")
        self.run_id = run_id
        self.owner = owner


class JournalCorrupt(JournalError):
    """What stands at ``place`` is not what was written."""

    def __init__(self, place: str, text: str) -> None:
        super().__init__(f"{place}: {text}")
        self.place = place


class WorkspaceError(CarpoolError):
    """A workspace could not be provided, or a path leads out of it."""


class ConfigError(CarpoolError):
    """A file or setting that cannot be used: the text names file, key and what was expected."""
