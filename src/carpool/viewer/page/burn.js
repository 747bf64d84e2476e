// The burn of the budget: what is spent and held over time, under its limit, with what was refused.

import { drawing, element, fill, onFrame, say, set, table } from "./elements.js";
import { compact, count, duration, price } from "./amounts.js";
import { offset } from "./timescale.js";

const HEIGHT = 148;
const STRIP = 30; // below it: how many are at work
const TOP = 8;

const UNITS = {
  tokens: { noun: "Tokens", spent: (p) => p.input + p.output, held: (p) => p.heldInput + p.heldOutput, tell: compact },
  input: { noun: "Input", spent: (p) => p.input, held: (p) => p.heldInput, tell: compact },
  output: { noun: "Output", spent: (p) => p.output, held: (p) => p.heldOutput, tell: compact },
  usd: { noun: "Dollars", spent: (p) => p.usd, held: (p) => p.heldUsd, tell: price },
  starts: { noun: "Starts", spent: (p) => p.starts, held: () => 0, tell: count },
};

export class Burn {
  constructor(run, scale) {
    this.run = run;
    this.scale = scale;
    this.unit = null;
    this.width = 0;
    this.pointed = null; // the moment under the pointer
    this.reading = element("p", { class: "reading" });
    this.units = element("div", { class: "units", role: "group", "aria-label": "What is drawn" });
    this.svg = drawing("svg", { class: "burn-chart", role: "img", height: HEIGHT + STRIP + 20 });
    this.node = element(
      "section",
      { class: "card burn", "aria-label": "Budget over time" },
      element("div", { class: "card-head" }, element("h2", {}, "Budget"), this.reading, this.units),
      this.svg,
    );
    this.later = onFrame(() => this.draw());
    this.measured = new ResizeObserver(([entry]) => {
      this.width = entry.contentRect.width;
      this.later();
    });
    this.measured.observe(this.svg);
    this.listen();
  }

  close() {
    this.measured.disconnect();
  }

  draw() {
    if (!this.node.isConnected || this.width < 1 || !this.run.summary) return;
    const shown = Object.keys(UNITS).filter((unit) => this.isOfInterest(unit));
    if (!shown.includes(this.unit)) this.unit = this.fullest(shown);
    this.drawUnits(shown);
    const unit = UNITS[this.unit];
    const columns = this.columns(unit);
    const most = columns.reduce((high, { spent, held }) => Math.max(high, spent + held), 0);
    const limit = this.limitAt(this.scale.to);
    const limitShown = limit !== null && limit <= Math.max(most, 1e-9) * 8;
    const high = Math.max(most, limitShown ? limit : 0) * 1.08 || 1;
    const y = (value) => TOP + (HEIGHT - TOP) * (1 - value / high);
    fill(this.svg, [
      this.gridlines(high, y, unit),
      drawing("path", { class: "held", d: area(columns, y, ({ spent, held }) => spent + held, HEIGHT) }),
      drawing("path", { class: "spent", d: area(columns, y, ({ spent }) => spent, HEIGHT) }),
      drawing("path", { class: "spent-line", d: outline(columns, y, ({ spent }) => spent) }),
      limitShown ? this.limitLine(y) : null,
      limit !== null && limitShown
        ? label(`limit ${unit.tell(limit)}`, this.width - 4, y(limit) - 4, "end limit-label")
        : null,
      this.happenings(),
      this.strip(columns),
      this.axis(),
      this.pointer(),
    ]);
    set(this.svg, { width: this.width, "aria-label": this.sentence(unit, limit) });
    this.tell(unit, limit, limitShown);
  }

  isOfInterest(unit) {
    const last = this.run.burn.at(-1);
    if (unit === "tokens") return true;
    if (this.run.limit(unit) !== null) return true;
    return unit === "usd" && Boolean(last && last.usd + last.heldUsd);
  }

