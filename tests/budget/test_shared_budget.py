"""Budgets that share a purse through a ledger: what one does, all see; who dies has spent what it held."""

from __future__ import annotations

import gc
import pickle
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from carpool.budget import CoordinationBudget, Lease, Waiter
from carpool.errors import AgentLimitReached, BudgetExhausted, JournalCorrupt, JournalError
from carpool.types import BudgetLimits, TokenAccounting

from .fake_clock import FakeClock
from .memory_ledger import FaultyLedger, MemoryLedger, Shelf
from .real_threads import together

WITHIN_S = 10.0
A_HUNDRED = BudgetLimits(max_total_tokens=100)


def tokens(count: int) -> TokenAccounting:
    return TokenAccounting(input_tokens=count)


class Bell:
    """A wake that can be waited for."""

    def __init__(self) -> None:
        self.rung = threading.Event()

    def __call__(self) -> None:
        self.rung.set()


def waits(budget: CoordinationBudget, count: int, *ancestors: Lease) -> tuple[Waiter, Bell]:
    """Someone who has asked, and has no answer."""
    waiter, bell = asks(budget, count, *ancestors)
    until(lambda: any(waiter in waiters for waiters in budget.book.line.waiting.values()))
    assert not bell.rung.is_set()
    return waiter, bell


def asks(budget: CoordinationBudget, count: int, *ancestors: Lease) -> tuple[Waiter, Bell]:
    bell = Bell()
    numbers = tuple(lease.number for lease in ancestors)
    waiter = budget.begin_soon(tokens(count), len(numbers) + 1, numbers, bell)
    assert isinstance(waiter, Waiter)
    return waiter, bell


def let_in(answer: tuple[Waiter, Bell]) -> Lease:
    waiter, bell = answer
    assert bell.rung.wait(WITHIN_S)
    assert waiter.lease is not None, waiter.denial
    return waiter.lease


def denied(answer: tuple[Waiter, Bell]) -> Exception:
    waiter, bell = answer
    assert bell.rung.wait(WITHIN_S)
    assert waiter.denial is not None
    return waiter.denial


def until(condition: Callable[[], object]) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=WITHIN_S)
    while not condition():
        assert datetime.now(UTC) < deadline
        threading.Event().wait(0.001)


class Pair:
    """Two budgets on one ledger, as two processes have them."""

    def __init__(self, limits: BudgetLimits) -> None:
        self.clock = FakeClock()
        self.shelf = Shelf()
        self.one_ledger, self.other_ledger = self.ledger(), self.ledger()
        self.one = CoordinationBudget(limits, ledger=self.one_ledger, clock=self.clock)
        self.other = CoordinationBudget(ledger=self.other_ledger, clock=self.clock)

        self.other_member = self.other_ledger.ledger.member

    def ledger(self) -> FaultyLedger:
        return FaultyLedger(MemoryLedger(self.shelf))

    def third(self) -> CoordinationBudget:
        return CoordinationBudget(ledger=self.ledger(), clock=self.clock)

    def other_dies(self) -> None:
        """Its process is gone, as far as anybody can see."""
        self.shelf.alive.discard(self.other_member)

    def other_comes_back(self) -> None:
        self.shelf.alive.add(self.other_member)


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair(A_HUNDRED)
    yield pair
    assert not pair.shelf.turn.locked()


# One purse


def test_what_one_spends_and_holds_the_other_sees(pair: Pair) -> None:
    lease = pair.one.try_begin_agent(tokens(60))
    pair.one.record(tokens(10))

    assert pair.other.snapshot() == pair.one.snapshot()
    assert pair.other.snapshot().held == tokens(60)
    assert pair.other.remaining() == BudgetLimits(max_total_tokens=30)

    lease.settle(tokens(90))

    assert pair.other.snapshot() == pair.one.snapshot()
    assert pair.other.is_exhausted
    assert pair.other.snapshot().overrun == tokens(30)


