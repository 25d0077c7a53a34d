// Around every view: where to go, how things stand, who looks, and the button that stops everything.

import { ask } from "./ask.js";
import { fill, h, mark, say } from "./dom.js";
import * as live from "./live.js";
import { count } from "./words.js";

const PLACES = [
  ["", "Cluster"],
  ["decisions", "Decisions"],
  ["jobs", "Jobs"],
  ["automation", "Automation"],
  ["history", "History"],
];
const THEMES = ["auto", "light", "dark"];
const GLYPHS = { auto: "◐", light: "☀", dark: "☾" };
const STATES = {
  connecting: "connecting …",
  live: "live",
  lost: "no connection; trying again …",
  refused: "not logged in",
};
// What stands beside the policy where it does not do all by itself.
const LEVELS = { off: ", automation off", recommend: ", recommends" };

const bar = document.getElementById("bar");
const notices = document.getElementById("notices");
let session = null;
let links;
let pause;
let link;
let policy;
let theme;
let who;
let dialog = null;
let busy = false;
let problem = "";
let place = "";

/** True where whoever looks may steer, too. */
export const maySteer = () => session !== null && session.role !== "viewer";

/** Take in who looks. */
export function knows(found) {
  session = found;
  update();
}

/** Draw the bar, once. */
export function build() {
  chooseTheme(localStorage.getItem("theme") ?? "auto");
  links = PLACES.map(([name, text]) => h("a", { href: `#/${name}` }, text));
  link = h("span.link", {}, "");
  policy = h("span.policy", {}, "");
  who = h("button.who", { type: "button", hidden: true, on: { click: leave } }, "");
  theme = h("button.theme", { type: "button", on: { click: nextTheme } });
  pause = h("button.pause", { type: "button", disabled: true, on: { click: turn } }, h("span.glyph", { "aria-hidden": "true" }), h("b", {}, "Pause"));
  fill(
    bar,
    h("a.brand", { href: "#/", "aria-label": "migd, to the cluster" }, h("img", { src: "icon.svg", alt: "", width: 26, height: 26 }), "migd"),
    h("nav", { "aria-label": "Views" }, links),
    h("div.standing", {}, policy, link),
    h("div.tools", {}, who, theme),
    pause,
  );
  showTheme();
}

/** Mark the view that is shown. */
export function opened(key) {
  place = key === "guest" ? "" : key;
  links.forEach((each, n) => mark(each, "aria-current", PLACES[n][0] === place ? "page" : null));
}

/** Show how things stand. */
export function update() {
  if (!bar.firstChild) return;
  mark(link, "data-state", live.state);
  say(link, STATES[live.state]);
  const status = live.doc?.status;
  const isPaused = Boolean(status?.is_paused);
  document.body.classList.toggle("paused", isPaused);
  say(policy, status ? `policy ${status.policy}${LEVELS[status.automation] ?? ""}` : "");
  say(pause.lastChild, isPaused ? "Resume" : "Pause");
  mark(pause, "data-paused", String(isPaused));
  const cannot = !status || live.state !== "live" ? "there is no connection" : maySteer() ? "" : "your token only looks; an operator's may pause";
  pause.disabled = Boolean(cannot) || busy;
  mark(pause, "title", cannot ? `Not possible: ${cannot}` : isPaused ? "Let migd move guests again" : "Start no new migration; those under way go on");
  who.hidden = !session || session.name === "";
  if (session) {
    say(who, "Log out");
    mark(who, "title", `Logged in as ${session.name}, ${session.role}`);
  }
  showNotices(status, isPaused);
}

function showNotices(status, isPaused) {
  const found = [];
  if (problem) found.push(["bad", problem]);
  if (live.state === "lost" && status) found.push(["bad", "The controller does not answer; what you see may be old."]);
  if (status) {
    if (isPaused) found.push(["paused", "Paused: migd starts no new migration. Those under way go on."]);
    const waiting = status.recommendations ?? 0;
    if (waiting && place !== "automation") found.push(["word", `${count(waiting, "recommendation")} ${waiting === 1 ? "waits" : "wait"} for an operator's word.`, "#/automation"]);
    if (status.xapi_connected === false) found.push(["bad", `The pool cannot be reached: ${status.xapi_problem ?? ""}`]);
    for (const [name, text] of Object.entries(status)) if (name.endsWith("_problem") && name !== "xapi_problem" && text) found.push(["warn", text]);
    if (status.hosts_failing) found.push(["bad", `${count(status.hosts_failing, "host")} failing: nothing is moved there.`]);
  }
  const key = JSON.stringify(found);
  if (notices.dataset.key === key) return;
  notices.dataset.key = key;
  fill(notices, found.map(([kind, text, to]) => h(`p.notice.${kind}`, {}, to ? h("a", { href: to }, text) : text)));
}

async function turn() {
  await steer("POST", live.doc.status.is_paused ? "/v1/resume" : "/v1/pause");
}

/** Ask for something to be done; say above the view why it was not. */
export async function steer(method, path, body) {
  busy = true;
  problem = "";
  update();
  try {
    return await ask(method, path, body);
  } catch (error) {
    problem = error.message;
    return null;
  } finally {
    busy = false;
    update();
  }
}

async function leave() {
  await ask("DELETE", "/v1/session").catch(() => null);
  location.reload();
}

/** Ask whoever looks for a token, until the controller takes one. `enter()` goes on from there. */
export function askForToken(enter) {
  if (dialog) return;
  const why = h("p.why", { role: "alert" });
  const field = h("input", { id: "token", name: "token", type: "password", autocomplete: "current-password", required: true, "aria-describedby": "token-help" });
  const button = h("button.primary", { type: "submit" }, "Log in");
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    say(why, "");
    try {
      await ask("POST", "/v1/session", { token: field.value.trim() });
      dialog.close();
      dialog.remove();
      dialog = null;
      await enter();
    } catch (error) {
      say(why, error.message);
      field.select();
    } finally {
      button.disabled = false;
    }
  };
  dialog = h(
    "dialog.login",
    { "aria-labelledby": "login-title", on: { cancel: (event) => event.preventDefault() } },
    h(
      "form",
      { method: "dialog", on: { submit } },
      h("h2", { id: "login-title" }, "Log in to migd"),
      h("label", { for: "token" }, "Token"),
      field,
      h("p.help", { id: "token-help" }, "On the controller, ", h("code", {}, "migctl token new NAME --role viewer"), " makes one. An operator's may also pause, cancel, approve, refuse and choose levels."),
      why,
      button,
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}

function chooseTheme(name) {
  document.documentElement.dataset.theme = THEMES.includes(name) ? name : "auto";
}

function nextTheme() {
  const name = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  localStorage.setItem("theme", name);
  chooseTheme(name);
  showTheme();
  dispatchEvent(new Event("themechange"));
}

function showTheme() {
  const name = document.documentElement.dataset.theme;
  say(theme, GLYPHS[name]);
  mark(theme, "aria-label", `Colours: ${name}; change`);
  mark(theme, "title", `Colours: ${name}`);
}
