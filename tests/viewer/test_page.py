"""What docs/viewer.md shows is so: its Python runs, and it names what the source does."""

import re
from pathlib import Path

import pytest

from carpool.durable.value import FATES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "viewer.md").read_text()


def test_the_python_on_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

    exec(compile(code, "viewer.md", "exec"), {"__name__": "__main__"})


def test_the_page_names_every_fate_and_no_other() -> None:
    table = PAGE.partition("| `fate` | when |")[2].partition("\n\n")[0]

    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == FATES
