// Elements: makes them from names, properties and text, so that nothing a device sends can become markup.
// @ts-check

const SVG = "http://www.w3.org/2000/svg";
let serial = 0;

export const uniqueID = (/** @type {string} */ name) => `${name}-${++serial}`;

/** Makes an HTML element: `h("p", { class: "note" }, "text", otherElement)`. */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

/** Adds elements and texts; lists are added one by one, and null and false left out. */
export function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child);
  }
}

export function put(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

export const button = (label, click, props) => h("button", { type: "button", onclick: click, ...props }, label);

export const textInput = (props) => h("input", { autocomplete: "off", spellcheck: "false", ...props });

/** Makes a search field with its label; `hear` gets what is typed. */
export function searchBox(id, placeholder, value, hear) {
  const input = textInput({ type: "search", id, placeholder, value, oninput: () => hear(input.value.trim()) });
  return h("div", { class: "search" }, h("label", { for: id }, "Search"), input);
}

/** Makes a label with its control, a hint and a place for an error. */
export function field(label, control, { hint = "", inline = false } = {}) {
  control.id ||= uniqueID("field");
  const error = h("span", { class: "error", id: `${control.id}-error` });
  const note = hint && h("span", { class: "hint", id: `${control.id}-hint` }, hint);
  if (note) control.setAttribute("aria-describedby", note.id);
  return h("div", { class: inline ? "field inline" : "field" }, h("label", { for: control.id }, label), control, note, error);
}

export function setError(control, text) {
  const error = document.getElementById(`${control.id}-error`);
  if (error) setText(error, text);
  const hint = document.getElementById(`${control.id}-hint`);
  const ids = [hint?.id, text && error?.id].filter(Boolean).join(" ");
  if (ids) control.setAttribute("aria-describedby", ids);
  else control.removeAttribute("aria-describedby");
  if (text) control.setAttribute("aria-invalid", "true");
  else control.removeAttribute("aria-invalid");
}

let announcing = 0;

/** Has a screen reader say something. The same text twice is said twice. */
export function announce(text) {
  const live = $("live");
  live.textContent = "";
  clearTimeout(announcing);
  announcing = setTimeout(() => (live.textContent = text), 60);
}

export function copyButton(text, label = "Copy", what = "") {
  const node = button(label, async () => {
    const done = await copy(typeof text === "function" ? text() : text);
    node.textContent = done ? "Copied" : "Not copied";
    announce(done ? "Copied" : "The browser does not let this page copy");
    setTimeout(() => (node.textContent = label), 1500);
  }, { class: "small", "aria-label": what ? `${label} ${what}` : null });
  return node;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages without TLS have no clipboard, but may copy what is selected.
    const area = h("textarea", { class: "sr", value: text, "aria-hidden": "true" });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

export function problemNote(error) {
  const title = error?.title ?? "The console has failed";
  const detail = error?.detail ?? String(error?.message ?? error);
  return h("p", { class: "note problem", role: "alert" }, h("strong", null, title), detail && detail !== title ? ` ${sentence(detail)}` : "");
}

const sentence = (/** @type {string} */ text) => text.charAt(0).toUpperCase() + text.slice(1);

export function card(title, props, ...children) {
  const id = uniqueID("card");
  const { tools = [], ...rest } = props ?? {};
  return h(
    "section", { ...rest, class: `card ${rest.class ?? ""}`, "aria-labelledby": id },
    h("div", { class: "card-head" }, h("h2", { id }, title), h("div", { class: "tools" }, tools)), children);
}
