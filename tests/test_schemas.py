"""JSON Schema both ways: what an agent passes, and what a tool gives back."""

from __future__ import annotations

import builtins
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from carpool import SharedInfra
from carpool.actions import Action, ActionProposal, ToolSchema
from carpool.errors import ConfigError, ToolError
from carpool.events import encode
from carpool.schemas import checker
from carpool.tools import SchemaTool, as_tool

SECRET = "hunter2-canary"
ADDRESS = {"type": "object", "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}}, "required": ["zip"]}
NESTED = {
    "type": "object",
    "properties": {
        "to": {"$ref": "#/$defs/address"},
        "copies": {"type": "array", "items": {"$ref": "#/$defs/address"}, "maxItems": 2},
        "count": {"type": "integer", "minimum": 1},
        "kind": {"enum": ["letter", "parcel"]},
    },
    "required": ["to"],
    "additionalProperties": False,
    "$defs": {"address": ADDRESS},
}


def runtime_with(parameters: dict[str, Any], returns: Any = None, gives: Any = "sent") -> Any:
    runtime = SharedInfra().make_runtime()
    runtime.register_tool(ToolSchema(name="send", parameters=parameters, returns=returns), lambda **_: gives)
    return runtime


async def execute(runtime: Any, **parameters: Any) -> Any:
    result = await runtime.execute(ActionProposal(actions=[Action(id="a", tool="send", parameters=parameters)]))
    return result.results[0]


# Arguments


async def test_arguments_that_fit_go_through() -> None:
    runtime = runtime_with(NESTED)

    assert await runtime.call_tool("send", to={"zip": "12345"}, copies=[{"zip": "00000"}], count=3) == "sent"
    assert (await execute(runtime, to={"zip": "12345"}, kind="letter")).status == "succeeded"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, r'\$: "to" is a required property'),
    "no structure": ({"to": SECRET}, r'\$\.to: the value is not of type "object"'),
    "behind a reference": ({"to": {"zip": SECRET}}, r"\$\.to\.zip: the value does not match"),
    "in a list": ({"to": {"zip": "12345"}, "copies": [{"zip": "12345"}, {}]}, r'\$\.copies\[1\]: "zip" is a required'),
    "too many": ({"to": {"zip": "12345"}, "copies": [{"zip": "12345"}] * 3}, r"\$\.copies: .*more than 2 items"),
    "too little": ({"to": {"zip": "12345"}, "count": 0}, r"\$\.count: .*less than the minimum of 1"),
    "no choice": ({"to": {"zip": "12345"}, "kind": SECRET}, r'\$\.kind: .*"letter" or "parcel"'),
    "one too many": ({"to": {"zip": "12345"}, "other": SECRET}, r"'other' was unexpected"),
    "not json": ({"to": {"zip": object()}}, r"not JSON"),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("how", ["call_tool", "execute"])
async def test_arguments_that_do_not_fit_are_rejected_with_the_place_and_without_the_value(what: str, how: str) -> None:
    arguments, place = WRONG[what]
    runtime = runtime_with(NESTED)

    if how == "call_tool":
        with pytest.raises(ToolError, match=place) as error:
            await runtime.call_tool("send", **arguments)
        text = str(error.value)
    else:
        text = (await execute(runtime, **arguments)).error

    assert re.search(place, text)
    assert SECRET not in text
    assert [event.kind for event in runtime.log.events()][-1] == "action_rejected"
    assert SECRET.encode() not in b"".join(map(encode, runtime.log.events()))


KEYWORDS: list[tuple[dict[str, Any], Any]] = [
    ({"type": "integer"}, SECRET),
    ({"enum": ["a", "b"]}, SECRET),
    ({"const": "a"}, SECRET),
    ({"pattern": "^x"}, SECRET),
    ({"maxLength": 2}, SECRET),
    ({"minLength": 99}, SECRET),
    ({"not": {"type": "string"}}, SECRET),
    ({"anyOf": [{"type": "integer"}, {"maxLength": 1}]}, SECRET),
    ({"oneOf": [{"type": "string"}, {"minLength": 1}]}, SECRET),
    ({"allOf": [{"type": "integer"}]}, SECRET),
    ({"items": {"type": "integer"}}, [SECRET]),
    ({"uniqueItems": True}, [SECRET, SECRET]),
    ({"contains": {"type": "integer"}}, [SECRET]),
    ({"prefixItems": [{}], "items": False}, [SECRET, SECRET]),
    ({"unevaluatedItems": False}, [SECRET]),
    ({"additionalProperties": {"type": "integer"}}, {"k": SECRET}),
    ({"properties": {"k": False}}, {"k": SECRET}),
    ({"if": {"type": "string"}, "then": {"maxLength": 1}}, SECRET),
    ({"multipleOf": 7}, 31415926),
    ({"maximum": 7}, 31415926),
    ({"contentEncoding": "base64", "$schema": "http://json-schema.org/draft-07/schema#"}, f"{SECRET}!"),
]


@pytest.mark.parametrize(("schema", "value"), KEYWORDS, ids=lambda each: str(each)[:20])
def test_no_keyword_repeats_the_value(schema: dict[str, Any], value: Any) -> None:
    told = checker(schema, "it")(value)

    assert told
    assert SECRET not in told
    assert "31415926" not in told


def test_of_many_problems_the_first_few_are_told() -> None:
    told = checker({"items": {"type": "integer"}}, "it")(["x"] * 2_000)

    assert told is not None
    assert told.count(";") == 4


# Outputs


