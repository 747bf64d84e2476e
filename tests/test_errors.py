"""One tree of errors: what stands where, what each carries, what it says, and that each survives a pickle."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import re

import pytest

from carpool import errors
from carpool.budget import CoordinationBudget
from carpool.errors import (
    AdvisorExhausted,
    AgentFailed,
    AgentLimitReached,
    BudgetError,
    BudgetExhausted,
    CarpoolError,
    ConfigError,
    JournalCorrupt,
    JournalError,
    MailboxError,
    MailboxFull,
    MailboxTimeout,
    ModelError,
    NoOutput,
    PolicyDenied,
    RunInUse,
    RunNotFound,
    StateConflict,
    ToolError,
    UnknownRecipient,
    UnknownSpecialist,
    WorkspaceError,
)
from carpool.types import AgentOutput, BudgetLimits, BudgetSnapshot, TokenAccounting

SNAPSHOT = BudgetSnapshot(
    input_tokens=7,
    total_tokens=7,
    limits=BudgetLimits(max_input_tokens=7),
    exhausted=True,
    held=TokenAccounting(cost_usd=0.5),
)

EXAMPLES: list[CarpoolError] = [
    CarpoolError("something"),
    BudgetError("no", SNAPSHOT),
    BudgetError("no"),
    BudgetExhausted("max_input_tokens reached: 7 of 7", SNAPSHOT, dimension="input_tokens", held_back=True),
    BudgetExhausted("max_input_tokens reached"),
    AgentLimitReached(3, 4, SNAPSHOT),
    AgentLimitReached(max_agents=3, started=3),
    AgentFailed("judge", "TypeError: no"),
    UnknownSpecialist("poet", ["coder", "tester"]),
    NoOutput("nobody was left"),
    NoOutput(),
    AdvisorExhausted(2, 2),
    MailboxError("gone"),
    UnknownRecipient("poet", ["coder"]),
    UnknownRecipient("poet", []),
    MailboxTimeout("coder", 2.5),
    MailboxFull(["coder", "poet"], 64),
    ModelError("quota", "openai:x", "no credit left", status=429, refused=True),
    PolicyDenied("shell", ["no_rm: forbidden", "tier: read_only"]),
    ToolError("shell", "exit 1"),
    StateConflict("plan", 3, "plan is at version 3, not 2"),
    JournalError("disk full"),
    RunNotFound("run-1"),
    RunInUse("run-1", "pid 12 on host"),
    JournalCorrupt("agents row 7", "digest differs"),
    WorkspaceError("outside"),
    ConfigError("team.toml: agents: expected a list"),
]
EVERY_ERROR = pytest.mark.parametrize(
    "error", EXAMPLES, ids=[f"{type(example).__name__}-{number}" for number, example in enumerate(EXAMPLES)]
)

PARENTS = {
    "BudgetError": "CarpoolError",
    "BudgetExhausted": "BudgetError",
    "AgentLimitReached": "BudgetError",
    "AgentFailed": "CarpoolError",
    "UnknownSpecialist": "CarpoolError",
    "NoOutput": "CarpoolError",
    "AdvisorExhausted": "CarpoolError",
    "MailboxError": "CarpoolError",
    "UnknownRecipient": "MailboxError",
    "MailboxTimeout": "MailboxError",
    "MailboxFull": "MailboxError",
    "ModelError": "CarpoolError",
    "PolicyDenied": "CarpoolError",
    "ToolError": "CarpoolError",
    "StateConflict": "CarpoolError",
    "JournalError": "CarpoolError",
    "RunNotFound": "JournalError",
    "RunInUse": "JournalError",
    "JournalCorrupt": "JournalError",
    "WorkspaceError": "CarpoolError",
    "ConfigError": "CarpoolError",
}


# The tree


def classes() -> dict[str, type[BaseException]]:
    found = inspect.getmembers(errors, lambda each: inspect.isclass(each) and each.__module__ == errors.__name__)
    return {name: each for name, each in found if issubclass(each, BaseException)}


def test_the_tree_is_the_contracts() -> None:
    parents = {name: each.__bases__[0].__name__ for name, each in classes().items() if each is not CarpoolError}

    assert {name: parents.get(name) for name in PARENTS} == PARENTS
    assert CarpoolError.__bases__ == (Exception,)
    assert all(issubclass(each, CarpoolError) for each in classes().values())


def test_the_tree_drawn_on_top_is_the_tree_there_is() -> None:
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for indent, name in re.findall(r"^([ │├└─]*)([A-Z]\w+)(?= {2,}|$)", errors.__doc__ or "", re.MULTILINE):
        while above and above[-1][0] >= len(indent):
            above.pop()
        if above:
            drawn[name] = above[-1][1]
        above.append((len(indent), name))

    assert drawn == {
        name: each.__bases__[0].__name__ for name, each in classes().items() if each.__bases__[0] is not Exception
    }


def test_every_error_is_handed_out_in_order() -> None:
    assert errors.__all__ == sorted(classes())


def test_every_error_has_an_example_here() -> None:
    assert {type(example).__name__ for example in EXAMPLES} == set(classes())


def test_errors_import_nothing_of_carpool() -> None:
    tree = ast.parse(inspect.getsource(errors))
    imported = [
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]

    assert set(imported) <= {"__future__", "typing"}


# What they carry


@EVERY_ERROR
def test_partial_and_usage_are_none_until_a_run_sets_them(error: CarpoolError) -> None:
    assert error.partial is None
    assert error.usage is None


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (EXAMPLES[3], {"reason": "max_input_tokens reached: 7 of 7", "snapshot": SNAPSHOT, "held_back": True}),
        (EXAMPLES[3], {"dimension": "input_tokens"}),
        (EXAMPLES[4], {"reason": "max_input_tokens reached", "snapshot": None, "held_back": False, "dimension": ""}),
        (AgentLimitReached(3, 4, SNAPSHOT), {"max_agents": 3, "started": 4, "snapshot": SNAPSHOT}),
        (AgentFailed("judge", "no"), {"name": "judge", "message": "no"}),
        (UnknownSpecialist("poet", ["coder"]), {"name": "poet", "known": ["coder"]}),
        (AdvisorExhausted(2, 3), {"used": 2, "max_uses": 3}),
        (UnknownRecipient("poet", ["coder"]), {"name": "poet", "known": ["coder"]}),
        (MailboxTimeout("coder", 2.5), {"name": "coder", "timeout_s": 2.5}),
        (MailboxFull(["coder"], 64), {"names": ["coder"], "capacity": 64}),
        (ModelError("transient", "m", "x", retry_after_s=2), {"kind": "transient", "model": "m", "retry_after_s": 2}),
        (PolicyDenied("shell", ["no"]), {"tool": "shell", "violations": ["no"]}),
        (ToolError("shell", "exit 1"), {"tool": "shell", "message": "exit 1"}),
        (StateConflict("plan", 3, "text"), {"key": "plan", "version": 3}),
        (RunNotFound("run-1"), {"run_id": "run-1"}),
        (RunInUse("run-1", "pid 12"), {"run_id": "run-1", "owner": "pid 12"}),
        (JournalCorrupt("row 7", "differs"), {"place": "row 7"}),
    ],
)
def test_fields_are_machine_readable(error: CarpoolError, fields: dict[str, object]) -> None:
    assert {name: getattr(error, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AgentLimitReached(3, 4), ["4", "3", "max_agents"]),
        (AgentFailed("judge", "TypeError: no"), ["judge", "TypeError: no"]),
        (UnknownSpecialist("poet", ["coder", "tester"]), ["poet", "coder", "tester"]),
        (AdvisorExhausted(2, 3), ["2", "3"]),
        (UnknownRecipient("poet", ["coder"]), ["poet", "coder"]),
        (MailboxTimeout("coder", 2.5), ["coder", "2.5"]),
        (MailboxFull(["coder", "poet"], 64), ["coder", "poet", "64"]),
        (PolicyDenied("shell", ["no_rm", "tier"]), ["shell", "no_rm", "tier"]),
        (ToolError("shell", "exit 1"), ["shell", "exit 1"]),
        (RunNotFound("run-1"), ["run-1"]),
        (RunInUse("run-1", "pid 12"), ["run-1", "pid 12"]),
        (JournalCorrupt("row 7", "differs"), ["row 7", "differs"]),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_message_says_what_happened_with_the_numbers(error: CarpoolError, said: list[str]) -> None:
    assert all(part in str(error) for part in said)


# Pickles


@EVERY_ERROR
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_pickles_with_its_text_and_fields(error: CarpoolError, protocol: int) -> None:
    arrived = pickle.loads(pickle.dumps(error, protocol))

    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert arrived.args == error.args
    assert vars(arrived) == vars(error)
    assert (arrived.partial, arrived.usage) == (None, None)


@EVERY_ERROR
def test_every_error_pickles_with_what_a_run_put_into_it(error: CarpoolError) -> None:
    error = copy.copy(error)
    error.partial = [AgentOutput(name="reader", answer="half of it", tokens=TokenAccounting(input_tokens=5))]
    error.usage = TokenAccounting(input_tokens=5, cost_usd=0.1)
    error.add_note("in pattern 'vote'")

    arrived = pickle.loads(pickle.dumps(error))

    assert arrived.partial == error.partial
    assert arrived.usage == error.usage
    assert arrived.__notes__ == ["in pattern 'vote'"]
    assert str(arrived) == str(error)


@EVERY_ERROR
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_every_error_copies(error: CarpoolError, duplicate) -> None:
    twin = duplicate(error)

    assert twin is not error
    assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))


@EVERY_ERROR
def test_an_error_that_was_pickled_can_be_pickled_again_and_raised(error: CarpoolError) -> None:
    arrived = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error))))

    with pytest.raises(type(error)) as raised:
        raise arrived

    assert raised.value is arrived
    assert str(arrived) == str(error)


def test_a_denial_as_the_budget_raises_it_pickles() -> None:
    budget = CoordinationBudget(BudgetLimits(max_cost_usd=1.0))
    lease = budget.try_begin_agent(TokenAccounting(cost_usd=1.0))
    with pytest.raises(BudgetExhausted) as denial:
        budget.try_begin_agent()

    arrived = pickle.loads(pickle.dumps(denial.value))

    assert lease.state == "held"
    assert arrived.held_back
    assert vars(arrived) == vars(denial.value)


def test_an_error_of_ones_own_below_the_tree_pickles_whatever_its_constructor_takes() -> None:
    arrived = pickle.loads(pickle.dumps(OutOfPatience(3, why="slow")))

    assert (arrived.minutes, arrived.why, str(arrived)) == (3, "slow", "waited 3 minutes: slow")


class OutOfPatience(AgentFailed):
    def __init__(self, minutes: int, *, why: str) -> None:
        CarpoolError.__init__(self, f"waited {minutes} minutes: {why}")
        self.minutes = minutes
        self.why = why
