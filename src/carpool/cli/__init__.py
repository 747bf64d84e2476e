"""The command ``carpool``: each subcommand is the file of its name; the others are what they are made of.

Nothing heavy is loaded before it is needed, and without the extra ``cli`` this says what to install.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts import App

    app: App

__all__ = ["app", "main"]

_EXTRA = ("cyclopts", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the process's exit code. ``arguments`` are by default those of the process."""
    try:
        from .application import dispatch

        return dispatch(sys.argv[1:] if arguments is None else arguments)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        print(f"carpool: the command line needs {missing}; run: pip install 'carpool[cli]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def __getattr__(name: str) -> Any:
    if name == "app":
        from .application import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
