// JSON as a tree: built where it is opened, and long texts and lists cut, since a device may send a megabyte.
// @ts-check

import { h, append, button, copyButton, put } from "./dom.js";
import { count, json } from "./format.js";

const LONGEST_TEXT = 300;
const PART = 100;
const OPEN_ITEMS = 20;

export function tree(value, label) {
  return h(
    "div", { class: "tree", role: "group", "aria-label": label },
    node(null, value, true),
    copyButton(() => json(value), "Copy JSON", label));
}

function node(name, value, isOpen = false) {
  if (typeof value === "object" && value !== null) return branch(name, value, isOpen);
  return h("div", { class: "leaf" }, nameOf(name), leaf(value));
}

const nameOf = (name) => (name === null ? null : h("span", { class: "name" }, `${name}: `));

function leaf(value) {
  if (typeof value === "string") return text(value);
  const kind = value === null ? "null" : typeof value === "bigint" ? "number" : typeof value;
  return h("span", { class: `value-${kind}` }, String(value));
}

function text(value) {
  if (value.length <= LONGEST_TEXT) return h("span", { class: "value-string" }, JSON.stringify(value));
  const shown = h("span", { class: "value-string" }, `${JSON.stringify(value.slice(0, LONGEST_TEXT)).slice(0, -1)}…`);
  const node = h("span", null, shown, " ");
  node.append(button(`Show all (${count(value.length)} characters)`, () => {
    // As plain text in a box that scrolls: the browser lays out only lines.
    put(node, h("pre", { class: "long", tabindex: "0", role: "region", "aria-label": "The whole text" }, value));
    /** @type {HTMLElement} */ (node.firstChild).focus();
  }, { class: "small" }));
  return node;
}

function branch(name, value, isOpen) {
  const entries = Array.isArray(value) ? value.map((item, index) => [String(index), item]) : Object.entries(value);
  const size = Array.isArray(value) ? `[${count(entries.length)}]` : `{${count(entries.length)}}`;
  if (!entries.length) return h("div", { class: "leaf" }, nameOf(name), Array.isArray(value) ? "[ ]" : "{ }");
  const preview = json(value, 60);
  const details = h("details", { open: isOpen && entries.length <= OPEN_ITEMS },
    h("summary", null, nameOf(name), h("span", { class: "muted" }, size), h("span", { class: "preview muted" }, ` ${preview}`)));
  const build = () => {
    if (details.open && details.children.length === 1) details.append(items(entries, 0));
  };
  details.addEventListener("toggle", build);
  build();
  return details;
}

function items(entries, from) {
  const list = h("div", { class: "items" });
  append(list, entries.slice(from, from + PART).map(([name, value]) => node(name, value)));
  const rest = entries.length - from - PART;
  if (rest > 0) {
    const more = button(`Show ${count(Math.min(rest, PART))} more of ${count(rest)}`, () => more.replaceWith(items(entries, from + PART)), { class: "small" });
    list.append(more);
  }
  return list;
}
