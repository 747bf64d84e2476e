"""Dense numbers from any thread, readers that miss nothing, and files in which any change is found."""

from __future__ import annotations

import gc
import json
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from carpool.errors import JournalCorrupt
from carpool.eventlog import EventLog, verify_jsonl
from carpool.events import AgentFailed, AgentFinished, AgentStarted, Event, RunFinished, RunStarted, decode
from carpool.types import TokenAccounting

from .budget.fake_clock import FakeClock
from .budget.real_threads import together

MOMENT = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


async def a_few_turns() -> None:
    """Enough for every other task to come to where it waits."""
    for _ in range(5):
        await checkpoint()


def started(agent: str = "a") -> AgentStarted:
    return AgentStarted(agent=agent)


# Appending and asking


def test_numbers_are_dense_from_1_and_the_length_is_the_last_one() -> None:
    log = EventLog()

    assert len(log) == 0
    assert [log.append(started()).seq for _ in range(5)] == [1, 2, 3, 4, 5]
    assert len(log) == 5


def test_appending_returns_the_event_as_it_stands_in_the_log() -> None:
    clock = FakeClock()
    log = EventLog(clock=clock)

    event = log.append(started("b"))

    assert event == AgentStarted(agent="b", seq=1, timestamp=clock.now())
    assert log.events() == [event]


def test_an_event_that_has_a_time_keeps_it() -> None:
    assert EventLog().append(AgentStarted(timestamp=MOMENT)).timestamp == MOMENT


def test_one_event_in_two_logs_has_a_number_in_each() -> None:
    first, second = EventLog(), EventLog()
    second.append(started("other"))

    event = first.append(started())
    copy = second.append(event)

    assert (event.seq, copy.seq) == (1, 2)
    assert first.events() == [event]


def test_one_event_appended_twice_is_two() -> None:
    log, event = EventLog(), started()

    log.append(event)
    log.append(event)

    assert [each.seq for each in log.events()] == [1, 2]


def test_extending_keeps_times_and_gives_numbers_of_its_own() -> None:
    log = EventLog()
    log.append(started("first"))
    log.extend([AgentStarted(agent="x", seq=90, timestamp=MOMENT), AgentStarted(agent="y", seq=7, timestamp=MOMENT)])

    assert [(event.seq, event.agent) for event in log.events()] == [(1, "first"), (2, "x"), (3, "y")]
    assert [event.timestamp for event in log.events(since=1)] == [MOMENT, MOMENT]


def test_events_can_be_asked_for_by_kind_agent_and_number() -> None:
    log = EventLog()
    log.append(RunStarted())
    for agent in ("a", "b", "a"):
        log.append(AgentStarted(agent=agent))
        log.append(AgentFinished(agent=agent))

    def seqs(**wanted: object) -> list[int]:
        return [event.seq for event in log.events(**wanted)]

    assert seqs() == [1, 2, 3, 4, 5, 6, 7]
    assert seqs(kind="agent_started") == [2, 4, 6]
    assert seqs(agent="a") == [2, 3, 6, 7]
    assert seqs(kind="agent_finished", agent="a", since=3) == [7]
    assert seqs(since=3) == [4, 5, 6, 7]
    assert seqs(since=7) == seqs(since=100) == seqs(kind="no_such") == seqs(agent="c") == []
    assert seqs(since=-5) == seqs(since=0) == seqs()


def test_the_list_that_is_handed_out_is_not_the_log() -> None:
    log = EventLog()
    log.append(started())

    log.events().clear()

    assert len(log.events()) == 1


def test_an_unknown_kind_can_be_asked_for_by_its_name() -> None:
    log = EventLog()
    log.append(decode('{"kind":"of_the_future"}'))

    assert len(log.events(kind="of_the_future")) == 1
    assert log.events(kind="unknown") == []