def test_a_start_that_only_a_hold_elsewhere_keeps_out_is_held_back(pair: Pair) -> None:
    lease = pair.one.try_begin_agent(tokens(60))
    with pytest.raises(BudgetExhausted) as denial:
        pair.other.try_begin_agent(tokens(60))
    assert denial.value.held_back

    lease.settle(tokens(60))

    with pytest.raises(BudgetExhausted) as denial:
        pair.other.try_begin_agent(tokens(60))
    assert not denial.value.held_back
    assert pair.other.snapshot().agents_started == 1


def test_agents_are_counted_over_all() -> None:
    pair = Pair(BudgetLimits(max_agents=3))
    pair.one.try_begin_agent().settle()
    pair.other.try_begin_agent().release()
    pair.other.try_begin_agent().settle()
    pair.third().try_begin_agent().settle()
    for budget in (pair.one, pair.other):
        with pytest.raises(AgentLimitReached):
            budget.try_begin_agent()


def test_purses_inside_are_each_process_s_own_and_spend_what_is_everybody_s(pair: Pair) -> None:
    child = pair.one.child(BudgetLimits(max_total_tokens=50))
    lease = child.try_begin_agent(tokens(50))

    assert child.snapshot().held == pair.other.snapshot().held == tokens(50)
    pair.other.record(tokens(60))
    assert child.snapshot().total_tokens == 0
    assert child.is_exhausted is False

    lease.settle()

    assert pair.other.snapshot().total_tokens == 110
    assert child.is_exhausted


def test_unknown_prices_elsewhere_refuse_a_start_here() -> None:
    pair = Pair(BudgetLimits(max_cost_usd=1))
    pair.one.record(TokenAccounting(input_tokens=1, priced=False))
    with pytest.raises(BudgetExhausted) as denial:
        pair.other.try_begin_agent()
    assert denial.value.dimension == "unpriced"


def test_limits_that_one_raises_hold_for_all(pair: Pair) -> None:
    pair.one.record(tokens(100))
    pair.one.raise_limits(BudgetLimits(max_total_tokens=120, max_agents=1))

    pair.other.try_begin_agent(tokens(20)).settle()

    assert pair.other.limits == pair.one.limits == BudgetLimits(max_total_tokens=120, max_agents=1)
    with pytest.raises(BudgetExhausted):
        pair.one.try_begin_agent()


def test_a_purse_has_one_id_wherever_it_is_opened(pair: Pair) -> None:
    ids = {budget.id for budget in (pair.one, pair.other, pair.third(), pair.one.child(A_HUNDRED))}
    assert len(ids) == 1
    assert CoordinationBudget().id not in ids


def test_limits_are_for_whoever_comes_first_and_others_may_repeat_them(pair: Pair) -> None:
    pair.one.raise_limits(BudgetLimits(max_total_tokens=200))

    for limits in (None, A_HUNDRED, BudgetLimits(max_total_tokens=200)):
        again = CoordinationBudget(limits, ledger=pair.ledger())
        assert again.limits == BudgetLimits(max_total_tokens=200)

    with pytest.raises(ValueError, match=r"200.*made with.*100.*300.*raise_limits"):
        CoordinationBudget(BudgetLimits(max_total_tokens=300), ledger=pair.ledger())
    assert len(pair.shelf.alive) == 5


def test_a_ledger_is_for_a_root(pair: Pair) -> None:
    with pytest.raises(ValueError, match="root"):
        CoordinationBudget(parent=pair.one, ledger=pair.ledger())


# Time


def test_time_runs_from_the_first_start_on_the_ledger() -> None:
    pair = Pair(BudgetLimits(max_seconds=10))
    pair.clock.advance(100)
    pair.one.try_begin_agent().release()
    pair.clock.advance(100)
    lease = pair.one.try_begin_agent()
    pair.clock.advance(4)
    assert pair.other.snapshot().elapsed_s == pair.third().snapshot().elapsed_s == 4

    lease.settle()
    pair.other.try_begin_agent().settle()
    pair.clock.advance(6)

    with pytest.raises(BudgetExhausted, match=r"10\.0 of 10 s"):
        pair.third().try_begin_agent()


