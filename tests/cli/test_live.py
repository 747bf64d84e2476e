"""On a terminal a run is drawn live; the answer, the bill and the exit code are as without."""

import os
import pty
import re
import sys
import time
from contextlib import suppress
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


def begun_at_a_terminal(*arguments: str, **environment: str) -> tuple[int, int]:
    """The process, and the other side of its terminal."""
    pid, terminal = pty.fork()
    if not pid:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", "PYTHONPATH": str(SOURCE)}
        os.environ |= environment
        os.execv(sys.executable, [sys.executable, "-m", "carpool.cli", *arguments])
    return pid, terminal


def at_a_terminal(*arguments: str, until: str = "", typed: bytes = b"", **environment: str) -> tuple[int, str]:
    """The exit code and all that the terminal was sent; ``typed`` goes in once ``until`` was seen."""
    pid, terminal = begun_at_a_terminal(*arguments, **environment)
    said = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        said += part
        if typed and until in said.decode(errors="replace"):
            os.write(terminal, typed)
            typed = b""
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


def test_who_ends_it_at_once_has_the_cursor_back(folder: Path) -> None:
    (folder / "slow.py").write_text(SLOW.replace("await anyio.sleep(0.4)", "import time; time.sleep(30)"))
    code, said = at_a_terminal(*RUN, until="\x1b[?25l", typed=b"\x03\x03")

    assert code == 130
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")


@pytest.mark.parametrize("how", [(), ("--lines",), ("--json",), ("--quiet",)])
def test_when_the_terminal_closes_the_run_is_settled_and_closed_on_record(typed, folder: Path, how) -> None:
    (folder / "slow.py").write_text(
        SLOW.replace(
            "await anyio.sleep(0.4)", "0 if spec.name == 'mapper_0' else open('at_work', 'w') and await wait()"
        )
        + "\nasync def wait():\n    await anyio.sleep(30)\n"
    )
    pid, terminal = begun_at_a_terminal(*RUN, *how)
    os.set_blocking(terminal, False)
    while not (folder / "at_work").exists():
        with suppress(BlockingIOError):
            os.read(terminal, 65536)
        time.sleep(0.01)
    os.close(terminal)  # from now on it is told SIGHUP, and can write nothing

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    (run,) = typed("ps", "--json").lines
    assert (run["status"], run["completed"], run["cancelled"]) == ("cancelled", 1, 1)
    assert run["spent"]["input_tokens"] == 100


def test_items_that_can_not_be_read_are_not_still_to_come(folder: Path) -> None:
    (folder / "two.md").write_bytes(b"\0")
    _, said = at_a_terminal(*RUN)

    assert "2 to come" in said  # a mapper and the reducer, once the file was looked at
    assert "0 to come" not in said
    assert "to come" not in said[said.rindex("map-reduce over") :]


def test_where_the_signs_of_a_drawing_can_not_be_written_there_are_lines() -> None:
    code, said = at_a_terminal(*RUN, PYTHONIOENCODING="ascii")

    assert code == 0
    assert "finished" in said
    assert "\x1b[?25l" not in said
