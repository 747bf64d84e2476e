"""What docs/durable.md shows is so: its Python runs, in a folder of its own."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "durable.md").read_text()


def test_the_python_on_the_page_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

    exec(compile(code, "durable.md", "exec"), {"__name__": "__main__"})
