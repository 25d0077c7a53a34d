// Jobs: how far each is, how fast it went over time, and what its migrations did to that.

import { get } from "./ask.js";
import { Chart } from "./chart.js";
import { paint } from "./colours.js";
import { fill, h, keep, mark, say } from "./dom.js";
import { doc, now } from "./live.js";
import { clock, count, duration, number, percent } from "./words.js";

const LOOK_MS = 5000;
const HOURS = [
  [1, "1 h"],
  [24, "1 day"],
  [168, "7 days"],
];
const ORDER = new Intl.Collator("en", { numeric: true });

export function mount(place, argument) {
  const list = h("ul.list");
  const known = new Map();
  const detail = h("section.detail", { "aria-label": "The job" });
  const two = h("div.two", {}, h("div.master", {}, list), detail);
  fill(place, h("h1.unseen", {}, "Jobs"), two);
  let name = null;
  let hours = 1;
  let timer = 0;
  let isGone = false;
  let parts = null;

  function update() {
    const jobs = Object.values(doc.jobs).sort((a, b) => ORDER.compare(a.name, b.name));
    if (!jobs.length) {
      leaveParts();
      name = null;
      fill(place, h("h1.unseen", {}, "Jobs"), h("div.panel", {}, h("h2", {}, "No job is known"), h("p.nothing", {}, "A job is a set of guests whose ranks wait for each other. ", h("code", {}, "migctl job add NAME --guests A,B,…"), " names one.")));
      return;
    }
    if (!two.isConnected) fill(place, h("h1.unseen", {}, "Jobs"), two);
    keep(list, known, jobs, (job) => job.name, entry);
    if (name === null || !doc.jobs[name]) choose(doc.jobs[argument] ? argument : jobs[0].name);
    for (const link of list.querySelectorAll("a")) mark(link, "aria-current", link.dataset.job === name ? "true" : null);
    if (parts) describe(doc.jobs[name]);
  }

  function choose(next) {
    leaveParts();
    name = next;
    const speed = new Chart("Speed", [{ label: "iterations/s", colour: "--job-line", job: name, format: number }], {
      empty: "This job tells no progress, so its speed is not known. See docs/jobs.md.",
      note: "migrations of its guests are marked",
    });
    const served = new Chart("CPU that its worst served guest gets of what it wants", [{ label: "served", colour: "--accent", format: percent }], {
      height: 150,
      y: { least: 0, most: 1, format: percent },
      empty: "Nothing measured yet.",
    });
    const head = h("header");
    const facts = h("dl.facts");
    const range = h("div.choices", {}, HOURS.map(([value, text]) => h("button.chip", { type: "button", "aria-pressed": String(value === hours), on: { click: (event) => span(value, event.target) } }, text)));
    const moves = h("section.panel");
    parts = { speed, served, head, facts, moves, range };
    fill(detail, head, h("div.panel", {}, facts), range, speed.element, served.element, moves);
    look();
  }

  function span(value, button) {
    hours = value;
    for (const each of parts.range.children) mark(each, "aria-pressed", String(each === button));
    look();
  }

  function leaveParts() {
    clearTimeout(timer);
    parts?.speed.leave();
    parts?.served.leave();
    parts = null;
  }

  async function look() {
    clearTimeout(timer);
    const mine = parts;
    try {
      const found = await get(`/v1/jobs/${encodeURIComponent(name)}/timeline?hours=${hours}`);
      if (isGone || mine !== parts) return;
      const marks = found.migrations.map((each) => ({
        from: each.started_at,
        to: each.started_at + (each.actual_s ?? now() - each.started_at),
        label: each.guest_name,
        colour: each.ok === false ? "--bad" : "--accent",
      }));
      marks.sort((a, b) => a.from - b.from);
      const span = [Math.max(now() - hours * 3600, found.at[0] ?? 0), now()];
      mine.speed.show([found.at, found.speed_per_s], marks, span);
      mine.served.show([found.at, found.served_ratio], marks, span);
      showMoves(mine.moves, found.migrations);
    } catch {
      // the bar says that there is no connection
    }
    if (!isGone && mine === parts) timer = setTimeout(look, LOOK_MS);
  }

  function describe(job) {
    const key = JSON.stringify(job);
    if (parts.head.dataset.key === key) return;
    parts.head.dataset.key = key;
    fill(parts.head, h("a.back", { href: "#/jobs" }, "← All jobs"), h("h2", {}, h("span", {}, job.name)), h("small", {}, job.guest_names.join(", ")));
    const found = [];
    if (job.progress) found.push(["Progress", job.progress.total ? percent(job.progress.done / job.progress.total) : number(job.progress.done), job.progress.total ? `${number(job.progress.done)} of ${number(job.progress.total)} iterations` : "iterations"]);
    found.push(["Still runs", job.remaining_s === undefined ? "unknown" : `about ${duration(job.remaining_s)}`, job.remaining_least_s === undefined ? "" : `${duration(job.remaining_least_s)} to ${duration(job.remaining_most_s)}`]);
    if (job.remaining_basis) found.push(["That rests on", job.remaining_basis, ""]);
    if (job.iteration_s !== undefined) found.push(["One iteration", duration(job.iteration_s), ""]);
    if (job.speed_while_migrating_ratio !== undefined) found.push(["Speed while a guest migrates", percent(job.speed_while_migrating_ratio), job.speed_while_migrating_basis]);
    if (job.missing?.length) found.push(["Gone", count(job.missing.length, "guest"), ""]);
    fill(parts.facts, found.map(([term, value, more]) => h("div", {}, h("dt", {}, term), h("dd", {}, value, more ? h("small", {}, more) : null))));
  }

  update();
  mark(two, "data-open", argument ? "" : null);
  return {
    title: "Jobs",
    update,
    turn(next) {
      mark(two, "data-open", next ? "" : null);
      if (next && doc.jobs[next]) choose(next);
      update();
    },
    leave() {
      isGone = true;
      leaveParts();
    },
  };
}

