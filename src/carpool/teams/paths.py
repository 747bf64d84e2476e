"""Paths as a team file says them: a relative one lies in the folder of the file, whoever reads it from where."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["path_in", "program_in"]


def path_in(folder: Path, path: str) -> Path:
    """``path`` as seen from here, without detours; ``~`` is the user's home."""
    return Path(os.path.normpath(folder / os.path.expanduser(path)))  # noqa: PTH111 - Path's raises where there is no such user


def program_in(folder: Path, program: str) -> str:
    """What to start: a name without a slash is looked for where programs are, anything else is a path."""
    return str(path_in(folder, program).absolute()) if os.sep in program else program
