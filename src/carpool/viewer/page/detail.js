// One agent in full: what it was told, what it answered, on what evidence, and what happened to it.

import { arrange, button, element, fill, inline } from "./elements.js";
import { compact, count, dollars, duration, words } from "./amounts.js";
import { STATUSES } from "./model.js";
import { evidenceOf, eventsOf, toolCalls } from "./happened.js";
import { longText } from "./texts.js";

export class Detail {
  constructor(run, source, { open, close, step }) {
    this.run = run;
    this.source = source;
    this.open = open;
    this.n = null;
    this.looking = null; // what is fetched of an agent is given up when somebody looks at another
    this.texts = new Map(); // as far as they were read
    this.title = element("h2", { class: "who", tabindex: -1, id: "detail-title" });
    this.body = element("div", { class: "detail-body" });
    this.node = element(
      "aside",
      { class: "detail", hidden: true, "aria-labelledby": "detail-title" },
      element(
        "div",
        { class: "detail-head" },
        this.title,
        button("The one before (k)", { onclick: () => step(-1), class: "icon" }, "↑"),
        button("The next one (j)", { onclick: () => step(1), class: "icon" }, "↓"),
        button("Close (Esc)", { onclick: close, class: "icon" }, "✕"),
      ),
      this.body,
    );
  }

  /** Show agent `n`; nobody, if that is null. */
  async show(n, { focus = false } = {}) {
    const changed = n !== this.n;
    this.n = n;
    this.node.hidden = n === null;
    if (changed) this.turnAway();
    const agent = n === null ? null : this.run.agents[n];
    if (!agent) return;
    this.shown = this.stateOf(agent);
    this.drawTitle(agent);
    if (changed) fill(this.body, this.facts(agent));
    if (focus) this.title.focus({ preventScroll: true });
    const { signal } = this.looking;
    try {
      const detail = await this.source.agent(this.run.summary.run, n, signal);
      if (!signal.aborted) this.draw(agent, detail);
    } catch (error) {
      if (error.name !== "AbortError")
        fill(this.body, this.facts(agent), element("p", { class: "problem" }, error.message));
    }
  }

  /** From the agent that was looked at. */
  turnAway() {
    this.looking?.abort();
    this.looking = new AbortController();
    this.texts.clear();
    this.body.scrollTop = 0;
  }

  /** What is shown of an agent that has changed meanwhile is asked for again. */
  refresh() {
    const agent = this.n === null ? null : this.run.agents[this.n];
    if (agent && this.shown !== this.stateOf(agent)) this.show(this.n);
  }

  stateOf(agent) {
    return [this.run.standing(agent), agent.starts, agent.ended, this.run.worth !== null].join();
  }

  drawTitle(agent) {
    const status = this.run.standing(agent);
    fill(
      this.title,
      element("span", { class: `sign is-${status}`, "aria-hidden": true }, STATUSES[status].sign),
      element("bdi", {}, inline(agent.name)),
      element("span", { class: "label" }, STATUSES[status].noun),
    );
  }

  draw(agent, detail) {
    const { texts } = detail;
    const parts = [
      this.facts(agent, detail),
      texts.error && this.text("Error", agent.n, "error", texts.error, "error"),
      texts.answer && this.text("Answer", agent.n, "answer", texts.answer),
      texts.task && this.text("Task", agent.n, "task", texts.task),
      texts.system && this.text("System prompt", agent.n, "system", texts.system),
      evidenceOf(detail.outcome),
      toolCalls(detail),
      eventsOf(detail, (from) => this.source.events(this.run.summary.run, agent.n, from)),
    ];
    arrange(this.body, parts.filter(Boolean));
  }

  facts(agent, detail = {}) {
    const { run } = this;
    const { spec } = detail;
    const rows = [
      ["path", element("bdi", { class: "code" }, inline(agent.path))],
      ["item", agent.label && element("bdi", {}, inline(agent.label))],
      ["model", agent.model && inline(agent.model)],
      ["time", agent.starts ? this.times(agent) : null],
      ["tokens", agent.starts ? `${count(agent.input)} in · ${count(agent.output)} out` : null],
      [
        "cost",
        agent.starts ? (agent.priced ? dollars(agent.usd) : `${dollars(agent.usd)} and what is not priced`) : null,
      ],
      [
        "held",
        agent.heldInput + agent.heldOutput
          ? `${compact(agent.heldInput + agent.heldOutput)} tokens · ${dollars(agent.heldUsd)}`
          : null,
      ],
      [
        "starts",
        agent.starts > 1 ? `${agent.starts}${agent.lost ? `, ${agent.lost} lost with their process` : ""}` : null,
      ],
      ["turns", agent.turns > 1 ? count(agent.turns) : null],
      ["tools", spec?.tools.length ? spec.tools.map(inline).join(", ") : null],
      ["asked by", agent.parent && this.link(run.byPath.get(agent.parent), agent.parent)],
      [
        "outcome",
        detail.outcome &&
          inline(`${words(detail.outcome.status)}${detail.outcome.summary && `: ${detail.outcome.summary}`}`),
      ],
      ["use", this.useOf(agent)],
    ];
    return element(
      "dl",
      { class: "facts-list" },
      rows.filter(([, value]) => value).map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
    );
  }

  times(agent) {
    const { run } = this;
    const parts = [duration(run.took(agent)), `from ${duration(agent.began)} on`];
    if (agent.ended !== null && agent.worked && run.took(agent) - agent.worked > 1000)
      parts.push(`${duration(agent.worked)} at work`);
    return parts.join(" · ");
  }

  /** What became of its answer, once the value report is there. */
  useOf(agent) {
    const { worth } = this.run;
    const fate = worth?.fates[agent.n];
    if (!fate) return null;
    const readers = (worth.readers[agent.n] ?? []).map((n) => this.run.agents[n]).filter(Boolean);
    const told = {
      answer: "part of the answer",
      read: "read",
      unread: "nobody read it",
      nothing: "no answer",
      pending: "may still be read",
    };
    if (!readers.length) return told[fate];
    const shown = readers.slice(0, 8).map((reader, place) => [place ? ", " : "", this.link(reader, reader.name)]);
    return element("span", {}, "read by ", shown, readers.length > 8 ? ` and ${readers.length - 8} more` : "");
  }

  link(agent, name) {
    if (!agent) return element("bdi", {}, inline(name));
    return element(
      "button",
      { type: "button", class: "link", onclick: () => this.open(agent.n) },
      element("bdi", {}, inline(name)),
    );
  }

  /** What is read of a text stays read, unless the text has become another. */
  text(name, n, part, first, className) {
    const known = this.texts.get(part);
    if (known?.first.text === first.text && known.first.chars === first.chars) return known.node;
    const { signal } = this.looking;
    const ask = (from, chars) => this.source.text(this.run.summary.run, n, part, from, chars, signal);
    const node = longText(name, first, ask, className);
    this.texts.set(part, { first, node });
    return node;
  }
}
