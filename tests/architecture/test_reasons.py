"""The facts that decisions in docs/adr stand on, shown by running them."""

import asyncio
import contextlib
import sys

import anyio
import msgspec
import pytest

on_3_11 = pytest.mark.skipif(sys.version_info >= (3, 12), reason="mended in later versions of Python")


async def fail(error: type[Exception]) -> None:
    raise error


async def two_groups_failing_at_once(group) -> bool:
    """Whether a task goes on though the group around it is cancelled; ``group`` makes task groups.

    The inner group fails and is handled; in the same step the outer one fails, and cancels what is in it.
    """
    went_on = False

    async def inside() -> None:
        nonlocal went_on
        with contextlib.suppress(ExceptionGroup):
            async with group() as inner:
                _start(inner, fail, ValueError)
        await anyio.sleep(0.01)
        went_on = True

    async def sibling() -> None:
        await asyncio.sleep(0)
        raise KeyError

    with contextlib.suppress(ExceptionGroup):
        async with group() as outer:
            _start(outer, inside)
            _start(outer, sibling)
    return went_on


def _start(group, function, *arguments) -> None:
    if isinstance(group, asyncio.TaskGroup):
        group.create_task(function(*arguments))
    else:
        group.start_soon(function, *arguments)


async def cancelled_as_the_result_arrives(wait) -> bool:
    """Whether a task goes on that is cancelled in the step in which what it ``wait``s for is there."""
    went_on = False

    async def waiting() -> None:
        nonlocal went_on
        result = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(result.set_result, None)
        asyncio.get_running_loop().call_soon(task.cancel)
        await wait(result)
        went_on = True

    task = asyncio.create_task(waiting())
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return went_on


async def wait_with_anyio(result: asyncio.Future[None]) -> None:
    with anyio.fail_after(1):
        await result


async def test_a_cancellation_reaches_into_nested_task_groups_of_anyio() -> None:
    assert not await two_groups_failing_at_once(anyio.create_task_group)


@on_3_11
async def test_a_cancellation_is_lost_in_nested_task_groups_of_asyncio() -> None:
    assert await two_groups_failing_at_once(asyncio.TaskGroup)


async def test_a_cancellation_is_kept_by_a_deadline_of_anyio() -> None:
    assert not await cancelled_as_the_result_arrives(wait_with_anyio)


@on_3_11
async def test_a_cancellation_is_lost_in_wait_for_of_asyncio() -> None:
    assert await cancelled_as_the_result_arrives(lambda result: asyncio.wait_for(result, 1))


def test_msgspec_writes_nan_as_null_without_a_word() -> None:
    assert msgspec.json.encode(float("nan")) == b"null"


def test_msgspec_checks_what_it_reads_and_not_what_is_constructed() -> None:
    class Count(msgspec.Struct):
        value: int

    assert Count("many").value == "many"
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"value": "many"}', type=Count)
