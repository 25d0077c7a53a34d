// One move that was considered: what it would cost and gain, and every gate it met.

import { get } from "./ask.js";
import { fill, h, s } from "./dom.js";
import { bytes, count, duration } from "./words.js";

/** The element of a candidate; `withFlips` asks what would make it otherwise; one that `waits` needs but a word. */
export function candidate(each, { withFlips = false, waits = false } = {}) {
  const failed = (each.gates ?? []).filter((gate) => !gate.passed);
  const passed = (each.gates ?? []).filter((gate) => gate.passed);
  const flips = h("p.flips", { hidden: true });
  const element = h(
    waits ? "article.candidate" : "article.panel.candidate",
    {},
    h(
      "header",
      {},
      h("h3", {}, h("a", { href: `#/guest/${encodeURIComponent(each.guest)}` }, each.guest_name), ` · ${each.source_name} → ${each.target_name}`),
      waits ? null : h(`span.verdict.${each.accepted ? "yes" : "no"}`, {}, each.accepted ? "move made" : `refused by ${count(failed.length, "gate")}`),
    ),
    h("p", {}, each.why),
    facts(each),
    failed.length && !waits ? h("ul.gates", { "aria-label": "Gates that refuse it" }, failed.map(gate)) : null,
    flips,
    passed.length ? h("details", {}, h("summary", {}, `${count(passed.length, "gate")} passed`), h("ul.gates", {}, passed.map(gate))) : null,
  );
  if (withFlips) whatFlips(each.guest, flips);
  return element;
}

/** Fill `place` with what would make the move of a guest (uuid) otherwise, where that can be told. */
export async function whatFlips(guest, place) {
  try {
    const found = await get(`/v1/explain/${encodeURIComponent(guest)}`);
    place.hidden = !found.flips;
    if (found.flips) fill(place, h("b", {}, "What would flip it: "), `${found.flips}.`);
  } catch {
    place.hidden = true;
  }
}

function facts(each) {
  if (each.predicted_s === undefined || each.predicted_s === null) return null;
  const net_s = (each.gain_s ?? 0) - (each.cost_s ?? 0);
  const found = [
    ["Gains", duration(each.gain_s), [range(each.gain), each.lasts_s ? `while it lasts ${duration(each.lasts_s)}` : ""].filter(Boolean).join(", ")],
    ["Costs", duration(each.cost_s), range(each.cost)],
    ["Net", duration(net_s), each.break_even_s ? `pays after ${duration(each.break_even_s)}` : "of job time"],
    ["Takes", duration(each.predicted_s), range(each.total)],
    ["Guest stands still", duration(each.predicted_pause_s), range(each.pause)],
  ];
  if (each.predicted_bytes) found.push(["Sends", bytes(each.predicted_bytes), ""]);
  return h("dl.facts", {}, found.map(([name, value, more]) => h("div", {}, h("dt", {}, name), h("dd", {}, value, more ? h("small", {}, more) : null))));
}

const range = (interval) => (interval ? `${duration(interval.low)} to ${duration(interval.high)}` : "");

function gate(each) {
  return h(
    `li.gate.${each.passed ? "yes" : "no"}`,
    {},
    h("span.sign", { "aria-label": each.passed ? "passed" : "refused" , role: "img" }, each.passed ? "✓" : "✕"),
    h("p", {}, h("b", {}, each.name.replaceAll("-", " ")), ` ${each.text}`),
  );
}

/** An interval as a bar, with what it really was as a dot; `most` is the end of the axis. */
export function spread(interval, was, most) {
  const x = (value) => Math.min(100, (100 * value) / most);
  const inside = was === null || (interval && was >= interval.low && was <= interval.high);
  return s(
    "svg.spread",
    { viewBox: "0 0 100 18", preserveAspectRatio: "none", role: "img", "aria-label": `${interval ? `predicted ${duration(interval.low)} to ${duration(interval.high)}` : "not predicted"}${was === null ? "" : `, took ${duration(was)}`}` },
    s("line.axis", { x1: 0, x2: 100, y1: 9, y2: 9, "vector-effect": "non-scaling-stroke" }),
    interval ? s("rect.range", { x: x(interval.low), width: Math.max(0.6, x(interval.high) - x(interval.low)), y: 3, height: 12 }) : null,
    interval ? s("line.middle", { x1: x(interval.median), x2: x(interval.median), y1: 3, y2: 15, "vector-effect": "non-scaling-stroke" }) : null,
    was === null ? null : s(`rect.was${inside ? "" : ".out"}`, { x: Math.max(0, x(was) - 0.7), width: 1.4, y: 1, height: 16 }),
  );
}
