"""For people at a terminal: the run as it is now, redrawn a few times a second; then the answer and the bill."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from ..clock import utc_now
from ..eventlog import EventLog
from ..events import Event
from .board import Board
from .reports import TextReport
from .terminal import on_one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from ..types import BudgetLimits
    from .assembly import Assembly
    from .coordinate import Ending
    from .perform import Recording
    from .terminal import Screen

__all__ = ["LiveReport"]

_DRAWS_PER_S = 5  # a drawing of fifty rows takes some 30 ms


class LiveReport(TextReport):
    """An event costs its place on the board; drawing is done by a thread of its own, whatever comes in. It never asks
    anything, and is gone from the screen when the run has ended."""

    def __init__(
        self,
        screen: Screen,
        console: Console,
        work: Assembly,
        budget: BudgetLimits,
        recording: Recording | None,
        expected: int | None,
        command: str = "run",
    ) -> None:
        super().__init__(screen, work, budget, recording, quiet=False, command=command)
        self._console = console
        self._expected = expected
        self._board = Board(before=None if recording is None else recording.spent)
        self._lock = Lock()  # between telling and drawing
        self._live: Live | None = None

    def event(self, event: Event) -> None:
        with self._lock:
            self._board.tell(event)
        if self._live is None:
            self._start()

    def stopping(self) -> None:
        with self._lock:
            self._board.notice = "stopping; what has finished is kept (again to end at once)"

    def ended(self, ending: Ending, log: EventLog) -> None:
        """:raises OutputClosedError: when the answer can't be written; the bill is told all the same."""
        self.close()
        for place in self._board.bad:
            name = self._work.labels.get(place.agent, place.agent)
            self._screen.say((on_one_line(f"{place.state}: {name}: {place.note}"), "red"), wrap=True)
        super().ended(ending, log)

    def close(self) -> None:
        """Take the view off the screen."""
        if self._live is not None:
            self._live.stop()

    def _start(self) -> None:
        from rich.live import Live

        self._live = Live(
            get_renderable=self._drawn,
            console=self._console,
            refresh_per_second=_DRAWS_PER_S,
            transient=True,
            redirect_stdout=True,  # which leads to stderr while a run goes on
            redirect_stderr=False,
        )
        self._live.start()

    def _drawn(self) -> Text:
        from .drawing import drawn

        with self._lock:
            return drawn(
                self._board,
                self._budget,
                title=self._work.title,
                labels=self._work.labels,
                expected=None if self._expected is None else self._expected - len(self._work.unreadable),
                now=utc_now(),
                width=self._console.width,
                height=max(6, self._console.height - 2),
            )
