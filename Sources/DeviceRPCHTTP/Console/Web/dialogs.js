// Dialogs: to ask for a key, to confirm, to show a new key once. The browser closes them with Escape and gives the focus back.
// @ts-check

import { h, button, copyButton, field, textInput, setError, uniqueID } from "./dom.js";
import { key } from "./api.js";

/** Shows a dialog, and returns what it was closed with; null after Escape. */
export function openDialog(title, make, { wide = false } = {}) {
  return new Promise((resolve) => {
    const id = uniqueID("dialog");
    const node = h("dialog", { "aria-labelledby": id, class: wide ? "wide" : "" });
    let result = null;
    const close = (value) => {
      result = value;
      node.close();
    };
    node.append(h("h2", { id }, title), make(close));
    node.addEventListener("close", () => {
      node.remove();
      resolve(result);
    });
    document.body.append(node);
    node.showModal();
  });
}

export function dialogForm(submit, label, close, ...children) {
  return h(
    "form", {
      method: "dialog", novalidate: true,
      onsubmit: (event) => {
        event.preventDefault();
        submit();
      },
    },
    children,
    h("div", { class: "actions" }, button("Cancel", () => close(null)), h("button", { type: "submit", class: "primary" }, label)));
}

export async function askForKey(reason) {
  const input = textInput({ type: "password", required: true, placeholder: "drpc_…" });
  const text = await openDialog("API key", (close) =>
    dialogForm(
      () => {
        const value = input.value.trim();
        if (!value) return setError(input, "Enter a key.");
        // What a header cannot carry is no key.
        if (!/^[\x21-\x7e]+$/.test(value)) return setError(input, "A key has letters, digits and underscores.");
        close(value);
      },
      "Use key", close,
      h("p", null, "This server answers only with an API key. ", h("code", null, "device-rpc keys add"), " makes one."),
      reason && h("p", { class: "note problem", role: "alert" }, reason),
      field("Key", input, { hint: "Kept in this tab only, until it is closed." })));
  if (text) key.set(text);
  return text;
}

export function confirmDialog(title, text, action, isDangerous = true) {
  return openDialog(title, (close) =>
    h(
      "div", null, h("p", null, text),
      h(
        "div", { class: "actions" },
        button("Cancel", () => close(false), { autofocus: true }),
        button(action, () => close(true), { class: isDangerous ? "danger" : "primary" }))));
}

export function showNewKey(device, text) {
  return openDialog(`New key of ${device}`, (close) =>
    h(
      "div", null,
      h("p", null, "Put it into the firmware now. The server does not show it again."),
      h("div", { class: "secret" }, h("code", { tabindex: "0", "aria-label": "The key" }, text), copyButton(text, "Copy", "the key")),
      h("div", { class: "actions" }, button("Done", () => close(true), { class: "primary" }))));
}