def test_a_start_that_is_taken_back_elsewhere_gives_its_time_back() -> None:
    pair = Pair(BudgetLimits(max_seconds=10))
    lease = pair.one.try_begin_agent()
    pair.clock.advance(5)
    assert pair.other.snapshot().elapsed_s == 5
    lease.release()
    assert pair.other.snapshot().elapsed_s == 0


@pytest.mark.parametrize("hours", [-24, -1, 0])
def test_a_wall_clock_that_was_put_back_makes_no_purse_younger(hours: int) -> None:
    pair = Pair(BudgetLimits(max_seconds=10))
    pair.one.try_begin_agent().settle()
    pair.clock.advance(4)
    pair.one.record(tokens(1))

    class PutBack(FakeClock):
        def now(self) -> datetime:
            return super().now() + timedelta(hours=hours)

    late = PutBack()
    late.seconds = pair.clock.seconds
    budget = CoordinationBudget(ledger=pair.ledger(), clock=late)
    assert budget.snapshot().elapsed_s == 4
    late.advance(6)
    with pytest.raises(BudgetExhausted):
        budget.try_begin_agent()


def test_a_ledger_with_a_clock_of_its_own_sets_those_of_its_members() -> None:
    pair = Pair(BudgetLimits(max_seconds=10))
    pair.one.try_begin_agent().settle()
    began = msgspec.json.decode(pair.shelf.purse)["first"]
    pair.shelf.now = began + 7
    assert pair.third().snapshot().elapsed_s == 7


# Waiting


def test_who_waits_is_let_in_when_another_process_gives_room_back(pair: Pair) -> None:
    lease = pair.one.try_begin_agent(tokens(60))
    answer = waits(pair.other, 60)

    lease.settle(tokens(40))

    assert let_in(answer).hold == tokens(60)


def test_who_waits_is_let_in_when_another_process_raises_the_limits(pair: Pair) -> None:
    lease = pair.one.try_begin_agent(tokens(60))
    answer = waits(pair.other, 60)

    pair.one.raise_limits(BudgetLimits(max_total_tokens=120))

    let_in(answer).settle()
    lease.settle()


def test_who_waits_is_refused_when_another_process_has_spent_what_it_held(pair: Pair) -> None:
    lease = pair.one.try_begin_agent(tokens(60))
    answer = waits(pair.other, 60)

    lease.settle()

    denial = denied(answer)
    assert isinstance(denial, BudgetExhausted)
    assert not denial.held_back


def test_many_who_ask_at_once_are_answered_in_few_transactions(pair: Pair) -> None:
    before = pair.shelf.commits
    answers = [asks(pair.one, 2) for _ in range(60)]

    granted = [let_in(answer) for answer in answers[:50]]

    assert pair.shelf.commits - before < 40
    for waiter, _ in answers[50:]:
        assert waiter.lease is None
        waiter.leave()
    for lease in granted:
        lease.release()


def test_who_waits_and_leaves_has_neither_lease_nor_denial_and_holds_nothing(pair: Pair) -> None:
    lease = pair.one.try_begin_agent(tokens(60))
    (waiter, _), (early, _) = waits(pair.other, 60), asks(pair.other, 60)
    early.leave()
    waiter.leave()
    lease.settle(tokens(0))
    assert (waiter.lease, waiter.denial) == (early.lease, early.denial) == (None, None)
    assert pair.one.snapshot().held == tokens(0)


def test_who_leaves_just_after_it_was_let_in_gives_the_lease_back(pair: Pair) -> None:
    answer = asks(pair.other, 60)
    let_in(answer)
    answer[0].leave()
    assert pair.one.snapshot().held == tokens(0)
    assert pair.one.snapshot().agents_started == 0


