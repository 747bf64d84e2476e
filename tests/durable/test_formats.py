"""A journal of every format that was ever released is read, and goes on, as when it was written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from carpool.durable import SqliteJournal, document_of
from carpool.durable.records import FORMAT

from . import stored

FORMATS = Path(__file__).parent / "formats"


def test_there_is_one_of_each() -> None:
    assert sorted(path.stem for path in FORMATS.glob("*.db")) == [str(number) for number in range(1, FORMAT + 1)]


@pytest.fixture(params=sorted(FORMATS.glob("*.db")), ids=lambda path: path.stem)
def journal(request, tmp_path: Path) -> SqliteJournal:
    return SqliteJournal(shutil.copy(request.param, tmp_path))


async def test_it_is_read(journal: SqliteJournal) -> None:
    expected = json.loads((FORMATS / journal.path.name).with_suffix(".json").read_text())
    async with journal:
        runs = {run.run_id: msgspec.to_builtins(run) for run in await journal.runs()}
        assert runs == expected["headers"]
        for run_id in runs:
            document = document_of(await journal.read(run_id), live=False)
            assert len(document.events) > 0 or run_id == "described"


@pytest.mark.parametrize("run_id", stored.RUNS)
async def test_it_goes_on(run_id: str, journal: SqliteJournal) -> None:
    expected = json.loads((FORMATS / journal.path.name).with_suffix(".json").read_text())["resumed"][run_id]
    async with journal:
        assert msgspec.to_builtins(await stored.resumed(journal, run_id)) == expected
    assert expected["calls"] == ([] if run_id != "cut short" else ["c", "d"]) or run_id == "teams"
