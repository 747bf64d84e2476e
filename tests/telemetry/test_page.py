"""What docs/telemetry.md shows is so: its Python runs, and its tables name what the source does."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "telemetry.md").read_text()


def test_the_python_on_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

    exec(compile(code, "telemetry.md", "exec"), {"__name__": "__main__"})


def test_the_page_names_every_metric_and_no_other() -> None:
    source = (ROOT / "src" / "carpool" / "telemetry" / "measures.py").read_text()
    made = set(re.findall(r'create_\w+\(\s*"([\w.]+)"', source))
    rows = PAGE.partition("## Metrics")[2].partition("\n## ")[0]

    assert set(re.findall(r"`((?:carpool|gen_ai\.client)\.[\w.]+)`", rows)) - {"carpool.agent.end"} == made
