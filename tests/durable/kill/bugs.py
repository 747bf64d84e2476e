"""Bugs planted in a child process, by name: each one that this harness is there to find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from carpool.budget import CoordinationBudget
from carpool.durable import sqlite
from carpool.durable.history import History
from carpool.durable.recollection import Recollection, Remembering
from carpool.durable.writer import Job, Writer
from carpool.recall import Call, Ending, Recalled
from carpool.spawn.restoring import Restoring

__all__ = ["BUGS", "plant"]


def plant(bug: str) -> None:
    BUGS[bug]()


def _release_holds_on_recovery() -> None:
    """What was in flight at the crash is lost, and costs nothing."""

    def lose(self: History) -> None:
        for fate in self.fates.values():
            if fate.status == "running":
                fate.status = "lost"
                fate.lost += 1

    History.lose = lose


def _key_by_position() -> None:
    """A call is known by its place in the tree, numbers and all, whatever is asked there."""
    recall = Remembering.recall

    async def by_position(self: Remembering, call: Call, *, settled: bool = False) -> Recalled:
        return await recall(self, replace(call, roles=call.path, task=""), settled=settled)

    Remembering.recall = by_position


def _complete_before_commit() -> None:
    """The door goes on with an output that the journal has only been asked to write."""
    ended, writing = Recollection.ended, set[Any]()

    async def soon(self: Recollection, call: Call, known: Recalled, ending: Ending) -> None:
        from asyncio import create_task

        task = create_task(ended(self, call, known, ending))
        writing.add(task)
        task.add_done_callback(writing.discard)

    Recollection.ended = soon


def _tell_before_commit() -> None:
    """The writing thread wakes those who wait, and then commits."""
    write_all = Writer._write_all

    def tell_first(self: Writer, jobs: Sequence[Job[Any]]) -> None:
        Job.wake([job for job in jobs if isinstance(job.work, sqlite._Append)])
        write_all(self, jobs)

    Writer._write_all = tell_first


def _do_not_wait_for_the_start() -> None:
    """The runner is called while its start is being written."""
    started, writing = Recollection.started, set[Any]()

    async def soon(self: Recollection, *told: Any) -> None:
        from asyncio import create_task

        task = create_task(started(self, *told))
        writing.add(task)
        task.add_done_callback(writing.discard)

    Recollection.started = soon


def _forget_some_that_were_completed() -> None:
    recall = Remembering.recall

    async def forgetful(self: Remembering, call: Call, *, settled: bool = False) -> Recalled:
        known = await recall(self, call, settled=settled)
        return known if known.output is None or "7" not in call.task[-30:] else replace(known, output=None, spent=None)

    Remembering.recall = forgetful


def _do_not_restore() -> None:
    Restoring.apply = lambda *_: None


def _forget_approvals() -> None:
    Remembering.was_approved = lambda *_: False


def _forget_in_inner_purses() -> None:
    """What was spent before is booked in the run's own purse, and in none inside it."""
    CoordinationBudget.record_past = _outside_only(CoordinationBudget.record_past)


def _outside_only(record_past: Any) -> Any:
    def record(self: CoordinationBudget, *what: Any, outside: CoordinationBudget | None = None) -> None:
        if outside is None:
            record_past(self, *what)

    return record


BUGS: dict[str, Callable[[], None]] = {
    "hold released on recovery": _release_holds_on_recovery,
    "key by position": _key_by_position,
    "complete before commit": _complete_before_commit,
    "told before commit": _tell_before_commit,
    "start not waited for": _do_not_wait_for_the_start,
    "completed forgotten": _forget_some_that_were_completed,
    "changes not restored": _do_not_restore,
    "approvals forgotten": _forget_approvals,
    "inner purses forget": _forget_in_inner_purses,
}
