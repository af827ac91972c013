// The form that calls a device: method, params, timeout, wait, one way; its result; the call as code.
// @ts-check

import { h, put, card, button, field, textInput, setError, setText, copyButton, problemNote, announce } from "./dom.js";
import { cancel } from "./api.js";
import { callMilliseconds, callText, json, milliseconds, outcome, outcomeBadge, outcomeWord, statusText, resultText } from "./format.js";
import { make } from "./calls.js";
import { Params } from "./params.js";
import { curl, swift } from "./snippets.js";
import { tree } from "./tree.js";

// What was typed for each device, for as long as the page is open.
const drafts = new Map();

export class CallForm {
  constructor(device, { signal }) {
    this.device = device;
    this.signal = signal;
    this.methods = h("datalist", { id: "methods" });
    this.method = textInput({ id: "method", list: "methods", autocapitalize: "none", placeholder: "multiply", oninput: () => this.change() });
    this.params = new Params(() => this.change());
    this.timeout = this.seconds("timeout", "10");
    this.wait = this.seconds("wait", "0");
    this.oneWay = h("input", { type: "checkbox", id: "one-way", onchange: () => this.change() });
    this.submit = h("button", { type: "submit", class: "primary" }, "Call");
    this.result = h("div", { class: "result-box", "aria-live": "polite", "aria-label": "Result", role: "region" });
    this.curl = h("code");
    this.swift = h("code");
    this.form = h("form", { novalidate: true, class: "call-form", onsubmit: (event) => this.call(event), onkeydown: (event) => this.press(event) },
      field("Method", this.method), this.methods, this.params.node,
      h("div", { class: "options" },
        field("Timeout, s", this.timeout, { hint: "for the result" }), field("Wait, s", this.wait, { hint: "for a device that is offline" }),
        field("One way", this.oneWay, { inline: true, hint: "no result is wanted" })),
      h("div", { class: "actions left" }, this.submit, button("Clear", () => this.clear())));
    const code = h("details", { class: "code" }, h("summary", null, "As code"), this.snippet("curl", this.curl), this.snippet("Swift", this.swift));
    this.node = card("Call", { class: "call-card" }, this.form, this.result, code);
    this.restore();
    this.number = 0;
  }

  seconds(id, placeholder) {
    return textInput({ id, inputmode: "decimal", placeholder, oninput: () => this.change(), onblur: () => this.readSeconds(this[id]) });
  }

  snippet(name, node) {
    return h("div", { class: "snippet" }, h("div", { class: "card-head" }, h("h3", null, name), copyButton(() => node.textContent, "Copy", `as ${name}`)),
      h("pre", { tabindex: "0", role: "region", "aria-label": `The call in ${name}` }, node));
  }

  // Ctrl-Enter also calls from a text of several lines.
  press(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.form.requestSubmit();
  }

  offer(methods) {
    put(this.methods, [...methods].sort().map((value) => h("option", { value })));
  }

  load(call) {
    this.method.value = call.method;
    this.params.set(Array.isArray(call.params) ? call.params : [call.params]);
    this.oneWay.checked = call.oneWay;
    this.change();
    this.node.scrollIntoView({ block: "nearest" });
    this.method.focus();
    announce("The call is in the form");
  }

  clear() {
    this.method.value = this.timeout.value = this.wait.value = "";
    this.oneWay.checked = false;
    this.params.restore([]);
    for (const control of [this.method, this.timeout, this.wait]) setError(control, "");
    put(this.result);
    this.method.focus();
  }

  change() {
    if (!this.node) return;
    drafts.set(this.device, { method: this.method.value, params: this.params.draft(), timeout: this.timeout.value, wait: this.wait.value, oneWay: this.oneWay.checked });
    if (this.method.value && this.method.hasAttribute("aria-invalid")) setError(this.method, "");
    const request = this.request(true);
    setText(this.curl, request ? curl(this.device, request) : "Enter a method and valid params.");
    setText(this.swift, request ? swift(this.device, { params: [], ...request }) : "Enter a method and valid params.");
  }

  restore() {
    const draft = drafts.get(this.device);
    if (draft) {
      this.method.value = draft.method;
      this.timeout.value = draft.timeout;
      this.wait.value = draft.wait;
      this.oneWay.checked = draft.oneWay;
      this.params.restore(draft.params);
    }
    this.change();
  }

  readSeconds(control, isQuiet = false) {
    const text = control.value.trim().replace(",", ".");
    const value = text === "" ? undefined : Number(text);
    const isWrong = value !== undefined && !(value >= 0 && value <= 86400);
    if (!isQuiet) setError(control, isWrong ? "Enter seconds, from 0 to 86400." : "");
    return { value, isWrong };
  }

  /** The body of the request; null when something is wrong, which is then said beside it. */
  request(isQuiet = false) {
    const method = this.method.value.trim();
    const timeout = this.readSeconds(this.timeout, isQuiet);
    const wait = this.readSeconds(this.wait, isQuiet);
    const params = this.params.values(isQuiet);
    if (!isQuiet) setError(this.method, method ? "" : "Enter a method.");
    if (!method || !params || timeout.isWrong || wait.isWrong) {
      if (!isQuiet) (!method ? this.method : !params ? null : timeout.isWrong ? this.timeout : this.wait)?.focus();
      return null;
    }
    const request = { method, params };
    if (timeout.value !== undefined) request.timeout = timeout.value;
    if (wait.value) request.wait = wait.value;
    if (this.oneWay.checked) request.oneWay = true;
    return request;
  }

  async call(event) {
    event.preventDefault();
    const request = this.request();
    if (!request) return;
    // Several calls may be open; the box shows the last one.
    const number = ++this.number;
    const isLast = () => number === this.number && !this.signal.aborted;
    const pending = setTimeout(() => isLast() && put(this.result, h("p", { class: "muted" }, `Calling ${callText(request, 80)}…`)), 150);
    try {
      const call = await make(this.device, request, (open) => {
        clearTimeout(pending);
        if (isLast()) this.showOpen(open);
      });
      clearTimeout(pending);
      if (isLast()) this.showResult(call);
    } catch (error) {
      clearTimeout(pending);
      if (isLast()) put(this.result, problemNote(error));
    }
  }

  showOpen(call) {
    put(this.result, h("p", { class: "result-head" }, outcomeBadge(call), ` ${callText(call, 80)} `,
      button("Cancel call", () => cancel(call.id).catch((error) => put(this.result, problemNote(error))), { class: "small danger" })));
  }

  showResult(call) {
    const time = callMilliseconds(call);
    const isPlain = call.status && call.detail !== null && call.detail !== undefined;
    put(this.result,
      h("div", { class: `answer is-${outcome(call)}`, id: "result" },
        h("p", { class: "result-head" }, outcomeBadge(call), statusText(call) && h("strong", null, statusText(call)),
          h("code", null, callText(call, 80)), time !== null && h("span", { class: "muted" }, `${milliseconds(time)} ms`)),
        call.error && h("p", null, h("strong", null, call.error.title), ` ${call.error.detail}`),
        isPlain && tree(call.detail, "Detail")));
    // The region is polite, and a tree is a lot to hear: the short form is said.
    announce(`${outcomeWord(call)} ${statusText(call)} ${resultText(call, 80) || json(call.detail ?? null, 40)}`);
  }
}
