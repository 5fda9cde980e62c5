// One host: its table over time, and everything its agent says.
import { get } from "./api.js";
import { holdDialog, silenceDialog, unhold } from "./dialogs.js";
import { clock, h, keep, span, time } from "./dom.js";
import { bytes, count, many, percent, word } from "./format.js";
import { bars } from "./incidentviews.js";
import { Plots } from "./plot.js";
import { on } from "./state.js";

const again = 5000; // how often the host is asked about, in milliseconds

export function hostView(root, { site, host }) {
  const plots = new Plots();
  const head = h("header", { class: "head" }, h("h1", {}, host)), facts = h("dl", { class: "facts-grid" }), rest = h("div", { class: "masonry" });
  root.replaceChildren(h("div", { class: "page" }, head, facts, h("section", { "aria-label": "Over time" }, plots.element), rest));
  let stopped = false, loading = false;
  const load = async () => {
    if (loading || stopped || document.hidden) return;
    loading = true;
    try {
      const d = await get(`hosts/${encodeURIComponent(site)}/${encodeURIComponent(host)}`);
      if (stopped) return;
      draw(d, { head, facts, rest }, load);
      await plots.show(d.points, d.steps);
    } catch (error) {
      if (!facts.childElementCount) rest.replaceChildren(h("p", {}, error.message));
    }
    loading = false;
  };
  load();
  const timer = setInterval(load, again);
  const stop = on("session", load);
  return { close() { stopped = true; clearInterval(timer); stop(); plots.close(); } };
}

function draw(d, { head, facts, rest }, reload) {
  const s = d.status ?? {};
  keep(head, [d.severity, d.silent, d.stopped, d.held, d.mode, d.labels, d.fleet_hold?.host],
    () => [h("h1", {}, h("span", { class: "muted" }, d.site + " / "), d.host, " ", tags(d)), actions(d, reload)]);
  facts.replaceChildren(...figures(d, s));
  const parts = [
    ["Notes", s.notes?.length > 0 && h("ul", { class: "notes" }, s.notes.map((n) => h("li", {}, n)))],
    ["Incidents", incidents(d.incidents)], ["Who fills the table", talkers(d)], ["Steps", steps(d)],
    ["Sources", s.sources && sources(s.sources)], ["Namespaces", s.netns?.length > 1 && namespaces(s)],
    ["Delivery", s.outbox && delivery(s)],
  ];
  const shown = parts.filter(([, content]) => content);
  keep(rest, shown.map(([name, content]) => [name, content.innerHTML]), () => shown.map(([name, content]) => h("section", {}, h("h2", {}, name), content)));
}

function tags(d) {
  return [
    d.severity === "critical" && h("span", { class: "tag critical" }, "refusing"), d.severity === "warning" && h("span", { class: "tag warning" }, "filling"),
    d.silent && h("span", { class: "tag silent" }, "silent"), d.stopped && h("span", { class: "tag silent" }, "agent stopped"),
    d.held && h("span", { class: "tag" }, "held"), h("span", { class: "tag" }, d.mode || "mode unknown"),
    (d.labels ?? []).map((l) => h("a", { class: "tag", href: "/?q=" + encodeURIComponent(l) }, l)),
  ];
}

function actions(d, reload) {
  const whom = { site: d.site, host: d.host };
  return h("div", { class: "actions" },
    d.fleet_hold && d.fleet_hold.host ? h("button", { type: "button", onclick: async () => { await unhold(whom); reload(); } }, "Release") :
      h("button", { type: "button", onclick: async () => { await holdDialog(whom); reload(); } }, "Hold…"),
    h("button", { type: "button", onclick: () => silenceDialog(whom) }, "Silence…"));
}

function figures(d, s) {
  const init = s.netns?.[0];
  const fact = (name, value, note) => h("div", {}, h("dt", {}, name), h("dd", {}, value, note && h("small", {}, note)));
  const out = [
    fact("Full", percent(d.count, d.max), `${count(d.count)} of ${count(d.max)}`), fact("Refused", count(d.refused), "since the agent's start"),
    fact("New a second", init ? count(init.insert_rate) : "–", init?.time_to_full_s != null ? `full in ${span(init.time_to_full_s)}` : ""),
    fact("Memory", s.memory ? bytes(s.memory.table_bytes) : "–", s.memory ? `at most ${bytes(s.memory.worst_bytes)}` : ""),
    fact("Last seen", time(d.seen), d.version ? `version ${d.version}` : ""),
  ];
  if (s.kernel) out.push(fact("Kernel", s.kernel.split(" ")[0], s.started_at ? ["agent started ", time(s.started_at)] : ""));
  const hold = d.fleet_hold ?? s.held;
  if (hold) out.push(fact(d.fleet_hold ? "Held by the fleet" : "Held here", hold.until && !hold.until.startsWith("0001") ? ["until ", clock(hold.until)] : "until released",
    `${hold.by}${hold.why ? ": " + hold.why : ""}`));
  return out;
}

