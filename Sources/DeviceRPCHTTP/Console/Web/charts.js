// Charts: stacked bars and lines as SVG, with axes, a reading at the pointer, and a table that says the same.
// @ts-check

import { h, s, put, setText, uniqueID } from "./dom.js";
import { clock } from "./format.js";

const HEIGHT = 170;
const EDGE = { left: 44, right: 8, top: 10, bottom: 22 };

/**
 * A chart over time. `series` are `{ key, label }`; `kind` is "bars" or "lines"; `unit` follows the numbers.
 */
export class Chart {
  constructor({ title, kind, series, unit, format }) {
    Object.assign(this, { title, kind, series, unit, format });
    this.bins = [];
    this.pattern = uniqueID("stripes");
    this.svg = s("svg", { class: "chart", role: "img", height: HEIGHT });
    this.reading = h("p", { class: "reading muted" });
    this.body = h("tbody");
    this.table = h(
      "details", { class: "chart-table", ontoggle: () => this.fillTable() },
      h("summary", null, "As a table"),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}, table` },
        h("table", null,
          h("thead", null, h("tr", null, h("th", { scope: "col" }, "Time"), series.map((one) => h("th", { scope: "col" }, one.label)))),
          this.body)));
    this.node = h("figure", null, this.legend(), this.svg, this.reading, this.table);
    this.svg.addEventListener("pointermove", (event) => this.read(event));
    this.svg.addEventListener("pointerleave", () => this.point(-1));
    this.pointed = -1;
  }

  legend() {
    const mark = (key) => s("svg", { class: "mark", viewBox: "0 0 10 10", "aria-hidden": "true" },
      this.kind === "bars" ? s("rect", { class: `fill-${key}`, width: 10, height: 10, rx: 2 }) : s("path", { class: `line-${key}`, d: "M0 5h10" }));
    return h("ul", { class: "legend" }, this.series.map((one) => h("li", null, mark(one.key), one.label)));
  }

  draw(bins) {
    this.bins = bins;
    const width = this.svg.clientWidth || 480;
    const top = this.top();
    const x = (index) => EDGE.left + (index / bins.length) * (width - EDGE.left - EDGE.right);
    const y = (value) => HEIGHT - EDGE.bottom - (value / top) * (HEIGHT - EDGE.top - EDGE.bottom);
    const shape = this.kind === "bars" ? this.bars(x, y) : this.lines(x, y);
    put(this.svg, this.stripes(), this.axes(x, y, top, width), shape, this.pointer(x));
    this.svg.setAttribute("aria-label", this.summary());
    if (this.table.open) this.fillTable();
  }

  top() {
    const values = this.bins.map((bin) => (this.kind === "bars" ? bin.total : Math.max(...this.series.map(({ key }) => bin[key] ?? 0))));
    return niceCeiling(Math.max(...values, 0) || 1);
  }

  // Stripes, so that the outcome differs from others not by colour alone.
  stripes() {
    return s("defs", null,
      s("pattern", { id: this.pattern, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
        s("rect", { class: "stripe-ground", width: 5, height: 5 }), s("rect", { class: "fill-notrun", width: 2.5, height: 5 })));
  }

  axes(x, y, top, width) {
    const middle = y(top / 2);
    const label = (value) => s("text", { class: "tick", x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, short(value));
    const line = (height) => s("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: height, y2: height });
    const minutes = (this.bins.length * (this.bins[1].time - this.bins[0].time)) / 60000;
    const ticks = [];
    for (let minute = 0; minute <= minutes; minute += 1) {
      const at = x(((minutes - minute) / minutes) * this.bins.length);
      const anchor = minute === 0 ? "end" : minute === minutes ? "start" : "middle";
      ticks.push(s("text", { class: "tick", x: at, y: HEIGHT - 6, "text-anchor": anchor }, minute === minutes ? `−${minute} min` : minute ? `−${minute}` : "now"));
    }
    return [line(y(0)), line(middle), line(y(top)), label(0), label(top / 2), label(top), ticks];
  }

  bars(x, y) {
    const width = Math.max(1, x(1) - x(0) - 1.5);
    return this.bins.map((bin, index) => {
      let base = 0;
      return this.series.map(({ key }) => {
        if (!bin[key]) return null;
        const from = y(base);
        base += bin[key];
        // What happened once must be seen beside what happened a thousand times.
        const height = Math.max(1.5, from - y(base));
        const fill = key === "perhaps" ? `url(#${this.pattern})` : null;
        return s("rect", { class: fill ? "" : `fill-${key}`, fill, x: x(index), y: from - height, width, height });
      });
    });
  }

  lines(x, y) {
    const half = (x(1) - x(0)) / 2;
    return this.series.map(({ key }) => {
      let path = "";
      let isDown = false;
      const dots = [];
      for (const [index, bin] of this.bins.entries()) {
        const value = bin[key];
        if (value === null) {
          isDown = false;
          continue;
        }
        const at = `${(x(index) + half).toFixed(1)} ${y(value).toFixed(1)}`;
        path += `${isDown ? "L" : "M"}${at}`;
        const isAlone = !isDown && (this.bins[index + 1]?.[key] ?? null) === null;
        if (isAlone) dots.push(s("circle", { class: `dot-${key}`, cx: x(index) + half, cy: y(value), r: 2.5 }));
        isDown = true;
      }
      return [s("path", { class: `line-${key}`, d: path || "M0 0" }), dots];
    });
  }

  pointer(x) {
    if (this.pointed < 0) return null;
    const at = x(this.pointed + 0.5);
    return s("line", { class: "pointer", x1: at, x2: at, y1: EDGE.top, y2: HEIGHT - EDGE.bottom });
  }

  read(event) {
    const box = this.svg.getBoundingClientRect();
    const share = (event.clientX - box.left - EDGE.left) / (box.width - EDGE.left - EDGE.right);
    this.point(share >= 0 && share < 1 ? Math.floor(share * this.bins.length) : -1);
  }

  point(index) {
    if (index === this.pointed || !this.bins.length) return;
    this.pointed = index;
    const bin = this.bins[index];
    setText(this.reading, bin ? `${clock(bin.time)}  ${this.describe(bin)}` : "");
    this.draw(this.bins);
  }

  describe(bin) {
    return this.series.map(({ key, label }) => `${label} ${bin[key] === null ? "–" : this.format(bin[key])}`).join(", ") + ` ${this.unit}`;
  }

  summary() {
    const last = this.bins[this.bins.length - 2];
    const peak = Math.max(...this.bins.map((bin) => (this.kind === "bars" ? bin.total : bin.p99 ?? 0)));
    return `${this.title} over the last 5 minutes, in ${this.unit}. Highest ${this.format(peak)}. Last: ${this.describe(last)}.`;
  }

  fillTable() {
    if (!this.table.open) return;
    const rows = this.bins.filter((bin) => this.series.some(({ key }) => bin[key])).slice(-30).reverse();
    const cell = (value) => h("td", null, value === null ? "–" : this.format(value));
    put(this.body, rows.length
      ? rows.map((bin) => h("tr", null, h("th", { scope: "row" }, clock(bin.time)), this.series.map(({ key }) => cell(bin[key]))))
      : h("tr", null, h("td", { colspan: this.series.length + 1 }, "No calls yet.")));
  }
}

/** The next of 1, 2, 5 times a power of ten. */
export function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999) ?? value;
}

function short(value) {
  if (value >= 1e6) return `${value / 1e6}M`;
  if (value >= 1e4) return `${value / 1e3}k`;
  return String(Number(value.toPrecision(3)));
}
