"""The values that are passed around: their fields, what they refuse, and their shape as JSON."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool import budget, types
from carpool.types import (
    AgentOutcome,
    AgentOutput,
    AgentSpec,
    BudgetLimits,
    BudgetSnapshot,
    Evidence,
    EvidenceKind,
    Message,
    MessageKind,
    OutcomeMetrics,
    OutcomeStatus,
    TokenAccounting,
)

CALM = settings(deadline=None, print_blob=True)
NAN, INFINITY = float("nan"), float("inf")


def written(value: Any) -> dict[str, Any]:
    """Its JSON, read by somebody who knows nothing of carpool and refuses NaN and infinities."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(msgspec.json.encode(value), parse_constant=refuse)


# Fields

FIELDS: list[tuple[Any, dict[str, Any]]] = [
    (
        AgentSpec("coder", "You write code."),
        {
            "name": "coder",
            "system_prompt": "You write code.",
            "tools": [],
            "max_turns": 10,
            "metadata": {},
            "cache_control": False,
            "model": None,
            "timeout_s": None,
            "retries": 0,
            "estimate": None,
            "budget": None,
            "role": None,
        },
    ),
    (
        TokenAccounting(),
        {
            "input_tokens": 0,
            "output_tokens": 0,
            "cost_usd": 0.0,
            "cache_read_tokens": 0,
            "cache_write_tokens": 0,
            "priced": True,
        },
    ),
    (
        AgentOutput(name="coder"),
        {
            "name": "coder",
            "answer": "",
            "turns": 0,
            "tool_calls": 0,
            "duration_ms": 0.0,
            "error": None,
            "outcome": None,
            "tokens": None,
            "tools_used": [],
        },
    ),
    (
        OutcomeMetrics(),
        {
            "turns": 0,
            "tool_calls": 0,
            "duration_ms": 0.0,
            "retries": 0,
            "actions_succeeded": 0,
            "actions_failed": 0,
        },
    ),
    (
        BudgetLimits(),
        {
            "max_input_tokens": None,
            "max_output_tokens": None,
            "max_total_tokens": None,
            "max_cost_usd": None,
            "max_agents": None,
            "max_seconds": None,
            "max_depth": None,
            "unpriced": "refuse",
        },
    ),
    (
        BudgetSnapshot(),
        {
            "input_tokens": 0,
            "output_tokens": 0,
            "total_tokens": 0,
            "cost_usd": 0.0,
            "agents_started": 0,
            "limits": BudgetLimits(),
            "exhausted": False,
            "held": TokenAccounting(),
            "overrun": TokenAccounting(),
            "elapsed_s": 0.0,
        },
    ),
    (
        Evidence(kind=EvidenceKind.EVALUATOR, description="good"),
        {"kind": "evaluator", "description": "good", "data": None},
    ),
]


@pytest.mark.parametrize(("value", "fields"), FIELDS, ids=[type(value).__name__ for value, _ in FIELDS])
def test_fields_and_defaults_are_the_contracts(value: Any, fields: dict[str, Any]) -> None:
    there = {name: getattr(value, name) for name in fields}

    assert there == fields
    assert set(value.__struct_fields__) >= set(fields)


def test_an_outcome_has_empty_defaults_and_the_time_it_was_made() -> None:
    outcome = AgentOutcome(status=OutcomeStatus.DONE)

    assert (outcome.summary, outcome.evidence, outcome.metrics) == ("", [], OutcomeMetrics())
    assert abs(outcome.timestamp - datetime.now(UTC)) < timedelta(seconds=5)
    assert outcome.timestamp.utcoffset() == timedelta(0)


def test_a_message_has_the_time_it_was_made() -> None:
    assert abs(a_message().timestamp - datetime.now(UTC)) < timedelta(seconds=5)


def a_message(payload: Any = 1) -> Message:
    return Message(sender="coder", to="judge", kind=MessageKind.RESULT, payload=payload)


