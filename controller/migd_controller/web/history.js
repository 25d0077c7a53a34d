// What has been over hours and days: load, migrations, how right predictions were, and who did what.

import { get } from "./ask.js";
import { Chart } from "./chart.js";
import { fill, h, mark } from "./dom.js";
import { now } from "./live.js";
import { clock, percent } from "./words.js";

const LOOK_MS = 20000;
const SPANS = [
  [1, "1 hour"],
  [24, "1 day"],
  [168, "7 days"],
  [720, "30 days"],
];

export function mount(place) {
  let hours = 24;
  let timer = 0;
  let isGone = false;
  const choices = h("div.choices", {}, SPANS.map(([value, text]) => h("button.chip", { type: "button", "aria-pressed": String(value === hours), on: { click: (event) => span(value, event.target) } }, text)));
  const load = new Chart(
    "Load of hosts",
    [
      { label: "lowest", colour: "--accent", width: 0, hidden: true, format: percent },
      { label: "lowest to highest", colour: "--accent", width: 0, band: 0, format: percent },
      { label: "mean", colour: "--accent", format: percent },
    ],
    { y: { least: 0, most: 1, format: percent }, empty: "No load was recorded in this time." },
  );
  const moves = new Chart(
    "Migrations",
    [
      { label: "all", key: "not moved", colour: "--bad", bars: true, format: (n) => String(n) },
      { label: "moved", colour: "--good", bars: true, format: (n) => String(n) },
    ],
    { height: 160, y: { format: (n) => (Number.isInteger(n) ? String(n) : "") }, empty: "No guest was migrated in this time." },
  );
  const facts = h("dl.facts");
  const happenings = h("section.panel");
  fill(
    place,
    h("div.detail", {}, h("header", {}, h("h1", {}, "History")), choices, h("div.panel", {}, facts), load.element, moves.element, happenings),
  );

  function span(value, button) {
    hours = value;
    for (const each of choices.children) mark(each, "aria-pressed", String(each === button));
    look();
  }

  async function look() {
    clearTimeout(timer);
    const wanted = hours;
    try {
      const found = await get(`/v1/history?hours=${hours}`);
      if (isGone || wanted !== hours) return;
      draw(found);
    } catch {
      // the bar says that there is no connection
    }
    if (!isGone) timer = setTimeout(look, LOOK_MS);
  }

  function draw(found) {
    const both = found.moved.map((n, place_) => n + found.failed[place_] || null);
    const first = Math.min(found.at[0] ?? found.until, found.bucket_at[both.findIndex((n) => n)] ?? found.until);
    const shownSpan = [Math.max(found.since, first), found.until];
    load.show([found.at, found.load_least_ratio, found.load_most_ratio, found.load_mean_ratio], [], shownSpan);
    moves.show([found.bucket_at, both, found.moved.map((n) => n || null)], [], shownSpan);
    const moved = found.moved.reduce((sum, n) => sum + n, 0);
    const failed = found.failed.reduce((sum, n) => sum + n, 0);
    const shown = [
      ["Moved", String(moved), moved || failed ? "" : "nothing in this time"],
      ["Not moved", String(failed), failed ? "failed, or cancelled" : ""],
      ["Predictions that held", found.predicted ? `${found.within} of ${found.predicted}` : "–", found.predicted ? "8 of 10 are expected to" : ""],
      ["Off by", found.error_ratio === null ? "–" : percent(found.error_ratio), found.error_ratio === null ? "" : "in the median, of the time taken"],
    ];
    fill(facts, shown.map(([term, value, more]) => h("div", {}, h("dt", {}, term), h("dd", {}, value, more ? h("small", {}, more) : null))));
    fill(
      happenings,
      h("h2", {}, "What happened"),
      found.happenings.length
        ? h("ul.plain", {}, found.happenings.slice(0, 100).map((each) => h("li", {}, h("span", {}, each.text), h("small", {}, clock(each.at, now())))))
        : h("p.nothing", {}, "Nobody set anything, and no host changed its health."),
    );
  }

  look();
  return {
    title: "History",
    update() {},
    leave() {
      isGone = true;
      clearTimeout(timer);
      load.leave();
      moves.leave();
    },
  };
}
