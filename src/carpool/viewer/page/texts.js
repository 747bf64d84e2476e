// A long text, as far as it was sent: the rest is there for the asking.

import { add, announce, element, say } from "./elements.js";
import { compact, counted } from "./amounts.js";

const PIECE = 64000; // characters more at a time

/** `first` is the beginning of it; `ask(from, chars)` gets what comes next. */
export function longText(name, first, ask, className = "") {
  let { next, more } = first;
  const shown = element("pre", { class: "text", tabindex: 0, "aria-label": name }, first.text);
  const rest = element("button", { type: "button", class: "more" });
  const tell = () => {
    rest.hidden = !more;
    say(rest, `show more: ${compact(next)} of ${compact(first.chars)} characters are here`);
  };
  const goOn = async () => {
    rest.disabled = true;
    const piece = await ask(next, PIECE);
    add(shown, element("span", {}, piece.text));
    ({ next, more } = piece);
    rest.disabled = false;
    tell();
  };
  rest.addEventListener("click", () => goOn().catch(tellOf));
  tell();
  const length = element("span", { class: "label" }, counted(first.chars, "character"));
  const heading = element("h3", {}, name, length, copier(first, ask));
  return element("section", { class: `told-text ${className}` }, heading, shown, rest);
}

/** Copies all of it, also what is not shown yet. */
function copier(first, ask) {
  if (!navigator.clipboard) return null;
  const copy = async () => {
    let { text, next, more } = first;
    while (more) {
      const piece = await ask(next, PIECE * 8);
      ({ next, more } = piece);
      text += piece.text;
    }
    await navigator.clipboard.writeText(text);
    say(node, "copied");
    announce("copied");
    setTimeout(() => say(node, "copy"), 1500);
  };
  const node = element("button", { type: "button", class: "link", onclick: () => copy().catch(tellOf) }, "copy");
  return node;
}

/** That somebody looks at another agent meanwhile is no mishap. */
function tellOf(error) {
  if (error.name !== "AbortError") announce(error.message);
}