def test_a_child_that_only_its_own_parent_keeps_out_is_refused(pair: Pair) -> None:
    parent = pair.one.try_begin_agent(tokens(60))
    assert isinstance(denied(asks(pair.one, 60, parent)), BudgetExhausted)


def test_a_child_waits_for_a_stranger_of_another_process(pair: Pair) -> None:
    parent = pair.one.try_begin_agent(tokens(40))
    stranger = pair.other.try_begin_agent(tokens(40))
    answer = waits(pair.one, 40, parent)

    stranger.settle(tokens(0))

    assert let_in(answer).hold == tokens(40)


def test_teams_of_two_processes_that_wait_for_each_other_do_not_wait_forever(pair: Pair) -> None:
    mine = pair.one.try_begin_agent(tokens(50))
    yours = pair.other.try_begin_agent(tokens(50))
    first = waits(pair.one, 10, mine)

    second = asks(pair.other, 10, yours)  # now nobody could settle any more

    denial = denied(second)
    assert isinstance(denial, BudgetExhausted)
    assert denial.held_back
    yours.settle(tokens(10))
    let_in(first)


def test_who_waits_inside_is_refused_when_the_last_who_could_settle_is_gone(pair: Pair) -> None:
    mine = pair.one.try_begin_agent(tokens(40))
    yours = pair.other.try_begin_agent(tokens(40))
    third = pair.third()
    stranger = third.try_begin_agent(tokens(20))
    first, second = waits(pair.one, 30, mine), waits(pair.other, 30, yours)

    stranger.settle()

    until(lambda: first[1].rung.is_set() or second[1].rung.is_set())
    refused, waiting, last = (first, second, mine) if first[1].rung.is_set() else (second, first, yours)
    assert isinstance(denied(refused), BudgetExhausted)
    last.settle(tokens(0))
    let_in(waiting)


# Death


def test_what_a_dead_process_held_is_spent_and_its_slot_stays(pair: Pair) -> None:
    lease = pair.other.try_begin_agent(tokens(60))
    pair.other_dies()

    now = pair.one.snapshot()

    assert (now.total_tokens, now.held, now.agents_started, now.overrun) == (60, tokens(0), 1, tokens(0))
    assert lease.state == "held"


def test_of_a_lease_that_was_charged_the_rest_of_the_hold_is_spent(pair: Pair) -> None:
    lease = pair.other.try_begin_agent(tokens(60))
    lease.charge(tokens(20))
    pair.other_dies()
    assert pair.one.snapshot().total_tokens == 60


def test_an_open_reservation_of_a_dead_process_is_spent_too(pair: Pair) -> None:
    lease = pair.other.try_begin_agent(tokens(10))
    lease.charge(tokens(10))
    lease.reserve(tokens(30))
    pair.other_dies()
    assert pair.one.snapshot().total_tokens == 40


def test_an_agent_without_a_hold_that_died_has_charged_what_it_charged(pair: Pair) -> None:
    lease = pair.other.try_begin_agent()
    lease.charge(tokens(7))
    pair.other_dies()
    assert pair.one.snapshot().total_tokens == 7
    assert pair.one.snapshot().agents_started == 1


@pytest.mark.parametrize("by", ["estimate", "reservation"])
def test_a_dead_hold_of_unknown_price_is_spend_of_unknown_price(by: str) -> None:
    pair = Pair(BudgetLimits(max_cost_usd=1))
    unpriced = TokenAccounting(input_tokens=1, priced=False)
    lease = pair.other.try_begin_agent(unpriced if by == "estimate" else None)
    if by == "reservation":
        lease.reserve(unpriced)
    pair.one.try_begin_agent().release()
    pair.other_dies()
    pair.one.snapshot()
    with pytest.raises(BudgetExhausted, match="price"):
        pair.one.try_begin_agent()


