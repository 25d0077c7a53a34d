// What runs between guests, drawn over the map: traffic as chords, migrations as arcs with their progress.

import { resolve } from "./colours.js";
import { h, keep, mark, s, say } from "./dom.js";
import { doc } from "./live.js";
import { percent } from "./words.js";

const MOST_CHORDS = 400;
const LEAST_PX = 0.75;
const MOST_PX = 5;

export class Threads {
  constructor(map, cards) {
    this.map = map;
    this.cards = cards;
    this.canvas = h("canvas.chords", { "aria-hidden": "true" });
    this.arcs = s("svg.arcs", { "aria-hidden": "true" });
    this.known = new Map();
    this.flows = [];
    this.which = "off";
    this.selected = null;
    this.picked = null;
    this.frame = 0;
    // Beside the map, not in it: what is in it is kept in the order of racks.
    this.layer = h("div.threads", {}, this.canvas, this.arcs);
    map.parentElement.append(this.layer);
    this.resized = new ResizeObserver(() => this.update());
    this.resized.observe(map);
    this.recolour = () => this.update();
    addEventListener("themechange", this.recolour);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", this.recolour);
  }

  leave() {
    this.resized.disconnect();
    removeEventListener("themechange", this.recolour);
    this.scheme.removeEventListener("change", this.recolour);
    cancelAnimationFrame(this.frame);
  }

  /** Take in who talks to whom. */
  talk(flows) {
    this.flows = flows;
    this.update();
  }

  /** Show the traffic of nobody ("off"), of what is looked at ("selected"), or of everybody ("all"). */
  show(which) {
    this.which = which;
    this.update();
  }

  select(guest) {
    if (this.selected === guest) return;
    this.selected = guest;
    this.update();
  }

  pick(job) {
    this.picked = job;
    this.update();
  }

