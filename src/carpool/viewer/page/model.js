// A run as the page knows it: what came in pages, put together, counted, filtered and sorted.

const COLUMNS = [
  "n",
  "path",
  "name",
  "role",
  "parent",
  "label",
  "status",
  "first",
  "began",
  "ended",
  "worked",
  "starts",
  "lost",
  "input",
  "output",
  "usd",
  "priced",
  "heldInput",
  "heldOutput",
  "heldUsd",
  "turns",
  "tools",
  "taskChars",
  "answerChars",
  "model",
  "error",
];
const BURN = ["t", "input", "output", "usd", "heldInput", "heldOutput", "heldUsd", "running", "starts"];

/** How an agent can stand, with its sign, in the order in which they are shown. */
export const STATUSES = {
  running: { sign: "…", noun: "running" },
  completed: { sign: "✓", noun: "finished" },
  failed: { sign: "✗", noun: "failed" },
  cancelled: { sign: "–", noun: "cancelled" },
  lost: { sign: "!", noun: "lost" },
  refused: { sign: "◇", noun: "refused" },
  withdrawn: { sign: "·", noun: "withdrawn" },
};

export const ORDERS = {
  start: { noun: "start", of: (agent) => agent.first },
  longest: { noun: "longest first", of: (agent, run) => -run.took(agent) },
  tokens: { noun: "most tokens first", of: (agent, run) => -run.tokens(agent) },
  cost: { noun: "dearest first", of: (agent, run) => -run.usd(agent) },
  name: { noun: "name", of: null },
};

const byName = new Intl.Collator("en", { numeric: true });

export class RunModel {
  constructor() {
    this.clear();
  }

  clear() {
    this.summary = null;
    this.agents = []; // by their numbers
    this.burn = [];
    this.limits = [];
    this.notes = [];
    this.counts = Object.fromEntries(Object.keys(STATUSES).map((status) => [status, 0]));
    this.byPath = new Map();
    this.version = 0;
    this.last = 0; // the latest moment that is known, in ms since the run was created
    this.clockAhead = 0; // of the server's clock over ours
    this.worth = null;
    this.selection = { version: -1 };
  }

  /** Take in a page. */
  apply(page) {
    if (page.fresh) this.clear();
    this.summary = page.run;
    this.clockAhead = page.now - Date.now();
    for (const row of page.agents ?? []) this.take(row);
    for (const row of page.burn ?? [])
      this.burn.push(Object.fromEntries(BURN.map((name, place) => [name, row[place]])));
    for (const [t, total, input, output, usd, agents, seconds] of page.limits ?? []) {
      this.limits.push({ t, tokens: total, input, output, usd, starts: agents, seconds });
    }
    this.notes.push(...(page.notes ?? []));
    this.last = Math.max(this.last, this.summary.updated - this.summary.created);
    this.complete = !page.more;
    this.version += 1;
  }

  take(row) {
    const agent = {};
    for (let place = 0; place < COLUMNS.length; place += 1) agent[COLUMNS[place]] = row[place];
    agent.sought = `${agent.path}\n${agent.label}\n${agent.error}\n${agent.model}`.toLowerCase();
    const before = this.agents[agent.n];
    if (before) this.counts[before.status] -= 1;
    this.counts[agent.status] += 1;
    this.agents[agent.n] = agent;
    this.byPath.set(agent.path, agent);
    this.last = Math.max(this.last, agent.ended ?? agent.began);
  }

  /** How an agent stands: in a run whose process is gone, nobody runs. */
  standing(agent) {
    return agent.status === "running" && !this.summary.live ? "lost" : agent.status;
  }

  count(status) {
    const { live } = this.summary;
    if (status === "running") return live ? this.counts.running : 0;
    return this.counts[status] + (status === "lost" && !live ? this.counts.running : 0);
  }

  /** Milliseconds since the run was created: of a run that has ended, its end. */
  now() {
    if (!this.summary.live) return this.last;
    return Math.max(this.last, Date.now() + this.clockAhead - this.summary.created);
  }

  /** What an agent has spent; who is lost, also what it held. */
  tokens(agent) {
    const held = this.standing(agent) === "lost" ? agent.heldInput + agent.heldOutput : 0;
    return agent.input + agent.output + held;
  }

  usd(agent) {
    return agent.usd + (this.standing(agent) === "lost" ? agent.heldUsd : 0);
  }

  end(agent) {
    return (
      agent.ended ?? (agent.status === "running" && this.summary.live ? this.now() : Math.max(agent.began, this.last))
    );
  }

  took(agent) {
    return this.end(agent) - agent.began;
  }

  /** The budget as it stands: what those hold who are lost is spent. */
  standingBudget() {
    const last = this.burn.at(-1) ?? Object.fromEntries(BURN.map((name) => [name, 0]));
    if (this.summary.live) return last;
    return {
      ...last,
      input: last.input + last.heldInput,
      output: last.output + last.heldOutput,
      usd: last.usd + last.heldUsd,
      heldInput: 0,
      heldOutput: 0,
      heldUsd: 0,
      running: 0,
    };
  }

  limit(name) {
    return this.limits.at(-1)?.[name] ?? null;
  }

  /** Agents whose name, item or error has every word of `text`, who stand as one of `statuses` (all, if it is empty). */
  select({ text, statuses, order }) {
    const asked = `${text}\n${[...statuses].join()}\n${order}\n${this.summary?.live}`;
    const known = this.selection;
    if (known.version === this.version && known.asked === asked) return known.agents;
    const sought = text.toLowerCase().split(/\s+/u).filter(Boolean);
    const agents = this.agents.filter(
      (agent) =>
        agent &&
        (!statuses.size || statuses.has(this.standing(agent))) &&
        sought.every((word) => agent.sought.includes(word)),
    );
    this.selection = { version: this.version, asked, agents: this.sorted(agents, order) };
    return this.selection.agents;
  }

  sorted(agents, order) {
    if (order === "name") return agents.sort((one, other) => byName.compare(one.path, other.path) || one.n - other.n);
    const keyOf = ORDERS[order].of;
    const keyed = agents.map((agent) => [keyOf(agent, this), agent]);
    keyed.sort((one, other) => one[0] - other[0] || one[1].n - other[1].n);
    return keyed.map(([, agent]) => agent);
  }
}
