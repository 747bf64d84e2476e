"""A lock between processes, on a file: the kernel lets in who waits, and frees it when its holder dies."""

from __future__ import annotations

import fcntl
import os

# Not threading's: a budget may need a turn while the collector runs inside threading's own locks.
from _thread import start_new_thread
from pathlib import Path
from threading import Condition

__all__ = ["FileLock"]


class FileLock:
    """For one thread at a time. Asking again and again would let some wait for seconds where sixteen processes
    compete; so waiting is left to the kernel, and, since the kernel's wait can't be given up, to a thread.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._changed = Condition()
        self._waiting = False  # there is a thread that waits for the kernel; it may find nobody who still wants it
        self._wanted = False
        self._got = False

    def acquire(self, timeout_s: float) -> bool:
        """Whether it was to be had within ``timeout_s`` seconds."""
        with self._changed:
            if not self._waiting:
                if self._try():
                    return True
                if timeout_s <= 0:
                    return False
                self._waiting = True
                start_new_thread(self._wait, (self._file,))
            self._wanted = True
            self._changed.wait_for(lambda: self._got or not self._waiting, timeout_s)
            self._wanted = False
            got, self._got = self._got, False
            return got

    def release(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Closes it, and with it lets go of the lock; in a forked child only the copy of it is closed."""
        with self._changed:
            file, self._file = self._file, -1
            if file >= 0:
                os.close(file)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        finally:
            with self._changed:
                self._waiting = False
                if self._wanted:
                    self._got = True
                    self._changed.notify()
                elif self._file == file:
                    self.release()
