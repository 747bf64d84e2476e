// What keys do, and the page that says so.

import { button, element } from "./elements.js";

const KEYS = [
  ["j  k  ↓  ↑", "the next agent, the one before"],
  ["Enter", "look at it"],
  ["Esc", "close, or clear the search"],
  ["/", "search"],
  ["1 2 3 4", "timeline, tree, value, events"],
  ["+  −  0", "see less time, more, all of it"],
  ["← →", "earlier, later; in the tree: close, open a branch"],
  ["Home  End", "the first agent, the last"],
  ["g", "all runs"],
  ["d", "light or dark"],
  ["?", "this"],
];

export class Help {
  constructor() {
    const rows = KEYS.map(([keys, what]) => [
      element(
        "dt",
        {},
        keys.split(/ +/u).map((key) => [element("kbd", {}, key), " "]),
      ),
      element("dd", {}, what),
    ]);
    this.node = element(
      "dialog",
      { class: "help", "aria-label": "Keys" },
      element(
        "div",
        { class: "card-head" },
        element("h2", {}, "Keys"),
        button("Close (Esc)", { class: "icon", onclick: () => this.node.close() }, "✕"),
      ),
      element("dl", { class: "facts-list keys" }, rows),
      element(
        "p",
        { class: "quiet" },
        "With the mouse: Ctrl and the wheel zoom, Shift and the wheel or a drag move; in the budget, drag over the time to be seen.",
      ),
    );
    document.body.append(this.node);
  }

  turn() {
    if (this.node.open) this.node.close();
    else this.node.showModal();
  }
}

/** Call `does[key]` for keys that are pressed where nobody types; what returns false is left to the browser. */
export function onKeys(does) {
  const listen = (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest?.("input, textarea, select, dialog[open]");
    if (typing && event.key !== "Escape" && !(event.key === "Enter" && typing.type === "search")) return;
    if (event.key === "Enter" && event.target.closest?.("button, a, summary")) return;
    if (typing?.localName === "dialog") return;
    const act = does[event.key];
    if (act && act(event) !== false) event.preventDefault();
  };
  document.addEventListener("keydown", listen);
  return () => document.removeEventListener("keydown", listen);
}
