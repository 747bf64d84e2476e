"""What an error of a client library means, by what it came of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("openai", reason="needs a client library")

import httpx2
from openai import APIConnectionError, AsyncOpenAI

from carpool.errors import ModelError
from carpool.runners.adapting.client_failures import client_failure
from carpool.runners.model.failures import failure_of

REQUEST = httpx2.Request("POST", "http://here/v1")
MEANINGS: list[Callable[[Exception, str], ModelError]] = [client_failure]
try:
    import pydantic_ai  # noqa: F401 # pyright: ignore[reportUnusedImport]
except ImportError:
    pass
else:
    MEANINGS.append(failure_of)
both_ways = pytest.mark.parametrize("meaning", MEANINGS)


def wrapped(cause: Exception) -> Exception:
    """As the openai package does it."""
    error = APIConnectionError(request=REQUEST)
    error.__cause__ = cause
    return error


@both_ways
@pytest.mark.parametrize("wrap", [wrapped, lambda error: error], ids=["wrapped", "plain"])
@pytest.mark.parametrize(
    "error",
    [
        httpx2.UnsupportedProtocol("no such protocol"),
        httpx2.LocalProtocolError("illegal header value"),
        httpx2.InvalidURL("no such port"),
    ],
)
def test_what_could_not_be_sent_is_refused_for_good(error: Exception, wrap: Any, meaning: Any) -> None:
    failure = meaning(wrap(error), "home:m")

    assert (failure.kind, failure.refused) == ("permanent", True)
    assert f"the request can't be sent: {type(error).__name__}: {error}" in str(failure)


@both_ways
@pytest.mark.parametrize("wrap", [wrapped, lambda error: error], ids=["wrapped", "plain"])
def test_a_connection_of_a_loop_that_has_ended_may_have_sent_it_and_is_another_next_time(
    wrap: Any, meaning: Any
) -> None:
    failure = meaning(wrap(RuntimeError("Event loop is closed")), "home:m")

    assert (failure.kind, failure.refused) == ("transient", False)
    assert "one event loop for each client" in str(failure)


@both_ways
def test_another_error_of_that_class_is_something_else(meaning: Any) -> None:
    assert meaning(RuntimeError("Event loop stopped before Future completed."), "home:m").kind == "permanent"


async def test_an_address_without_a_scheme_is_such_a_one() -> None:
    async with AsyncOpenAI(base_url="127.0.0.1:1/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(APIConnectionError) as caught:
            await client.chat.completions.create(model="m", messages=[])

    failure = client_failure(caught.value, "home:m")
    assert failure.refused
    assert "http://" in str(failure)
