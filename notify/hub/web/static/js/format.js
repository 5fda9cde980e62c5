// Numbers and words.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** count is a whole number with its thousands apart. */
export const count = (n) => whole.format(n ?? 0);

/** short is a number in three figures: 65.5k, 1.2M. */
export function short(n) {
  if (n < 10000) return count(n);
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (n >= size) return (n / size).toFixed(n / size < 100 ? 1 : 0).replace(/\.0$/, "") + unit;
  }
  return count(n);
}

/** percent of a limit; of none it is a dash. */
export function percent(n, of) {
  if (!of) return "–";
  const p = (100 * n) / of;
  return (p > 0 && p < 10 ? p.toFixed(1) : Math.floor(p).toFixed(0)) + "\u202f%";
}

/** many is a number with its noun. */
export const many = (n, one, more = one + "s") => `${count(n)} ${n === 1 ? one : more}`;

/** bytes in binary units. */
export function bytes(n) {
  let i = 0;
  while (n >= 1024 && i < 4) { n /= 1024; i++; }
  return (i && n < 100 ? n.toFixed(1) : n.toFixed(0)) + "\u202f" + ["B", "KiB", "MiB", "GiB", "TiB"][i];
}

/** hostPath is the address of a host's page. */
export const hostPath = (site, host) => `/host/${encodeURIComponent(site)}/${encodeURIComponent(host)}`;

/** words are the fixed words of the events, as a person reads them. */
const words = {
  at_ceiling: "at the ceiling", observe_mode: "observing only", chain_limit: "chain limit", foreign_change: "somebody else changed the limit",
  no_pressure: "no pressure", read_only: "read-only", held: "held", unverified: "not verified", "": "",
};
export const word = (w) => words[w] ?? String(w ?? "").replaceAll("_", " ");
