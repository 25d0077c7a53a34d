// The cluster: racks, hosts, guests; who talks to whom; what is under way.

import { get } from "./ask.js";
import { paint } from "./colours.js";
import { fill, h, keep, mark, say } from "./dom.js";
import { HostCards } from "./host_cards.js";
import { doc } from "./live.js";
import { Threads } from "./threads.js";
import { UnderWay } from "./under_way.js";
import { bytes, count, duration, percent } from "./words.js";

const TRAFFIC_MS = 5000;
const MANY_FLOWS = 60;

export function mount(place) {
  const summary = h("p.summary");
  const legend = h("ul.legend");
  const chips = new Map();
  const traffic = choice("Traffic", ["off", "selected", "all"], (value) => {
    chosen = value;
    threads.show(value);
  });
  const shape = choice("Show as", ["map", "table"], (value) => {
    body.dataset.shape = value;
    update();
  });
  const map = h("div.map", { "aria-label": "Hosts and their guests", role: "group" });
  const table = h("div.scroll", { tabindex: "0", role: "region", "aria-label": "Hosts as a table" });
  const tip = h("div.tip", { role: "tooltip", id: "tip", hidden: true });
  const side = h("aside.side", { "aria-label": "What happens" });
  const body = h("div.stage", { "data-shape": "map" }, map, table);
  fill(
    place,
    h("h1.unseen", {}, "Cluster"),
    summary,
    h("div.toolbar", {}, legend, h("div.choices", {}, traffic.element, shape.element)),
    h("div.columns", {}, body, side),
    tip,
  );
  const cards = new HostCards(map, tip, (selected) => threads.select(selected));
  const threads = new Threads(map, cards);
  const underWay = new UnderWay(side);
  const rows = new Map();
  let chosen = null;
  let picked = null;
  let timer = 0;
  let isGone = false;

  async function lookAtTraffic() {
    clearTimeout(timer);
    try {
      const found = await get("/v1/traffic?limit=400");
      if (isGone) return;
      if (chosen === null) {
        chosen = found.flows.length > MANY_FLOWS ? "selected" : "all";
        traffic.set(chosen);
        threads.show(chosen);
      }
      threads.talk(found.flows);
    } catch {
      // the bar says that there is no connection
    }
    if (!isGone) timer = setTimeout(lookAtTraffic, TRAFFIC_MS);
  }

  function pick(job) {
    picked = picked === job ? null : job;
    cards.highlight(picked);
    threads.pick(picked);
    for (const [name, chip] of chips) mark(chip.element.firstChild, "aria-pressed", String(name === picked));
  }

  function update() {
    const hosts = Object.values(doc.hosts);
    const guests = Object.values(doc.guests);
    const jobs = Object.values(doc.jobs).sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    say(summary, glance(hosts, guests, jobs));
    keep(legend, chips, jobs, (job) => job.name, (job) => chip(job, pick));
    legend.hidden = jobs.length === 0;
    if (picked !== null && !doc.jobs[picked]) pick(picked);
    if (body.dataset.shape === "map") cards.update(hosts, guests);
    else drawTable(table, rows, hosts, guests);
    map.hidden = body.dataset.shape !== "map";
    table.hidden = !map.hidden;
    threads.update();
    underWay.update();
  }

  lookAtTraffic();
  return {
    title: "Cluster",
    update,
    leave() {
      isGone = true;
      clearTimeout(timer);
      threads.leave();
      cards.leave();
    },
  };
}

function glance(hosts, guests, jobs) {
  const loads = hosts.map((host) => host.load_ratio).filter((load) => load !== undefined);
  const parts = [count(hosts.length, "host"), count(guests.length, "guest"), count(jobs.length, "job")];
  if (loads.length) {
    const mean = loads.reduce((sum, load) => sum + load, 0) / loads.length;
    parts.push(`load ${percent(mean)} on average, ${percent(Math.max(...loads))} at most`);
  }
  const frozen = hosts.filter((host) => host.frozen_because).length;
  if (frozen) parts.push(`${count(frozen, "host")} frozen`);
  return parts.join(" · ");
}

function chip(job, pick) {
  const swatch = h("i.swatch", { "aria-hidden": "true" });
  const name = h("span");
  const button = h("button.chip", { type: "button", "aria-pressed": "false", on: { click: () => pick(job.name) } }, swatch, name);
  return {
    element: h("li", {}, button),
    update(found) {
      paint(button, found.name);
      say(name, found.name);
      mark(button, "title", `${count(found.guests.length, "guest")}; show only this job`);
    },
  };
}

/** A few exclusive choices, as radio buttons that look like one switch. */
function choice(label, values, choose) {
  const name = `choice-${label.toLowerCase().replace(" ", "-")}`;
  const boxes = values.map((value, n) =>
    h("input", { type: "radio", name, id: `${name}-${value}`, value, checked: n === 0, on: { change: () => choose(value) } }),
  );
  const element = h(
    "fieldset.choice",
    {},
    h("legend", {}, label),
    values.map((value, n) => h("span", {}, boxes[n], h("label", { for: `${name}-${value}` }, value))),
  );
  return { element, set: (value) => boxes.forEach((box) => (box.checked = box.value === value)) };
}

function drawTable(place, rows, hosts, guests) {
  if (!place.firstChild) {
    const heads = ["Host", "Rack", "Load", "Memory free", "Guests", "Health", "Last sample"];
    fill(
      place,
      h("table", {}, h("caption.unseen", {}, "Hosts"), h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))), h("tbody")),
    );
  }
  const on = Map.groupBy(guests, (guest) => guest.host);
  hosts.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  keep(place.querySelector("tbody"), rows, hosts, (host) => host.uuid, () => {
    const cells = Array.from({ length: 6 }, () => h("td"));
    const head = h("th", { scope: "row" });
    return {
      element: h("tr", {}, head, cells),
      update(host) {
        say(head, host.name);
        const names = (on.get(host.uuid) ?? []).map((guest) => guest.name).sort();
        const shown = names.slice(0, 6).join(", ") + (names.length > 6 ? ` and ${names.length - 6} more` : "");
        const health = host.frozen_because ? `frozen: ${host.frozen_because}` : (host.health?.state ?? "");
        const age = host.sample_age_s === undefined ? "never" : host.sample_age_s < 10 ? "just now" : `over ${duration(host.sample_age_s)} ago`;
        const texts = [
          host.switch || "–",
          percent(host.load_ratio),
          `${bytes(host.memory_free_bytes)} of ${bytes(host.memory_bytes)}`,
          names.length ? `${names.length}: ${shown}` : "none",
          host.is_enabled ? health : "disabled",
          age,
        ];
        texts.forEach((text, n) => say(cells[n], text));
      },
    };
  });
}
