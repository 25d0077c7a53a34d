// The live document: a snapshot, then merge patches (RFC 7396), over server-sent events.

const RETRY_MS = 2000;

/** What is known now: status, hosts, guests, jobs, migrations, plan. Null until the first snapshot. */
export let doc = null;
/** "connecting", "live", "lost" or "refused". */
export let state = "connecting";

const listeners = new Set();
let source = null;
let timer = 0;
let drawing = 0;
let offset_s = 0;

/** Call `listen()` in a frame after something has changed; returns what ends that. */
export function follow(listen) {
  listeners.add(listen);
  return () => listeners.delete(listen);
}

/** The controller's time (Unix, s), whatever this machine's clock says. */
export const now = () => Date.now() / 1000 + offset_s;

/** Connect, or connect again. `whoAmI()` says after a failure whether this browser is still let in. */
export function connect(whoAmI) {
  clearTimeout(timer);
  if (source) source.close();
  source = new EventSource("/v1/events");
  source.addEventListener("snapshot", (event) => take(event, () => JSON.parse(event.data)));
  source.addEventListener("change", (event) => take(event, () => merged(doc, JSON.parse(event.data))));
  source.onerror = async () => {
    source.close();
    enter(state === "refused" ? "refused" : "lost");
    timer = setTimeout(async () => {
      try {
        await whoAmI();
        connect(whoAmI);
      } catch (problem) {
        if (problem.status === 401) enter("refused");
        else source.onerror();
      }
    }, RETRY_MS);
  };
}

/** Stop following: nobody is let in. */
export function refuse() {
  clearTimeout(timer);
  if (source) source.close();
  enter("refused");
}

function take(event, next) {
  const began = performance.now();
  doc = next();
  if (doc.plan.at) offset_s = doc.plan.at - Date.now() / 1000;
  state = "live";
  draw(began);
}

function enter(next) {
  if (state === next) return;
  state = next;
  draw(performance.now());
}

function draw(began) {
  if (drawing) return;
  const parsed_ms = performance.now() - began;
  drawing = requestAnimationFrame(() => {
    drawing = 0;
    const start = performance.now();
    for (const listen of [...listeners]) listen();
    // Whoever observes "measure" is told how long that took; nothing of it is kept.
    performance.measure("migd update", { start: start - parsed_ms, end: performance.now() });
    performance.clearMeasures("migd update");
  });
}

function merged(target, patch) {
  if (target === null || typeof target !== "object" || Array.isArray(target)) target = {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete target[name];
    else if (typeof value === "object" && !Array.isArray(value)) target[name] = merged(target[name], value);
    else target[name] = value;
  }
  return target;
}
