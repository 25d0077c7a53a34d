// The page: which view is shown, who looks at it, and what all views have in common.

import { get, whenRefused } from "./ask.js";
import { assign } from "./colours.js";
import * as cluster from "./cluster.js";
import { fill, h } from "./dom.js";
import * as frame from "./frame.js";
import * as live from "./live.js";

// Each view is a module with `mount(place, argument)`, which returns {title, update(), leave()}. What the first picture
// does not need is fetched when somebody looks at it.
const VIEWS = {
  "": async () => cluster,
  decisions: () => import("./decisions.js"),
  jobs: () => import("./jobs.js"),
  automation: () => import("./automation.js"),
  guest: () => import("./guest.js"),
  history: () => import("./history.js"),
};

const place = document.getElementById("view");
let view = null;
let shown = "";
let turn = 0;
let opening = false;

async function whoAmI() {
  const session = await get("/v1/session");
  frame.knows(session);
  if (view) view.update(); // what was drawn before hides what only operators may do
  return session;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // typed by hand
  }
}

async function show() {
  const hash = location.hash.replace(/^#\/?/, "");
  const [name, ...rest] = hash.split("/").map(decoded);
  const mine = (turn += 1);
  const open = VIEWS[name] ?? VIEWS[""];
  const key = VIEWS[name] ? name : "";
  opening = true;
  let module;
  try {
    module = await open();
  } catch {
    if (mine !== turn) return;
    if (view) view.leave();
    view = null;
    opening = false; // what changes next makes another try
    fill(place, h("p.loading", {}, "This view cannot be loaded: the controller does not answer."));
    return;
  }
  if (mine !== turn) return;
  opening = false;
  if (!live.doc) return;
  if (view && shown === key && view.turn) {
    view.turn(rest.join("/")); // the same view, with something else in it
  } else {
    const isFirst = view === null;
    if (view) view.leave();
    place.dataset.view = key || "cluster";
    fill(place);
    view = module.mount(place, rest.join("/"));
    if (!isFirst) place.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  shown = key;
  document.title = `${view.title} · migd`;
  frame.opened(key);
  update();
}

function update() {
  frame.update();
  if (!live.doc) {
    if (live.state === "refused") frame.askForToken(enter);
    return;
  }
  assign(Object.keys(live.doc.jobs).sort());
  if (view) view.update();
  else if (!opening) show();
  if (live.state === "refused") frame.askForToken(enter);
}

async function enter() {
  await whoAmI();
  live.connect(whoAmI);
}

frame.build();
fill(place, h("p.loading", {}, "Looking at the cluster …"));
live.follow(update);
addEventListener("hashchange", show);
whenRefused(() => live.refuse());
// Who came before is let in by the cookie: no need to ask first.
live.connect(whoAmI);
whoAmI().catch((problem) => {
  if (problem.status === 401) live.refuse();
});
