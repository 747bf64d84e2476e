"""Asking a purse for a lease and settling it, where that takes waiting: for room, or for a ledger.

A purse on a ledger is asked and told by a thread of its own, for all who come meanwhile in one transaction, so that
the loop never waits for a disk.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import anyio

from ..budget import CoordinationBudget, Lease, Waiter
from ..types import TokenAccounting
from ..wakeup import Wakeup

__all__ = ["released", "settled", "ungated_lease", "wait_for_lease"]


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
    return waiter if isinstance(waiter, Lease) else await _let_in(waiter, wakeup)


async def ungated_lease(purse: CoordinationBudget) -> Lease:
    """A lease for an agent that is not asked about."""
    if not purse.is_shared:
        return purse.begin_ungated()
    wakeup = Wakeup()
    return await _let_in(purse.begin_ungated_soon(wakeup.set), wakeup)


async def _let_in(waiter: Waiter, wakeup: Wakeup) -> Lease:
    try:
        await wakeup.wait()
    except GeneratorExit:  # thrown away, by the collector maybe, in the middle of somebody's step
        waiter.purse.book.drop(waiter)
        raise
    except BaseException:
        if waiter.purse.is_shared:
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


async def released(lease: Lease) -> None:
    """``lease.release()``; on a purse that is shared, seen to its end in the same way."""
    if lease.purse.is_shared:
        await _told(lease.release_soon)
    else:
        lease.release()


async def _told(tell: Callable[[Callable[[], None]], None]) -> None:
    """Return when what ``tell`` is given has been called, whoever cancels meanwhile."""
    wakeup, over = Wakeup(), False
    tell(wakeup.set)
    with anyio.CancelScope(shield=True):
        while not over:
            with suppress(anyio.get_cancelled_exc_class()):
                await wakeup.wait()
                over = True
