"""The file of a cassette: a header, then a line of JSON for each recorded call. Reading it, and adding to it.

A line is one write to the end of the file, under a lock on it: tasks, threads and processes can add to one file. What
is added has left this process when ``append`` returns. A process that is killed leaves whole lines, and at most a part
of one behind them; that part is dropped by the next ``read``, with a warning, and cut off by the next ``append``. When
the power fails, the disk decides.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from warnings import warn

import msgspec

from ..errors import ConfigError
from .recorded_call import Recorded, decode

__all__ = ["append", "read", "refuse_other_file"]

FORMAT = 1
_HEADER = b'{"carpool_cassette": %d}\n' % FORMAT
_PIECE = 65_536  # bytes read at a time to find the last line


class _Header(msgspec.Struct):
    carpool_cassette: int


def read(path: Path, *, must_exist: bool) -> list[Recorded]:
    """The calls in the order of the file; none for a file that is missing, if it may be, or empty.

    :raises ConfigError: when it is missing, can't be read, or is no cassette; for a line that is no call, with its
        number.
    """
    try:
        content = _content(path)
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"{path}: there is no such cassette; record it first") from None
        return []
    except OSError as error:
        raise _unreadable(path, error) from None
    *lines, torn = content.split(b"\n")
    if not lines:
        _check_lone(path, torn)
        return []
    _check_header(path, lines[0])
    calls = [_call(path, line, number) for number, line in enumerate(lines[1:], start=2) if line.strip()]
    if torn:
        try:
            calls.append(decode(torn, len(lines) + 1))  # whole but for its end, as some editors leave it
        except ValueError:
            warn(f"{path}: the last line is not whole and was dropped: recording was interrupted", stacklevel=4)
    return calls


def refuse_other_file(path: Path) -> None:
    """Return when there is no file yet, or one that begins as a cassette does, whatever comes then.

    :raises ConfigError: when it does not, or can't be read.
    """
    try:
        with path.open("rb") as file:
            _check_start(path, file.read(_PIECE))
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unreadable(path, error) from None


def append(path: Path, line: bytes = b"", *, anew: bool = False) -> None:
    """Add ``line``, to nothing but the header if ``anew``; makes the file, with mode 0600, and its folders.

    :raises OSError: when that can't be done; what stood there is as before.
    :raises ConfigError: when the file is no cassette.
    """
    import fcntl  # only where there is one can be recorded

    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = _whole(path, file, anew)
        try:
            _write(file, line if end else _HEADER + line)
        except BaseException:
            os.ftruncate(file, end)
            raise
    finally:
        os.close(file)


def _content(path: Path) -> bytes:
    """All of it, at a moment when nobody is in the middle of a line."""
    with path.open("rb") as file:
        with suppress(ImportError, OSError):  # where files have no locks, nobody can be recording here
            import fcntl

            fcntl.flock(file, fcntl.LOCK_SH)
        return file.read()


def _whole(path: Path, file: int, anew: bool) -> int:
    """The size of the file, after whatever stands behind its last whole line is mended or cut off."""
    size = os.fstat(file).st_size
    if anew:
        start = 0
        _check_start(path, os.pread(file, _PIECE, 0))
    elif not size or os.pread(file, 1, size - 1) == b"\n":
        return size
    else:
        start = _start_of_last_line(file, size)
        last = os.pread(file, size - start, start)
        if not start:
            _check_lone(path, last)
        elif _is_json(last):
            _write(file, b"\n")
            return size + 1
    os.ftruncate(file, start)
    return start


def _start_of_last_line(file: int, size: int) -> int:
    end = size
    while end:
        begin = max(0, end - _PIECE)
        newline = os.pread(file, end - begin, begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        end = begin
    return 0


def _write(file: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]


# What a line is


def _call(path: Path, line: bytes, number: int) -> Recorded:
    try:
        return decode(line, number)
    except ValueError as error:
        raise ConfigError(f"{path}:{number}: not a recorded call: {error}; delete the line, or record anew") from None


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path}: the cassette can't be read: {error.strerror or error}")


def _check_start(path: Path, content: bytes) -> None:
    header, newline, _ = content.partition(b"\n")
    (_check_header if newline else _check_lone)(path, header)


def _check_lone(path: Path, line: bytes) -> None:
    """A file of one line without an end: all that there is of a header, or nothing yet."""
    if not _HEADER.startswith(line):
        _check_header(path, line)


def _check_header(path: Path, line: bytes) -> None:
    try:
        version = msgspec.json.decode(line, type=_Header).carpool_cassette
    except ValueError:
        expected = _HEADER.decode().strip()
        raise ConfigError(f"{path}:1: not a cassette, whose first line is {expected}; nothing was changed") from None
    if version != FORMAT:
        raise ConfigError(f"{path}:1: a cassette of format {version}; this version of carpool knows format {FORMAT}")


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