  /** The unit in which most of its limit is used. */
  fullest(units) {
    const last = this.run.standingBudget();
    const used = (unit) => {
      const limit = this.run.limit(unit);
      return limit ? (UNITS[unit].spent(last) + UNITS[unit].held(last)) / limit : 0;
    };
    const spending = units.filter((unit) => unit !== "starts");
    return spending.reduce((best, unit) => (used(unit) > used(best) ? unit : best), spending[0]);
  }

  drawUnits(units) {
    if (this.unitsShown === units.join()) {
      for (const node of this.units.children) set(node, { "aria-pressed": String(node.dataset.unit === this.unit) });
      return;
    }
    this.unitsShown = units.join();
    fill(this.units, units.length > 1 ? units.map((unit) => this.unitButton(unit)) : []);
  }

  unitButton(unit) {
    const choose = () => {
      this.unit = unit;
      this.draw();
    };
    const node = element(
      "button",
      { type: "button", "aria-pressed": String(unit === this.unit), onclick: choose },
      UNITS[unit].noun,
    );
    node.dataset.unit = unit;
    return node;
  }

  /** The curve as far as it is seen, with a point for each pixel at most: the last in it, and the most that was held. */
  columns(unit) {
    const points = this.run.burn;
    const first = Math.max(0, placeAfter(points, this.scale.from) - 1);
    const columns = [];
    for (let place = first; place < points.length; place += 1) {
      const point = points[place];
      if (point.t > this.scale.to) break;
      const x = Math.max(0, Math.round(this.scale.x(point.t, this.width)));
      const last = columns.at(-1);
      const seen = { x, spent: unit.spent(point), held: unit.held(point), running: point.running };
      if (last?.x === x) {
        columns[columns.length - 1] = {
          ...seen,
          held: Math.max(last.held, seen.held),
          running: Math.max(last.running, seen.running),
        };
      } else {
        columns.push(seen);
      }
    }
    const end = Math.min(this.width, this.scale.x(this.run.now(), this.width));
    const last = columns.at(-1);
    if (last && last.x < end)
      columns.push({ ...last, x: end, ...(this.run.summary.live ? {} : { held: 0, running: 0 }) });
    return columns;
  }

  limitAt(t) {
    return this.run.limits.findLast((limits) => limits.t <= t)?.[this.unit] ?? null;
  }

  limitLine(y) {
    const seen = this.run.limits.filter((limits) => limits.t <= this.scale.to && limits[this.unit] !== null);
    let path = "";
    seen.forEach((limits, place) => {
      const from = Math.max(0, this.scale.x(limits.t, this.width));
      const to = place + 1 < seen.length ? this.scale.x(seen[place + 1].t, this.width) : this.width;
      if (to > 0) path += `M${from} ${y(limits[this.unit])}H${to}`;
    });
    return drawing("path", { class: "limit", d: path });
  }

  gridlines(high, y, unit) {
    const step = roundAmount(high / 3);
    const values = [];
    for (let value = step; value < high; value += step) values.push(value);
    return values.map((value) => [
      drawing("path", { class: "gridline", d: `M0 ${Math.round(y(value)) + 0.5}H${this.width}` }),
      label(unit.tell(value), 2, y(value) - 3, ""),
    ]);
  }

  /** Refusals, warnings, raised limits, and processes that took the run over. */
  happenings() {
    const at = (t) => Math.round(this.scale.x(t, this.width)) + 0.5;
    const seen = (t) => t >= this.scale.from && t <= this.scale.to;
    const marks = new Set();
    for (const agent of this.run.agents) {
      if (agent && agent.status === "refused" && seen(agent.first)) marks.add(at(agent.first));
    }
    const notes = this.run.notes.filter((note) => seen(note.t) && note.kind in NOTED);
    const taken = this.run.limits.slice(1).filter((limits) => seen(limits.t));
    return [
      notes.map((note) =>
        drawing(
          "path",
          { class: `note ${note.kind}`, d: `M${at(note.t)} ${TOP}V${HEIGHT}` },
          drawing("title", {}, NOTED[note.kind]),
        ),
      ),
      taken.map((limits) => drawing("path", { class: "note", d: `M${at(limits.t)} ${TOP}V${HEIGHT}` })),
      drawing("path", { class: "refusals", d: [...marks].map((x) => `M${x - 3.5} ${HEIGHT}l3.5 -5l3.5 5z`).join("") }),
    ];
  }

