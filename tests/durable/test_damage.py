"""A damaged journal gives what was written or says that it is damaged, and never anything else."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from carpool.durable import SqliteJournal
from carpool.errors import JournalCorrupt, JournalError

from .quick import quick_folder
from .stored import RUNS, copy, made, resumed, told

PAGE = 4096


class Original:
    """A journal as it was left, what can be read from it, and what comes of its runs when they go on."""

    def __init__(self, path: Path, scratch: Path) -> None:
        self.path = path
        self.scratch = scratch
        self.count = 0
        self.told = anyio.run(self.look, self.copy())
        self.resumed = {run_id: anyio.run(self.go_on, self.copy(), run_id) for run_id in RUNS}

    def copy(self) -> Path:
        self.count += 1
        return copy(self.path, self.scratch / str(self.count))

    async def look(self, path: Path) -> Any:
        async with SqliteJournal(path) as journal:
            return await told(journal)

    async def go_on(self, path: Path, run_id: str) -> Any:
        async with SqliteJournal(path) as journal:
            return await resumed(journal, run_id)


@pytest.fixture(scope="module", params=["killed", "closed"])
def original(request) -> Iterator[Original]:
    with quick_folder() as folder:
        (folder / "original").mkdir()
        yield Original(made(folder / "original", request.param), folder)


def flip(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def cut(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


def blank(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content)) // PAGE * PAGE
    content[at : at + PAGE] = bytes(len(content[at : at + PAGE]))


def swap(content: bytearray, chance: random.Random) -> None:
    """Two pages change their places, as a confused disk does."""
    first, second = (chance.randrange(len(content) // PAGE + 1) * PAGE for _ in range(2))
    pages = content[first : first + PAGE], content[second : second + PAGE]
    if len(pages[0]) == len(pages[1]):
        content[first : first + PAGE], content[second : second + PAGE] = pages[1], pages[0]


async def outcome(original: Original, wanted: Any, path: Path, look: Callable[..., Any], *arguments: Any) -> str:
    try:
        found = await look(path, *arguments)
    except JournalCorrupt:
        return "corrupt"
    assert found == wanted
    return "same"


async def test_whatever_is_damaged_it_is_the_same_or_it_is_said(original: Original) -> None:
    chance = random.Random(20250101)
    outcomes: Counter[str] = Counter()
    for number in range(250):
        path = original.copy()
        file = chance.choice(sorted(file for file in path.parent.iterdir() if file.stat().st_size))
        damage = chance.choice([flip, flip, flip, cut, cut, blank, swap])
        content = bytearray(file.read_bytes())
        damage(content, chance)
        file.write_bytes(content)
        try:
            outcomes[await outcome(original, original.told, path, original.look)] += 1
            if number % 5 == 0:
                run_id = chance.choice(RUNS)
                await outcome(original, original.resumed[run_id], path, original.go_on, run_id)
        except BaseException as error:
            error.add_note(f"{damage.__name__} in {file.name}, number {number}")
            raise
        shutil.rmtree(path.parent)

    assert min(outcomes["same"], outcomes["corrupt"]) > 20


async def test_every_bit_of_what_it_keeps_of_itself(original: Original) -> None:
    path = original.copy()
    await original.look(path)
    content = path.read_bytes()
    if (at := content.rfind(b"transactions")) < 0:
        pytest.skip("it is in the write-ahead log, whose frames have check sums")
    chance = random.Random(7)
    places = [*range(100), *range(at - 120, at + 40)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            await outcome(original, original.told, path, original.look)
        except BaseException as error:
            error.add_note(f"byte {place}")
            raise


@pytest.mark.parametrize("lost", ["-wal", "-shm", "-lock"])
async def test_a_file_beside_it_that_is_gone(lost: str, original: Original) -> None:
    path = original.copy()
    beside = path.with_name(path.name + lost)
    was_needed = lost == "-wal" and beside.exists()
    beside.unlink(missing_ok=True)

    assert await outcome(original, original.told, path, original.look) == ("corrupt" if was_needed else "same")


async def test_an_older_copy_put_in_its_place_is_seen_and_it_is_said_how_to_have_it_all_the_same(tmp_path) -> None:
    path = tmp_path / "runs.db"
    async with SqliteJournal(path) as journal:
        await journal.describe("first", {})
    older = path.read_bytes()
    async with SqliteJournal(path) as journal:
        await journal.describe("second", {})
    path.write_bytes(older)

    async with SqliteJournal(path) as journal:
        with pytest.raises(JournalCorrupt, match=r"remove runs\.db-lock"):
            await journal.runs()
    (tmp_path / "runs.db-lock").unlink()
    async with SqliteJournal(path) as journal:
        assert [run.run_id for run in await journal.runs()] == ["first"]


async def test_what_is_damaged_is_not_run_and_not_written_to(original: Original) -> None:
    path = original.copy()
    async with SqliteJournal(path) as journal:
        await journal.describe("described", {})
    content = path.read_bytes()
    at = content.index(b"item 3")
    path.write_bytes(content[:at] + b"item 4" + content[at + 6 :])
    before = path.read_bytes()

    async with SqliteJournal(path) as journal:
        with pytest.raises(JournalCorrupt, match="a row is not as it was written"):
            await resumed(journal, "map-reduce")
        assert await resumed(journal, "teams") == original.resumed["teams"]
    assert before != path.read_bytes()


async def test_a_file_that_is_something_else_is_refused_and_left_as_it_is(tmp_path) -> None:
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE journal (text)")
    connection.commit()
    connection.close()
    text = tmp_path / "text.db"
    text.write_text("Dear diary, " * 100)

    for path in (other, text):
        before = path.read_bytes()
        async with SqliteJournal(path) as journal:
            for asked in (journal.runs, lambda journal=journal: journal.describe("run", {})):
                with pytest.raises(JournalCorrupt, match=str(path)):
                    await asked()
        assert path.read_bytes() == before
        assert [file.name for file in tmp_path.iterdir() if file.name.startswith(path.name)] == [path.name]


async def test_one_that_a_newer_carpool_wrote_is_refused_and_left_as_it_is(tmp_path) -> None:
    path = tmp_path / "runs.db"
    async with SqliteJournal(path) as journal:
        await journal.describe("run", {})
    connection = sqlite3.connect(path)
    connection.execute("UPDATE journal SET value = 2 WHERE name = 'format'")
    connection.commit()
    connection.close()
    before = path.read_bytes()

    async with SqliteJournal(path) as journal:
        for asked in (journal.runs, lambda: journal.describe("run", {"a": 1}), lambda: journal.header("run")):
            with pytest.raises(JournalError, match=r"a newer carpool wrote it \(format 2\)") as caught:
                await asked()
            assert not isinstance(caught.value, JournalCorrupt)
    assert path.read_bytes() == before


async def test_a_file_that_somebody_is_just_making_is_empty_and_not_damaged(tmp_path) -> None:
    path = tmp_path / "runs.db"
    path.touch()
    async with SqliteJournal(path) as journal:
        assert await journal.runs() == []
        assert await journal.header("run") is None
        await journal.describe("run", {})
        assert len(await journal.runs()) == 1
