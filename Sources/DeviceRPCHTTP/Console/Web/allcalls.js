// Calls of all devices, as the events tell of them, with a filter by outcome and text.
// @ts-check

import { h, button, searchBox, setText } from "./dom.js";
import { CallList, byTime } from "./calls.js";
import { OUTCOMES, callText, clock, count, icon, outcome } from "./format.js";
import { begun, calls, on } from "./store.js";

const MOST = 100;

let search = "";
let chosen = "";
let paused = null;

export function view({ signal }) {
  paused = null;
  const list = new CallList({ showsDevice: true, empty: "No such calls since this page was opened.", label: "Calls", signal });
  const status = h("p", { class: "muted", role: "status" });
  const counts = new Map();
  const show = () => {
    const all = paused ?? [...calls.values()];
    const text = search.toLowerCase();
    const found = all.filter((call) => (!chosen || outcome(call) === chosen) && (!text || `${call.device} ${callText(call)} ${call.status?.name ?? ""}`.toLowerCase().includes(text)));
    list.show(found.sort(byTime).slice(0, MOST));
    setText(status, found.length > MOST ? `The last ${MOST} of ${count(found.length)}, since ${clock(begun)}` : `${count(found.length)} since ${clock(begun)}`);
    for (const [key, node] of counts) setText(node, count(key ? all.filter((call) => outcome(call) === key).length : all.length));
  };
  const box = searchBox("call-search", "Device, method, status", search, (text) => {
    search = text;
    show();
  });
  const chips = [{ key: "", word: "All" }, { key: "open", word: "Waiting" }, ...OUTCOMES].map(({ key, word }) => {
    const number = h("span", { class: "count" });
    counts.set(key, number);
    const node = button([key && icon(key), `${word} `, number], () => {
      chosen = key;
      for (const other of chips) other.node.setAttribute("aria-pressed", String(other.key === key));
      show();
    }, { class: `chip ${key}`, "aria-pressed": String(key === chosen) });
    return { key, node };
  });
  const pause = button("Pause", () => {
    paused = paused ? null : [...calls.values()];
    pause.textContent = paused ? "Resume" : "Pause";
    show();
  });
  on("calls", () => !paused && show(), signal);
  show();
  return h("div", { class: "calls-view" },
    h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, "Calls"), status),
    h("div", { class: "toolbar" },
      box,
      h("div", { class: "chips", role: "group", "aria-label": "Outcome" }, chips.map(({ node }) => node)), pause),
    h("div", { class: "card flush" }, list.node));
}
