"""A browser for tests, and a page in it that keeps account of what it asked for and what went wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["Tab", "chromium"]

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

_ACCOUNT = """
window.longTasks = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) longTasks.push(entry.duration);
}).observe({ type: "longtask", buffered: true });
"""


@contextmanager
def chromium() -> Generator[Any]:
    """Debian's chromium, in a profile of its own that is gone afterwards; without one the test is skipped."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("NO BROWSER: what is seen in one is not tested here; apt-get install chromium fonts-dejavu-core")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """One page, in a context of its own."""

    def __init__(self, browser: Any, *, width: int = 1280, height: int = 800, scheme: str = "light") -> None:
        self._context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page = self._context.new_page()
        self.page.set_default_timeout(15_000)
        self.page.add_init_script(_ACCOUNT)
        self.requests: list[str] = []
        self.problems: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))
        self.page.on("popup", lambda popup: self.problems.append(f"popup: {popup.url}"))
        self.page.on("console", self._note)

    def open(self, url: str) -> Tab:
        """Go there and wait until all is there."""
        self.page.goto(url)
        self.page.wait_for_selector("html[data-ready=yes]")
        return self

    def close(self) -> None:
        self._context.close()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def settle(self) -> None:
        """Until what was asked for is drawn."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.text_content() or ""

    def texts(self, selector: str) -> list[str]:
        """Of those that can be seen."""
        return self.page.locator(selector).evaluate_all(
            """(nodes) => nodes.filter((node) => node.checkVisibility())
                .map((node) => node.innerText ?? node.textContent)"""
        )

    def until(self, selector: str, holds: Callable[[str], bool]) -> str:
        """Wait until the text there is as it should be."""
        for _ in range(300):
            if holds(text := self.text(selector)):
                return text
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{selector} still says {text!r}")

    def longest_task_ms(self, work: Callable[[], None], *, under: float) -> float:
        """The longest time for which the page did not answer while ``work`` was done: the least of three goes, or what
        is ``under`` the limit at once. What else runs on this machine only ever adds to it."""
        longest = [0.0]
        for _ in range(3):
            self.page.evaluate("longTasks.length = 0")
            work()
            self.page.wait_for_timeout(150)  # the browser tells of them late
            longest.append(self.page.evaluate("Math.max(0, ...longTasks)"))
            if longest[-1] < under:
                break
        return longest[-1] if len(longest) == 2 else min(longest[1:])

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text}")
