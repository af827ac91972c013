// All devices: live presence with its evidence, search, filter by state; ten thousand rows and more.
// @ts-check

import { h, put, button, announce, searchBox, setText, problemNote } from "./dom.js";
import { get, isAbort, name } from "./api.js";
import { ago, count, deviceLink, stateBadge } from "./format.js";
import { devices, loadDevices, on, setDevice } from "./store.js";
import { VirtualList, cell } from "./virtual.js";

const STATES = ["observing", "quiet", "offline"];
const REFRESH = 10_000;

let search = "";
let state = "";

export function view({ signal, query }) {
  state = STATES.includes(query.get("state")) ? query.get("state") : query.has("state") ? "" : state;
  const note = h("div");
  const status = h("p", { class: "muted", role: "status" });
  const list = new VirtualList({
    label: "Devices", columns: ["Name", "State", "Evidence", "Address", "Last heard", "Open calls"], className: "device-grid", signal,
    render: row, identify: (device) => device.name, open: (device) => (location.hash = deviceLink(device.name)),
  });
  let sorted = [];
  let shown = [];
  const collect = (keys) => {
    if (keys.has("") || sorted.length !== devices.all.size) sorted = [...devices.all.keys()].sort();
    const text = search.toLowerCase();
    shown = [];
    for (const key of sorted) {
      const device = devices.all.get(key);
      if ((!state || device.state === state) && (!text || isFound(device, text))) shown.push(device);
    }
    list.show(shown);
    filters.show();
    setText(status, summary(shown.length));
    put(note, devices.error && devices.error.name !== "Unreachable" ? problemNote(devices.error) : null);
  };
  const filters = new StateFilter(() => {
    collect(new Set());
    announce(`${count(shown.length)} devices`);
  });
  const box = searchBox("device-search", "Name or address", search, (text) => {
    search = text;
    collect(new Set());
  });
  const load = () => loadDevices().then(() => !signal.aborted && collect(new Set([""])));
  on("devices", collect, signal);
  on("reload", load, signal);
  const tick = setInterval(() => {
    if (document.hidden) return;
    void refresh(list, sorted, signal);
    if (!devices.isComplete && !devices.isLoading) void load();
  }, REFRESH);
  signal.addEventListener("abort", () => clearInterval(tick));
  if (!devices.isComplete) void load();
  // When the list is in the page and has a height.
  setTimeout(() => collect(new Set([""])));
  return h("div", { class: "devices-view" },
    h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, "Devices"), status),
    h("div", { class: "toolbar" },
      box, filters.node),
    note, list.node);
}

const isFound = (device, text) => device.name.toLowerCase().includes(text) || (device.address ?? "").includes(text);

function summary(length) {
  const all = `${count(length)} of ${count(devices.all.size)} devices`;
  return devices.isLoading ? `${all}, loading…` : all;
}

function row(device) {
  const isDisabled = device.registration && !device.registration.enabled;
  return [
    cell("name", h("a", { href: deviceLink(device.name), tabindex: "-1" }, device.name), isDisabled && h("span", { class: "badge plain" }, "disabled")),
    cell("state", stateBadge(device.state)),
    cell("evidence muted", device.evidence),
    cell("address muted", device.address ?? "–"),
    cell("heard muted", ago(device.lastHeard)),
    cell("open number", device.openCalls ? String(device.openCalls) : ""),
  ];
}

/** Asks anew for the devices in sight: what is heard of them between events is no event. */
async function refresh(list, sorted, signal) {
  const [first, last] = list.range();
  const [from, to] = [list.items[first]?.name, list.items[last]?.name];
  if (!from) return;
  const begin = sorted.indexOf(from);
  const length = sorted.indexOf(to) - begin + 1;
  // Those that a filter has brought together are too many requests.
  if (length > 200 || !devices.isComplete) return list.refresh();
  const after = begin > 0 ? `&after=${name(sorted[begin - 1])}` : "";
  try {
    const data = await get(`devices?limit=${length}${after}`, { signal });
    data.devices.forEach(setDevice);
  } catch (error) {
    if (!isAbort(error)) list.refresh();
  }
}

class StateFilter {
  constructor(change) {
    this.buttons = ["", ...STATES].map((value) => {
      const number = h("span", { class: "count" });
      const node = button([value ? `${value} ` : "all ", number], () => {
        state = value;
        this.show();
        change();
      }, { class: `chip state-${value || "all"}` });
      return { value, node, number };
    });
    this.node = h("div", { class: "chips", role: "group", "aria-label": "State" }, this.buttons.map(({ node }) => node));
  }

  show() {
    const counts = { "": devices.all.size };
    for (const device of devices.all.values()) counts[device.state] = (counts[device.state] ?? 0) + 1;
    for (const { value, node, number } of this.buttons) {
      node.setAttribute("aria-pressed", String(state === value));
      setText(number, count(counts[value] ?? 0));
    }
  }
}
