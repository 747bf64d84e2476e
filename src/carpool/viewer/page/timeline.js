// Agents over time: a row for each, a bar from its start to its end.

import { drawing, element, fill, inline, say, set } from "./elements.js";
import { compact, duration, price } from "./amounts.js";
import { ORDERS, STATUSES } from "./model.js";
import { LongList } from "./list.js";
import { offset, steer } from "./timescale.js";

const ROW = 26;

export class Timeline {
  /** `view` is what is asked of the run: its text, statuses, order, and the agent that is chosen. */
  constructor(run, scale, view, { open, sort }) {
    this.run = run;
    this.scale = scale;
    this.view = view;
    this.open = open;
    this.agents = [];
    this.width = 0;
    this.axis = drawing("svg", { class: "axis", "aria-hidden": true, height: 22 });
    this.heads = ["name", "tokens", "cost", "longest"].map((order) => this.head(order, sort));
    this.heading = element(
      "div",
      { class: "row heading" },
      this.heads[0],
      element("div", { class: "over" }, this.axis),
      ...this.heads.slice(1),
    );
    this.grid = element("div", { class: "grid", "aria-hidden": true });
    this.rows = element("div", {
      class: "rows",
      role: "listbox",
      tabindex: 0,
      "aria-label": "Agents over time",
      onclick: (event) => this.clicked(event),
    });
    this.rows.append(this.grid);
    this.empty = element("p", { class: "quiet", hidden: true });
    this.node = element("div", { class: "timeline" }, this.heading, this.rows, this.empty);
    this.list = new LongList(
      this.rows,
      ROW,
      () => this.make(),
      (row, place) => this.drawRow(row, place),
    );
    this.measured = new ResizeObserver(() => this.measure());
    this.measured.observe(this.axis.parentNode);
    steer(this.node, scale, () => this.axis.getBoundingClientRect());
  }

  close() {
    this.measured.disconnect();
    this.list.close();
  }

  get size() {
    return this.agents.length;
  }

  at(place) {
    return this.agents[place]?.n ?? null;
  }

  placeOf(n) {
    return this.agents.findIndex((agent) => agent.n === n);
  }

  draw() {
    this.agents = this.run.select(this.view);
    this.empty.hidden = this.agents.length > 0;
    say(this.empty, this.run.agents.length ? "No agent is like this." : "No agent has started yet.");
    for (const head of this.heads) set(head, { "aria-pressed": String(head.dataset.order === this.view.order) });
    this.drawScale();
  }

  /** What depends on the time that is shown, alone. */
  drawScale() {
    const { step, ticks } = this.scale.ticks(this.width || 1);
    const xs = ticks.map((t) => Math.round(this.scale.x(t, this.width)) + 0.5);
    fill(
      this.axis,
      ticks.map(
        (t, place) => xs[place] < this.width - 36 && drawing("text", { x: xs[place] + 3, y: 15 }, offset(t, step)),
      ),
    );
    fill(
      this.grid,
      xs.map(() => element("i")),
    );
    xs.forEach((x, place) => (this.grid.children[place].style.left = `${x}px`));
    this.list.show(this.agents.length);
  }

  reveal(place, covered) {
    this.list.reveal(place, covered + this.heading.offsetHeight);
  }

  measure() {
    const { width, left } = this.axis.parentNode.getBoundingClientRect();
    this.width = width;
    this.grid.style.left = `${left - this.rows.getBoundingClientRect().left}px`;
    this.grid.style.width = `${width}px`;
    this.drawScale();
  }

  head(order, sort) {
    const names = { name: "Agent", tokens: "Tokens", cost: "Cost", longest: "Time" };
    const node = element(
      "button",
      {
        type: "button",
        class: order === "name" ? "who" : "number",
        title: `Sort by ${ORDERS[order].noun}`,
        onclick: () => sort(order),
      },
      names[order],
    );
    node.dataset.order = order;
    return node;
  }

  make() {
    const sign = element("span", { class: "sign", "aria-hidden": true });
    const name = element("bdi", { class: "name" });
    const label = element("bdi", { class: "label" });
    const before = drawing("rect", { class: "before", y: ROW / 2 - 1, height: 2, rx: 1 });
    const bar = drawing("rect", { class: "bar", y: 6, height: ROW - 12, rx: 3 });
    const mark = drawing("path", { class: "mark" });
    const tokens = element("span", { class: "number" });
    const cost = element("span", { class: "number" });
    const took = element("span", { class: "number" });
    const node = element(
      "div",
      { class: "row", role: "option" },
      element("div", { class: "who" }, sign, name, label),
      element("div", { class: "over" }, drawing("svg", { "aria-hidden": true, height: ROW }, before, bar, mark)),
      tokens,
      cost,
      took,
    );
    return { node, sign, name, label, before, bar, mark, tokens, cost, took };
  }

  drawRow(row, place) {
    const agent = this.agents[place];
    const status = this.run.standing(agent);
    const chosen = this.view.agent === agent.n;
    const at = this.view.place === place;
    const took = agent.starts ? duration(this.run.took(agent)) : "";
    const tokens = this.run.tokens(agent);
    const usd = this.run.usd(agent);
    set(row.node, {
      id: `row-${place}`,
      class: `row is-${status}${at ? " at" : ""}`,
      "aria-selected": String(chosen),
      "aria-posinset": place + 1,
      "aria-setsize": this.agents.length,
      "aria-label": inline(
        `${agent.name} ${agent.label}, ${STATUSES[status].noun}${took && `, ${took}, ${tokens} tokens`}`,
      ),
    });
    row.place = place;
    row.node.dataset.place = place;
    if (at) set(this.rows, { "aria-activedescendant": `row-${place}` });
    say(row.sign, STATUSES[status].sign);
    say(row.name, inline(agent.name));
    say(row.label, inline(this.width < 300 ? agent.label.split("/").at(-1) : agent.label || agent.error));
    say(row.tokens, tokens ? compact(tokens) : "");
    say(row.cost, usd ? price(usd) : agent.priced ? "" : "?");
    say(row.took, took);
    this.drawBar(row, agent, status);
  }

  drawBar(row, agent, status) {
    const clamp = (x) => Math.min(this.width + 8, Math.max(-8, x));
    const began = clamp(this.scale.x(agent.began, this.width));
    const end = clamp(this.scale.x(this.run.end(agent), this.width));
    const first = clamp(this.scale.x(agent.first, this.width));
    const marked = agent.starts === 0;
    set(row.bar, { x: began, width: Math.max(2, end - began), visibility: marked ? "hidden" : null });
    set(row.before, { x: first, width: Math.max(0, began - first), visibility: began - first > 1 ? null : "hidden" });
    const middle = ROW / 2;
    set(row.mark, {
      d: marked
        ? `M${began - 4} ${middle}L${began} ${middle - 4}L${began + 4} ${middle}L${began} ${middle + 4}Z`
        : null,
      visibility: marked ? null : "hidden",
    });
  }

  clicked(event) {
    const row = event.target.closest(".row");
    if (row?.dataset.place) this.open(this.at(Number(row.dataset.place)));
  }
}
