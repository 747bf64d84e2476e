"""What a team is given is what it uses, and what it changes of its limits is in the log."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from carpool import AgentSpec, EventLog, SharedInfra, StateStore, Vote
from carpool.budget import CoordinationBudget
from carpool.errors import AgentLimitReached, BudgetExhausted
from carpool.events import LimitsRaised
from carpool.tools import as_tool
from carpool.types import AgentOutput, BudgetLimits, TokenAccounting

from .budget.fake_clock import FakeClock


def first(a: int) -> int:
    return a


def second(a: int) -> int:
    return a


class EmptyState(StateStore):
    """A store that says that it is empty, as a mapping would."""

    def __len__(self) -> int:
        return len(self.keys())


def test_an_empty_log_that_is_passed_in_is_the_log() -> None:
    log = EventLog()
    assert len(log) == 0, "so that it is falsy"

    infra = SharedInfra(log=log)

    assert infra.log is log
    assert infra.make_runtime().log is log
    infra.raise_limits(BudgetLimits(max_agents=1))
    assert len(log) == 1


def test_an_empty_state_that_is_passed_in_is_the_state() -> None:
    for state in (StateStore(), EmptyState()):
        infra = SharedInfra(state=state)

        assert infra.state is state
        assert infra.make_runtime().state is state


def test_a_budget_that_is_passed_in_is_the_budget() -> None:
    for budget in (CoordinationBudget(), CoordinationBudget(BudgetLimits(max_agents=0))):
        assert SharedInfra(budget=budget).budget is budget


def test_limits_that_are_passed_in_are_the_limits_of_the_budget() -> None:
    limits = BudgetLimits(max_agents=2, max_total_tokens=10)

    assert SharedInfra(budget=limits).budget.snapshot().limits == limits


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: SharedInfra(budget="1k tokens"), "budget is BudgetLimits(…), not '1k tokens'"),
        (lambda: SharedInfra(journal="runs.db"), "journal is one of carpool.durable, as SqliteJournal('runs.db'), not"),
        (lambda: CoordinationBudget("1k tokens"), "limits is BudgetLimits(…), not '1k tokens'"),
        (lambda: SharedInfra().raise_limits("1k tokens"), "limits is BudgetLimits(…), not '1k tokens'"),
        (lambda: Vote([AgentSpec("a", "")], budget="1k tokens"), "budget is BudgetLimits(…), not '1k tokens'"),
        (lambda: Vote([AgentSpec("a", "")]).run_sync("t", runner=print, infra={}), "infra is SharedInfra(…), not {}"),
    ],
    ids=["budget", "journal", "limits", "raised", "pattern", "infra"],
)
def test_what_is_of_another_kind_is_named_where_it_is_given(make: Any, told: str) -> None:
    with pytest.raises(TypeError) as raised:
        make()

    assert str(raised.value).startswith(told)


def test_without_a_budget_nothing_is_limited() -> None:
    assert SharedInfra().budget.is_unbounded


def test_the_clock_is_the_clock_of_state_log_and_budget() -> None:
    clock = FakeClock()
    infra = SharedInfra(clock=clock, budget=BudgetLimits(max_seconds=10))

    infra.begin_agent().settle()
    transition = infra.state.set("k", 1, actor="x")
    infra.raise_limits(BudgetLimits(max_agents=5))
    clock.advance(11)

    assert transition.timestamp < clock.now()
    assert infra.log.events()[0].timestamp == transition.timestamp
    with pytest.raises(BudgetExhausted, match=r"seconds|11"):
        infra.begin_agent()


def test_two_infras_share_nothing() -> None:
    one, other = SharedInfra(), SharedInfra()

    one.state.set("k", 1, actor="x")
    one.raise_limits(BudgetLimits(max_agents=1))

    assert not other.state.exists("k")
    assert len(other.log) == 0
    assert other.budget.is_unbounded


# Tools


def test_tools_are_functions_or_tools_by_their_names() -> None:
    made = as_tool(second)

    infra = SharedInfra(tools=[first, made])

    assert sorted(infra.tools) == ["first", "second"]
    assert infra.tools["second"] is made


def test_tools_may_come_from_a_generator() -> None:
    assert sorted(SharedInfra(tools=(each for each in (first, second))).tools) == ["first", "second"]


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="'first'"):
        SharedInfra(tools=[first, second, as_tool(first)])


def test_what_can_not_be_a_tool_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        SharedInfra(tools=[lambda: 1])
    with pytest.raises(TypeError):
        SharedInfra(tools=["name"])  # type: ignore[list-item]


# Budget


def test_raising_limits_is_in_the_log_with_what_they_are_then() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_agents=1, max_total_tokens=100))
    lease = infra.begin_agent()
    lease.settle(TokenAccounting(input_tokens=5))

    infra.raise_limits(BudgetLimits(max_agents=3))

    (event,) = infra.log.events()
    assert isinstance(event, LimitsRaised)
    assert event.kind == "limits_raised"
    assert event.snapshot is not None
    assert event.snapshot.limits == BudgetLimits(max_agents=3, max_total_tokens=100)
    assert (event.snapshot.input_tokens, event.snapshot.agents_started) == (5, 1)


def test_limits_go_up_and_down_and_every_change_is_in_the_log() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_agents=1))
    for most in (3, 0, 2):
        infra.raise_limits(BudgetLimits(max_agents=most))

    assert [event.snapshot.limits.max_agents for event in infra.log.events(kind="limits_raised")] == [3, 0, 2]  # type: ignore[attr-defined]
    infra.begin_agent().settle()
    infra.begin_agent().settle()
    with pytest.raises(AgentLimitReached):
        infra.begin_agent()


def test_an_agent_begun_outside_any_pattern_is_counted_and_its_hold_kept() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=10))

    with infra.begin_agent(TokenAccounting(input_tokens=8)) as lease:
        with pytest.raises(BudgetExhausted):
            infra.begin_agent(TokenAccounting(input_tokens=3))
        lease.charge(TokenAccounting(input_tokens=2))

    snapshot = infra.budget.snapshot()
    assert (snapshot.agents_started, snapshot.total_tokens, snapshot.held) == (1, 2, TokenAccounting())


def test_what_an_agent_reports_that_ran_elsewhere_is_booked() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=10))

    infra.record_output(AgentOutput(name="a", tokens=TokenAccounting(input_tokens=6, output_tokens=5)))
    infra.record_output(AgentOutput(name="b", error="failed, and cost nothing that is known"))

    assert infra.budget.snapshot().total_tokens == 11
    with pytest.raises(BudgetExhausted):
        infra.begin_agent()


# Isolated


async def test_an_isolated_runtime_shares_tools_and_budget_and_the_clock() -> None:
    clock = FakeClock()
    infra = SharedInfra(tools=[first], clock=clock)

    runtime, context = infra.make_isolated_runtime("a")

    with anyio.fail_after(5):
        assert await runtime.call_tool("first", a=1) == 1
    assert context.log.events()[0].timestamp == clock.now()
    assert context.state.set("k", 1, actor="a").timestamp == clock.now()
    assert runtime.log is context.log
    assert runtime.agent == "a"
