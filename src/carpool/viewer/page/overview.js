// What a run comes to so far: a tile for each of agents, tokens, cost and time.

import { element, fill, inline, say, set } from "./elements.js";
import { compact, count, counted, duration, moment, price, words } from "./amounts.js";
import { STATUSES } from "./model.js";

export class Overview {
  constructor(run, { more }) {
    this.run = run;
    this.whole = null; // the task, once somebody wants all of it
    this.task = element("h1", { class: "task" });
    this.more = element("button", { type: "button", class: "link", hidden: true, onclick: more }, "whole task");
    this.facts = element("p", { class: "facts" });
    this.tiles = {
      agents: new Tile("Agents"),
      tokens: new Tile("Tokens"),
      usd: new Tile("Cost"),
      time: new Tile("Time"),
      starts: new Tile("Starts"),
    };
    this.node = element(
      "section",
      { class: "overview", "aria-label": "Overview" },
      element("div", { class: "asked" }, this.task, this.more),
      this.facts,
      element(
        "div",
        { class: "tiles" },
        Object.values(this.tiles).map((tile) => tile.node),
      ),
    );
  }

  draw() {
    const { run } = this;
    const { summary } = run;
    say(this.task, this.whole ?? (inline(summary.task) || "A run without a task"));
    this.more.hidden = this.whole !== null || (summary.task.length < 160 && summary.task_chars <= summary.task.length);
    const facts = [
      words(summary.pattern),
      words(summary.status),
      `began ${moment(summary.created)}`,
      summary.processes > 1 && `in ${summary.processes} processes`,
    ];
    say(this.facts, facts.filter(Boolean).map(inline).join(" · "));
    this.drawAgents();
    const budget = run.standingBudget();
    this.drawSpend("tokens", budget.input + budget.output, budget.heldInput + budget.heldOutput, compact);
    this.drawSpend("usd", budget.usd, budget.heldUsd, price);
    const starts = run.limit("starts");
    this.tiles.starts.node.hidden = starts === null;
    if (starts !== null) this.drawSpend("starts", budget.starts, 0, count);
    this.drawTime(budget);
  }

  showWhole(task) {
    this.whole = task;
    this.task.classList.add("whole");
    this.draw();
  }

  drawAgents() {
    const { run } = this;
    const parts = Object.keys(STATUSES).filter((status) => run.count(status));
    const told = parts.map((status) => `${compact(run.count(status))} ${STATUSES[status].noun}`);
    this.tiles.agents.show(count(run.agents.length), told.join(" · ") || "none yet");
    this.tiles.agents.bar(parts.map((status) => [`is-${status}`, run.count(status)]));
  }

  drawSpend(what, spent, held, tell) {
    const limit = this.run.limit(what);
    const budget = this.run.standingBudget();
    const parts = [];
    if (limit !== null) parts.push(`of ${tell(limit)}`);
    if (held) parts.push(`${tell(held)} held`);
    if (limit !== null)
      parts.push(limit >= spent + held ? `${tell(limit - spent - held)} free` : `${tell(spent + held - limit)} over`);
    if (limit === null && what === "tokens") parts.push(`${compact(budget.input)} in · ${compact(budget.output)} out`);
    if (limit === null && what === "usd") parts.push(this.run.summary.priced ? "no limit" : "some prices are unknown");
    this.tiles[what].show(tell(spent), parts.join(" · "));
    const free = limit === null ? 0 : Math.max(0, limit - spent - held);
    this.tiles[what].bar(
      limit === null
        ? []
        : [
            ["spent", spent],
            ["held", held],
            ["free", free],
          ],
    );
  }

  drawTime(budget) {
    const { run } = this;
    const limit = run.limit("seconds");
    const parts = [];
    if (limit !== null) parts.push(`of ${duration(limit * 1000)}`);
    parts.push(
      run.summary.live
        ? `${counted(budget.running, "agent")} at work`
        : run.summary.duration
          ? `${duration(run.summary.duration)} at work`
          : "cut off",
    );
    this.tiles.time.show(duration(run.now()), parts.join(" · "));
  }
}

class Tile {
  constructor(name) {
    this.value = element("p", { class: "value" });
    this.told = element("p", { class: "told" });
    this.meter = element("div", { class: "meter", "aria-hidden": true });
    this.node = element("div", { class: "tile" }, element("h2", {}, name), this.value, this.meter, this.told);
  }

  show(value, told) {
    say(this.value, value);
    say(this.told, told);
  }

  bar(parts) {
    if (this.meter.childElementCount !== parts.length)
      fill(
        this.meter,
        parts.map(() => element("i")),
      );
    parts.forEach(([className, share], place) => {
      set(this.meter.children[place], { class: className });
      this.meter.children[place].style.flexGrow = share;
    });
  }
}
