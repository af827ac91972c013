// What the page knows: devices, calls, events and statistics, kept live by events, and who wants to hear of changes.
// @ts-check

import { page, get, serverNow, isAbort } from "./api.js";
import { outcome, OUTCOMES, callText, json, milliseconds } from "./format.js";

export const BIN_SECONDS = 5;
export const BINS = 60;
const CALLS = 500;
const CALL_CHARACTERS = 24_000_000;
const FEED = 1000;
const RAW = 4000;
const SAMPLES = 2000;
const SHORTEST_PAUSE = 150;

const listeners = new Map();
const changed = new Map();
let timer = 0;

/** Calls `hear` with the keys that have changed, a few times a second at most, until the signal. */
export function on(topic, hear, signal) {
  if (!listeners.has(topic)) listeners.set(topic, new Set());
  listeners.get(topic).add(hear);
  signal?.addEventListener("abort", () => listeners.get(topic).delete(hear));
}

export function touch(topic, key = "") {
  if (!changed.has(topic)) changed.set(topic, new Set());
  changed.get(topic).add(key);
  // Not in an animation frame: a page in the background has none, and must not collect without end.
  timer ||= setTimeout(tell, SHORTEST_PAUSE);
}

function tell() {
  timer = 0;
  const topics = [...changed];
  changed.clear();
  for (const [topic, keys] of topics) for (const hear of listeners.get(topic) ?? []) hear(keys);
}

// Devices

/** All devices by name; complete when `isComplete`. */
export const devices = { all: new Map(), isComplete: false, isLoading: false, error: null };

export async function loadDevices() {
  if (devices.isLoading) return;
  devices.isLoading = true;
  devices.error = null;
  const seen = new Set();
  try {
    for (let next = "devices?limit=1000"; next; ) {
      const result = await page(next);
      for (const device of result.data.devices) {
        seen.add(device.name);
        setDevice(device);
      }
      next = result.next;
    }
    for (const name of devices.all.keys()) if (!seen.has(name) && !arrived.has(name)) devices.all.delete(name);
    devices.isComplete = true;
  } catch (error) {
    if (!isAbort(error)) devices.error = error;
  } finally {
    devices.isLoading = false;
    arrived.clear();
    touch("devices", "");
  }
}

// Those that events told of while the list was loaded.
const arrived = new Set();

export function setDevice(device) {
  const known = devices.all.get(device.name);
  if (device.registration === undefined) device.registration = known?.registration ?? null;
  devices.all.set(device.name, device);
  touch("devices", device.name);
  if (!known) touch("devices", "");
}

/** Forgets what may have been missed, and has what is shown loaded again. */
export function reload() {
  devices.isComplete = false;
  touch("reload");
}

/** Forgets everything: another key may not see it. */
export function forgetAll() {
  devices.all.clear();
  calls.clear();
  sizes.clear();
  size = 0;
  bins.clear();
  server.now = null;
  clearFeed();
  touch("devices");
  touch("server");
}

// Calls

/** The last calls that this page has seen, the newest last. */
export const calls = new Map();
const sizes = new Map();
let size = 0;

/** Takes a call, unless a later state of it is known. Returns what is known now. */
export function setCall(call, length = 1000) {
  const known = calls.get(call.id);
  if (known?.state === "ended" && call.state !== "ended") return known;
  calls.set(call.id, call);
  size += length - (sizes.get(call.id) ?? 0);
  sizes.set(call.id, length);
  for (const id of calls.keys()) {
    if (calls.size <= CALLS && (size <= CALL_CHARACTERS || calls.size <= 1)) break;
    calls.delete(id);
    size -= sizes.get(id);
    sizes.delete(id);
  }
  touch("calls", call.id);
  return call;
}

export function setRefused(device, request, error) {
  const now = new Date(serverNow()).toISOString();
  const isSent = error.document?.safeToRepeat !== true;
  return setCall({
    id: `local-${now}-${Math.random()}`, wireId: null, device, method: request.method, params: request.params ?? [],
    oneWay: request.oneWay ?? false, state: "ended", local: true, created: now, sent: null, acknowledged: null, answered: null,
    ended: now, delivery: error.document?.delivery ?? (isSent ? "unknown" : "notSent"), safeToRepeat: !isSent,
    error: { type: error.document?.type ?? "", title: error.title, detail: error.detail },
  });
}

// Statistics

const bins = new Map();
export const begun = Date.now();

function addToStatistics(call) {
  const number = Math.floor(Date.now() / 1000 / BIN_SECONDS);
  let bin = bins.get(number);
  if (!bin) {
    bin = { ok: 0, refused: 0, notrun: 0, perhaps: 0, times: [], seen: 0 };
    bins.set(number, bin);
    for (const old of bins.keys()) if (old < number - BINS) bins.delete(old);
  }
  bin[outcome(call)] += 1;
  if (typeof call.roundTrip !== "number") return;
  bin.seen += 1;
  const place = bin.times.length < SAMPLES ? bin.times.length : Math.floor(Math.random() * bin.seen);
  // Beyond the bound each time has the same chance to be kept, so the percentiles stay fair.
  if (place < SAMPLES) bin.times[place] = call.roundTrip * 1000;
}