def test_eight_threads_get_dense_numbers_each_in_its_own_order() -> None:
    log = EventLog()

    def append(number: int) -> None:
        seqs = [log.append(AgentStarted(agent=str(number), attempt=attempt)).seq for attempt in range(300)]
        assert seqs == sorted(seqs)

    together([lambda n=n: append(n) for n in range(8)])

    assert [event.seq for event in log.events()] == list(range(1, 8 * 300 + 1))
    for number in range(8):
        assert [event.attempt for event in log.events(agent=str(number))] == list(range(300))


def test_one_fresh_event_from_four_threads_at_once_is_four_events() -> None:
    gate = threading.Barrier(4)

    class Gathering(FakeClock):
        """Lets its callers go on together: all four are in the middle of appending then."""

        def now(self) -> datetime:
            gate.wait(5)
            return MOMENT

    log, event = EventLog(clock=Gathering()), started()

    together([lambda: log.append(event)] * 4)

    assert [each.seq for each in log.events()] == [1, 2, 3, 4]


# Subscribing


class Reader:
    """Notes the numbers it is given until it has seen ``until``."""

    def __init__(self, log: EventLog, until: int, since: int = 0, between: Callable[[], object] | None = None) -> None:
        self.seen: list[int] = []
        self.log, self.until, self.since, self.between = log, until, since, between

    async def read(self) -> None:
        stream = self.log.subscribe(self.since)
        async for event in stream:
            self.seen.append(event.seq)
            if self.between is not None:
                for _ in range(3):
                    await checkpoint()
            if event.seq >= self.until:
                break
        await stream.aclose()


async def test_a_subscriber_sees_what_was_and_what_comes_in_order_and_without_a_gap() -> None:
    log = EventLog()
    log.extend(started() for _ in range(10))
    reader = Reader(log, until=20)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(reader.read)
            await a_few_turns()
            assert reader.seen == list(range(1, 11))
            for _ in range(10):
                log.append(started())
                await checkpoint()

    assert reader.seen == list(range(1, 21))


@pytest.mark.parametrize("since", [-3, 0, 1, 5, 9, 10, 11, 15])
async def test_a_subscriber_begins_after_the_number_it_names(since: int) -> None:
    log = EventLog()
    log.extend(started() for _ in range(10))
    reader = Reader(log, until=20, since=since)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(reader.read)
            await a_few_turns()
            log.extend(started() for _ in range(10))

    assert reader.seen == list(range(max(0, since) + 1, 21))


async def test_a_slow_reader_misses_nothing_and_holds_nobody_up() -> None:
    log = EventLog()
    slow = Reader(log, until=200, between=lambda: None)
    fast = Reader(log, until=200)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(slow.read)
            group.start_soon(fast.read)
            await a_few_turns()
            for _ in range(200):
                log.append(started())
            await a_few_turns()
            assert fast.seen == list(range(1, 201))
            assert len(slow.seen) < 10

    assert slow.seen == list(range(1, 201))


async def test_a_reader_that_never_reads_does_not_slow_the_log() -> None:
    log = EventLog()
    stream = log.subscribe()
    log.append(started())
    assert (await anext(stream)).seq == 1

    for _ in range(1_000):
        log.append(started())

    assert (await anext(stream)).seq == 2
    await stream.aclose()


async def test_a_subscriber_sees_events_from_other_threads() -> None:
    log = EventLog()
    readers = [Reader(log, until=8 * 100) for _ in range(3)]

    def append() -> None:
        for _ in range(100):
            log.append(started())

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for reader in readers:
                group.start_soon(reader.read)
            await a_few_turns()
            await to_thread.run_sync(together, [append] * 8)

    assert [reader.seen for reader in readers] == [list(range(1, 801))] * 3


async def test_an_event_appended_by_the_reader_itself_is_read_too() -> None:
    log = EventLog()
    log.append(started())
    seen = []

    stream = log.subscribe()
    async for event in stream:
        seen.append(event.seq)
        if event.seq == 5:
            break
        log.append(started())
    await stream.aclose()

    assert seen == [1, 2, 3, 4, 5]


