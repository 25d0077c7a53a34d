// Pictures over time, drawn by uPlot: with their colours from style.css, a sentence for who cannot see them, and a table.

import { paint, resolve } from "./colours.js";
import { fill, h } from "./dom.js";
import { clock, moment, number } from "./words.js";

const FOLDER = "vendor/uplot/";
const MOST_ROWS = 60;
let loading = null;

function load() {
  loading ??= new Promise((done, failed) => {
    document.head.append(h("link", { rel: "stylesheet", href: `${FOLDER}uPlot.min.css` }));
    document.head.append(
      h("script", { src: `${FOLDER}uPlot.iife.min.js`, on: { load: () => done(globalThis.uPlot), error: () => failed(new Error("uPlot cannot be loaded")) } }),
    );
  });
  return loading;
}

/**
 * A figure. `lines` are {label, key, colour, job, width, points, bars, band, hidden, format}: `band` names the line up to
 * which the room is filled, `key` what the line is called where it is explained. `marks` are stretches of time:
 * {from, to, label, colour}. `x` is {time: false, label, format} where it is not time.
 */
export class Chart {
  constructor(title, lines, { height = 220, x = {}, y = {}, empty = "Nothing yet.", note = "" } = {}) {
    this.title = title;
    this.lines = lines;
    this.height = height;
    this.x = x;
    this.y = y;
    this.empty = empty;
    this.marks = [];
    this.plot = null;
    this.data = null;
    this.place = h("div.canvas", { role: "img" });
    this.nothing = h("p.empty", {}, empty);
    this.table = h("div.scroll", { tabindex: "0", role: "region", "aria-label": `${title} as a table` });
    this.more = h("details", { on: { toggle: () => this.#fillTable() } }, h("summary", {}, "As a table"), this.table);
    this.keys = h("ul.keys", {}, lines.filter((line) => line.label && !line.hidden).map((line) => this.#key(line)));
    this.note = h("small", {}, note);
    this.element = h("figure.chart", {}, h("figcaption", {}, h("b", {}, title), this.note, this.keys), this.place, this.nothing, this.more);
    this.resized = new ResizeObserver(() => this.plot?.setSize({ width: this.place.clientWidth, height: this.height }));
    this.resized.observe(this.place);
    this.recolour = () => this.#rebuild();
    addEventListener("themechange", this.recolour);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", this.recolour);
  }

  leave() {
    this.resized.disconnect();
    removeEventListener("themechange", this.recolour);
    this.scheme.removeEventListener("change", this.recolour);
    this.plot?.destroy();
    this.plot = null;
    this.isGone = true;
  }

  /** Show columns: x, then one a line. `span` is what x reaches from and to, where that is not what the data does. */
  async show(data, marks = [], span = null) {
    this.data = data;
    this.span = span;
    this.marks = marks;
    const isEmpty = !data[0].length || !data.slice(1).some((column) => column.some((value) => value !== null));
    this.nothing.hidden = !isEmpty;
    this.place.hidden = this.more.hidden = isEmpty;
    this.keys.hidden = isEmpty;
    if (isEmpty) return;
    this.place.setAttribute("aria-label", this.#sentence());
    if (this.more.open) this.#fillTable();
    await load();
    if (this.isGone) return;
    if (this.plot) this.plot.setData(this.data);
    else this.#rebuild();
  }

  #rebuild() {
    if (!globalThis.uPlot || !this.data || this.isGone || this.place.hidden) return;
    this.plot?.destroy();
    const soft = resolve("--soft");
    const grid = { stroke: resolve("--line"), width: 1 };
    const isTime = this.x.time !== false;
    const axes = [
      { stroke: soft, grid, ticks: grid, font: "12px system-ui", label: this.x.label, size: this.x.label ? 32 : 34, labelSize: this.x.label ? 20 : 0, labelFont: "12px system-ui", space: isTime ? 70 : 50, values: (plot, values) => this.#times(plot, values, isTime) },
      { stroke: soft, grid, ticks: grid, font: "12px system-ui", size: this.y.size ?? 62, space: 34, ...(this.y.incrs ? { incrs: this.y.incrs } : {}), values: (_, values) => values.map((value) => (value === null ? "" : (this.y.format ?? number)(value))) },
    ];
    this.plot = new globalThis.uPlot(
      {
        width: this.place.clientWidth || 300,
        height: this.height,
        legend: { show: false },
        cursor: { y: false, points: { size: 6 } },
        scales: { x: { time: isTime, range: (_, low, high) => this.span ?? [low, high] }, y: { range: (_, low, high) => this.#range(low, high) } },
        axes,
        series: [{}, ...this.lines.map((line) => this.#series(line))],
        bands: this.lines.flatMap((line, n) => (line.band === undefined ? [] : [{ series: [n + 1, line.band + 1], fill: faint(resolve(line.colour, line.job), 0.18) }])),
        hooks: { drawClear: [(plot) => this.#drawMarks(plot)], setCursor: [(plot) => this.#point(plot)] },
      },
      this.data,
      fill(this.place),
    );
    this.reading = h("output.reading", { "aria-hidden": "true", hidden: true });
    this.place.append(this.reading);
  }

  #times(plot, values, isTime) {
    if (!isTime) return values.map((value) => (value === null ? "" : (this.x.format ?? number)(value)));
    const { min, max } = plot.scales.x;
    return values.map((value) => moment(value, max - min));
  }

  #series(line) {
    const colour = resolve(line.colour, line.job);
    return {
      label: line.label,
      stroke: line.points === "only" ? undefined : colour,
      width: line.width ?? 2,
      spanGaps: true,
      points: line.points ? { show: true, size: 8, fill: colour, stroke: colour } : { show: false },
      ...(line.points === "only" ? { paths: () => null } : {}),
      ...(line.bars ? { paths: globalThis.uPlot.paths.bars({ size: [0.7, 24], align: 1 }), fill: colour } : {}),
    };
  }

  #range(low, high) {
    const bottom = this.y.least ?? Math.min(0, low ?? 0);
    const top = Math.max(this.y.most ?? 0, (high ?? 0) * 1.06);
    return [bottom, top > bottom ? top : bottom + 1];
  }

  /** Migrations as bands behind the lines. */
  #drawMarks(plot) {
    const pen = plot.ctx;
    const { left, top, width, height } = plot.bbox;
    const scale = devicePixelRatio || 1;
    let free = -Infinity;
    for (const { from, to, label, colour } of this.marks) {
      const x = Math.max(left, plot.valToPos(from, "x", true));
      const end = Math.min(left + width, plot.valToPos(to, "x", true));
      if (end < left || x > left + width) continue;
      const shown = resolve(colour ?? "--accent");
      pen.fillStyle = faint(shown, 0.22);
      pen.fillRect(x, top, Math.max(2 * scale, end - x), height);
      pen.fillStyle = shown;
      pen.font = `${11 * scale}px system-ui`;
      pen.textBaseline = "top";
      const room = pen.measureText(label).width;
      const at = Math.min(x + 3 * scale, left + width - room);
      if (at > free) {
        pen.fillText(label, at, top + 2 * scale);
        free = at + room + 6 * scale;
      }
    }
  }

  #point(plot) {
    const n = plot.cursor.idx;
    if (!this.reading) return;
    this.reading.hidden = n === null || n === undefined;
    if (this.reading.hidden) return;
    const at = this.data[0][n];
    const told = this.lines
      .map((line, each) => [line, this.data[each + 1][n]])
      .filter(([line, value]) => value !== null && value !== undefined && line.label)
      .map(([line, value]) => `${line.label} ${(line.format ?? this.y.format ?? number)(value)}`);
    const when = this.x.time === false ? (this.x.format ?? number)(at) : clock(at);
    this.reading.textContent = [when, ...told].join(" · ");
  }

  #sentence() {
    const parts = this.lines.flatMap((line, n) => {
      const values = this.data[n + 1].filter((value) => value !== null && value !== undefined);
      if (!values.length || !line.label) return [];
      const format = line.format ?? this.y.format ?? number;
      return [`${line.label}: ${format(Math.min(...values))} to ${format(Math.max(...values))}, last ${format(values.at(-1))}`];
    });
    const marked = this.marks.length ? ` Marked: ${this.marks.slice(0, 8).map((each) => each.label).join(", ")}.` : "";
    return `${this.title}. ${parts.join(". ")}.${marked}`;
  }

  #key(line) {
    const swatch = h(`i.key${line.points === "only" ? ".dot" : line.band !== undefined ? ".band" : ""}`, { "aria-hidden": "true" });
    paint(swatch, line.job);
    swatch.style.background = `var(${line.colour})`;
    return h("li", {}, swatch, line.key ?? line.label);
  }

  /** Only who opens the table pays for it. */
  #fillTable() {
    if (!this.more.open || !this.data) return;
    const size = this.data[0].length;
    const step = Math.max(1, Math.ceil(size / MOST_ROWS));
    const rows = [];
    for (let n = size - 1; n >= 0; n -= step) {
      const at = this.data[0][n];
      rows.push(
        h(
          "tr",
          {},
          h("th", { scope: "row" }, this.x.time === false ? (this.x.format ?? number)(at) : clock(at)),
          this.lines.map((line, each) => {
            const value = this.data[each + 1][n];
            return h("td.num", {}, value === null || value === undefined ? "–" : (line.format ?? this.y.format ?? number)(value));
          }),
        ),
      );
    }
    const heads = [this.x.label ?? "Time", ...this.lines.map((line) => line.label ?? "")];
    fill(
      this.table,
      h("table", {}, h("caption.unseen", {}, this.title), h("thead", {}, h("tr", {}, heads.map((text, n) => h(n ? "th.num" : "th", { scope: "col" }, text)))), h("tbody", {}, rows)),
    );
  }
}

function faint(colour, alpha) {
  return `color-mix(in srgb, ${colour} ${alpha * 100}%, transparent)`;
}