def test_time_goes_on_after_the_death_of_who_was_first() -> None:
    pair = Pair(BudgetLimits(max_seconds=10))
    lease = pair.other.try_begin_agent()
    pair.clock.advance(4)
    pair.other_dies()
    assert pair.one.snapshot().elapsed_s == 4
    assert lease.state == "held"


def test_who_waits_for_a_dead_process_gets_an_answer(pair: Pair) -> None:
    lease = pair.other.try_begin_agent(tokens(60))
    answer = waits(pair.one, 60)

    pair.other_dies()

    denial = denied(answer)
    assert isinstance(denial, BudgetExhausted)
    assert not denial.held_back
    assert lease.state == "held"


def test_a_start_that_a_dead_hold_keeps_out_is_not_held_back(pair: Pair) -> None:
    lease = pair.other.try_begin_agent(tokens(60))
    pair.other_dies()
    with pytest.raises(BudgetExhausted) as denial:
        pair.one.try_begin_agent(tokens(60))
    assert not denial.value.held_back
    assert lease.state == "held"


def test_one_that_was_taken_for_dead_and_comes_back_has_lost_nothing(pair: Pair) -> None:
    lease = pair.other.try_begin_agent(tokens(60))
    lease.charge(tokens(10))
    pair.other_dies()
    assert pair.one.snapshot().total_tokens == 60

    pair.other_comes_back()
    lease.charge(tokens(10))

    for budget in (pair.one, pair.other):
        assert (budget.snapshot().total_tokens, budget.snapshot().held) == (20, tokens(40))
    lease.settle()
    assert pair.one.snapshot().total_tokens == 20


def test_one_that_comes_back_when_nobody_remembers_it_counts_too_much_not_too_little(pair: Pair) -> None:
    lease = pair.other.try_begin_agent(tokens(30))
    pair.other_dies()
    pair.one.snapshot()
    pair.shelf.buried.clear()
    pair.other_comes_back()

    lease.settle(tokens(20))

    assert pair.one.snapshot().total_tokens == 50
    assert pair.one.snapshot().held == tokens(0)


def test_members_that_left_with_nothing_in_flight_leave_nothing(pair: Pair) -> None:
    pair.other.try_begin_agent(tokens(60)).settle()
    pair.other.close()
    pair.one.snapshot()
    shelf = pair.shelf
    assert (list(shelf.shares), shelf.buried) == ([pair.one_ledger.ledger.member], {})


def test_a_closed_budget_refuses_to_start_and_is_still_told(pair: Pair) -> None:
    lease = pair.other.try_begin_agent(tokens(60))
    pair.other.close()
    with pytest.raises(JournalError, match="closed"):
        pair.other.try_begin_agent()
    lease.settle(tokens(10))
    assert pair.other.snapshot().total_tokens == 10
    assert pair.one.snapshot().total_tokens == 60
    pair.other.close()


def test_a_lease_that_is_dropped_is_settled_soon(pair: Pair) -> None:
    lease = pair.other.try_begin_agent(tokens(60))
    del lease
    gc.collect()
    until(lambda: pair.one.snapshot().total_tokens == 60)


# A ledger that fails


@pytest.mark.parametrize("fault", ["begin", "commit", "commit after"])
def test_asking_raises_and_changes_nothing(pair: Pair, fault: str) -> None:
    lease = pair.one.try_begin_agent(tokens(10))
    before = pair.one.snapshot()
    asked: list[Callable[[], object]] = [
        lambda: pair.one.try_begin_agent(tokens(10)),
        lambda: pair.one.child(BudgetLimits()).try_begin_agent(),
        pair.one.begin_ungated,
        lambda: lease.reserve(tokens(30)),
        lambda: pair.one.raise_limits(BudgetLimits(max_total_tokens=1)),
    ]
    for ask in asked:
        pair.one_ledger.faults = [fault]
        with pytest.raises(JournalError, match="told to fail"):
            ask()
        assert pair.one.snapshot() == before
        assert pair.other.snapshot() == before
        assert pair.one.in_flight == 1