async def test_a_subscriber_that_is_cancelled_leaves_no_waker() -> None:
    log = EventLog()

    async def read_for_ever(body: Callable[[], object] | None) -> None:
        async for _ in log.subscribe():
            if body is not None:
                await anyio.sleep_forever()

    for waits_in_the_body in (False, True):
        log.append(started())
        async with anyio.create_task_group() as group:
            group.start_soon(read_for_ever, (lambda: None) if waits_in_the_body else None)
            await a_few_turns()
            assert len(log._wakers) == 1
            group.cancel_scope.cancel()
        gc.collect()
        await a_few_turns()

        assert not log._wakers


async def test_a_subscriber_that_leaves_or_closes_or_never_begins_leaves_no_waker() -> None:
    log = EventLog()
    log.append(started())

    async for _ in log.subscribe():
        break
    stream = log.subscribe()
    await anext(stream)
    await stream.aclose()
    log.subscribe()
    gc.collect()
    await a_few_turns()

    assert not log._wakers


def test_a_waker_is_called_after_every_append_within_its_block_only() -> None:
    log, lengths = EventLog(), []

    log.append(started())
    with log.waking(lambda: lengths.append(len(log))):
        log.append(started())
        log.append(started())
    log.append(started())

    assert lengths == [2, 3]


# Files


