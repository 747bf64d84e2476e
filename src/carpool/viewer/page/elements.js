// Elements of the page. What they say is text, always: nothing here takes markup, and the page's policy forbids it.

const HARMFUL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ud800-\udfff]/gu;
const SVG = "http://www.w3.org/2000/svg";

/** `text` with every character written out that does something else than be seen: controls, and marks that turn the
 * direction of writing, so that a line can't read as another. */
export function harmless(text) {
  return String(text)
    .replaceAll("\r\n", "\n")
    .replace(HARMFUL, (found) => {
      const code = found.codePointAt(0);
      return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
    });
}

/** On one line, for a name or a heading. */
export function inline(text) {
  return harmless(String(text).replace(/\s+/gu, " ").trim());
}

/** An element with attributes and children; children are elements, texts, or nothing. What begins with `on` listens. */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function drawing(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  set(node, attributes);
  add(node, ...children);
  return node;
}

/** Set attributes: `true` is there, `false` and nothing are not. */
export function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === false || value === null || value === undefined) node.removeAttribute(name);
    else node.setAttribute(name, value === true ? "" : harmless(value));
  }
  return node;
}

export function add(node, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(harmless(child)));
  }
  return node;
}

/** These children, and no others. */
export function fill(node, ...children) {
  node.replaceChildren();
  return add(node, ...children);
}

const said = new WeakMap();

/** This text; a node that says it already is left alone. */
export function say(node, text) {
  if (said.get(node) === text) return;
  said.set(node, text);
  node.textContent = harmless(text);
}

/** These elements, and no others; those that are there already are not moved, and keep where they were scrolled to. */
export function arrange(node, elements) {
  for (const child of [...node.childNodes]) if (!elements.includes(child)) child.remove();
  let at = node.firstChild;
  for (const each of elements) {
    if (each === at) at = at.nextSibling;
    else node.insertBefore(each, at);
  }
}

/** What stands for what, by names that may come from anywhere: it has no others than these. */
export function table(entries) {
  return Object.assign(Object.create(null), entries);
}

/** Tell whoever can't see the page. */
export function announce(text) {
  say(document.getElementById("said"), text);
}

/** Let the browser do what waits: draw, scroll, answer a key. */
export function breathe() {
  if (globalThis.scheduler?.yield) return scheduler.yield();
  return new Promise((done) => setTimeout(done, 0));
}

/** At most once per frame, and after everything that asked for it. */
export function onFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}

export function button(label, attributes, ...children) {
  return element("button", { type: "button", "aria-label": label, title: label, ...attributes }, ...children);
}
