"""What a journal adds to each agent, beside a bare group-commit loop on sqlite3 that writes the same bytes."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from statistics import median
from threading import Thread
from time import perf_counter
from typing import Any

from carpool import AgentOutput, AgentSpec, SharedInfra, TokenAccounting, open_run
from carpool.durable import SqliteJournal

from .contenders import LIMITS
from .report import Report, Table, Target

__all__ = ["measure"]

IN_FLIGHT = (64, 1)
ALLOWED = 2.0
SPEC = AgentSpec("worker", "Answer in one sentence.", estimate=TokenAccounting(input_tokens=400, output_tokens=200))
TASK = "What does this page say? " * 20
ANSWER = "It says that a budget is asked before every start. " * 8
SPENT = TokenAccounting(input_tokens=300, output_tokens=100)
POSTGRES = os.environ.get("CARPOOL_BENCH_POSTGRES", "")
"""The dsn of a database in which PostgresJournal is measured too, in a schema of its own that is dropped afterwards."""


async def worker(spec: AgentSpec, task: str, runtime: Any, mailbox: Any) -> AgentOutput:
    await asyncio.sleep(0)
    return AgentOutput(name=spec.name, answer=ANSWER, tokens=SPENT)


def measure(*, quick: bool = False) -> Report:
    agents, rounds = ((128, 8), 3) if quick else ((4_000, 300), 9)
    rows: list[list[Any]] = []
    targets: list[Target] = []
    for in_flight, count in zip(IN_FLIGHT, agents, strict=True):
        times = asyncio.run(_timed(count, in_flight, rounds))
        without, with_it, bare = (median(times[name]) for name in ("without", "with", "bare"))
        cost = median(one - other for one, other in zip(times["with"], times["without"], strict=True))
        ratio = median(
            (one - other) / loop
            for one, other, loop in zip(times["with"], times["without"], times["bare"], strict=True)
        )
        rows.append([f"{in_flight} in flight", without, with_it, cost, bare, ratio])
        if POSTGRES:
            rows[-1].append(median(one - other for one, other in zip(times["postgres"], times["without"], strict=True)))
        targets.append(Target(f"{in_flight} in flight: ≤ {ALLOWED:g} × bare", f"{ratio:.2f}", ratio <= ALLOWED))
    here = ["in PostgreSQL"] if POSTGRES else []
    return Report(
        "journal",
        "Journal: SqliteJournal, synchronous=FULL, µs per completed agent",
        [
            Table(
                ["agents", "without", "with journal", "its cost", "bare loop", "in bare loops", *here],
                rows,
                dict.fromkeys(("without", "with journal", "its cost", "bare loop", *here), ".1f")
                | {"in bare loops": ".2f"},
                rule_between=False,
            )
        ],
        targets,
        [
            f"Medians of {rounds} rounds, in turn, in one process. The bare loop: as many tasks, each waiting for two",
            "writes per agent; one thread; all that wait in one transaction; the very rows that the journal wrote.",
            *(
                f"{column}: what PostgresJournal costs, with a server that is as far and as durable as it is."
                for column in here
            ),
        ],
    )


async def _timed(count: int, in_flight: int, rounds: int) -> dict[str, list[float]]:
    """µs per agent, one number for each round."""
    times: dict[str, list[float]] = {"without": [], "with": [], "bare": [], "postgres": []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(-1, rounds):  # the first warms up and is not counted
            path = Path(folder) / f"{turn}.db"
            written: list[tuple[int, bytes]] = []

            async def durable(path: Path = path, written: list[Any] = written) -> float:
                async with SqliteJournal(path) as journal:
                    wall = await _run(count, in_flight, SharedInfra(budget=LIMITS, journal=journal))
                    written += (await journal.read("bench")).rows
                return wall

            walls = {
                "without": await _once(lambda: _run(count, in_flight, SharedInfra(budget=LIMITS))),
                "with": await _once(durable),
            }
            bare = Path(folder) / f"{turn}-bare.db"
            walls["bare"] = await _once(lambda bare=bare, written=written: _bare(bare, count, in_flight, written))
            if POSTGRES:
                walls["postgres"] = await _once(lambda: _on_postgres(count, in_flight))
            if turn >= 0:
                for name, wall in walls.items():
                    times[name].append(wall / count * 1e6)
    return times


async def _on_postgres(count: int, in_flight: int) -> float:
    import psycopg

    from carpool.durable import PostgresJournal

    schema = f"carpool_bench_{os.getpid()}"
    async with PostgresJournal(POSTGRES, schema=schema) as journal:
        wall = await _run(count, in_flight, SharedInfra(budget=LIMITS, journal=journal))
    with psycopg.connect(POSTGRES) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE")
    return wall


async def _once(once: Callable[[], Awaitable[float]]) -> float:
    gc.collect()
    return await once()


async def _run(count: int, in_flight: int, infra: SharedInfra) -> float:
    async with open_run(runner=worker, infra=infra, run_id="bench") as run:
        began = perf_counter()
        await run.fan_out([(SPEC, f"{TASK}{number}") for number in range(count)], in_flight)
        return perf_counter() - began


async def _bare(path: Path, count: int, in_flight: int, rows: Sequence[tuple[int, bytes]]) -> float:
    """The same rows, in as many portions as there were waits."""
    loop = asyncio.get_running_loop()
    line: SimpleQueue[tuple[Sequence[Any], asyncio.Future[None]] | None] = SimpleQueue()
    thread = Thread(target=_write, args=(path, line, loop))
    thread.start()
    size = len(rows) / (2 * count)
    portions = iter([rows[round(place * size) : round((place + 1) * size)] for place in range(2 * count)])

    async def task() -> None:
        for portion in portions:
            done = loop.create_future()
            line.put((portion, done))
            await done

    began = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(task())
    wall = perf_counter() - began
    line.put(None)
    await asyncio.to_thread(thread.join)
    return wall


def _write(path: Path, line: SimpleQueue[Any], loop: asyncio.AbstractEventLoop) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, body BLOB NOT NULL)")
    ending = False
    while not ending:
        group = [line.get()]
        try:
            while True:
                group.append(line.get_nowait())
        except Empty:
            pass
        ending = group[-1] is None
        jobs = [job for job in group if job is not None]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO rows (stream, body) VALUES (?, ?)", [row for portion, _ in jobs for row in portion]
        )
        connection.execute("COMMIT")
        loop.call_soon_threadsafe(_wake, [done for _, done in jobs])
    connection.close()


def _wake(waiting: Sequence[asyncio.Future[None]]) -> None:
    for done in waiting:
        done.set_result(None)
