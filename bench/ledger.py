"""What a purse costs that several processes share: per start, per process, and for a loop with agents in flight."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

from carpool import AgentSpec, BudgetLimits, SharedInfra, TokenAccounting, open_run
from carpool.budget import CoordinationBudget
from carpool.durable.sqlite_ledger import SqliteLedger
from carpool.errors import BudgetError, CarpoolError

from .report import Report, Table, Target

__all__ = ["measure"]

EACH = TokenAccounting(input_tokens=7)
PLENTY = BudgetLimits(max_total_tokens=10**12, max_agents=10**9)

MEMORY, LEDGER, BARE = "in memory", "SqliteLedger", "bare sqlite3, the same bytes"
IN_FLIGHT = 64


def measure(*, quick: bool = False) -> Report:
    starts, rounds = (30, 2) if quick else (300, 7)
    alone = _alone(starts, rounds)
    threads = {count: _with_threads(count, starts) for count in ((1, 8) if quick else (1, 8, 64))}
    processes, each, admissions = (2, 8, 400) if quick else (16, 64, 100_000)
    storm = _storm(processes, each, admissions)
    work_s, batches = (0.05, 2) if quick else (1.0, 5)
    loops = {name: asyncio.run(_loop(name, work_s, batches)) for name in (MEMORY, LEDGER)}

    ratio = median(one / bare for one, bare in zip(alone[LEDGER], alone[BARE], strict=True))
    return Report(
        "ledger",
        "A purse that several processes share",
        [
            Table(
                ["one process, one thread", "µs per start and end"],
                [[name, median(times)] for name, times in alone.items()],
                {"µs per start and end": ",.1f"},
                rule_between=False,
            ),
            Table(
                ["threads of one process", "starts/s", "steps per transaction"],
                [[count, *found] for count, found in threads.items()],
                {"starts/s": ",.0f", "steps per transaction": ".1f"},
                rule_between=False,
            ),
            Table(
                ["processes × threads", "starts", "starts/s", "p50 ms", "p99 ms", "worst ms", "least share"],
                [[f"{processes} × {each}", storm["admitted"], storm["rate"], *storm["waits"], storm["share"]]],
                {
                    "starts/s": ",.0f",
                    "p50 ms": ".1f",
                    "p99 ms": ".1f",
                    "worst ms": ".0f",
                    "least share": ".0%",
                },
            ),
            Table(
                [f"{IN_FLIGHT} agents in flight", "seconds", "ideal", "loop stood still", "longest, ms"],
                [[name, *loops[name]] for name in loops],
                {"seconds": ".2f", "ideal": ".2f", "loop stood still": ".0%", "longest, ms": ".0f"},
                rule_between=False,
            ),
        ],
        [
            Target("starts beyond the limit", f"{storm['over']:,}", storm["over"] == 0),
            Target("errors, “database is locked” among them", f"{storm['failed']:,}", storm["failed"] == 0),
            Target("a start and its end within twice the bare transactions", f"{ratio:.2f}", ratio <= 2.0),
        ],
        [
            "A start and its end are two transactions, each forced to the disk (rollback journal, synchronous=FULL).",
            "Threads of one process that come together share one. The wait of the storm is that of one start, among",
            "all others; the least share is that of the process which got the fewest, of what would be even. The loop",
            f"runs agents that take {work_s:g} s each and asks every millisecond whether it may go on.",
        ],
    )


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


# One process, one thread


def _alone(starts: int, rounds: int) -> dict[str, list[float]]:
    """µs per start and end, one number for each round; the contenders take turns."""
    with _folder() as folder:
        memory = CoordinationBudget(PLENTY)
        ledger = CoordinationBudget(PLENTY, ledger=SqliteLedger(folder / "purse.db"))
        ledger.try_begin_agent(EACH).settle(EACH)
        bare = _bare_transactions(folder / "bare.db", folder / "purse.db")
        contenders: dict[str, Callable[[], object]] = {
            MEMORY: lambda: memory.try_begin_agent(EACH).settle(EACH),
            LEDGER: lambda: ledger.try_begin_agent(EACH).settle(EACH),
            BARE: lambda: (bare(), bare()),
        }
        measured: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, once in contenders.items():
                began = perf_counter()
                for _ in range(starts):
                    once()
                measured[name].append((perf_counter() - began) / starts * 1e6)
        ledger.close()
    return measured


def _bare_transactions(path: Path, like: Path) -> Callable[[], None]:
    """A transaction that reads and writes as many bytes as those of the ledger ``like``, and does nothing else."""
    with sqlite3.connect(like) as source:
        bodies = [body for (body,) in source.execute("SELECT body FROM purse UNION ALL SELECT body FROM share")]
    source.close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA synchronous = FULL")
    for number, body in enumerate(bodies):
        connection.execute(f"CREATE TABLE record_{number} (id INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT")
        connection.execute(f"INSERT INTO record_{number} VALUES (1, ?)", (body,))

    def once() -> None:
        connection.execute("BEGIN IMMEDIATE")
        for number in range(len(bodies)):
            connection.execute(f"SELECT body FROM record_{number}").fetchall()
        for number, body in enumerate(bodies):
            connection.execute(f"REPLACE INTO record_{number} VALUES (1, ?)", (body[::-1],))
        connection.execute("COMMIT")

    return once


# Threads, and processes


def _with_threads(count: int, starts: int) -> tuple[float, float]:
    """Starts per second, and how many steps shared a transaction."""
    with _folder() as folder:
        ledger = _Counting(folder / "purse.db")
        budget = CoordinationBudget(PLENTY, ledger=ledger)

        def work(_: int) -> None:
            for _ in range(starts):
                budget.try_begin_agent(EACH).settle(EACH)

        ledger.turns = 0
        with ThreadPoolExecutor(count) as pool:
            began = perf_counter()
            list(pool.map(work, range(count)))
            seconds = perf_counter() - began
        budget.close()
    return count * starts / seconds, 2 * count * starts / ledger.turns


class _Counting(SqliteLedger):
    turns = 0

    def begin(self, *, wait: bool):
        self.turns += 1
        return super().begin(wait=wait)


def _storm(processes: int, threads: int, admissions: int) -> dict:
    """Processes that start agents as fast as they can, until none may be started any more."""
    limits = BudgetLimits(max_total_tokens=admissions * EACH.input_tokens)
    with _folder() as folder:
        place = folder / "purse.db"
        budget = CoordinationBudget(limits, ledger=SqliteLedger(place))
        command = [sys.executable, "-m", "bench.ledger", str(place), str(threads)]
        root = Path(__file__).parent.parent
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": root}
        workers = [subprocess.Popen(command, **pipes) for _ in range(processes)]
        for worker in workers:
            worker.stdout.readline()  # it is ready
        began = perf_counter()
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        found = [json.loads(worker.communicate()[0]) for worker in workers]
        seconds = perf_counter() - began
        spent = budget.snapshot()
        budget.close()
    waits = sorted(wait for each in found for wait in each["waits"])
    admitted = [len(each["waits"]) for each in found]
    return {
        "admitted": sum(admitted),
        "rate": sum(admitted) / seconds,
        "waits": [waits[int(len(waits) * share)] * 1e3 for share in (0.5, 0.99)] + [waits[-1] * 1e3],
        "share": min(admitted) / (sum(admitted) / processes),
        "over": max(0, spent.total_tokens - limits.max_total_tokens) // EACH.input_tokens,
        "failed": sum(each["failed"] for each in found),
    }


def _storm_worker(place: str, threads: int) -> None:
    budget = CoordinationBudget(ledger=SqliteLedger(place))
    print("ready", flush=True)
    sys.stdin.readline()

    def work(_: int) -> tuple[list[float], int]:
        waits: list[float] = []
        try:
            while True:
                began = perf_counter()
                lease = budget.try_begin_agent(EACH)
                waits.append(perf_counter() - began)
                lease.settle(EACH)
        except BudgetError:
            return waits, 0
        except CarpoolError:
            return waits, 1

    with ThreadPoolExecutor(threads) as pool:
        done = list(pool.map(work, range(threads)))
    print(json.dumps({"waits": [wait for waits, _ in done for wait in waits], "failed": sum(each for _, each in done)}))


# A loop


async def _loop(name: str, work_s: float, batches: int) -> tuple[float, float, float, float]:
    """Seconds, the ideal, what share of them the loop stood still, and for how many milliseconds at the longest."""
    jobs = [(AgentSpec("worker", "", estimate=EACH), "work")] * (IN_FLIGHT * batches)
    stalls: list[float] = []

    async def runner(spec: AgentSpec, task: str, runtime: object, mailbox: object) -> str:
        await asyncio.sleep(work_s)
        return "done"

    async def watch() -> None:
        while True:
            began = perf_counter()
            await asyncio.sleep(0.001)
            stalls.append(max(0.0, perf_counter() - began - 0.002))

    with _folder() as folder:
        ledger = None if name == MEMORY else SqliteLedger(folder / "purse.db")
        budget = CoordinationBudget(PLENTY, ledger=ledger)
        async with open_run(runner=runner, infra=SharedInfra(budget=budget)) as run:
            watching = asyncio.create_task(watch())
            began = perf_counter()
            await run.fan_out(jobs, IN_FLIGHT)
            seconds = perf_counter() - began
            watching.cancel()
        budget.close()
    return seconds, work_s * batches, sum(stalls) / seconds, max(stalls) * 1e3


if __name__ == "__main__":
    _storm_worker(sys.argv[1], int(sys.argv[2]))
