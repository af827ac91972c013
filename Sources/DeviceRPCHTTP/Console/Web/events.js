// The stream of events: reads Server-Sent Events with fetch, which can send a key, and comes back after what it had.
// @ts-check

import { send, parse, Problem } from "./api.js";

const LONGEST_SILENCE = 50_000;
const LONGEST_PAUSE = 15_000;

let lastID = "";
let wake = () => {};
let abort = () => {};
let listener = { event() {}, state(_state, _wait) {} };

/** Follows the events for as long as the page is open. */
export async function follow(handlers) {
  listener = handlers;
  addEventListener("online", retry);
  for (let failures = 0; ; ) {
    const hadID = lastID !== "";
    let pause = 0;
    try {
      await readOnce(() => {
        // Without an id the server cannot know what was missed.
        if (failures > 0 && !hadID) listener.event("gap", { reason: "reconnected", dropped: null, time: new Date().toISOString() }, "");
        failures = 0;
      });
      pause = 300;
    } catch (error) {
      failures += 1;
      if (error instanceof Problem) {
        listener.state(error.status === 403 ? "denied" : error.status === 401 ? "locked" : "busy", error);
        pause = error.status === 403 || error.status === 401 ? 3_600_000 : Math.max(error.retryAfter * 1000, 3000);
      } else {
        pause = Math.min(LONGEST_PAUSE, 500 * 2 ** Math.min(failures, 6));
        // With jitter, so that all pages do not come back at the same moment.
        pause *= 0.5 + Math.random() / 2;
        listener.state("down", pause);
      }
    }
    await sleep(pause);
  }
}

export const retry = () => wake();

/** Begins again from nothing: with another key other events are seen. */
export function restart() {
  lastID = "";
  abort();
  wake();
}

const sleep = (time) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, time);
    wake = () => {
      clearTimeout(timer);
      resolve(undefined);
    };
  });

async function readOnce(onOpen) {
  const controller = new AbortController();
  abort = () => controller.abort();
  // The server sends a heartbeat each 15 s; a connection that died in between says nothing.
  let watchdog = 0;
  const heard = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => controller.abort(), LONGEST_SILENCE);
  };
  try {
    const response = await send("GET", "events", {
      headers: lastID ? { "Last-Event-ID": lastID } : {}, signal: controller.signal, stream: true,
    });
    heard();
    onOpen();
    listener.state("live", 0);
    await readLines(response.body, heard);
  } catch (error) {
    if (error instanceof Problem) throw error;
    if (controller.signal.aborted) return;
    throw error;
  } finally {
    clearTimeout(watchdog);
  }
}

async function readLines(body, heard) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = { name: "", data: [], id: null };
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    const from = rest.length;
    rest += value;
    // Without a new line break there is nothing to look for: an event may have a megabyte.
    if (rest.indexOf("\n", from) < 0) continue;
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) event = take(line.endsWith("\r") ? line.slice(0, -1) : line, event);
  }
}

/** Takes one line; returns the event that the next one belongs to (HTML Standard §9.2.6). */
function take(line, event) {
  if (line === "") {
    if (event.id !== null) lastID = event.id;
    if (event.data.length) dispatch(event);
    return { name: "", data: [], id: null };
  }
  const colon = line.indexOf(":");
  const name = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
  if (name === "event") event.name = value;
  else if (name === "data") event.data.push(value);
  else if (name === "id") event.id = value;
  return event;
}

function dispatch(event) {
  const text = event.data.join("\n");
  let data;
  try {
    data = parse(text);
  } catch {
    return;
  }
  listener.event(event.name, data, text);
}
