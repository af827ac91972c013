// The panels of a device: which there are, remembered by the server for all front ends, and how they are changed.
// @ts-check

import { h, put, card, button, field, textInput, setError, announce, problemNote } from "./dom.js";
import { devicePath, send, isAbort } from "./api.js";
import { confirmDialog, dialogForm, openDialog } from "./dialogs.js";
import { json } from "./format.js";
import { Gpio, Led, Slider, Switch } from "./widgets.js";
import { Terminal } from "./terminal.js";

const getter = { name: "getMethod", label: "Method that reads" };
const setter = { name: "setMethod", label: "Method that sets" };

const TYPES = {
  gpio: { label: "GPIO", make: Gpio, fields: [getter, setter],
    initial: { title: "GPIO", getMethod: "getGpioStatus", setMethod: "setGpioStatus" } },
  switch: { label: "Switch", make: Switch, fields: [getter, setter],
    initial: { title: "Switch", getMethod: "getValue", setMethod: "setValue" } },
  slider: { label: "Slider", make: Slider, fields: [getter, setter, { name: "min", label: "From", isNumber: true }, { name: "max", label: "To", isNumber: true }, { name: "step", label: "Step", isNumber: true }],
    initial: { title: "Slider", getMethod: "getState", setMethod: "setState", min: 0, max: 100, step: 1 } },
  led: { label: "LED", make: Led, fields: [{ name: "method", label: "Method that reads" }, { name: "every", label: "Read again each, s", isNumber: true, hint: "0 for only by hand" }],
    initial: { title: "LED", method: "checkStatus", every: 0 } },
  terminal: { label: "Terminal", make: Terminal, fields: [], initial: { title: "Terminal" } },
};

export class Panels {
  constructor(device, { signal }) {
    Object.assign(this, { device, signal });
    this.state = "";
    this.shown = [];
    this.widgets = [];
    this.list = h("div", { class: "panels" });
    this.status = h("div");
    this.kind = h("select", { "aria-label": "Kind of panel" }, Object.entries(TYPES).map(([value, { label }]) => h("option", { value }, label)));
    this.empty = h("p", { class: "muted" }, "Switches, sliders, pins and a terminal for this device. All who use this server see the same ones.");
    this.node = card("Panels", { class: "panels-card", hidden: true, tools: [this.kind, button("Add panel", () => this.add(), { class: "small" })] }, this.empty, this.list, this.status);
    signal.addEventListener("abort", () => this.widgets.forEach((widget) => widget.stop?.()));
  }

  /** A panel reads its state when the device is there. */
  showState(state) {
    const isBack = state === "observing" && this.state !== "observing";
    this.state = state;
    if (isBack) for (const widget of this.widgets) widget.read?.();
  }

  async load() {
    try {
      const { data } = await send("GET", this.path, { signal: this.signal });
      this.node.hidden = false;
      this.show(panelsOf(data.metadata));
    } catch (error) {
      if (isAbort(error) || error.name === "Unreachable") return;
      // A server without metadata has no panels.
      if (error.status === 404 || error.status === 501) this.node.hidden = true;
      else {
        this.node.hidden = false;
        put(this.status, problemNote(error));
      }
    }
  }

  get path() {
    return devicePath(this.device, "/metadata");
  }

  show(panels) {
    // What is typed into a panel stays where the panels are as they were.
    if (json(panels) === json(this.shown)) return;
    const before = new Map(this.widgets.map((widget, index) => [json(this.shown[index]), widget]));
    this.shown = panels;
    this.widgets = panels.map((panel) => {
      const kept = before.get(json(panel));
      before.delete(json(panel));
      return kept ?? this.make(panel);
    });
    for (const widget of before.values()) widget.stop?.();
    put(this.list, this.widgets.map((widget) => widget.node));
    this.empty.hidden = panels.length > 0;
  }

