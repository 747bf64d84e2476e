// Agents under the patterns, and the agents, that asked for them.

import { element, fill, inline, say, set } from "./elements.js";
import { compact, count, duration, price } from "./amounts.js";
import { STATUSES } from "./model.js";
import { LongList } from "./list.js";

const ROW = 28;
const OPEN_AT_MOST = 200; // children, of what is shown open at first

export class Tree {
  constructor(run, view, { open }) {
    this.run = run;
    this.view = view;
    this.open = open;
    this.turned = new Map(); // whether a branch is open, by path, where somebody turned it
    this.lines = [];
    this.rows = element("div", {
      class: "rows",
      role: "tree",
      tabindex: 0,
      "aria-label": "Agents under their patterns",
      onclick: (event) => this.clicked(event),
    });
    const names = ["Pattern or agent", "Agents", "Tokens", "Cost", "Time"];
    const heading = element(
      "div",
      { class: "row heading" },
      names.map((name, place) => element("span", { class: place ? "number" : "who" }, name)),
    );
    this.heading = heading;
    this.empty = element("p", { class: "quiet", hidden: true });
    this.node = element("div", { class: "tree" }, heading, this.rows, this.empty);
    this.list = new LongList(
      this.rows,
      ROW,
      () => this.make(),
      (row, place) => this.drawRow(row, place),
    );
    this.sum = { version: -1 };
  }

  close() {
    this.list.close();
  }

  get size() {
    return this.lines.length;
  }

  at(place) {
    return this.lines[place]?.agent?.n ?? null;
  }

  placeOf(n) {
    return this.lines.findIndex((line) => line.agent?.n === n);
  }

  reveal(place, covered) {
    this.list.reveal(place, covered + this.heading.offsetHeight);
  }

  draw() {
    const agents = this.run.select({ ...this.view, order: "start" });
    if (this.sum.version !== this.run.version || this.sum.agents !== agents) {
      this.sum = { version: this.run.version, agents, root: grown(agents, this.run) };
    }
    this.lines = [];
    this.flatten(this.sum.root, 0);
    this.empty.hidden = this.lines.length > 0;
    say(this.empty, this.run.agents.length ? "No agent is like this." : "No agent has started yet.");
    this.list.show(this.lines.length);
  }

  drawScale() {}

  /** Open or close the branch at a place; tells whether it was one that could be. */
  turn(place, open) {
    const line = this.lines[place];
    if (!line?.children.size || this.isOpen(line) === open) return false;
    this.turned.set(line.path, open);
    this.draw();
    return true;
  }

  isOpen(line) {
    return this.turned.get(line.path) ?? (line.children.size <= OPEN_AT_MOST || line.depth === 0);
  }

  flatten(branch, depth) {
    for (const line of branch.children.values()) {
      line.depth = depth;
      this.lines.push(line);
      if (line.children.size && this.isOpen(line)) this.flatten(line, depth + 1);
    }
  }

  make() {
    const twist = element("span", { class: "twist", "aria-hidden": true });
    const sign = element("span", { class: "sign", "aria-hidden": true });
    const name = element("bdi", { class: "name" });
    const label = element("bdi", { class: "label" });
    const shares = element("span", { class: "shares", "aria-hidden": true });
    const numbers = ["agents", "tokens", "cost", "took"].map(() => element("span", { class: "number" }));
    const who = element("div", { class: "who" }, twist, sign, name, label);
    const node = element("div", { class: "row", role: "treeitem" }, who, shares, ...numbers);
    return { node, who, twist, sign, name, label, shares, numbers };
  }

  drawRow(row, place) {
    const line = this.lines[place];
    const { agent } = line;
    const status = agent ? this.run.standing(agent) : null;
    const chosen = agent !== null && agent.n === this.view.agent;
    const at = this.view.place === place;
    const branch = line.children.size > 0;
    set(row.node, {
      id: `row-${place}`,
      class: `row${status ? ` is-${status}` : " pattern"}${at ? " at" : ""}`,
      "aria-level": line.depth + 1,
      "aria-expanded": branch ? String(this.isOpen(line)) : null,
      "aria-selected": String(chosen),
      "aria-label": inline(`${line.name}, ${status ? STATUSES[status].noun : `${count(line.total)} agents`}`),
    });
    row.node.dataset.place = place;
    if (at) set(this.rows, { "aria-activedescendant": `row-${place}` });
    row.who.style.paddingInlineStart = `${Math.min(line.depth, 12) * 16 + 4}px`;
    say(row.twist, branch ? (this.isOpen(line) ? "▾" : "▸") : "");
    say(row.sign, status ? STATUSES[status].sign : "");
    say(row.name, inline(line.name));
    say(row.label, inline(agent ? agent.label || agent.error : ""));
    this.drawShares(row.shares, branch ? line : null);
    const took = agent ? (agent.starts ? this.run.took(agent) : 0) : line.to - line.from;
    const told = [
      branch ? count(line.total) : "",
      line.tokens ? compact(line.tokens) : "",
      line.usd ? price(line.usd) : "",
      took ? duration(took) : "",
    ];
    row.numbers.forEach((cell, which) => say(cell, told[which]));
  }

  drawShares(node, line) {
    const parts = line === null ? [] : Object.keys(STATUSES).filter((status) => line.counts[status]);
    fill(
      node,
      parts.map((status) => element("i", { class: `is-${status}` })),
    );
    parts.forEach((status, place) => (node.children[place].style.flexGrow = line.counts[status]));
  }

  clicked(event) {
    const row = event.target.closest(".row");
    if (!row?.dataset.place) return;
    const place = Number(row.dataset.place);
    const line = this.lines[place];
    if (event.target.closest(".twist") || line.agent === null) this.turn(place, !this.isOpen(line));
    else this.open(line.agent.n);
  }
}

/** A tree of these agents: each branch with what all under it come to, itself included. */
function grown(agents, run) {
  const root = branchAt("", "");
  for (const agent of agents) {
    const status = run.standing(agent);
    const end = run.end(agent);
    const tokens = run.tokens(agent);
    const usd = run.usd(agent);
    let branch = root;
    let path = "";
    for (const part of agent.path.split("/")) {
      path = path ? `${path}/${part}` : part;
      let next = branch.children.get(part);
      if (!next) branch.children.set(part, (next = branchAt(path, part)));
      branch = next;
      branch.total += 1;
      branch.tokens += tokens;
      branch.usd += usd;
      branch.counts[status] = (branch.counts[status] ?? 0) + 1;
      branch.from = Math.min(branch.from, agent.began);
      branch.to = Math.max(branch.to, end);
    }
    branch.agent = agent;
  }
  return root;
}

function branchAt(path, name) {
  return {
    path,
    name,
    agent: null,
    children: new Map(),
    total: 0,
    tokens: 0,
    usd: 0,
    counts: {},
    from: Infinity,
    to: 0,
    depth: 0,
  };
}
