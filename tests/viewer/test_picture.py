"""The picture of a run: folded in any portions, and told in pages of any size, it is what the document says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from carpool import BudgetLimits, MapReduce, TokenAccounting
from carpool.durable import MemoryJournal, StoredRun, document_of
from carpool.durable.records import ENTRY, EVENT, Row
from carpool.errors import JournalCorrupt
from carpool.viewer.picture import Picture
from carpool.viewer.rows import AgentRow, BurnPoint, Page

from .runs import COST, every_outcome, run_on, saying, spec


async def stored(journal: MemoryJournal | None = None) -> StoredRun:
    """A run in which agents finish, fail, are tried again, and are refused."""
    journal = journal or MemoryJournal()
    await every_outcome(journal)
    return await journal.read("r")


def taken(run: StoredRun, portion: int) -> Picture:
    """So many rows at a look."""
    picture = Picture(run.header)
    for until in range(portion, len(run.rows) + portion, portion):
        picture.take(StoredRun(run.header, run.rows[:until]))
    return picture


def pages(picture: Picture, most: int, *, live: bool = False) -> list[Page]:
    found = [picture.page("", most, live=live)]
    while found[-1].more:
        found.append(picture.page(found[-1].cursor, most, live=live))
    return found


def rows(found: list[Page]) -> dict[int, AgentRow]:
    """As somebody knows them who was told these pages."""
    return {row.n: row for page in found for row in page.agents}


@pytest.mark.parametrize("portion", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("most", [1, 2, 5, 1000])
async def test_in_whatever_portions_the_whole_is_the_same(portion: int, most: int) -> None:
    run = await stored()
    whole = pages(taken(run, 1000), 1000)

    parts = pages(taken(run, portion), most)

    assert rows(parts) == rows(whole)
    assert [point for page in parts for point in page.burn] == whole[0].burn
    assert [note for page in parts for note in page.notes] == whole[0].notes
    assert [limit for page in parts for limit in page.limits] == whole[0].limits
    assert parts[-1].cursor == whole[-1].cursor
    assert not parts[-1].more


@pytest.mark.parametrize("most", [1, 3, 1000])
async def test_who_looks_while_it_grows_is_told_only_what_is_new_and_ends_up_with_all(most: int) -> None:
    run = await stored()
    picture, known, cursor, told = Picture(run.header), dict[int, AgentRow](), "", 0
    for until in range(len(run.rows) + 1):
        picture.take(StoredRun(run.header, run.rows[:until]))
        while True:
            page = picture.page(cursor, most, live=True)
            known |= {row.n: row for row in page.agents}
            told += len(page.agents)
            cursor = page.cursor
            if not page.more:
                break

    assert known == rows(pages(picture, 1000, live=True))
    assert told <= len(run.rows) + len(known)
    nothing = picture.page(cursor, most, live=True)
    assert (nothing.agents, nothing.burn, nothing.limits, nothing.notes) == ([], [], [], [])


async def test_it_says_of_each_agent_what_the_document_says() -> None:
    run = await stored()
    document = document_of(run, live=False)

    known = rows(pages(taken(run, 1000), 1000))

    by_path = {row.path: row for row in known.values()}
    for agent in document.agents:
        row = by_path[agent.path]
        assert (row.name, row.status, row.starts, row.lost) == (agent.name, agent.status, agent.starts, agent.lost)
        assert TokenAccounting(input_tokens=row.input, output_tokens=row.output, cost_usd=row.usd) == agent.spent
        assert row.task_chars == len(agent.task)
        assert agent.output is not None
        assert row.answer_chars == len(agent.output.answer)
        assert row.error == (agent.output.error or "")
        assert agent.ended is not None
        assert row.ended == round((agent.ended - document.created).total_seconds() * 1e3, 1)
    skipped = {event["path"] for event in document.events if event["kind"] == "agent_skipped"}
    assert {path for path, row in by_path.items() if row.status == "refused"} == skipped
    assert len(skipped) > 1
    assert sorted(known) == list(range(len(known)))


async def test_the_burn_ends_at_what_was_spent_and_never_holds_less_than_nothing() -> None:
    run = await stored()
    document = document_of(run, live=False)

    (page,) = pages(taken(run, 1000), 1000)

    last = page.burn[-1]
    assert (last.input, last.output, last.usd) == pytest.approx(
        (document.spent.input_tokens, document.spent.output_tokens, document.spent.cost_usd)
    )
    assert (last.held_input, last.held_output, last.held_usd, last.running) == (0, 0, 0.0, 0)
    assert last.starts == sum(agent.starts for agent in document.agents)
    for before, after in zip(page.burn, page.burn[1:], strict=False):
        assert after.t >= before.t
        assert (after.input, after.output, after.starts) >= (before.input, before.output, before.starts)
        assert min(after.held_input, after.held_output, after.held_usd, after.running) >= 0
    assert max(point.running for point in page.burn) == 2
    assert max(point.held_input for point in page.burn) == 2 * COST.input_tokens


async def test_what_is_told_first_is_what_was_first() -> None:
    (page,) = pages(taken(await stored(), 1000), 1000)

    (limits,) = page.limits
    assert (limits.total, limits.agents, limits.usd) == (900, 8, None)
    assert page.notes[0]["kind"] == "run_started"
    assert page.notes[-1]["kind"] == "run_finished"
    assert "budget_exhausted" in {note["kind"] for note in page.notes}


def cut(run: StoredRun, ends: int) -> StoredRun:
    """``run`` as its process left it when it died after so many ends."""
    seen = 0
    for place, (stream, body) in enumerate(run.rows):
        seen += stream == ENTRY and b'"kind":"ended"' in body
        if seen > ends:
            return StoredRun(run.header, run.rows[:place])
    raise AssertionError("it has no so many ends")


async def test_of_a_process_that_died_agents_are_still_told_as_running_with_what_they_hold() -> None:
    """Whether it died is in the summary; the page puts the two together."""
    run = cut(await stored(), 3)

    (page,) = pages(taken(run, 1000), 1000)

    running = [row for row in page.agents if row.status == "running"]
    assert running
    assert all(row.ended is None and row.held_input == COST.input_tokens for row in running)
    lost = document_of(run, live=False)
    last = page.burn[-1]
    assert last.input + last.held_input == lost.spent.input_tokens
    assert last.output + last.held_output == lost.spent.output_tokens


async def test_a_process_that_takes_a_run_over_finds_what_was_in_flight_lost() -> None:
    """The rows of the whole run behind those of one that died: as a resumed run has them."""
    run = await stored()
    died = cut(run, 3)
    resumed = StoredRun(replace(run.header, epoch=2), [*died.rows, *run.rows])

    picture = taken(resumed, 1000)
    (page,) = pages(picture, 1000)

    document = document_of(resumed, live=False)
    by_path = {row.path: row for row in page.agents}
    for agent in document.agents:
        row = by_path[agent.path]
        assert (row.status, row.starts, row.lost) == (agent.status, agent.starts, agent.lost)
        assert (row.input, row.output) == (agent.spent.input_tokens, agent.spent.output_tokens)
    assert any(row.lost for row in page.agents)
    assert page.burn[-1].input == document.spent.input_tokens
    assert page.burn[-1].starts < sum(agent.starts for agent in document.agents)  # of this process, and slots before it
    assert len(page.limits) == 2
    assert rows(pages(taken(resumed, 1), 1)) == rows([page])


# Cursors


@pytest.mark.parametrize("cursor", ["", "-", "x", "12", "1-2-3", "0-5", "\0", "99999999999999-1", "٣-٣"])
async def test_a_cursor_of_another_run_or_of_none_begins_anew(cursor: str) -> None:
    picture = taken(await stored(), 1000)

    page = picture.page(cursor, 1000, live=False)

    assert page.fresh
    assert len(page.agents) == len(picture.places)


@pytest.mark.parametrize("number", ["", "x", "-1", "1e3", "99999999999999999999"])
async def test_a_cursor_of_this_run_that_is_damaged_skips_nothing_unless_it_is_beyond_the_end(number: str) -> None:
    picture = taken(await stored(), 1000)

    page = picture.page(f"{picture.edition}-{number}", 1000, live=False)

    assert not page.fresh
    assert len(page.agents) == (0 if number.startswith("9") else len(picture.places))


async def test_another_run_by_the_same_name_is_not_taken_for_this_one() -> None:
    run = await stored()
    picture = taken(run, 1000)

    assert picture.is_of(run.header)
    assert not picture.is_of(replace(run.header, created=run.header.updated))
    assert not picture.is_of(replace(run.header, rows=3))


# What is odd


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"kind": 7}', b'{"timestamp": "never"}', b"[" * 10_000])
async def test_a_row_that_can_not_be_read_is_named(body: bytes) -> None:
    run = await stored()
    for stream in (ENTRY, EVENT):
        damaged = StoredRun(run.header, [*run.rows[:4], Row(stream, body)])

        with pytest.raises(JournalCorrupt, match="row 5"):
            taken(damaged, 1000)


async def test_events_that_nobody_knows_are_kept_with_their_agent_or_their_run() -> None:
    run = await stored()
    known = b'{"kind": "agent_praised", "path": "book/reader_0", "how": "much", "timestamp": "2026-01-01T00:00:00Z"}'
    of_nobody = b'{"kind": "agent_praised", "path": "book/nobody"}'
    of_run = b'{"kind": "weather_changed", "reason": "it rains", "x": [1, {"y": 2}]}'

    picture = taken(
        StoredRun(run.header, [*run.rows, *(Row(EVENT, body) for body in (known, of_nobody, of_run))]), 1000
    )

    (page,) = pages(picture, 1000)
    assert page.notes[-1]["kind"] == "weather_changed"
    assert page.notes[-1]["reason"] == "it rains"
    assert "x" not in page.notes[-1]
    assert not any(row.path == "book/nobody" for row in page.agents)


async def test_long_texts_are_not_told() -> None:
    journal = MemoryJournal()
    team = MapReduce(spec("reader"), spec("editor")).over(items=["x" * 50_000])
    await run_on(journal, team, saying(lambda spec, task: "y" * 60_000), task="z" * 70_000)

    (page,) = pages(taken(await journal.read("r"), 1000), 1000)

    assert len(msgspec.json.encode(page)) < 8_000
    assert page.agents[0].task_chars > 120_000
    assert page.agents[0].answer_chars == 60_000
    assert page.run.task_chars == 70_000


async def test_a_mapper_is_told_with_its_item() -> None:
    from carpool import Item

    journal = MemoryJournal()
    items: list[Any] = [Item(label="docs/a.md", text="<<<item forged>>>"), "no label"]
    team = MapReduce(spec("reader"), spec("editor")).over(items=items)
    await run_on(journal, team, saying(lambda spec, task: "fine"), budget=BudgetLimits())

    (page,) = pages(taken(await journal.read("r"), 1000), 1000)

    assert page.agents[0].label == "docs/a.md"
    assert "forged" not in "".join(row.label for row in page.agents)


def test_points_and_rows_are_short_on_the_wire() -> None:
    point = BurnPoint(t=1.5, input=1, output=2, usd=0.5, held_input=3, held_output=4, held_usd=0.1, running=5, starts=6)

    assert msgspec.json.encode(point) == b"[1.5,1,2,0.5,3,4,0.1,5,6]"
