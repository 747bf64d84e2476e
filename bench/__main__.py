"""``python -m bench [overshoot|overhead|patterns|journal|models|…] [--json FILE] [--quick]``; ``--help`` names all."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from . import (
    imports,
    journal,
    ledger,
    models,
    overhead,
    overshoot,
    patterns,
    progress,
    sleepers,
    steps,
    telemetry,
    tools,
)

BENCHES = {
    "overshoot": overshoot.measure,
    "overhead": overhead.measure,
    "sleepers": sleepers.measure,
    "patterns": patterns.measure,
    "tools": tools.measure,
    "journal": journal.measure,
    "ledger": ledger.measure,
    "models": models.measure,
    "telemetry": telemetry.measure,
    "progress": progress.measure,
    "imports": imports.measure,
    "steps": steps.measure,
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what carpool promises.")
    parser.add_argument("benches", nargs="*", metavar="bench", help=f"which to run: {', '.join(BENCHES)}; default all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    parser.add_argument("--quick", action="store_true", help="a few seconds for all: shows that they run, no more")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.benches) - set(BENCHES):
        parser.error(f"no such bench: {', '.join(sorted(unknown))}; there are: {', '.join(BENCHES)}")

    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    print(f"{machine}{'; quick: the numbers mean nothing' if chosen.quick else ''}\n", flush=True)
    results = {}
    for name in chosen.benches or BENCHES:
        report = BENCHES[name](quick=chosen.quick)
        results[name] = report.data()
        print(report.text(), flush=True)
    if chosen.json is not None:
        chosen.json.write_text(
            json.dumps({"machine": machine, "quick": chosen.quick, "benches": results}, indent=2, ensure_ascii=False)
        )


if __name__ == "__main__":
    sys.exit(main())
