"""A process whose files may grow so far and no further: runs on journals in a folder, which is its argument."""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

import anyio

from carpool.durable import SqliteJournal
from carpool.errors import JournalError
from carpool.testing.journal_desk import gist

from .test_disk import run, runner, whole

FREE = resource.RLIM_INFINITY


async def main(folder: str) -> None:
    wanted, failed = await whole(), 0
    for number in range(20):
        path = Path(folder) / f"{number}.db"
        async with SqliteJournal(path) as journal:
            resource.setrlimit(resource.RLIMIT_FSIZE, (number**2 * 3_001, FREE))
            try:
                result = await run(journal, runner())
            except JournalError as error:
                failed += 1
                told = str(error)
            else:
                told = str(path)
                assert gist(result) == wanted
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (FREE, FREE))
            assert str(path) in told, told
            there = (await journal.holdings("run")).completed if await journal.header("run") else 0
            again = runner()
            assert gist(await run(journal, again)) == wanted
            assert len(again.bill.calls) == 9 - there
    assert 3 < failed < 20, failed


if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    anyio.run(main, sys.argv[1])
