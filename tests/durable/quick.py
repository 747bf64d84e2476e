"""A folder in memory, where the machine has one, for tests in which nothing depends on a disk but their time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["quick_folder"]

_MEMORY = Path("/dev/shm")


@contextmanager
def quick_folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="carpool-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        yield Path(folder)
