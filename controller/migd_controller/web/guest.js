// One guest: where it stands and why, how it writes its memory, and how right predictions of its migrations were.

import { get } from "./ask.js";
import { candidate, spread } from "./candidate.js";
import { Chart } from "./chart.js";
import { paint } from "./colours.js";
import { fill, h, say } from "./dom.js";
import { doc, now } from "./live.js";
import { ago, bytes, clock, count, duration, number } from "./words.js";

const LOOK_MS = 5000;
const PAGE_BYTES = 4096;
const MOST_DECISIONS = 3;

export function mount(place, argument) {
  let isGone = false;
  let timer = 0;
  let uuid = named(argument);
  const standing = h("p.lead");
  const flips = h("p.flips", { hidden: true });
  const facts = h("dl.facts");
  const title = h("h1");
  const curve = new Chart(
    "Memory written",
    [
      { label: "less", colour: "--accent", width: 0, hidden: true, format: bytes },
      { label: "may be", colour: "--accent", width: 0, band: 0, format: bytes },
      { label: "expected", colour: "--accent", format: bytes },
      { label: "counted", colour: "--text", points: "only", format: bytes },
    ],
    {
      height: 260,
      x: { time: false, label: "seconds since its pages were clean", format: (value) => `${number(value)} s` },
      y: { format: bytes, size: 78, incrs: Array.from({ length: 45 }, (_, n) => 2 ** n) },
      empty: "No dirty page of this guest was ever counted; a move of it is priced at the dear end.",
      note: "different pages, written at least once",
    },
  );
  const outcomes = h("section.panel");
  const decisions = h("section.detail");
  fill(
    place,
    h("div.detail", {}, h("header", {}, h("p.crumbs", {}, h("a", { href: "#/" }, "Cluster"), " / guest"), title, standing), flips, h("div.panel", {}, facts), curve.element, outcomes, decisions),
  );

  function update() {
    const guest = doc.guests[uuid];
    if (!guest) return;
    const key = JSON.stringify(guest);
    if (facts.dataset.key === key) return;
    facts.dataset.key = key;
    const swatch = h("i.swatch", { "aria-hidden": "true" });
    paint(swatch, guest.job);
    fill(title, guest.name);
    const found = [
      ["Host", guest.host_name, ""],
      ["Job", guest.job ? h("a", { href: `#/jobs/${encodeURIComponent(guest.job)}` }, guest.job) : "none", ""],
      ["CPU", `${guest.cpu_used_vcpus.toFixed(2)} of ${guest.vcpus} vCPU`, `wants ${guest.cpu_demand_vcpus.toFixed(2)}`],
      ["Memory", bytes(guest.memory_bytes), guest.dirty_pages_per_s === undefined ? "" : `dirties ${bytes(guest.dirty_pages_per_s * PAGE_BYTES)}/s at first`],
      ["Network", `in ${bytes(guest.rx_bytes_per_s)}/s`, `out ${bytes(guest.tx_bytes_per_s)}/s`],
    ];
    if (guest.tags?.length) found.push(["Tags", guest.tags.join(", "), ""]);
    if (guest.immovable_because) found.push(["Stays", guest.immovable_because, ""]);
    if (guest.resting_because) found.push(["Rests", guest.resting_because, ""]);
    fill(facts, found.map(([term, value, more]) => h("div", {}, h("dt", {}, term), h("dd", {}, term === "Job" && guest.job ? [swatch, " "] : null, value, more ? h("small", {}, more) : null))));
  }

  async function look() {
    clearTimeout(timer);
    const wanted = uuid;
    const name = encodeURIComponent(uuid);
    const [explained, dirty] = await Promise.allSettled([get(`/v1/explain/${name}`), get(`/v1/guests/${name}/dirty`)]);
    if (isGone || wanted !== uuid) return;
    if (explained.status === "fulfilled") {
      const found = explained.value;
      if (!doc.guests[uuid]) fill(title, found.subject);
      say(standing, `${found.text}.`);
      flips.hidden = !found.flips;
      if (found.flips) fill(flips, h("b", {}, "What would flip it: "), `${found.flips}.`);
      showDecisions(decisions, uuid, found.decisions ?? []);
    } else if (explained.reason.status === 404) {
      fill(title, "No such guest");
      say(standing, explained.reason.message);
    }
    if (dirty.status === "fulfilled") showDirty(dirty.value);
    timer = setTimeout(look, LOOK_MS);
  }

  function showDirty(found) {
    const key = JSON.stringify([found.curves, found.outcomes.length]);
    if (curve.element.dataset.key === key) return;
    curve.element.dataset.key = key;
    curve.show(columns(found));
    const newest = found.curves?.at(-1);
    say(curve.note, newest ? `different pages, written at least once; counted ${ago(newest.measured_at, now())}${found.problem ? `; left out: ${found.problem}` : ""}` : found.problem || "");
    showOutcomes(outcomes, found.outcomes ?? []);
  }

  update();
  look();
  return {
    title: doc.guests[uuid]?.name ?? "Guest",
    update,
    turn(next) {
      uuid = named(next);
      facts.dataset.key = curve.element.dataset.key = "";
      update();
      look();
    },
    leave() {
      isGone = true;
      clearTimeout(timer);
      curve.leave();
    },
  };
}

