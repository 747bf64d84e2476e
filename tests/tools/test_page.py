"""What docs/tools.md shows is so: its Python runs."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "tools.md").read_text()


def test_the_python_on_the_page_runs() -> None:
    code = "".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

    exec(compile(code, "tools.md", "exec"), {"__name__": "__main__"})