def test_names_on_the_wire_are_the_contracts() -> None:
    assert list(OutcomeStatus) == ["success", "partial_success", "give_up", "timeout", "failure", "done"]
    assert set(EvidenceKind) == {
        "self_assessment",
        "tool_result",
        "state_change",
        "external_verification",
        "stop_reason",
        "evaluator",
    }
    assert set(MessageKind) == {
        "task_assignment",
        "result",
        "feedback",
        "delegate_request",
        "delegate_response",
        "custom",
    }


VALUES: list[Any] = [
    *(value for value, _ in FIELDS),
    AgentOutcome(status=OutcomeStatus.DONE),
    a_message({"nested": [1, "two", None, True]}),
]
EVERY_VALUE = pytest.mark.parametrize("value", VALUES, ids=lambda each: type(each).__name__)


@EVERY_VALUE
def test_values_are_frozen(value: Any) -> None:
    for name in value.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(value, name, getattr(value, name))


@pytest.mark.parametrize(
    "kind",
    [TokenAccounting, AgentOutput, AgentOutcome, BudgetLimits, BudgetSnapshot, Evidence, Message, OutcomeMetrics],
)
def test_values_are_keyword_only(kind: Any) -> None:
    with pytest.raises(TypeError):
        kind("coder")


def test_a_spec_may_be_positional_in_its_first_two_fields_only() -> None:
    assert AgentSpec("coder", "prompt") == AgentSpec(name="coder", system_prompt="prompt")
    with pytest.raises(TypeError):
        AgentSpec("coder", "prompt", ["shell"])  # type: ignore[misc]


@EVERY_VALUE
def test_values_pickle(value: Any) -> None:
    assert pickle.loads(pickle.dumps(value)) == value


def test_values_share_no_default_that_can_be_changed() -> None:
    AgentSpec("coder", "").tools.append("shell")
    AgentSpec("coder", "").metadata["key"] = 1
    AgentOutput(name="coder").tools_used.append("shell")
    AgentOutcome(status=OutcomeStatus.DONE).evidence.append(Evidence(kind=EvidenceKind.EVALUATOR, description=""))

    assert (AgentSpec("coder", "").tools, AgentSpec("coder", "").metadata) == ([], {})
    assert AgentOutput(name="coder").tools_used == []
    assert AgentOutcome(status=OutcomeStatus.DONE).evidence == []


def test_the_budget_hands_limits_and_snapshots_on() -> None:
    assert budget.BudgetLimits is types.BudgetLimits
    assert budget.BudgetSnapshot is types.BudgetSnapshot


# Usage: what is refused

COUNTS = ["input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"]
NO_NUMBERS = [
    None,
    True,
    False,
    "12",
    "",
    "NaN",
    b"12",
    Decimal(12),
    Decimal("NaN"),
    Decimal("Infinity"),
    Fraction(1, 2),
    1j,
    [],
    [12],
    (12,),
    {},
    {"input": 12},
    ...,
    int,
    OutcomeStatus.DONE,
]
NO_COUNTS = [-1, -(2**63), -(2**64), -0.0, 0.0, 12.0, 12.5, NAN, INFINITY, -INFINITY, 1e308]
NO_AMOUNTS = [-1, -5e-324, -1e-300, -0.01, -(2**64), -(10**400), -1e308, NAN, INFINITY, -INFINITY]


@pytest.mark.parametrize("value", NO_COUNTS + NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", COUNTS)
def test_a_count_that_is_none_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        TokenAccounting(**{name: value})


@pytest.mark.parametrize("value", NO_AMOUNTS + NO_NUMBERS, ids=repr)
def test_a_cost_that_is_none_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ValueError, match="cost_usd"):
        TokenAccounting(cost_usd=value)


