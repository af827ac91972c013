// The timeline of a call, drawn to scale: how long it was queued, on its way, with the device.
// @ts-check

import { h, s } from "./dom.js";
import { milliseconds } from "./format.js";
import { serverNow } from "./api.js";

/** The parts of a call that have happened: each from one moment to the next, in milliseconds since the call was made. */
function parts(call) {
  const begin = Date.parse(call.created);
  const at = (time) => (time ? Math.max(0, Date.parse(time) - begin) : null);
  const [sent, acknowledged, answered] = [at(call.sent), at(call.acknowledged), at(call.answered)];
  const end = at(call.ended) ?? Math.max(0, serverNow() - begin);
  // The times have whole milliseconds; the round trip is more exact.
  const result = answered !== null && sent !== null && typeof call.roundTrip === "number" ? sent + call.roundTrip * 1000 : answered;
  const total = Math.max(end, result ?? 0, 0.1);
  const list = [{ label: "Queued", key: "queued", from: 0, to: sent ?? total }];
  if (sent !== null) {
    // The acknowledgement may come with the result, or not at all.
    const first = acknowledged ?? result ?? total;
    list.push({ label: acknowledged === null ? "Sent" : "To acknowledgement", key: "sent", from: sent, to: Math.max(sent, first) });
    if (acknowledged !== null) list.push({ label: result === null ? "Without a result" : "To result", key: "device", from: acknowledged, to: Math.max(acknowledged, result ?? total) });
    if (result !== null && total - result > 1) list.push({ label: "After the result", key: "after", from: result, to: total });
  }
  return { list, total };
}

const percent = (value) => `${Math.min(100, Math.max(0, value)).toFixed(2)}%`;

export function timeline(call) {
  const { list, total } = parts(call);
  const rows = list.map(({ label, key, from, to }) =>
    h("div", { class: "time-row" },
      h("span", null, label),
      s("svg", { height: 16, "aria-hidden": "true" },
        s("line", { class: "grid", x1: 0, x2: "100%", y1: 8, y2: 8 }),
        s("rect", { class: `time-${key}`, x: percent((from / total) * 99.6), y: 2, height: 12, rx: 2, width: percent(Math.max(0.4, ((to - from) / total) * 100)) })),
      h("span", { class: "number" }, `${milliseconds(to - from)} ms`)));
  const end = h("div", { class: "time-row total" }, h("span", null, call.state === "ended" ? "In all" : "So far"),
    h("span", { class: "scale muted", "aria-hidden": "true" }, h("span", null, "0"), h("span", null, milliseconds(total / 2)), h("span", null, milliseconds(total))),
    h("span", { class: "number" }, `${milliseconds(total)} ms`));
  return h("figure", { class: "timeline", "aria-label": "Timeline" }, rows, end);
}
