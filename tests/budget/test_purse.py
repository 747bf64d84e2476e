"""Purses within purses: one atomic step from the root down, conservation, limits that change, purses that keep back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.budget import CoordinationBudget
from carpool.errors import AgentLimitReached, BudgetError, BudgetExhausted
from carpool.types import AgentOutput, BudgetLimits, TokenAccounting

from .fake_clock import FakeClock

NOTHING = TokenAccounting()


def tokens(read: int = 0, written: int = 0, cost: float = 0.0) -> TokenAccounting:
    return TokenAccounting(input_tokens=read, output_tokens=written, cost_usd=cost)


# A fresh purse


def test_a_purse_without_limits_is_unbounded_and_denies_nothing() -> None:
    budget = CoordinationBudget()

    leases = [budget.try_begin_agent(tokens(2**70, 2**70, 1e300), depth=1_000) for _ in range(100)]

    assert budget.is_unbounded
    assert not budget.is_exhausted
    assert budget.remaining() == BudgetLimits()
    assert budget.snapshot().agents_started == len(leases)


def test_a_fresh_snapshot_is_empty() -> None:
    limits = BudgetLimits(max_agents=3, max_cost_usd=2.5)
    now = CoordinationBudget(limits, clock=FakeClock()).snapshot()

    assert (now.input_tokens, now.output_tokens, now.total_tokens, now.cost_usd, now.agents_started) == (0, 0, 0, 0, 0)
    assert (now.limits, now.exhausted, now.held, now.overrun, now.elapsed_s) == (limits, False, NOTHING, NOTHING, 0)


@pytest.mark.parametrize(
    "limits",
    [
        BudgetLimits(max_input_tokens=1),
        BudgetLimits(max_output_tokens=1),
        BudgetLimits(max_total_tokens=1),
        BudgetLimits(max_cost_usd=1.0),
        BudgetLimits(max_agents=1),
        BudgetLimits(max_seconds=1.0),
        BudgetLimits(max_depth=1),
    ],
)
def test_any_limit_here_or_above_makes_a_purse_bounded(limits: BudgetLimits) -> None:
    root = CoordinationBudget(limits)

    assert not root.is_unbounded
    assert not root.child(BudgetLimits()).is_unbounded
    free = CoordinationBudget()
    assert not free.child(limits).is_unbounded
    assert free.is_unbounded


def test_a_way_to_treat_unknown_prices_is_no_limit() -> None:
    assert CoordinationBudget(BudgetLimits(unpriced="allow")).is_unbounded


# All or none


def test_a_denied_agent_takes_no_slot() -> None:
    root = CoordinationBudget(BudgetLimits(max_agents=1))
    with root.try_begin_agent():
        for _ in range(3):
            with pytest.raises(AgentLimitReached):
                root.try_begin_agent()

    assert root.snapshot().agents_started == 1


@pytest.mark.parametrize("narrow", [0, 1, 2, 3])
def test_a_denial_on_any_level_changes_nothing_on_any_level(narrow: int) -> None:
    clock = FakeClock()
    limits = [BudgetLimits(max_input_tokens=10 if level == narrow else 1_000) for level in range(4)]
    purses = [CoordinationBudget(limits[0], clock=clock)]
    for each in limits[1:]:
        purses.append(purses[-1].child(each))
    purses[-1].record(tokens(3))
    with purses[-1].try_begin_agent(tokens(2)):
        clock.advance(5)
        before = [purse.snapshot() for purse in purses]

        with pytest.raises(BudgetExhausted) as denial:
            purses[-1].try_begin_agent(tokens(6))

        assert [purse.snapshot() for purse in purses] == before
        assert denial.value.snapshot == before[narrow]


def test_a_start_counts_on_every_level_above_and_nowhere_else() -> None:
    root = CoordinationBudget()
    left, right = root.child(BudgetLimits()), root.child(BudgetLimits())
    leaf = left.child(BudgetLimits())

    leaf.try_begin_agent(tokens(10)).settle(tokens(4, 2, 0.5))

    for purse in (root, left, leaf):
        now = purse.snapshot()
        assert (now.input_tokens, now.output_tokens, now.cost_usd, now.agents_started) == (4, 2, 0.5, 1)
        assert now.overrun == tokens(0, 2, 0.5)
    assert right.snapshot().agents_started == 0
    assert right.snapshot().total_tokens == 0


def test_what_a_child_does_not_spend_is_the_parents_at_once() -> None:
    root = CoordinationBudget(BudgetLimits(max_input_tokens=100))
    child = root.child(BudgetLimits(max_input_tokens=80))

    assert root.remaining().max_input_tokens == 100
    lease = child.try_begin_agent(tokens(80))
    assert root.remaining().max_input_tokens == 20
    lease.settle(tokens(10))
    assert root.remaining().max_input_tokens == 90
    assert root.try_begin_agent(tokens(90)).state == "held"


def test_children_may_be_promised_more_than_the_parent_has_and_never_get_it() -> None:
    root = CoordinationBudget(BudgetLimits(max_agents=10))
    children = [root.child(BudgetLimits(max_agents=8)) for _ in range(5)]
    granted = []

    for child in children * 8:
        try:
            granted.append(child.try_begin_agent())
        except AgentLimitReached:
            continue

    assert len(granted) == root.snapshot().agents_started == 10


def test_a_child_of_a_spent_parent_can_start_nothing() -> None:
    root = CoordinationBudget(BudgetLimits(max_input_tokens=10))
    root.record(tokens(10))

    child = root.child(BudgetLimits()).child(BudgetLimits(max_input_tokens=1_000))

    assert child.is_exhausted
    assert child.snapshot().exhausted
    with pytest.raises(BudgetExhausted):
        child.try_begin_agent()


def test_a_child_that_is_exhausted_does_not_exhaust_its_parent() -> None:
    root = CoordinationBudget(BudgetLimits(max_input_tokens=100))
    child = root.child(BudgetLimits(max_input_tokens=10))

    child.record(tokens(10))

    assert child.is_exhausted
    assert not root.is_exhausted
    assert root.try_begin_agent().state == "held"


def test_a_child_purse_that_nobody_keeps_leaves_what_it_spent() -> None:
    root = CoordinationBudget(BudgetLimits(max_input_tokens=100))
    lease = root.child(BudgetLimits()).try_begin_agent(tokens(60))

    lease.charge(tokens(30))
    lease.settle()

    assert root.snapshot().input_tokens == 30


def test_a_child_may_be_made_by_naming_its_parent_and_has_its_clock() -> None:
    clock = FakeClock()
    root = CoordinationBudget(clock=clock)
    child = CoordinationBudget(BudgetLimits(max_seconds=5), parent=root, clock=FakeClock())

    lease = child.try_begin_agent()
    clock.advance(5)

    assert lease.state == "held"
    assert child.snapshot().elapsed_s == root.snapshot().elapsed_s == 5
    with pytest.raises(BudgetExhausted):
        child.try_begin_agent()


# Telling


def test_recorded_spend_counts_here_and_above() -> None:
    root = CoordinationBudget()
    child = root.child(BudgetLimits())

    child.record(tokens(3, 4, 0.25))
    root.record(tokens(1))

    assert (root.snapshot().total_tokens, child.snapshot().total_tokens) == (8, 7)
    assert root.snapshot().cost_usd == 0.25
    assert root.snapshot().agents_started == 0


def test_an_output_is_recorded_with_what_it_reports_and_one_without_a_report_as_nothing() -> None:
    budget = CoordinationBudget()

    budget.record_output(AgentOutput(name="stranger", tokens=tokens(3, 4)))
    budget.record_output(AgentOutput(name="stranger", error="it failed", tokens=tokens(1)))
    budget.record_output(AgentOutput(name="stranger"))

    assert budget.snapshot().total_tokens == 8


def test_recording_never_raises_however_exhausted_the_purse_is() -> None:
    budget = CoordinationBudget(BudgetLimits(max_input_tokens=0, max_seconds=0, max_agents=0))

    for _ in range(3):
        budget.record(tokens(2**70, 2**70, 1e308))

    assert budget.snapshot().input_tokens == 2**64 - 1


def test_what_was_spent_in_an_earlier_process_is_booked_unasked_with_its_slots() -> None:
    root = CoordinationBudget(BudgetLimits(max_agents=1, max_input_tokens=5))
    child = root.child(BudgetLimits())

    child.record_past(tokens(4), 1)
    child.record_past(tokens(4), 1)
    child.record_past(None, 1)

    for purse in (root, child):
        now = purse.snapshot()
        assert (now.agents_started, now.input_tokens, now.held, now.overrun) == (3, 8, NOTHING, NOTHING)
    assert root.is_exhausted


def test_a_purse_that_has_the_past_already_is_left_out_and_so_is_what_is_above_it() -> None:
    root = CoordinationBudget()
    middle = root.child(BudgetLimits())
    inner = middle.child(BudgetLimits())

    inner.record_past(tokens(4), 1, outside=middle)

    assert [purse.snapshot().input_tokens for purse in (root, middle, inner)] == [0, 0, 4]
    assert [purse.snapshot().agents_started for purse in (root, middle, inner)] == [0, 0, 1]


# Exhausted, remaining


def test_exhausted_speaks_of_real_spend_not_of_holds_and_not_of_the_agent_cap() -> None:
    budget = CoordinationBudget(BudgetLimits(max_input_tokens=10, max_agents=1))

    lease = budget.try_begin_agent(tokens(10))
    assert not budget.is_exhausted
    assert not budget.snapshot().exhausted

    lease.settle()
    assert budget.is_exhausted
    assert budget.snapshot().exhausted


def test_the_agent_cap_alone_exhausts_nothing() -> None:
    budget = CoordinationBudget(BudgetLimits(max_agents=0))

    assert not budget.is_exhausted


def test_remaining_is_the_least_that_is_neither_spent_nor_held_here_and_above() -> None:
    clock = FakeClock()
    limits = BudgetLimits(max_input_tokens=100, max_cost_usd=2.0, max_agents=5, max_seconds=60, max_depth=4)
    root = CoordinationBudget(limits, clock=clock)
    child = root.child(BudgetLimits(max_total_tokens=50, max_agents=2))
    root.record(tokens(20, 0, 0.5))
    lease = child.try_begin_agent(tokens(30, 10, 0.25))
    clock.advance(15)

    assert lease.state == "held"
    assert child.remaining() == BudgetLimits(
        max_input_tokens=50, max_total_tokens=10, max_cost_usd=1.25, max_agents=1, max_seconds=45, max_depth=4
    )
    assert root.remaining() == BudgetLimits(
        max_input_tokens=50, max_cost_usd=1.25, max_agents=4, max_seconds=45, max_depth=4
    )


def test_remaining_is_never_below_nothing() -> None:
    clock = FakeClock()
    limits = BudgetLimits(max_input_tokens=1, max_total_tokens=1, max_cost_usd=0.5, max_agents=0, max_seconds=1)
    budget = CoordinationBudget(BudgetLimits(), clock=clock)
    budget.try_begin_agent().settle(tokens(50, 50, 9.0))
    clock.advance(99)
    budget.raise_limits(limits)

    assert budget.remaining() == BudgetLimits(
        max_input_tokens=0, max_total_tokens=0, max_cost_usd=0.0, max_agents=0, max_seconds=0.0
    )


@settings(deadline=None, print_blob=True)
@given(limit=st.integers(0, 100), spent=st.integers(0, 120), held=st.integers(0, 100), estimate=st.integers(1, 100))
def test_what_remains_is_what_an_estimate_may_be(limit: int, spent: int, held: int, estimate: int) -> None:
    budget = CoordinationBudget()
    budget.record(tokens(spent))
    lease = budget.try_begin_agent(tokens(held))
    budget.raise_limits(BudgetLimits(max_input_tokens=limit))
    room = budget.remaining().max_input_tokens
    assert room is not None

    if estimate <= room:
        assert budget.try_begin_agent(tokens(estimate)).state == lease.state
    else:
        with pytest.raises(BudgetExhausted):
            budget.try_begin_agent(tokens(estimate))


# Limits that change


def test_raised_limits_replace_what_they_give_and_nothing_else() -> None:
    budget = CoordinationBudget(BudgetLimits(max_input_tokens=10, max_agents=3, max_seconds=5))

    budget.raise_limits(BudgetLimits(max_agents=9, max_depth=2))

    assert budget.limits == BudgetLimits(max_input_tokens=10, max_agents=9, max_seconds=5, max_depth=2)
    assert budget.snapshot().limits == budget.limits


def test_raised_limits_leave_the_treatment_of_unknown_prices_as_it_was() -> None:
    budget = CoordinationBudget(BudgetLimits(max_cost_usd=1.0, unpriced="allow"))
    budget.record(TokenAccounting(input_tokens=1, priced=False))

    budget.raise_limits(BudgetLimits(max_cost_usd=2.0))

    assert budget.limits == BudgetLimits(max_cost_usd=2.0, unpriced="allow")
    assert budget.try_begin_agent().state == "held"


def test_raised_limits_may_allow_unknown_prices() -> None:
    budget = CoordinationBudget(BudgetLimits(max_cost_usd=1.0))
    budget.record(TokenAccounting(input_tokens=1, priced=False))

    budget.raise_limits(BudgetLimits(unpriced="allow"))

    assert budget.try_begin_agent().state == "held"
    assert budget.limits == BudgetLimits(max_cost_usd=1.0, unpriced="allow")


def test_a_raised_limit_lets_the_next_start_in_and_a_lowered_one_keeps_it_out() -> None:
    budget = CoordinationBudget(BudgetLimits(max_input_tokens=10))
    budget.record(tokens(10))

    budget.raise_limits(BudgetLimits(max_input_tokens=20))
    assert not budget.is_exhausted
    lease = budget.try_begin_agent(tokens(10))

    budget.raise_limits(BudgetLimits(max_input_tokens=5))
    with pytest.raises(BudgetExhausted):
        budget.try_begin_agent()
    assert lease.settle() == tokens(10)


def test_a_childs_raised_limit_never_passes_its_parents() -> None:
    root = CoordinationBudget(BudgetLimits(max_input_tokens=10))
    child = root.child(BudgetLimits(max_input_tokens=5))

    child.raise_limits(BudgetLimits(max_input_tokens=1_000))

    with pytest.raises(BudgetExhausted):
        child.try_begin_agent(tokens(11))
    assert root.limits == BudgetLimits(max_input_tokens=10)
    assert child.try_begin_agent(tokens(10)).state == "held"


# Purses that keep back


def test_a_purse_that_keeps_back_leaves_the_finalizer_its_slot_and_its_estimate() -> None:
    root = CoordinationBudget(BudgetLimits(max_input_tokens=100, max_agents=3))
    workers = root.keeping_back(tokens(40))
    leases = [workers.try_begin_agent(tokens(30)) for _ in range(2)]

    with pytest.raises(BudgetError):
        workers.try_begin_agent()
    with pytest.raises(BudgetError):
        workers.try_begin_agent(tokens(1))

    finalizer = root.try_begin_agent(tokens(40))
    assert [each.state for each in (*leases, finalizer)] == ["held"] * 3


@pytest.mark.parametrize("agents", [0, 1, 2, 3])
def test_a_purse_that_keeps_back_slots_grants_the_others(agents: int) -> None:
    root = CoordinationBudget(BudgetLimits(max_agents=3))
    workers = root.keeping_back(None, agents)
    leases = [workers.try_begin_agent() for _ in range(3 - agents)]

    with pytest.raises(AgentLimitReached):
        workers.try_begin_agent()
    leases += [root.try_begin_agent() for _ in range(agents)]

    assert root.snapshot().agents_started == len(leases) == 3
    with pytest.raises(AgentLimitReached):
        root.try_begin_agent()


def test_keeping_back_holds_nothing() -> None:
    root = CoordinationBudget(BudgetLimits(max_input_tokens=100))

    workers = root.keeping_back(tokens(40))

    assert root.snapshot().held == workers.snapshot().held == NOTHING
    assert root.remaining().max_input_tokens == 100
    assert workers.remaining().max_input_tokens == 60
    assert root.try_begin_agent(tokens(100)).state == "held"


def test_what_is_kept_back_is_kept_from_every_purse_above() -> None:
    root = CoordinationBudget(BudgetLimits(max_input_tokens=100, max_agents=2))
    middle = root.child(BudgetLimits())
    workers = middle.keeping_back(tokens(40)).child(BudgetLimits())

    with pytest.raises(BudgetExhausted):
        workers.try_begin_agent(tokens(61))
    lease = workers.try_begin_agent(tokens(60))
    with pytest.raises(BudgetError):
        workers.try_begin_agent()

    assert middle.try_begin_agent(tokens(40)).state == lease.state == "held"


def test_purses_that_keep_back_inside_one_another_keep_back_both() -> None:
    root = CoordinationBudget(BudgetLimits(max_input_tokens=100, max_agents=3))
    outer = root.keeping_back(tokens(40))
    inner = outer.keeping_back(tokens(30))

    assert inner.remaining() == BudgetLimits(max_input_tokens=30, max_agents=1)
    assert outer.remaining() == BudgetLimits(max_input_tokens=60, max_agents=2)
    with pytest.raises(BudgetExhausted):
        inner.try_begin_agent(tokens(31))
    assert inner.try_begin_agent(tokens(30)).state == "held"


def test_keeping_back_more_than_there_is_denies_every_worker_and_not_the_finalizer() -> None:
    root = CoordinationBudget(BudgetLimits(max_input_tokens=100))
    workers = root.keeping_back(tokens(100))

    with pytest.raises(BudgetExhausted) as denial:
        workers.try_begin_agent()

    assert not denial.value.held_back
    assert root.try_begin_agent(tokens(100)).state == "held"


def test_keeping_back_counts_against_limits_that_are_set_later() -> None:
    root = CoordinationBudget()
    workers = root.keeping_back(tokens(40), agents=0)
    assert workers.is_unbounded

    root.raise_limits(BudgetLimits(max_input_tokens=50))

    with pytest.raises(BudgetExhausted):
        workers.try_begin_agent(tokens(11))
    assert workers.try_begin_agent(tokens(10)).state == "held"


# A true estimate

REPORTS = st.builds(
    tokens,
    st.integers(0, 40),
    st.integers(0, 40),
    st.floats(0, 0.5) | st.integers(0, 5).map(lambda tenths: tenths / 10),
)


@settings(deadline=None, print_blob=True)
@given(estimates=st.lists(REPORTS, max_size=25), calls=st.integers(1, 4))
def test_with_true_estimates_no_limit_is_ever_crossed(estimates: list[TokenAccounting], calls: int) -> None:
    """Each agent spends what it estimated, in several calls: in floats that do not even add up to the estimate."""
    limits = BudgetLimits(max_input_tokens=100, max_output_tokens=100, max_total_tokens=150, max_cost_usd=1.0)
    budget = CoordinationBudget(limits)
    open_leases = []
    for estimate in estimates:
        try:
            open_leases.append((estimate, budget.try_begin_agent(estimate)))
        except BudgetExhausted:
            while open_leases:
                spend, lease = open_leases.pop()
                for _ in range(calls):
                    lease.charge(tokens(spend.input_tokens // calls, spend.output_tokens // calls))
                lease.settle(spend)

        now = budget.snapshot()
        assert now.input_tokens + now.held.input_tokens <= 100
        assert now.output_tokens + now.held.output_tokens <= 100
        assert now.total_tokens + now.held.total_tokens <= 150
        assert round((now.cost_usd + now.held.cost_usd) * 10**9) <= 10**9
        assert now.overrun == NOTHING
