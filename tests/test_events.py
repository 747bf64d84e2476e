"""Every kind of event survives the wire, and so does one that nobody here knows."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool import events
from carpool.events import Event, UnknownEvent, decode, encode
from carpool.types import BudgetLimits, BudgetSnapshot, TokenAccounting

AGENTS = """run_started agent_started agent_finished agent_failed agent_skipped agent_cancelled agent_replayed
    agent_retrying budget_warning budget_exhausted run_finished"""
ACTIONS = """proposal_received action_validated action_rejected action_executing action_succeeded action_failed
    action_skipped action_retrying action_deduplicated policy_violation state_changed state_snapshot state_rollback"""
ABSTRACT = {"Event", "AgentEvent", "ActionEvent", "UnknownEvent"}
CLASSES: dict[str, type[Event]] = {
    name: found
    for name in events.__all__
    if isinstance(found := getattr(events, name), type) and issubclass(found, Event) and name not in ABSTRACT
}
MOMENT = datetime(2025, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
FILLED: dict[Any, Any] = {
    str: 'a "quoted"\nline, é, 😀, \u2028',
    int: 7,
    float: 1.5,
    bool: True,
    datetime: MOMENT,
    TokenAccounting: TokenAccounting(input_tokens=1, output_tokens=2, cost_usd=0.25, priced=False),
    BudgetSnapshot: BudgetSnapshot(input_tokens=3, total_tokens=3, limits=BudgetLimits(max_cost_usd=1.0)),
}


def full(kind: type[Event]) -> Event:
    """One whose every field is away from its default."""
    values = {}
    for field in msgspec.structs.fields(kind):
        choices = getattr(field.type, "__args__", (field.type,))
        values[field.name] = next(FILLED[choice] for choice in choices if choice in FILLED)
    return kind(**values)


@pytest.mark.parametrize("kind", (AGENTS + " " + ACTIONS).split())
def test_every_kind_of_the_contract_has_a_class(kind: str) -> None:
    assert kind in {found.kind for found in CLASSES.values()}


@pytest.mark.parametrize("name", CLASSES)
def test_the_kind_of_a_class_is_its_tag_on_the_wire(name: str) -> None:
    event = CLASSES[name]()

    assert json.loads(encode(event)) == {"kind": event.kind}
    assert event.kind == CLASSES[name].kind != ""


def test_no_two_classes_have_one_kind() -> None:
    kinds = [found.kind for found in CLASSES.values()]

    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("name", CLASSES)
def test_an_event_survives_the_wire(name: str) -> None:
    for event in (CLASSES[name](), full(CLASSES[name])):
        again = decode(encode(event))

        assert again == event
        assert type(again) is CLASSES[name]


@pytest.mark.parametrize("name", CLASSES)
def test_an_event_is_one_line_and_the_same_from_text_as_from_bytes(name: str) -> None:
    line = encode(full(CLASSES[name]))

    assert b"\n" not in line
    assert decode(line.decode()) == decode(line)


@pytest.mark.parametrize("name", CLASSES)
def test_unknown_fields_of_a_known_kind_are_ignored(name: str) -> None:
    event = full(CLASSES[name])
    fields = json.loads(encode(event)) | {"added_in_the_future": {"a": [1]}}

    assert decode(json.dumps(fields)) == event


@pytest.mark.parametrize("name", CLASSES)
def test_every_event_says_which_run_it_is_of_and_is_frozen(name: str) -> None:
    event = full(CLASSES[name])

    assert (event.run, event.seq, event.timestamp) == (FILLED[str], 7, MOMENT)
    with pytest.raises(AttributeError):
        event.seq = 8  # type: ignore[misc]


@pytest.mark.parametrize("name", [name for name in CLASSES if name.startswith(("Agent", "Action"))])
def test_every_agent_event_says_run_agent_parent_and_path(name: str) -> None:
    wire = json.loads(encode(full(CLASSES[name])))

    assert {"run", "agent", "parent", "path"} <= wire.keys()


def test_times_are_written_in_rfc_3339_and_utc() -> None:
    wire = json.loads(encode(events.RunStarted(timestamp=MOMENT)))

    assert wire["timestamp"] == "2025-01-02T03:04:05.678901Z"


UNKNOWN = [
    '{"kind":"x"}',
    '{"kind":""}',
    '{"kind":"unknown"}',
    '{"kind":"agent_event"}',
    '{"kind":"x","seq":7}',
    '{"seq":7,"kind":"x","run":"r","timestamp":"2025-01-02T03:04:05.678901Z"}',
    '{"kind":"x","timestamp":"2025-01-02T03:04:05.123456789Z"}',
    '{"kind":"x","timestamp":"2025-01-02T05:04:05+02:00"}',
    '{"kind":"x","timestamp":null}',
    '{"kind":"x","z":1,"a":[1.0,1,true,null,"\\u00e9"],"m":{"b":{},"a":[]}}',
    '{"kind":"x","unknown_kind":"y","data":{"a":1},"agent":"b"}',
    '{"kind":"x","large":1180591620717411303424}',
]


@pytest.mark.parametrize("line", UNKNOWN)
def test_an_event_of_an_unknown_kind_comes_out_as_it_went_in(line: str) -> None:
    event = decode(line)

    assert isinstance(event, UnknownEvent)
    assert event.kind == json.loads(line)["kind"]
    assert json.loads(encode(event)) == json.loads(line)
    assert list(json.loads(encode(event))) == list(json.loads(line)), "the order of fields too"
    assert decode(encode(event)) == event


@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(
        st.text(max_size=8).filter(lambda name: name not in ("kind", "run", "seq", "timestamp")),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
            max_leaves=5,
        ),
    )
)
def test_the_fields_of_an_unknown_kind_come_out_as_they_went_in(fields: dict[str, Any]) -> None:
    fields = {"kind": "of_the_future", "run": "r", "seq": 3} | fields

    assert json.loads(encode(decode(json.dumps(fields)))) == fields


def test_what_is_known_of_an_unknown_kind_can_be_asked() -> None:
    event = decode('{"kind":"x","run":"r","seq":4,"timestamp":"2025-01-02T03:04:05.678901Z","more":1}')

    assert (event.run, event.seq, event.timestamp) == ("r", 4, MOMENT)


NO_EVENT = {
    "nothing": "",
    "no json": "{",
    "null": "null",
    "a list": "[]",
    "a number": "1",
    "no kind": "{}",
    "a null kind": '{"kind":null}',
    "a kind that is a number": '{"kind":1}',
    "two values": '{"kind":"x"}{"kind":"x"}',
    "a seq that is text": '{"kind":"run_started","seq":"1"}',
    "a seq that is a float": '{"kind":"run_started","seq":1.5}',
    "a run that is null": '{"kind":"run_started","run":null}',
    "a time that is none": '{"kind":"run_started","timestamp":"yesterday"}',
    "an unknown kind with a seq that is text": '{"kind":"x","seq":"1"}',
    "negative tokens": '{"kind":"agent_finished","tokens":{"input_tokens":-1}}',
    "nan": '{"kind":"x","a":NaN}',
    "an infinity": '{"kind":"x","a":1e999}',
    "half a character": '{"kind":"x","a":"\\ud800"}',
}


@pytest.mark.parametrize("what", NO_EVENT)
def test_what_is_no_event_is_refused(what: str) -> None:
    with pytest.raises(ValueError, match=re.compile("")):
        decode(NO_EVENT[what])


@pytest.mark.parametrize("line", [b'{"kind":"x","a":"\xff"}', b"\xff", b"\x00" * 50, b'{"kind":"x"'])
def test_bytes_that_are_no_event_are_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=re.compile("")):
        decode(line)


@pytest.mark.parametrize("line", ["[" * 100_000, '{"kind":"x","a":' + "[" * 100_000 + "]" * 100_000 + "}"])
def test_what_is_nested_beyond_reading_is_refused_like_anything_else(line: str) -> None:
    with pytest.raises(ValueError, match=re.compile("")):
        decode(line)


def test_a_text_that_utf8_can_not_encode_does_not_stop_the_log_from_being_written() -> None:
    # The text of an error about a file whose name is no UTF-8 has such a character, on Linux every day.
    event = events.AgentFailed(agent="reader", error="FileNotFoundError: caf\udce9.txt")

    again = decode(encode(event))

    assert isinstance(again, events.AgentFailed)
    assert again.agent == "reader"
    assert again.error.startswith("FileNotFoundError: caf")
