"""What every test shares."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

import pytest

from carpool import SharedInfra


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, the loop that carpool's users have."""
    return "asyncio"


def pytest_sessionstart() -> None:
    """Ctrl-C and the end of a terminal are heard, here and in every program that a test starts, also where a shell has
    these tests in its background, or nohup, and has them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Whatever an async test is about, it leaves nothing behind."""
    if iscoroutinefunction(pyfuncitem.obj):
        pyfuncitem.obj = leaving_nothing(pyfuncitem.obj)


def leaving_nothing(test: Callable[..., Any]) -> Callable[..., Any]:
    """``test``, and then: no task, no lease in flight, no hold, no subscription to a log."""

    @wraps(test)
    async def checked(**arguments: Any) -> None:
        before = asyncio.all_tasks()
        with remembering_infras() as infras:
            await test(**arguments)
            assert asyncio.all_tasks() - before == set()
            for infra in infras:
                assert infra.budget.in_flight == 0
                assert infra.budget.snapshot().held.total_tokens == 0
                assert infra.log._wakers == set()

    return checked


@contextmanager
def remembering_infras() -> Iterator[list[SharedInfra]]:
    """All that are made within the block."""
    made: list[SharedInfra] = []
    original = SharedInfra.__init__

    @wraps(original)
    def init(self: SharedInfra, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        made.append(self)

    SharedInfra.__init__ = init
    try:
        yield made
    finally:
        SharedInfra.__init__ = original
