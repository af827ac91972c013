// Words: how calls, values, times and numbers are written for people, and what the outcome of a call means.
// @ts-check

import { h, s } from "./dom.js";
import { serverNow, name } from "./api.js";

export const OUTCOMES = [
  { key: "ok", word: "OK", means: "The device answered OK." },
  { key: "refused", word: "Refused", means: "The device answered with another status." },
  { key: "notrun", word: "Not run", means: "The device has certainly not run it." },
  { key: "perhaps", word: "Perhaps run", means: "The device may have run it." },
];

const PATHS = {
  ok: "M3 8.5l3.2 3.2L13 5",
  refused: "M4 4l8 8M12 4l-8 8",
  notrun: "M8 2a6 6 0 100 12A6 6 0 008 2M4 4l8 8",
  perhaps: "M5.5 6a2.5 2.5 0 115 0c0 1.7-2.5 1.9-2.5 3.6M8 12.4v.4",
  open: "M8 4v4l2.6 1.8M8 2a6 6 0 100 12A6 6 0 008 2",
  observing: "M2 8a6 6 0 0112 0M5 8a3 3 0 016 0M8 8v.2M8 11.5v.1",
  quiet: "M2.5 8h2M7 8h2M11.5 8h2",
  offline: "M4 4l8 8M12 4l-8 8",
};

export const deviceLink = (device) => `#/devices/${name(device)}`;

export const icon = (key) =>
  s("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: PATHS[key] }));

/** What has become of a call: the key of an outcome, or "open". */
export function outcome(call) {
  if (call.state !== "ended") return "open";
  if (call.status) return call.status.code === 0 ? "ok" : "refused";
  return call.safeToRepeat ? "notrun" : "perhaps";
}

export function outcomeWord(call) {
  const key = outcome(call);
  if (key === "open") return call.state.charAt(0).toUpperCase() + call.state.slice(1);
  return OUTCOMES.find((one) => one.key === key)?.word ?? "";
}

/** The outcome as a picture with a word; where there is little room, a refusal has the name of its status for it. */
export function outcomeBadge(call, isShort = false) {
  const key = outcome(call);
  const isNamed = isShort && key === "refused";
  return h("span", { class: `badge ${key}`, title: isNamed ? "Refused" : null }, icon(key),
    isNamed && h("span", { class: "sr" }, "Refused: "), isNamed ? call.status.name : outcomeWord(call));
}

export function stateBadge(state) {
  return h("span", { class: `badge state-${state}` }, icon(state), state);
}

export const statusText = (call) =>
  call.status && call.status.code !== 0 ? `${call.status.name} (${call.status.code})` : "";

/** `multiply(7, 191)`, cut to a length. */
export function callText(call, limit = 160) {
  const params = Array.isArray(call.params) ? call.params : [call.params];
  let text = `${call.method}(`;
  for (const [index, param] of params.entries()) {
    if (text.length > limit) return `${text}…)`;
    text += (index ? ", " : "") + json(param, limit);
  }
  return `${text})`;
}

export function resultText(call, limit = 160) {
  if (call.error) return call.error.title;
  if (!call.status) return "";
  if (call.oneWay && call.detail === null) return "acknowledged";
  return call.detail === null || call.detail === undefined ? "" : json(call.detail, limit);
}

/** JSON on one line. With a limit the rest is cut, without writing it first: a device may send a megabyte. */
export function json(value, limit = Infinity) {
  const parts = [];
  let left = limit;
  const add = (text) => {
    parts.push(text);
    left -= text.length;
  };
  const walk = (value) => {
    if (left <= 0) return;
    if (typeof value === "string") add(JSON.stringify(value.length > left ? value.slice(0, left) : value));
    else if (typeof value !== "object" || value === null) add(String(value));
    else if (Array.isArray(value)) list("[", value.map((item) => [null, item]), "]");
    else list("{", Object.entries(value), "}");
  };
  const list = (begin, entries, end) => {
    add(begin);
    for (const [index, [name, item]] of entries.entries()) {
      if (left <= 0) break;
      if (index) add(",");
      if (name !== null) add(`${JSON.stringify(name)}:`);
      walk(item);
    }
    add(end);
  };
  walk(value);
  const text = parts.join("");
  return left < 0 ? `${text.slice(0, limit)}…` : text;
}

const grouped = new Intl.NumberFormat("en");
export const count = (number) => grouped.format(number);

export function milliseconds(value) {
  if (value < 10) return value.toFixed(1);
  return value < 1000 ? String(Math.round(value)) : count(Math.round(value));
}

export function callMilliseconds(call) {
  if (typeof call.roundTrip === "number") return call.roundTrip * 1000;
  if (call.local) return null;
  return call.ended ? Date.parse(call.ended) - Date.parse(call.created) : null;
}

const two = (number) => String(number).padStart(2, "0");

/** The time of day, with the date where it is another one. */
export function clock(time, withMilliseconds = false) {
  const date = new Date(time);
  let text = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  if (withMilliseconds) text += `.${String(date.getMilliseconds()).padStart(3, "0")}`;
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? text : `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${text}`;
}

/** A time as an element whose title has all of it. */
export const timeElement = (time, withMilliseconds = false) =>
  time ? h("time", { datetime: time, title: time }, clock(time, withMilliseconds)) : h("span", { class: "muted" }, "never");

export function ago(time) {
  if (!time) return "never";
  const seconds = (serverNow() - Date.parse(time)) / 1000;
  return seconds < 2 ? "just now" : `${duration(seconds)} ago`;
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}
