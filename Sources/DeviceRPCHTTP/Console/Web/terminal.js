// The debug terminal of a panel: a line is a method and its params; the arrow keys bring lines back.
// @ts-check

import { h, put, button, textInput } from "./dom.js";
import { parse } from "./api.js";
import { make } from "./calls.js";
import { callMilliseconds, clock, json, milliseconds, outcome, outcomeBadge, statusText } from "./format.js";
import { Widget } from "./widgets.js";

const LINES = 200;
const LONGEST = 4000;
// The lines of each device, for as long as the page is open.
const histories = new Map();

/** Splits a line into a method and params: JSON where it is JSON, and text where it is not. */
export function readLine(line) {
  const words = [];
  for (let index = 0; index < line.length; ) {
    if (/\s/.test(line[index])) {
      index += 1;
      continue;
    }
    const end = endOfWord(line, index);
    words.push(line.slice(index, end));
    index = end;
  }
  const [method = "", ...rest] = words;
  return { method, params: rest.map(valueOf) };
}

function endOfWord(line, from) {
  let depth = 0;
  let isQuoted = false;
  for (let index = from; index < line.length; index += 1) {
    const character = line[index];
    if (isQuoted) {
      if (character === "\\") index += 1;
      else if (character === '"') isQuoted = false;
    } else if (character === '"') isQuoted = true;
    else if (character === "{" || character === "[") depth += 1;
    else if (character === "}" || character === "]") depth -= 1;
    else if (/\s/.test(character) && depth <= 0) return index;
  }
  return line.length;
}

function valueOf(word) {
  try {
    return parse(word);
  } catch {
    return word;
  }
}

export class Terminal extends Widget {
  constructor(...all) {
    super(...all);
    this.lines = histories.get(this.device) ?? [];
    histories.set(this.device, this.lines);
    this.place = this.lines.length;
    this.typed = "";
    this.log = h("div", { class: "terminal-log", role: "log", tabindex: "0", "aria-label": `${this.panel.title}, output` });
    this.input = textInput({ "aria-label": `${this.panel.title}: method and params`, placeholder: "method param param …", autocapitalize: "none",
      onkeydown: (event) => this.press(event) });
    this.body.append(this.log, h("form", { class: "terminal-line", novalidate: true, onsubmit: (event) => {
      event.preventDefault();
      void this.run();
    } }, h("span", { "aria-hidden": "true" }, "›"), this.input, h("button", { type: "submit", class: "small" }, "Call")));
    this.edit.append(button("Clear", () => put(this.log), { class: "small", "aria-label": `Clear ${this.panel.title}` }));
  }

  press(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    if (this.place === this.lines.length) this.typed = this.input.value;
    this.place = Math.max(0, Math.min(this.lines.length, this.place + step));
    this.input.value = this.lines[this.place] ?? this.typed;
    this.input.setSelectionRange(this.input.value.length, this.input.value.length);
  }

  async run() {
    const line = this.input.value.trim();
    if (!line) return;
    if (this.lines.at(-1) !== line) this.lines.push(line);
    if (this.lines.length > LINES) this.lines.shift();
    this.place = this.lines.length;
    this.input.value = "";
    const answer = h("div", { class: "terminal-answer muted" }, "…");
    this.print(h("div", { class: "terminal-call" }, `› ${line}`), answer);
    try {
      const call = await make(this.device, readLine(line));
      const time = callMilliseconds(call);
      const text = call.error ? call.error.detail : call.detail === null ? "" : json(call.detail, LONGEST);
      answer.className = `terminal-answer is-${outcome(call)}`;
      put(answer, outcomeBadge(call), ` ${statusText(call)} `, text, h("span", { class: "muted" }, ` ${clock(call.created)}${time === null ? "" : `, ${milliseconds(time)} ms`}`));
    } catch (error) {
      put(answer, `${error.title ?? "The console has failed"} ${error.detail ?? error.message}`);
    }
    this.log.scrollTop = this.log.scrollHeight;
  }

  print(...nodes) {
    this.log.append(...nodes);
    while (this.log.children.length > LINES * 2) this.log.firstChild.remove();
    this.log.scrollTop = this.log.scrollHeight;
  }
}
