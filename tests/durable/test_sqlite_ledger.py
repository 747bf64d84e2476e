"""The ledger in a SQLite file: how it lies on the disk, who may share it, and what faults and damage come to."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from carpool.budget import CoordinationBudget
from carpool.budget.ledger import Ledger
from carpool.durable.file_lock import FileLock
from carpool.durable.sqlite_ledger import SqliteLedger
from carpool.errors import JournalCorrupt, JournalError
from carpool.types import BudgetLimits, BudgetSnapshot, TokenAccounting

from ..budget.test_budget_machine import CALM, settings
from ..budget.test_shared_machine import SharedBudgetMachine

LIMITS = BudgetLimits(max_total_tokens=1_000)


def tokens(count: int) -> TokenAccounting:
    return TokenAccounting(input_tokens=count)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "purse.db"


def opened(path: Path, **options: Any) -> CoordinationBudget:
    return CoordinationBudget(ledger=SqliteLedger(path, **options))


def booked(path: Path) -> BudgetSnapshot:
    """What a newcomer finds."""
    budget = opened(path)
    now = read(budget)
    budget.close()
    return now


def read(budget: CoordinationBudget) -> BudgetSnapshot:
    """Without the time, which goes on."""
    return msgspec.structs.replace(budget.snapshot(), elapsed_s=0)


# On the disk


def test_only_its_owner_can_read_it(path: Path) -> None:
    deep = path.parent / "new" / "folder" / "purse.db"
    budget = CoordinationBudget(LIMITS, ledger=SqliteLedger(str(deep)))
    budget.try_begin_agent(tokens(1)).settle()
    files = [deep, *deep.parent.glob("purse.db-*"), *deep.parent.glob("purse.db-members/*")]
    assert len(files) == 5
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == (0o700 if file.is_dir() else 0o600), file
    assert stat.S_IMODE(deep.parent.stat().st_mode) == 0o700


def test_it_forces_to_the_disk_and_keeps_no_write_ahead_log(path: Path) -> None:
    ledger = SqliteLedger(path)
    CoordinationBudget(ledger=ledger)
    connection = ledger._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("truncate",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)


def test_what_was_booked_is_there_in_the_next_process(path: Path) -> None:
    budget = CoordinationBudget(LIMITS, ledger=SqliteLedger(path))
    budget.try_begin_agent(tokens(40)).settle(tokens(50))
    budget.record(TokenAccounting(output_tokens=2**70, cost_usd=1e30, priced=False))
    expected, identity = read(budget), budget.id
    budget.close()

    again = opened(path)

    assert again.id == identity
    assert read(again) == expected
    assert again.snapshot().output_tokens == 2**64 - 1


def test_a_budget_that_is_closed_leaves_no_file_behind(path: Path) -> None:
    for _ in range(3):
        CoordinationBudget(LIMITS, ledger=SqliteLedger(path)).close()
    budget = opened(path)
    assert len(list(path.parent.glob("purse.db-members/*"))) == 1
    budget.close()
    assert list(path.parent.glob("purse.db-members/*")) == []


def test_one_ledger_serves_one_budget_and_may_serve_another_later(path: Path) -> None:
    ledger = SqliteLedger(path)
    budget = CoordinationBudget(LIMITS, ledger=ledger)
    with pytest.raises(ValueError, match="serves a budget already"):
        CoordinationBudget(LIMITS, ledger=ledger)
    budget.try_begin_agent().settle()
    budget.close()
    assert CoordinationBudget(LIMITS, ledger=ledger).snapshot().agents_started == 1


def test_a_ledger_in_wal_mode_is_taken_out_of_it(path: Path) -> None:
    CoordinationBudget(LIMITS, ledger=SqliteLedger(path)).close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    connection.close()
    opened(path).try_begin_agent().settle()
    assert not path.with_name("purse.db-wal").exists()


def test_two_budgets_of_one_process_are_two_members(path: Path) -> None:
    one, other = CoordinationBudget(LIMITS, ledger=SqliteLedger(path)), opened(path)
    lease = one.try_begin_agent(tokens(10))
    assert other.snapshot().held == tokens(10)
    other.close()
    lease.settle()
    assert booked(path).total_tokens == 10


class SqliteBudgetMachine(SharedBudgetMachine):
    """The random lives of tests/budget, on files."""

    def __init__(self) -> None:
        super().__init__()
        # In memory where that is to be had: this is about what is decided, not about the disk.
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))

    def new_ledger(self) -> Ledger:
        return SqliteLedger(self.folder / "purse.db")

    def teardown(self) -> None:
        super().teardown()
        for door in self.doors:
            door.close()
        shutil.rmtree(self.folder)


TestBudgetsOnOneFileAreOneBudget = SqliteBudgetMachine.TestCase
TestBudgetsOnOneFileAreOneBudget.settings = settings(CALM, max_examples=8, stateful_step_count=25)


# Files that are none


@pytest.mark.parametrize("content", [b"not a database, but long enough to be taken for one" * 40, b"SQLite format 3\0"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(JournalError, match=str(path)):
        opened(path)
    assert path.read_bytes() == content


def test_the_database_of_somebody_else_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE purse (mine TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match="no ledger of carpool"):
        opened(path)
    assert path.read_bytes() == before


def test_a_newer_format_is_refused_and_left_alone(path: Path) -> None:
    CoordinationBudget(LIMITS, ledger=SqliteLedger(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"newer carpool.*update"):
        opened(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("place", ["", "a folder/", "no/../"])
def test_a_place_where_no_file_can_be_is_an_error_that_names_it(tmp_path: Path, place: str) -> None:
    (tmp_path / "a folder").mkdir()
    target = tmp_path / place if place else Path("/proc/none/purse.db")
    with pytest.raises(JournalError, match="proc/none" if not place else "a folder|no"):
        opened(target)


# Files that go away


def removed(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.rename(path)


def folder_removed(path: Path) -> None:
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("vanish", [removed, replaced, folder_removed])
def test_a_file_that_vanishes_stops_starts_and_loses_no_charge_in_memory(
    tmp_path: Path, vanish: Callable[[Path], None]
) -> None:
    path = tmp_path / "folder" / "purse.db"
    budget = CoordinationBudget(LIMITS, ledger=SqliteLedger(path))
    lease = budget.try_begin_agent(tokens(10))
    vanish(path)

    with pytest.raises(JournalError, match=r"purse\.db: it was removed or replaced"):
        budget.try_begin_agent()

    assert lease.settle(tokens(20)) == tokens(20)
    assert budget.snapshot().total_tokens == 20
    with pytest.raises(JournalError, match="it lacks spend that can't be written now"):
        budget.close()


def test_the_folder_of_members_may_vanish_and_nobody_spends_too_much(path: Path) -> None:
    one = CoordinationBudget(LIMITS, ledger=SqliteLedger(path))
    lease = one.try_begin_agent(tokens(600))
    shutil.rmtree(path.with_name("purse.db-members"))

    other = opened(path)  # takes the first for dead

    assert other.snapshot().total_tokens == 600
    lease.settle(tokens(100))
    assert other.snapshot().total_tokens == one.snapshot().total_tokens == 100


# Every call that may fail


class FailingConnection:
    """Fails at the ``at``-th statement, before it or after it is done, as a disk does that is full."""

    def __init__(self, connection: sqlite3.Connection, at: int, *, done: bool, code: str) -> None:
        self._connection = connection
        self._left = at
        self._done = done
        self._code = code

    def execute(self, *arguments: Any) -> Any:
        self._left -= 1
        failing = self._left == 0
        if failing and not self._done:
            raise self._error()
        answer = self._connection.execute(*arguments)
        if failing:
            raise self._error()
        return answer

    def _error(self) -> sqlite3.Error:
        error = sqlite3.OperationalError("told to fail")
        error.sqlite_errorname = self._code
        return error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def outcome(action: Callable[[], Any]) -> tuple[Any, str]:
    """What it returned, or the text of the ledger's error."""
    try:
        return action(), ""
    except JournalError as error:
        return None, str(error)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("SQLITE_FULL", "make room"),
        ("SQLITE_READONLY", "rights"),
        ("SQLITE_IOERR_WRITE", "disk"),
        ("SQLITE_BUSY", "end"),
    ],
)
def test_whichever_statement_fails_asking_raises_and_telling_does_not(
    path: Path, code: str, advice: str, done: bool
) -> None:
    ledger = SqliteLedger(path)
    budget = CoordinationBudget(LIMITS, ledger=ledger)
    connection = ledger._connection
    asked = spent = started = 0
    for at in range(1, 40):
        ledger._connection = FailingConnection(connection, at, done=done, code=code)
        asked += 1
        lease, error = outcome(lambda: budget.try_begin_agent(tokens(10)))
        if lease is None:
            assert str(path) in error
            assert advice in error
        else:
            started += 1
            lease.charge(tokens(3))
            lease.settle(tokens(4))
            spent += 4
        budget.record(tokens(1))
        spent += 1
        ledger._connection = connection
        now = read(budget)
        assert (now.total_tokens, now.agents_started, now.held) == (spent, started, tokens(0))
        assert booked(path) == now
    assert 3 <= asked - started <= 20