/** The last bins, the oldest first: calls per second by outcome, and percentiles of the round trip in milliseconds. */
export function statistics() {
  const last = Math.floor(Date.now() / 1000 / BIN_SECONDS);
  return Array.from({ length: BINS }, (_, index) => {
    const number = last - BINS + 1 + index;
    const bin = bins.get(number);
    const seconds = index === BINS - 1 ? Math.max(1, Date.now() / 1000 - number * BIN_SECONDS) : BIN_SECONDS;
    const result = { time: number * BIN_SECONDS * 1000, total: 0, p50: null, p99: null };
    for (const { key } of OUTCOMES) {
      result[key] = (bin?.[key] ?? 0) / seconds;
      result.total += result[key];
    }
    if (bin?.times.length) {
      const sorted = Float64Array.from(bin.times).sort();
      const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
      result.p50 = at(0.5);
      result.p99 = at(0.99);
    }
    return result;
  });
}

// The feed

export const feed = { rows: [], isPaused: false, held: 0, total: 0 };
let held = [];

function addToFeed(kind, data, text) {
  const row = { number: ++feed.total, kind, time: data.time, device: deviceOf(data), text: describe(kind, data), raw: text.slice(0, RAW),
    isCut: text.length > RAW, outcome: kind === "call.ended" ? outcome(data.call) : "" };
  const rows = feed.isPaused ? held : feed.rows;
  rows.push(row);
  // Not at each event, since it moves all of them.
  if (rows.length > FEED + 200) rows.splice(0, rows.length - FEED);
  if (feed.isPaused) feed.held += 1;
  touch("feed");
}

export function pauseFeed(isPaused) {
  feed.isPaused = isPaused;
  if (!isPaused) {
    feed.rows.push(...held);
    if (feed.rows.length > FEED) feed.rows.splice(0, feed.rows.length - FEED);
    held = [];
    feed.held = 0;
  }
  touch("feed");
}

export function clearFeed() {
  feed.rows = [];
  held = [];
  feed.held = 0;
  touch("feed");
}

const deviceOf = (data) => data.device?.name ?? data.call?.device ?? data.result?.device ?? "";

const DESCRIPTIONS = {
  "device.online": ({ device }) => `connected from ${device.address ?? "somewhere"} (${device.dialect ?? "unknown dialect"})`,
  "device.offline": ({ reason }) => `offline: ${reason}`,
  "device.quiet": ({ device }) => `quiet: ${device.evidence}`,
  "device.heard": () => "heard again",
  "call.queued": ({ call }) => callText(call, 120),
  "call.sent": ({ call }) => callText(call, 120),
  "call.acknowledged": ({ call }) => callText(call, 120),
  "call.ended": ({ call }) => `${callText(call, 60)} ${endText(call)}`,
  "result.unreadable": ({ result }) => `a result cannot be read: ${result.reason} (${result.wireId ?? "no id"})`,
  "result.forbidden": ({ result }) => `a result for a call to another device (${result.wireId ?? "no id"})`,
  "result.stray": ({ result }) => `${result.late ? "a late" : "an unexpected"} result (${result.wireId ?? "no id"})`,
  gap: ({ reason, dropped }) => `${dropped ?? "some"} events are missing: ${reason}`,
};

function endText(call) {
  if (call.error) return call.error.title;
  const time = typeof call.roundTrip === "number" ? ` ${milliseconds(call.roundTrip * 1000)} ms` : "";
  return `${call.status?.name ?? ""} ${json(call.detail ?? null, 80)}${time}`;
}

export const KINDS = Object.keys(DESCRIPTIONS);

function describe(kind, data) {
  try {
    return DESCRIPTIONS[kind]?.(data) ?? "";
  } catch {
    return "";
  }
}

export function takeEvent(kind, data, text) {
  addToFeed(kind, data, text);
  if (kind === "gap") return reload();
  if (data.device) {
    if (devices.isLoading) arrived.add(data.device.name);
    setDevice(data.device);
  }
  if (data.call) {
    setCall(data.call, text.length);
    if (kind === "call.ended") addToStatistics(data.call);
  }
}

// The server

/** What `/v1/server` says; null until it has said it, or when it does not exist. */
export const server = { now: null, isMissing: false };

export async function loadServer(signal) {
  if (server.isMissing) return;
  try {
    server.now = await get("server", { signal });
  } catch (error) {
    if (error.status === 404 || error.status === 501) server.isMissing = true;
    if (error.status === 403) server.now = null;
    if (!isAbort(error) && error.status !== 404 && error.status !== 501) throw error;
  } finally {
    touch("server");
  }
}