/** The uuid of a guest, given that or, typed by hand, its name. */
function named(text) {
  return doc.guests[text] ? text : (Object.values(doc.guests).find((guest) => guest.name === text)?.uuid ?? text);
}

/** Ages, then the fit's least, most and expected bytes, and the counts of every session. */
function columns(found) {
  const rows = new Map();
  const row = (age) => {
    if (!rows.has(age)) rows.set(age, [null, null, null, null]);
    return rows.get(age);
  };
  found.fit?.ages_s.forEach((age, n) => {
    const values = row(age);
    values[0] = found.fit.least_pages[n] * PAGE_BYTES;
    values[1] = found.fit.most_pages[n] * PAGE_BYTES;
    values[2] = found.fit.expected_pages[n] * PAGE_BYTES;
  });
  // Two sessions count at the same ages: one of them is shown a hair later, where nobody sees it.
  found.curves.forEach((curve, session) => {
    curve.ages_s.forEach((age, n) => (row(age * (1 + session * 1e-4))[3] = curve.unique_pages[n] * PAGE_BYTES));
  });
  const ages = [...rows.keys()].sort((a, b) => a - b);
  return [ages, ...[0, 1, 2, 3].map((n) => ages.map((age) => rows.get(age)[n]))];
}

function showOutcomes(place, found) {
  if (!found.length) {
    fill(place, h("h2", {}, "Predicted, and what happened"), h("p.nothing", {}, "This guest was not migrated yet."));
    return;
  }
  const most = Math.max(...found.flatMap((each) => [each.actual_s, each.predicted?.high ?? 0])) * 1.08;
  const inside = found.filter((each) => each.ok && each.predicted && each.actual_s >= each.predicted.low && each.actual_s <= each.predicted.high).length;
  const judged = found.filter((each) => each.ok && each.predicted).length;
  const heads = ["When", "Way", "Predicted (bar), took (mark)", "Predicted", "Took"];
  fill(
    place,
    h("h2", {}, "Predicted, and what happened"),
    h("p", {}, judged ? `${inside} of ${count(judged, "migration")} fell into the interval that holds 8 of 10.` : "No migration of it was predicted."),
    h(
      "div.scroll",
      { tabindex: "0", role: "region", "aria-label": "Predictions and what happened" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, heads.map((text, n) => h(n > 2 ? "th.num" : "th", { scope: "col" }, text)))),
        h(
          "tbody",
          {},
          found.map((each) =>
            h(
              "tr",
              {},
              h("td", {}, h("a", { href: `#/decisions/${each.cause.split(".")[0]}` }, clock(each.at, now()))),
              h("td", {}, `${each.source_name} → ${each.target_name}`, each.ok ? null : h("small.bad", {}, ` stayed${each.text ? `: ${each.text}` : ""}`)),
              h("td", {}, spread(each.predicted, each.ok ? each.actual_s : null, most)),
              h("td.num", {}, each.predicted ? `${duration(each.predicted.median)} (${duration(each.predicted.low)} to ${duration(each.predicted.high)})` : "–"),
              h("td.num", {}, each.ok ? duration(each.actual_s) : "–"),
            ),
          ),
        ),
      ),
    ),
  );
}

function showDecisions(place, guest, found) {
  const key = found.map((each) => each.cause).join();
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  fill(
    place,
    h("h2", {}, "Decisions about it"),
    found.length
      ? found.slice(0, MOST_DECISIONS).map((each) => [
          h("p", {}, h("a", { href: `#/decisions/${each.cause}` }, each.cause), ` · ${clock(each.at, now())} · policy ${each.policy} · ${each.text}`),
          (each.candidates ?? []).filter((move) => move.guest === guest).map((move) => candidate(move)),
        ]).flat(2)
      : h("p.nothing", {}, "No policy has proposed to move it."),
  );
}
