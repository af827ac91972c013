// The widgets of panels that show one value and set it: pins, a switch, a slider, an LED.
// @ts-check

import { h, put, button, setText, problemNote, uniqueID } from "./dom.js";
import { make } from "./calls.js";
import { outcome, outcomeBadge, resultText, statusText } from "./format.js";

/** What devices wrap a single value in: `{"value": true}`, or any one member. */
export function plain(detail) {
  if (typeof detail !== "object" || detail === null || Array.isArray(detail)) return detail;
  if ("value" in detail) return detail.value;
  const values = Object.values(detail);
  return values.length === 1 ? values[0] : detail;
}

export const isOn = (value) =>
  typeof value === "string" ? ["true", "on", "1", "yes"].includes(value.toLowerCase()) : Array.isArray(value) ? value.length > 0 : Boolean(value);

/** A panel: a title, tools, a body and what its last call came to. */
export class Widget {
  constructor(device, panel, panels) {
    Object.assign(this, { device, panel, panels });
    const id = uniqueID("panel");
    this.edit = h("div", { class: "tools" });
    this.body = h("div", { class: "panel-body" });
    this.status = h("div", { class: "panel-status", role: "status" });
    this.node = h("section", { class: `panel panel-${panel.type}`, "aria-labelledby": id },
      h("div", { class: "panel-head" }, h("h3", { id }, panel.title), this.edit), this.body, this.status);
  }

  /** Calls the device with a list of params. Returns the detail; undefined when the call did not end with OK, which is then said. */
  async call(method, params) {
    put(this.status, h("span", { class: "muted" }, `${method}…`));
    this.node.setAttribute("aria-busy", "true");
    try {
      const call = await make(this.device, { method, params });
      if (outcome(call) === "ok") {
        put(this.status);
        return call.detail;
      }
      put(this.status, outcomeBadge(call), ` ${method}: `, statusText(call) || resultText(call, 80));
    } catch (error) {
      put(this.status, problemNote(error));
    } finally {
      this.node.removeAttribute("aria-busy");
    }
    return undefined;
  }

  readButton() {
    this.edit.append(button("Read", () => this.read(), { class: "small", "aria-label": `Read ${this.panel.title}` }));
  }
}

function toggle(label, click) {
  const word = h("span", { class: "word" }, "unknown");
  const node = h("button", { type: "button", role: "switch", "aria-checked": "false", "aria-label": label, class: "switch unknown", onclick: click }, h("span", { class: "knob", "aria-hidden": "true" }), word);
  const show = (value) => {
    node.classList.toggle("unknown", value === null);
    node.setAttribute("aria-checked", String(value === true));
    setText(word, value === null ? "unknown" : value ? "on" : "off");
  };
  return { node, show };
}

export class Switch extends Widget {
  constructor(...all) {
    super(...all);
    this.value = null;
    this.toggle = toggle(this.panel.title, () => this.set(!this.value));
    this.body.append(this.toggle.node);
    this.readButton();
  }

  async read() {
    const detail = await this.call(this.panel.getMethod, []);
    if (detail !== undefined) this.show(isOn(plain(detail)));
  }

  async set(value) {
    const detail = await this.call(this.panel.setMethod, [value]);
    // A device that says what it is now is believed; another has done what it was told.
    if (detail !== undefined) this.show(typeof plain(detail) === "boolean" ? plain(detail) : value);
  }

  show(value) {
    this.value = value;
    this.toggle.show(value);
  }
}

export class Slider extends Widget {
  constructor(...all) {
    super(...all);
    const { min, max, step, title } = this.panel;
    const bounds = { min, max, step };
    this.range = h("input", { type: "range", ...bounds, "aria-label": title, oninput: () => (this.number.value = this.range.value), onchange: () => this.set(Number(this.range.value)) });
    this.number = h("input", { type: "number", ...bounds, "aria-label": `${title}, as a number`, placeholder: "–", onchange: () => this.number.value !== "" && this.set(Number(this.number.value)) });
    this.range.value = String(min);
    this.body.append(h("span", { class: "muted" }, String(min)), this.range, h("span", { class: "muted" }, String(max)), this.number);
    this.readButton();
  }

  async read() {
    const detail = await this.call(this.panel.getMethod, []);
    if (detail !== undefined) this.show(plain(detail), this.panel.getMethod);
  }

  async set(value) {
    const { min, max } = this.panel;
    if (!(value >= min && value <= max)) return setText(this.status, `Enter a number from ${min} to ${max}.`);
    const detail = await this.call(this.panel.setMethod, [value]);
    if (detail !== undefined) this.show(typeof plain(detail) === "number" ? plain(detail) : value);
  }

  show(value, method) {
    const number = typeof value === "bigint" || typeof value === "string" || typeof value === "number" ? Number(value) : NaN;
    if (!Number.isFinite(number)) return setText(this.status, `${method} answered no number.`);
    this.range.value = this.number.value = String(number);
  }
}

export class Led extends Widget {
  constructor(...all) {
    super(...all);
    this.lamp = h("span", { class: "lamp unknown", "aria-hidden": "true" });
    this.word = h("span", { class: "word" }, "unknown");
    this.body.append(this.lamp, this.word);
    this.readButton();
    const every = Number(this.panel.every) || 0;
    // Not for a page that nobody sees, nor for a device that is not there.
    if (every > 0) this.timer = setInterval(() => !document.hidden && this.panels.state !== "offline" && this.read(), Math.max(1, every) * 1000);
  }

  async read() {
    const detail = await this.call(this.panel.method, []);
    if (detail === undefined) return;
    const value = isOn(plain(detail));
    this.lamp.className = `lamp ${value ? "on" : "off"}`;
    setText(this.word, value ? "on" : "off");
  }

  stop() {
    clearInterval(this.timer);
  }
}

export class Gpio extends Widget {
  constructor(...all) {
    super(...all);
    this.pins = new Map();
    this.empty = h("p", { class: "muted" }, "No pins known yet.");
    this.grid = h("div", { class: "pins" });
    this.body.append(this.empty, this.grid);
    this.readButton();
  }

  async read() {
    const detail = await this.call(this.panel.getMethod, []);
    if (detail !== undefined) this.show(detail, true);
  }

  async set(pin, enabled) {
    const detail = await this.call(this.panel.setMethod, [{ pin: /^\d+$/.test(pin) ? Number(pin) : pin, enabled }]);
    if (detail !== undefined && !this.show(detail, false)) this.pins.get(pin)?.show(enabled);
  }

  /** Shows what the device says of its pins, if it says anything. */
  show(detail, isAll) {
    const members = typeof detail?.value === "object" && detail.value !== null ? detail.value : detail;
    const pins = Object.entries(members ?? {}).filter(([, value]) => typeof value === "boolean" || value === 0 || value === 1);
    if (!pins.length) {
      if (isAll) setText(this.status, `${this.panel.getMethod} answered no pins, such as {"1":true,"2":false}.`);
      return false;
    }
    pins.sort(([a], [b]) => Number(a) - Number(b) || (a < b ? -1 : 1));
    for (const [pin, value] of pins) {
      if (!this.pins.has(pin)) this.add(pin);
      this.pins.get(pin).show(Boolean(value));
    }
    this.empty.hidden = true;
    return true;
  }

  add(pin) {
    const control = toggle(`Pin ${pin}`, () => this.set(pin, control.node.getAttribute("aria-checked") !== "true"));
    this.pins.set(pin, control);
    this.grid.append(h("div", { class: "pin" }, h("span", { "aria-hidden": "true" }, pin), control.node));
  }
}
