// The decision log: why something moved, why not, and what would have made it otherwise.

import { get } from "./ask.js";
import { candidate } from "./candidate.js";
import { fill, h, mark } from "./dom.js";
import { doc, now } from "./live.js";
import { clock, count, stretch } from "./words.js";

const LOOK_MS = 5000;
const PAGE = 40;

export function mount(place, argument) {
  const list = h("ul.list");
  const more = h("button.more", { type: "button", hidden: true, on: { click: () => look(before) } }, "Earlier");
  const master = h("div.master", {}, list, more);
  const detail = h("section.detail", { "aria-label": "The decision" });
  const two = h("div.two", {}, master, detail);
  fill(place, h("h1.unseen", {}, "Decisions"), two);
  let lines = [];
  let before = null;
  let shown = null;
  let timer = 0;
  let isGone = false;
  let key = "";

  async function look(from) {
    clearTimeout(timer);
    try {
      const found = await get(`/v1/decisions?limit=${PAGE}${from ? `&before=${from}` : ""}`);
      if (isGone) return;
      if (from) lines = [...lines, ...found.lines];
      else if (lines.length <= PAGE) lines = found.lines;
      else lines = [...found.lines, ...lines.filter((line) => line.at < (found.lines.at(-1)?.first_at ?? 0))];
      if (from || lines.length <= PAGE) before = found.before;
      more.hidden = !before;
      draw();
    } catch {
      // the bar says that there is no connection
    }
    if (!isGone) timer = setTimeout(() => look(), LOOK_MS);
  }

  function draw() {
    const last = doc.plan.cause ? [line("last", "Last cycle", doc.plan.text ?? "", `${clock(doc.plan.at, now())}`, verdict(doc.plan))] : [];
    fill(
      list,
      last,
      lines.map((each) =>
        line(
          each.cause,
          each.proposed ? `${count(each.proposed, "move")} proposed, ${each.accepted} made` : "Nothing proposed",
          each.text,
          each.cycles > 1 ? `${stretch(each.first_at, each.at, now())}, ${each.cycles} cycles` : clock(each.at, now()),
          each.accepted ? "good" : each.proposed ? "warn" : "",
        ),
      ),
    );
    choose();
  }

  function choose() {
    for (const link of list.querySelectorAll("a")) mark(link, "aria-current", link.dataset.cause === shown ? "true" : null);
  }

  async function open(cause) {
    mark(two, "data-open", cause ? "" : null);
    shown = cause || "last";
    key = "";
    choose();
    if (shown === "last") return update();
    try {
      const found = await get(`/v1/explain/${encodeURIComponent(shown)}`);
      if (!isGone && found.decisions.length) describe(found.decisions[0], false);
    } catch (problem) {
      fill(detail, back(), h("p.nothing", {}, problem.message));
    }
    return undefined;
  }

  function describe(decision, isLast) {
    const moves = decision.candidates ?? [];
    fill(
      detail,
      h(
        "header",
        {},
        back(),
        h("h2", {}, isLast ? "Last control cycle" : `Decision ${decision.cause}`),
        h("small", {}, `${decision.cause} · ${clock(decision.at, now())} · policy ${decision.policy}`),
        h("p.lead", {}, decision.text),
      ),
      moves.length
        ? moves.map((each) => candidate(each, { withFlips: isLast }))
        : h("p.nothing", {}, "No move was proposed, so no gate was asked."),
    );
  }

  function update() {
    if (shown !== "last") return;
    const { plan } = doc;
    if (!plan.cause) {
      fill(detail, h("p.nothing", {}, "Nothing has been decided yet."));
      return;
    }
    // Each cycle has a new id; what is shown changes only with what was decided.
    const found = JSON.stringify([plan.text, plan.policy, (plan.candidates ?? []).map((each) => [each.guest, each.target, each.accepted, (each.gates ?? []).map((gate) => gate.passed)])]);
    if (found === key) return;
    key = found;
    describe(plan, true);
  }

  look();
  open(argument);
  return {
    title: "Decisions",
    update,
    turn: open,
    leave() {
      isGone = true;
      clearTimeout(timer);
    },
  };
}

function line(cause, title, text, when, kind) {
  return h(
    "li",
    {},
    h("a", { href: `#/decisions/${cause}`, "data-cause": cause }, h(`b${kind ? `.${kind}` : ""}`, {}, title), h("span.text", {}, text), h("small", {}, h("span", {}, when), h("span", {}, cause === "last" ? "" : cause))),
  );
}

const verdict = (plan) => ((plan.candidates ?? []).some((each) => each.accepted) ? "good" : (plan.candidates ?? []).length ? "warn" : "");

const back = () => h("a.back", { href: "#/decisions" }, "← All decisions");
