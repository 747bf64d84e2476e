"""How many bytecodes the interpreter runs per agent, function by function: the same number on a busy machine.

A finer scale than a clock for whoever makes carpool faster; what C code does in between is not in it.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from .contenders import CONTENDERS, no_op
from .report import Report, Table

__all__ = ["measure"]

AT_ONCE = 8
SHOWN = 30

Steps = Counter[tuple[str, str]]  # by file and function


def measure(*, quick: bool = False) -> Report:
    agents = 100 if quick else 400
    counted = {name: asyncio.run(_counted(name, agents)) for name in CONTENDERS}
    (ours, steps), *_ = counted.items()
    return Report(
        "steps",
        "Steps: bytecodes per agent",
        [
            Table(
                ["version", "bytecodes"],
                [[name, sum(each.values()) / agents] for name, each in counted.items()],
                {"bytecodes": ",.0f"},
                rule_between=False,
            ),
            Table(
                ["file", "function", "bytecodes"],
                [[file, function, count / agents] for (file, function), count in steps.most_common(SHOWN)],
                {"bytecodes": ",.0f"},
                rule_between=False,
            ),
        ],
        [],
        [f"The second table: {ours}, its {SHOWN} dearest functions. By hand, most is done in C by asyncio."],
    )


async def _counted(name: str, agents: int) -> Steps:
    run = CONTENDERS[name]
    items = [f"text {index}" for index in range(agents)]
    await run(items[:50], no_op, AT_ONCE)  # lazy imports, and the interpreter's own warm-up
    steps: Steps = Counter()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            steps[Path(frame.f_code.co_filename).name, frame.f_code.co_qualname] += 1
        return trace

    sys.settrace(trace)
    try:
        await run(items, no_op, AT_ONCE)
    finally:
        sys.settrace(None)
    return steps
