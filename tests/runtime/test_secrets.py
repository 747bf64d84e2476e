"""A secret that is registered, or has the shape of a known key, is in no event, no error and no result."""

from __future__ import annotations

import base64
import json
import traceback
import urllib.parse
from typing import Any, Literal

import pytest
from msgspec import Struct

from carpool import Runtime
from carpool.actions import Precondition, ToolSchema
from carpool.errors import CarpoolError, ToolError
from carpool.events import encode

from .acting import call, propose, read, write

REGISTERED = 'correct "horse" battery/staple'
KEY = "sk-ant-api03-" + "x" * 40
SHAPES = [
    KEY,
    "sk-" + "a1" * 20,
    "ghp_" + "a" * 36,
    "github_pat_" + "b" * 30,
    "AKIA" + "A1B2C3D4" * 2,
    "AIza" + "c" * 35,
    "xoxb-1234567890-abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpQIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
]
FORMS = {
    "as it is": REGISTERED,
    "base64": base64.b64encode(REGISTERED.encode()).decode(),
    "url": urllib.parse.quote(REGISTERED, safe=""),
    "json": json.dumps(REGISTERED),
    "hex": REGISTERED.encode().hex(),
}


class Held(Struct):
    password: str


def assert_kept(runtime: Runtime, secret: str, *shown: Any) -> None:
    """``secret`` is neither in the log nor in what was ``shown``."""
    everything = [
        *(encode(event).decode() for event in runtime.log.events()),
        *map(repr, runtime.log.events()),
        *(each if isinstance(each, str) else repr(each) for each in shown),
    ]
    for text in everything:
        assert secret not in text
        assert json.dumps(secret)[1:-1] not in text


async def tells(how: str, it: str) -> Any:
    if how == "text":
        return f"it is {it}, really"
    if how == "structure":
        return {it: [it, {"deep": it}]}
    if how == "struct":
        return Held(password=it)
    if how == "tuple":
        return (it,)
    if how == "bytes":
        return it.encode()
    raise {"error": OSError(it), "type error": TypeError({it: it}), "tool error": ToolError("tells", it)}[how]


@pytest.mark.parametrize("secret", [REGISTERED, *SHAPES], ids=lambda text: text[:8])
@pytest.mark.parametrize("how", ["text", "structure", "struct", "tuple", "bytes", "error", "type error", "tool error"])
async def test_what_a_tool_returns_or_raises_is_shown_without_secrets(runtime_with, secret: str, how: str) -> None:
    runtime: Runtime = runtime_with(tells, secrets=[REGISTERED])

    result = await runtime.execute(propose(call("a", "tells", parameters={"how": how, "it": secret})))

    assert "[secret]" in repr(result)
    assert_kept(runtime, secret, result)


@pytest.mark.parametrize("form", FORMS)
async def test_a_secret_is_found_in_the_forms_in_which_it_travels(runtime_with, form: str) -> None:
    async def tool() -> str:
        return f"<{FORMS[form]}>"

    runtime: Runtime = runtime_with(tool, secrets=[REGISTERED])

    result = await runtime.execute(propose(call("a", "tool")))

    assert FORMS[form].strip("=") not in repr(result)


async def test_who_called_a_tool_gets_what_it_returned(runtime_with) -> None:
    runtime: Runtime = runtime_with(tells, secrets=[REGISTERED])

    assert await runtime.call_tool("tells", how="structure", it=REGISTERED) == {
        REGISTERED: [REGISTERED, {"deep": REGISTERED}]
    }
    assert_kept(runtime, REGISTERED)


async def test_an_output_goes_on_to_the_next_action_as_it_was(runtime_with) -> None:
    seen: list[str] = []

    async def note(it: str) -> None:
        seen.append(it)

    runtime: Runtime = runtime_with(tells, note, secrets=[REGISTERED])

    result = await runtime.execute(
        propose(
            call("a", "tells", parameters={"how": "text", "it": REGISTERED}),
            call("b", parameters={"it": "$a.output"}, dependencies=["a"]),
            write("c", "k", "$a.output", dependencies=["a"]),
            read("d", "k"),
        )
    )

    assert seen == [runtime.state.get("k")] == [f"it is {REGISTERED}, really"]
    assert_kept(runtime, REGISTERED, result)


async def raises_with_a_cause(it: str) -> None:
    try:
        raise OSError(it)
    except OSError as error:
        raise RuntimeError("could not") from error


async def raises_with_a_context(it: str) -> None:
    try:
        raise OSError(it)
    except OSError:
        raise RuntimeError("could not")  # noqa: B904 - the context is what is tested


async def raises_with_a_note(it: str) -> None:
    error = RuntimeError("could not")
    error.add_note(it)
    raise error


async def raises_a_group(it: str) -> None:
    raise ExceptionGroup("several", [OSError(it), ValueError("other")])


async def raises_a_tool_error(it: str) -> None:
    raise ToolError("raises", it)