  strip(columns) {
    const most = columns.reduce((high, { running }) => Math.max(high, running), 1);
    const base = HEIGHT + STRIP;
    const y = (running) => base - (STRIP - 8) * (running / most);
    return [
      drawing("path", { class: "at-work", d: area(columns, y, ({ running }) => running, base) }),
      label(`at work, ${count(most)} at most`, this.width - 4, HEIGHT + 14, "end"),
    ];
  }

  axis() {
    const { step, ticks } = this.scale.ticks(this.width);
    const y = HEIGHT + STRIP + 14;
    const fitting = ticks.filter((t) => this.scale.x(t, this.width) < this.width - 44);
    return fitting.map((t) => label(offset(t, step), this.scale.x(t, this.width) + 3, y, ""));
  }

  pointer() {
    if (this.pointed === null) return null;
    const x = this.scale.x(this.pointed, this.width);
    return drawing("path", { class: "pointer", d: `M${Math.round(x) + 0.5} ${TOP}V${HEIGHT + STRIP}` });
  }

  sentence(unit, limit) {
    const last = this.run.standingBudget();
    const refused = this.run.count("refused");
    const of = limit === null ? "" : ` of ${unit.tell(limit)}`;
    return `${unit.noun}: ${unit.tell(unit.spent(last))}${of} spent, ${unit.tell(unit.held(last))} held; ${count(refused)} refused`;
  }

  tell(unit, limit, limitShown) {
    const at = this.pointed === null ? -1 : placeAfter(this.run.burn, this.pointed) - 1;
    const point = at >= 0 ? this.run.burn[at] : this.run.standingBudget();
    const parts = [`${unit.tell(unit.spent(point))} spent`];
    if (unit.held(point)) parts.push(`${unit.tell(unit.held(point))} held`);
    if (limit !== null && !limitShown) parts.push(`limit ${unit.tell(limit)}, far above`);
    if (at >= 0) parts.unshift(`after ${duration(this.pointed)}`);
    if (at >= 0) parts.push(`${count(point.running)} at work`);
    say(this.reading, parts.join(" · "));
  }

  listen() {
    let from = null;
    const moment = (event) => this.scale.t(event.clientX - this.svg.getBoundingClientRect().left, this.width);
    this.svg.addEventListener("pointermove", (event) => {
      this.pointed = moment(event);
      this.later();
    });
    this.svg.addEventListener("pointerleave", () => {
      this.pointed = null;
      this.later();
    });
    this.svg.addEventListener("pointerdown", (event) => {
      from = event.pointerType === "mouse" && event.button === 0 ? moment(event) : null;
    });
    this.svg.addEventListener("pointerup", (event) => {
      const to = moment(event);
      const pixels = from === null ? 0 : Math.abs(this.scale.x(to, this.width) - this.scale.x(from, this.width));
      if (pixels > 6) this.scale.show(Math.min(from, to), Math.max(from, to));
      from = null;
    });
    this.svg.addEventListener("dblclick", () => this.scale.fit());
  }
}

const NOTED = table({
  budget_warning: "four fifths of a limit are spent",
  budget_exhausted: "the budget refused a start for the first time",
  limits_raised: "limits were raised",
});

function label(text, x, y, className) {
  return drawing("text", { x, y, class: className }, text);
}

function placeAfter(points, t) {
  let [low, high] = [0, points.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle].t <= t) low = middle + 1;
    else high = middle;
  }
  return low;
}

function outline(columns, y, value) {
  return columns
    .map((column, place) => (place ? `H${column.x}V${y(value(column))}` : `M${column.x} ${y(value(column))}`))
    .join("");
}

function area(columns, y, value, base) {
  if (!columns.length) return "";
  return `${outline(columns, y, value)}V${base}H${columns[0].x}Z`;
}

function roundAmount(amount) {
  const power = 10 ** Math.floor(Math.log10(amount));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= amount);
}