@pytest.mark.parametrize("fault", ["begin", "commit", "commit after"])
def test_telling_never_fails_and_is_written_as_soon_as_it_can_be(pair: Pair, fault: str) -> None:
    leases = [pair.one.try_begin_agent(tokens(10)) for _ in range(3)]
    pair.one_ledger.down = fault

    assert leases[0].settle(tokens(7)) == tokens(7)
    leases[1].charge(tokens(25))
    leases[2].release()
    pair.one.record(tokens(1))

    now = pair.one.snapshot()
    assert (now.total_tokens, now.held, now.agents_started) == (33, tokens(0), 2)
    with pytest.raises(JournalError):
        pair.one.try_begin_agent()
    pair.one_ledger.down = None
    until(lambda: pair.other.snapshot() == now)
    assert pair.one.snapshot() == now


@pytest.mark.parametrize("fault", ["begin", "commit", "commit after"])
def test_who_asks_a_failing_ledger_is_told_so_and_holds_nothing(pair: Pair, fault: str) -> None:
    pair.one_ledger.down = fault
    assert isinstance(denied(asks(pair.one, 10)), JournalError)
    pair.one_ledger.down = None
    until(lambda: pair.other.snapshot().agents_started == 0)
    assert pair.other.snapshot().held == tokens(0)


@pytest.mark.parametrize("fault", ["begin", "commit"])
def test_who_waits_is_told_when_the_ledger_fails(pair: Pair, fault: str) -> None:
    lease = pair.other.try_begin_agent(tokens(60))
    answer = waits(pair.one, 60)
    pair.one_ledger.down = fault
    if fault == "commit":
        lease.settle(tokens(0))  # it would be let in
    assert isinstance(denied(answer), JournalError)
    pair.one_ledger.down = None
    until(lambda: pair.one.snapshot().held == (tokens(0) if fault == "commit" else tokens(60)))


@pytest.mark.parametrize("fault", ["dead", "buried"])
def test_looking_for_the_dead_may_fail_like_all_else(pair: Pair, fault: str) -> None:
    lease = pair.other.try_begin_agent(tokens(60))
    if fault == "buried":
        pair.other_dies()
        pair.one.snapshot()
        pair.other_comes_back()
    ledger = pair.one_ledger if fault == "dead" else pair.other_ledger
    budget = pair.one if fault == "dead" else pair.other
    ledger.faults = [fault]
    with pytest.raises((JournalError, BudgetExhausted)):
        budget.try_begin_agent(tokens(60))
    budget.snapshot()
    assert ledger.faults == []
    assert pair.one.snapshot().held == tokens(60)
    lease.settle()


@pytest.mark.parametrize("point", ["begin", "commit", "commit after"])
def test_an_interrupt_in_the_middle_leaves_no_lock_behind(pair: Pair, point: str) -> None:
    pair.one_ledger.faults, pair.one_ledger.raises = [point], KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        pair.one.try_begin_agent(tokens(60))
    gc.collect()  # the lease that nobody got
    until(lambda: pair.one.in_flight == 0)
    assert pair.other.snapshot() == pair.one.snapshot()
    assert pair.other.snapshot().held == tokens(0)


def test_a_failure_before_it_has_joined_leaves_no_member() -> None:
    for fault in ("join", "begin", "dead"):
        shelf = Shelf()
        first, ledger = CoordinationBudget(ledger=MemoryLedger(shelf)), FaultyLedger(MemoryLedger(shelf))
        ledger.faults = [fault]
        with pytest.raises(JournalError):
            CoordinationBudget(ledger=ledger)
        assert len(shelf.alive) == 1
        assert not shelf.turn.locked()
        first.try_begin_agent().settle()
        CoordinationBudget(ledger=ledger)


def test_errors_of_a_ledger_pickle_and_carry_no_frames(pair: Pair) -> None:
    pair.one_ledger.faults = ["commit"]
    with pytest.raises(JournalError) as caught:
        pair.one.try_begin_agent()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


