// The parameters of a call in a form: added, removed, put in order, of a type each, and checked.
// @ts-check

import { h, button, setError, announce } from "./dom.js";
import { parse } from "./api.js";
import { json } from "./format.js";

const TYPES = { text: "Text", number: "Number", boolean: "True/false", null: "Null", json: "JSON" };
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

function typeOf(value) {
  if (value === null) return "null";
  if (typeof value === "bigint") return "number";
  return typeof value === "string" ? "text" : typeof value === "object" ? "json" : typeof value;
}

export class Params {
  constructor(change) {
    this.change = change;
    this.rows = [];
    this.list = h("ol", { class: "params", "aria-label": "Params" });
    this.add = button("Add param", () => this.insert("number", "", true), { class: "small" });
    this.node = h("fieldset", { class: "params-set" }, h("legend", null, "Params"), this.list, this.add);
  }

  insert(type, text, isNew = false) {
    const row = new Param(this, type, text);
    this.rows.push(row);
    this.list.append(row.node);
    this.renumber();
    if (isNew) row.control.focus();
  }

  set(values) {
    this.rows = [];
    this.list.replaceChildren();
    for (const value of values) {
      const type = typeOf(value);
      this.insert(type, type === "text" ? value : type === "null" ? "" : json(value));
    }
    this.renumber();
  }

  /** What is typed, as it is: also what is wrong. */
  draft() {
    return this.rows.map((row) => ({ type: row.type.value, text: row.text }));
  }

  restore(draft) {
    this.rows = [];
    this.list.replaceChildren();
    for (const { type, text } of draft) this.insert(type, text);
  }

  /** The values; null when one is wrong, which is then said beside it. */
  values(isQuiet = false) {
    const all = this.rows.map((row) => row.read(isQuiet));
    const wrong = all.findIndex((one) => one.error);
    if (wrong < 0) return all.map((one) => one.value);
    if (!isQuiet) this.rows[wrong].control.focus();
    return null;
  }

  remove(row) {
    const index = this.rows.indexOf(row);
    this.rows.splice(index, 1);
    row.node.remove();
    this.renumber();
    (this.rows[Math.min(index, this.rows.length - 1)]?.control ?? this.add).focus();
    announce("Removed");
  }

  move(row, step) {
    const index = this.rows.indexOf(row);
    const to = index + step;
    if (to < 0 || to >= this.rows.length) return;
    this.rows.splice(index, 1);
    this.rows.splice(to, 0, row);
    this.list.insertBefore(row.node, this.list.children[step > 0 ? to + 1 : to] ?? null);
    this.renumber();
    (step > 0 ? row.down : row.up).focus();
    if (document.activeElement !== row.down && document.activeElement !== row.up) row.control.focus();
    announce(`Param ${to + 1} of ${this.rows.length}`);
  }

  renumber() {
    this.rows.forEach((row, index) => row.number(index, this.rows.length));
    this.change();
  }
}

let serial = 0;

class Param {
  constructor(owner, type, text) {
    this.owner = owner;
    this.id = `param-${++serial}`;
    this.type = h("select", { onchange: () => this.retype() },
      Object.entries(TYPES).map(([value, label]) => h("option", { value }, label)));
    this.type.value = type;
    this.up = button("↑", () => owner.move(this, -1), { class: "small square" });
    this.down = button("↓", () => owner.move(this, 1), { class: "small square" });
    this.cross = button("×", () => owner.remove(this), { class: "small square" });
    this.place = h("span", { class: "value" });
    this.error = h("span", { class: "error", id: `${this.id}-error` });
    this.node = h("li", null, this.type, this.place, h("span", { class: "tools" }, this.up, this.down, this.cross), this.error);
    this.make(text);
  }

  get text() {
    return this.type.value === "null" ? "" : this.control.value;
  }

  retype() {
    const before = this.text;
    // A text that is no longer a number stays, so that it can be mended.
    this.make(this.type.value === "boolean" ? (before === "false" ? "false" : "true") : before);
    this.number(this.index, this.owner.rows.length);
    this.owner.change();
  }

  make(text) {
    const type = this.type.value;
    const props = { id: this.id, autocomplete: "off", spellcheck: "false", oninput: () => this.check(), onblur: () => this.text && this.read(false) };
    if (type === "boolean") this.control = h("select", props, h("option", { value: "true" }, "true"), h("option", { value: "false" }, "false"));
    else if (type === "null") this.control = h("input", { ...props, disabled: true, value: "null" });
    else if (type === "json") this.control = h("textarea", { ...props, rows: Math.min(8, text.split("\n").length), placeholder: '{"pin": 1}' });
    else this.control = h("input", { ...props, type: "text", inputmode: type === "number" ? "decimal" : null, placeholder: type === "number" ? "0" : "text" });
    if (type !== "null") this.control.value = text || (type === "boolean" ? "true" : "");
    this.place.replaceChildren(this.control);
    setError(this.control, "");
    this.error.textContent = "";
  }

  // While somebody types, an error goes away, and does not come.
  check() {
    if (this.control.hasAttribute("aria-invalid")) this.read(false);
    this.owner.change();
  }

  read(isQuiet) {
    const result = this.value();
    if (!isQuiet) setError(this.control, result.error ?? "");
    return result;
  }

  value() {
    const text = this.text.trim();
    switch (this.type.value) {
      case "text": return { value: this.text };
      case "null": return { value: null };
      case "boolean": return { value: text === "true" };
      case "number": return NUMBER.test(text) ? { value: parse(text) } : { error: "This is no number, such as 7 or -0.5." };
      default:
        try {
          return { value: parse(text) };
        } catch (error) {
          return { error: text ? `This is no JSON: ${String(error.message).replace(/^JSON\.parse: /, "")}` : "Enter JSON." };
        }
    }
  }

  number(index, length) {
    this.index = index;
    const name = `param ${index + 1}`;
    this.type.setAttribute("aria-label", `Type of ${name}`);
    this.control.setAttribute("aria-label", `Value of ${name}`);
    this.up.setAttribute("aria-label", `Move ${name} up`);
    this.down.setAttribute("aria-label", `Move ${name} down`);
    this.cross.setAttribute("aria-label", `Remove ${name}`);
    this.up.disabled = index === 0;
    this.down.disabled = index === length - 1;
  }
}
