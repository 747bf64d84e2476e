"""One thread that writes for everybody: in groups, with an error for each, and never in anybody's way."""

# ruff: noqa: ASYNC110 - the thread wakes nobody

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from carpool.durable.writer import Job, Writer
from carpool.errors import CarpoolError, JournalError


class Store:
    """Does what it is given, and notes which jobs came together."""

    def __init__(self, *, fails: Exception | None = None) -> None:
        self.groups: list[int] = []
        self.ticks = 0
        self.is_closed = False
        self.fails = fails
        self.thread: threading.Thread | None = None
        self.may_write = threading.Event()
        self.may_write.set()
        self.wants_ticks = False
        self.writer = Writer("a store", self.write, self.tick, self.close, tick_s=0.001)

    def write(self, jobs: Sequence[Job[Any]]) -> None:
        self.thread = threading.current_thread()
        self.may_write.wait(10)
        self.groups.append(len(jobs))
        if self.fails is not None:
            raise self.fails
        for job in jobs:
            try:
                job.result = job.work(self)
            except LookupError as error:
                job.error = error

    def tick(self) -> bool:
        self.ticks += 1
        if self.ticks == 2:
            raise ArithmeticError("a tick that fails")
        return self.wants_ticks

    def close(self) -> None:
        self.is_closed = True


async def together(count: int, job: Callable[[int], Any]) -> None:
    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(job, number)


async def test_each_gets_what_its_work_returned() -> None:
    store, got = Store(), {}

    async def do(number: int) -> None:
        got[number] = await store.writer.do(lambda _: number * 2)

    await together(20, do)
    await store.writer.close()

    assert got == {number: number * 2 for number in range(20)}
    assert store.is_closed
    assert store.thread is not threading.current_thread()


async def test_who_waits_at_the_same_time_is_written_together() -> None:
    store = Store()
    store.may_write.clear()

    async def do(number: int) -> None:
        await store.writer.do(lambda _: number)
        store.may_write.set()

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(do, number)
        for _ in range(5):
            await checkpoint()
        store.may_write.set()
    await store.writer.close()

    assert sum(store.groups) == 50
    assert len(store.groups) <= 3


async def test_what_one_job_raises_is_its_own_affair() -> None:
    store = Store()

    def refuse(_: Any) -> None:
        raise LookupError("no")

    async def do(number: int) -> None:
        if number % 2:
            with pytest.raises(LookupError, match="no"):
                await store.writer.do(refuse)
        else:
            assert await store.writer.do(lambda _: number) == number

    await together(10, do)
    await store.writer.close()


async def test_what_fails_for_all_is_an_error_of_its_own_for_each() -> None:
    store = Store(fails=JournalError("no room"))
    errors: list[JournalError] = []

    async def do(_: int) -> None:
        with pytest.raises(JournalError, match="no room") as caught:
            await store.writer.do(lambda _: None)
        errors.append(caught.value)

    await together(5, do)
    await store.writer.close()

    assert len({*map(id, errors)}) == 5
    assert {error.__cause__ for error in errors} == {store.fails}


async def test_an_error_of_any_make_is_told_to_each() -> None:
    class Odd(CarpoolError):
        def __init__(self, one: int, other: int) -> None:
            super().__init__(f"{one} and {other}")

    store = Store(fails=Odd(1, 2))
    with pytest.raises(Exception, match="1 and 2"):
        await store.writer.do(lambda _: None)
    await store.writer.close()


async def test_who_is_cancelled_is_told_when_it_is_written_and_not_before() -> None:
    store, done = Store(), []
    store.may_write.clear()

    def write(_: Any) -> None:
        done.append(True)

    async def do() -> None:
        try:
            await store.writer.do(write)
        finally:
            assert done == [True]

    async with anyio.create_task_group() as group:
        group.start_soon(do)
        await checkpoint()
        group.cancel_scope.cancel()
        for _ in range(3):
            with anyio.CancelScope(shield=True):
                await checkpoint()
        assert done == []
        store.may_write.set()
    await store.writer.close()


async def test_after_it_is_closed_it_takes_nothing_more_and_what_it_had_is_done() -> None:
    store, got = Store(), []
    store.may_write.clear()

    async def do(number: int) -> None:
        got.append(await store.writer.do(lambda _: number))

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(do, number)
        await checkpoint()
        group.start_soon(store.writer.close)
        await checkpoint()
        with pytest.raises(JournalError, match="a store is closed"):
            await store.writer.do(lambda _: None)
        store.may_write.set()
    await store.writer.close()

    assert sorted(got) == [0, 1, 2, 3, 4]


async def test_it_ticks_while_it_is_wanted_and_a_tick_that_fails_does_not_end_it() -> None:
    store = Store()
    store.wants_ticks = True
    await store.writer.do(lambda _: None)
    with anyio.fail_after(10):
        while store.ticks < 5:
            await anyio.sleep(0.001)
    store.wants_ticks = False
    await anyio.sleep(0.02)
    before = store.ticks
    await anyio.sleep(0.02)
    assert store.ticks == before
    assert await store.writer.do(lambda _: 7) == 7
    await store.writer.close()


async def test_it_ticks_between_jobs_that_never_end() -> None:
    store = Store()
    store.wants_ticks = True
    with anyio.fail_after(10):
        while store.ticks < 5:
            await store.writer.do(lambda _: None)
    await store.writer.close()


def test_a_loop_that_is_gone_keeps_nobody_else_from_being_told() -> None:
    store = Store()
    store.may_write.clear()

    async def leaves() -> None:
        store.writer._jobs.put(Job(lambda _: None))

    anyio.run(leaves)
    store.may_write.set()

    async def stays() -> None:
        assert await store.writer.do(lambda _: 1) == 1
        await store.writer.close()

    anyio.run(stays)


async def test_what_was_raised_does_not_keep_alive_what_was_at_hand() -> None:
    class Large:
        pass

    store = Store()

    def refuse(large: Large) -> None:
        raise LookupError("no")

    async def do() -> weakref.ref[Large]:
        large = Large()
        with pytest.raises(LookupError):
            await store.writer.do(lambda _: refuse(large))
        return weakref.ref(large)

    gone = await do()
    gc.collect()
    assert gone() is None
    await store.writer.close()