function incidents(all) {
  if (!all.length) return h("p", { class: "muted" }, "None that is remembered.");
  return h("table", {}, h("thead", {}, h("tr", {}, ["Since", "What", "Refused", "Peak", ""].map((c, i) => h("th", { scope: "col", class: i === 2 || i === 3 ? "n" : null }, c)))),
    h("tbody", {}, all.slice(0, 20).map((i) => h("tr", {},
      h("td", {}, clock(i.opened_at)),
      h("td", {}, h("span", { class: `tag ${i.closed_at ? "" : i.severity}` }, i.closed_at ? `over after ${span((Date.parse(i.closed_at) - Date.parse(i.opened_at)) / 1000)}` : i.severity === "critical" ? "refusing" : "filling"),
        " ", i.netns && i.netns !== "init" ? h("span", { class: "mono" }, i.netns) : "", i.verdict && h("span", { class: "block muted" }, i.verdict)),
      h("td", { class: "n" }, count(i.drops + i.early_drops)), h("td", { class: "n" }, count(i.peak_count)),
      h("td", {}, i.group && h("a", { href: `/incident/${encodeURIComponent(i.group)}` }, "open"))))));
}

function talkers(d) {
  const top = d.incidents.find((i) => i.top?.length)?.top;
  return top && bars(top.slice(0, 10).map((t) => [t.address, t.entries]));
}

function steps(d) {
  if (!d.steps.length) return null;
  return h("table", {}, h("tbody", {}, d.steps.slice(-12).reverse().map((s) => h("tr", {},
    h("td", {}, clock(s.at)), h("td", { class: "n" }, s.to ? `${count(s.from)} → ${count(s.to)}` : count(s.from)), h("td", {}, s.result), h("td", { class: "muted" }, word(s.reason))))));
}

function sources(all) {
  return h("table", {}, h("thead", {}, h("tr", {}, ["Source", "State", "Records", "Matches", "Lost", "Lag"].map((c, i) => h("th", { scope: "col", class: i > 1 ? "n" : null }, c)))),
    h("tbody", {}, all.filter((s) => !s.unused).map((s) => h("tr", {},
      h("td", {}, s.source, s.path && h("span", { class: "block muted mono" }, s.path)),
      h("td", {}, s.up && !s.problem ? h("span", { class: "tag ok" }, s.caught_up ? "read" : "catching up") : h("span", { class: "tag critical" }, s.fault || "down"),
        s.problem && h("span", { class: "block muted" }, s.problem + (s.remedy ? ". " + s.remedy : ""))),
      h("td", { class: "n" }, count(s.records)), h("td", { class: "n" }, count(s.matches)),
      h("td", { class: "n" + (s.lost ? " bad" : "") }, count(s.lost)), h("td", { class: "n" }, s.lag_seconds < 1 ? "none" : span(s.lag_seconds))))));
}

function namespaces(s) {
  return h("table", {}, h("caption", {}, s.netns_total > s.netns.length ? `The busiest ${s.netns.length} of ${count(s.netns_total)}` : many(s.netns.length, "namespace")),
    h("thead", {}, h("tr", {}, ["Namespace", "Entries", "Peak", "Refused", "New a second"].map((c, i) => h("th", { scope: "col", class: i ? "n" : null }, c)))),
    h("tbody", {}, s.netns.slice(0, 20).map((n) => h("tr", {},
      h("td", { class: "mono" }, n.name || n.inode), h("td", { class: "n" }, count(n.count)), h("td", { class: "n" }, count(n.peak)),
      h("td", { class: "n" }, n.blind ? "–" : count((n.counters?.drop ?? 0) + (n.counters?.early_drop ?? 0))), h("td", { class: "n" }, count(n.insert_rate))))));
}

function delivery(s) {
  const words = [s.nats?.connected ? "connected to NATS" : s.nats?.configured ? `not connected: ${s.nats.error ?? s.nats.problem ?? ""}` : "no NATS configured",
    `${many(s.outbox.events, "event")} waiting`];
  if (s.outbox.dropped) words.push(`${count(s.outbox.dropped)} dropped`);
  if (s.state && !s.state.saved) words.push(`state not saved: ${s.state.problem}`);
  return h("p", {}, words.join("  ·  "));
}
