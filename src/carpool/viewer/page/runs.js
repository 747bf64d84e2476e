// All runs of a journal, the latest first.

import { element, fill, inline, say, table } from "./elements.js";
import { compact, count, counted, dollars, duration, moment, words } from "./amounts.js";
import { onKeys } from "./keys.js";

const LOOKS_EVERY_MS = 2000;

export class RunsView {
  constructor(source, { goTo, state }) {
    this.source = source;
    this.goTo = goTo;
    this.state = state;
    this.given = new AbortController();
    this.runs = [];
    this.place = -1;
    this.search = element("input", {
      type: "search",
      placeholder: "run, task, pattern, status …",
      "aria-label": "Search runs",
      oninput: () => this.draw(),
    });
    this.told = element("p", { class: "quiet" });
    this.list = element("ul", { class: "runs" });
    this.node = element(
      "div",
      { class: "all-runs" },
      element("div", { class: "card-head" }, element("h1", {}, "Runs"), this.search),
      this.told,
      this.list,
    );
    this.quit = onKeys({
      "/": () => this.search.focus(),
      Escape: () => this.clear(),
      j: () => this.move(1),
      k: () => this.move(-1),
      ArrowDown: () => this.move(1),
      ArrowUp: () => this.move(-1),
    });
    this.look();
  }

  close() {
    this.given.abort();
    this.quit();
  }

  async look() {
    while (!this.given.signal.aborted) {
      try {
        const { runs, count: all } = await this.source.runs(this.given.signal);
        const said = JSON.stringify(runs);
        [this.runs, this.all] = [runs, all];
        if (said !== this.said) this.draw();
        this.said = said;
        this.state({ connected: true });
      } catch (error) {
        if (this.given.signal.aborted) return;
        this.state({ connected: false });
        if (!this.runs.length) say(this.told, error.message);
      }
      document.documentElement.dataset.ready = "yes";
      await new Promise((done) => setTimeout(done, LOOKS_EVERY_MS));
    }
  }

  draw() {
    const sought = this.search.value.toLowerCase().split(/\s+/u).filter(Boolean);
    const found = this.runs.filter((run) =>
      sought.every((word) => `${run.run} ${run.task} ${run.pattern} ${run.status}`.toLowerCase().includes(word)),
    );
    const focused = this.list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    fill(this.list, found.map(card));
    if (focused) [...this.list.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
    const more = this.all > this.runs.length ? `, the latest ${count(this.runs.length)}` : "";
    say(this.told, this.all ? `${counted(found.length, "run")}${more}` : "No runs yet: carpool run makes one.");
  }

  move(by) {
    const links = [...this.list.querySelectorAll("a")];
    if (!links.length) return false;
    const at = links.indexOf(document.activeElement);
    links[Math.max(0, Math.min(links.length - 1, at + by))].focus();
    return true;
  }

  clear() {
    this.search.value = "";
    this.search.blur();
    this.draw();
  }
}

function card(run) {
  const kind = run.live ? "running" : (OUTCOMES[run.status] ?? "failed");
  const facts = [
    words(run.pattern),
    `${count(run.completed)} of ${count(run.started)} finished`,
    run.failed && `${count(run.failed)} failed`,
    `${compact(run.tokens)} tokens`,
    run.usd && dollars(run.usd),
    run.duration && duration(run.duration),
  ];
  return element(
    "li",
    {},
    element(
      "a",
      { class: "card", href: `#/run/${encodeURIComponent(run.run)}` },
      element(
        "span",
        { class: "run-line" },
        element("span", { class: `pill is-${kind}` }, words(run.live ? "running" : run.status)),
        element("bdi", { class: "code" }, inline(run.run)),
        element("span", { class: "at" }, moment(run.created)),
      ),
      element("bdi", { class: "task" }, inline(run.task).slice(0, 300) || "without a task"),
      element("span", { class: "facts" }, facts.filter(Boolean).map(inline).join(" · ")),
    ),
  );
}

const OUTCOMES = table({
  completed: "completed",
  max_rounds: "completed",
  budget_exhausted: "refused",
  interrupted: "lost",
  no_output: "failed",
  failed: "failed",
  new: "withdrawn",
});
