"""Random lives of a tree of purses, step by step beside the naive model, then the same from eight threads at once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from carpool.budget import CoordinationBudget
from carpool.errors import BudgetError
from carpool.types import BudgetLimits, BudgetSnapshot, TokenAccounting

from .fake_clock import FakeClock
from .naive_budget import (
    MOST,
    NOTHING,
    Id,
    NaiveBudget,
    Refused,
    Row,
    Teller,
    caps,
    four,
    matches,
    saturated,
    total,
    weigh,
)
from .real_threads import together

DEEPEST = 4  # levels of purses
MANY = 9  # purses in a tree

COUNTS = st.sampled_from([0, 0, 1, 2, 3, 5, 8, 13, 50])
DOLLARS = st.sampled_from([0.0, 0.0, 0.25, 0.5, 0.1, 0.2, 0.0000004, 1 / 3, 1e-10])
HUGE_COUNTS = st.sampled_from([0, 1, 8, 2**63, MOST - 1, MOST, 2**64, 2**70])
HUGE_DOLLARS = st.sampled_from([0.0, 0.25, 1e9, MOST / 10**9, 1e11, 1e308])


def amounts(counts: st.SearchStrategy[int], dollars: st.SearchStrategy[float]) -> st.SearchStrategy[TokenAccounting]:
    priced = st.builds(TokenAccounting, input_tokens=counts, output_tokens=counts, cost_usd=dollars)
    unpriced = st.builds(TokenAccounting, input_tokens=counts.map(lambda n: n + 1), priced=st.just(False))
    return st.integers(0, 19).flatmap(lambda n: unpriced if n == 19 else priced)


def limits_of(counts: st.SearchStrategy[int], dollars: st.SearchStrategy[float]) -> st.SearchStrategy[BudgetLimits]:
    dimensions: dict[str, st.SearchStrategy[Any]] = {
        "max_input_tokens": counts,
        "max_output_tokens": counts,
        "max_total_tokens": counts,
        "max_cost_usd": dollars,
        "max_agents": st.integers(0, 6),
        "max_seconds": st.sampled_from([0, 1, 2.5, 10.0]),
        "max_depth": st.integers(0, 3),
    }
    some = st.lists(st.sampled_from(sorted(dimensions)), unique=True, max_size=3)
    unpriced = st.sampled_from(["refuse", "allow"])
    return some.flatmap(
        lambda names: st.builds(BudgetLimits, unpriced=unpriced, **{name: dimensions[name] for name in names})
    )


SMALL_AMOUNTS = amounts(COUNTS, DOLLARS)
SMALL_LIMITS = limits_of(st.sampled_from([0, 5, 10, 20, 40, 100]), st.sampled_from([0.0, 0.3, 0.5, 1.0, 4.0, 1 / 3]))
HUGE_AMOUNTS = amounts(HUGE_COUNTS, HUGE_DOLLARS)
# Below the end of the counter, where sums that stop there and sums that don't decide alike.
HUGE_LIMITS = limits_of(st.sampled_from([10, 2**62, 2**63, MOST - 1]), st.sampled_from([1.0, 1e9, 1e10]))

AMOUNT = st.runner().flatmap(lambda machine: machine.amounts)
LIMITS = st.runner().flatmap(lambda machine: machine.limits)


class BudgetMachine(RuleBasedStateMachine):
    """Every rule first asks the model what must happen; every invariant compares what both then say."""

    amounts = SMALL_AMOUNTS
    limits = SMALL_LIMITS

    purses = Bundle("purses")
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.teller = Teller({})
        self.model = NaiveBudget(self.teller.rows)

    # Purses

    @initialize(target=purses, limits=LIMITS)
    def open_the_root(self, limits: BudgetLimits) -> Id:
        self.teller.purses[0] = CoordinationBudget(limits, clock=self.clock)
        self.teller.rows.append(Row("purse", 0, limits=limits))
        return 0

    @rule(target=purses, parent=purses, limits=LIMITS, public=st.booleans())
    def open_a_child(self, parent: Id, limits: BudgetLimits, public: bool) -> Any:
        above = self.teller.purses[parent]
        purse = above.child(limits) if public else CoordinationBudget(limits, parent=above)
        return self._add(parent, purse, Row("purse", None, parent=parent, limits=limits))

    @rule(target=purses, parent=purses, estimate=st.none() | AMOUNT, agents=st.integers(0, 2))
    def keep_back(self, parent: Id, estimate: TokenAccounting | None, agents: int) -> Any:
        purse = self.teller.purses[parent].keeping_back(estimate, agents)
        row = Row("purse", None, parent=parent, limits=BudgetLimits(), kept=weigh(estimate), kept_agents=agents)
        return self._add(parent, purse, row)

    def _add(self, parent: Id, purse: CoordinationBudget, row: Row) -> Any:
        if len(self.teller.purses) == MANY or len(self.model.chain(parent)) == DEEPEST:
            return multiple()
        row.subject = len(self.teller.purses)
        self.teller.purses[row.subject] = purse
        self.teller.rows.append(row)
        return row.subject

    @rule(purse=purses, limits=LIMITS)
    def replace_limits(self, purse: Id, limits: BudgetLimits) -> None:
        # What "given" means for ``unpriced``, which is never None, has a test of its own.
        as_it_is = self.model.limits[purse].unpriced
        self.teller.raise_limits(purse, msgspec.structs.replace(limits, unpriced=as_it_is))

    @rule(purse=purses, tokens=AMOUNT)
    def record(self, purse: Id, tokens: TokenAccounting) -> None:
        self.teller.record(purse, tokens)

    @rule(purse=purses, tokens=st.none() | AMOUNT)
    def record_an_output(self, purse: Id, tokens: TokenAccounting | None) -> None:
        self.teller.record_output(purse, tokens)

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # Leases

    @rule(target=leases, purse=purses, estimate=st.none() | AMOUNT, depth=st.integers(1, 4))
    def begin(self, purse: Id, estimate: TokenAccounting | None, depth: int) -> Any:
        refused = self.model.refused(purse, estimate, depth, self.clock.seconds)
        answer = self.teller.begin(purse, estimate, depth, self.clock.seconds)
        if isinstance(answer, BudgetError) or refused is not None:
            self._check_denial(answer, refused)
            return multiple()
        assert weigh(self.teller.leases[answer].hold) == weigh(estimate)
        return answer

    @rule(lease=leases, wish=st.none() | AMOUNT)
    def reserve(self, lease: Id, wish: TokenAccounting | None) -> None:
        if not self._in_flight(lease):
            return
        refused = self.model.call_refused(lease, wish, self.clock.seconds)
        answer = self.teller.reserve(lease, wish)
        if answer is not None or refused is not None:
            self._check_denial(answer, refused)

    def _check_denial(self, answer: object, refused: Refused | None) -> None:
        assert isinstance(answer, BudgetError), f"a false admission: {refused}"
        assert refused is not None, f"a false denial: {answer}"
        assert matches(answer, refused), (answer, vars(answer), refused)
        expected = self.model.snapshot(refused.purse, self.clock.seconds)
        assert answer.snapshot is not None
        assert comparable(self.model, refused.purse, answer.snapshot) == comparable(self.model, refused.purse, expected)

    @rule(lease=leases, tokens=AMOUNT)
    def charge(self, lease: Id, tokens: TokenAccounting) -> None:
        """In flight or late: it is booked."""
        if lease in self.teller.leases:
            self.teller.charge(lease, tokens)

    @rule(lease=leases, report=st.none() | AMOUNT)
    def settle(self, lease: Id, report: TokenAccounting | None) -> None:
        """Also again, and after a release: then it changes nothing."""
        if lease not in self.teller.leases:
            return
        answer = self.teller.settle(lease, report)
        page = self.model.pages[lease]
        assert self.teller.leases[lease].state == page.state
        assert four(weigh(answer))["input_tokens"] == four(page.spent)["input_tokens"]
        assert four(weigh(answer))["output_tokens"] == four(page.spent)["output_tokens"]
        if weigh(answer)[2] < MOST:
            assert answer.cost_usd == pytest.approx(page.spent[2] / 10**9, abs=1e-7)

    @rule(lease=leases, more=st.integers(-1, 1))
    def settle_near_the_hold(self, lease: Id, more: int) -> None:
        if not self._in_flight(lease):
            return
        read, written, nanos = self.model.pages[lease].hold
        self.teller.settle(
            lease,
            TokenAccounting(
                input_tokens=max(0, read + more), output_tokens=max(0, written + more), cost_usd=nanos / 10**9
            ),
        )

    @rule(lease=leases, error=st.sampled_from([None, ValueError(), KeyboardInterrupt()]))
    def leave_the_block(self, lease: Id, error: BaseException | None) -> None:
        if lease in self.teller.leases:
            self.teller.leave_block(lease, error)

    @rule(lease=leases)
    def release(self, lease: Id) -> None:
        """Also again, and after it settled."""
        if lease in self.teller.leases:
            self.teller.release(lease)

    @rule(lease=leases)
    @precondition(lambda self: len(self.teller.leases) > 1)
    def drop(self, lease: Id) -> None:
        if lease in self.teller.leases:
            self.teller.drop(lease)

    def _in_flight(self, lease: Id) -> bool:
        return lease in self.teller.leases and self.model.pages[lease].state == "held"

    # What always holds

    @invariant()
    def every_purse_is_what_its_rows_come_to(self) -> None:
        for name, purse in self.teller.purses.items():
            expected = self.model.snapshot(name, self.clock.seconds)
            assert comparable(self.model, name, purse.snapshot()) == comparable(self.model, name, expected)
            assert purse.is_exhausted == expected.exhausted
            assert purse.limits == self.model.limits[name]
            unbounded = all(self.model.limits[at].is_unbounded for at in self.model.chain(name))
            assert purse.is_unbounded == unbounded
            left, room = purse.remaining(), self.model.remaining(name, self.clock.seconds)
            if room.max_cost_usd is not None:
                assert left.max_cost_usd == pytest.approx(room.max_cost_usd, rel=1e-15)
                left = msgspec.structs.replace(left, max_cost_usd=room.max_cost_usd)
            assert left == room

    @invariant()
    def every_purse_admits_whom_it_must_and_a_release_leaves_no_trace(self) -> None:
        for name, purse in self.teller.purses.items():
            refused = self.model.refused(name, None, 1, self.clock.seconds)
            try:
                purse.try_begin_agent().release()
            except BudgetError as error:
                self._check_denial(error, refused)
            else:
                assert refused is None, f"a false admission: {refused}"

    @invariant()
    def only_overrun_crosses_a_ceiling(self) -> None:
        replaced = {row.subject for row in self.teller.rows if row.what == "limits"}
        for purse in self.teller.purses.keys() - replaced:
            pages = list(self.model.inside(purse))
            unasked = total((*(weigh(each) for each in self.model.records(purse)), *(page.late for page in pages)))
            over = total(page.over for page in pages)
            standing = four(total((self.model.spent(purse), self.model.held(purse))))
            for name, cap in caps(self.model.limits[purse]).items():
                assert standing[name] <= cap + four(total((over, unasked)))[name]

    @invariant()
    def every_lease_has_the_state_of_its_rows(self) -> None:
        for number, lease in self.teller.leases.items():
            assert lease.state == self.model.pages[number].state

    def teardown(self) -> None:
        for lease in list(self.teller.leases):
            self.teller.settle(lease, None)
        for name, purse in self.teller.purses.items():
            assert weigh(purse.snapshot().held) == NOTHING
            expected = self.model.snapshot(name, self.clock.seconds)
            assert comparable(self.model, name, purse.snapshot()) == comparable(self.model, name, expected)
        check_conservation(self.teller, self.teller.rows)


class HugeBudgetMachine(BudgetMachine):
    """The same with amounts around the number at which every counter stops."""

    amounts = HUGE_AMOUNTS
    limits = HUGE_LIMITS


def comparable(model: NaiveBudget, purse: Id, now: BudgetSnapshot) -> BudgetSnapshot:
    if any(page.has_vague_overrun for page in model.inside(purse)):
        return msgspec.structs.replace(now, overrun=TokenAccounting())
    return now


def check_conservation(teller: Teller, rows: list[Row]) -> None:
    """What a purse spent is its own and its children's, by the purses' own word."""
    model = NaiveBudget(rows)
    for name, purse in teller.purses.items():
        children = [teller.purses[child].snapshot() for child, row in model.made.items() if row.parent == name]
        leases = [page for page in model.pages.values() if page.purse == name]
        records = [weigh(row.tokens) for row in rows if row.what == "record" and row.subject == name]
        own = total((*(page.spent for page in leases), *records))
        now = purse.snapshot()
        for index, dimension in enumerate(("input_tokens", "output_tokens")):
            spent = own[index] + sum(getattr(child, dimension) for child in children)
            assert getattr(now, dimension) == min(spent, MOST)
        cost = own[2] + sum(round(child.cost_usd * 10**9) for child in children)
        if cost < 2**53:
            assert round(now.cost_usd * 10**9) == cost
        own_agents = sum(page.state != "released" for page in leases)
        assert now.agents_started == own_agents + sum(child.agents_started for child in children)


CALM = settings(deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))

TestTheBudgetAgreesWithTheContract = BudgetMachine.TestCase
TestTheBudgetAgreesWithTheContract.settings = settings(CALM, max_examples=120, stateful_step_count=40)

TestTheBudgetAgreesWithTheContractAtItsUpperEnd = HugeBudgetMachine.TestCase
TestTheBudgetAgreesWithTheContractAtItsUpperEnd.settings = settings(CALM, max_examples=50, stateful_step_count=25)


# The same operations from eight threads

PICK = st.integers(0, 7)
STEPS = st.one_of(
    st.tuples(st.just("begin"), PICK, st.none() | SMALL_AMOUNTS),
    st.tuples(st.just("begin"), PICK, st.none() | SMALL_AMOUNTS),
    st.tuples(st.just("charge"), PICK, SMALL_AMOUNTS),
    st.tuples(st.just("reserve"), PICK, st.none() | SMALL_AMOUNTS),
    st.tuples(st.just("settle"), PICK, st.none() | SMALL_AMOUNTS),
    st.tuples(st.sampled_from(["release", "drop", "leave_block"]), PICK, st.none()),
    st.tuples(st.just("record"), PICK, SMALL_AMOUNTS),
)


def grow_a_tree(limits: list[BudgetLimits], kept: TokenAccounting, clock: FakeClock) -> Teller:
    """Four levels: the root, two children, a keeping-back purse in one, and two purses inside that."""
    teller = Teller({})

    def add(parent: Id | None, purse: CoordinationBudget, row: Row) -> CoordinationBudget:
        row.subject, row.parent = len(teller.purses), parent
        teller.purses[row.subject] = purse
        teller.rows.append(row)
        return purse

    root = add(None, CoordinationBudget(limits[0], clock=clock), Row("purse", None, limits=limits[0]))
    left = add(0, root.child(limits[1]), Row("purse", None, limits=limits[1]))
    add(0, root.child(limits[2]), Row("purse", None, limits=limits[2]))
    workers = left.keeping_back(kept)
    add(1, workers, Row("purse", None, limits=BudgetLimits(), kept=weigh(kept), kept_agents=1))
    add(3, workers.child(limits[3]), Row("purse", None, limits=limits[3]))
    add(3, workers.child(limits[4]), Row("purse", None, limits=limits[4]))
    return teller


def perform(teller: Teller, steps: list[tuple[str, int, Any]], now: float) -> None:
    for what, pick, tokens in steps:
        if what == "begin":
            teller.begin(pick % len(teller.purses), tokens, 1, now)
        elif what == "record":
            teller.record(pick % len(teller.purses), tokens)
        elif teller.leases:
            lease = list(teller.leases)[pick % len(teller.leases)]
            if what == "reserve" and teller.leases[lease].state != "held":
                continue
            arguments = {"release": (), "drop": (), "leave_block": (None,)}.get(what, (tokens,))
            getattr(teller, what)(lease, *arguments)


# Without shrinking: what depends on the moment does not get simpler.
@settings(CALM, max_examples=25, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    lists=st.lists(st.lists(STEPS, min_size=10, max_size=40), min_size=8, max_size=8),
    limits=st.lists(SMALL_LIMITS, min_size=5, max_size=5),
    kept=SMALL_AMOUNTS,
)
def test_eight_threads_leave_what_their_rows_come_to(
    lists: list[list[tuple[str, int, Any]]], limits: list[BudgetLimits], kept: TokenAccounting
) -> None:
    clock = FakeClock()
    tree = grow_a_tree(limits, kept, clock)
    tellers = [Teller(tree.purses, name=f"thread {number}") for number in range(len(lists))]
    together(
        [
            lambda teller=teller, steps=steps: perform(teller, steps, clock.seconds)
            for teller, steps in zip(tellers, lists, strict=True)
        ]
    )

    for teller in tellers:
        for lease in list(teller.leases):
            teller.settle(lease, None)

    rows = tree.rows + [row for teller in tellers for row in teller.rows]
    model = NaiveBudget(rows)
    for name, purse in tree.purses.items():
        now = purse.snapshot()
        assert comparable(model, name, now) == comparable(model, name, model.snapshot(name, clock.seconds))
        assert weigh(now.held) == NOTHING
        if now.limits.max_agents is not None:
            assert now.agents_started <= now.limits.max_agents
    check_conservation(tree, rows)


def test_a_cap_of_50_under_a_free_for_all_grants_exactly_50() -> None:
    root = CoordinationBudget(BudgetLimits(max_agents=50))
    purses = [root, *(root.child(BudgetLimits()) for _ in range(3))]
    granted: list[object] = []

    def grab(purse: CoordinationBudget) -> None:
        for _ in range(100):
            try:
                granted.append(purse.try_begin_agent())
            except BudgetError:
                continue

    together([lambda purse=purses[number % 4]: grab(purse) for number in range(8)])

    assert len(granted) == 50
    assert root.snapshot().agents_started == 50


def test_slots_given_back_in_a_free_for_all_are_granted_again_and_never_twice() -> None:
    root = CoordinationBudget(BudgetLimits(max_agents=50))
    kept: list[object] = []

    def grab_and_give_back() -> None:
        for attempt in range(200):
            try:
                lease = root.try_begin_agent()
            except BudgetError:
                continue
            if attempt % 2:
                lease.release()
            else:
                kept.append(lease)

    together([grab_and_give_back] * 8)

    while len(kept) < 50:
        kept.append(root.try_begin_agent())
    with pytest.raises(BudgetError):
        root.try_begin_agent()
    assert root.snapshot().agents_started == len(kept) == 50


def test_true_estimates_from_eight_threads_spend_the_limit_to_the_last_token_and_not_beyond() -> None:
    root = CoordinationBudget(BudgetLimits(max_total_tokens=1_000, max_cost_usd=0.04))
    cost = TokenAccounting(input_tokens=6, output_tokens=4, cost_usd=0.0004)

    def work() -> None:
        for _ in range(100):
            try:
                lease = root.try_begin_agent(cost)
            except BudgetError:
                continue
            assert root.snapshot().total_tokens <= 1_000
            lease.charge(TokenAccounting(input_tokens=6, cost_usd=0.0001))
            lease.settle(cost)

    together([work] * 8)

    now = root.snapshot()
    assert (now.total_tokens, now.cost_usd, now.agents_started) == (1_000, 0.04, 100)
    assert weigh(now.held) == weigh(now.overrun) == NOTHING


def test_one_lease_charged_from_eight_threads_loses_no_charge() -> None:
    root = CoordinationBudget(BudgetLimits())
    inner = root.child(BudgetLimits()).child(BudgetLimits())
    lease = inner.try_begin_agent(TokenAccounting(input_tokens=3_000))
    call = TokenAccounting(input_tokens=1, output_tokens=2, cost_usd=0.0000004)

    together([lambda: [lease.charge(call) for _ in range(500)]] * 8)
    lease.settle()

    for purse in (root, inner):
        now = purse.snapshot()
        assert (now.input_tokens, now.output_tokens, now.cost_usd) == (4_000, 8_000, 0.0016)
        assert now.overrun.input_tokens == 1_000


def test_a_lease_settled_and_released_by_eight_threads_ends_once() -> None:
    for _ in range(30):
        root = CoordinationBudget(BudgetLimits())
        lease = root.try_begin_agent(TokenAccounting(input_tokens=10))

        together([lease.release, *([lambda lease=lease: lease.settle(TokenAccounting(input_tokens=7))] * 7)])

        now = root.snapshot()
        assert weigh(now.held) == NOTHING
        assert (now.agents_started, now.input_tokens) == ((1, 7) if lease.state == "settled" else (0, 0))


def test_a_snapshot_is_never_torn() -> None:
    root = CoordinationBudget(BudgetLimits())
    call = TokenAccounting(input_tokens=1, output_tokens=1, cost_usd=1e-9)

    def spend() -> None:
        for _ in range(300):
            with root.try_begin_agent(call) as lease:
                lease.charge(call)

    def read() -> None:
        for _ in range(300):
            now = root.snapshot()
            assert now.input_tokens == now.output_tokens == round(now.cost_usd * 10**9)
            assert now.total_tokens == now.input_tokens + now.output_tokens
            assert now.held.input_tokens == now.held.output_tokens
            assert now.input_tokens + now.held.input_tokens <= now.agents_started

    together([spend] * 4 + [read] * 4)

    assert saturated(weigh(root.snapshot().held)) == NOTHING
