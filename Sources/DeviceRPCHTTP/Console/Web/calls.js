// Lists of calls: a row for each, which opens to the call's timeline, parameters and detail.
// @ts-check

import { h, put, button, copyButton, announce, problemNote } from "./dom.js";
import { call as perform, cancel, Problem } from "./api.js";
import { callMilliseconds, callText, clock, json, milliseconds, outcome, outcomeBadge, outcomeWord, resultText, statusText, timeElement, deviceLink, OUTCOMES } from "./format.js";
import { setCall, setRefused } from "./store.js";
import { confirmDialog } from "./dialogs.js";
import { timeline } from "./timeline.js";
import { tree } from "./tree.js";

/** The newest first; calls of one millisecond in the order of their ids. */
export const byTime = (a, b) => (a.created === b.created ? (a.id < b.id ? 1 : -1) : a.created < b.created ? 1 : -1);

/** Makes a call as it was made before, or as a form says, and keeps it. Failures are calls, too, if they are about the call. */
export async function make(device, request, onOpen) {
  try {
    // As text, so that numbers keep their digits.
    return setCall(await perform(device, json(request), (open) => onOpen?.(setCall(open))));
  } catch (error) {
    // Without an answer nobody knows whether it was called.
    const isAboutCall = error instanceof Problem ? error.document.delivery !== undefined : error.name === "Unreachable";
    if (!isAboutCall) throw error;
    return setRefused(device, request, error);
  }
}

export function requestOf(call) {
  const request = { method: call.method, params: call.params };
  return call.oneWay ? { ...request, oneWay: true } : request;
}

let loader = null;

/** Says who takes a call into a form: the view of its device, when it is shown. */
export const setLoader = (load) => (loader = load);
let waiting = null;

/** The call that was to be loaded into the form of this device, once. */
export function takeWaiting(device) {
  const call = waiting?.device === device ? waiting : null;
  waiting = null;
  return call;
}

export class CallList {
  constructor({ showsDevice = false, empty = "No calls yet.", label = "Calls", signal }) {
    Object.assign(this, { showsDevice, empty });
    this.rows = new Map();
    this.list = h("ol", { class: showsDevice ? "calls with-device" : "calls", "aria-label": label });
    this.note = h("p", { class: "muted empty" }, empty);
    this.node = h("div", { class: "call-list" },
      h("div", { class: "calls-head", "aria-hidden": "true" }, h("span", null, "Outcome"), showsDevice && h("span", null, "Device"),
        h("span", null, "Call"), h("span", null, "Result"), h("span", { class: "number" }, "ms"), h("span", { class: "number" }, "Time")),
      this.list, this.note);
    signal?.addEventListener("abort", () => this.rows.clear());
  }

  /** Shows these calls, the first on top. Rows that are there stay, open as they are. */
  show(calls) {
    const ids = new Set(calls.map((call) => call.id));
    for (const [id, row] of this.rows) {
      if (ids.has(id)) continue;
      row.node.remove();
      this.rows.delete(id);
    }
    let place = this.list.firstChild;
    for (const call of calls) {
      const row = this.row(call);
      if (row.node === place) place = place.nextSibling;
      else this.list.insertBefore(row.node, place);
    }
    this.note.hidden = calls.length > 0;
  }

  row(call) {
    let row = this.rows.get(call.id);
    if (!row) {
      row = new CallRow(this.showsDevice);
      this.rows.set(call.id, row);
    }
    row.show(call);
    return row;
  }
}

class CallRow {
  constructor(showsDevice) {
    this.showsDevice = showsDevice;
    this.call = null;
    this.head = h("button", { type: "button", class: "call-head", "aria-expanded": "false", onclick: () => this.toggle() });
    this.body = h("div", { class: "call-body", hidden: true });
    this.node = h("li", null, this.head, this.body);
  }

  show(call) {
    if (call === this.call) return;
    this.call = call;
    this.node.className = `call is-${outcome(call)}`;
    const time = callMilliseconds(call);
    put(this.head,
      h("span", { class: "cell outcome" }, outcomeBadge(call, true)),
      this.showsDevice && h("span", { class: "cell device" }, call.device),
      h("code", { class: "cell what" }, callText(call)),
      h("span", { class: call.error ? "cell result is-error" : "cell result" }, resultText(call)),
      h("span", { class: "cell number ms" }, time === null ? "" : milliseconds(time), time === null ? null : h("span", { class: "unit" }, " ms")),
      h("span", { class: "cell number" }, timeElement(call.created)));
    if (!this.body.hidden) this.fill();
  }

  toggle() {
    this.body.hidden = !this.body.hidden;
    this.head.setAttribute("aria-expanded", String(!this.body.hidden));
    if (this.body.hidden) put(this.body);
    else this.fill();
  }

  fill() {
    // The focus stays where it is, if it is on something that is made anew.
    const had = this.body.contains(document.activeElement);
    put(this.body, callDetail(this.call));
    if (had) this.head.focus();
  }
}

export function callDetail(call) {
  const status = h("div", { role: "status" });
  return h(
    "div", { class: "call-detail" },
    call.error && h("p", { class: `note ${outcome(call)}` }, h("strong", null, call.error.title), ` ${call.error.detail}`),
    call.sent !== null && timeline(call),
    h("dl", { class: "facts" }, facts(call)),
    call.params?.length ? h("div", { class: "part" }, h("h3", null, "Params"), tree(call.params, "Params")) : null,
    call.status && call.detail !== null && h("div", { class: "part" }, h("h3", null, "Detail"), tree(call.detail, "Detail")),
    h("div", { class: "actions left" },
      button("Call again", () => again(call, status)),
      button("Load into form", () => loadIntoForm(call)),
      call.state !== "ended" && button("Cancel call", () => cancelCall(call, status), { class: "danger" }),
      copyButton(() => json(call), "Copy call as JSON")),
    status);
}

function facts(call) {
  const means = OUTCOMES.find((one) => one.key === outcome(call))?.means ?? "It waits for its end.";
  const rows = [
    ["Outcome", `${outcomeWord(call)} ${statusText(call)}`.trim() + `. ${means}`],
    ["Device", h("a", { href: deviceLink(call.device) }, call.device)],
    ["Delivery", call.delivery],
    ["Safe to repeat", call.safeToRepeat ? "yes" : "no"],
    ["Made", clock(call.created, true)],
    ["Id", call.local ? "none: the server refused it at once" : h("code", null, call.id)],
    ["Id on the wire", call.wireId ? h("code", null, call.wireId) : "none"],
    ["One way", call.oneWay ? "yes" : "no"],
  ];
  return rows.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)));
}

async function again(call, status) {
  const isUnsure = outcome(call) === "perhaps";
  if (isUnsure && !(await confirmDialog("Call again?", `The device may have run ${callText(call, 60)} already. It may then run twice.`, "Call again"))) return;
  put(status, h("p", { class: "muted" }, "Calling…"));
  try {
    const next = await make(call.device, requestOf(call));
    put(status, h("p", null, outcomeBadge(next), ` ${statusText(next)} `, h("code", null, resultText(next, 80))));
  } catch (error) {
    put(status, problemNote(error));
  }
}

function loadIntoForm(call) {
  if (loader?.(call)) return;
  waiting = call;
  location.hash = deviceLink(call.device);
}

async function cancelCall(call, status) {
  try {
    const { data } = await cancel(call.id);
    setCall(data);
    announce("The call is cancelled");
  } catch (error) {
    put(status, problemNote(error));
  }
}
