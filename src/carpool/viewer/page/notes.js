// What happened to the run as a whole: its start, warnings of its budget, refusals, its end.

import { element, fill, inline, say } from "./elements.js";
import { counted, dollars, duration, words } from "./amounts.js";
import { offset } from "./timescale.js";

export class Notes {
  constructor(run) {
    this.run = run;
    this.items = element("ol", { class: "events whole" });
    this.refused = element("p", { class: "quiet" });
    this.node = element("div", { class: "notes" }, this.items, this.refused);
    this.size = 0;
    this.drawn = -1;
  }

  close() {}

  at() {
    return null;
  }

  placeOf() {
    return -1;
  }

  reveal() {}

  drawScale() {}

  draw() {
    if (this.drawn === this.run.version) return;
    this.drawn = this.run.version;
    fill(this.items, this.run.notes.map(noted));
    const refused = this.run.count("refused");
    say(
      this.refused,
      refused
        ? `${counted(refused, "agent")} refused by the budget; what happened to each agent stands with it.`
        : "What happened to each agent stands with it.",
    );
  }
}

function noted(note) {
  return element(
    "li",
    {},
    element("span", { class: "at" }, offset(note.t, 1)),
    element("b", {}, words(note.kind)),
    " ",
    element("bdi", { class: "label" }, inline(meaning(note))),
  );
}

function meaning({ kind, pattern, dimension, spent, limit, reason, stop_reason: stop, error, duration_ms: took }) {
  if (kind === "budget_warning") {
    const tell = dimension === "cost_usd" ? dollars : (amount) => amount.toLocaleString("en-US");
    return `${tell(spent ?? 0)} of ${tell(limit ?? 0)} ${dimension === "cost_usd" ? "" : words(dimension)}`;
  }
  return [pattern && words(pattern), reason, stop && words(stop), error, took && duration(took)]
    .filter(Boolean)
    .join(" · ");
}
