// Where the page has its data from: the server that it came from, or the file that it is.

import { breathe } from "./elements.js";

/** What the reader should know, and can't be helped by trying again. */
export class Problem extends Error {}

const LOST_TOKEN = "This page no longer has a token. Open the address that carpool view printed, or start it again.";

/** A server. Its token comes in the address, is taken out of it, and lives as long as this tab. */
class Served {
  constructor(token) {
    this.token = token;
    this.offline = false;
  }

  runs(signal) {
    return this.get("runs", {}, signal);
  }

  agent(run, n, signal) {
    return this.get("run/agent", { run, agent: n }, signal);
  }

  text(run, n, part, from, chars, signal) {
    return this.get("run/text", { run, agent: n, part, from, chars }, signal);
  }

  events(run, n, from, signal) {
    return this.get("run/events", { run, agent: n, from }, signal);
  }

  worth(run, signal) {
    return this.get("run/worth", { run }, signal);
  }

  /** Every page of a run, as it comes, until the run has ended; `connected` hears whether the server does answer. */
  async follow(run, taken, connected, signal) {
    let cursor = "";
    while (!signal.aborted) {
      try {
        const answer = await this.ask("run/follow", { run, since: cursor }, signal);
        connected(true);
        for await (const { name, data } of eventsOf(answer.body)) {
          if (name === "end") return;
          if (name === "problem") throw new Problem(data.error);
          cursor = data.cursor;
          taken(data);
          await breathe();
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Problem) throw error;
      }
      connected(false);
      await new Promise((done) => setTimeout(done, 1000));
    }
  }

  async get(path, query, signal) {
    return (await this.ask(path, query, signal)).json();
  }

  async ask(path, query, signal) {
    const headers = { Authorization: `Bearer ${this.token}` };
    const answer = await fetch(`/api/${path}?${new URLSearchParams(query)}`, { headers, signal });
    if (answer.status === 401) throw new Problem(LOST_TOKEN);
    if (!answer.ok) {
      const told = await answer.json().catch(() => ({}));
      throw new Problem(told.error ?? `The server answered ${answer.status}.`);
    }
    return answer;
  }
}

/** Server-sent events, from a stream of bytes. */
async function* eventsOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  while (true) {
    const { value, done } = await reader.read();
    if (done) return;
    waiting += value;
    for (let end = waiting.indexOf("\n\n"); end >= 0; end = waiting.indexOf("\n\n")) {
      const event = parsed(waiting.slice(0, end));
      waiting = waiting.slice(end + 2);
      if (event !== null) yield event;
    }
  }
}

function parsed(text) {
  const fields = {};
  for (const line of text.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return fields.event && fields.data ? { name: fields.event, data: JSON.parse(fields.data) } : null;
}

/** A file that holds one run, and all that was said in it. */
class Embedded {
  constructor() {
    this.offline = true;
    const { text, per_block: perBlock } = JSON.parse(document.querySelector("script.task").textContent);
    this.task = text;
    this.perBlock = perBlock;
    this.run = JSON.parse(document.querySelector("script.rows").textContent).run.run;
  }

  async agent(run, n) {
    const block = document.getElementById(`details-${Math.floor(n / this.perBlock)}`);
    const detail = JSON.parse(block.textContent)[n % this.perBlock];
    this.known = detail;
    const texts = Object.entries(detail.texts).map(([part, { text }]) => [part, sliced(text, 0, 16000)]);
    return { ...detail, texts: Object.fromEntries(texts) };
  }

  async text(run, n, part, from, chars) {
    if (n === -1) return sliced(this.task, from, chars);
    if (this.known?.n !== n) await this.agent(run, n);
    return sliced(this.known.texts[part].text, from, chars);
  }

  async events() {
    return [];
  }

  async worth() {
    return JSON.parse(document.querySelector("script.worth").textContent);
  }

  async follow(run, taken, connected, signal) {
    for (const block of document.querySelectorAll("script.rows")) {
      if (signal.aborted) return;
      taken(JSON.parse(block.textContent));
      await breathe();
    }
  }
}

function sliced(text, from, chars) {
  let next = Math.min(text.length, from + chars);
  if (text.charCodeAt(next - 1) >= 0xd800 && text.charCodeAt(next - 1) < 0xdc00) next += 1; // no half of a character
  return { text: text.slice(from, next), next, more: next < text.length, chars: text.length };
}

export function openSource() {
  if (document.querySelector("script.rows")) return new Embedded();
  const address = new URL(location.href);
  const token = address.searchParams.get("token");
  if (token) {
    sessionStorage.setItem("token", token);
    address.searchParams.delete("token");
    history.replaceState(null, "", address.pathname + address.hash);
  }
  return new Served(token ?? sessionStorage.getItem("token") ?? "");
}
