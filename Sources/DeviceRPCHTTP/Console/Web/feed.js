// The live feed: the last events, by kind and text, which can be paused.
// @ts-check

import { h, button, put, searchBox, setText, announce, copyButton } from "./dom.js";
import { openDialog } from "./dialogs.js";
import { clock, count, deviceLink, icon } from "./format.js";
import { tree } from "./tree.js";
import { parse } from "./api.js";
import { KINDS, clearFeed, feed, on, pauseFeed } from "./store.js";
import { VirtualList, cell } from "./virtual.js";

const GROUPS = ["device", "call", "result", "gap"];
const NAMES = { device: "Devices", call: "Calls", result: "Odd results", gap: "Gaps" };

let search = "";
let kind = "";

export function view({ signal }) {
  const status = h("p", { class: "muted", role: "status" });
  const list = new VirtualList({
    label: "Events, the newest first", columns: ["Time", "Kind", "Device", "What"], className: "feed-grid", signal,
    render: row, identify: (item) => item.number, open: showEvent,
  });
  const show = () => {
    const text = search.toLowerCase();
    const rows = feed.rows.slice(-1000).reverse().filter((item) =>
      (!kind || item.kind === kind || item.kind.split(".")[0] === kind) && (!text || `${item.device} ${item.kind} ${item.text}`.toLowerCase().includes(text)));
    list.show(rows);
    setText(status, `${count(rows.length)} events` + (feed.isPaused ? `; paused, ${count(feed.held)} more have come` : ""));
  };
  const box = searchBox("feed-search", "Device or text", search, (text) => {
    search = text;
    show();
  });
  const select = h("select", { id: "feed-kind", onchange: () => {
    kind = select.value;
    show();
  } }, h("option", { value: "" }, "All events"), GROUPS.map((group) =>
    h("optgroup", { label: NAMES[group] }, group !== "gap" && h("option", { value: group }, `All: ${NAMES[group].toLowerCase()}`),
      KINDS.filter((one) => one.split(".")[0] === group).map((one) => h("option", { value: one }, one)))));
  select.value = kind;
  const pause = button(feed.isPaused ? "Resume" : "Pause", () => {
    pauseFeed(!feed.isPaused);
    pause.textContent = feed.isPaused ? "Resume" : "Pause";
    announce(feed.isPaused ? "Paused" : "Live again");
    show();
  });
  on("feed", show, signal);
  setTimeout(show);
  return h("div", { class: "feed-view" },
    h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, "Live feed"), status),
    h("div", { class: "toolbar" },
      box,
      h("div", { class: "search" }, h("label", { for: "feed-kind" }, "Kind"), select),
      pause, button("Clear", clearFeed)),
    list.node);
}

function row(item) {
  return [
    cell("time", clock(item.time, true)),
    cell(`kind kind-${item.kind.split(".")[0]} ${item.outcome}`, item.outcome && icon(item.outcome), item.kind),
    cell("device", item.device ? h("a", { href: deviceLink(item.device), tabindex: "-1" }, item.device) : "–"),
    cell("what", item.text),
  ];
}

function showEvent(item) {
  const body = h("div", { class: "event" });
  let value = null;
  try {
    value = item.isCut ? null : parse(item.raw);
  } catch {
    // It is shown as text.
  }
  put(body, value ? tree(value, "Event") : h("pre", { class: "long", tabindex: "0", role: "region", "aria-label": "The event" }, item.raw + (item.isCut ? "… (cut)" : "")));
  void openDialog(item.kind, (close) =>
    h("div", null, h("p", null, `${clock(item.time, true)} ${item.device} ${item.text}`), body,
      h("div", { class: "actions" }, value ? null : copyButton(item.raw), button("Close", () => close(true), { class: "primary", autofocus: true }))), { wide: true });
}
