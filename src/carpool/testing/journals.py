"""What holds of every journal, wherever it keeps its runs: a suite for the built-in ones, and for your own.

def test_my_journal_keeps_its_promises() -> None:
    check_journal(MyJournal)
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from ..durable import Journal
from .journal_desk import Check, Desk
from .journal_effects import EFFECTS
from .journal_money import MONEY
from .journal_owners import OWNERS
from .journal_replay import REPLAY
from .journal_state import STATE
from .journal_store import STORE

__all__ = ["JOURNAL_CHECKS", "check_journal"]

JOURNAL_CHECKS: tuple[Check, ...] = (*STORE, *OWNERS, *REPLAY, *MONEY, *STATE, *EFFECTS)
"""One function for each promise, named after it, that takes a ``Desk`` with an empty journal."""


def check_journal(
    make: Callable[[], Journal],
    *,
    again: Callable[[Journal], Journal] | None = None,
    checks: tuple[Check, ...] = JOURNAL_CHECKS,
) -> None:
    """Try out each promise of a journal on one that ``make`` gives, empty and apart from all others each time.

    - as a store: a change is whole or did not happen, one comes after the other, a run has one owner
    - to patterns: what has ended is given out again to whoever asks the same, after whatever end of its process
    - to budgets: what was spent is booked once, what was in flight at its hold
    - beside answers: changes of the state, approvals, secrets, outputs of any kind

    With ``again(journal)``, a second object on the same store, these are also tried from two at once. Processes die
    here in appearance only; what a real death does to your store is for a test of its own. Some hundred runs, a
    few seconds.

    :raises AssertionError: for what does not hold, with a note that says which promise it was.
    """
    for check in checks:
        try:
            anyio.run(_try_out, check, make, again)
        except BaseException as error:
            error.add_note(f"the journal: {check.__name__.replace('_', ' ')}")
            raise


async def _try_out(check: Check, make: Callable[[], Journal], again: Callable[[Journal], Journal] | None) -> None:
    async with make() as journal:
        desk = Desk(journal, again)
        try:
            await check(desk)
        finally:
            await desk.aclose()
