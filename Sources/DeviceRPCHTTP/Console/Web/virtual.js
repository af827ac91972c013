// A list of very many rows, of which only those in sight are elements: a grid for screen readers and the keyboard.
// @ts-check

import { h, put, uniqueID } from "./dom.js";

const SPARE = 8;

/** A cell of a row. */
export const cell = (className, ...children) => h("span", { role: "gridcell", class: className }, children);

/** `columns` are texts; `render(item)` returns the cells of a row; `open(item)` is what Enter and a click do. */
export class VirtualList {
  constructor({ label, columns, render, open, identify, className = "", signal }) {
    Object.assign(this, { render, open, identify });
    this.items = [];
    this.rows = new Map();
    this.active = -1;
    this.id = uniqueID("row");
    this.space = h("div", { class: "space", role: "rowgroup" });
    this.header = h("div", { class: "grid-row grid-head", role: "row", "aria-rowindex": "1" },
      columns.map((text) => h("span", { role: "columnheader" }, text)));
    this.node = h("div", {
      class: `grid-list ${className}`, role: "grid", tabindex: "0", "aria-label": label, "aria-colcount": columns.length, "aria-readonly": "true",
      onscroll: () => this.schedule(), onkeydown: (event) => this.press(event), onclick: (event) => this.click(event),
    }, h("div", { role: "rowgroup", class: "grid-top" }, this.header), this.space);
    this.frame = 0;
    const observer = new ResizeObserver(() => this.resize());
    observer.observe(this.node);
    signal.addEventListener("abort", () => observer.disconnect());
  }

  /** Shows other items. The active row stays with its item. */
  show(items) {
    const keyAt = (index) => (this.items[index] ? this.identify(this.items[index]) : null);
    const [activeKey, topKey] = [keyAt(this.active), this.node.scrollTop > 0 ? keyAt(this.range()[0]) : null];
    const before = this.range()[0];
    this.items = items;
    const find = (key) => (key === null ? -1 : items.findIndex((item) => this.identify(item) === key));
    this.active = find(activeKey);
    this.node.setAttribute("aria-rowcount", String(items.length + 1));
    this.measure();
    // What is being read stays in its place when rows come above it.
    const top = find(topKey);
    if (top >= 0 && top !== before) this.node.scrollTop += (top - before) * this.height;
    this.draw();
  }

  measure() {
    if (!this.height) {
      const probe = h("div", { class: "grid-row", role: "presentation" }, "0");
      this.space.append(probe);
      this.height = probe.offsetHeight;
      probe.remove();
    }
    this.space.style.height = `${this.items.length * (this.height || 36)}px`;
  }

  resize() {
    this.height = 0;
    this.measure();
    this.draw();
  }

  schedule() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  range() {
    const top = this.node.scrollTop;
    const sight = this.node.clientHeight - this.header.offsetHeight;
    const height = this.height || 36;
    return [Math.max(0, Math.floor(top / height)), Math.min(this.items.length - 1, Math.ceil((top + sight) / height))];
  }

  draw() {
    const [first, last] = this.range();
    const from = Math.max(0, first - SPARE);
    const to = Math.min(this.items.length - 1, last + SPARE);
    for (const [index, row] of this.rows) {
      if (index >= from && index <= to) continue;
      row.node.remove();
      this.rows.delete(index);
    }
    for (let index = from; index <= to; index += 1) this.drawRow(index);
    const isDrawn = this.rows.has(this.active);
    if (isDrawn) this.node.setAttribute("aria-activedescendant", `${this.id}-${this.active}`);
    else this.node.removeAttribute("aria-activedescendant");
  }

  drawRow(index) {
    let row = this.rows.get(index);
    const item = this.items[index];
    if (!row) {
      row = { node: h("div", { class: "grid-row", role: "row", id: `${this.id}-${index}`, "aria-rowindex": index + 2 }), item: null };
      row.node.style.transform = `translateY(${index * this.height}px)`;
      this.rows.set(index, row);
      this.insert(row.node, index);
    }
    if (row.item !== item) {
      row.item = item;
      put(row.node, this.render(item));
    }
    const isActive = index === this.active;
    row.node.classList.toggle("active", isActive);
    if (isActive) row.node.setAttribute("aria-selected", "true");
    else row.node.removeAttribute("aria-selected");
  }

  // In the order of the rows, as which a screen reader reads them.
  insert(node, index) {
    const next = [...this.space.children].find((other) => Number(other.getAttribute("aria-rowindex")) > index + 2);
    this.space.insertBefore(node, next ?? null);
  }

  /** Draws rows again whose texts depend on the time. */
  refresh() {
    for (const row of this.rows.values()) row.item = null;
    this.draw();
  }

  press(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor((this.node.clientHeight - this.header.offsetHeight) / this.height) - 1);
    const last = this.items.length - 1;
    const [first] = this.range();
    const from = this.active < 0 ? first - 1 : this.active;
    const targets = { ArrowDown: from + 1, ArrowUp: from - 1, PageDown: from + page, PageUp: from - page, Home: 0, End: last };
    if (event.key in targets) {
      event.preventDefault();
      this.activate(Math.max(0, Math.min(last, targets[event.key])));
    } else if (event.key === "Enter" && this.active >= 0 && this.open) {
      event.preventDefault();
      this.open(this.items[this.active]);
    }
  }

  activate(index) {
    if (index < 0 || !this.items.length) return;
    this.active = index;
    const top = index * this.height;
    const sight = this.node.clientHeight - this.header.offsetHeight;
    if (top < this.node.scrollTop) this.node.scrollTop = top;
    else if (top + this.height > this.node.scrollTop + sight) this.node.scrollTop = top + this.height - sight;
    this.draw();
  }

  click(event) {
    const row = event.target.closest("[aria-rowindex]");
    const index = row ? Number(row.getAttribute("aria-rowindex")) - 2 : -1;
    if (index < 0) return;
    this.activate(index);
    // A link opens by itself, also in another tab; a text that is being selected opens nothing.
    if (event.target.closest("a") || String(getSelection())) return;
    this.open?.(this.items[index]);
  }
}
