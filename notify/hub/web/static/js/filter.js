// The filter: words that must all hold. README of them is the help dialog.
import { CRITICAL, GONE, HELD, INCIDENT, REMEDIATE, SILENT, STOPPED, WARNING } from "./columns.js";

const states = {
  silent: SILENT, stopped: STOPPED, incident: INCIDENT, incidents: INCIDENT, critical: CRITICAL, warning: WARNING, held: HELD,
  remediate: REMEDIATE,
};

/** parse reads what was typed. A word with - before it must not hold. */
export function parse(text) {
  const terms = [];
  for (let word of text.trim().toLowerCase().split(/\s+/)) {
    const not = word.startsWith("-") && word.length > 1;
    if (not) word = word.slice(1);
    if (word) terms.push({ ...term(word), not });
  }
  return { terms, live: terms.some((t) => t.kind === "fill" || t.kind === "state") };
}

function term(word) {
  const fill = /^([<>])=?(\d+(?:\.\d+)?)%?$/.exec(word);
  if (fill) return { kind: "fill", over: fill[1] === ">", share: Number(fill[2]) / 100 };
  if (word in states) return { kind: "state", flag: states[word] };
  if (word === "observe") return { kind: "observe" };
  const [key, ...rest] = word.split(":");
  const value = rest.join(":");
  if (rest.length && value) {
    if (key === "site") return { kind: "site", value };
    if (key === "host") return { kind: "host", value };
    if (key === "label") return { kind: "label", value };
    if (key === "version") return { kind: "version", value };
  }
  if (word.includes("=")) return { kind: "label", value: word };
  return { kind: "host", value: word };
}

/** select is the places that a filter lets through, in the fleet's order. */
export function select(fleet, { terms }) {
  const { order } = fleet;
  const tests = terms.map((t) => compile(fleet, t));
  const out = new Uint32Array(order.length);
  let n = 0;
  next: for (let i = 0; i < order.length; i++) {
    const p = order[i];
    if (fleet.flags[p] & GONE) continue;
    for (const test of tests) if (!test(p)) continue next;
    out[n++] = p;
  }
  return out.subarray(0, n);
}

/** compile makes one term a function of a place. What many hosts share is looked at once. */
function compile(fleet, t) {
  const test = bare(fleet, t);
  return t.not ? (p) => !test(p) : test;
}

function bare(fleet, t) {
  const { flags, count, max, lower, site, labelSet, version } = fleet;
  switch (t.kind) {
    case "fill":
      // A host whose table nobody sees is neither above nor below.
      return t.over ? (p) => max[p] > 0 && count[p] > t.share * max[p] : (p) => max[p] > 0 && count[p] < t.share * max[p];
    case "state":
      return (p) => (flags[p] & t.flag) !== 0;
    case "observe":
      return (p) => (flags[p] & REMEDIATE) === 0;
    case "site": {
      const good = fleet.sites.map((s) => glob(t.value, s.toLowerCase()));
      return (p) => good[site[p]];
    }
    case "version": {
      const good = fleet.versions.map((v) => v.toLowerCase().startsWith(t.value));
      return (p) => good[version[p]];
    }
    case "label": {
      const good = fleet.labels.map((set) => set.some((l) => matchesLabel(t.value, l.toLowerCase())));
      return (p) => good[labelSet[p]];
    }
    default:
      return (p) => lower[p].includes(t.value);
  }
}

/** matchesLabel: rack=r1 is that label, rack=r* one of those, rack any of that name. */
function matchesLabel(want, label) {
  return want.includes("=") ? glob(want, label) : label.startsWith(want + "=");
}

function glob(pattern, value) {
  if (!pattern.includes("*")) return pattern === value;
  const parts = pattern.split("*");
  if (!value.startsWith(parts[0]) || !value.endsWith(parts.at(-1))) return false;
  let at = parts[0].length;
  for (const part of parts.slice(1, -1)) {
    const found = value.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at <= value.length - parts.at(-1).length;
}

/** byFill orders places by how full they are, fullest first, without comparing each with each. */
export function byFill(fleet, places) {
  const steps = 1024;
  const starts = new Uint32Array(steps + 2);
  const rank = (p) => {
    if (fleet.flags[p] & (SILENT | STOPPED) || !fleet.max[p]) return steps;
    const fill = Math.min(1, fleet.count[p] / fleet.max[p]);
    return steps - 1 - Math.min(steps - 1, (fill * steps) | 0);
  };
  for (const p of places) starts[rank(p) + 1]++;
  for (let i = 1; i < starts.length; i++) starts[i] += starts[i - 1];
  const out = new Uint32Array(places.length);
  for (const p of places) out[starts[rank(p)]++] = p;
  return out;
}