# Damage


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format":1}', '{"format":"x"}', "\x00", '{"format":0.5}'])
def test_a_record_that_is_none_is_corrupt(pair: Pair, text: str) -> None:
    pair.shelf.purse = text
    with pytest.raises(JournalCorrupt):
        pair.one.try_begin_agent()
    with pytest.raises(JournalCorrupt):
        pair.third()


def test_a_purse_that_is_gone_is_corrupt(pair: Pair) -> None:
    pair.shelf.purse = None
    with pytest.raises(JournalCorrupt):
        pair.one.try_begin_agent()


def test_a_share_that_got_lost_or_was_changed_is_noticed(pair: Pair) -> None:
    lease = pair.other.try_begin_agent(tokens(60))
    shares, member = pair.shelf.shares, pair.other_member
    share = shares[member]
    for damaged in (None, "{", share.replace('"held":[60,', '"held":[61,')):
        shares.pop(member)
        if damaged is not None:
            shares[member] = damaged
        with pytest.raises(JournalCorrupt):
            pair.one.try_begin_agent()
        shares[member] = share
    assert pair.one.snapshot().held == tokens(60)
    lease.settle()


def test_a_record_of_a_newer_format_is_refused_and_left_alone(pair: Pair) -> None:
    shelf = pair.shelf
    shelf.purse = shelf.purse.replace('"format":1', '"format":2')
    before = shelf.purse
    with pytest.raises(JournalError, match="newer"):
        pair.one.try_begin_agent()
    with pytest.raises(JournalError, match="newer"):
        pair.third()
    pair.one.record(tokens(1))
    assert shelf.purse == before
    shelf.purse = before.replace('"format":2', '"format":1')
    until(lambda: pair.other.snapshot().total_tokens == 1)


# Threads


def test_steps_that_come_together_share_a_transaction(pair: Pair) -> None:
    before = pair.shelf.commits

    def work() -> None:
        for _ in range(50):
            pair.one.try_begin_agent().settle(tokens(0))

    together([work] * 8)

    assert pair.shelf.commits - before < 800
    assert pair.other.snapshot().agents_started == 400


def test_threads_of_several_processes_spend_the_limit_to_the_last_token_and_not_beyond() -> None:
    pair = Pair(BudgetLimits(max_total_tokens=1_000, max_agents=400))
    budgets = [pair.one, pair.other, pair.third(), pair.one.child(BudgetLimits())]

    def work(budget: CoordinationBudget) -> None:
        for _ in range(60):
            try:
                lease = budget.try_begin_agent(tokens(10))
            except BudgetExhausted:
                continue
            assert budget.snapshot().total_tokens <= 1_000
            lease.charge(tokens(6))
            lease.settle(tokens(10))

    together([lambda budget=budgets[number % 4]: work(budget) for number in range(8)])

    now = pair.other.snapshot()
    assert (now.total_tokens, now.held, now.agents_started) == (1_000, tokens(0), 100)


def test_threads_on_a_ledger_that_fails_now_and_then_lose_no_charge(pair: Pair) -> None:
    pair.one.raise_limits(BudgetLimits(max_total_tokens=10**9))
    pair.one_ledger.faults = ["begin", "commit", "commit after", "commit"] * 20
    charged: list[int] = []

    def work() -> None:
        for number in range(1, 40):
            try:
                lease = pair.one.try_begin_agent(tokens(10))
            except JournalError:
                continue
            charged.append(number)
            lease.charge(tokens(number))
            lease.settle()

    together([work] * 6)

    pair.one_ledger.faults = []

    def as_it_is_told() -> bool:
        """What could not be written at once is written with the next step, which may be the clerk's."""
        now = pair.other.snapshot()
        return (now.total_tokens, now.held, now.agents_started) == (sum(charged), tokens(0), len(charged))

    until(as_it_is_told)
    assert pair.one.snapshot() == pair.other.snapshot()