@pytest.mark.parametrize(
    ("output", "fits"),
    [({"n": 1}, True), ({"n": "1"}, False), ({}, False), (None, False), ("text", False), ({1}, False), ({1: 2}, False)],
    ids=repr,
)
async def test_an_output_is_checked_where_the_schema_says_what_it_is(output: Any, fits: bool) -> None:
    returns = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    runtime = runtime_with({}, returns, output)

    result = await execute(runtime)

    assert result.status == ("succeeded" if fits else "failed")
    if not fits:
        assert "the output does not fit the schema: $" in result.error
        with pytest.raises(ToolError, match="output does not fit"):
            await runtime.call_tool("send")


async def test_an_output_that_does_not_fit_has_no_effects_on_the_state() -> None:
    runtime = runtime_with({}, {"type": "integer"}, "text")
    action = Action(tool="send", expected_effects={"k": 1}, failure_behavior="skip")  # type: ignore[arg-type]

    await runtime.execute(ActionProposal(actions=[action, Action(tool="send", failure_behavior="skip")]))  # type: ignore[arg-type]

    assert runtime.state.snapshot() == {}


# Schemas


INVALID: dict[str, tuple[Any, str]] = {
    "an unknown type": ({"type": "strnig"}, r'\$\.type: "strnig"'),
    "deep inside": ({"properties": {"a": {"minimum": "1"}}}, r'\$\.properties\.a\.minimum: "1" is not of type'),
    "a pattern that is none": ({"properties": {"a": {"pattern": "("}}}, r"\$\.properties\.a\.pattern"),
    "a list": ([1], r"not a valid JSON Schema"),
    "text": ("object", r"not a valid JSON Schema"),
    "not json": ({"type": object()}, r"not a valid JSON Schema"),
    "a reference to nowhere": ({"$ref": "#/$defs/nope"}, r"'/\$defs/nope' does not exist"),
    "an unknown dialect": ({"$schema": "urn:x", "type": "object"}, r"Unknown meta-schema"),
    "required that is no list": ({"required": "a"}, r"\$\.required"),
}


@pytest.mark.parametrize("what", INVALID)
@pytest.mark.parametrize("where", ["parameters", "returns"])
def test_an_invalid_schema_is_refused_when_the_tool_is_registered(what: str, where: str) -> None:
    schema, place = INVALID[what]
    runtime = SharedInfra().make_runtime()

    with pytest.raises(ConfigError, match=rf"tool 'send': not a valid JSON Schema.*{place}|tool 'send': {place}"):
        runtime.register_tool(ToolSchema(name="send", **{where: schema}), lambda **_: None)

    assert runtime.tools == {}


@contextmanager
def counting_server() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"type": "integer"}')

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def test_a_reference_to_elsewhere_is_refused_and_never_fetched(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('{"type": "integer"}')
    with counting_server() as (url, asked):
        for reference in (f"{url}/a.json", f"{url}/a.json#/x", (tmp_path / "schema.json").as_uri()):
            for schema in (
                {"$ref": reference},
                {"properties": {"a": {"items": {"$ref": reference}}}},
                {"$dynamicRef": reference},
                {"$schema": reference, "type": "integer"},
            ):
                with pytest.raises(ConfigError, match="not a valid JSON Schema"):
                    checker(schema, "it")
        assert asked == []


def test_a_reference_to_elsewhere_is_told_how_it_could_be() -> None:
    with pytest.raises(ConfigError, match=r"nothing is fetched"):
        checker({"properties": {"a": {"$ref": "https://example.org/a.json"}}}, "it")


def test_a_schema_may_refer_to_itself() -> None:
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}, "required": ["n"]}
    check = checker(tree, "it")

    assert check({"n": 1, "children": [{"n": 2, "children": []}]}) is None
    assert (
        check({"n": 1, "children": [{"n": 1, "children": [{}]}]})
        == '$.children[0].children[0]: "n" is a required property'
    )


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(?=a)(a|aa)+\\1$"])
def test_an_expression_that_backtracks_comes_to_an_end(pattern: str) -> None:
    assert checker({"pattern": pattern}, "it")("a" * 5_000 + "!")


def test_a_schema_that_is_changed_after_registration_changes_nothing() -> None:
    schema: dict[str, Any] = {"type": "object", "required": ["a"]}
    tool = as_tool(ToolSchema(name="t", parameters=schema), lambda **_: None)
    schema["required"].clear()

    with pytest.raises(ValueError, match="required"):
        tool.prepare({})


# The extra


@pytest.fixture
def without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "jsonschema_rs":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return original(name, *arguments, **named)

    monkeypatch.delitem(sys.modules, "jsonschema_rs", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)


@pytest.mark.usefixtures("without_the_extra")
def test_without_the_extra_a_schema_is_refused_and_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"tool 't' has a JSON Schema to check: pip install 'carpool\[schema\]'"):
        SchemaTool(ToolSchema(name="t", parameters={"required": ["a"]}), lambda **_: None)
    with pytest.raises(ConfigError, match=r"pip install 'carpool\[schema\]'"):
        as_tool(ToolSchema(name="t", returns={"type": "integer"}), lambda **_: None)


@pytest.mark.usefixtures("without_the_extra")
async def test_without_the_extra_functions_and_schemas_that_ask_nothing_work() -> None:
    def add(a: int, b: int = 1) -> int:
        return a + b

    runtime = SharedInfra(tools=[add]).make_runtime()
    runtime.register_tool(ToolSchema(name="any", parameters={"type": "object"}), lambda **arguments: arguments)

    assert await runtime.call_tool("add", a=1) == 2
    assert await runtime.call_tool("any", x=1) == {"x": 1}
    with pytest.raises(ToolError, match="fit"):
        await runtime.call_tool("add", a="1")
