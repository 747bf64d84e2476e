"""Tools take no time here: every async test runs on a virtual clock, and so do the runtimes in it."""

from collections.abc import Callable
from typing import Any

import pytest

from carpool import Runtime, SharedInfra
from carpool.testing import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def anyio_backend(clock: VirtualClock) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": clock.new_event_loop}


@pytest.fixture
def runtime_with(clock: VirtualClock) -> Callable[..., Runtime]:
    """Makes a runtime of its own team, with these tools."""

    def make(*tools: Any, **settings: Any) -> Runtime:
        return SharedInfra(clock=clock, tools=tools, **settings).make_runtime()

    return make
