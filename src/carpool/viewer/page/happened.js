// What happened to one agent: its evidence, its calls of tools, and its events.

import { add, element, inline, say, table } from "./elements.js";
import { count, counted, dollars, duration, words } from "./amounts.js";
import { offset } from "./timescale.js";

/** What supports its outcome. */
export function evidenceOf(outcome) {
  if (!outcome?.evidence.length) return null;
  const items = outcome.evidence.map(({ kind, description, data }) =>
    element(
      "li",
      {},
      element("b", {}, words(kind)),
      " ",
      element("bdi", {}, inline(description)),
      data ? element("pre", { class: "text small", tabindex: 0, "aria-label": "data" }, data) : null,
    ),
  );
  const more = outcome.evidence_count - outcome.evidence.length;
  return element(
    "section",
    {},
    element("h3", {}, "Evidence"),
    element("ul", { class: "evidence" }, items),
    more > 0 ? element("p", { class: "quiet" }, `and ${count(more)} more`) : null,
  );
}

/** Calls of tools, put together from their events. */
export function toolCalls({ events, tools_used: used }) {
  const calls = new Map();
  for (const event of events) {
    if (!event.action) continue;
    const key = `${event.proposal} ${event.action}`;
    const call = calls.get(key) ?? {
      tool: event.tool ?? event.action,
      attempts: 0,
      end: "…",
      said: "",
      took: null,
      t: event.t,
    };
    calls.set(key, call);
    if (event.kind === "action_executing") call.attempts += 1;
    if (event.kind in ENDS)
      [call.end, call.said, call.took] = [
        ENDS[event.kind],
        event.error ?? event.reason ?? event.policy ?? "",
        event.duration_ms ?? null,
      ];
  }
  if (!calls.size)
    return used?.length
      ? element("section", {}, element("h3", {}, "Tools used"), element("p", {}, used.map(inline).join(", ")))
      : null;
  const rows = [...calls.values()].map(({ tool, attempts, end, said, took, t }) =>
    element(
      "tr",
      {},
      element("td", {}, offset(t, 1)),
      element("td", {}, element("bdi", { class: "code" }, inline(tool))),
      element("td", {}, attempts > 1 ? `${end}, ${counted(attempts, "attempt")}` : end),
      element("td", { class: "number" }, took === null ? "" : duration(took)),
      element("td", {}, element("bdi", {}, inline(said))),
    ),
  );
  const heads = ["at", "tool", "ended", "took", "why"].map((name) => element("th", { scope: "col" }, name));
  return element(
    "section",
    {},
    element("h3", {}, "Tool calls"),
    element(
      "div",
      { class: "scrolls" },
      element("table", { class: "calls" }, element("thead", {}, element("tr", {}, heads)), element("tbody", {}, rows)),
    ),
  );
}

/** Everything in its order; `ask(from)` gets what comes after the first. */
export function eventsOf({ events, event_count: total }, ask) {
  const list = element("ol", { class: "events" }, events.map(told));
  const more = element("button", { type: "button", class: "more" });
  let known = events.length;
  const tell = () => {
    more.hidden = known >= total;
    say(more, `show more: ${count(known)} of ${count(total)} events are here`);
  };
  more.addEventListener("click", async () => {
    const next = await ask(known);
    add(list, next.map(told));
    known += next.length;
    tell();
  });
  tell();
  return element("section", {}, element("h3", {}, "Events"), list, more);
}

const ENDS = table({
  action_succeeded: "done",
  action_failed: "failed",
  action_rejected: "rejected",
  action_skipped: "skipped",
  action_deduplicated: "remembered",
  policy_violation: "denied",
});

function told({ kind, t, seq, run, timestamp, ...rest }) {
  const details = Object.entries(rest).filter(([name, value]) => value && !QUIET.has(name));
  const text = details.map(
    ([name, value]) =>
      `${LABELS[name] ?? words(name)} ${typeof value === "object" ? JSON.stringify(value) : amountOf(name, value)}`,
  );
  return element(
    "li",
    {},
    element("span", { class: "at" }, offset(t, 1)),
    element("b", {}, words(kind)),
    " ",
    element("bdi", { class: "label" }, inline(text.join(" · "))),
  );
}

function amountOf(name, value) {
  if (name === "duration_ms") return duration(value);
  if (name === "cost_usd") return dollars(value);
  return typeof value === "number" ? count(value) : value;
}

const LABELS = table({ duration_ms: "took", cost_usd: "cost" });
const QUIET = new Set(["proposal", "parameters_digest"]);
