"""Where text leaves the program: answers to stdout, everything else to stderr, both safe for a terminal.

What an agent says is made harmless first: an escape sequence would move the cursor, rename the window or, in some
terminals, type for the user, and a mark that turns the direction of writing makes a line read as another.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["OutputClosedError", "Piece", "Screen", "harmless", "harmless_json", "on_one_line"]

Piece = tuple[str, str]
"""A text and its style; styles are those of ``rich``, and seen on a terminal only."""

# Control characters but for tab and line feed, marks of writing direction, and halves of characters.
_HARMFUL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(text: str) -> str:
    """``text`` with every character that a terminal would obey written out: ``\\x1b`` as four characters."""
    return _HARMFUL.sub(_written_out, text.replace("\r\n", "\n"))


def on_one_line(text: str) -> str:
    """``text``, harmless, its white space as single spaces."""
    return harmless(" ".join(text.split()))


def harmless_json(line: str) -> str:
    """A line of JSON that says the same in harmless characters: JSON has an escape for each."""
    return _HARMFUL.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class OutputClosedError(Exception):
    """Nobody reads stdout any more, or it can't be written; the text says why."""


class Screen:
    """The two streams of a process, as they are when it is made.

    Nothing that goes wrong on stderr stops anything; what goes wrong on stdout is an :class:`OutputClosedError`.
    """

    def __init__(self) -> None:
        self._stdout: TextIO | None = sys.stdout  # None where the process was started without
        self._stderr: TextIO | None = sys.stderr
        self._console = _console(self._stderr)
        self.is_one_place = _same(self._stdout, self._stderr)
        for stream in (self._stdout, self._stderr):
            if reconfigure := getattr(stream, "reconfigure", None):
                reconfigure(errors="backslashreplace")  # an ASCII terminal is no reason to lose an answer

    @property
    def terminal(self) -> Console | None:
        """stderr, if it is a terminal on which something can be drawn again and again."""
        return self._console if self._console is not None and not self._console.is_dumb_terminal else None

    @property
    def width(self) -> int | None:
        """Characters in a line of stderr, if that is a terminal."""
        return self._console.width if self._console else None

    def answer(self, text: str) -> None:
        """A line, or several, on stdout."""
        if self._stdout is None:
            raise OutputClosedError("standard output is closed")
        try:
            self._stdout.write(text + "\n")
            self._stdout.flush()
        except (OSError, ValueError) as error:
            _give_up(self._stdout)
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise OutputClosedError(f"standard output could not be written: {reason}") from None

    def say(self, *pieces: Piece, wrap: bool = False) -> None:
        """One line on stderr. On a terminal it is cut to the width, unless it may ``wrap``."""
        if self._stderr is None:
            return
        try:
            if self._console is None:
                self._stderr.write("".join(text for text, _ in pieces).rstrip() + "\n")
                self._stderr.flush()
            else:
                _print(self._console, pieces, wrap=wrap)
        except (OSError, ValueError):
            _give_up(self._stderr)
            self._stderr = None


def _console(stream: TextIO | None) -> Console | None:
    if stream is None or not stream.isatty():
        return None
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)


def _print(console: Console, pieces: Sequence[Piece], *, wrap: bool) -> None:
    from rich.text import Text

    line = Text.assemble(*pieces)
    if wrap:
        console.print(line, soft_wrap=True)
    else:
        console.print(line, no_wrap=True, overflow="ellipsis")


def _same(one: TextIO | None, other: TextIO | None) -> bool:
    """Whether both end in one file, terminal or pipe, where what is written to them mixes."""
    if one is None or other is None:
        return False
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except (OSError, ValueError):
        return False


def _give_up(stream: TextIO) -> None:
    """Let what is still buffered go nowhere: Python would complain about it on its way out."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
