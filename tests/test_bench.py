"""Every bench runs from end to end. What it measures is for people to read: no number is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "bench",
    ["overshoot", "overhead", "sleepers", "patterns", "journal", "models", "telemetry", "progress", "imports", "steps"],
)
def test_a_quick_bench_prints_a_table_and_writes_it_as_json(bench: str, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    command = [sys.executable, "-m", "bench", bench, "--quick", "--json", str(file)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr
    written = json.loads(file.read_text())
    assert list(written["benches"]) == [bench]
    assert written["benches"][bench]["title"] in run.stdout
    assert all(table for table in written["benches"][bench]["tables"])


def test_an_unknown_bench_is_refused_by_name() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bench", "speed"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert run.returncode == 2
    assert "no such bench: speed; there are: overshoot, overhead, " in run.stderr
