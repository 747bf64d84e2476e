"""The page in a real browser, from a real server: it shows what there is, while it grows and when it is large, and
nothing that an agent says does anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from carpool import AgentOutcome, AgentOutput, AgentSpec, Evidence, EvidenceKind, Fleet, MapReduce, SharedInfra
from carpool.cli.terminal import harmless
from carpool.durable import Journal, SqliteJournal
from carpool.types import OutcomeStatus
from carpool.viewer.serving import Address, serving
from carpool.viewer.trace import trace

from .browser import Tab, chromium
from .hostile import HOSTILE
from .runs import COST, every_outcome, run_on, saying, spec

MANY = 10_000
LONGEST_TASK_MS = 200


class Served:
    """A journal, a server of it, and a browser; tests are sync, so the first two have a thread of their own."""

    def __init__(self, portal: BlockingPortal, journal: Journal, address: Address, browser: Any) -> None:
        self.portal = portal
        self.journal = journal
        self.address = address
        self.browser = browser
        self._tabs: list[Tab] = []

    def tab(self, run: str | None = None, query: str = "", **look: Any) -> Tab:
        tab = Tab(self.browser, **look)
        self._tabs.append(tab)
        return tab.open(self.address.url(run) + query)

    def close_tabs(self) -> None:
        while self._tabs:
            self._tabs.pop().close()


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    path = tmp_path_factory.mktemp("viewer") / "runs.db"
    with (
        chromium() as browser,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(SqliteJournal(path)) as journal,
        portal.wrap_async_context_manager(serving(journal)) as address,
    ):
        portal.call(every_outcome, journal, "every-outcome")
        portal.call(_hostile, journal)
        yield Served(portal, journal, address, browser)


@pytest.fixture
def served(everything: Served) -> Iterator[Served]:
    yield everything
    problems = [problem for tab in everything._tabs for problem in tab.problems]
    everything.close_tabs()
    assert problems == []


async def _hostile(journal: Journal) -> None:
    """Every text as an agent's name, model, task, answer or error, evidence and item; and as the run's task."""
    texts = list(HOSTILE.values())

    async def runner(spec: AgentSpec, task: str, runtime: Any, mailbox: Any) -> AgentOutput:
        number: int = spec.metadata["number"]
        text = texts[number]
        evidence = [Evidence(kind=EvidenceKind.EVALUATOR, description=text[:5_000], data={text[:100]: [text[:5_000]]})]
        outcome = AgentOutcome(status=OutcomeStatus.SUCCESS, summary=text[:5_000], evidence=evidence)
        error = f"{text[:5_000]} was raised" if number % 5 == 0 else None
        return AgentOutput(
            name=spec.name, answer=text, tokens=COST, outcome=outcome, error=error, tools_used=[text[:50]]
        )

    agents = [
        (AgentSpec(f"{n} {text[:300]}", text[:3_000], model=text[:100], metadata={"number": n}), text[:20_000] or "x")
        for n, text in enumerate(texts)
    ]
    everything_at_once = " ".join(text[:40] for text in texts)
    team = Fleet(agents, name="fleet <img src=x onerror=window.ran=1>")
    await team.run(everything_at_once, runner=runner, infra=SharedInfra(journal=journal), run_id="<img src=/ran>")


# A run that goes on


_LIVE = """
import anyio, sys
from carpool import AgentOutput, AgentSpec, BudgetLimits, MapReduce, SharedInfra, TokenAccounting
from carpool.durable import SqliteJournal

COST = TokenAccounting(input_tokens=100, output_tokens=20, cost_usd=0.0125)
may_end = anyio.Semaphore(0)

async def runner(spec, task, runtime, mailbox):
    await may_end.acquire()
    return AgentOutput(name=spec.name, answer=f"{spec.name} is done", tokens=COST)

async def let_end():
    while line := await anyio.to_thread.run_sync(sys.stdin.readline):
        for _ in range(int(line)):
            may_end.release()

