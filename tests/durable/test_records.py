"""What is written down: JSON whatever it is, in a chain that shows every change, without secrets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from carpool import AgentOutcome, AgentOutput, BudgetLimits, Evidence, EvidenceKind, TokenAccounting
from carpool.clock import utc_now
from carpool.durable.records import (
    ENTRY,
    EVENT,
    Approved,
    Closed,
    Ended,
    Entry,
    Opened,
    Owner,
    Row,
    RunHeader,
    SpecUsed,
    Started,
    chained,
    decode_entry,
    encode_json,
    verified,
)
from carpool.durable.redaction import without_secrets
from carpool.durable.telling import Teller
from carpool.errors import JournalCorrupt
from carpool.events import AgentRetrying, RunStarted, encode
from carpool.recall import Ask, Change
from carpool.secrets import Redactor

from ..scenes import spec, tokens

NOW = utc_now()
SECRET = "hunter2-hunter2"
OWNER = Owner(pid=1, began="2", boot="b", space="s", host="h", journal="j")


def output(**fields: Any) -> AgentOutput:
    return AgentOutput(name="a", answer=f"the key is {SECRET}", tokens=tokens(7), **fields)


ENTRIES: list[Entry] = [
    Opened(at=NOW, epoch=1, owner=OWNER, limits=BudgetLimits(max_agents=3)),
    SpecUsed(at=NOW, digest="d" * 64, spec=spec("a", metadata={"key": [SECRET]}, estimate=tokens(3))),
    Started(at=NOW, key="k-1", epoch=1, roles="r/a", path="r/a", agent="a", spec="d" * 64, task=f"use {SECRET}"),
    Ended(
        at=NOW,
        key="k-1",
        status="completed",
        output=output(
            outcome=AgentOutcome(
                status="done",
                evidence=[Evidence(kind=EvidenceKind.TOOL_RESULT, description=SECRET, data={SECRET: [SECRET, 12345]})],
            )
        ),
        changes=[Change(key=SECRET, value={"a": SECRET}, version=3)],
        asks=[Ask(tool="delegate", arguments={"task": SECRET})],
        origin="o",
        purse="p",
    ),
    Approved(at=NOW, request="q"),
    Closed(at=NOW, epoch=1, stop_reason="failed", error="OSError"),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    assert msgspec.to_builtins(decode_entry("here", encode_json(entry))) == msgspec.to_builtins(entry)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"kind":"other"}', b"null", b"[" * 100_000, b"\xff", b'{"kind":"ended"}']
)
def test_what_is_no_entry_is_damage(body: bytes) -> None:
    with pytest.raises(JournalCorrupt, match="here: not an entry"):
        decode_entry("here", body)


def odd_values() -> dict[str, Any]:
    itself: list[Any] = []
    itself.append(itself)
    deep: Any = 1
    for _ in range(100_000):
        deep = {"a": deep}
    return {"itself": itself, "deep": deep, "keys": {(1, 2): 3, None: 4}, "half": ["\ud83d"], "thing": object()}


@pytest.mark.parametrize("name", odd_values())
def test_what_is_no_json_is_written_down_as_well_as_it_goes(name: str) -> None:
    change = Change(key="\ud83d", value=odd_values()[name])
    entry = Ended(at=NOW, key="k-1", status="completed", output=output(), changes=[change])
    read = decode_entry("here", encode_json(entry))
    assert isinstance(read, Ended)
    assert read.output == entry.output
    assert [each.key for each in read.changes] == ["?"]


# The chain


ROWS = [Row(ENTRY, b"1"), Row(EVENT, b"2"), Row(ENTRY, b""), Row(ENTRY, b"3")]
HEADER = RunHeader(run_id="run", created=NOW, updated=NOW, rows=len(ROWS), chain=chained("", ROWS))


def test_it_can_be_made_piece_by_piece() -> None:
    assert chained(chained("", ROWS[:2]), ROWS[2:]) == chained("", ROWS)
    assert verified("here", HEADER, ROWS) == ROWS


@pytest.mark.parametrize(
    "rows",
    [
        ROWS[:-1],
        ROWS[1:],
        [*ROWS, ROWS[0]],
        [ROWS[1], ROWS[0], *ROWS[2:]],
        [Row(EVENT, b"1"), *ROWS[1:]],
        [Row(ENTRY, b"1 "), *ROWS[1:]],
        [Row(2, b"1"), *ROWS[1:]],
        [Row(ENTRY, b"12"), Row(EVENT, b""), *ROWS[2:]],
    ],
)
def test_it_shows_what_was_changed_lost_moved_or_added(rows: list[Row]) -> None:
    with pytest.raises(JournalCorrupt, match="here: "):
        verified("here", HEADER, rows)


# Secrets


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_texts_are_without_secrets_and_all_else_stays(entry: Entry) -> None:
    redacted = encode_json(without_secrets(entry, Redactor([SECRET])))
    assert SECRET.encode() not in redacted
    assert redacted == encode_json(entry).replace(SECRET.encode(), b"[secret]")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_whatever_is_a_secret_an_entry_can_be_read(entry: Entry) -> None:
    """What stands in the name of a field, in a digest, in a time, or in a number."""
    words = ["completed", "refuse", "done", "tool_result", "dddd", "k-1k", str(NOW.year), "00:00", "2345", "opened"]
    redacted = without_secrets(entry, Redactor(words))
    read = decode_entry("here", encode_json(redacted))
    for name in ("at", "key", "digest", "status", "origin", "purse", "request", "epoch", "owner"):
        assert getattr(read, name, None) == getattr(entry, name, None)


def test_an_event_without_secrets_is_an_event() -> None:
    event = AgentRetrying(run="run-2025", timestamp=NOW, agent="a", path="r/a", attempt=2, error=f"{SECRET} 2025")
    redacted = without_secrets(event, Redactor([SECRET, "2025"]))
    assert (redacted.error, redacted.run, redacted.timestamp) == ("[secret] [secret]", "run-2025", NOW)


# Events


def started(number: int, attempt: int = 1) -> Row:
    name = f"a{number}"
    entry = Started(
        at=NOW, key=f"{name}-1", epoch=1, roles="r/a", path=f"r/{name}", agent=name, spec="d", attempt=attempt
    )
    return Row(ENTRY, encode_json(entry))


def retrying(number: int, attempt: int) -> Row:
    return Row(EVENT, encode(AgentRetrying(run="run", timestamp=NOW, path=f"r/a{number}", attempt=attempt)))


def ended(number: int, status: Any = "completed") -> Row:
    return Row(ENTRY, encode_json(Ended(at=NOW, key=f"a{number}-1", status=status, output=AgentOutput(name="a"))))


OPENED = Row(ENTRY, encode_json(ENTRIES[0]))
BEGUN = Row(EVENT, encode(RunStarted(run="run", timestamp=NOW)))


def test_events_of_agents_are_told_from_their_entries_in_the_order_of_the_log() -> None:
    rows = [OPENED, BEGUN, started(1), started(2), started(1, 2), ended(2, "failed"), retrying(1, 2), ended(1)]
    assert [(event.kind, getattr(event, "path", "")) for event in Teller("run").tell(rows)] == [
        ("run_started", ""),
        ("agent_started", "r/a1"),
        ("agent_started", "r/a2"),
        ("agent_failed", "r/a2"),
        ("agent_retrying", "r/a1"),
        ("agent_started", "r/a1"),
        ("agent_finished", "r/a1"),
    ]


def test_more_rows_add_events_at_the_end() -> None:
    rows = [OPENED, BEGUN, started(1), started(1, 2), started(2), retrying(1, 2), started(1, 3), OPENED, started(1)]
    rows += [ended(2, "cancelled"), started(1, 2), ended(1), Row(EVENT, b'{"kind":"of tomorrow","x":1}')]
    before: list[Any] = []
    for count in range(len(rows) + 1):
        events = Teller("run").tell(rows[:count])
        assert events[: len(before)] == before
        before = events
    assert [event.kind for event in before].count("agent_started") == 6


def test_a_row_that_is_no_event_is_damage() -> None:
    with pytest.raises(JournalCorrupt, match="row 2: not an event"):
        Teller("run").tell([BEGUN, Row(EVENT, b'{"seq": 1}')])


def test_amounts_are_whole() -> None:
    entry = Started(
        at=NOW, key="k-1", epoch=1, roles="", path="", agent="", spec="", hold=TokenAccounting(input_tokens=2**80)
    )
    assert decode_entry("here", encode_json(entry)) == entry