function entry() {
  const swatch = h("i.swatch", { "aria-hidden": "true" });
  const title = h("b");
  const more = h("small");
  const progress = h("progress", { max: "1" });
  const link = h("a", {}, h("span.line", {}, swatch, title), progress, more);
  return {
    element: h("li", {}, link),
    update(job) {
      paint(link, job.name);
      mark(link, "href", `#/jobs/${encodeURIComponent(job.name)}`);
      mark(link, "data-job", job.name);
      say(title, job.name);
      const ratio = job.progress?.total ? job.progress.done / job.progress.total : null;
      progress.hidden = ratio === null;
      if (ratio !== null) {
        progress.value = ratio;
        mark(progress, "aria-label", `progress of ${job.name}`);
      }
      const left = job.remaining_s === undefined ? "remaining time unknown" : `about ${duration(job.remaining_s)} left`;
      say(more, `${count(job.guests.length, "guest")}, ${left}`);
    },
  };
}

function showMoves(place, migrations) {
  const key = JSON.stringify(migrations);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  if (!migrations.length) {
    fill(place, h("h3", {}, "Migrations"), h("p.nothing", {}, "None of its guests was moved in this time."));
    return;
  }
  const heads = ["When", "Guest", "From", "To", "Took", "Predicted"];
  fill(
    place,
    h("h3", {}, "Migrations"),
    h(
      "div.scroll",
      { tabindex: "0", role: "region", "aria-label": "Migrations of this job" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, heads.map((text, n) => h(n > 3 ? "th.num" : "th", { scope: "col" }, text)))),
        h(
          "tbody",
          {},
          migrations.map((each) =>
            h(
              "tr",
              {},
              h("td", {}, h("a", { href: `#/decisions/${each.cause.split(".")[0]}` }, clock(each.started_at, now()))),
              h("td", {}, h("a", { href: `#/guest/${encodeURIComponent(each.guest)}` }, each.guest_name)),
              h("td", {}, each.source_name),
              h("td", {}, each.ok === false ? h("span.bad", {}, `${each.target_name}: ${each.state}`) : each.target_name),
              h("td.num", {}, each.ok === null ? "under way" : duration(each.actual_s)),
              h("td.num", {}, each.predicted_s === null ? "–" : duration(each.predicted_s)),
            ),
          ),
        ),
      ),
    ),
  );
}
