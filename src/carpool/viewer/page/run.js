// One run: its overview, the burn of its budget, its agents, and the one that is looked at.

import { announce, element, onFrame, say, set } from "./elements.js";
import { compact, words } from "./amounts.js";
import { RunModel, STATUSES } from "./model.js";
import { Timescale } from "./timescale.js";
import { Timeline } from "./timeline.js";
import { Tree } from "./tree.js";
import { Burn } from "./burn.js";
import { Overview } from "./overview.js";
import { Detail } from "./detail.js";
import { Worth } from "./worth.js";
import { Notes } from "./notes.js";
import { onKeys } from "./keys.js";

const VIEWS = { timeline: "Timeline", tree: "Tree", value: "Value", events: "Events" };
const LIVE_EVERY_MS = 250;

export class RunView {
  /** `route` is what the address says; `goTo` changes it. */
  constructor(source, route, { goTo, state }) {
    this.source = source;
    this.goTo = goTo;
    this.state = state;
    this.model = new RunModel();
    // What is asked of the run; `place` is the row that keys have come to
    this.view = { name: route.view, agent: route.agent, text: "", statuses: new Set(), order: "start", place: -1 };
    this.given = new AbortController();
    this.scale = new Timescale(() => this.drawScale());
    this.build();
    this.later = onFrame(() => this.draw());
    this.quit = onKeys(this.keys());
    this.clock = setInterval(() => this.model.summary?.live && !document.hidden && this.later(), LIVE_EVERY_MS);
    this.follow(route.run);
  }

  build() {
    const open = (n) => this.choose(n, { focus: true });
    this.overview = new Overview(this.model, { more: () => this.readTask() });
    this.burn = new Burn(this.model, this.scale);
    this.detail = new Detail(this.model, this.source, {
      open,
      close: () => this.choose(null),
      step: (by) => this.move(by),
    });
    this.panels = {
      timeline: new Timeline(this.model, this.scale, this.view, { open, sort: (order) => this.sort(order) }),
      tree: new Tree(this.model, this.view, { open }),
      value: new Worth(this.model, this.source, { open }),
      events: new Notes(this.model),
    };
    this.search = element("input", {
      type: "search",
      placeholder: "name, item, error …",
      "aria-label": "Search agents",
      oninput: () => this.filter(),
      enterkeyhint: "search",
    });
    this.chips = element("div", { class: "chips", role: "group", "aria-label": "Show only agents that are" });
    this.shown = element("p", { class: "shown quiet" });
    this.tabs = element(
      "div",
      { class: "tabs", role: "tablist", "aria-label": "Views" },
      Object.keys(VIEWS).map((name) => this.tab(name)),
    );
    const zoom = (label, sign, act) =>
      element("button", { type: "button", class: "icon", title: label, "aria-label": label, onclick: act }, sign);
    this.zooms = element(
      "div",
      { class: "zooms" },
      zoom("Earlier", "‹", () => this.scale.pan(-0.5)),
      zoom("See more time (−)", "−", () => this.scale.zoom(2)),
      zoom("All of the time (0)", "fit", () => this.scale.fit()),
      zoom("See less time (+)", "+", () => this.scale.zoom(0.5)),
      zoom("Later", "›", () => this.scale.pan(0.5)),
    );
    this.finders = element("div", { class: "finders" }, this.search, this.chips, this.zooms);
    this.bar = element("div", { class: "toolbar" }, this.tabs, this.finders);
    this.panel = element("div", { class: "panel", role: "tabpanel", id: "panel", "aria-live": "off" });
    this.problem = element("p", { class: "problem", hidden: true });
    this.node = element(
      "div",
      { class: "run" },
      this.problem,
      this.overview.node,
      this.burn.node,
      element("section", { class: "card agents", "aria-label": "Agents" }, this.bar, this.shown, this.panel),
      this.detail.node,
    );
    this.node.hidden = true;
  }

  close() {
    this.given.abort();
    this.detail.turnAway();
    clearInterval(this.clock);
    this.quit();
    this.burn.close();
    for (const panel of Object.values(this.panels)) panel.close();
  }

  async follow(run) {
    const taken = (page) => {
      this.model.apply(page);
      this.later();
    };
    try {
      await this.source.follow(run, taken, (connected) => this.state({ connected }), this.given.signal);
      if (!this.given.signal.aborted) await this.ended();
    } catch (error) {
      this.node.hidden = false;
      this.problem.hidden = false;
      say(this.problem, error.message);
    }
  }

  /** All is there: who read whom can be told. */
  async ended() {
    announce(`The run has ended: ${words(this.model.summary.status)}.`);
    this.later();
    this.model.worth = await this.source.worth(this.model.summary.run, this.given.signal).catch(() => null);
    this.later();
  }

  draw() {
    if (!this.model.summary) return;
    this.node.hidden = false;
    this.state({ summary: this.model.summary });
    this.scale.extend(this.model.now());
    this.overview.draw();
    this.burn.draw();
    this.drawChips();
    this.drawPanel();
    if (this.detail.n !== this.view.agent) this.detail.show(this.view.agent);
    else this.detail.refresh();
    document.body.classList.toggle("with-detail", this.view.agent !== null);
    document.documentElement.dataset.ready = this.model.complete ? "yes" : "partly";
  }

  /** The panel that is shown, showing what was asked for last: keys may come before the next frame. */
  current() {
    if (this.stale && this.model.summary) this.drawPanel();
    return this.panels[this.view.name];
  }

