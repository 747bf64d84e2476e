"""What ``import carpool`` costs a program that has just started, beside ``import asyncio``."""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median
from time import perf_counter

from .report import Report, Table, Target

__all__ = ["measure"]

ASYNCIO, CARPOOL = "import asyncio", "import carpool"
USED = "from carpool import AgentSpec, MapReduce, SharedInfra"  # what was put off until it is used is paid for here
STATEMENTS = ("pass", ASYNCIO, CARPOOL, USED)


def measure(*, quick: bool = False) -> Report:
    rounds = 2 if quick else 41
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for turn in range(-1, rounds):  # the first start writes the .pyc files and is not counted
        for place in range(len(STATEMENTS)):
            statement = STATEMENTS[(place + turn) % len(STATEMENTS)]
            began = perf_counter()
            subprocess.run([sys.executable, "-c", statement], env=environment, check=True)
            if turn >= 0:
                times[statement].append((perf_counter() - began) * 1e3)

    bare = median(times["pass"])
    ratio = median(one / other for one, other in zip(times[CARPOOL], times[ASYNCIO], strict=True))
    return Report(
        "imports",
        "Imports: a process that starts, imports, and ends",
        [
            Table(
                ["statement", "ms", "beyond a bare start", "fastest"],
                [[name, median(walls), median(walls) - bare, min(walls)] for name, walls in times.items()],
                {"ms": ".1f", "beyond a bare start": ".1f", "fastest": ".1f"},
                rule_between=False,
            )
        ],
        [Target("import carpool no dearer than import asyncio: ratio ≤ 1.0", f"{ratio:.3f}", ratio <= 1.0)],
        [f"Medians of {rounds} starts of each, in turn, with .pyc files written. The ratio is the median of ratios."],
    )