@pytest.mark.parametrize("value", [0, 1, 2**31, 2**53 + 1, 2**63, 2**64 - 1, 2**64, 2**80])
@pytest.mark.parametrize("name", COUNTS)
def test_any_count_from_nothing_on_is_taken(name: str, value: int) -> None:
    assert getattr(TokenAccounting(**{name: value}), name) == value


@pytest.mark.parametrize("value", [0, 0.0, -0.0, 1, 5e-324, 0.1, 1e9, 2**63, 1e308, 1.7976931348623157e308])
def test_any_finite_cost_from_nothing_on_is_taken(value: float) -> None:
    assert TokenAccounting(cost_usd=value).cost_usd == value


@pytest.mark.parametrize("value", [10**309, 10**400, 2**1024], ids=["10**309", "10**400", "2**1024"])
def test_a_whole_cost_that_no_float_can_hold_is_refused_or_does_no_harm(value: int) -> None:
    try:
        report = TokenAccounting(cost_usd=value)
    except ValueError:
        return

    assert (report + TokenAccounting(cost_usd=0.5)).cost_usd > 1e308
    assert msgspec.json.decode(msgspec.json.encode(report), type=TokenAccounting) == report


@pytest.mark.parametrize(
    "wire",
    [
        '{"input_tokens":-1}',
        '{"output_tokens":-9223372036854775809}',
        '{"cache_read_tokens":-1}',
        '{"cache_write_tokens":-1}',
        '{"input_tokens":1.5}',
        '{"input_tokens":"12"}',
        '{"input_tokens":true}',
        '{"input_tokens":null}',
        '{"input_tokens":[12]}',
        '{"input_tokens":NaN}',
        '{"cost_usd":-0.5}',
        '{"cost_usd":NaN}',
        '{"cost_usd":Infinity}',
        '{"cost_usd":-Infinity}',
        '{"cost_usd":1e400}',
        '{"cost_usd":"0.5"}',
        '{"cost_usd":null}',
        '{"cost_usd":true}',
        '{"priced":1}',
        "[]",
        "null",
    ],
)
def test_decoding_refuses_the_same(wire: str) -> None:
    for kind, text in ((TokenAccounting, wire), (AgentOutput, f'{{"name":"coder","tokens":{wire}}}')):
        if (kind, wire) == (AgentOutput, "null"):
            continue  # no report at all
        with pytest.raises(msgspec.MsgspecError):
            msgspec.json.decode(text, type=kind)


def test_converting_refuses_the_same() -> None:
    for hostile in ({"cost_usd": NAN}, {"cost_usd": INFINITY}, {"input_tokens": -1}, {"input_tokens": True}):
        with pytest.raises((msgspec.MsgspecError, ValueError)):
            msgspec.convert(hostile, TokenAccounting)


# Usage: sums

REPORTS = st.builds(
    TokenAccounting,
    input_tokens=st.integers(0, 2**70),
    output_tokens=st.integers(0, 2**70),
    cost_usd=st.floats(0, 1.7976931348623157e308),
    cache_read_tokens=st.integers(0, 100),
    cache_write_tokens=st.integers(0, 100),
    priced=st.booleans(),
)


@CALM
@given(one=REPORTS, other=REPORTS)
def test_reports_add_up(one: TokenAccounting, other: TokenAccounting) -> None:
    both = one + other

    assert both == other + one
    assert one + TokenAccounting() == one
    for name in COUNTS:
        assert getattr(both, name) == getattr(one, name) + getattr(other, name)
    assert both.total_tokens == one.total_tokens + other.total_tokens
    assert both.cost_usd == min(one.cost_usd + other.cost_usd, 1.7976931348623157e308)
    assert both.priced == (one.priced and other.priced)


def test_the_total_is_input_and_output_of_which_cached_tokens_are_a_part() -> None:
    assert TokenAccounting(input_tokens=10, output_tokens=5, cache_read_tokens=8).total_tokens == 15


