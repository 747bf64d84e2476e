// The value report: what the answers cost, what of it nobody read, what each vote changed, where the time went.

import { element, fill, inline } from "./elements.js";
import { compact, count, counted, dollars, duration, percent, price } from "./amounts.js";

const FATES = {
  answer: "went into the answer",
  read: "read by another agent",
  unread: "answered, and nobody read it",
  nothing: "gave no answer",
  pending: "not known yet",
};

export class Worth {
  constructor(run, source, { open }) {
    this.run = run;
    this.source = source;
    this.open = open;
    this.asked = -1; // the version of the run that was asked about
    this.body = element("div", { class: "worth-body" }, element("p", { class: "quiet" }, "Reading what was read …"));
    this.again = element(
      "button",
      { type: "button", class: "link", hidden: true, onclick: () => this.ask() },
      "The run has gone on: look again",
    );
    this.node = element("div", { class: "worth" }, this.again, this.body);
    this.size = 0;
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
    if (this.asked < 0) this.ask();
    else this.again.hidden = this.asked === this.run.version;
  }

  async ask() {
    this.asked = this.run.version;
    this.again.hidden = true;
    try {
      this.run.worth = await this.source.worth(this.run.summary.run);
      this.show(this.run.worth.report);
    } catch (error) {
      fill(this.body, element("p", { class: "problem" }, error.message));
    }
  }

  show(report) {
    fill(
      this.body,
      element("div", { class: "tiles" }, this.tiles(report)),
      this.shares(report),
      element("div", { class: "columns" }, this.twice(report), this.time(report)),
      report.ballots.map((ballot) => this.ballot(ballot)),
      element(
        "p",
        { class: "quiet" },
        "An answer counts as read when another agent's task quotes it, when the agent that asked for it got it, or when its pattern put it into the answer.",
      ),
    );
  }

  tiles(report) {
    const each = report.useful
      ? [
          report.spent.cost_usd ? price(report.usd_per_useful) : `${compact(report.tokens_per_useful)}`,
          report.spent.cost_usd ? `${compact(report.tokens_per_useful)} tokens` : "tokens",
        ]
      : ["none", "no answer was of use"];
    return [
      tile("Each useful answer cost", each[0], each[1]),
      tile(
        "Useful answers",
        count(report.useful),
        `of ${counted(report.outputs, "answer")} by ${counted(report.agents, "agent")}`,
      ),
      tile("Never read", report.never_read === null ? "–" : percent(report.never_read), "of all tokens"),
      tile("At work together", report.time.together.toFixed(1), "agents on average"),
    ];
  }

  shares({ shares }) {
    const some = shares.filter(({ agents, tokens }) => agents || tokens.input_tokens + tokens.output_tokens);
    const bar = element(
      "div",
      { class: "meter tall", "aria-hidden": true },
      some.map(({ fate }) => element("i", { class: `fate-${fate}` })),
    );
    some.forEach(({ share }, place) => (bar.children[place].style.flexGrow = share));
    const rows = some.map(({ fate, agents, tokens, share }) =>
      element(
        "tr",
        {},
        element("td", {}, element("i", { class: `dot fate-${fate}`, "aria-hidden": true }), FATES[fate]),
        element("td", { class: "number" }, count(agents)),
        element("td", { class: "number" }, compact(tokens.input_tokens + tokens.output_tokens)),
        element("td", { class: "number" }, dollars(tokens.cost_usd)),
        element("td", { class: "number" }, percent(share)),
      ),
    );
    return card("What became of it", bar, table(["what agents spent", "agents", "tokens", "cost", "share"], rows));
  }

  twice(report) {
    const list = (counts) => Object.entries(counts).map(([why, number]) => [inline(why), count(number)]);
    const rows = [
      ["starts", count(report.starts)],
      ...list(report.retries).map(([why, number]) => [`retried after ${why}`, number]),
      ...(report.lost ? [["lost with their process", count(report.lost)]] : []),
      ...list(report.refusals).map(([why, number]) => [`refused: ${why}`, number]),
      ...(report.withdrawn ? [["never started for another reason", count(report.withdrawn)]] : []),
    ];
    return card("Starts, retries and refusals", pairs(rows));
  }

  time({ time }) {
    return card(
      "Time",
      pairs([
        ["from the first start to the last end", duration(time.wall_s * 1000)],
        ["somebody at work", duration(time.busy_s * 1000)],
        ["all agents: worked", duration(time.worked_s * 1000)],
        ["all agents: waited for agents they asked", duration(time.waited_for_agents_s * 1000)],
        ["all agents: waited otherwise", duration(time.waited_s * 1000)],
      ]),
    );
  }

  ballot({ path, votes, winner, winner_votes: most, settled_after: settled, decided_after: decided, surplus }) {
    const after = surplus.input_tokens + surplus.output_tokens;
    const late = votes.length - decided;
    const told = settled
      ? `${most} of ${votes.length} for the winner; the last vote that changed it was number ${settled}; after number ${decided} it was decided${late ? `, and ${counted(late, "vote")} more cost ${compact(after)} tokens` : ""}.`
      : "Nobody won.";
    const rows = votes.map(({ voter, answer, winner: ahead, changed }, place) =>
      element(
        "tr",
        { class: changed ? "changed" : place >= decided ? "late" : null },
        element("td", { class: "number" }, place + 1),
        element("td", {}, this.voter(voter)),
        element("td", {}, element("bdi", {}, inline(answer) || "no answer")),
        element("td", {}, changed ? "→ " : "", element("bdi", {}, inline(ahead))),
      ),
    );
    return card(
      `Vote ${inline(path)}`,
      element("p", {}, told),
      element("p", {}, "Winner: ", element("bdi", { class: "code" }, inline(winner))),
      table(["", "voter", "answer", "ahead after it"], rows),
    );
  }

  voter(path) {
    const agent = this.run.byPath.get(path);
    const name = element("bdi", {}, inline(path.split("/").at(-1)));
    return agent ? element("button", { type: "button", class: "link", onclick: () => this.open(agent.n) }, name) : name;
  }
}

function tile(name, value, said) {
  return element(
    "div",
    { class: "tile" },
    element("h2", {}, name),
    element("p", { class: "value" }, value),
    element("p", { class: "told" }, said),
  );
}

function card(title, ...content) {
  return element("section", { class: "card" }, element("h3", {}, title), content);
}

function table(heads, rows) {
  const head = element(
    "tr",
    {},
    heads.map((name, place) =>
      element(
        "th",
        { scope: "col", class: place && rows[0]?.children[place].className === "number" ? "number" : null },
        name,
      ),
    ),
  );
  return element(
    "div",
    { class: "scrolls" },
    element("table", {}, element("thead", {}, head), element("tbody", {}, rows)),
  );
}

function pairs(rows) {
  return element(
    "dl",
    { class: "facts-list" },
    rows.map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
  );
}
