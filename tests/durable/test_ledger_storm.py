"""A hundred thousand starts, asked for by sixteen processes at once, on one purse."""

from __future__ import annotations

from pathlib import Path

from carpool.budget import CoordinationBudget
from carpool.durable.sqlite_ledger import SqliteLedger
from carpool.types import BudgetLimits

from .ledger_processes import processes

PROCESSES = 16
THREADS = 64  # those of one process share transactions: a disk can force only some hundreds a second
ADMISSIONS = 100_000
EACH = 7


def test_16_processes_make_100_000_admissions_and_not_one_more(tmp_path: Path) -> None:
    place = str(tmp_path / "purse.db")
    limits = BudgetLimits(max_total_tokens=ADMISSIONS * EACH + EACH - 1, max_agents=ADMISSIONS + PROCESSES * THREADS)
    budget = CoordinationBudget(limits, ledger=SqliteLedger(place))

    with processes(place, PROCESSES) as members:
        for member in members:
            member.starts("storm", THREADS, EACH)
        counts = [member.answer() for member in members]

    assert sum(each["admitted"] for each in counts) == ADMISSIONS
    assert sum(each["over"] for each in counts) == 0
    assert sum(each["failed"] for each in counts) == 0  # among them "database is locked"
    now = budget.snapshot()
    assert (now.total_tokens, now.agents_started, now.held.total_tokens) == (ADMISSIONS * EACH, ADMISSIONS, 0)
    assert min(each["admitted"] for each in counts) > 0