def a_hundred() -> EventLog:
    log = EventLog(clock=FakeClock())
    log.append(RunStarted(run="r", pattern="map_reduce"))
    for number in range(32):
        log.append(
            AgentStarted(run="r", agent=f"agent {number}", path="r/é", held=TokenAccounting(input_tokens=number))
        )
        log.append(AgentFailed(run="r", agent=f"agent {number}", error='ValueError: "a"\n\u2028 b', duration_ms=1.25))
        log.append(decode(f'{{"kind":"of_the_future","seq":5,"number":{number},"z":[1.0,null,{{"b":1,"a":2}}]}}'))
    log.append(AgentFinished(run="r", agent="last but two"))
    log.append(AgentFinished(run="r", agent="last but one"))
    log.append(RunFinished(run="r", stop_reason="completed", usage=TokenAccounting(cost_usd=0.1)))
    assert len(log) == 100
    return log


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The lines of a log of a hundred events."""
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    a_hundred().to_jsonl(path)
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")  # str.splitlines() knows too many


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def written(path: Path, lines: list[str]) -> int | None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return verify_jsonl(path)


def test_a_log_survives_the_file(path: Path) -> None:
    log = a_hundred()
    log.to_jsonl(path)

    again = EventLog.from_jsonl(path)

    def unchained(path: Path) -> list[dict[str, object]]:
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
        return [{key: value for key, value in row.items() if key not in ("sha256", "last")} for row in rows]

    first = unchained(path)
    again.to_jsonl(path)
    assert [type(event) for event in again.events()] == [type(event) for event in log.events()]
    assert [event.seq for event in again.events()] == list(range(1, 101))
    assert [event.timestamp for event in again.events()] == [event.timestamp for event in log.events()]
    assert unchained(path) == first
    assert verify_jsonl(path) is None


def test_a_log_that_was_read_goes_on_counting(path: Path) -> None:
    a_hundred().to_jsonl(path)
    clock = FakeClock()

    log = EventLog.from_jsonl(path, clock=clock)

    assert log.append(started()) == AgentStarted(agent="a", seq=101, timestamp=clock.now())


def test_what_was_written_verifies(path: Path) -> None:
    for size in (1, 2, 100):
        log = EventLog()
        log.extend(started() for _ in range(size))
        log.to_jsonl(path)

        assert verify_jsonl(path) is None
        assert len(EventLog.from_jsonl(path)) == size


def test_an_empty_log_survives_the_file(path: Path) -> None:
    EventLog().to_jsonl(path)

    assert len(EventLog.from_jsonl(path)) == 0


def test_writing_does_not_change_the_log(path: Path) -> None:
    log = a_hundred()
    before = log.events()
    log.to_jsonl(path)

    assert log.events() == before
    assert len(log) == 100


def test_writing_again_gives_the_same_bytes(path: Path) -> None:
    a_hundred().to_jsonl(path)
    first = path.read_bytes()
    a_hundred().to_jsonl(path)

    assert path.read_bytes() == first


def test_every_deleted_line_is_found(path: Path, lines: list[str]) -> None:
    for at in range(100):
        assert written(path, lines[:at] + lines[at + 1 :]) == at + 1


def test_every_swap_of_neighbours_and_many_others_are_found(path: Path, lines: list[str]) -> None:
    chance = random.Random(7)
    pairs = [(at, at + 1) for at in range(99)] + [sorted(chance.sample(range(100), 2)) for _ in range(50)]
    for one, other in pairs:
        swapped = lines.copy()
        swapped[one], swapped[other] = swapped[other], swapped[one]

        assert written(path, swapped) == one + 1


def test_every_inserted_line_is_found(path: Path, lines: list[str]) -> None:
    strange = ["", "{}", "null", '{"kind":"run_started","seq":1}', "not json"]
    for at in range(101):
        for line in (strange[at % 5], lines[(at + 50) % 100]):
            assert written(path, [*lines[:at], line, *lines[at:]]) == at + 1


def test_every_repeated_line_is_found(path: Path, lines: list[str]) -> None:
    for at in range(100):
        assert written(path, [*lines[: at + 1], *lines[at:]]) == at + 2


def test_every_lost_tail_is_found(path: Path, lines: list[str]) -> None:
    for kept in range(1, 100):
        assert written(path, lines[:kept]) == kept + 1


def test_a_file_of_which_nothing_is_left_is_found(path: Path, lines: list[str]) -> None:
    assert written(path, []) == 1


def test_every_cut_within_a_line_is_found(path: Path, lines: list[str]) -> None:
    whole = "".join(f"{line}\n" for line in lines).encode()
    ends = [at for at, byte in enumerate(whole) if byte == ord("\n")]
    for seq, end in enumerate(ends, start=1):
        for cut in (end - 1, end - 75):
            path.write_bytes(whole[:cut])

            assert verify_jsonl(path) == seq


def test_every_cut_of_the_last_line_is_found(path: Path, lines: list[str]) -> None:
    whole = "\n".join(lines).encode()
    for cut in range(whole.rindex(b"\n") + 1, len(whole), 3):
        path.write_bytes(whole[:cut])

        assert verify_jsonl(path) == 100


def edits(line: str) -> list[str]:
    """The line with each of its fields changed, taken out, or joined by another."""
    fields = json.loads(line)
    changed = [fields | {"added": 1}]
    for name, value in fields.items():
        changed.append({other: fields[other] for other in fields if other != name})
        changed.append(fields | {name: None if value is not None else 0})
        if type(value) is int:
            changed += [fields | {name: value + 1}, fields | {name: value + 0.5}]
        if type(value) is str:
            changed += [fields | {name: value + " "}, fields | {name: value[:-1]}]
        if type(value) is list:
            changed += [fields | {name: value[::-1]}]
    return [json.dumps(each) for each in changed]


def test_an_edit_of_any_field_of_any_line_is_found(path: Path, lines: list[str]) -> None:
    chance = random.Random(5)
    for at in range(100):
        for edited in chance.sample(edits(lines[at]), 3):
            assert written(path, [*lines[:at], edited, *lines[at + 1 :]]) == at + 1


def test_every_flipped_byte_of_some_lines_is_found(path: Path, lines: list[str]) -> None:
    whole = "".join(f"{line}\n" for line in lines).encode()
    chance = random.Random(11)
    for _ in range(250):
        at = chance.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[at] ^= 1 << chance.randrange(7)
        path.write_bytes(flipped)
        seq = whole[:at].count(b"\n") + 1

        found = verify_jsonl(path)

        # Some flips leave the same JSON: a line break that becomes another kind of white space at the end.
        assert found in (seq, seq + 1) or json_of(bytes(flipped)) == json_of(whole)
        assert found != seq + 1 or whole[at] == ord("\n")


def json_of(text: bytes) -> list[object] | None:
    try:
        return [json.loads(line) for line in text.splitlines()]
    except ValueError:
        return None


def test_a_file_that_was_chained_anew_from_a_line_on_is_found_by_its_numbers(path: Path) -> None:
    log = EventLog()
    log.extend(decode(json.dumps({"kind": "x", "seq": 1, "n": n})) for n in range(5))
    log.to_jsonl(path)
    two = path.read_bytes().splitlines()
    EventLog().to_jsonl(path)

    path.write_bytes(b"\n".join([*two, *two]))

    assert verify_jsonl(path) == 6


DAMAGED = {
    "nothing": b"",
    "half a line": b'{"kind":"run_st',
    "no json": b"hello",
    "no object": b"[1]",
    "no kind": b'{"seq":2}',
    "a kind that is no text": b'{"kind":5,"seq":2}',
    "a field of the wrong type": b'{"kind":"agent_started","seq":2,"attempt":"two"}',
    "a time that is none": b'{"kind":"run_started","seq":2,"timestamp":"noon"}',
    "no utf-8": b'{"kind":"run_started","run":"\xff\xfe"}',
    "zeros": b"\0" * 512,
    "half a character": b'{"kind":"run_started","run":"\\ud800"}',
    "nan": b'{"kind":"x","a":NaN}',
    "an infinity": b'{"kind":"x","a":1e999}',
    "an endless number": b'{"kind":"x","a":' + b"9" * 10_000 + b"}",
    "too many brackets": b"[" * 100_000,
    "nested too deep": b'{"kind":"x","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_line_is_refused_by_its_number_and_found_by_verifying(what: str, path: Path) -> None:
    log = EventLog()
    log.extend(started() for _ in range(3))
    log.to_jsonl(path)
    good = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([good[0], DAMAGED[what], *good[1:]]))

    assert verify_jsonl(path) == 2
    with pytest.raises(JournalCorrupt, match=r"log\.jsonl:2: ") as damage:
        EventLog.from_jsonl(path)
    assert damage.value.place == f"{path}:2"


def test_a_file_that_is_not_there_is_the_callers_to_know(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        EventLog.from_jsonl(path)
    with pytest.raises(FileNotFoundError):
        verify_jsonl(path)


@pytest.mark.parametrize("field", [{"last": False}, {"last": True}, {"sha256": "theirs"}, {"last": "x", "sha256": 1}])
def test_an_unknown_kind_keeps_fields_that_are_called_like_those_of_the_chain(
    field: dict[str, object], path: Path
) -> None:
    log = EventLog()
    log.append(decode(json.dumps({"kind": "x", "seq": 1} | field)))
    log.append(started())
    log.to_jsonl(path)

    first = EventLog.from_jsonl(path).events()[0]

    assert verify_jsonl(path) is None
    assert first.data.items() >= field.items()  # type: ignore[attr-defined]


def test_a_text_that_utf8_can_not_encode_does_not_stop_the_writing(path: Path) -> None:
    log = EventLog()
    log.append(started("ok"))
    log.append(started("caf\udce9"))
    log.append(started("ok"))
    log.to_jsonl(path)

    assert verify_jsonl(path) is None
    assert len(EventLog.from_jsonl(path)) == 3


def test_a_log_can_be_written_while_eight_threads_append(path: Path) -> None:
    log: EventLog = EventLog()
    log.append(started())

    def append() -> None:
        for _ in range(200):
            log.append(started())

    def write() -> None:
        for _ in range(10):
            log.to_jsonl(path)
            assert verify_jsonl(path) is None

    together([append] * 8 + [write])

    assert len(log) == 1_601


def test_an_event_has_to_be_one() -> None:
    with pytest.raises((TypeError, AttributeError)):
        EventLog().append("agent_started")  # type: ignore[arg-type]
    assert Event().kind == ""
