"""What README.md shows works: its Python is run, its commands are parsed, and run where it says so.

``<!-- not run -->`` before a Python block leaves it out; ``<!-- run -->`` before a console block has it run. Both
happen in a folder with a copy of ``docs/``, so that examples have pages to read.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[a-z ]+) -->\n+)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    line: int
    mark: str | None
    text: str


def blocks(language: str) -> Iterator[Block]:
    readme = (ROOT / "README.md").read_text()
    for match in _BLOCK.finditer(readme):
        if match["language"] == language:
            yield Block(readme.count("\n", 0, match.start("text")), match["mark"], match["text"])


def commands(block: Block) -> Iterator[list[str]]:
    """The ``carpool`` commands of a console block, without the program's name."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.startswith("$ carpool"):
            yield shlex.split(line.removeprefix("$ carpool"), comments=True)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # where runs are recorded
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_the_python_in_the_readme_runs(subtests: pytest.Subtests) -> None:
    shown = list(blocks("python"))
    assert shown

    for block in shown:
        if block.mark != "not run":
            with subtests.test(f"README.md:{block.line}"):
                # The empty lines put the README's own line numbers into a traceback.
                code = compile("\n" * block.line + block.text, "README.md", "exec")
                exec(code, {"__name__": "__main__"})


def test_the_commands_in_the_readme_are_understood(subtests: pytest.Subtests) -> None:
    from carpool.cli import app

    for block in blocks("console"):
        for command in commands(block):
            with subtests.test(f"README.md:{block.line}", command=shlex.join(command)):
                app.parse_args(command, exit_on_error=False, print_error=False)


def test_the_commands_that_the_readme_runs_succeed(folder: Path, subtests: pytest.Subtests) -> None:
    carpool = Path(sys.executable).with_name("carpool")

    for block in blocks("console"):
        for command in commands(block) if block.mark == "run" else ():
            with subtests.test(f"README.md:{block.line}", command=shlex.join(command)):
                done = subprocess.run([carpool, *command], cwd=folder, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr
