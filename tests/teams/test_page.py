"""What docs/teams.md shows is so: its files are read, its Python runs, and it leaves out no key."""

import re
import shutil
from pathlib import Path

import pytest

from carpool.teams import team_schema
from carpool.teams.building import PATTERNS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "teams.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.usefixtures("modules")
def test_the_files_and_the_python_on_the_page_work_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    for file in blocks("yaml") + blocks("toml"):
        Path(file.splitlines()[0].removeprefix("# ")).write_text(file)

    code = "".join(blocks("python"))

    exec(compile(code, "teams.md", "exec"), {"__name__": "__main__"})


def test_every_key_of_a_file_has_its_row() -> None:
    assert re.findall(r"^\| `(.+?)` \|", PAGE, re.MULTILINE) == [
        *("team", "agents", "task", "budget", "runner", "tools", "policies", "granted_tier", "$schema")
    ]
    assert set(re.findall(r"^\| `(.+?)` \|", PAGE, re.MULTILINE)) == set(team_schema()["properties"])


def test_every_pattern_is_named() -> None:
    assert all(f"`{name}`" in PAGE for name in PATTERNS)
