"""The jobs of one transaction, done in memory."""

from typing import Any

from msgspec.structs import replace

from carpool.clock import utc_now
from carpool.durable.claim import Step
from carpool.durable.postgres_group import Change, Erase, Found, Group, Writes
from carpool.durable.records import ENTRY, Row, RunHeader, chained
from carpool.durable.writer import Job


def header(name: str, rows: int = 0) -> RunHeader:
    return RunHeader(run_id=name, created=utc_now(), updated=utc_now(), rows=rows)


def appending(name: str, *bodies: bytes) -> Change:
    def step(before: RunHeader | None) -> Step:
        before = before or header(name)
        rows = [Row(ENTRY, body) for body in bodies]
        return Step(replace(before, rows=before.rows + len(rows), chain=chained(before.chain, rows)), rows)

    return Change(name, step)


def refusing(name: str) -> Change:
    def step(before: RunHeader | None) -> Step:
        raise LookupError(name)

    return Change(name, step)


def group_on(*stored: RunHeader) -> Group:
    found = {each.run_id: Found(each, each.beat, False) for each in stored}
    return Group(found.get, "mine", lambda: 0.0, {})


def done(group: Group, *work: Any) -> Writes | None:
    group.do([Job(each) for each in work])
    return group.writes()


async def test_what_is_new_is_inserted_and_what_was_there_updated() -> None:
    writes = done(group_on(header("old", 3)), appending("new", b"1"), appending("old", b"2"), appending("old", b"3"))

    assert ([*writes.inserted], [*writes.updated], writes.erased) == (["new"], ["old"], [])
    assert writes.rows == {"new": (0, [Row(ENTRY, b"1")]), "old": (3, [Row(ENTRY, b"2"), Row(ENTRY, b"3")])}


async def test_what_is_erased_and_made_again_begins_anew() -> None:
    group = group_on(header("old", 3))
    writes = done(group, appending("old", b"1"), Erase("old", lambda _: None), appending("old", b"2"))

    assert (writes.erased, [*writes.inserted], [*writes.updated]) == (["old"], ["old"], [])
    assert writes.rows == {"old": (0, [Row(ENTRY, b"2")])}


async def test_what_is_made_and_erased_leaves_nothing() -> None:
    assert done(group_on(), appending("new", b"1"), Erase("new", lambda _: None)) is None


async def test_nothing_but_refusals_writes_nothing() -> None:
    assert done(group_on(header("old")), refusing("old"), refusing("new")) is None


async def test_jobs_that_are_done_again_forget_how_they_went_before() -> None:
    came_late = [refusing("a"), appending("a", b"1")]
    job = Job(lambda group: came_late.pop(0)(group))
    group_on().do([job])
    assert isinstance(job.error, LookupError)
    group_on().do([job])
    assert (job.error, job.result.rows) == (None, 1)
