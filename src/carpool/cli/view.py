"""``carpool view``: runs in the browser, served on this machine alone until Ctrl-C."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import Parameter

from ..durable import Journal
from .interrupts import stopping_on_interrupt
from .journal import JournalFlag, run_called, with_journal
from .terminal import OutputClosedError, Screen
from .usage import DONE, FAILED, UsageError

__all__ = ["view"]


def view(
    run: Annotated[str | None, Parameter(help="The run to begin with: its id, the beginning of it, or last.")] = None,
    /,
    *,
    port: Annotated[int, Parameter(help="Where to listen; by default any port that is free.")] = 0,
    open: Annotated[bool, Parameter(negative="", help="Open it in the browser too.")] = False,  # noqa: A002 - the flag's name
    journal: JournalFlag = None,
) -> int:
    """Look at runs in the browser."""
    if not 0 <= port < 65536:
        raise UsageError(f"--port must be between 0 and 65535, not {port}")
    try:
        from ..viewer.serving import serving
    except ModuleNotFoundError as error:
        raise UsageError(f"this needs {error.name}; run: pip install 'carpool[viewer]'") from None

    async def work(journal: Journal, screen: Screen) -> int:
        run_id = None if run is None else (await run_called(journal, run)).run_id
        try:
            async with serving(journal, port) as address:
                url = address.url(run_id)
                screen.answer(url)
                screen.say(("on this machine alone, for whoever has this address; Ctrl-C ends it", "dim"))
                with _in_browser(url if open else None):
                    await _until_interrupted()
        except OutputClosedError:
            return FAILED
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            screen.say((f"carpool view: port {port}: {reason}", ""))
            return FAILED
        return DONE

    return with_journal("view", journal, work)


async def _until_interrupted() -> None:
    interrupted = anyio.Event()
    with stopping_on_interrupt(interrupted.set):
        await interrupted.wait()


@contextmanager
def _in_browser(url: str | None) -> Generator[None]:
    """Have the browser open ``url``, if there is one, by way of a file that only this user can read: everybody on the
    machine can read the arguments of a program, and the address holds the token."""
    if url is None:
        yield
        return
    import webbrowser
    from html import escape
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="carpool-view-") as folder:  # only this user may enter it
        page = Path(folder) / "view.html"
        page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(url)}">', encoding="utf-8")
        if not webbrowser.open(page.as_uri()):
            print("carpool view: no browser was found; open the address yourself", file=sys.stderr)
        yield
