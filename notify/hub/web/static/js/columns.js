// The fleet as columns: one typed array for each field, one place for each host. columns.go writes what is read here.

export const WARNING = 1, CRITICAL = 2, SILENT = 4, STOPPED = 8, HELD = 16, REMEDIATE = 32, GONE = 64;
export const INCIDENT = WARNING | CRITICAL;

const fields = ["count", "max", "refused", "seen", "flags", "site", "labelSet", "version"];

export class Fleet {
  constructor() {
    this.clear();
  }

  clear() {
    this.epoch = "";
    this.revision = 0;
    this.length = 0; // places, of which some may be gone
    this.order = new Uint32Array(0); // places by site and host
    this.hosts = [];
    this.lower = []; // the same in small letters, to search in
    this.sites = [];
    this.labels = [];
    this.versions = [];
    for (const f of fields) this[f] = new Uint32Array(0);
  }

  /** apply takes a document of columns. It tells whether it began anew, and whether names or hosts changed. */
  apply(buffer) {
    const doc = read(buffer);
    const { head } = doc;
    const fresh = head.since === 0;
    if (fresh) this.clear();
    else if (head.epoch !== this.epoch || head.since > this.revision) throw new Error("these changes are not of what is loaded");
    this.grow(head.total);
    const known = this.length;
    this.length = head.total;
    this.epoch = head.epoch;
    this.revision = head.revision;
    for (let i = 0; i < head.rows; i++) {
      const p = doc.place[i];
      this.count[p] = doc.count[i];
      this.max[p] = doc.max[i];
      this.refused[p] = doc.refused[i];
      this.seen[p] = doc.seen[i];
      this.flags[p] = doc.flags[i];
    }
    if (head.named) this.name(doc, fresh, known);
    return { fresh, named: head.named > 0, rows: head.rows };
  }

  name(doc, fresh, known) {
    const { head } = doc;
    this.sites = head.sites ?? [];
    this.labels = head.labels ?? [];
    this.versions = head.versions ?? [];
    const added = [];
    for (let i = 0; i < head.named; i++) {
      const p = doc.namedPlace[i];
      this.site[p] = doc.site[i];
      this.labelSet[p] = doc.labelSet[i];
      this.version[p] = doc.version[i];
      this.hosts[p] = doc.names[i];
      this.lower[p] = doc.names[i].toLowerCase();
      if (p >= known) added.push(p);
    }
    if (fresh) this.order = doc.place.slice();
    else if (added.length) this.insert(added);
  }

  /** insert merges new places into the order. */
  insert(added) {
    const compare = (a, b) => natural(this.sites[this.site[a]], this.sites[this.site[b]]) || natural(this.hosts[a], this.hosts[b]);
    added.sort(compare);
    const merged = new Uint32Array(this.order.length + added.length);
    let i = 0, j = 0, k = 0;
    while (i < this.order.length && j < added.length) {
      merged[k++] = compare(this.order[i], added[j]) <= 0 ? this.order[i++] : added[j++];
    }
    merged.set(this.order.subarray(i), k);
    merged.set(added.slice(j), k + this.order.length - i);
    this.order = merged;
  }

  grow(places) {
    if (places <= this.count.length) return;
    const size = Math.max(places, this.count.length * 2);
    for (const f of fields) {
      const larger = new Uint32Array(size);
      larger.set(this[f]);
      this[f] = larger;
    }
  }

  fill(p) { return this.max[p] ? this.count[p] / this.max[p] : 0; }

  /** summary counts the hosts by state and by fill. */
  summary() {
    const s = { hosts: 0, critical: 0, warning: 0, silent: 0, stopped: 0, held: 0, over80: 0, bins: new Uint32Array(20) };
    for (let p = 0; p < this.length; p++) {
      const flags = this.flags[p];
      if (flags & GONE) continue;
      s.hosts++;
      if (flags & SILENT) s.silent++;
      else if (flags & STOPPED) s.stopped++;
      if (flags & CRITICAL) s.critical++;
      else if (flags & WARNING) s.warning++;
      if (flags & HELD) s.held++;
      if (!this.max[p] || flags & (SILENT | STOPPED)) continue;
      const fill = this.count[p] / this.max[p];
      if (fill > 0.8) s.over80++;
      s.bins[fill >= 1 ? 19 : (fill * 20) | 0]++;
    }
    return s;
  }
}

function read(buffer) {
  const bytes = new Uint8Array(buffer);
  if (bytes[0] !== 67 || bytes[1] !== 84 || bytes[2] !== 87 || bytes[3] !== 49) throw new Error("this is no document of columns");
  const length = new DataView(buffer).getUint32(4, true);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  let at = 8 + length;
  const column = (n) => {
    const c = new Uint32Array(buffer, at, n);
    at += 4 * n;
    return c;
  };
  const doc = { head };
  for (const name of ["place", "count", "max", "refused", "seen", "flags"]) doc[name] = column(head.rows);
  for (const name of ["namedPlace", "site", "labelSet", "version"]) doc[name] = column(head.named);
  doc.names = head.named ? new TextDecoder().decode(bytes.subarray(at)).split("\n") : [];
  return doc;
}

/** natural compares as a person would: h2 before h10. */
export function natural(a, b) {
  const x = a.match(/\d+|\D/g) ?? [], y = b.match(/\d+|\D/g) ?? [];
  for (let i = 0; i < x.length && i < y.length; i++) {
    if (x[i] === y[i]) continue;
    const p = /^\d/.test(x[i]), q = /^\d/.test(y[i]);
    if (p && q) {
      const m = x[i].replace(/^0+/, ""), n = y[i].replace(/^0+/, "");
      if (m.length !== n.length) return m.length - n.length;
      if (m !== n) return m < n ? -1 : 1;
      continue;
    }
    return x[i] < y[i] ? -1 : 1;
  }
  return x.length - y.length || (a < b ? -1 : a > b ? 1 : 0);
}
