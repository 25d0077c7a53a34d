// How much migd does by itself, of the cluster and of each job: shown, and chosen there by whoever may steer.

import { fill, h, keep, mark, say } from "./dom.js";
import { maySteer } from "./frame.js";
import { duration } from "./words.js";

export const MEANINGS = {
  off: "nothing is moved but by hand",
  recommend: "moves wait for an operator's word",
  automatic: "moves that pass every gate are made",
};

/**
 * Return {element, update(view)}. `choose(job, level)` asks for a level, of the cluster where the job is "", and takes
 * back what was chosen where the level is null; it returns the new view, or null where it was refused.
 */
export function levels(choose) {
  const told = h("p.told", { role: "status", hidden: true });
  const facts = h("dl.facts");
  const needs = h("small", {}, "An operator's token may choose a level.");
  const list = h("ul.levels");
  const known = new Map();
  const press = async (job, level) => {
    const view = await choose(job, level);
    told.hidden = view === null;
    if (view === null) return;
    update(view);
    say(told, chosen(view, job));
  };
  const cluster = buttons("Automation of the cluster", (level) => press("", level));
  const help = "A job's own level counts in place of the cluster's, but off is off for all. What an operator asks for by hand is done at any level and hour, and what is under way goes on.";
  const element = h("section.panel", { "aria-label": "Levels" }, facts, cluster.element, needs, told, h("p.help", {}, help), list);

  function update(view) {
    describe(facts, view);
    cluster.update(view.chosen, `as configured: ${view.configured}`);
    needs.hidden = maySteer();
    keep(list, known, view.jobs, (each) => each.job, (each) => line(each.job, press));
  }
  return { element, update };
}

/** A level is chosen by a press, never by walking past it with the arrows, as it is in force at once. */
function buttons(label, press) {
  const all = [...Object.keys(MEANINGS), null].map((level) => [level, h("button", { type: "button", title: MEANINGS[level], on: { click: () => press(level) } }, level ?? "")]);
  return {
    element: h("div.switch", { role: "group", "aria-label": label }, all.map(([, button]) => button)),
    update(now, without) {
      say(all.at(-1)[1], without);
      for (const [level, button] of all) {
        mark(button, "aria-pressed", String(level === (now ?? null)));
        button.disabled = !maySteer();
      }
    },
  };
}

function describe(place, view) {
  const facts = { ...view, jobs: null };
  const key = JSON.stringify(facts);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  const hours = view.allowed_hours;
  const found = [
    ["The cluster's level", view.level, MEANINGS[view.level]],
    ["Hours in which guests are moved", hours.length ? hours.join(", ") : "any", hours.length ? `${view.time_zone}; ${whether(view)}` : ""],
    ["Lapses", `after ${duration(view.lapse_s)}`, "unless the policy proposes it again"],
    ["Once refused", `${duration(view.refused_for_s)} of rest`, "for its guests, unless they must leave a host"],
  ];
  fill(place, found.map(([term, value, more]) => h("div", {}, h("dt", {}, term), h("dd", {}, value, more ? h("small", {}, more) : null))));
}

function line(job, press) {
  const now = h("small");
  const own = buttons(`Automation of job ${job}`, (level) => press(job, level));
  return {
    element: h("li", {}, h("a", { href: `#/jobs/${encodeURIComponent(job)}` }, job), now, own.element),
    update(each) {
      say(now, each.level + (each.allowed_hours?.length ? `, in its hours ${each.allowed_hours.join(", ")}: ${whether(each)}` : ""));
      own.update(each.own, "the cluster's");
    },
  };
}

const whether = (each) => (each.is_allowed_hour ? "allowed now" : "not allowed now");

function chosen(view, job) {
  const each = view.jobs.find((one) => one.job === job);
  const level = each?.level ?? view.level;
  const off = each?.own && each.own !== level ? `; its own, ${each.own}, counts again once the cluster is not off` : "";
  return `Automation of ${each ? `job ${job}` : "the cluster"} is ${level}: ${MEANINGS[level]}${off}.`;
}
