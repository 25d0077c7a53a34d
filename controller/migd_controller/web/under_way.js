// Beside the map: what is under way, what was decided last, and whom a failure holds back.

import { fill, h, keep, mark, say } from "./dom.js";
import { maySteer, steer } from "./frame.js";
import { doc, now } from "./live.js";
import { ago, clock, count, duration, percent } from "./words.js";

const MOST_HELD = 6;
const MOST_PAST = 5;

export class UnderWay {
  constructor(place) {
    this.moves = h("ul.moves");
    this.calm = h("p.nothing");
    this.decided = h("div.decided");
    this.held = h("section", {}, h("h2", {}, "Held back"), h("ul.plain"));
    this.past = h("section", {}, h("h2", {}, "Moved lately"), h("ul.plain"));
    this.known = new Map();
    fill(
      place,
      h("section", {}, h("h2", {}, "Under way"), this.calm, this.moves),
      h("section", {}, h("h2", {}, "Decided last"), this.decided),
      this.held,
      this.past,
    );
  }

  update() {
    const all = Object.values(doc.migrations).sort((a, b) => b.started_at - a.started_at);
    const moves = all.filter((each) => each.ok === undefined);
    keep(this.moves, this.known, moves, (each) => each.cause, move);
    this.calm.hidden = moves.length > 0;
    say(this.calm, doc.status.is_paused ? "Nothing: migd is paused." : "No guest is being moved.");
    this.#decide();
    this.#hold();
    const past = all.filter((each) => each.ok !== undefined).slice(0, MOST_PAST);
    this.past.hidden = !past.length;
    list(this.past.lastChild, past, (each) => [
      h("a", { href: `#/guest/${encodeURIComponent(each.guest)}` }, each.guest_name),
      each.ok ? ` to ${each.target_name} in ${duration(each.actual_s)}` : h("span.bad", {}, ` stayed on ${each.source_name}`),
      h("small", {}, ago(each.started_at + (each.actual_s ?? 0), now())),
    ]);
  }

  #decide() {
    const { plan } = doc;
    const accepted = (plan.candidates ?? []).filter((each) => each.accepted).length;
    const proposed = (plan.candidates ?? []).length;
    const key = JSON.stringify([plan.text, plan.policy, proposed, accepted]);
    if (this.decided.dataset.key === key) return;
    this.decided.dataset.key = key;
    fill(
      this.decided,
      plan.text ? h("p", {}, plan.text) : h("p.nothing", {}, "Nothing yet."),
      proposed ? h("p", {}, `${count(proposed, "move")} proposed, ${accepted} made.`) : null,
      plan.cause ? h("p", {}, h("a", { href: "#/decisions/last" }, "Why, and why not")) : null,
    );
  }

  #hold() {
    const holds = doc.status.holds ?? [];
    this.held.hidden = !holds.length;
    list(this.held.lastChild, holds.slice(0, MOST_HELD), (hold) => [
      h("a", { href: `#/guest/${encodeURIComponent(hold.guest)}` }, hold.guest_name),
      h("small", {}, hold.then === "retry-later" ? `rests for about ${duration(hold.rest_s ?? 0)}` : hold.then === "needs-a-human" ? "needs a human" : "until things change"),
      h("span.text", {}, hold.text),
    ]);
  }
}

function list(place, items, texts) {
  const key = JSON.stringify([items.map((each) => [each.cause, each.guest, each.rest_s]), Math.floor(now() / 10)]);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  fill(place, items.map((each) => h("li", {}, texts(each))));
}

function move(first) {
  const guest = h("a", { href: `#/guest/${encodeURIComponent(first.guest)}` }, first.guest_name);
  const way = h("span.way", {}, `${first.source_name} → ${first.target_name}`);
  const ratio = h("b");
  const progress = h("progress", { max: "1", "aria-label": `${first.guest_name} to ${first.target_name}` });
  const when = h("small");
  const cancel = h("button", { type: "button", on: { click: () => steer("POST", `/v1/migrations/${encodeURIComponent(first.cause)}/cancel`) } }, "Cancel");
  mark(cancel, "aria-label", `Cancel the migration of ${first.guest_name}`);
  return {
    element: h("li.move", {}, h("div.line", {}, guest, way, ratio), progress, h("div.line", {}, when, cancel)),
    update(each) {
      const done = each.progress_ratio ?? 0;
      if (progress.value !== done) progress.value = done;
      say(ratio, percent(done));
      say(when, each.is_cancelling ? "being cancelled …" : timing(each));
      cancel.hidden = !maySteer();
      cancel.disabled = Boolean(each.is_cancelling);
    },
  };
}

function timing(each) {
  const ran_s = Math.max(0, now() - each.started_at);
  if (each.predicted_s === undefined) return `for ${duration(ran_s)}, since ${clock(each.started_at)}`;
  const left_s = each.predicted_s - ran_s;
  return left_s >= 0
    ? `for ${duration(ran_s)}; about ${duration(left_s)} left`
    : `for ${duration(ran_s)}; ${duration(-left_s)} longer than the ${duration(each.predicted_s)} predicted`;
}