async def main():
    team = MapReduce(AgentSpec("reader", "", estimate=COST), AgentSpec("editor", "", estimate=COST), max_concurrent=8)
    async with SqliteJournal(sys.argv[1]) as journal, anyio.create_task_group() as tasks:
        tasks.start_soon(let_end)
        infra = SharedInfra(journal=journal, budget=BudgetLimits(max_total_tokens=30_000))
        items = [f"page {n}" for n in range(199)]
        await team.run("Read all of it.", runner=runner, infra=infra, run_id="live", items=items)

anyio.run(main)
"""


def test_a_run_of_another_process_is_seen_growing_to_its_end(served: Served) -> None:
    """Two hundred agents, of which so many end as the test lets end; each time it is seen before it goes on."""
    assert isinstance(served.journal, SqliteJournal)
    tab = served.tab()
    running = subprocess.Popen(
        [sys.executable, "-c", _LIVE, str(served.journal.path)], stdin=subprocess.PIPE, text=True
    )
    assert running.stdin is not None
    try:
        while served.portal.call(served.journal.header, "live") is None:
            assert running.poll() is None
        tab.page.evaluate("location.hash = '#/run/live'")
        tab.page.wait_for_selector("html[data-ready=yes] .tiles")
        for finished in range(20, 200, 20):
            running.stdin.write("20\n")
            running.stdin.flush()
            tab.until(".tile .told", lambda text, now=finished: text == f"8 running · {now} finished")
            assert tab.text(".tile .value") == str(finished + 8)
            assert tab.text(".top .pill") == "live"
        running.stdin.write("20\n")
        running.stdin.close()
        assert tab.until(".tile .told", lambda text: "running" not in text) == "200 finished"
        tab.until(".top .pill", lambda text: text == "completed")
        assert running.wait(10) == 0
    finally:
        running.stdin.close()
        running.kill()
        running.wait()

    follows = [url for url in tab.requests if "/api/run/follow" in url]
    assert len(follows) == 1  # all of it came by one stream
    tab.press("3")
    assert "went into the answer" in tab.until(".worth", lambda text: "answer" in text)


# A run that is large


@pytest.fixture(scope="module")
def large(everything: Served) -> str:
    team = MapReduce(spec("reader"), spec("editor"), max_concurrent=200)
    runner = saying(lambda spec, task: f"{spec.name} has read it, and says what there is to be said of it.")
    items = [f"page {n}" for n in range(MANY - 1)]

    async def run() -> None:
        await run_on(everything.journal, team.over(items=items), runner, run_id="large")

    everything.portal.call(run)
    return "large"


def test_a_run_of_ten_thousand_agents_opens_and_scrolls_without_a_stop(served: Served, large: str) -> None:
    tab = served.tab(large)
    assert tab.text(".tile .value") == "10,000"

    def scroll() -> None:
        tab.page.mouse.move(600, 600)
        for _ in range(15):
            tab.page.mouse.wheel(0, 4_000)
            tab.page.wait_for_timeout(16)
        tab.press("End")

    assert tab.longest_task_ms(scroll, under=LONGEST_TASK_MS) < LONGEST_TASK_MS
    rows = tab.page.locator(".rows .row:visible")
    assert 10 < rows.count() < 100
    assert "editor" in tab.text(".rows .row.at")
    tab.press("Home")
    assert "reader_0" in tab.text(".rows .row.at")


def test_ten_thousand_agents_are_searched_sorted_zoomed_and_grown_into_a_tree_without_a_stop(
    served: Served, large: str
) -> None:
    tab = served.tab(large)

    def search() -> None:
        tab.press("/")
        tab.page.keyboard.type("reader_99")
        tab.settle()
        assert tab.text(".shown") == "110 of 10k agents"
        tab.press("Escape")

    def sort_and_zoom() -> None:
        tab.page.locator(".heading .number").last.click()
        tab.press("+", "+", "ArrowRight", "0")

    def tree() -> None:
        tab.press("2")
        assert tab.text(".tree .row.pattern .name") == "map_reduce"
        tab.press("1")

    for work in (search, sort_and_zoom, tree):
        assert tab.longest_task_ms(work, under=LONGEST_TASK_MS) < LONGEST_TASK_MS, work.__name__


# What it shows


def test_the_list_of_runs_leads_to_a_run_and_back(served: Served) -> None:
    tab = served.tab()
    assert "every-outcome" in " ".join(tab.texts(".runs .code"))

    tab.page.get_by_text("every-outcome").click()
    tab.page.wait_for_selector(".tiles")
    assert tab.page.title() == "every-outcome · carpool"
    tab.press("g")
    tab.page.wait_for_selector(".runs .card")
    assert "token=" not in tab.page.url


def test_an_agent_is_found_opened_and_read_by_keys_alone(served: Served) -> None:
    tab = served.tab("every-outcome")
    tab.press("/")
    tab.page.keyboard.type("reader_1")
    tab.press("Enter")
    tab.page.wait_for_selector(".detail .told-text")

    assert "reader_1" in tab.text(".detail h2")
    assert tab.text(".detail .told-text.error pre") == "ValueError: the page could not be read"
    assert "page 1" in " ".join(tab.texts(".detail pre"))
    assert "agent retrying" in tab.text(".detail .events")
    assert "agent=" in tab.page.url
    tab.press("Escape", "Escape")
    assert tab.page.locator(".detail").is_hidden()
    tab.press("j", "j", "k")
    assert "reader_0" in tab.text(".rows .row.at")
    tab.press("2", "Home", "Enter")
    assert len(tab.texts(".tree .rows .row:visible")) == 1  # the pattern is closed
    tab.press("ArrowRight", "j", "Enter")
    assert "reader_0" in tab.text(".detail h2")
    assert "read by editor" in tab.until(".detail .facts-list", lambda text: "read by" in text)
    tab.page.locator(".detail .link", has_text="editor").click()
    assert "editor" in tab.until(".detail h2", lambda text: "editor" in text)


def test_chips_filter_and_say_how_many_there_are(served: Served) -> None:
    tab = served.tab("every-outcome")
    chips = tab.texts(".chip")
    assert {chip.split("\n")[-1].split(" ")[0] for chip in chips} == {"finished", "failed", "refused"}

    tab.page.locator(".chip", has_text="refused").click()
    tab.settle()

    assert all(
        "refused" in (row or "")
        for row in tab.page.locator(".rows .row:visible").evaluate_all(
            "(rows) => rows.map((row) => row.getAttribute('aria-label'))"
        )
    )
    assert "refused" in tab.texts(".chip[aria-pressed=true]")[0]
    tab.press("j", "Enter")  # the row, and not the chip that was pressed before
    assert "refused" in tab.until(".detail h2", lambda text: text != "")
    assert len(tab.texts(".chip[aria-pressed=true]")) == 1


def test_back_closes_an_agent_and_an_address_opens_it(served: Served) -> None:
    tab = served.tab("every-outcome", "?view=tree&agent=1")
    tab.page.wait_for_selector(".detail .told-text")
    assert "reader_1" in tab.text(".detail h2")
    assert tab.text(".tabs [aria-selected=true]") == "Tree"

    tab.press("Escape")
    tab.page.locator(".tree .row", has_text="reader_2").click()
    tab.page.wait_for_selector(".detail:not([hidden])")
    tab.page.go_back()
    tab.page.wait_for_selector(".detail", state="hidden")


def test_time_is_zoomed_moved_and_fitted_again(served: Served) -> None:
    tab = served.tab("every-outcome")
    whole = tab.texts(".timeline .axis text")
    tab.press("+", "+", "ArrowRight")
    near = tab.texts(".timeline .axis text")
    tab.press("0")

    assert near != whole
    assert tab.texts(".timeline .axis text") == whole
    chart = tab.page.locator(".burn-chart")
    box = chart.bounding_box()
    assert box is not None
    tab.page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 40)
    assert "at work" in tab.until(".reading", lambda text: "after" in text)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 40)
    tab.page.mouse.up()
    tab.settle()
    assert tab.texts(".timeline .axis text") != whole
    assert "840 of 900 spent, 0 held" in (chart.get_attribute("aria-label") or "")


def test_a_connection_that_is_lost_is_told_of_and_found_again(served: Served) -> None:
    tab = served.tab()
    lost: list[str] = []

    def lose(route: Any) -> None:
        if len(lost) < 2:
            lost.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    tab.page.route("**/api/run/follow*", lose)
    tab.page.evaluate("location.hash = '#/run/every-outcome'")

    tab.page.get_by_text("no connection; trying again").wait_for()
    assert tab.until(".tile .value", lambda text: text == "9") == "9"
    assert tab.page.get_by_text("no connection; trying again").is_hidden()
    tab.problems.clear()  # the browser tells of what was lost


def test_help_names_the_keys(served: Served) -> None:
    tab = served.tab("every-outcome")
    tab.press("?")
    assert "search" in tab.text("dialog[open]")
    tab.press("Escape")
    tab.page.wait_for_selector("dialog[open]", state="detached")
    tab.press("j", "Enter")
    tab.page.wait_for_selector(".detail .told-text")
    assert "reader_0" in tab.text(".detail h2")


def test_loading_it_again_keeps_the_token_and_a_new_tab_needs_it(served: Served) -> None:
    tab = served.tab("every-outcome")
    tab.page.reload()
    tab.page.wait_for_selector("html[data-ready=yes]")
    assert tab.text(".tile .value") != ""

    bare = f"http://127.0.0.1:{served.address.port}/"
    tab.page.evaluate("sessionStorage.clear()")
    tab.page.goto(bare)
    assert "Open the address" in tab.until("main", lambda text: "token" in text)
    assert tab.problems  # the browser tells of the refusals
    tab.problems.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_every_view_fits_its_width_and_can_be_read(served: Served, scheme: str, width: int) -> None:
    tab = served.tab("every-outcome", width=width, scheme=scheme)
    for keys in (["1"], ["2"], ["3"], ["4"], ["1", "j", "Enter"]):
        tab.press(*keys)
        tab.settle()

        assert tab.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, keys
        assert tab.page.evaluate(_ILLEGIBLE) == [], keys
    tab.press("Escape", "g")
    tab.page.wait_for_selector(".runs .card")
    assert tab.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_light_and_dark_are_by_the_system_until_somebody_chooses(served: Served) -> None:
    tab = served.tab("every-outcome", scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = tab.page.evaluate(ground)
    tab.press("d")
    light = tab.page.evaluate(ground)
    tab.page.reload()
    tab.page.wait_for_selector("html[data-ready=yes]")

    assert dark != light
    assert tab.page.evaluate(ground) == light
    assert served.tab("every-outcome", scheme="dark").page.evaluate(ground) == dark


# Elements whose own text is too faint: contrast below 4.5 to 1, as WCAG 2 counts it.
_ILLEGIBLE = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const known = new Map();
  const light = (color) => {
    if (!known.has(color)) known.set(color, luminance(color));
    return known.get(color);
  };
  const luminance = (color) => {
    const [r, g, b] = [...rgba(color)].slice(0, 3).map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (color.startsWith("rgb(") || color.startsWith("color(")) return color;
    }
    return "white";
  };
  const faint = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility({ visibilityProperty: true }) || node.closest("svg, .sign, noscript")) continue;
    const [one, other] = [light(getComputedStyle(node).color), light(ground(node))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) faint.push(`${node.className || node.localName}: ${contrast.toFixed(2)}`);
  }
  return [...new Set(faint)];
}"""


