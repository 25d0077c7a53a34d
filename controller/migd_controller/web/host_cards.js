// Racks, the hosts in them, and the guests on these: each guest as wide as the CPU it wants, in the colour of its job.

import { paint } from "./colours.js";
import { fill, h, keep, mark, say } from "./dom.js";
import { bytes, percent } from "./words.js";

// A name is written into a guest where there is room for this many pixels a letter, and some to spare.
const LETTER_PX = 6.6;
const ORDER = new Intl.Collator("en", { numeric: true });

export class HostCards {
  /** Draw into `place`. `onSelect(uuid or null)` hears which guest is looked at. */
  constructor(place, tip, onSelect) {
    this.place = place;
    this.tip = tip;
    this.onSelect = onSelect;
    this.racks = new Map();
    this.cards = new Map(); // by host uuid
    this.guests = new Map(); // by guest uuid: {element, guest}
    this.picked = null;
    place.addEventListener("keydown", (event) => this.#walk(event));
    place.addEventListener("focusin", (event) => this.#look(event.target));
    place.addEventListener("focusout", () => this.#look(null));
    place.addEventListener("pointerover", (event) => this.#look(event.target));
    place.addEventListener("pointerleave", () => this.#look(null));
    this.resized = new ResizeObserver(() => this.#label());
    this.resized.observe(place);
  }

  leave() {
    this.resized.disconnect();
  }

  /** The element of a guest, or of its host where it has none. */
  elementOf(guest) {
    return this.guests.get(guest)?.element;
  }

  cardOf(host) {
    return this.cards.get(host)?.element;
  }

  /** Let guests of other jobs stand back; null: none does. */
  highlight(job) {
    this.picked = job;
    this.place.classList.toggle("picked", job !== null);
    for (const { element, guest } of this.guests.values()) element.classList.toggle("of-picked", guest.job === job);
  }

  update(hosts, guests) {
    mark(this.place, "data-size", hosts.length > 40 ? "many" : hosts.length > 16 ? "some" : "few");
    this.residents = Map.groupBy(guests, (guest) => guest.host);
    const racks = [...Map.groupBy(hosts, (host) => host.switch || "")].sort(([a], [b]) => ORDER.compare(a, b));
    if (!hosts.length) {
      if (!this.place.querySelector(".nothing")) fill(this.place, h("p.nothing", {}, "The pool's hosts are not known yet."));
      this.racks.clear();
      return;
    }
    this.place.querySelector(".nothing")?.remove();
    keep(this.place, this.racks, racks, ([name]) => name, ([name]) => this.#rack(name, racks.length));
    const running = new Set(guests.map((guest) => guest.uuid));
    for (const uuid of this.guests.keys()) if (!running.has(uuid)) this.guests.delete(uuid);
    this.#label();
    if (!this.place.querySelector('a[tabindex="0"]')) this.place.querySelector("a.guest")?.setAttribute("tabindex", "0");
  }

  #rack(name, racks) {
    const head = h("h2.rack-name");
    const list = h("ul.hosts");
    const known = new Map();
    const title = name || (racks > 1 ? "other hosts" : "");
    return {
      element: h("section.rack", {}, title ? head : null, list),
      update: ([, hosts]) => {
        const loads = hosts.map((host) => host.load_ratio).filter((load) => load !== undefined);
        const mean = loads.length ? loads.reduce((sum, load) => sum + load, 0) / loads.length : null;
        if (title) fill(head, title, h("small", {}, `${hosts.length} hosts, load ${percent(mean)}`));
        hosts.sort((a, b) => ORDER.compare(a.name, b.name));
        keep(list, known, hosts, (host) => host.uuid, (host) => this.#card(host));
      },
    };
  }

  #card(host) {
    const name = h("span.host-name");
    const load = h("span.load");
    const bar = h("ul.guests");
    const own = h("i.own", { "aria-hidden": "true", title: "Dom0" });
    const rest = h("i.rest", { "aria-hidden": "true" });
    const limit = h("i.limit", { "aria-hidden": "true" });
    const memory = h("i.memory", { "aria-hidden": "true" }, h("b"));
    const why = h("p.why");
    const known = new Map();
    const element = h("li.host", {}, h("div.head", {}, name, load), h("div.bar", {}, bar, own, rest, limit), memory, why);
    const entry = {
      element,
      update: (found) => {
        const guests = (this.residents.get(found.uuid) ?? []).sort(byJob);
        const wanted = guests.reduce((sum, guest) => sum + guest.cpu_demand_vcpus, 0);
        const ownCpus = found.load_ratio === undefined ? 0 : Math.max(0, found.load_ratio * found.cpus - wanted);
        const scale = Math.max(found.cpus, wanted + ownCpus);
        say(name, found.name);
        say(load, found.frozen_because ? "frozen" : percent(found.load_ratio));
        const state = stateOf(found);
        mark(element, "data-state", state);
        say(why, whyNotWell(found, state));
        why.hidden = !why.textContent;
        mark(name, "title", hostTitle(found, guests.length));
        const free = Math.max(0, 1 - (wanted + ownCpus) / scale);
        grow(bar, wanted / scale);
        grow(own, ownCpus / scale);
        grow(rest, free);
        own.hidden = ownCpus / scale < 0.005;
        limit.style.insetInlineStart = `${(100 * found.cpus) / scale}%`;
        limit.hidden = scale <= found.cpus * 1.001;
        memory.firstChild.style.inlineSize = `${100 - (100 * found.memory_free_bytes) / found.memory_bytes}%`;
        entry.scale = scale;
        keep(bar, known, guests, (guest) => guest.uuid, (guest) => this.#guest(guest, entry));
      },
    };
    this.cards.set(host.uuid, entry);
    return entry;
  }

  #guest(first, card) {
    const label = h("span");
    const link = h("a.guest", { href: `#/guest/${encodeURIComponent(first.uuid)}`, tabindex: "-1", "data-guest": first.uuid }, label);
    const entry = { element: link, guest: first, label, ratio: 0, job: undefined };
    return {
      element: h("li", {}, link),
      update: (guest) => {
        entry.guest = guest;
        const ratio = Math.round((1000 * guest.cpu_demand_vcpus) / card.scale) / 1000;
        if (entry.ratio !== ratio) grow(link.parentElement, (entry.ratio = ratio));
        if (entry.job !== (guest.job ?? null)) {
          entry.job = guest.job ?? null;
          paint(link, guest.job);
          link.classList.toggle("of-picked", entry.job === this.picked);
        }
        const title = `${guest.name}, ${guest.job ? `job ${guest.job}` : "in no job"}, wants ${percent(guest.cpu_demand_vcpus / guest.vcpus)}`;
        if (entry.title !== title) link.setAttribute("aria-label", (entry.title = title));
        if (entry.text !== guest.name) say(label, (entry.text = guest.name));
        this.guests.set(guest.uuid, entry);
      },
    };
  }

  #label() {
    const card = this.place.querySelector(".bar");
    if (!card) return;
    const width = card.clientWidth;
    for (const entry of this.guests.values()) {
      const fits = entry.ratio * width > entry.guest.name.length * LETTER_PX + 8;
      if (entry.fits !== fits) entry.label.hidden = !(entry.fits = fits);
    }
  }

  #look(target) {
    const link = target?.closest?.("a.guest");
    const entry = link ? this.guests.get(link.dataset.guest) : null;
    if (this.looked === entry) return;
    this.looked = entry;
    this.onSelect(entry ? entry.guest.uuid : null);
    this.tip.hidden = !entry;
    if (!entry) return;
    const { guest } = entry;
    fill(
      this.tip,
      h("b", {}, guest.name),
      h("span", {}, guest.job ? `job ${guest.job}` : "in no job", ` on ${guest.host_name}`),
      h("span", {}, `wants ${guest.cpu_demand_vcpus.toFixed(2)}, gets ${guest.cpu_used_vcpus.toFixed(2)} of ${guest.vcpus} vCPU`),
      h("span", {}, `${bytes(guest.memory_bytes)} · in ${bytes(guest.rx_bytes_per_s)}/s · out ${bytes(guest.tx_bytes_per_s)}/s`),
      guest.immovable_because ? h("span.warn", {}, `stays: ${guest.immovable_because}`) : null,
      guest.resting_because ? h("span.warn", {}, guest.resting_because) : null,
    );
    const at = entry.element.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.tip;
    const left = Math.min(Math.max(8, at.left + at.width / 2 - width / 2), innerWidth - width - 8);
    const top = at.bottom + height + 10 < innerHeight ? at.bottom + 8 : at.top - height - 8;
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${top}px`;
  }

  /** One tab stop for the whole map; arrows walk in it. */
  #walk(event) {
    const link = event.target.closest("a.guest");
    const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    const step = steps[event.key];
    if (!link || !step) return;
    event.preventDefault();
    const cards = [...this.place.querySelectorAll(".host")].filter((card) => card.querySelector("a.guest"));
    const here = cards.indexOf(link.closest(".host"));
    const own = [...cards[here].querySelectorAll("a.guest")];
    let next = own[own.indexOf(link) + step[1]];
    if (step[0] || !next) {
      const card = cards[here + (step[0] || step[1])];
      if (!card) return;
      const found = card.querySelectorAll("a.guest");
      next = step[0] ? found[Math.min(own.indexOf(link), found.length - 1)] : found[step[1] > 0 ? 0 : found.length - 1];
    }
    link.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  }
}

function byJob(a, b) {
  if ((a.job ?? "~") !== (b.job ?? "~")) return ORDER.compare(a.job ?? "~", b.job ?? "~");
  return ORDER.compare(a.name, b.name);
}

function grow(element, ratio) {
  element.style.flexGrow = Math.round(ratio * 1000); // below 1 in sum, they would leave room beside them
}

function stateOf(host) {
  if (host.health?.state === "failing") return "failing";
  if (host.frozen_because) return "frozen";
  if (!host.is_enabled) return "disabled";
  if (host.health?.state === "degraded") return "degraded";
  return host.load_ratio > 1 ? "over" : "well";
}

function whyNotWell(host, state) {
  if (state === "frozen") return host.frozen_because;
  if (state === "failing" || state === "degraded") return host.health.reasons?.join("; ") ?? state;
  return state === "disabled" ? "disabled in the pool" : "";
}

function hostTitle(host, guests) {
  const health = host.health && host.health.state !== "unknown" ? `; health ${host.health.state}` : "";
  return `${host.name}: ${host.cpus} CPUs, ${bytes(host.memory_free_bytes)} of ${bytes(host.memory_bytes)} free, ${guests} guests${health}`;
}