def test_a_full_disk_is_an_error_and_what_was_told_is_written_when_there_is_room(path: Path) -> None:
    ledger = SqliteLedger(path)
    members = [CoordinationBudget(LIMITS, ledger=ledger), *(opened(path) for _ in range(40))]
    pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
    for member in members:
        member.book._sharing.ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
    leases: list[Any] = []
    error = ""
    while not error:
        lease, error = outcome(lambda: members[len(leases)].try_begin_agent(tokens(1)))
        leases.append(lease)
    assert "full" in error
    assert "make room" in error
    members[len(leases)].record(tokens(100))
    assert booked(path).held == tokens(len(leases) - 1)

    for member in members:
        member.book._sharing.ledger._connection.execute("PRAGMA max_page_count = 1000")
    members[len(leases)].snapshot()

    assert booked(path).total_tokens == 100
    for member in members:
        member.close()


# Damage


def test_500_bit_flips_and_truncations_give_the_same_data_or_an_error(tmp_path: Path) -> None:
    path = tmp_path / "purse.db"
    budget = CoordinationBudget(LIMITS, ledger=SqliteLedger(path))
    budget.record(tokens(100))
    expected = read(budget)
    budget.close()
    sound = path.read_bytes()
    chance = random.Random(5)
    used = [place for place in range(len(sound)) if sound[place]]
    refused = 0
    for number in range(500):
        damaged = bytearray(sound)
        if number % 5 == 4:
            del damaged[chance.randrange(len(sound)) :]
        else:
            place = chance.choice(used) if number % 5 else chance.randrange(len(sound))
            damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        path.with_name("purse.db-journal").unlink(missing_ok=True)
        found, error = outcome(lambda: booked(path))
        refused += found is None
        # A file that was cut off at its beginning is a new one; nobody can tell that it was not.
        assert found == expected or str(path) in error or not damaged
    assert refused > 200


def test_a_record_that_was_changed_by_hand_is_corrupt(path: Path) -> None:
    budget = CoordinationBudget(LIMITS, ledger=SqliteLedger(path))
    with sqlite3.connect(path) as connection:
        connection.execute("""UPDATE purse SET body = replace(body, '"agents":0', '"agents":1')""")
    connection.close()
    with pytest.raises(JournalCorrupt, match="not what was written"):
        budget.try_begin_agent()


# The lock


def test_a_lock_is_had_by_one_at_a_time_and_waited_for_as_long_as_is_said(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert one.acquire(0)
    assert not other.acquire(0)
    assert not other.acquire(0.02)
    assert not other.acquire(0)
    one.release()
    assert other.acquire(5)
    assert not one.acquire(0.01)
    other.release()
    assert one.acquire(5)
    one.release()
    assert other.acquire(5)
    other.close()
    assert one.acquire(5)


def test_who_gave_up_waiting_for_a_lock_does_not_have_it_later(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    for _ in range(20):
        assert one.acquire(5)
        assert not other.acquire(0.001)
        one.release()
        assert one.acquire(5)  # the other's thread has let go of it
        one.release()