# What agents say


def test_whatever_an_agent_says_is_shown_and_does_nothing(served: Served) -> None:
    tab = served.tab("<img src=/ran>")
    assert tab.text(".tile .value") == str(len(HOSTILE))
    tab.page.evaluate(
        """() => { window.shown = (n) => new Promise((done) => {
          location.hash = location.hash.split("?")[0] + "?agent=" + n;
          const look = () => {
            const title = document.querySelector(".detail h2")?.textContent ?? "";
            const answer = document.querySelector(".detail pre[aria-label=Answer]");
            const error = document.querySelector(".detail pre[aria-label=Error]");
            const is = title.includes(n + " ") && document.querySelector(".detail .events");
            if (is && (answer || error)) done([answer?.textContent ?? "", error?.textContent ?? ""]);
            else requestAnimationFrame(look);
          };
          requestAnimationFrame(look);
        }); }"""
    )

    for number, (name, text) in enumerate(HOSTILE.items()):
        answer, error = tab.page.evaluate("(n) => shown(n)", number)

        assert answer == harmless(text[:16_000]), name
        if number % 5 == 0:
            assert error == harmless(f"{text[:5_000]} was raised"), name
    for keys in (["2"], ["3"], ["4"], ["Escape", "1"]):
        tab.press(*keys)
    _assert_inert(tab, served)


