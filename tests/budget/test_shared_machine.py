"""Several budgets on one ledger, step by step beside the naive model of one budget: they must not differ from it."""

from __future__ import annotations

from contextlib import suppress

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from carpool.budget import CoordinationBudget
from carpool.budget.ledger import Ledger
from carpool.errors import BudgetError, JournalError
from carpool.types import BudgetLimits, TokenAccounting

from .fake_clock import FakeClock
from .memory_ledger import FaultyLedger, MemoryLedger, Shelf
from .naive_budget import Id, Row
from .test_budget_machine import AMOUNT, CALM, LIMITS, BudgetMachine, HugeBudgetMachine, settings
from .test_line import ROOMS, SMALLER_ROOMS, TeamsMachine
from .waiting_teams import WaitingTeams

DOORS = 3
NOTHING = TokenAccounting()


class NobodyComes:
    """In place of the clerk, whose thread would do things between the steps of a machine."""

    def come(self, *, at_once: bool = False) -> None:
        pass


def opened(ledger: Ledger, clock: FakeClock, limits: BudgetLimits | None = None) -> CoordinationBudget:
    budget = CoordinationBudget(limits, clock=clock, ledger=ledger)
    budget.book._clerk = NobodyComes()
    return budget


class SharedBudgetMachine(BudgetMachine):
    """The root is reached through one of several budgets at a time; purses inside it belong to the budget through
    which they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf = Shelf()
        self.ledgers: list[FaultyLedger] = []
        self.doors: list[CoordinationBudget] = []

    def new_ledger(self) -> Ledger:
        """One member's access to what they share."""
        return MemoryLedger(self.shelf)

    @initialize(target=BudgetMachine.purses, limits=LIMITS)
    def open_the_root(self, limits: BudgetLimits) -> Id:
        self.ledgers = [FaultyLedger(self.new_ledger()) for _ in range(DOORS)]
        self.doors = [opened(ledger, self.clock, limits) for ledger in self.ledgers]
        self.teller.purses[0] = self.doors[0]
        self.teller.rows.append(Row("purse", 0, limits=limits))
        return 0

    @rule(door=st.integers(0, DOORS - 1))
    def go_through(self, door: int) -> None:
        self.teller.purses[0] = self.doors[door]

    @rule()
    def open_one_more(self) -> None:
        """One that comes late; it finds the purse as it is, and takes the place of one that is left to itself."""
        self.ledgers[2] = ledger = FaultyLedger(self.new_ledger())
        self.doors[2] = opened(ledger, self.clock)

    @rule(lease=BudgetMachine.leases)
    @precondition(lambda self: len(self.teller.leases) > 1)
    def drop(self, lease: Id) -> None:
        if lease in self.teller.leases:
            purse = self.teller.leases[lease].purse
            self.teller.drop(lease)
            purse.snapshot()  # else the clerk would settle it a moment later

    # The ledger of one of them fails for a while

    @rule(
        point=st.sampled_from(["begin", "commit", "commit after"]),
        door=st.integers(0, DOORS - 1),
        steps=st.lists(
            st.tuples(
                st.sampled_from(["begin", "reserve", "charge", "settle", "release", "record", "limits", "drop"]),
                st.integers(0, 20),
                AMOUNT,
                LIMITS,
            ),
            max_size=6,
        ),
    )
    def fail_for_a_while(
        self, point: str, door: int, steps: list[tuple[str, int, TokenAccounting, BudgetLimits]]
    ) -> None:
        root = self.doors[door]
        self.ledgers[door].down = point
        for what, pick, tokens, limits in steps:
            leases = [each for each, lease in self.teller.leases.items() if lease.purse.book is root.book]
            purses = [each for each, purse in self.teller.purses.items() if purse.book is root.book]
            if purses:
                self._tell(what, purses[pick % len(purses)], tokens)
                with suppress(JournalError):
                    self._ask(what, purses[pick % len(purses)], tokens, limits)
            if leases:
                self._tell(what, leases[pick % len(leases)], tokens)
                with suppress(JournalError):
                    self._ask(what, leases[pick % len(leases)], tokens, limits)
        self.ledgers[door].down = None
        root.snapshot()  # the next step writes what has piled up

    def _tell(self, what: str, whom: Id, tokens: TokenAccounting) -> None:
        """Always booked."""
        if whom in self.teller.leases and what in ("charge", "settle"):
            getattr(self.teller, what)(whom, tokens)
        elif whom in self.teller.leases and what in ("release", "drop"):
            getattr(self.teller, what)(whom)
        elif whom in self.teller.purses and what == "record":
            self.teller.record(whom, tokens)

    def _ask(self, what: str, whom: Id, tokens: TokenAccounting, limits: BudgetLimits) -> None:
        """Refused, unless nothing needs to be written."""
        if what == "begin" and whom in self.teller.purses:
            answer = self.teller.begin(whom, tokens, 1, self.clock.seconds)
            assert isinstance(answer, BudgetError), "granted, and not written"
        elif what == "limits" and whom in self.teller.purses:
            as_it_is = self.model.limits[whom].unpriced  # as in replace_limits
            self.teller.raise_limits(whom, msgspec.structs.replace(limits, unpriced=as_it_is))
        elif what == "reserve" and self._in_flight(whom):
            self.teller.reserve(whom, tokens)

    def teardown(self) -> None:
        super().teardown()
        for door in self.doors:
            assert door.snapshot() == self.doors[0].snapshot()
            assert door.snapshot().held == TokenAccounting()


class HugeSharedBudgetMachine(SharedBudgetMachine):
    amounts = HugeBudgetMachine.amounts
    limits = HugeBudgetMachine.limits


class SharedTeamsMachine(TeamsMachine):
    """Teams that wait for room: one budget on a ledger lets in and refuses whom one in memory does."""

    @initialize(root=ROOMS, child=SMALLER_ROOMS, inner=SMALLER_ROOMS, kept=st.sampled_from([None, NOTHING]))
    def open_the_purses(
        self, root: BudgetLimits, child: BudgetLimits, inner: BudgetLimits, kept: TokenAccounting | None
    ) -> None:
        self.teams = WaitingTeams([root, child, inner], kept, MemoryLedger(Shelf()))
        self.teams.teller.purses[0].book._clerk = NobodyComes()


TestBudgetsOnOneLedgerAreOneBudget = SharedBudgetMachine.TestCase
TestBudgetsOnOneLedgerAreOneBudget.settings = settings(CALM, max_examples=60, stateful_step_count=40)

TestBudgetsOnOneLedgerAreOneBudgetAtItsUpperEnd = HugeSharedBudgetMachine.TestCase
TestBudgetsOnOneLedgerAreOneBudgetAtItsUpperEnd.settings = settings(CALM, max_examples=30, stateful_step_count=25)

TestNobodyWaitsInVainOnALedger = SharedTeamsMachine.TestCase
TestNobodyWaitsInVainOnALedger.settings = settings(CALM, max_examples=60, stateful_step_count=40)