@pytest.mark.parametrize("other", [1, None, (1, 2), {"input_tokens": 1}, BudgetLimits()])
def test_a_report_adds_to_nothing_but_a_report(other: Any) -> None:
    with pytest.raises((TypeError, AttributeError)):
        TokenAccounting() + other


# Limits

COUNT_LIMITS = ["max_input_tokens", "max_output_tokens", "max_total_tokens", "max_agents", "max_depth"]
NUMBER_LIMITS = ["max_cost_usd", "max_seconds"]


@pytest.mark.parametrize("value", NO_COUNTS + NO_NUMBERS[1:], ids=repr)
@pytest.mark.parametrize("name", COUNT_LIMITS)
def test_a_limit_that_is_no_count_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        BudgetLimits(**{name: value})


@pytest.mark.parametrize("value", NO_AMOUNTS + NO_NUMBERS[1:], ids=repr)
@pytest.mark.parametrize("name", NUMBER_LIMITS)
def test_a_limit_that_is_no_amount_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        BudgetLimits(**{name: value})


@pytest.mark.parametrize("name", NUMBER_LIMITS)
def test_a_limit_that_no_float_can_hold_is_refused_or_does_no_harm(name: str) -> None:
    try:
        limits = BudgetLimits(**{name: 10**400})
    except ValueError:
        return

    purse = budget.CoordinationBudget(limits)
    assert purse.try_begin_agent().state == "held"
    assert getattr(purse.remaining(), name) > 0
    assert msgspec.json.decode(msgspec.json.encode(limits), type=BudgetLimits) == limits


@pytest.mark.parametrize("value", ["", "Refuse", "deny", None, True, 0, [], {}])
def test_an_unknown_way_to_treat_unknown_prices_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="unpriced"):
        BudgetLimits(unpriced=value)


@pytest.mark.parametrize("name", COUNT_LIMITS + NUMBER_LIMITS)
def test_zero_is_a_limit(name: str) -> None:
    limits = BudgetLimits(**{name: 0})

    assert getattr(limits, name) == 0
    assert not limits.is_unbounded


def test_no_limit_is_unbounded_whatever_unknown_prices_do() -> None:
    assert BudgetLimits().is_unbounded
    assert BudgetLimits(unpriced="allow").is_unbounded


def test_the_repr_shows_only_what_is_set() -> None:
    assert repr(BudgetLimits()) == "BudgetLimits()"
    assert repr(BudgetLimits(max_agents=20, max_cost_usd=2.5)) == "BudgetLimits(max_cost_usd=2.5, max_agents=20)"
    assert repr(BudgetLimits(max_agents=0)) == "BudgetLimits(max_agents=0)"


