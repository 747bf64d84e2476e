"""Where text leaves the program: answers to stdout, everything else to stderr, both safe for a terminal.

What an agent says is made harmless first: an escape sequence would move the cursor, rename the window or, in some
terminals, type for the user, and a mark that turns the direction of writing makes a line read as another.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "OutputClosedError",
    "Piece",
    "Screen",
    "ending_within",
    "harmless",
    "harmless_json",
    "on_one_line",
    "padded",
    "printing_to_stderr",
    "width_of",
]

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


def width_of(text: str) -> int:
    """The columns that ``text`` takes on a terminal, where a character may take two, or none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def padded(text: str, width: int) -> str:
    """``text`` and as many spaces as it lacks of ``width`` columns."""
    return text + " " * (width - width_of(text))


def ending_within(text: str, width: int) -> str:
    """``text``, or its end where it takes more than ``width`` columns: a path is told by its end."""
    if width_of(text) <= width:
        return text
    while text and width_of(text) > width - 1:
        text = text[1:]
    return f"…{text}"


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


@contextmanager
def printing_to_stderr() -> Generator[None]:
    """Within the block ``print`` writes to stderr; and nowhere, where the process was started without."""
    with ExitStack() as stack:
        stderr: TextIO | None = sys.stderr
        if stderr is None:
            stderr = stack.enter_context(open(os.devnull, "w"))  # noqa: PTH123 - as os spells it
        stack.enter_context(redirect_stdout(stderr))
        yield


class OutputClosedError(Exception):
    """Nobody reads stdout any more, or it can't be written; the text says why. ``left``: who read it has gone, as
    ``head`` does, and knows."""

    def __init__(self, why: str, *, left: bool = False) -> None:
        super().__init__(why)
        self.left = left


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
        console = self._console
        return console if console is not None and not console.is_dumb_terminal and _can_draw(console) else None

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
            left = isinstance(error, BrokenPipeError)
            raise OutputClosedError(f"standard output could not be written: {reason}", left=left) from None

    def say(self, *pieces: Piece, wrap: bool = False) -> None:
        """One line on stderr. On a terminal it is cut to the width, unless it may ``wrap``."""
        if self._stderr is None:
            return
        if self._console is not None:
            _print(self._console, pieces, wrap=wrap)
            return
        try:
            self._stderr.write("".join(text for text, _ in pieces).rstrip() + "\n")
            self._stderr.flush()
        except (OSError, ValueError):
            _give_up(self._stderr)
            self._stderr = None

    @contextmanager
    def alone_on_stdout(self) -> Generator[None]:
        """Within the block stdout has this screen's answers and nothing else: what runners print, and what processes
        print that they start, goes to stderr."""
        stdout = self._stdout
        with printing_to_stderr():
            if stdout is None or not _is_descriptor_1(stdout):
                yield
                return
            with _diverted(stdout, self._stderr) as self._stdout:
                try:
                    yield
                finally:
                    self._stdout = stdout


def _console(stream: TextIO | None) -> Console | None:
    if stream is None or not stream.isatty():
        return None
    from rich.console import Console

    return Console(file=cast("IO[str]", _WhileItIsThere(stream)), highlight=False, markup=False, emoji=False)


class _WhileItIsThere:
    """A terminal, as long as there is one; what is written after that goes nowhere. Whoever draws on it may be in a
    thread of its own, or in the middle of something that must not end for want of a screen."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            _give_up(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            _give_up(self._stream)


def _print(console: Console, pieces: Sequence[Piece], *, wrap: bool) -> None:
    from rich.text import Text

    line = Text.assemble(*pieces)
    if wrap:
        console.print(line, soft_wrap=True)
    else:
        console.print(line, no_wrap=True, overflow="ellipsis")


def _can_draw(console: Console) -> bool:
    """Whether the signs of a drawing exist there; written out, its lines would be longer than was reckoned with."""
    try:
        "█▒░✓▶…·".encode(console.encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True


@contextmanager
def _diverted(stdout: TextIO, stderr: TextIO | None) -> Generator[TextIO]:
    """What ``stdout`` was; its descriptor leads to ``stderr`` within the block, or nowhere if there is none."""
    with suppress(OSError, ValueError):
        stdout.flush()
    wire = os.dup(1)
    aside = os.open(os.devnull, os.O_WRONLY) if stderr is None else os.dup(2)
    os.dup2(aside, 1)
    os.close(aside)
    try:
        with os.fdopen(wire, "w", encoding=stdout.encoding, errors="backslashreplace", closefd=False) as own:
            yield own
    finally:
        with suppress(OSError, ValueError):
            stdout.flush()  # what was printed within the block, and kept back
        os.dup2(wire, 1)
        os.close(wire)


def _is_descriptor_1(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 1
    except (OSError, ValueError):
        return False


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
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
