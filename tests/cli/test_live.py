"""On a terminal a run is drawn live; the answer, the bill and the exit code are as without."""

import os
import pty
import re
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
RUN = ("run", "--task", "t", "--items", "*.md", "--runner", "slow:run", "--max-concurrent", "1")
SLOW = """
import anyio
from carpool import AgentOutput, TokenAccounting

async def run(spec, task, runtime, mailbox):
    await anyio.sleep(0.4)
    return AgentOutput(name=spec.name, answer=f"answer of {spec.name}", tokens=TokenAccounting(input_tokens=100))
"""


def at_a_terminal(*arguments: str) -> tuple[int, str]:
    """The exit code and all that the terminal was sent."""
    pid, terminal = pty.fork()
    if not pid:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", "PYTHONPATH": str(SOURCE)}
        os.execv(sys.executable, [sys.executable, "-m", "carpool.cli", *arguments])
    said = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode(errors="replace")


@pytest.fixture(autouse=True)
def slow(folder: Path) -> None:
    (folder / "slow.py").write_text(SLOW)


def test_a_run_is_drawn_while_it_goes_on_and_its_bill_stays() -> None:
    code, said = at_a_terminal(*RUN, "--budget", "1k tokens")
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said)

    assert code == 0
    assert re.search(r"▶ 1 running", text)
    assert re.search(r"[█░]{32} \d+ of 1,000 tokens spent", text)
    assert text.count("map-reduce over 3 items") >= 4
    assert "answer of reducer" in text
    assert text.rstrip().splitlines()[-2].startswith("ended   done")


def test_lines_are_shown_on_a_terminal_too_when_asked_for() -> None:
    code, said = at_a_terminal(*RUN, "--lines")

    assert code == 0
    assert "▶" not in said
    assert "started" in said
