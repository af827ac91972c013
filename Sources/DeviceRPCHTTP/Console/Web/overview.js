// The overview: devices by state, calls per second by outcome, latency, how full the server's tables are, the last calls.
// @ts-check

import { h, put, card, setText, problemNote } from "./dom.js";
import { isAbort, serverNow } from "./api.js";
import { Chart } from "./charts.js";
import { CallList, byTime } from "./calls.js";
import { count, duration, icon, milliseconds, OUTCOMES, clock } from "./format.js";
import { begun, calls, loadServer, on, server, statistics } from "./store.js";

const STATES = ["observing", "quiet", "offline"];
const LAST = 10;

export function view({ signal }) {
  const tiles = new Tiles();
  const outcomes = new Chart({ title: "Calls per second", kind: "bars", unit: "calls per second", format: rate,
    series: OUTCOMES.map(({ key, word }) => ({ key, label: word })) });
  const latency = new Chart({ title: "Latency", kind: "lines", unit: "milliseconds", format: milliseconds,
    series: [{ key: "p50", label: "p50" }, { key: "p99", label: "p99" }] });
  const list = new CallList({ showsDevice: true, empty: "No calls since this page was opened.", label: "Last calls", signal });
  const tables = h("div", { class: "meters" });
  const tableCard = card("Limits", { class: "limits", hidden: true }, tables);
  const error = h("div");
  const draw = () => {
    if (document.hidden) return;
    const bins = statistics();
    outcomes.draw(bins);
    latency.draw(bins);
    tiles.showCalls(bins);
  };
  const load = () => loadServer(signal).then(() => put(error), (problem) => {
    if (!isAbort(problem) && problem.name !== "Unreachable") put(error, problemNote(problem));
    // What cannot be reached is said by the banner.
    if (problem.status === 403) put(error, problemNote(problem));
  });
  const showServer = () => {
    tiles.showServer();
    tableCard.hidden = !server.now?.tables?.length;
    if (server.now) put(tables, (server.now.tables ?? []).map(meter));
  };
  const showCalls = () => list.show([...calls.values()].slice(-LAST * 3).sort(byTime).slice(0, LAST));
  on("server", showServer, signal);
  on("calls", showCalls, signal);
  on("reload", load, signal);
  const timers = [setInterval(draw, 1000), setInterval(load, 5000)];
  signal.addEventListener("abort", () => timers.forEach(clearInterval));
  void load();
  showServer();
  showCalls();
  // When the charts have a width.
  setTimeout(draw);
  const since = h("span", { class: "muted" }, `events since ${clock(begun)}`);
  return h("div", { class: "overview" },
    h("h1", { tabindex: "-1" }, "Overview"), error, tiles.node,
    card("Calls per second", { class: "half", tools: [since] }, outcomes.node),
    card("Latency, ms", { class: "half", tools: [h("span", { class: "muted" }, "from sent to result")] }, latency.node),
    card("Last calls", { class: server.isMissing ? "wide" : "most", tools: [h("a", { href: "#/calls" }, "All calls")] }, list.node),
    tableCard);
}

function rate(value) {
  return value === 0 || value >= 10 ? count(Math.round(value)) : value.toFixed(1);
}

class Tiles {
  constructor() {
    this.states = h("div", { class: "states" });
    this.bar = h("div", { class: "state-bar", "aria-hidden": "true" });
    this.rate = h("strong", null, "0");
    this.failed = h("span", { class: "muted" });
    this.p50 = h("strong", null, "–");
    this.p99 = h("span", { class: "muted" });
    this.open = h("strong", null, "–");
    this.openParts = h("span", { class: "muted" });
    this.uptime = h("strong", null, "–");
    this.version = h("span", { class: "muted" });
    this.serverTiles = [tile("Open calls", this.open, this.openParts), tile("Up for", this.uptime, this.version)];
    this.deviceTile = h("section", { class: "tile devices-tile", "aria-label": "Devices" }, h("h2", null, "Devices"), this.states, this.bar);
    this.node = h("div", { class: "tiles" }, this.deviceTile,
      tile("Calls per second", this.rate, this.failed), tile("Latency, p50", this.p50, this.p99), this.serverTiles);
  }

  showCalls(bins) {
    // The last whole bin, and the one that has begun.
    const last = bins[bins.length - 1].total > 0 || bins[bins.length - 2].total === 0 ? bins[bins.length - 2] : bins[bins.length - 1];
    setText(this.rate, rate(last.total));
    const failed = last.refused + last.notrun + last.perhaps;
    setText(this.failed, failed ? `${rate(failed)} not OK` : last.total ? "all OK" : "in the last 5 s");
    const timed = bins.findLast((bin) => bin.p50 !== null);
    setText(this.p50, timed ? `${milliseconds(timed.p50)} ms` : "–");
    setText(this.p99, timed ? `p99 ${milliseconds(timed.p99)} ms` : "no calls yet");
  }

  showServer() {
    const now = server.now;
    for (const node of [...this.serverTiles, this.deviceTile]) node.hidden = server.isMissing || !now;
    if (!now) return;
    put(this.states, STATES.map((state) => h("a", { class: `state-${state}`, href: `#/devices?state=${state}` },
      icon(state), h("strong", null, count(now.devices[state] ?? 0)), ` ${state}`)));
    const total = STATES.reduce((sum, state) => sum + (now.devices[state] ?? 0), 0) || 1;
    put(this.bar, STATES.filter((state) => now.devices[state]).map((state) => {
      const part = h("span", { class: `bar-${state}` });
      part.style.flexGrow = String(now.devices[state] / total);
      return part;
    }));
    const { queued = 0, sent = 0 } = now.openCalls ?? {};
    setText(this.open, count(queued + sent));
    setText(this.openParts, `${count(queued)} queued, ${count(sent)} sent`);
    setText(this.uptime, duration(Math.max(0, serverNow() - Date.parse(now.started)) / 1000));
    setText(this.version, `version ${now.version}`);
  }
}

const tile = (title, ...children) => h("section", { class: "tile", "aria-label": title }, h("h2", null, title), children);

function meter({ name, summary, used, limit }) {
  const share = limit ? used / limit : 0;
  const percent = share > 0 && share < 0.01 ? "<1" : Math.floor(share * 100);
  const level = share >= 0.95 ? "full" : share >= 0.8 ? "high" : "";
  const word = level === "full" ? " – nearly full" : level === "high" ? " – filling" : "";
  const label = summary || name;
  const bar = h("progress", { max: limit || 1, value: used, class: level, "aria-label": label });
  return h("div", { class: "meter" }, h("span", null, label, word && h("strong", null, word)),
    h("span", { class: "number" }, `${count(used)} of ${count(limit)}`, h("span", { class: "muted percent" }, ` ${percent} %`)), bar);
}