RAISING = [raises_with_a_cause, raises_with_a_context, raises_with_a_note, raises_a_group, raises_a_tool_error]


@pytest.mark.parametrize("raising", RAISING, ids=lambda each: each.__name__)
async def test_an_error_shows_no_secret_in_its_traceback_either(runtime_with, raising) -> None:
    runtime: Runtime = runtime_with(raising, secrets=[REGISTERED])

    with pytest.raises(CarpoolError) as raised:
        await runtime.call_tool(raising.__name__, it=REGISTERED)

    assert_kept(runtime, REGISTERED, raised.value, "".join(traceback.format_exception(raised.value)))


async def test_an_error_without_secrets_keeps_its_cause(runtime_with) -> None:
    runtime: Runtime = runtime_with(raises_with_a_cause, secrets=[REGISTERED])

    with pytest.raises(ToolError) as raised:
        await runtime.call_tool("raises_with_a_cause", it="nothing special")

    assert isinstance(raised.value.__cause__, RuntimeError)


SMUGGLED: dict[str, dict[str, Any]] = {
    "the name of a tool": {"tool": KEY},
    "the id of an action": {"id": KEY, "tool": "nobody"},
    "a key of the state": {"type": "state_write", "parameters": {"key": KEY, "value": 1}},
    "an argument's name": {"tool": "takes", "parameters": {"n": 1, KEY: 1}},
    "an argument": {"tool": "takes", "parameters": {"n": KEY}},
    "a choice": {"tool": "chooses", "parameters": {"n": KEY}},
    "a condition": {"tool": "takes", "preconditions": [{"key": KEY, "description": KEY}]},
    "a condition's key": {"tool": "takes", "preconditions": [{"key": KEY, "value": KEY}]},
    "an assertion": {"type": "assertion", "parameters": {"key": KEY, "value": KEY, "operator": KEY}},
    "a reference": {"tool": "takes", "parameters": {"n": f"${KEY}.output"}},
    "an effect": {"tool": "takes", "parameters": {"n": 1}, "expected_effects": {KEY: KEY}},
    "an effect that is none": {"tool": "takes", "parameters": {"n": 1}, "expected_effects": {KEY: {1}}},
}


@pytest.mark.parametrize("what", SMUGGLED)
async def test_a_secret_in_a_proposal_does_not_come_out_by_the_log_or_an_error(runtime_with, what: str) -> None:
    async def takes(n: int) -> int:
        return n

    async def chooses(n: Literal["a", "b"]) -> str:
        return n

    runtime: Runtime = runtime_with(takes, chooses, secrets=[REGISTERED])
    action = {"id": "a", "failure_behavior": "skip", **SMUGGLED[what]}
    follower = {"id": "f", "tool": "takes", "dependencies": [action["id"]]}

    result = await runtime.execute({"actions": [action, follower]})

    assert_kept(runtime, KEY, *(each.error or "" for each in result.results), *(each.output for each in result.results))


async def test_a_policy_that_names_the_value_is_quoted_without_it(runtime_with) -> None:
    runtime: Runtime = runtime_with(tells, secrets=[REGISTERED])
    runtime.policies.register("talks", lambda action, state: f"not with {action.parameters['it']}")

    with pytest.raises(CarpoolError) as denied:
        await runtime.call_tool("tells", how="text", it=REGISTERED)

    assert_kept(runtime, REGISTERED, denied.value, str(denied.value))


async def test_a_tool_that_there_is_none_of_is_named_without_secrets(runtime_with) -> None:
    runtime: Runtime = runtime_with()

    with pytest.raises(ToolError) as raised:
        await runtime.call_tool(KEY)

    assert_kept(runtime, KEY, raised.value, str(raised.value), raised.value.tool)


async def test_an_output_that_does_not_fit_its_schema_is_not_repeated(runtime_with) -> None:
    runtime: Runtime = runtime_with(secrets=[REGISTERED])
    schema = ToolSchema(name="tool", returns={"type": "object", "properties": {"n": {"type": "integer"}}})
    runtime.register_tool(schema, lambda: {"n": "unregistered-canary"})

    result = await runtime.execute(propose(call("a", "tool")))

    assert "does not fit" in (result.results[0].error or "")
    assert_kept(runtime, "unregistered-canary", result)


async def test_a_number_can_be_a_secret(runtime_with) -> None:
    async def tool() -> Any:
        return {"pin": 31415926, "other": 5}

    runtime: Runtime = runtime_with(tool, secrets=["31415926"])

    result = await runtime.execute(propose(call("a", "tool")))

    assert result.results[0].output == {"pin": "[secret]", "other": 5}


@pytest.mark.parametrize("secret", ["", "abc", None, 1234])
def test_a_secret_that_would_match_everywhere_is_refused(runtime_with, secret: Any) -> None:
    with pytest.raises(ValueError, match="at least 4"):
        runtime_with(secrets=[secret])


def test_a_condition_is_described_without_its_value() -> None:
    assert "canary" not in str(Precondition(key="k", value=1))
