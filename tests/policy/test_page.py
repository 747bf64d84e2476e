"""What docs/policies.md shows is so: its Python runs, its file is read, its command says what it says there."""

import re
import shlex
from pathlib import Path

import pytest

from carpool.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "policies.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = blocks("toml")
    (tmp_path / "policies.toml").write_text(file)
    monkeypatch.chdir(tmp_path)


def test_the_python_on_the_page_runs() -> None:
    code = "".join(blocks("python"))

    exec(compile(code, "policies.md", "exec"), {"__name__": "__main__"})


def test_the_command_on_the_page_prints_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = blocks("console")
    command, output = shown.split("\n", 1)

    assert main(shlex.split(command.removeprefix("$ carpool "))) == 1
    assert capsys.readouterr().out == output