@pytest.mark.parametrize(
    "wire",
    [
        '{"max_agents":-1}',
        '{"max_agents":1.5}',
        '{"max_agents":true}',
        '{"max_cost_usd":NaN}',
        '{"max_cost_usd":1e400}',
        '{"max_seconds":-1}',
        '{"max_seconds":"10m"}',
        '{"unpriced":"maybe"}',
        '{"unpriced":null}',
    ],
)
def test_decoding_refuses_the_same_limits(wire: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        msgspec.json.decode(wire, type=BudgetLimits)


# Specs


@pytest.mark.parametrize("name", ["", " ", "\n\t", None, 7])
def test_a_spec_needs_a_name(name: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        AgentSpec(name, "prompt")


@pytest.mark.parametrize("retries", [-1, 1.0, True, "2", None])
def test_retries_are_a_count(retries: Any) -> None:
    with pytest.raises(ValueError, match="retries"):
        AgentSpec("coder", "", retries=retries)


@pytest.mark.parametrize("timeout_s", [0, -1, NAN, INFINITY, -INFINITY])
def test_a_timeout_is_above_zero_and_finite(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        AgentSpec("coder", "", timeout_s=timeout_s)


# Outputs and outcomes


@pytest.mark.parametrize(
    ("output", "succeeded"),
    [
        (AgentOutput(name="coder", answer="done"), True),
        (AgentOutput(name="coder", answer="0"), True),
        (AgentOutput(name="coder"), False),
        (AgentOutput(name="coder", answer="done", error="late"), False),
        (AgentOutput(name="coder", answer="done", error=""), False),
        (AgentOutput(name="coder", error="late"), False),
        (AgentOutput(name="coder", answer="done", outcome=AgentOutcome.failure("by its own word")), True),
    ],
)
def test_an_output_succeeded_without_error_and_with_an_answer(output: AgentOutput, succeeded: bool) -> None:
    assert output.succeeded is succeeded


def test_outcomes_are_made_by_name() -> None:
    success, failure = AgentOutcome.success("all good"), AgentOutcome.failure("no good")
    timeout, gave_up = AgentOutcome.timeout("half done", 7, 10), AgentOutcome.give_up("too hard")

    assert (success.status, success.summary) == (OutcomeStatus.SUCCESS, "all good")
    assert (failure.status, failure.summary) == (OutcomeStatus.FAILURE, "no good")
    assert (timeout.status, timeout.summary) == (OutcomeStatus.TIMEOUT, "half done")
    assert (gave_up.status, gave_up.summary) == (OutcomeStatus.GIVE_UP, "too hard")
    assert timeout.metrics.turns == 7
    assert re.search("7.*10", timeout.evidence[0].description)
    assert [each.kind for each in (*timeout.evidence, *gave_up.evidence)] == [EvidenceKind.STOP_REASON] * 2


# The wire

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
COUNT = st.integers(0, 2**63)
SECONDS = st.floats(0, 1e9)
TIMES = st.datetimes(timezones=st.just(UTC))
TEXT = st.text(max_size=12)
WIRE_REPORTS = st.builds(
    TokenAccounting,
    input_tokens=COUNT,
    output_tokens=COUNT,
    cost_usd=SECONDS,
    cache_read_tokens=COUNT,
    cache_write_tokens=COUNT,
    priced=st.booleans(),
)
WIRE_LIMITS = st.builds(
    BudgetLimits,
    max_input_tokens=st.none() | COUNT,
    max_cost_usd=st.none() | SECONDS,
    max_agents=st.none() | COUNT,
    max_seconds=st.none() | SECONDS,
    unpriced=st.sampled_from(["refuse", "allow"]),
)
EVIDENCE = st.builds(Evidence, kind=st.sampled_from(EvidenceKind), description=TEXT, data=JSON)
METRICS = st.builds(OutcomeMetrics, turns=COUNT, tool_calls=COUNT, duration_ms=SECONDS, retries=COUNT)
OUTCOMES = st.builds(
    AgentOutcome,
    status=st.sampled_from(OutcomeStatus),
    summary=TEXT,
    evidence=st.lists(EVIDENCE, max_size=2),
    metrics=METRICS,
    timestamp=TIMES,
)
OUTPUTS = st.builds(
    AgentOutput,
    name=TEXT,
    answer=TEXT,
    turns=COUNT,
    tool_calls=COUNT,
    duration_ms=SECONDS,
    error=st.none() | TEXT,
    outcome=st.none() | OUTCOMES,
    tokens=st.none() | WIRE_REPORTS,
    tools_used=st.lists(TEXT, max_size=3),
)
SPECS = st.builds(
    AgentSpec,
    TEXT.filter(str.strip),
    TEXT,
    tools=st.lists(TEXT, max_size=3),
    max_turns=st.integers(0, 100),
    metadata=st.dictionaries(TEXT, JSON, max_size=2),
    cache_control=st.booleans(),
    model=st.none() | TEXT,
    timeout_s=st.none() | st.floats(0.001, 1e6),
    retries=st.integers(0, 5),
    estimate=st.none() | WIRE_REPORTS,
    budget=st.none() | WIRE_LIMITS,
    role=st.none() | TEXT,
)
MESSAGES = st.builds(Message, sender=TEXT, to=TEXT, kind=st.sampled_from(MessageKind), payload=JSON, timestamp=TIMES)
SNAPSHOTS = st.builds(
    BudgetSnapshot,
    input_tokens=COUNT,
    total_tokens=COUNT,
    cost_usd=SECONDS,
    limits=WIRE_LIMITS,
    exhausted=st.booleans(),
    held=WIRE_REPORTS,
    overrun=WIRE_REPORTS,
    elapsed_s=SECONDS,
)


@settings(CALM, max_examples=100)
@given(value=st.one_of(WIRE_REPORTS, WIRE_LIMITS, EVIDENCE, METRICS, OUTCOMES, OUTPUTS, SPECS, MESSAGES, SNAPSHOTS))
def test_every_value_comes_back_from_json_as_it_was(value: Any) -> None:
    wire = msgspec.json.encode(value)

    assert msgspec.json.decode(wire, type=type(value)) == value
    assert msgspec.json.encode(msgspec.json.decode(wire, type=type(value))) == wire


@EVERY_VALUE
def test_unknown_keys_are_ignored(value: Any) -> None:
    wire = written(value) | {"added_in_a_later_version": {"nested": [1]}, "ID": 7}

    assert msgspec.json.decode(json.dumps(wire), type=type(value)) == value


@EVERY_VALUE
def test_keys_are_snake_case(value: Any) -> None:
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", key) for key in written(value))


def test_the_sender_of_a_message_is_from_on_the_wire() -> None:
    wire = written(a_message())

    assert wire["from"] == "coder"
    assert "sender" not in wire
    assert set(wire) == {"from", "to", "kind", "payload", "timestamp"}


def test_a_message_without_a_time_is_read() -> None:
    text = '{"from":"a","to":"b","kind":"delegate_request","payload":{"task":"x"}}'

    message = msgspec.json.decode(text, type=Message)

    assert (message.sender, message.to, message.kind) == ("a", "b", MessageKind.DELEGATE_REQUEST)


def test_only_the_status_of_an_outcome_is_required() -> None:
    outcome = msgspec.json.decode('{"status":"partial_success"}', type=AgentOutcome)

    assert (outcome.status, outcome.summary, outcome.evidence) == (OutcomeStatus.PARTIAL_SUCCESS, "", [])
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode("{}", type=AgentOutcome)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode('{"status":"victory"}', type=AgentOutcome)


def test_only_the_name_of_an_output_is_required() -> None:
    assert msgspec.json.decode('{"name":"coder"}', type=AgentOutput) == AgentOutput(name="coder")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("estimate", "1k tokens", "agent 'a': estimate is a TokenAccounting, not '1k tokens'"),
        ("budget", "1k tokens", "agent 'a': budget is BudgetLimits(…), not '1k tokens'; a text is read by"),
        ("tools", "search", "agent 'a': tools is a list of names, not 'search'"),
    ],
)
def test_a_spec_says_what_of_it_is_of_another_kind(field: str, value: Any, told: str) -> None:
    with pytest.raises(TypeError) as raised:
        AgentSpec("a", "", **{field: value})

    assert str(raised.value).startswith(told)


def test_only_name_and_prompt_of_a_spec_are_required() -> None:
    assert msgspec.json.decode('{"name":"coder","system_prompt":""}', type=AgentSpec) == AgentSpec("coder", "")


def test_what_another_runtime_writes_is_read() -> None:
    text = """{
        "name": "researcher", "answer": "42", "turns": 3, "tool_calls": 5, "duration_ms": 1234,
        "error": null, "tokens": {"input_tokens": 1000, "output_tokens": 200, "cost_usd": 0},
        "outcome": {
            "status": "success", "summary": "found", "timestamp": "2025-03-01T12:00:00.123456789Z",
            "metrics": {"turns": 3, "tool_calls": 5, "duration_ms": 1234.5, "retries": 0},
            "evidence": [{"kind": "self_assessment", "description": "sure", "data": {"score": 0.9}}]
        },
        "trace_id": "unknown here"
    }"""

    output = msgspec.json.decode(text, type=AgentOutput)

    assert output.succeeded
    assert output.tokens == TokenAccounting(input_tokens=1000, output_tokens=200)
    assert output.outcome is not None
    assert output.outcome.timestamp.replace(microsecond=0) == datetime(2025, 3, 1, 12, tzinfo=UTC)
    assert output.outcome.evidence[0].data == {"score": 0.9}


@pytest.mark.parametrize("offset", ["Z", "+00:00", "+02:00", "-05:30"])
def test_times_with_any_offset_are_read(offset: str) -> None:
    text = f'{{"status":"done","timestamp":"2025-03-01T12:00:00{offset}"}}'

    assert msgspec.json.decode(text, type=AgentOutcome).timestamp == datetime.fromisoformat(
        f"2025-03-01T12:00:00{offset.replace('Z', '+00:00')}"
    )


def test_times_are_written_as_utc() -> None:
    for value in (AgentOutcome(status=OutcomeStatus.DONE), a_message()):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", written(value)["timestamp"])


@pytest.mark.parametrize("zone", [timezone(timedelta(hours=2)), None])
def test_a_time_that_is_not_utc_is_refused_or_written_as_utc(zone: timezone | None) -> None:
    try:
        outcome = AgentOutcome(status=OutcomeStatus.DONE, timestamp=datetime(2025, 3, 1, 12, tzinfo=zone))
    except ValueError:
        return

    assert written(outcome)["timestamp"].endswith("Z")


WITH_A_NUMBER: dict[str, Callable[[float], Any]] = {
    "output": lambda number: AgentOutput(name="coder", duration_ms=number),
    "metrics": lambda number: OutcomeMetrics(duration_ms=number),
    "elapsed": lambda number: BudgetSnapshot(elapsed_s=number),
    "spent": lambda number: BudgetSnapshot(cost_usd=number),
    "evidence": lambda number: Evidence(kind=EvidenceKind.EVALUATOR, description="", data={"score": number}),
    "payload": lambda number: a_message([number]),
    "metadata": lambda number: AgentSpec("coder", "", metadata={"weight": number}),
}


@pytest.mark.parametrize("number", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize("what", list(WITH_A_NUMBER))
def test_no_nan_and_no_infinity_is_written_and_what_is_written_can_be_read(what: str, number: float) -> None:
    try:
        value = WITH_A_NUMBER[what](number)
    except ValueError:
        return

    written(value)
    msgspec.json.decode(msgspec.json.encode(value), type=type(value))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_no_nan_and_no_infinity_is_read(text: str) -> None:
    for kind, wire in (
        (AgentOutput, f'{{"name":"coder","duration_ms":{text}}}'),
        (OutcomeMetrics, f'{{"duration_ms":{text}}}'),
        (Message, f'{{"from":"a","to":"b","kind":"custom","payload":{text}}}'),
        (BudgetLimits, f'{{"max_seconds":{text}}}'),
    ):
        with pytest.raises(msgspec.MsgspecError):
            msgspec.json.decode(wire, type=kind)


@pytest.mark.parametrize(
    "wire",
    [
        '{"name":"","system_prompt":""}',
        '{"name":"coder","system_prompt":"","retries":-1}',
        '{"name":"coder","system_prompt":"","timeout_s":0}',
        '{"name":"coder","system_prompt":"","estimate":{"input_tokens":-1}}',
        '{"name":"coder","system_prompt":"","budget":{"max_agents":-1}}',
        '{"name":"coder"}',
    ],
)
def test_decoding_a_spec_refuses_what_making_it_refuses(wire: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        msgspec.json.decode(wire, type=AgentSpec)
