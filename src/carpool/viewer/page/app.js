// The page: which view the address asks for, and what stands above every view.

import { button, element, fill, inline, say, set, table } from "./elements.js";
import { words } from "./amounts.js";
import { openSource } from "./sources.js";
import { Help, onKeys } from "./keys.js";
import { RunView } from "./run.js";
import { RunsView } from "./runs.js";

const VIEW_NAMES = ["timeline", "tree", "value", "events"];
const THEMES = table({ light: "dark", dark: "light" });

class Page {
  constructor() {
    this.source = openSource();
    this.help = new Help();
    this.shown = null; // the view, and the run that it is of
    this.crumb = element("span", { class: "crumb" });
    this.pill = element("span", { class: "pill", hidden: true });
    this.lost = element(
      "span",
      { class: "pill is-failed", hidden: true, role: "status" },
      "no connection; trying again",
    );
    fill(
      document.getElementById("top"),
      element(
        this.source.offline ? "span" : "a",
        { class: "brand", href: this.source.offline ? null : "#/" },
        "carpool",
      ),
      this.crumb,
      this.pill,
      this.lost,
      element("span", { class: "space" }),
      button("Light or dark (d)", { class: "icon", onclick: () => this.turnTheme() }, "◐"),
      button("Keys (?)", { class: "icon", onclick: () => this.help.turn() }, "?"),
    );
    this.setTheme(remembered());
    addEventListener("hashchange", () => this.show());
    onKeys({ "?": () => this.help.turn(), d: () => this.turnTheme(), g: () => !this.source.offline && this.goHome() });
    this.show();
  }

  show() {
    const route = this.route();
    if (this.shown?.run === route.run && this.shown.view.route) return this.shown.view.route(route);
    this.shown?.view.close();
    delete document.documentElement.dataset.ready;
    document.body.classList.remove("with-detail");
    this.pill.hidden = true;
    this.state({ connected: true });
    const does = { goTo: (change) => this.goTo(route.run, change), state: (state) => this.state(state) };
    const view = route.run === null ? new RunsView(this.source, does) : new RunView(this.source, route, does);
    this.shown = { run: route.run, view };
    say(this.crumb, route.run === null ? "" : inline(route.run));
    document.title = route.run === null ? "carpool" : `${inline(route.run)} · carpool`;
    fill(document.getElementById("main"), view.node);
    scrollTo(0, 0);
  }

  /** `#/run/ID?view=tree&agent=12`; nothing is the list of runs, or the one run of a file. */
  route() {
    const [path, query] = location.hash.slice(1).split("?");
    const asked = new URLSearchParams(query);
    const agent = asked.get("agent");
    const view = asked.get("view");
    return {
      run: this.source.offline ? this.source.run : path.startsWith("/run/") ? decoded(path.slice(5)) : null,
      view: VIEW_NAMES.includes(view) ? view : "timeline",
      agent: /^\d{1,9}$/.test(agent ?? "") ? Number(agent) : null,
    };
  }

  /** Going from agent to agent is one step for the browser's Back; opening the first one is another. */
  goTo(run, { view, agent }) {
    const asked = new URLSearchParams();
    if (view !== "timeline") asked.set("view", view);
    if (agent !== null) asked.set("agent", agent);
    const query = asked.size ? `?${asked}` : "";
    const opens = agent !== null && this.route().agent === null;
    const address = `#/run/${encodeURIComponent(run)}${query}`;
    if (opens) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
    this.show();
  }

  goHome() {
    location.hash = "#/";
  }

  state({ connected, summary }) {
    if (connected !== undefined) this.lost.hidden = connected;
    if (!summary) return;
    this.pill.hidden = false;
    set(this.pill, { class: `pill ${summary.live ? "is-running" : "is-ended"}` });
    say(this.pill, summary.live ? (this.source.offline ? "was running" : "live") : words(summary.status));
  }

  turnTheme() {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
    this.setTheme(THEMES[now]);
    remember(THEMES[now]);
  }

  setTheme(theme) {
    if (theme in THEMES) document.documentElement.dataset.theme = theme;
  }
}

// Where a browser keeps nothing, as for some files, the page goes by the system's theme.

function remembered() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}

function remember(theme) {
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // it lasts as long as the page
  }
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

new Page();
