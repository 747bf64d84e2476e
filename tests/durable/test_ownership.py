"""Whether the process that has a run still lives: told by its number, its beginning, its boot, and its silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from carpool.clock import utc_now
from carpool.durable import MemoryJournal, ownership
from carpool.durable.ownership import SILENCE_S, is_alive, this_process
from carpool.durable.records import RunHeader
from carpool.errors import RunInUse
from carpool.testing.journal_desk import Desk

NOW = 1_000.0
ME = this_process()


def test_this_process_lives() -> None:
    assert is_alive(ME, NOW, NOW)
    assert is_alive(ME, NOW - SILENCE_S + 0.1, NOW)


def test_one_that_has_been_silent_for_long_is_taken_to_be_gone() -> None:
    assert not is_alive(ME, NOW - SILENCE_S, NOW)


def test_one_that_was_heard_of_long_after_now_was_heard_of_by_another_clock() -> None:
    assert not is_alive(ME, NOW + SILENCE_S, NOW)


def test_one_with_the_number_of_another_that_began_later_is_gone() -> None:
    assert not is_alive(replace(ME, began="0"), NOW, NOW)


def test_one_that_has_ended_is_gone_also_before_anybody_has_asked_how() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = replace(ME, pid=process.pid, began=ownership._began(process.pid))
    assert is_alive(owner, NOW, NOW)

    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    assert Path(f"/proc/{process.pid}").exists()
    assert not is_alive(owner, NOW, NOW)
    process.communicate()
    assert not is_alive(owner, NOW, NOW)


def test_one_of_an_earlier_boot_of_this_machine_is_gone() -> None:
    assert not is_alive(replace(ME, boot="earlier"), NOW, NOW)


@pytest.mark.parametrize("elsewhere", [{"space": "another container"}, {"boot": "another", "host": "another"}])
def test_of_one_elsewhere_only_its_silence_tells(elsewhere: dict[str, str]) -> None:
    owner = replace(ME, pid=2**22 + 1, began="0", **elsewhere)
    assert is_alive(owner, NOW, NOW)
    assert not is_alive(owner, NOW - SILENCE_S, NOW)


def test_where_there_is_no_proc_a_process_is_known_by_its_number(monkeypatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError()))
    assert ownership._began(os.getpid()) == "?"
    assert ownership._began(2**22 + 1) == ""


# In one process there is no doubt


def header(journal: MemoryJournal, run_id: str = "run") -> RunHeader:
    return RunHeader(run_id=run_id, created=utc_now(), updated=utc_now(), owner=journal.owner, beat=journal.now())


async def test_a_run_that_a_journal_of_this_process_has_given_up_is_free_at_once() -> None:
    journal, other = MemoryJournal(), MemoryJournal()
    assert not other.is_live(header(journal))

    await Desk(journal).open()
    assert other.is_live(await journal.header("run"))
    assert journal.is_live(await journal.header("run"))
    await journal.aclose()
    assert not other.is_live(await journal.header("run"))


async def test_nor_does_one_have_it_that_nobody_holds_any_more() -> None:
    left = header(MemoryJournal())
    assert not MemoryJournal().is_live(left)


async def test_a_run_that_is_just_being_claimed_is_in_use() -> None:
    class Slow(MemoryJournal):
        async def change(self, run_id, step):
            found = await super().change(run_id, step)
            if step.__name__ == "step" and not looked:
                looked.append(other.is_live(found))
            return found

    looked: list[bool] = []
    journal, other = Slow(), MemoryJournal()
    recall = await Desk(journal).open()
    assert looked == [True]
    await Desk(journal).close(recall)


async def test_who_is_kept_out_is_told_by_whom() -> None:
    journal = MemoryJournal()
    recall = await Desk(journal).open()
    with pytest.raises(RunInUse, match=f"in use by process {os.getpid()} on ") as caught:
        await Desk(journal).open()
    assert caught.value.run_id == "run"
    await Desk(journal).close(recall)
