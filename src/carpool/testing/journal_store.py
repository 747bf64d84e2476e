"""What a journal promises as a store: one transaction at a time, whole or not at all, and one owner for a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from ..durable.claim import Step
from ..durable.records import ENTRY, EVENT, Row, RunHeader, chained
from ..errors import RunNotFound
from ..eventlog import EventLog
from ..events import RunStarted, decode
from ..types import TokenAccounting
from .journal_desk import Check, Desk, at_once, refused, require

__all__ = ["STORE"]


async def a_run_that_nobody_has_begun_is_not_there(desk: Desk) -> None:
    journal = desk.journal
    require(await journal.header("run") is None, "there is a header of a run that never was")
    require(await journal.runs() == [], "there are runs in an empty journal")
    for asked in (journal.read, journal.holdings, journal.remove, journal.request_cancel):
        await refused(RunNotFound, asked("run"))


async def what_a_change_returned_from_is_there(desk: Desk) -> None:
    first = await desk.journal.change("run", lambda _: _with(_header(), _rows(3)))
    second = await desk.journal.change("run", lambda header: _with(_there(header), _rows(4)))
    stored = await desk.journal.read("run")
    require(first.rows == 3, f"the first change returned a header with {first.rows} of 3 rows")
    require(stored.header == second == await desk.journal.header("run"), "the header is not the one that was returned")
    require(list(stored.rows) == [*_rows(3), *_rows(4)], "the rows are not those that were appended, in their order")


async def what_came_since_can_be_read_by_itself(desk: Desk) -> None:
    first = await desk.journal.change("run", lambda _: _with(_header(), _rows(3)))
    later = await desk.journal.change("run", lambda header: _with(_there(header), _rows(4)))
    since = await desk.journal.read_on(first)
    require(list(since.rows) == _rows(4) and since.before == 3, f"{len(since.rows)} rows came since {since.before}")
    require(since.header == later, "the header that came with them is not the present one")
    require(list((await desk.journal.read_on(later)).rows) == [], "something came since the last change")
    await desk.journal.remove("run")
    await refused(RunNotFound, desk.journal.read_on(later))
    await desk.journal.change("run", lambda _: _with(replace(_header(), created=_AT + timedelta(days=1)), _rows(9)))
    await refused(RunNotFound, desk.journal.read_on(later))


async def a_header_comes_back_as_it_was(desk: Desk) -> None:
    header = replace(
        _header(),
        pattern="vote",
        task="größer – 大きい 🚗 \x00 \\ \" '",
        stop_reason="failed",
        error="OSError",
        duration_ms=1.5,
        spent=TokenAccounting(input_tokens=2**80, cost_usd=0.1),
        about={"command": ["run", "--x"], "nested": {"a": [1, 2.5, None, True]}},
        beat=12345.678,
        epoch=3,
    )
    await desk.journal.change("run", lambda _: Step(header))
    require(await desk.journal.header("run") == header, "a field of the header came back changed")


async def a_step_that_raises_changes_nothing(desk: Desk) -> None:
    def refuse(header: RunHeader | None) -> Step:
        raise LookupError("not today")

    await refused(LookupError, desk.journal.change("run", refuse))
    require(await desk.journal.header("run") is None, "a refused step has left a header")
    before = await desk.journal.change("run", lambda _: _with(_header(), _rows(2)))
    await refused(LookupError, desk.journal.change("run", refuse))
    stored = await desk.journal.read("run")
    require((stored.header, len(stored.rows)) == (before, 2), "a refused step has changed something")


async def a_step_that_raises_keeps_no_other_from_being_done(desk: Desk) -> None:
    def refuse(header: RunHeader | None) -> Step:
        raise LookupError("not today")

    refused: list[Exception] = []

    async def change(number: int) -> None:
        try:
            await desk.journal.change(f"run {number}", refuse if number % 3 == 0 else lambda _: Step(_header(number)))
        except LookupError as error:
            refused.append(error)

    await at_once(12, change)
    there = {header.run_id for header in await desk.journal.runs()}
    require(there == {f"run {number}" for number in range(12) if number % 3}, f"what is there: {sorted(there)}")
    require(len(refused) == len({*map(id, refused)}) == 4, "refused runs were not told so, each with its own error")


async def changes_at_once_come_one_after_the_other(desk: Desk) -> None:
    def count(header: RunHeader | None) -> Step:
        header = header or _header()
        return _with(replace(header, started=header.started + 1), [Row(ENTRY, str(header.started).encode())])

    async def change(_: int) -> None:
        await desk.journal.change("run", count)

    await at_once(40, change)
    stored = await desk.journal.read("run")
    require(stored.header.started == 40, f"of 40 changes at once {stored.header.started} are left")
    require(
        [int(body) for _, body in stored.rows] == list(range(40)), "rows and headers of different changes are mixed"
    )


async def many_rows_and_long_ones_come_back_in_order(desk: Desk) -> None:
    rows = [Row(number % 2, b'"%d"' % number) for number in range(3_000)]
    rows += [Row(EVENT, b'"' + b"x" * 1_000_000 + b'"'), Row(ENTRY, '"ü\\u0000大🚗"'.encode()), Row(ENTRY, b"")]
    await desk.journal.change("run", lambda _: _with(_header(), rows))
    require(list((await desk.journal.read("run")).rows) == rows, "rows came back changed")


async def any_text_can_be_the_name_of_a_run(desk: Desk) -> None:
    names = [
        "run",
        "RUN",
        " run",
        "",
        "x" * 500,
        "ü/../%00?#&",
        "a\nb",
        "'; DROP TABLE runs; --",
        "大きい🚗",
        "run%",
        "r_n",
    ]
    for number, name in enumerate(names):
        header = replace(_header(number), run_id=name)
        await desk.journal.change(name, lambda _, header=header: _with(header, _rows(len(header.task))))
    for number, name in enumerate(names):
        found = await desk.journal.header(name)
        require(found is not None and found.task == f"task {number}", f"run {name!r} is {found!r}")
    require({header.run_id for header in await desk.journal.runs()} == {*names}, "a run is missing from the list")


async def runs_are_listed_from_the_latest_to_the_first(desk: Desk) -> None:
    for number in (2, 0, 1):
        await desk.journal.change(f"run {number}", lambda _, number=number: Step(_header(number)))
    require(
        [header.run_id for header in await desk.journal.runs()] == ["run 2", "run 1", "run 0"], "they are not in order"
    )
    await desk.journal.change("run 0", lambda header: Step(replace(_there(header), updated=_AT + timedelta(days=9))))
    require((await desk.journal.runs())[0].run_id == "run 0", "a run that was changed is not the latest")


async def an_erased_run_is_gone_with_its_rows(desk: Desk) -> None:
    journal = desk.journal
    for number in range(3):
        await journal.change(f"run {number}", lambda _, number=number: _with(_header(number), _rows(number + 2)))

    def refuse(header: RunHeader | None) -> None:
        raise LookupError(_there(header).task)

    await refused(LookupError, journal.erase("run 1", refuse))
    require(len((await journal.read("run 1")).rows) == 3, "a run was erased although the check refused")
    await journal.erase("run 1", lambda _: None)
    await refused(RunNotFound, journal.read("run 1"))
    require(await journal.header("run 1") is None, "its header is still there")
    await journal.change("run 1", lambda header: _with(_header(1) if header is None else header, _rows(1)))
    require(len((await journal.read("run 1")).rows) == 1, "rows of the erased run are in the new one")
    for number in (0, 2):
        require(len((await journal.read(f"run {number}")).rows) == number + 2, "rows of another run are gone")


async def what_one_object_wrote_another_reads(desk: Desk) -> None:
    other = desk.another().journal
    await desk.journal.change("run", lambda _: _with(_header(), _rows(2)))
    require(len((await other.read("run")).rows) == 2, "it is not seen over another object")
    await other.change("run", lambda header: _with(_there(header), _rows(1)))
    require(len((await desk.journal.read("run")).rows) == 3, "what another object wrote is not seen")


# What else is kept of a run


async def what_is_said_about_a_run_stays_with_it(desk: Desk) -> None:
    journal = desk.journal
    await journal.describe("run", {"command": ["carpool", "run"], "n": 1})
    header = _there(await journal.header("run"))
    require(not journal.is_live(header), "a run that nobody has begun is said to be live")
    require((await journal.read("run")).rows == () or not (await journal.read("run")).rows, "it has rows")
    recall = await desk.open()
    await journal.describe("run", {"n": 2})
    await desk.complete(recall)
    await desk.close(recall)
    header = _there(await journal.header("run"))
    require(header.about == {"command": ["carpool", "run"], "n": 2}, f"about it is said: {header.about}")
    require(header.completed == 1, "describing has undone something")


async def who_has_a_run_is_asked_to_cancel_it(desk: Desk) -> None:
    recall = await desk.open()
    require(await desk.journal.request_cancel("run"), "it says that nobody has it")
    require(_there(await desk.journal.header("run")).cancel, "the request is not there")
    await desk.complete(recall)
    require(_there(await desk.journal.header("run")).cancel, "the request is gone with the next write")
    await desk.close(recall)
    require(not await desk.journal.request_cancel("run"), "it says that somebody has it")
    recall = await desk.open()
    require(not _there(await desk.journal.header("run")).cancel, "an old request is held against a new process")
    await desk.close(recall)


async def its_events_are_kept_numbered_over_all_processes(desk: Desk) -> None:
    for process in (1, 2):
        log = EventLog()
        log.append(RunStarted(run="another"))
        recall = await desk.open(log=log)
        log.append(RunStarted(run="run", pattern=f"process {process}"))
        log.append(RunStarted(run="another"))
        await desk.complete(recall, f"agent {process}")
        await desk.close(recall)
    events = (await desk.journal.read("run")).events()
    told = [(event.seq, event.kind, getattr(event, "pattern", "")) for event in events]
    one = ("run_started", "agent_started", "agent_finished", "run_finished")
    require([kind for _, kind, _ in told] == [*one, *one], f"its events are {told}")
    require([seq for seq, _, _ in told] == list(range(1, 9)), "they are not numbered without a gap")
    require([told[0][2], told[4][2]] == ["process 1", "process 2"], "they are not in order")
    require([event.seq for event in (await desk.journal.read("run")).events(since=6)] == [7, 8], "since is not kept to")
    for row in (await desk.journal.read("run")).rows:
        if row.stream == EVENT:
            decode(row.body)


STORE: tuple[Check, ...] = (
    a_run_that_nobody_has_begun_is_not_there,
    what_a_change_returned_from_is_there,
    what_came_since_can_be_read_by_itself,
    a_header_comes_back_as_it_was,
    a_step_that_raises_changes_nothing,
    a_step_that_raises_keeps_no_other_from_being_done,
    changes_at_once_come_one_after_the_other,
    many_rows_and_long_ones_come_back_in_order,
    any_text_can_be_the_name_of_a_run,
    runs_are_listed_from_the_latest_to_the_first,
    an_erased_run_is_gone_with_its_rows,
    what_one_object_wrote_another_reads,
    what_is_said_about_a_run_stays_with_it,
    who_has_a_run_is_asked_to_cancel_it,
    its_events_are_kept_numbered_over_all_processes,
)

_AT = datetime(2025, 1, 1, tzinfo=UTC)


def _header(number: int | None = None) -> RunHeader:
    name = "run" if number is None else f"run {number}"
    at = _AT + timedelta(seconds=number or 0)
    return RunHeader(run_id=name, created=at, updated=at, task=f"task {number}", open=False)


def _rows(count: int) -> list[Row]:
    return [Row(number % 2, b'{"n":%d}' % number) for number in range(count)]


def _with(header: RunHeader, rows: list[Row]) -> Step:
    """A step that appends ``rows``."""
    return Step(replace(header, rows=header.rows + len(rows), chain=chained(header.chain, rows)), rows)


def _there(header: RunHeader | None) -> RunHeader:
    if header is None:
        raise AssertionError("the run is not there")
    return header
