"""What is served: every answer to every question, asked as a browser asks, without one."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from urllib.parse import urlencode

import anyio
import pytest

from carpool import MapReduce
from carpool.durable import MemoryJournal
from carpool.viewer.following import Following
from carpool.viewer.page_files import MODULES
from carpool.viewer.site import site

from .runs import every_outcome, run_on, saying, spec


class Answer(NamedTuple):
    status: int
    kind: str
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(journal: MemoryJournal, path: str, method: str = "GET", **query: Any) -> Answer:
    """The whole answer."""
    sent: list[Any] = []
    gone = anyio.Event()

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": urlencode(query).encode(),
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    with anyio.fail_after(10):
        await site(Following(journal))(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], headers.get("content-type", ""), body)


@pytest.fixture
async def journal() -> MemoryJournal:
    journal = MemoryJournal()
    await every_outcome(journal)
    return journal


async def test_the_page_and_its_files_are_there(journal: MemoryJournal) -> None:
    shell = await ask(journal, "/")
    assert (shell.status, shell.kind) == (200, "text/html; charset=utf-8")
    assert b"<!doctype html>" in shell.body

    for name in ("style.css", *MODULES):
        answer = await ask(journal, f"/page/{name}")
        assert answer.status == 200
        assert answer.kind == f"text/{'css' if name.endswith('.css') else 'javascript'}; charset=utf-8"


@pytest.mark.parametrize("path", ["/page/../gate.py", "/page/none.js", "/page/", "/page", "/api", "/api/runs/", "/x"])
async def test_nothing_else_is_there(journal: MemoryJournal, path: str) -> None:
    assert (await ask(journal, path)).status == 404


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/api/runs", "/api/run/agent", "/api/run/follow"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_it_can_only_be_read(journal: MemoryJournal, path: str, method: str) -> None:
    assert (await ask(journal, path, method)).status == 405


async def test_the_runs_are_listed_the_latest_first(journal: MemoryJournal) -> None:
    await every_outcome(journal, "later")

    told = (await ask(journal, "/api/runs")).json()

    assert [run["run"] for run in told["runs"]] == ["later", "r"]
    assert told["count"] == 2
    assert told["runs"][0]["status"] == "budget_exhausted"
    assert told["runs"][0]["limits"] == {"total": 900, "agents": 8}


async def test_a_run_comes_as_events_that_end(journal: MemoryJournal) -> None:
    answer = await ask(journal, "/api/run/follow", run="r")

    assert answer.kind == "text/event-stream; charset=utf-8"
    events = [block.split("\n") for block in answer.body.decode().strip().split("\n\n")]
    assert events[0] == ["retry: 1000"]
    assert events[-1] == ["event: end", "data: {}"]
    cursor, kind, data = events[1]
    page = json.loads(data.removeprefix("data: "))
    assert kind == "event: page"
    assert cursor == f"id: {page['cursor']}"
    assert page["run"]["run"] == "r"
    again = await ask(journal, "/api/run/follow", run="r", since=page["cursor"])
    told_again = json.loads(again.body.decode().split("data: ")[1].split("\n")[0])
    assert set(told_again) == {"run", "cursor", "now"}


async def test_a_long_run_comes_in_pages() -> None:
    journal = MemoryJournal()
    team = MapReduce(spec("reader"), spec("editor"), max_concurrent=50).over(items=["x"] * 1_200)
    await run_on(journal, team, saying(lambda spec, task: "fine"))

    answer = await ask(journal, "/api/run/follow", run="r")

    blocks = answer.body.decode().split("\n\n")
    pages = [json.loads(line[6:]) for block in blocks for line in block.split("\n") if line.startswith('data: {"run"')]
    assert [len(page["agents"]) for page in pages] == [500, 500, 201]
    assert [page.get("more", False) for page in pages] == [True, True, False]
    assert max(len(block) for block in blocks) < 150_000


@pytest.mark.parametrize("run", ["", "none", "../r", "r/", "'; DROP TABLE runs; --", "\0", "\u202e", "x" * 5_000])
async def test_a_run_that_is_not_there_is_not_found(journal: MemoryJournal, run: str) -> None:
    for path in ("/api/run/agent", "/api/run/text", "/api/run/events", "/api/run/worth"):
        answer = await ask(journal, path, run=run, agent=0, part="task", chars=10, **{"from": 0})
        assert answer.status == 404
        assert "no run" in answer.json()["error"]
    assert b"event: problem" in (await ask(journal, "/api/run/follow", run=run)).body


async def test_an_agent_is_told_in_full(journal: MemoryJournal) -> None:
    told = (await ask(journal, "/api/run/agent", run="r", agent=0)).json()

    assert told["n"] == 0
    assert told["texts"]["answer"]["text"].startswith("reader_0 says")
    assert "page 0" in told["texts"]["task"]["text"]
    assert told["texts"]["system"]["text"] == "You are reader."
    assert [event["kind"] for event in told["events"]] == ["agent_started", "agent_finished"]
    assert told["spec"]["retries"] == 1


async def test_a_long_text_comes_in_parts() -> None:
    journal = MemoryJournal()
    text = "".join(chr(0x100 + place % 5_000) for place in range(50_000)) + "😀" * 10
    team = MapReduce(spec("reader"), spec("editor")).over(items=["x"])
    await run_on(journal, team, saying(lambda spec, task: text))
    first = (await ask(journal, "/api/run/agent", run="r", agent=0)).json()["texts"]["answer"]
    assert len(first["text"]) == 16_000
    assert first["chars"] == len(text)

    parts, told = [first["text"]], first
    while told["more"]:
        query = {"run": "r", "agent": 0, "part": "answer", "from": told["next"], "chars": 20_000}
        told = (await ask(journal, "/api/run/text", **query)).json()
        parts.append(told["text"])

    assert "".join(parts) == text


async def test_the_task_of_the_run_can_be_read_whole(journal: MemoryJournal) -> None:
    answer = await ask(journal, "/api/run/text", run="r", agent=-1, part="task", chars=1000, **{"from": 0})

    assert answer.json()["text"] == "What?"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"agent": 99, "part": "task"}, 404),
        ({"agent": 0, "part": "none"}, 404),
        ({"agent": -1, "part": "answer"}, 404),
        ({"agent": -2, "part": "task"}, 400),
        ({"agent": "x", "part": "task"}, 400),
        ({"agent": "٣", "part": "task"}, 400),
        ({"agent": "9" * 400, "part": "task"}, 400),
        ({"agent": 0, "part": "task", "from": -1}, 400),
        ({"agent": 0, "part": "task", "chars": "1e9"}, 400),
        ({"agent": 0, "part": "task", "chars": ""}, 400),
        ({"agent": 0, "part": "task", "from": 10**9}, 200),
        ({"agent": 0, "part": "task", "chars": 10**12}, 200),
    ],
)
async def test_a_question_that_makes_no_sense_is_answered_with_what_is_wrong(
    journal: MemoryJournal, query: dict[str, Any], status: int
) -> None:
    answer = await ask(journal, "/api/run/text", **{"run": "r", "from": 0, "chars": 100} | query)

    assert answer.status == status
    assert status == 200 or answer.json()["error"]


async def test_a_damaged_journal_is_told_of(journal: MemoryJournal) -> None:
    journal._rows["r"][5] = journal._rows["r"][4]

    answer = await ask(journal, "/api/run/agent", run="r", agent=0)

    assert answer.status == 500
    assert "not as it was written" in answer.json()["error"]
    assert b"event: problem" in (await ask(journal, "/api/run/follow", run="r")).body


async def test_the_value_report_is_served(journal: MemoryJournal) -> None:
    told = (await ask(journal, "/api/run/worth", run="r")).json()

    assert told["report"]["refusals"]
    assert told["fates"]["0"] in ("read", "answer")
