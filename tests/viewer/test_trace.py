"""A run as one file: whole, inert, and allowed to do nothing but run its own script."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from carpool import MapReduce
from carpool.durable import MemoryJournal
from carpool.errors import JournalCorrupt
from carpool.viewer import page_files
from carpool.viewer.trace import trace

from .hostile import HOSTILE
from .runs import every_outcome, run_on, saying, spec


class Elements(HTMLParser):
    """What a parser finds: elements with their attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] in self.texts and data.strip():
            self.texts[self.found[-1][0]].append(data)


async def file_of(journal: MemoryJournal, *, live: bool = False) -> str:
    return b"".join(trace(await journal.read("r"), live=live)).decode()


def blocks(text: str, kind: str) -> list[object]:
    return [
        json.loads(body)
        for body in re.findall(rf'<script type="application/json" class="{kind}"[^>]*>(.*)</script>', text)
    ]


async def test_it_holds_every_agent_and_every_text() -> None:
    journal = MemoryJournal()
    team = MapReduce(spec("reader"), spec("editor"), max_concurrent=9).over(items=[f"page {n}" for n in range(70)])
    await run_on(journal, team, saying(lambda spec, task: f"{spec.name} says " + "so " * 20_000))

    text = await file_of(journal)

    (rows,) = blocks(text, "rows")
    assert len(rows["agents"]) == 71  # type: ignore[index]
    details = [detail for block in blocks(text, "details") for detail in block]  # type: ignore[attr-defined]
    assert [detail["n"] for detail in details] == list(range(71))
    assert all(len(detail["texts"]["answer"]["text"]) > 60_000 for detail in details)
    assert len(blocks(text, "worth")) == 1
    assert blocks(text, "task") == [{"text": "What?", "per_block": 32}]


async def test_a_long_run_is_in_several_blocks() -> None:
    journal = MemoryJournal()
    team = MapReduce(spec("reader"), spec("editor"), max_concurrent=50).over(items=["x"] * 1_100)
    await run_on(journal, team, saying(lambda spec, task: "fine"))

    rows = blocks(await file_of(journal), "rows")

    assert [len(page["agents"]) for page in rows] == [1_000, 101]  # type: ignore[index]


async def test_its_policy_lets_only_its_own_script_run_and_nothing_be_loaded() -> None:
    journal = MemoryJournal()
    await every_outcome(journal)

    text = await file_of(journal)

    elements = Elements(text)
    policy = dict(re.findall(r"([\w-]+) ([^;]+)", re.findall(r'Content-Security-Policy" content="([^"]+)"', text)[0]))
    (style,) = elements.texts["style"]
    *data, script = elements.texts["script"]
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == f"'{digest(script)}'"
    assert policy["style-src"] == f"'{digest(style)}'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "connect-src" not in policy
    assert len(data) > 3
    first = next(name for name, attributes in elements.found if name == "meta")
    assert first == "meta"
    assert text.index("Content-Security-Policy") < text.index("<style>") < text.index("<script")


def digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


async def test_nothing_in_it_points_elsewhere() -> None:
    journal = MemoryJournal()
    await every_outcome(journal)

    elements = Elements(await file_of(journal))

    points = [
        (name, attribute, value)
        for name, attributes in elements.found
        for attribute, value in attributes.items()
        if attribute in ("src", "href", "action", "data", "srcset")
    ]
    assert [(name, attribute) for name, attribute, _ in points] == [("link", "href"), ("a", "href")]
    assert [str(value)[:6] for *_, value in points] == ["data:i", "#main"]


async def test_what_agents_say_adds_no_element() -> None:
    harmless, hostile = MemoryJournal(), MemoryJournal()
    team = MapReduce(spec("reader"), spec("editor")).over(items=["x"] * len(HOSTILE))
    await run_on(harmless, team, saying(lambda spec, task: "fine"))
    said = iter(HOSTILE.values())
    await run_on(hostile, team, saying(lambda spec, task: next(said, "</script><script>alert(1)</script>")))

    one, other = Elements(await file_of(harmless)), Elements(await file_of(hostile))

    assert [name for name, _ in other.found] == [name for name, _ in one.found]
    details = [detail for block in blocks(await file_of(hostile), "details") for detail in block]  # type: ignore[attr-defined]
    answers = [detail["texts"]["answer"]["text"] for detail in details if "answer" in detail["texts"]]
    assert set(answers) >= {text for text in HOSTILE.values() if text}


async def test_of_a_run_that_goes_on_it_is_one_moment() -> None:
    journal = MemoryJournal()
    await every_outcome(journal)

    (page,) = blocks(await file_of(journal, live=True), "rows")

    assert page["run"]["live"] is True  # type: ignore[index]


async def test_damage_is_told_before_anything_is_written() -> None:
    journal = MemoryJournal()
    await every_outcome(journal)
    run = await journal.read("r")
    pieces = trace(run._replace(rows=[*run.rows[:4], run.rows[4]._replace(body=b"{")]), live=False)

    with pytest.raises(JournalCorrupt):
        next(pieces)


async def test_a_shell_that_names_its_files_otherwise_is_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = MemoryJournal()
    await every_outcome(journal)
    shell = page_files.page_file("index.html").replace('href="page/style.css"', 'href="page/other.css"')
    monkeypatch.setattr("carpool.viewer.trace.page_file", lambda name: shell if name == "index.html" else "")

    with pytest.raises(ValueError, match=r"index\.html has changed"):
        b"".join(trace(await journal.read("r"), live=False))
