"""What agents say can't command a terminal."""

import json
import os
import subprocess
import sys

import pytest

from carpool.cli.terminal import (
    OutputClosedError,
    Piece,
    Screen,
    ending_within,
    harmless,
    harmless_json,
    on_one_line,
    padded,
    width_of,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext, ä, 漢, 🚗, ‏עברית", "plain\n\ttext, ä, 漢, 🚗, ‏עברית"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x9b31m\x7f\x00\x08", "\\x9b31m\\x7f\\x00\\x08"),
        ("one\r\ntwo", "one\ntwo"),
        ("good\rbad", "good\\x0dbad"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("half \ud83d", "half \\ud83d"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_one_line_is_one_line() -> None:
    assert on_one_line(" a\n b\t\r\n\x1bc\x0b\u2028d ") == "a b \\x1bc d"


def test_json_says_the_same_in_harmless_characters() -> None:
    text = json.dumps("\x1b \x7f \x9b \u202e ä", ensure_ascii=False)

    assert "\x9b" not in harmless_json(text)
    assert json.loads(harmless_json(text)) == "\x1b \x7f \x9b \u202e ä"


def test_a_stdout_that_is_closed_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)

    with pytest.raises(OutputClosedError, match="standard output is closed"):
        Screen().answer("text")


def test_a_pipe_that_nobody_reads_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)

        with pytest.raises(OutputClosedError, match="Broken pipe"):
            Screen().answer("text")


def test_a_stderr_that_is_closed_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        monkeypatch.setattr(sys, "stderr", nobody)
        screen = Screen()
        screen.say(("text", ""))
        screen.say(("more", ""))
    monkeypatch.setattr(sys, "stderr", None)
    Screen().say(("text", ""))


class Terminal:
    """A stream that says it is one."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def said(monkeypatch: pytest.MonkeyPatch, *pieces: Piece, wrap: bool = False) -> str:
    """What a terminal of twenty columns is sent."""
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    Screen().say(*pieces, wrap=wrap)
    return terminal.text


def test_on_a_terminal_a_line_has_colour_and_is_cut_to_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(monkeypatch, ("started ", "green"), ("a name of many words [bold]", ""))

    assert text == "\x1b[32mstarted \x1b[0ma name of m…\n"


def test_a_line_that_may_wrap_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(monkeypatch, ("a line of more than twenty characters [bold]", ""), wrap=True)

    assert text == "a line of more than twenty characters [bold]\n"


def test_no_colour_is_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert said(monkeypatch, ("started", "green")) == "started\n"


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("a/path.md", 9, "a/path.md"),
        ("a/path.md", 8, "…path.md"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "…本語"),
        ("日本語", 4, "…語"),
        ("日本語", 1, "…"),
    ],
)
def test_a_path_is_told_by_its_end_however_wide_its_characters(text: str, width: int, shown: str) -> None:
    assert ending_within(text, width) == shown
    assert width_of(padded(shown, width)) == width


LOUD = """
import os, sys
print("while it is imported")

async def run(spec, task, runtime, mailbox):
    print("a print")
    sys.stdout.write("half a line")
    os.system("echo from a child")
    return f"answer of {spec.name}"
"""


def test_what_runners_print_is_not_among_the_answers(started, folder) -> None:
    (folder / "loud.py").write_text(LOUD.replace('print("while it is imported")', ""))
    vote = ("run", "--pattern", "vote", "--agent", "a", "--task", "t", "--runner", "loud:run")
    out, err = started(*vote, "--quiet").communicate()
    lines, _ = started(*vote, "--json").communicate()

    assert out == "answer of a\n"
    assert "a print" in err
    assert "from a child" in err
    assert [json.loads(line)["kind"] for line in lines.splitlines()][-1] == "result"


def test_a_runner_may_print_where_there_is_no_stderr(started, folder) -> None:
    (folder / "loud.py").write_text(LOUD)
    run = [sys.executable, "-m", "carpool.cli", "run", "--runner", "loud:run", "--quiet"]
    vote = ["--pattern", "vote", "--agent", "a", "--task", "t", "--no-journal"]
    ended = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *run, *vote], capture_output=True, text=True, check=True
    )

    assert ended.stdout == "while it is imported\nanswer of a\n"
