"""Asking a purse for a lease and settling it, where that takes waiting: for room, or for a ledger.

A purse on a ledger is asked and told by a thread of its own, for all who come meanwhile in one transaction, so that
the loop never waits for a disk.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import anyio

from ..budget import CoordinationBudget, Lease
from ..types import TokenAccounting
from ..wakeup import Wakeup

__all__ = ["settled", "wait_for_lease"]


async def wait_for_lease(
    purse: CoordinationBudget, estimate: TokenAccounting | None, depth: int, ancestors: tuple[int, ...]
) -> Lease:
    """A lease, as soon as agents in flight have given back enough of what they hold; ``ancestors`` are the leases
    inside which it is asked for.

    :raises BudgetError: when the budget refuses, or nobody could ever give anything back.
    :raises JournalError: when the ledger can't be read or written.
    """
    wakeup = Wakeup()
    ask = purse.begin_soon if purse.is_shared else purse.begin_or_wait
    waiter = ask(estimate, depth, ancestors, wakeup.set)
    if isinstance(waiter, Lease):
        return waiter
    try:
        await wakeup.wait()
    except BaseException as stop:
        if purse.is_shared and isinstance(stop, anyio.get_cancelled_exc_class()):
            await _told(waiter.leave_soon)
        else:
            waiter.leave()
        raise
    if waiter.lease is None:
        raise waiter.denial or AssertionError("woken without an answer")
    return waiter.lease


async def settled(lease: Lease, tokens: TokenAccounting | None = None) -> TokenAccounting:
    """``lease.settle(tokens)`` on a purse that is shared. It is seen to its end: a cancellation meanwhile is not
    raised here, it only counts in the task."""
    await _told(partial(lease.settle_soon, tokens))
    return lease.charged


async def _told(tell: Callable[[Callable[[], None]], None]) -> None:
    """Return when what ``tell`` is given has been called, whoever cancels meanwhile."""
    wakeup, over = Wakeup(), False
    tell(wakeup.set)
    with anyio.CancelScope(shield=True):
        while not over:
            with suppress(anyio.get_cancelled_exc_class()):
                await wakeup.wait()
                over = True
