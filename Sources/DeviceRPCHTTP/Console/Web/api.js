// The API: requests, the key, problem documents, and JSON without loss of digits.
// @ts-check

const KEY = "device-rpc-key";
const base = new URL("v1/", document.baseURI);
let asking = null;
let asker = async (_reason) => null;
let skew = 0;

/** What the server said when it did not do something (RFC 9457). */
export class Problem extends Error {
  constructor(status, document, retryAfter = 0) {
    super(document?.title ?? `The server answered ${status}`);
    this.name = "Problem";
    this.status = status;
    this.document = document ?? {};
    this.title = document?.title ?? `The server answered ${status}`;
    this.detail = document?.detail ?? "";
    this.kind = String(document?.type ?? "").split("/").pop();
    this.retryAfter = retryAfter;
  }
}

export class Unreachable extends Error {
  constructor() {
    super("The server cannot be reached");
    this.name = "Unreachable";
    this.title = "The server cannot be reached";
    this.detail = "";
  }
}

/** Whether an error only says that the view has gone. */
export const isAbort = (error) => error?.name === "AbortError";

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

/** Says who asks the operator for a key: a function that returns a promise of it, or of null. */
export const setAsker = (ask) => (asker = ask);

/** Asks for a key, once for all requests that lack it. Returns whether there is a new one. */
export function askKey(reason) {
  asking ??= asker(reason).finally(() => (asking = null));
  return asking;
}

export const url = (path) => new URL(path, base);
export const name = encodeURIComponent;
export const devicePath = (device, rest = "") => `devices/${name(device)}${rest}`;

/** The milliseconds since 1970 on the clock of the server. */
export const serverNow = () => Date.now() + skew;

function noteClock(response) {
  const time = Date.parse(response.headers.get("Date") ?? "");
  const difference = time + 500 - Date.now();
  // The header has whole seconds, so a small difference says nothing.
  skew = Math.abs(difference) > 1500 ? difference : 0;
}

/** Sends a request. Where the server wants a key, it is asked for, and the request sent again. */
export async function send(method, path, { body, headers, signal, stream = false } = {}) {
  for (;;) {
    const used = key.get();
    const response = await attempt(method, path, { body, headers, signal }, used);
    if (response.ok) return stream ? response : { status: response.status, headers: response.headers, data: await read(response) };
    const problem = await problemOf(response);
    if (response.status !== 401) throw problem;
    // Another request may have got a key in the meantime.
    if (key.get() !== used) continue;
    if (!(await askKey(used ? problem.detail : ""))) throw problem;
  }
}

async function attempt(method, path, { body, headers, signal }, used) {
  const all = new Headers(headers);
  if (used) all.set("Authorization", `Bearer ${used}`);
  if (body !== undefined) all.set("Content-Type", "application/json");
  try {
    const response = await fetch(url(path), { method, headers: all, body, signal, cache: "no-store", credentials: "same-origin" });
    noteClock(response);
    return response;
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new Unreachable();
  }
}

async function problemOf(response) {
  const isProblem = /json/.test(response.headers.get("Content-Type") ?? "");
  // A proxy whose server is away says so without a document.
  if (!isProblem && response.status >= 502 && response.status <= 504) return new Unreachable();
  const retry = Number(response.headers.get("Retry-After")) || 0;
  return new Problem(response.status, isProblem ? await read(response).catch(() => null) : null, retry);
}

async function read(response) {
  let text;
  try {
    text = await response.text();
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new Unreachable();
  }
  return text ? parse(text) : null;
}

export const get = async (path, options) => (await send("GET", path, options)).data;

/** Reads JSON; whole numbers that JavaScript would round stay whole. */
export function parse(text) {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  return JSON.parse(text, function (_key, value, context) {
    const source = /** @type {any} */ (context)?.source;
    const isRounded = typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(source ?? "");
    return isRounded ? BigInt(source) : value;
  });
}

export async function page(path, options) {
  const { data, headers } = await send("GET", path, options);
  const next = /<([^>]*)>;\s*rel="next"/.exec(headers.get("Link") ?? "")?.[1];
  return { data, next: next ? new URL(next, url(path)).href : null };
}

/** Makes a call and returns it as it has ended; `onOpen` gets it before, if it takes longer. */
export async function call(device, body, onOpen, signal) {
  const answer = async (request) => {
    try {
      return (await request).data;
    } catch (error) {
      // With an id the failure is a call like others, which the server remembers.
      if (error instanceof Problem && error.document.call) return error.document.call;
      throw error;
    }
  };
  let current = await answer(send("POST", devicePath(device, "/calls"), { body, headers: { Prefer: "wait=1" }, signal }));
  while (current.state !== "ended") {
    onOpen?.(current);
    current = await answer(send("GET", `calls/${current.id}`, { headers: { Prefer: "wait=20" }, signal }));
  }
  return current;
}

export const cancel = (id) => send("DELETE", `calls/${id}`);
