// Quantities as people read them, in the words of migctl.

/** Seconds in at most two units: 0.4 s, 104 s, 2 min 14 s, 6 h 5 min. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "unknown";
  if (seconds < 0) return "−" + duration(-seconds);
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  if (seconds < 600) {
    const whole = Math.round(seconds);
    return whole % 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole / 60} min`;
  }
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const all = Math.round(seconds / 3600);
  return all % 24 ? `${Math.floor(all / 24)} d ${all % 24} h` : `${all / 24} d`;
}

/** Bytes in binary units with three significant digits. */
export function bytes(count) {
  let value = count;
  for (const unit of ["B", "KiB", "MiB", "GiB", "TiB"]) {
    if (Math.abs(value) < 1000 || unit === "TiB") {
      return unit === "B" ? `${value.toFixed(0)} B` : `${Number(value.toPrecision(3))} ${unit}`;
    }
    value /= 1024;
  }
  return "";
}

/** A ratio (0..1) in per cent. */
export const percent = (ratio) => (ratio === null || ratio === undefined ? "–" : `${(ratio * 100).toFixed(0)} %`);

/** A number with three significant digits and thousands apart. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  return Number(value.toPrecision(3)).toLocaleString("en");
}

/** "1 guest", "3 guests". */
export const count = (n, one, many = one + "s") => `${n} ${n === 1 ? one : many}`;

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** Unix time as a time of day; with the day where that is another. */
export function clock(at, now = Date.now() / 1000) {
  return (Math.abs(now - at) < 43200 ? CLOCK : DAY).format(new Date(at * 1000));
}

const MINUTE = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** Unix time on an axis that spans so many seconds. */
export function moment(at, span_s) {
  const date = new Date(at * 1000);
  if (span_s < 600) return CLOCK.format(date);
  if (span_s < 100000) return MINUTE.format(date);
  return date.getHours() === 0 && date.getMinutes() === 0 ? DATE.format(date) : span_s < 400000 ? MINUTE.format(date) : DATE.format(date);
}

/** From one time to another, in no more words than that takes. */
export function stretch(from, to, now) {
  const [first, last] = [clock(from, now), clock(to, now)];
  return first === last ? first : `${first} to ${last}`;
}

/** How long ago something was. */
export const ago = (at, now) => (now - at < 2 ? "now" : `${duration(now - at)} ago`);