  make(panel) {
    const type = TYPES[panel?.type];
    if (!type) return { node: h("div", { class: "panel" }, h("p", { class: "muted" }, `A panel of another kind: ${String(panel?.type ?? "unknown").slice(0, 40)}`)) };
    const widget = new type.make(this.device, { ...type.initial, ...panel }, this);
    widget.edit.append(button("Edit", () => this.edit(panel), { class: "small", "aria-label": `Edit ${panel.title}` }));
    if (this.state === "observing") widget.read?.();
    return widget;
  }

  async add() {
    const type = this.kind.value;
    await this.save((panels) => [...panels, { type, ...TYPES[type].initial }], "The panel is added");
  }

  async edit(panel) {
    const { fields, label, initial } = TYPES[panel.type];
    const all = [{ name: "title", label: "Title" }, ...fields];
    const inputs = all.map(({ name, isNumber }) =>
      textInput({ value: String(panel[name] ?? initial[name] ?? ""), inputmode: isNumber ? "decimal" : null }));
    const result = await openDialog(`Edit ${label}`, (close) =>
      dialogForm(() => {
        const next = readPanel(all, inputs, panel);
        if (next) close({ next });
      }, "Save", close, all.map(({ label, hint }, index) => field(label, inputs[index], { hint })),
      h("div", { class: "actions left" }, button("Move up", () => close({ move: -1 }), { class: "small" }), button("Move down", () => close({ move: 1 }), { class: "small" }),
        button("Remove…", () => close({ remove: true }), { class: "small danger" }))));
    if (!result) return;
    if (result.remove && !(await confirmDialog(`Remove ${panel.title}?`, "It is removed for all who use this server.", "Remove"))) return;
    await this.save((panels) => change(panels, panel, result), result.remove ? "The panel is removed" : "The panel is changed");
  }

  /** Changes the panels on the server, as they are there now, and nothing else of the metadata. */
  async save(change, done) {
    try {
      for (let attempt = 1; ; attempt += 1) {
        const { data, headers } = await send("GET", this.path);
        const metadata = data.metadata ?? {};
        const panels = change(panelsOf(metadata));
        const tag = headers.get("ETag");
        try {
          await send("PUT", this.path, { body: json({ metadata: { ...metadata, panels } }), headers: tag ? { "If-Match": tag } : {} });
        } catch (error) {
          // Somebody else was faster: the change is made to what is there now.
          if (error.status === 412 && attempt < 4) continue;
          throw error;
        }
        put(this.status);
        announce(done);
        return this.show(panels);
      }
    } catch (error) {
      put(this.status, problemNote(error));
    }
  }
}

const panelsOf = (metadata) => (Array.isArray(metadata?.panels) ? metadata.panels : []);

function change(panels, panel, { next, move, remove }) {
  const index = panels.findIndex((one) => json(one) === json(panel));
  if (index < 0) throw { title: "The panel was changed by somebody else", detail: "Load the page again to see how." };
  const copy = [...panels];
  copy.splice(index, 1);
  if (remove) return copy;
  const to = move ? Math.max(0, Math.min(panels.length - 1, index + move)) : index;
  copy.splice(to, 0, next ?? panel);
  return copy;
}

/** The panel as it was edited; null when something is wrong, which is then said beside it. */
function readPanel(fields, inputs, panel) {
  const next = { ...panel };
  let wrong = null;
  for (const [index, { name, isNumber }] of fields.entries()) {
    const text = inputs[index].value.trim();
    const isWrong = !text || (isNumber && !Number.isFinite(Number(text)));
    setError(inputs[index], isWrong ? (isNumber ? "Enter a number." : "Enter a text.") : "");
    if (isWrong) wrong ??= inputs[index];
    next[name] = isNumber ? Number(text) : text;
  }
  const at = (name) => inputs[fields.findIndex((one) => one.name === name)];
  if (!wrong && panel.type === "slider") {
    if (next.max <= next.min) setError((wrong = at("max")), "This must be more than where it begins.");
    else if (next.step <= 0) setError((wrong = at("step")), "This must be more than 0.");
  }
  wrong?.focus();
  return wrong ? null : next;
}
