// How much migd does by itself, which is chosen here, and the moves that wait for an operator's word: approved or refused.

import { get } from "./ask.js";
import { candidate } from "./candidate.js";
import { fill, h, keep, mark, say } from "./dom.js";
import { maySteer, steer } from "./frame.js";
import { levels, MEANINGS } from "./levels.js";
import { doc, now } from "./live.js";
import { ago, count, duration } from "./words.js";

const LOOK_MS = 5000;

export function mount(place) {
  const level = levels(choose);
  const told = h("p.told", { role: "status", tabindex: "-1", hidden: true });
  const head = h("h2", { tabindex: "-1" });
  const none = h("p.nothing", { hidden: true });
  const list = h("ul.waiting");
  const known = new Map();
  fill(place, h("div.detail", {}, h("h1", {}, "Automation"), h("section", { "aria-label": "Recommendations" }, head, told, none, list), level.element));
  let seen = "";
  let timer = 0;
  let isGone = false;
  let turn = 0;

  async function look() {
    clearTimeout(timer);
    const mine = (turn += 1);
    try {
      const [automation, found] = await Promise.all([get("/v1/automation"), get("/v1/recommendations")]);
      if (isGone || mine !== turn) return;
      level.update(automation);
      say(head, found.length ? `${count(found.length, "recommendation")} ${found.length === 1 ? "waits" : "wait"} for an operator's word` : "Nothing waits for an operator's word");
      none.hidden = found.length > 0;
      say(none, `Automation is ${automation.level}: ${MEANINGS[automation.level]}.`);
      const hadFocus = list.contains(document.activeElement);
      keep(list, known, found, (each) => each.name, () => card(decide));
      if (hadFocus && !list.contains(document.activeElement)) head.focus(); // what had it is over
    } catch {
      // the bar says that there is no connection
    }
    if (!isGone && mine === turn) timer = setTimeout(look, LOOK_MS);
  }

  /** Do what a button says; then the words of what came of it are where the focus is, as the button may be gone. */
  async function decide(method, path, words) {
    const answer = await steer(method, path);
    if (isGone) return;
    told.hidden = answer === null;
    if (answer !== null) {
      say(told, words(answer));
      told.focus();
    }
    look();
  }

  async function choose(job, level) {
    const view = await steer("PUT", "/v1/automation", { level, job });
    if (!isGone) look();
    return view;
  }

  look();
  return {
    title: "Automation",
    update() {
      const { automation, recommendations } = doc.status;
      const found = JSON.stringify([automation, recommendations, maySteer()]);
      if (found === seen) return;
      seen = found;
      look();
    },
    leave() {
      isGone = true;
      clearTimeout(timer);
    },
  };
}

function card(decide) {
  const title = h("h3");
  const when = h("small");
  const moves = h("div.moves");
  const button = (text, kind) => h(`button${kind}`, { type: "button" }, text);
  const approve = button("Approve", ".primary");
  const refuse = button("Refuse", "");
  const leave = button("", "");
  const needs = h("small", {}, "An operator's token may approve it or refuse it.");
  const element = h("li.panel", {}, h("header", {}, title, when), moves, h("div.choices", {}, approve, refuse, leave, needs));
  let found = null;
  const path = (what) => `/v1/recommendations/${encodeURIComponent(found.name)}/${what}`;
  approve.addEventListener("click", () => decide("POST", path("approve"), approved));
  refuse.addEventListener("click", () => decide("POST", path("refuse"), (view) => `${view.name} is refused: ${guestsOf(view)} stay where they are.`));
  leave.addEventListener("click", () => decide("POST", `/v1/hosts/${encodeURIComponent(found.moves[0].source)}/evacuation`, emptied));
  return {
    element,
    update(view) {
      found = view;
      const safety = view.is_for_safety ? ", for safety" : "";
      say(title, `${view.name}${safety}`);
      mark(element, "data-safety", view.is_for_safety ? "" : null);
      say(when, `policy ${view.policy}, since ${ago(view.at, now())}; lapses in ${duration(Math.max(0, view.lapses_at - now()))}`);
      const places = view.moves.map((each) => `${each.guest_name} from ${each.source_name} to ${each.target_name}`).join("; ");
      mark(approve, "aria-label", `Approve ${view.name}: ${places}`);
      mark(refuse, "aria-label", `Refuse ${view.name}: ${places}`);
      leave.hidden = !view.is_for_safety;
      say(leave, `Let all guests leave ${view.moves[0].source_name}`);
      for (const each of [approve, refuse, leave]) each.disabled = !maySteer();
      needs.hidden = maySteer();
      const key = JSON.stringify(view.moves);
      if (moves.dataset.key === key) return;
      const wasOpen = [...moves.querySelectorAll("details")].map((each) => each.open);
      moves.dataset.key = key;
      fill(moves, view.moves.map((each) => candidate(each, { waits: true })));
      moves.querySelectorAll("details").forEach((each, n) => (each.open = Boolean(wasOpen[n])));
    },
  };
}

const guestsOf = (view) => [...new Set(view.moves.map((each) => each.guest_name))].join(", ");

function approved(view) {
  const begun = view.migrations.map((each) => `${each.guest_name} to ${each.target_name} (${each.cause})`).join(", ");
  return `${view.name} is approved: ${begun || "its first step waits for its turn"}.`;
}

const emptied = (view) => `Host ${view.host_name} is being emptied; afterwards it stays in maintenance until somebody ends that.`;
