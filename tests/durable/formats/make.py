"""Makes the journal of the present format and what is to be read from it: ``1.db`` and ``1.json`` beside this file.

Run it with ``python -m tests.durable.formats.make`` from the root of the repository, once for each format, when that
is released; then never again: what it has made is there to be read by every version to come.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from carpool.durable import SqliteJournal, ownership
from carpool.durable.records import FORMAT

from .. import stored

HERE = Path(__file__).parent


async def main() -> None:
    nowhere: dict[str, Any] = {"gethostname": "somewhere", "_boot": "a boot", "_space": "a space", "_began": "1"}
    for name, said in nowhere.items():
        setattr(ownership, name, lambda *_, said=said: said)
    path = HERE / f"{FORMAT}.db"
    with TemporaryDirectory() as folder:
        made = Path(folder) / "made.db"
        await stored.make(str(made), "closed")
        shutil.copy(made, path)
        async with SqliteJournal(made) as journal:
            told = await stored.told(journal)
            resumed = {run_id: await stored.resumed(journal, run_id) for run_id in stored.RUNS}
    expected = {"headers": {run_id: header for run_id, (header, _) in told.items()}, "resumed": resumed}
    path.with_suffix(".json").write_text(json.dumps(expected, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


if __name__ == "__main__":
    anyio.run(main)
