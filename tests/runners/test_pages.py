"""What docs/runners.md and docs/replay.md show is so: their Python runs, but for blocks that are marked."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^(?P<mark><!-- not run -->\n+)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["runners.md", "replay.md"])
def test_the_python_on_the_page_runs(page: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydantic_ai", reason="needs the extra models")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    blocks = list(BLOCK.finditer((DOCS / page).read_text()))
    code = "".join(block["code"] for block in blocks if not block["mark"])

    assert len(blocks) > 1
    exec(compile(code, page, "exec"), {"__name__": "__main__"})
