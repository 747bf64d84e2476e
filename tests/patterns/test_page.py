"""What docs/patterns.md says works, and leaves out no pattern."""

import inspect
import re
from pathlib import Path

import pytest

import carpool
from carpool import Pattern

PAGE = Path(__file__).parents[2] / "docs" / "patterns.md"

PATTERNS = [
    name
    for name in carpool.__all__
    if inspect.isclass(each := getattr(carpool, name)) and issubclass(each, Pattern) and each is not Pattern
]


def test_there_are_eleven_patterns() -> None:
    assert len(PATTERNS) == 11


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_has_its_row_and_its_section(pattern: str) -> None:
    page = PAGE.read_text()
    section = page.split(f"\n## {pattern}\n")[1].split("\n## ")[0]

    assert f"[`{pattern}`](#{pattern.lower()})" in page.split("\n\n")[1]
    assert all(word in section for word in ("*When:*", "*When not:*", "*Costs:*"))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_takes_what_all_take(pattern: str) -> None:
    parameters = inspect.signature(getattr(carpool, pattern)).parameters

    assert {"name", "budget", "quote_limit"} <= set(parameters)


def test_the_code_on_the_page_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)

    assert blocks
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), {"__name__": "page"})