def _assert_inert(tab: Tab, served: Served) -> None:
    assert tab.page.evaluate("window.ran") is None
    assert tab.page.evaluate("({}).ran") is None
    foreign = "main :is(script, img, iframe, object, embed, form, style, link, meta, base, audio, video, a[href])"
    assert tab.page.locator(foreign).count() == 0
    assert tab.page.locator(".detail :is(script, img, iframe, object, embed, form, style, link, a[href])").count() == 0
    assert tab.page.locator("script").count() == 1
    asked = {urlsplit(url) for url in tab.requests if not url.startswith("data:")}
    assert {each.netloc for each in asked} == {f"127.0.0.1:{served.address.port}"}
    assert {each.path for each in asked if not each.path.startswith(("/page/", "/api/"))} == {"/"}


def test_five_million_characters_come_piece_by_piece(served: Served) -> None:
    number = list(HOSTILE).index("one line of five million characters")
    tab = served.tab("<img src=/ran>", f"?agent={number}")
    tab.page.wait_for_selector(".detail pre[aria-label=Answer]")
    more = tab.page.locator(".detail section:has(pre[aria-label=Answer]) .more")

    def go_on() -> None:
        more.click()
        tab.page.wait_for_selector(".detail pre[aria-label=Answer] span")

    assert tab.longest_task_ms(go_on, under=LONGEST_TASK_MS) < LONGEST_TASK_MS
    tab.page.wait_for_selector(".detail .facts-list :text('part of the answer')")  # it was drawn again meanwhile
    pieces = tab.page.locator(".detail pre[aria-label=Answer] span").count()
    assert len(tab.text(".detail pre[aria-label=Answer]")) == 16_000 + pieces * 64_000
    assert more.text_content() == f"show more: {16 + pieces * 64}k of 5M characters are here"


