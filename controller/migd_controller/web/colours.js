// A hue for each job, the same for as long as the page is open; what is in no job is grey.

const HUES = [255, 55, 150, 330, 95, 195, 22, 290, 125, 230, 0, 75];
const given = new Map();

/** Give each job (by name) a place of its own; those that are known keep theirs. */
export function assign(names) {
  for (const name of given.keys()) if (!names.includes(name)) given.delete(name);
  const taken = new Set(given.values());
  for (const name of names) {
    if (given.has(name)) continue;
    let place = 0;
    while (taken.has(place)) place += 1;
    taken.add(place);
    given.set(name, place);
  }
}

/** Custom properties for what belongs to a job (or to none): style.css makes colours of them. */
export function tint(job) {
  const place = job === undefined || job === null ? undefined : given.get(job);
  if (place === undefined) return { "--hue": "260", "--chroma": "0.012", "--shift": "0" };
  // Neighbours in the list differ in lightness, too, for eyes that do not tell every hue apart.
  const shift = ((place % 2 ? -0.05 : 0.04) + (place >= HUES.length ? -0.07 : 0)).toFixed(2);
  return { "--hue": String(HUES[place % HUES.length]), "--chroma": "0.125", "--shift": shift };
}

/** Dress an element in a job's colours. */
export function paint(element, job) {
  for (const [name, value] of Object.entries(tint(job))) element.style.setProperty(name, value);
}

const probe = document.createElement("i");
probe.className = "probe";
probe.hidden = true;

/** What a colour of style.css is now, for a canvas: resolve("--accent"), resolve("--job-line", "brams"). */
export function resolve(name, job) {
  if (!probe.isConnected) document.body.append(probe);
  paint(probe, job);
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}