  /** Draw with the next frame, once, however often that is asked for. */
  update() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.layer.hidden = this.map.hidden;
      if (!this.map.hidden) this.#draw();
    });
  }

  #draw() {
    const frame = this.map.getBoundingClientRect();
    const at = new Map();
    const place = (element) => {
      if (!element) return null;
      if (!at.has(element)) {
        const box = element.getBoundingClientRect();
        at.set(element, { x: box.left - frame.left + box.width / 2, top: box.top - frame.top, bottom: box.bottom - frame.top });
      }
      return at.get(element);
    };
    const chords = this.#chords(place);
    const moves = this.#moves(place);
    this.#drawChords(chords, frame);
    this.#drawArcs(moves, frame);
  }

  #chords(place) {
    if (this.which === "off" && !this.selected) return [];
    const most = Math.max(1, ...this.flows.map((flow) => flow.bytes_per_s));
    const found = [];
    for (const flow of this.flows) {
      const a = doc.guests[flow.guest_a];
      const b = doc.guests[flow.guest_b];
      if (!a || !b) continue;
      const isLooked = this.selected === a.uuid || this.selected === b.uuid;
      const isPicked = this.picked !== null && a.job === this.picked && b.job === this.picked;
      if (this.which !== "all" && !isLooked && !isPicked) continue;
      const one = place(this.cards.elementOf(a.uuid));
      const other = place(this.cards.elementOf(b.uuid));
      if (!one || !other) continue;
      // From edge to edge, so that names stay legible: below where both are in one row.
      const [from, to] = facing(one, other);
      const isFaint = (this.selected && !isLooked) || (this.picked !== null && !isPicked);
      const width = LEAST_PX + (MOST_PX - LEAST_PX) * Math.sqrt(flow.bytes_per_s / most);
      found.push({ from, to, width, isFaint, isLooked, job: a.job === b.job ? a.job : undefined });
      if (found.length >= MOST_CHORDS) break;
    }
    return found.sort((a, b) => Number(a.isLooked) - Number(b.isLooked));
  }

  #drawChords(chords, { width, height }) {
    const scale = devicePixelRatio || 1;
    const pen = this.canvas.getContext("2d");
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.canvas.dataset.chords = String(chords.length);
    pen.scale(scale, scale);
    pen.lineCap = "round";
    const colours = new Map();
    for (const { from, to, width: line, isFaint, isLooked, job } of chords) {
      if (!colours.has(job)) colours.set(job, resolve("--job-line", job));
      pen.strokeStyle = colours.get(job);
      pen.globalAlpha = isLooked ? 0.95 : isFaint ? 0.1 : 0.5;
      pen.lineWidth = line;
      pen.beginPath();
      bend(from, to, (...numbers) => pen.moveTo(...numbers), (...numbers) => pen.quadraticCurveTo(...numbers));
      pen.stroke();
    }
  }

  #moves(place) {
    return Object.values(doc.migrations)
      .filter((each) => each.ok === undefined)
      .map((each) => ({
        each,
        from: place(this.cards.elementOf(each.guest)) ?? place(this.cards.cardOf(each.source)),
        to: place(this.cards.cardOf(each.target)?.querySelector(".bar")),
      }))
      .filter(({ from, to }) => from && to)
      .map(({ each, from, to }) => ({ each, from: centre(from), to: centre(to) }));
  }

  #drawArcs(moves, { width, height }) {
    mark(this.arcs, "viewBox", `0 0 ${width} ${height}`);
    this.arcs.style.width = `${width}px`;
    this.arcs.style.height = `${height}px`;
    keep(this.arcs, this.known, moves, ({ each }) => each.cause, () => {
      const halo = s("path.halo", { pathLength: "100" });
      const way = s("path.way");
      const done = s("path.done", { pathLength: "100" });
      const head = s("path.head", { d: "M-9-6 2 0-9 6z" });
      const back = s("rect.plate", { rx: "9", height: "18", y: "-9" });
      const text = s("text", { "text-anchor": "middle", dy: "0.35em" });
      const label = s("g.label", {}, back, text);
      return {
        element: s("g.move", {}, halo, way, done, head, label),
        update({ each, from, to }) {
          let path = "";
          let over = { x: 0, y: 0 };
          bend(from, to, (x, y) => (path = `M${x} ${y}`), (cx, cy, x, y) => {
            path += `Q${cx} ${cy} ${x} ${y}`;
            over = { x: (from.x + 2 * cx + x) / 4, y: (from.y + 2 * cy + y) / 4 };
            const turn = (Math.atan2(y - cy, x - cx) * 180) / Math.PI;
            mark(head, "transform", `translate(${x} ${y}) rotate(${turn})`);
          });
          for (const line of [halo, way, done]) mark(line, "d", path);
          const ratio = each.progress_ratio ?? 0;
          mark(done, "stroke-dasharray", `${(100 * ratio).toFixed(1)} 100`);
          say(text, `${each.guest_name} ${percent(ratio)}`);
          const wide = text.textContent.length * 7.3 + 14;
          mark(back, "width", wide.toFixed(0));
          mark(back, "x", (-wide / 2).toFixed(0));
          const x = Math.min(Math.max(wide / 2 + 2, over.x), Math.max(wide / 2 + 2, width - wide / 2 - 2));
          const y = Math.min(Math.max(12, over.y), height - 12);
          mark(label, "transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
        },
      };
    });
  }
}

function facing(a, b) {
  if (Math.abs(a.top - b.top) < 4) return [a, b].map(({ x, bottom }) => ({ x, y: bottom - 3 }));
  const isAbove = a.top < b.top;
  return [
    { x: a.x, y: isAbove ? a.bottom - 3 : a.top + 3 },
    { x: b.x, y: isAbove ? b.top + 3 : b.bottom - 3 },
  ];
}

const centre = ({ x, top, bottom }) => ({ x, y: (top + bottom) / 2 });

/** A curve from one point to another that leaves to the side, the further they are apart the more. */
function bend(from, to, move, curve) {
  const dx = to.x - from.x;
  const dy = to.y - from.y;
  const apart = Math.hypot(dx, dy) || 1;
  const out = Math.min(90, 8 + apart * 0.2);
  // Between two on one line the curve goes below them, where no host's name is.
  const side = Math.abs(dy) < 4 ? (dx > 0 ? -1 : 1) : 1;
  const cx = (from.x + to.x) / 2 + (dy / apart) * out * side;
  const cy = (from.y + to.y) / 2 - (dx / apart) * out * side;
  move(from.x, from.y);
  curve(cx, cy, to.x, to.y);
}
