"""The ledger in a PostgreSQL database: sessions that are lost, servers that restart, processes that freeze."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import anyio
import pytest

from carpool.budget import CoordinationBudget
from carpool.errors import BudgetExhausted, JournalCorrupt, JournalError
from carpool.types import BudgetLimits, TokenAccounting

from .ledger_processes import processes
from .postgres_proxy import CUT, PASS, Chunk, pooler, wire
from .postgres_server import PostgresServer

psycopg = pytest.importorskip("psycopg")

from carpool.durable import postgres_life  # noqa: E402
from carpool.durable.postgres_ledger import PostgresLedger  # noqa: E402

LIMITS = BudgetLimits(max_total_tokens=1_000)


def tokens(count: int) -> TokenAccounting:
    return TokenAccounting(input_tokens=count)


Open = Callable[..., CoordinationBudget]


@pytest.fixture
def opened(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """A budget on the database of this test."""
    monkeypatch.setattr(postgres_life, "BEATS_EVERY_S", 0.05)
    budgets: list[CoordinationBudget] = []

    def opened(limits: BudgetLimits | None = None, **options: Any) -> CoordinationBudget:
        budgets.append(CoordinationBudget(limits, ledger=PostgresLedger(postgres_dsn, **options)))
        return budgets[-1]

    yield opened
    for budget in budgets:
        budget.close()


def until(condition: Callable[[], object], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Where it lies


def test_purses_of_other_names_and_schemas_are_other_purses(opened: Open) -> None:
    purses = [opened(LIMITS), opened(LIMITS, name="second"), opened(LIMITS, schema="Of Its Own")]
    for count, purse in enumerate(purses, 1):
        purse.record(tokens(count))
    assert [purse.snapshot().total_tokens for purse in purses] == [1, 2, 3]
    assert len({purse.id for purse in purses}) == 3
    assert opened(name="second").id == purses[1].id


def test_no_error_tells_a_password(postgres_server: PostgresServer) -> None:
    dsn = f"postgresql://postgres:hunter2@127.0.0.1:{postgres_server.port}/nowhere"
    ledger = PostgresLedger(dsn)
    with pytest.raises(JournalError, match="nowhere") as caught:
        CoordinationBudget(ledger=ledger)
    assert "hunter2" not in f"{caught.value} {ledger.place} {caught.value.__cause__} {vars(caught.value)}"


def test_a_dsn_that_can_t_be_read_is_a_wrong_argument() -> None:
    with pytest.raises(ValueError, match="dsn"):
        PostgresLedger("postgresql://host:port:port/")


def test_what_is_committed_is_durable_even_where_the_server_says_otherwise(
    opened: Open, postgres_dsn: str, postgres_server: PostgresServer
) -> None:
    name = postgres_dsn.partition("dbname=")[2].split()[0]
    postgres_server.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    budget = opened(LIMITS)
    ledger = budget.book._sharing.ledger
    ledger.begin(wait=True)
    assert ledger._connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
    ledger.abandon()


def test_a_newer_format_is_refused_and_left_alone(opened: Open, postgres_dsn: str) -> None:
    opened(LIMITS).close()
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute("UPDATE carpool.purses SET format = 2")
        with pytest.raises(JournalError, match=r"newer carpool.*update"):
            opened()
        assert connection.execute("SELECT format FROM carpool.purses").fetchall() == [(2,)]


def test_a_purse_that_is_removed_while_in_use_is_corrupt(opened: Open, postgres_dsn: str) -> None:
    budget = opened(LIMITS)
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("DELETE FROM carpool.purses")
    with pytest.raises(JournalCorrupt, match="removed"):
        budget.try_begin_agent()
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("DROP SCHEMA carpool CASCADE")
    with pytest.raises(JournalCorrupt):
        budget.try_begin_agent()


def test_behind_a_pooler_that_shares_sessions_it_is_refused(postgres_dsn: str) -> None:
    async def attempt() -> None:
        async with pooler(postgres_dsn) as pooled:
            with pytest.raises(JournalError, match="pooler"):
                await anyio.to_thread.run_sync(lambda: CoordinationBudget(ledger=PostgresLedger(pooled)))

    anyio.run(attempt)


def test_one_ledger_serves_one_budget(postgres_dsn: str) -> None:
    ledger = PostgresLedger(postgres_dsn)
    budget = CoordinationBudget(LIMITS, ledger=ledger)
    with pytest.raises(ValueError, match="serves a budget already"):
        CoordinationBudget(LIMITS, ledger=ledger)
    budget.try_begin_agent().settle()
    budget.close()
    again = CoordinationBudget(ledger=ledger)
    assert again.snapshot().agents_started == 1
    again.close()


# Sessions that end


def test_a_server_that_restarts_is_waited_for_and_nobody_is_taken_for_dead(
    opened: Open, postgres_server: PostgresServer
) -> None:
    one, other = opened(LIMITS), opened()
    lease = one.try_begin_agent(tokens(600))
    for end in (postgres_server.stop, postgres_server.crash):
        end()
        starting = threading.Timer(0.3, postgres_server.start)
        starting.start()
        other.try_begin_agent(tokens(100)).settle(tokens(50))
        starting.join()
        with pytest.raises(BudgetExhausted) as denial:
            other.try_begin_agent(tokens(400))
        assert denial.value.held_back
    lease.settle(tokens(300))
    assert other.snapshot().total_tokens == 400


def test_one_whose_sessions_are_cut_comes_back_and_has_lost_nothing(
    opened: Open, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = opened(LIMITS, dead_after_s=0.01)
    monkeypatch.setattr(postgres_life, "BEATS_EVERY_S", 0.5)
    victim = opened()
    lease = victim.try_begin_agent(tokens(600))
    lease.charge(tokens(100))
    ledger = victim.book._sharing.ledger
    sessions = [ledger._connection.info.backend_pid, ledger._life._session.info.backend_pid]

    for session in sessions:
        postgres_server.execute(f"SELECT pg_terminate_backend({session}, 1000)")
    until(lambda: watcher.snapshot().total_tokens == 600)  # taken for dead
    until(lambda: ledger._life._session is not None and ledger._life._session.info.backend_pid not in sessions)

    lease.charge(tokens(100))
    assert (watcher.snapshot().total_tokens, watcher.snapshot().held) == (200, tokens(400))
    lease.settle()
    assert watcher.snapshot().total_tokens == victim.snapshot().total_tokens == 200


def test_one_that_is_frozen_in_its_turn_loses_the_turn(opened: Open, postgres_dsn: str) -> None:
    budget = opened(LIMITS)
    with processes(postgres_dsn, 1, timeout_s=1.0) as (frozen,):
        lease = frozen.does("begin", 20)
        frozen.does("hold_turn")
        frozen.freeze()

        budget.try_begin_agent(tokens(5)).settle()  # within the half second that the frozen one may idle

        assert budget.snapshot().held == tokens(20)
        frozen.thaw()
        frozen.does("let_go_of_turn")
        frozen.does("settle", lease)
    assert budget.snapshot().total_tokens == 25


def test_who_waits_too_long_for_a_turn_is_told_so(opened: Open, postgres_dsn: str) -> None:
    budget = opened(LIMITS, timeout_s=0.2)
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("SELECT FROM carpool.purses FOR UPDATE")
        with pytest.raises(JournalError, match="locked"):
            budget.try_begin_agent()
    budget.try_begin_agent().settle()


def scenario(budget: CoordinationBudget) -> tuple[int, int]:
    """Something of everything; what must be booked afterwards, and how many must have started."""
    spent = started = 0
    for count in (10, 20):
        try:
            lease = budget.try_begin_agent(tokens(count))
            started += 1
        except JournalError:
            continue
        lease.charge(tokens(3))
        lease.settle(tokens(5))
        spent += 5
    budget.record(tokens(1))
    budget.snapshot()
    return spent + 1, started


def test_a_wire_that_is_cut_anywhere_loses_no_charge_and_books_none_twice(postgres_dsn: str) -> None:
    async def run() -> None:
        direct = CoordinationBudget(LIMITS, ledger=PostgresLedger(postgres_dsn))
        spent = started = 0
        for cut_at in range(1, 1_000):
            reached = False

            async def meddle(chunk: Chunk, cut_at: int = cut_at) -> str:
                nonlocal reached
                reached = reached or chunk.number == cut_at
                return CUT if chunk.number == cut_at else PASS

            async with wire(postgres_dsn, meddle) as dsn:
                try:
                    made = partial(CoordinationBudget, ledger=PostgresLedger(dsn))
                    budget = await anyio.to_thread.run_sync(made)
                except JournalError:
                    continue
                more_spent, more_started = await anyio.to_thread.run_sync(scenario, budget)
                await anyio.to_thread.run_sync(budget.close)
            spent, started = spent + more_spent, started + more_started
            now = direct.snapshot()
            assert (now.total_tokens, now.agents_started, now.held) == (spent, started, tokens(0)), cut_at
            if not reached:
                break
        assert cut_at > 30
        direct.close()

    anyio.run(run)


def test_processes_on_a_server_spend_to_the_last_token_and_not_beyond(opened: Open, postgres_dsn: str) -> None:
    budget = opened(BudgetLimits(max_total_tokens=7 * 3_000 + 6))
    with processes(postgres_dsn, 4) as members:
        for member in members:
            member.starts("storm", 16, 7)
        counts = [member.answer() for member in members]
    assert sum(each["admitted"] for each in counts) == 3_000
    assert [(each["over"], each["failed"]) for each in counts] == [(0, 0)] * 4
    now = budget.snapshot()
    assert (now.total_tokens, now.agents_started, now.held) == (21_000, 3_000, tokens(0))