def test_hostile_names_and_tasks_are_inert_in_the_list_of_runs_too(served: Served) -> None:
    tab = served.tab()
    link = tab.page.locator(".runs a", has_text="<img src=/ran>")

    assert link.get_attribute("href") == f"#/run/{quote('<img src=/ran>', safe='')}"
    link.click()
    tab.page.wait_for_selector("h1.task")
    assert tab.text("h1.task").startswith("<script>window.ran=1</script>")
    assert tab.page.evaluate("window.ran") is None


# A file


def test_a_trace_opens_from_disk_with_all_views_and_asks_nobody(served: Served, tmp_path: Path) -> None:
    for run, name in (("every-outcome", "run.html"), ("<img src=/ran>", "hostile.html")):
        stored = served.portal.call(served.journal.read, run)
        (tmp_path / name).write_bytes(b"".join(trace(stored, live=False)))
    tab = Tab(served.browser)
    served._tabs.append(tab)

    tab.open((tmp_path / "run.html").as_uri())
    assert tab.text(".tile .value") == "9"
    tab.press("j", "Enter")
    tab.page.wait_for_selector(".detail .told-text")
    assert "page 0" in " ".join(tab.texts(".detail pre"))
    assert "read by editor" in tab.text(".detail .facts-list")
    tab.press("Escape", "2")
    assert "book" in tab.text(".tree .rows")
    tab.press("3")
    assert "What became of it" in tab.until(".worth", lambda text: "became" in text)
    tab.press("4")
    assert "run started" in tab.text(".notes")
    assert tab.requests == [(tmp_path / "run.html").as_uri()]

    tab.open((tmp_path / "hostile.html").as_uri() + "?agent=0#/?agent=3")
    tab.page.wait_for_selector(".detail .told-text")
    assert tab.page.evaluate("window.ran") is None
    assert tab.page.locator("main :is(script, img, iframe, form)").count() == 0
    assert [url for url in tab.requests if not url.startswith(("file:", "data:"))] == []
    assert len(tab.requests) == 2