  drawPanel() {
    const panel = this.panels[this.view.name];
    this.stale = false;
    if (panel.node.parentNode !== this.panel) this.panel.replaceChildren(panel.node);
    for (const tab of this.tabs.children)
      set(tab, {
        "aria-selected": String(tab.dataset.view === this.view.name),
        tabindex: tab.dataset.view === this.view.name ? 0 : -1,
      });
    this.finders.hidden = panel.size === 0 && !["timeline", "tree"].includes(this.view.name);
    this.zooms.hidden = this.view.name !== "timeline";
    panel.draw();
    const { text, statuses } = this.view;
    this.shown.hidden = this.finders.hidden || (!text && !statuses.size);
    say(this.shown, `${compact(this.model.select(this.view).length)} of ${compact(this.model.agents.length)} agents`);
    if (this.panel.dataset.top !== String(this.bar.offsetHeight)) {
      this.panel.dataset.top = this.bar.offsetHeight;
      this.node.style.setProperty("--toolbar", `${this.bar.offsetHeight}px`);
    }
  }

  drawScale() {
    if (!this.model.summary) return;
    this.burn.later();
    this.panels[this.view.name].drawScale();
  }

  drawChips() {
    const some = Object.keys(STATUSES).filter((status) => this.model.count(status) || this.view.statuses.has(status));
    if (this.chipsShown !== some.join()) {
      this.chipsShown = some.join();
      this.chips.replaceChildren(...some.map((status) => this.chip(status)));
    }
    for (const chip of this.chips.children) {
      const { status } = chip.dataset;
      say(chip.lastChild, `${STATUSES[status].noun} ${compact(this.model.count(status))}`);
      set(chip, { "aria-pressed": String(this.view.statuses.has(status)) });
    }
  }

  chip(status) {
    const turn = () => {
      if (!this.view.statuses.delete(status)) this.view.statuses.add(status);
      this.filter();
    };
    const chip = element(
      "button",
      { type: "button", class: `chip is-${status}`, onclick: turn },
      element("span", { class: "sign", "aria-hidden": true }, STATUSES[status].sign),
      element("span"),
    );
    chip.dataset.status = status;
    return chip;
  }

  tab(name) {
    const tab = element(
      "button",
      { type: "button", role: "tab", "aria-controls": "panel", onclick: () => this.turnTo(name) },
      VIEWS[name],
    );
    tab.dataset.view = name;
    return tab;
  }

  // What is done to it

  /** The address has changed. */
  route({ view, agent }) {
    this.stale = this.stale || this.view.name !== view;
    this.view.name = view;
    this.view.agent = agent;
    this.later();
  }

  turnTo(name) {
    this.goTo({ view: name, agent: this.view.agent });
  }

  filter() {
    this.view.text = this.search.value;
    this.view.place = -1;
    this.stale = true;
    this.later();
  }

  sort(order) {
    this.view.order = this.view.order === order ? "start" : order;
    this.view.place = -1;
    this.stale = true;
    this.later();
  }

  choose(n, { focus = false } = {}) {
    if (n === null) this.panel.querySelector(".rows")?.focus({ preventScroll: true });
    else this.view.place = this.current().placeOf(n);
    this.goTo({ view: this.view.name, agent: n });
    if (focus && n !== null) this.detail.show(n, { focus });
  }

  /** Go to the next row, or the one before; who looks at an agent goes on looking. */
  move(by) {
    const panel = this.current();
    if (!panel.size) return false;
    const from = this.view.place < 0 && this.view.agent !== null ? panel.placeOf(this.view.agent) : this.view.place;
    this.view.place = Math.max(0, Math.min(panel.size - 1, from + by));
    panel.reveal(this.view.place, this.bar.getBoundingClientRect().bottom);
    if (!this.detail.node.contains(document.activeElement)) panel.rows.focus({ preventScroll: true });
    const n = panel.at(this.view.place);
    if (n !== null && this.view.agent !== null) this.goTo({ view: this.view.name, agent: n });
    else this.later();
    return true;
  }

  /** Look at the row that keys have come to, or open and close it. */
  enter() {
    this.search.blur();
    const panel = this.current();
    if (!panel.size) return false;
    const place = Math.max(0, this.view.place);
    const n = panel.at(place);
    if (n === null) return panel.turn(place, !panel.isOpen(panel.lines[place]));
    return this.choose(n, { focus: true });
  }

  async readTask() {
    const { text } = await this.source.text(this.model.summary.run, -1, "task", 0, 1000000);
    this.overview.showWhole(text);
  }

  keys() {
    const inTimeline = (act) => () => (this.view.name === "timeline" ? act() : false);
    const sideways = (by) => () => {
      if (this.view.name === "tree") return this.panels.tree.turn(Math.max(0, this.view.place), by > 0);
      return this.view.name === "timeline" ? this.scale.pan(by * 0.25) : false;
    };
    return {
      j: () => this.move(1),
      k: () => this.move(-1),
      ArrowDown: () => this.move(1),
      ArrowUp: () => this.move(-1),
      Home: () => this.move(-this.current().size),
      End: () => this.move(this.current().size),
      ArrowLeft: sideways(-1),
      ArrowRight: sideways(1),
      Enter: () => this.enter(),
      Escape: () => this.escape(),
      "/": () => this.search.focus(),
      "+": inTimeline(() => this.scale.zoom(0.5)),
      "=": inTimeline(() => this.scale.zoom(0.5)),
      "-": inTimeline(() => this.scale.zoom(2)),
      0: inTimeline(() => this.scale.fit()),
      ...Object.fromEntries(Object.keys(VIEWS).map((name, place) => [place + 1, () => this.turnTo(name)])),
    };
  }

  escape() {
    if (this.view.agent !== null && document.activeElement !== this.search) return this.choose(null);
    if (!this.search.value && !this.view.statuses.size) return this.search.blur();
    this.search.value = "";
    this.view.statuses.clear();
    this.search.blur();
    return this.filter();
  }
}
