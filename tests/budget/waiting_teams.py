"""Agents that ask for agents, wait at the door, and settle: a scheduler of one thread that checks every answer.

What must happen is asked of the naive budget, and of the one rule for the line: a start that only holds keep out
waits while some lease is in flight that is neither an ancestor's nor has itself a waiting descendant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from carpool.budget import CoordinationBudget, Lease, Waiter
from carpool.budget.ledger import Ledger
from carpool.errors import BudgetError
from carpool.types import BudgetLimits, TokenAccounting

from .fake_clock import FakeClock
from .naive_budget import Id, NaiveBudget, Refused, Row, Teller, matches, weigh


@dataclass(eq=False)
class Agent:
    purse: Id
    estimate: TokenAccounting | None
    parent: Agent | None
    status: str = "asking"  # then waiting, running, ended or denied
    lease: Id | None = None
    waiter: Waiter | None = None
    children: list[Agent] = field(default_factory=list)

    @property
    def above(self) -> list[Agent]:
        return [] if self.parent is None else [*self.parent.above, self.parent]

    @property
    def depth(self) -> int:
        return len(self.above) + 1

    @property
    def is_blocked(self) -> bool:
        """It waits for what it asked for."""
        return any(child.status in ("waiting", "running") for child in self.children)


class WaitingTeams:
    """A root, a child, a keeping-back purse in that child, and a purse inside it: numbers 0 to 3."""

    def __init__(
        self, limits: list[BudgetLimits], kept: TokenAccounting | None = None, ledger: Ledger | None = None
    ) -> None:
        self.clock = FakeClock()
        root = CoordinationBudget(limits[0], clock=self.clock, ledger=ledger)
        child = root.child(limits[1])
        workers = child.keeping_back(kept, 0)
        self.teller = Teller({0: root, 1: child, 2: workers, 3: workers.child(limits[2])})
        self.model = NaiveBudget(self.teller.rows)
        self.teller.rows += [
            Row("purse", 0, limits=limits[0]),
            Row("purse", 1, limits=limits[1], parent=0),
            Row("purse", 2, limits=BudgetLimits(), parent=1, kept=weigh(kept)),
            Row("purse", 3, limits=limits[2], parent=2),
        ]
        self.agents: list[Agent] = []
        self.line: list[Agent] = []  # who waits, in the order in which they came
        self.woken: list[Agent] = []
        self.ever_woken: list[Agent] = []

    def running(self) -> list[Agent]:
        return [agent for agent in self.agents if agent.status == "running"]

    # What agents do

    def start(self, purse: Id, estimate: TokenAccounting | None, parent: Agent | None = None) -> Agent:
        agent = Agent(purse, estimate, parent)
        refused = self._refused(agent)
        may_wait = refused is not None and refused.held_back and self._somebody_can_settle([*self.line, agent])
        answer = self._ask(agent)
        if isinstance(answer, BudgetError):
            assert refused is not None, f"a false denial: {answer}"
            assert not may_wait, f"denied at once, though somebody could settle: {answer}"
            assert matches(answer, refused), (vars(answer), refused)
            agent.status = "denied"
        elif isinstance(answer, Waiter):
            assert may_wait, f"waits in vain: {refused}"
            agent.status, agent.waiter = "waiting", answer
            self.line.append(agent)
        else:
            assert refused is None, f"a false admission: {refused}"
            self._runs(agent, answer)
        self.agents.append(agent)
        if parent is not None:
            parent.children.append(agent)
        self._check_the_line("start")
        return agent

    def _ask(self, agent: Agent) -> Lease | Waiter | BudgetError:
        try:
            return self.teller.purses[agent.purse].begin_or_wait(
                agent.estimate, agent.depth, self._ancestors(agent), lambda: self.woken.append(agent)
            )
        except BudgetError as error:
            return error

    def settle(self, agent: Agent, report: TokenAccounting | None = None) -> None:
        self._end(agent, lambda: self.teller.settle(agent.lease, report))

    def release(self, agent: Agent) -> None:
        self._end(agent, lambda: self.teller.release(agent.lease))

    def drop(self, agent: Agent) -> None:
        agent.waiter = None
        root = self.teller.purses[0]
        # On a ledger a lease that was dropped is settled a moment later, or with the next step.
        self._end(agent, lambda: (self.teller.drop(agent.lease), root.is_shared and root.snapshot()))

    def _end(self, agent: Agent, how: Callable[[], object]) -> None:
        assert agent.status == "running"
        agent.status = "ended"
        how()
        self._check_the_line("settle")

    def charge(self, agent: Agent, tokens: TokenAccounting) -> None:
        self.teller.charge(agent.lease, tokens)
        self._check_the_line("charge")

    def reserve(self, agent: Agent, wish: TokenAccounting | None) -> None:
        self.teller.reserve(agent.lease, wish)
        self._check_the_line("reserve")

    def leave(self, agent: Agent) -> None:
        """Out of the line or, if it has been let in through the line, out of the door again."""
        assert agent.waiter is not None
        agent.waiter.leave()
        if agent.status == "waiting":
            self.line.remove(agent)
        else:
            self.teller.rows.append(Row("release", agent.lease))
        agent.status = "ended"
        self._check_the_line("settle")

    def raise_limits(self, purse: Id, limits: BudgetLimits) -> None:
        self.teller.raise_limits(purse, limits)
        self._check_the_line("raise_limits")

    def record(self, purse: Id, tokens: TokenAccounting) -> None:
        self.teller.record(purse, tokens)
        self._check_the_line("record")

    def finish_all(self, pick: Callable[[list[Agent]], Agent]) -> None:
        """Let whoever is not blocked settle, one after the other, until nobody runs: then nobody may wait."""
        while running := self.running():
            free = [agent for agent in running if not agent.is_blocked]
            assert free, "everybody waits for somebody"
            self.settle(pick(free))
        assert self.line == []
        for purse in self.teller.purses.values():
            assert weigh(purse.snapshot().held) == (0, 0, 0)

    # What must be so after each of it

    def _check_the_line(self, what: str) -> None:
        woken, self.woken = self.woken, []
        self.ever_woken += woken
        assert len(set(map(id, self.ever_woken))) == len(self.ever_woken), "woken twice"
        assert all(agent in self.line for agent in woken), "woken without having waited"

        let_in = self._check_who_is_let_in(woken, asked_all=what in ("settle", "raise_limits"))
        assert [agent for agent in woken if agent.status == "running"] == let_in, "not first come, first served"
        self._check_who_is_denied([agent for agent in woken if agent.status != "running"])

        self.line = [agent for agent in self.line if agent not in woken]
        assert not self.line or self._somebody_can_settle(self.line), "they wait in vain"

    def _check_who_is_let_in(self, woken: list[Agent], *, asked_all: bool) -> list[Agent]:
        let_in: list[Agent] = []
        hopeless = [agent for agent in self.line if (refused := self._refused(agent)) and not refused.held_back]
        if asked_all:
            assert all(agent in woken for agent in hopeless), "it can never be let in, and still waits"
        for agent in self.line:
            assert agent.waiter is not None
            refused = self._refused(agent)
            if refused is None:
                assert agent.waiter.lease is not None, "it fits, and still waits"
                assert agent.waiter.denial is None
                self._runs(agent, agent.waiter.lease)
                let_in.append(agent)
                continue
            assert agent.waiter.lease is None, f"let in out of turn, or without room: {refused}"
        return let_in

    def _check_who_is_denied(self, denied: list[Agent]) -> None:
        staying = [agent for agent in self.line if agent not in denied and agent.status == "waiting"]
        for number, agent in enumerate(denied):
            refused = self._refused(agent)
            assert refused is not None
            assert agent.waiter is not None
            assert agent.waiter.denial is not None, "woken without an answer"
            assert agent.waiter.lease is None
            if getattr(agent.waiter.denial, "held_back", False):
                assert matches(agent.waiter.denial, refused)
                waited = [*staying, *denied[number:]]
                assert not self._somebody_can_settle(waited), "denied though somebody could settle"
            else:
                assert not refused.held_back, f"only holds kept it out: {agent.waiter.denial}"
            agent.status = "denied"

    def _runs(self, agent: Agent, lease: Lease) -> None:
        agent.lease = self.teller.began(agent.purse, agent.estimate, lease, self.clock.seconds)
        agent.status = "running"

    def _refused(self, agent: Agent) -> Refused | None:
        return self.model.refused(agent.purse, agent.estimate, agent.depth, self.clock.seconds)

    def _ancestors(self, agent: Agent) -> tuple[int, ...]:
        return tuple(self.teller.leases[above.lease].number for above in agent.above if above.lease is not None)

    def _somebody_can_settle(self, waiting: Iterable[Agent]) -> bool:
        inside = {id(above) for agent in waiting for above in agent.above}
        return any(id(agent) not in inside for agent in self.running())
