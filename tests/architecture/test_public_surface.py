"""The names that users may rely on. A change here is a change of the public interface: say so in CHANGELOG.md."""

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import carpool

FRONT_DOOR = [
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


def public_modules() -> list[str]:
    """Every module of the library whose name says that it is public. The command line is no library."""
    found = (each.name for each in pkgutil.walk_packages(carpool.__path__, "carpool."))
    return [name for name in found if "._" not in name and not name.startswith("carpool.cli")]


def front_to_back(name: str) -> tuple[int, str]:
    """CONSTANTS, then Classes, then functions, each by name: the order that the linter keeps too."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_the_front_door_has_these_names_and_no_others() -> None:
    assert carpool.__all__ == FRONT_DOOR


def test_the_front_door_is_sorted() -> None:
    assert sorted(FRONT_DOOR, key=front_to_back) == FRONT_DOOR


@pytest.mark.parametrize("name", FRONT_DOOR)
def test_a_name_of_the_front_door_can_be_imported(name: str) -> None:
    assert getattr(carpool, name) is not None


@pytest.mark.parametrize("name", [name for name in FRONT_DOOR if name[0].isupper()])
def test_a_class_of_the_front_door_says_what_it_promises(name: str) -> None:
    assert inspect.getdoc(getattr(carpool, name))


@pytest.mark.parametrize("name", public_modules())
def test_a_public_module_lists_its_names_in_order(name: str) -> None:
    module = load(name)

    assert module.__all__ == sorted(module.__all__, key=front_to_back)
    assert all(hasattr(module, each) for each in module.__all__)
