"""What a journal promises of who has a run: one process at a time, and none that is gone."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio

from ..errors import JournalError, RunInUse
from ..recall import Ending
from ..types import AgentOutput
from .journal_desk import COST, Check, Desk, at_once, attempt, refused, require

__all__ = ["OWNERS"]


async def one_that_is_open_is_in_use(desk: Desk) -> None:
    recall = await desk.open()
    await refused(RunInUse, desk.open())
    await refused(RunInUse, desk.journal.remove("run"))
    await refused(RunInUse, desk.another().open())
    await refused(RunInUse, desk.another().journal.remove("run"))
    await desk.complete(recall)
    await desk.close(recall)
    await desk.close(await desk.open())


async def of_many_who_open_it_at_once_one_gets_it(desk: Desk) -> None:
    desks = [desk, desk.another(), desk.another()]
    got: list[Any] = []

    async def open_it(number: int) -> None:
        with suppress(RunInUse):
            got.append(await desks[number % len(desks)].open())

    await at_once(12, open_it)
    require(len(got) == 1, f"{len(got)} of 12 have it")
    require((await desk.journal.read("run")).header.epoch == 1, "it was claimed more than once")
    await desk.close(got[0])


async def a_dead_process_is_replaced_at_once_and_writes_nothing_more(desk: Desk) -> None:
    another = desk.another()
    if another is desk:
        return
    first = await desk.open()
    call = desk.call("late")
    known = await first.recall(call)
    await first.started(call, known, attempt(1, COST))
    await desk.kill()
    second = await another.open()
    before = await desk.journal.read("run")
    late = Ending(status="completed", output=AgentOutput(name="late", answer="too late"))
    await refused(RunInUse, first.ended(call, known, late))
    await refused(RunInUse, first.started(call, known, attempt(2, COST)))
    await refused(RunInUse, first.approved("yes"))
    await refused(RunInUse, desk.close(first))
    require(await desk.journal.read("run") == before, "one who has lost the run has written to it")
    await desk.complete(second)
    await desk.close(second)
    require((await desk.journal.holdings("run")).completed == 1, "the one who took it over could not write")


async def one_that_was_removed_while_it_ran_is_not_written_to(desk: Desk) -> None:
    recall = await desk.open()
    await desk.kill()
    await desk.journal.remove("run")
    await refused(RunInUse, desk.complete(recall))
    require(await desk.journal.header("run") is None, "it is there again")


async def who_is_closed_writes_nothing_more_and_keeps_nobody_out(desk: Desk) -> None:
    recall = await desk.open()
    await desk.complete(recall)
    await desk.journal.aclose()
    await refused(JournalError, desk.complete(recall, "b"))
    another = desk.another()
    if another is not desk:
        await desk.close(await another.open())
        require((await another.journal.holdings("run")).completed == 1, "closing has lost what was durable")


async def one_whose_opening_was_cancelled_is_nobodys(desk: Desk) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await desk.close(await desk.open())  # a journal that never waits is not cancelled
    await desk.close(await desk.another().open())


async def what_was_being_written_when_it_was_cancelled_is_there(desk: Desk) -> None:
    recall = await desk.open()
    call = desk.call()
    known = await recall.recall(call)
    output = AgentOutput(name="a", answer="paid for", tokens=COST)
    for write in (
        lambda: recall.started(call, known, attempt(1, COST)),
        lambda: recall.approved("yes"),
        lambda: recall.ended(call, known, Ending(status="completed", output=output)),
    ):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await write()
    await desk.close(recall)
    resumed = await desk.open()
    require((await resumed.recall(call)).output == output, "an output is lost")
    require(resumed.was_approved("yes"), "an approval is lost")
    await desk.close(resumed)


OWNERS: tuple[Check, ...] = (
    one_that_is_open_is_in_use,
    of_many_who_open_it_at_once_one_gets_it,
    a_dead_process_is_replaced_at_once_and_writes_nothing_more,
    one_that_was_removed_while_it_ran_is_not_written_to,
    who_is_closed_writes_nothing_more_and_keeps_nobody_out,
    one_whose_opening_was_cancelled_is_nobodys,
    what_was_being_written_when_it_was_cancelled_is_there,
)
