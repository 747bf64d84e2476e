"""Several processes on one purse: they see each other, wait for each other, die, freeze and fork."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from carpool.budget import CoordinationBudget, Lease
from carpool.errors import BudgetExhausted, JournalError
from carpool.types import BudgetLimits, TokenAccounting

from .ledger_member import ledger_at
from .ledger_processes import Refused, processes

A_HUNDRED = BudgetLimits(max_total_tokens=100)


def tokens(count: int) -> TokenAccounting:
    return TokenAccounting(input_tokens=count)


@pytest.fixture
def sqlite_place(tmp_path: Path) -> str:
    return str(tmp_path / "purse.db")


@pytest.fixture(params=["sqlite_place", "postgres_dsn"])
def place(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(request.param)


@pytest.fixture
def budget(place: str) -> Iterator[CoordinationBudget]:
    budget = CoordinationBudget(A_HUNDRED, ledger=ledger_at(place, timeout_s=20))
    yield budget
    budget.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_they_spend_one_purse_and_wait_for_each_other(place: str, budget: CoordinationBudget) -> None:
    with processes(place, 2) as (one, other):
        mine = one.does("begin", 60)
        other.starts("wait", 60)
        with pytest.raises(Refused, match=r"BudgetExhausted.*60 held by agents in flight"):
            one.does("begin", 60)
        assert not other.has_answered()
        one.does("settle", mine, 30)
        theirs = other.answer()
        assert budget.snapshot().held == tokens(60)
        one.does("raise_limits", "200 tokens")
        budget.try_begin_agent(tokens(110)).settle(tokens(0))
        other.does("settle", theirs)
    assert budget.snapshot().total_tokens == 90


def test_one_that_is_killed_has_spent_what_it_held(place: str, budget: CoordinationBudget) -> None:
    with processes(place, 2) as (victim, heir):
        victim.does("begin", 40)
        victim.does("charge", victim.does("begin", 20), 5)
        victim.does("settle", victim.does("begin", 10), 1)
        heir.starts("wait", 50)
        victim.kill()
        with pytest.raises(Refused, match=r"61 spent, 50 asked for"):
            heir.answer()
        until(lambda: budget.snapshot().held == tokens(0))
        assert (budget.snapshot().total_tokens, budget.snapshot().agents_started) == (61, 3)
        heir.does("settle", heir.does("begin", 39))
    assert budget.snapshot().total_tokens == 100


def test_one_that_is_frozen_is_waited_for(place: str, budget: CoordinationBudget) -> None:
    with processes(place, 2) as (frozen, other):
        lease = frozen.does("begin", 60)
        frozen.freeze()
        other.starts("wait", 60)
        time.sleep(0.5)
        assert not other.has_answered()
        assert budget.snapshot().held == tokens(60)
        frozen.thaw()
        frozen.does("settle", lease, 10)
        other.answer()


def test_one_that_is_frozen_in_its_turn_stops_starts_until_it_wakes_or_dies(sqlite_place: str) -> None:
    budget = CoordinationBudget(A_HUNDRED, ledger=ledger_at(sqlite_place, timeout_s=0.3))
    mine = budget.try_begin_agent(tokens(10))
    with processes(sqlite_place, 1) as (frozen,):
        frozen.does("begin", 20)
        frozen.does("hold_turn")
        frozen.freeze()

        with pytest.raises(JournalError, match=r"keeps it locked for 0\.3 s.*wake"):
            budget.try_begin_agent(tokens(5))
        mine.settle(tokens(7))  # told, and kept
        assert budget.snapshot().total_tokens == 7
        waiter = budget.begin_soon(tokens(5), 1, (), lambda: None)
        until(lambda: waiter.denial)
        assert isinstance(waiter.denial, JournalError)

        frozen.kill()

        budget.try_begin_agent(tokens(5)).settle()
    now = budget.snapshot()
    assert (now.total_tokens, now.agents_started, now.held) == (7 + 20 + 5, 3, tokens(0))
    newcomer = CoordinationBudget(ledger=ledger_at(sqlite_place))
    assert newcomer.snapshot().total_tokens == now.total_tokens


def test_kills_at_any_moment_leave_a_sound_purse_that_is_never_overspent(place: str) -> None:
    said = in_a_child(
        """
        import random, signal
        chance = random.Random(11)
        budget.raise_limits(BudgetLimits(max_total_tokens=10**9))

        def spend():
            while True:
                lease = budget.try_begin_agent(tokens(7))
                lease.charge(tokens(3))
                lease.settle(tokens(7))

        def start():
            pid = os.fork()
            if pid == 0:
                spend()
            return pid

        def kill(pid):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

        company = start()
        for number in range(60):
            victim = start()
            time.sleep(chance.uniform(0, 0.03))
            kill(victim)
            now = budget.snapshot()
            assert now.total_tokens + now.held.total_tokens == 7 * now.agents_started, now
            if number == 30:
                kill(company)
        while (now := budget.snapshot()).held.total_tokens:
            time.sleep(0.01)
        assert now.agents_started > 10, now
        say("sound")
        """,
        place,
    )
    assert said == ["sound"]
    if "=" not in place:
        with sqlite3.connect(place) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


def test_purses_inside_are_bounded_by_what_all_spend(place: str, budget: CoordinationBudget) -> None:
    child = budget.child(BudgetLimits(max_total_tokens=80))
    with processes(place, 1) as (other,):
        other.does("begin", 30)
        child.try_begin_agent(tokens(60)).settle()
        with pytest.raises(BudgetExhausted) as denial:
            child.try_begin_agent(tokens(20))
        assert denial.value.held_back
        other.kill()
        until(lambda: budget.snapshot().held == tokens(0))
        with pytest.raises(BudgetExhausted) as denial:
            child.try_begin_agent(tokens(20))
        assert not denial.value.held_back
        child.try_begin_agent(tokens(10)).settle()
    assert (child.snapshot().total_tokens, budget.snapshot().total_tokens) == (70, 100)


# Forks


def in_a_child(program: str, place: str) -> list[str]:
    """What a program prints in which a process with a budget forks; it has ``budget``, ``tokens`` and ``fork``."""
    preamble = """
    import os, sys, threading, time
    sys.path.insert(0, sys.argv[2])
    from carpool.budget import CoordinationBudget
    from carpool.types import BudgetLimits, TokenAccounting
    from ledger_member import ledger_at, tokens

    def fork(work):
        pid = os.fork()
        if pid == 0:
            work()
            sys.stdout.flush()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0

    def say(*what):
        print(*what, flush=True)

    def held():
        return budget.snapshot().held.total_tokens

    budget = CoordinationBudget(BudgetLimits(max_total_tokens=100), ledger=ledger_at(sys.argv[1]))
    """
    source = textwrap.dedent(preamble) + textwrap.dedent(program)
    command = [sys.executable, "-W", "error", "-c", source, place, Path(__file__).parent]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_forked_child_is_a_member_of_its_own_without_its_parent_s_leases(place: str) -> None:
    said = in_a_child(
        """
        inner = budget.child(BudgetLimits(max_total_tokens=60))
        lease = inner.try_begin_agent(tokens(60))

        def child():
            say(lease.state, budget.in_flight, inner.snapshot().held.total_tokens, budget.snapshot().held.total_tokens)
            lease.settle(tokens(9))
            lease.release()
            mine = budget.try_begin_agent(tokens(30))
            say(budget.snapshot().held.total_tokens)
            mine.settle(tokens(5))

        fork(child)
        say(lease.state, budget.snapshot().total_tokens, budget.snapshot().held.total_tokens)
        lease.settle(tokens(20))
        say(budget.snapshot().total_tokens, budget.snapshot().agents_started)
        """,
        place,
    )
    assert said == ["released 0 0 60", "90", "held 5 60", "25 2"]


def test_a_forked_child_that_dies_has_spent_its_own_holds_only(place: str) -> None:
    said = in_a_child(
        """
        lease = budget.try_begin_agent(tokens(40))

        def child():
            mine = budget.try_begin_agent(tokens(30))
            os._exit(0)

        fork(child)
        while held() != 40:
            time.sleep(0.01)
        say(budget.snapshot().total_tokens)
        """,
        place,
    )
    assert said == ["30"]


def test_a_child_outlives_its_parent_whose_holds_are_spent(place: str) -> None:
    said = in_a_child(
        """
        lease = budget.try_begin_agent(tokens(40))
        parent = os.getpid()
        if os.fork():
            os._exit(0)  # with the lease in flight; the child was born with the parent's files open
        while os.getppid() == parent:
            time.sleep(0.001)
        while held():
            time.sleep(0.01)
        say(budget.snapshot().total_tokens)
        """,
        place,
    )
    assert said == ["40"]


def test_forks_among_busy_threads_leave_nobody_stuck(place: str) -> None:
    said = in_a_child(
        """
        done = []

        def work():
            for _ in range(40):
                budget.try_begin_agent(tokens(1)).settle(tokens(0))
            done.append(1)

        def child():
            mine = budget.try_begin_agent(tokens(1))
            mine.settle()

        waiting = budget.try_begin_agent(tokens(80))
        waiter = budget.begin_or_wait(tokens(50), 1, (), lambda: None)
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            fork(child)
        for thread in threads:
            thread.join()
        waiting.settle(tokens(10))
        while waiter.lease is None:
            time.sleep(0.001)
        waiter.lease.settle(tokens(0))
        say(len(done), budget.snapshot().total_tokens, budget.snapshot().held.total_tokens)
        """,
        place,
    )
    assert said == ["6 15 0"]


def test_what_a_parent_could_not_write_is_written_by_it_and_not_by_its_child_too(sqlite_place: str) -> None:
    said = in_a_child(
        """
        ledger = budget.book._sharing.ledger
        ledger._connection.execute("PRAGMA query_only = ON")
        budget.record(tokens(10))

        fork(lambda: say(budget.snapshot().total_tokens))
        ledger._connection.execute("PRAGMA query_only = OFF")
        say(budget.snapshot().total_tokens)
        fork(lambda: say(budget.snapshot().total_tokens))
        """,
        sqlite_place,
    )
    assert said == ["0", "10", "10"]


def test_a_lease_that_its_process_forgot_is_settled(budget: CoordinationBudget) -> None:
    def forgets() -> int:
        lease = budget.try_begin_agent(tokens(30))
        assert isinstance(lease, Lease)
        return lease.number

    forgets()
    until(lambda: budget.snapshot().total_tokens == 30)
