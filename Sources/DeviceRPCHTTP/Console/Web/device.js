// One device: its presence with the evidence, the form that calls it, its calls, its panels, its credentials.
// @ts-check

import { h, put, card, button, problemNote, setText } from "./dom.js";
import { devicePath, get, isAbort, page } from "./api.js";
import { CallList, byTime, setLoader, takeWaiting } from "./calls.js";
import { CallForm } from "./callform.js";
import { Access } from "./access.js";
import { Panels } from "./panels.js";
import { ago, stateBadge, timeElement } from "./format.js";
import { calls, devices, on, setCall, setDevice } from "./store.js";

const REFRESH = 10_000;
const FIRST_PAGE = 50;
const MOST = 500;

export function view({ signal, argument: name }) {
  const badge = h("span");
  const evidence = h("span", { class: "muted" });
  const error = h("div");
  const facts = h("dl", { class: "facts" });
  const form = new CallForm(name, { signal });
  const access = new Access(name);
  const panels = new Panels(name, { signal });
  const history = new History(name, form, signal);
  let shown = null;
  const show = (device) => {
    if (!device) return;
    // Most of an event is as it was.
    if (shown?.state !== device.state) put(badge, stateBadge(device.state));
    shown = device;
    setText(evidence, device.evidence);
    put(facts, factRows(device));
    access.show(device);
    panels.showState(device.state);
  };
  const load = async () => {
    try {
      const device = await get(devicePath(name), { signal });
      setDevice(device);
      put(error);
      show(device);
    } catch (problem) {
      if (isAbort(problem) || problem.name === "Unreachable") return;
      put(error, problemNote(problem));
      if (problem.status === 404) put(badge);
    }
  };
  const reload = () => {
    void load();
    void history.load();
  };
  on("devices", (keys) => keys.has(name) && show(devices.all.get(name)), signal);
  on("reload", () => {
    reload();
    void panels.load();
  }, signal);
  const tick = setInterval(() => !document.hidden && load(), REFRESH);
  signal.addEventListener("abort", () => {
    clearInterval(tick);
    setLoader(null);
  });
  setLoader((call) => {
    if (call.device !== name) return false;
    form.load(call);
    return true;
  });
  access.changed = (device) => {
    setDevice(device);
    show(devices.all.get(name));
  };
  show(devices.all.get(name));
  reload();
  void panels.load();
  const waiting = takeWaiting(name);
  if (waiting) setTimeout(() => form.load(waiting));
  return h("div", { class: "device-view" },
    h("p", { class: "crumbs" }, h("a", { href: "#/devices" }, "Devices")),
    h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, name), badge, evidence), error,
    h("div", { class: "columns" },
      h("div", { class: "column" }, form.node, history.node),
      h("div", { class: "column" }, card("Presence", {}, facts), panels.node, access.node)));
}

function factRows(device) {
  const rows = [
    ["Address", device.address ?? "–"],
    ["Dialect", device.dialect ?? "–"],
    ["In this state since", device.since ? timeElement(device.since) : "–"],
    ["Last heard", device.lastHeard ? h("span", { title: device.lastHeard }, ago(device.lastHeard)) : "never"],
    ["First seen", device.firstSeen ? timeElement(device.firstSeen) : "–"],
    ["Open calls", String(device.openCalls)],
  ];
  return rows.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)));
}

class History {
  constructor(name, form, signal) {
    Object.assign(this, { name, form, signal });
    this.known = new Map();
    this.next = null;
    this.list = new CallList({ label: "Recent calls", empty: "No calls that the server remembers.", signal });
    this.more = button("Older calls", () => this.loadMore(), { hidden: true });
    this.error = h("div");
    this.node = card("Recent calls", { class: "flush" }, this.error, this.list.node, h("div", { class: "actions left pad" }, this.more));
    for (const call of calls.values()) if (call.device === name) this.known.set(call.id, call);
    on("calls", (ids) => this.update(ids), signal);
    this.show();
  }

  update(ids) {
    let isNews = false;
    for (const id of ids) {
      const call = calls.get(id);
      if (call?.device !== this.name) continue;
      this.known.set(id, call);
      isNews = true;
    }
    if (isNews) this.show();
  }

  show() {
    const sorted = [...this.known.values()].sort(byTime);
    for (const call of sorted.splice(MOST)) this.known.delete(call.id);
    this.list.show(sorted);
    // What was answered with NOT_FOUND or UNIMPLEMENTED is no method of the device.
    this.form.offer(new Set(sorted.filter((call) => call.status && ![5, 12].includes(call.status.code)).map((call) => call.method)));
  }

  load() {
    return this.take(`${devicePath(this.name, "/calls")}?limit=${FIRST_PAGE}`);
  }

  async loadMore() {
    if (!this.next) return;
    this.more.disabled = true;
    await this.take(this.next);
    this.more.disabled = false;
  }

  async take(path) {
    try {
      const { data, next } = await page(path, { signal: this.signal });
      for (const call of data.calls) {
        const known = this.known.get(call.id);
        if (known?.state === "ended") continue;
        // An open one is watched; ended ones need no place among the last of all devices.
        this.known.set(call.id, call.state === "ended" && !calls.has(call.id) ? call : setCall(call));
      }
      this.next = next;
      this.more.hidden = !next;
      put(this.error);
      this.show();
    } catch (error) {
      if (isAbort(error) || error.name === "Unreachable" || error.status === 404) return;
      put(this.error, problemNote(error));
    }
  }
}
