// A call as code: for curl in a shell, and in Swift.
// @ts-check

import { url, devicePath, key } from "./api.js";
import { json } from "./format.js";

export const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The call for curl. The key is a variable, so that it is in no history. */
export function curl(device, request) {
  const lines = ["curl"];
  if (key.get()) lines.push(`-H "Authorization: Bearer $DEVICE_RPC_API_KEY"`);
  lines.push(`--json ${shellQuoted(json(request))}`, shellQuoted(url(devicePath(device, "/calls")).href));
  return lines.join(" \\\n  ").replace("curl \\\n  ", "curl ");
}

export function swiftText(text) {
  const escapes = { "\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0" };
  // Also those that an editor would show as something else than they are.
  const escaped = text.replace(/[\\"\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    (character) => escapes[character] ?? `\\u{${character.charCodeAt(0).toString(16)}}`);
  return `"${escaped}"`;
}

function swiftLiteral(value) {
  if (value === null) return "nil";
  if (typeof value === "string") return swiftText(value);
  if (Array.isArray(value)) return `[${value.map(swiftLiteral).join(", ")}]`;
  if (typeof value !== "object") return String(value);
  const members = Object.entries(value).map(([name, member]) => `${swiftText(name)}: ${swiftLiteral(member)}`);
  return members.length ? `[${members.join(", ")}]` : "[:]";
}

/** A parameter: lists, objects and null need their type. */
function swiftParam(value) {
  if (value === null) return "RPCValue.null";
  const literal = swiftLiteral(value);
  return typeof value === "object" ? `${literal} as RPCValue` : literal;
}

export function swift(device, { method, params, timeout, wait, oneWay }) {
  const args = [swiftText(method), ...params.map(swiftParam)];
  if (timeout !== undefined) args.push(`timeout: .seconds(${timeout})`);
  if (wait) args.push(`wait: .seconds(${wait})`);
  return `try await server.device(${swiftText(device)}).${oneWay ? "callOneWay" : "call"}(${args.join(", ")})`;
}
