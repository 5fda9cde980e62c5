// The list of incidents, and one of them with its timeline.
import { get, post } from "./api.js";
import { acting, silenceDialog } from "./dialogs.js";
import { clock, h, span, time, toast } from "./dom.js";
import { count, hostPath, many, word } from "./format.js";
import { on, state } from "./state.js";

const causes = {
  full: "refuse connections", filling: "are filling up", chains: "refuse on long hash chains", silent: "fell silent",
  budget: "The fleet's steps of the hour are used up",
};

/** title says what an incident is about in a line. */
export function title(i) {
  if (i.kind === "budget") return causes.budget;
  const one = i.hosts === 1;
  const what = { ...causes, ...(one ? { full: "refuses connections", filling: "is filling up", chains: "refuses on long hash chains" } : {}) }[i.cause] ?? word(i.cause);
  const sites = Object.keys(i.sites);
  const who = one ? nameOf(i.sample[0]) || "One host" : many(i.hosts, "host");
  const where = Object.entries(i.by ?? {}).map(([k, v]) => (k === "site" ? `at ${v}` : `with ${k} ${v}`)).join(", ") ||
    (one ? "" : sites.length > 1 ? `at ${sites.length} sites` : `at ${sites[0] ?? ""}`);
  return `${who} ${one ? "" : where + " "}${what}${i.talker ? `, filled by ${i.talker}` : ""}`;
}

// Hosts are named "site/host" where an incident names them.
const nameOf = (sample) => sample?.slice(sample.indexOf("/") + 1);
const pathOf = (sample) => hostPath(sample.slice(0, sample.indexOf("/")), nameOf(sample));

export const isOpen = (i) => !i.closed_at && !i.historical;

function mark(i) {
  const kind = !isOpen(i) ? "closed" : i.kind === "silent" ? "silent" : i.severity;
  return h("span", { class: `sign ${kind}`, role: "img", "aria-label": kind });
}

/** incidentItem is an incident as a line of a list. */
export function incidentItem(i) {
  const refused = i.drops + i.early_drops;
  const facts = [];
  if (i.hosts > 1) facts.push(isOpen(i) ? `${count(i.open_hosts)} of ${many(i.hosts, "host")}` : many(i.hosts, "host"));
  if (refused) facts.push(`${count(refused)} refused`);
  if (!isOpen(i) && i.closed_at) facts.push(`lasted ${span((Date.parse(i.closed_at) - Date.parse(i.opened_at)) / 1000)}`);
  return h("a", { class: `incident ${isOpen(i) ? i.severity : "closed"}`, href: `/incident/${encodeURIComponent(i.id)}`, dataset: { id: i.id } },
    mark(i), h("span", { class: "what" }, title(i)),
    h("span", { class: "when muted" }, time(i.opened_at)),
    h("span", { class: "facts muted" }, facts.join("  ·  "), flagsOf(i)));
}

function flagsOf(i) {
  return [
    i.ack_by && h("span", { class: "tag ok" }, `${i.ack_by} is on it`), i.silenced && h("span", { class: "tag" }, "silenced"),
    i.escalated > 0 && isOpen(i) && h("span", { class: "tag warning" }, "escalated"), i.historical && h("span", { class: "tag" }, "found in old records"),
    i.unverified > 0 && h("span", { class: "tag" }, "not verified"),
  ].filter(Boolean);
}

/** incidentsView lists them, open ones first. */
export function incidentsView(root) {
  const open = h("div", { class: "list" }), closed = h("div", { class: "list" });
  const draw = () => {
    const all = state.incidents.incidents;
    const [now, over] = [all.filter(isOpen), all.filter((i) => !isOpen(i))];
    open.replaceChildren(...(now.length ? now.map(incidentItem) : [h("p", { class: "muted none" }, "No incident is open.")]));
    closed.replaceChildren(...(over.length ? over.map(incidentItem) : [h("p", { class: "muted none" }, "None in the last day.")]),
      ...(state.incidents.total > all.length ? [h("p", { class: "muted" }, `and ${count(state.incidents.total - all.length)} more, to be had from /api/v1/incidents`)] : []));
  };
  root.replaceChildren(h("div", { class: "page narrow" }, h("h1", {}, "Incidents"), h("section", { "aria-label": "Open" }, open),
    h("h2", {}, "Over"), h("section", { "aria-label": "Over" }, closed)));
  draw();
  return { close: on("incidents", draw) };
}

/** incidentView is one incident. */
export function incidentView(root, { id }) {
  let version = "", stopped = false;
  const load = async () => {
    try {
      const i = await get(`incidents/${encodeURIComponent(id)}`);
      const text = JSON.stringify([i, state.session]);
      if (stopped || text === version) return;
      version = text;
      root.replaceChildren(detail(i, load));
    } catch (error) {
      if (!version) root.replaceChildren(h("div", { class: "page narrow" }, h("h1", {}, "Incident"), h("p", {}, error.message)));
    }
  };
  load();
  const stops = [on("incidents", load), on("session", load)];
  return { close() { stopped = true; stops.forEach((s) => s()); } };
}

function detail(i, reload) {
  const did = steps(i);
  return h("div", { class: "page narrow" },
    h("header", { class: "head" }, h("h1", {}, mark(i), title(i)), actions(i, reload)),
    h("dl", { class: "facts-grid" },
      fact("State", !isOpen(i) ? ["over, ", time(i.closed_at)] : i.ack_by ? [`acknowledged by ${i.ack_by}, `, time(i.ack_at)] : "open, nobody has acknowledged it"),
      fact("Since", [clock(i.opened_at), " · ", time(i.opened_at)]),
      fact("Hosts", isOpen(i) ? `${count(i.open_hosts)} of ${count(i.hosts)} still` : count(i.hosts)),
      fact("Refused", count(i.drops)), fact("Thrown out", count(i.early_drops)),
      wide("ctwarden did", did), i.verdict && wide("Verdict", i.verdict), flagsOf(i).length > 0 && wide("Noted", flagsOf(i))),
    h("div", { class: "columns" },
      h("section", {}, h("h2", {}, "Timeline"), timeline(i.timeline)),
      h("div", {},
        section("Sites", Object.entries(i.sites).length > 0 && bars(Object.entries(i.sites).sort((a, b) => b[1] - a[1]).slice(0, 12))),
        section("Hosts, for example", i.sample.length > 0 && h("ul", { class: "plain" }, i.sample.map((s) => h("li", {}, h("a", { href: pathOf(s), class: "mono" }, s))))),
        section("Who fills the tables", i.top?.length > 0 && bars(i.top.slice(0, 10).map((t) => [t.address, t.entries]))),
        section("Messages", i.pages.length > 0 && pages(i.pages)))));
}

const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
const wide = (name, value) => h("div", { class: "wide" }, h("dt", {}, name), h("dd", {}, value));
const section = (name, content) => content && h("section", {}, h("h2", {}, name), content);

function steps(i) {
  const s = i.steps, parts = [];
  if (s.applied) parts.push(`raised the limit ${many(s.applied, "time")}`);
  if (s.effective) parts.push(`${count(s.effective)} helped`);
  if (s.ineffective) parts.push(`${count(s.ineffective)} did not help`);
  if (s.failed) parts.push(`${count(s.failed)} failed`);
  if (s.reverted) parts.push(`${count(s.reverted)} undone`);
  for (const [reason, n] of Object.entries(s.refused ?? {})) parts.push(`kept still on ${many(n, "incident")}: ${word(reason)}`);
  return parts.join(", ") || "nothing so far";
}

/** bars are names with numbers, and lines as long as these. */
export function bars(entries) {
  const most = Math.max(1, ...entries.map((e) => e[1]));
  return h("ul", { class: "bars" }, entries.map(([name, n]) => {
    const line = h("i", {});
    line.style.width = (100 * n) / most + "%";
    return h("li", {}, h("span", { class: "mono" }, name), h("b", {}, count(n)), line);
  }));
}

function timeline(entries) {
  if (!entries.length) return h("p", { class: "muted" }, "Nothing is recorded.");
  return h("ol", { class: "timeline" }, entries.map((e) => h("li", { class: e.key ? "key" : null },
    h("time", { datetime: e.at, title: new Date(e.at).toLocaleString() }, clock(e.at)),
    h("span", {}, e.text, e.host && [" ", h("a", { href: hostPath(e.site, e.host), class: "mono" }, e.host)]))));
}

function pages(all) {
  return h("table", {}, h("tbody", {}, all.map((p) => h("tr", {},
    h("td", {}, p.to), h("td", {}, p.action),
    h("td", {}, h("span", { class: `tag ${p.status === "delivered" ? "ok" : p.status === "dead" ? "critical" : ""}` }, p.status),
      p.err && h("span", { class: "muted block" }, p.err)),
    h("td", { class: "n" }, time(p.at && !p.at.startsWith("0001") ? p.at : p.due_at))))));
}

function actions(i, reload) {
  if (!isOpen(i)) return null;
  const acknowledge = async (e) => {
    const button = e.currentTarget;
    button.disabled = true;
    try {
      await acting(() => post(`incidents/${encodeURIComponent(i.id)}/acknowledge`));
      toast("Acknowledged");
    } catch (error) {
      if (error.message) toast(error.message, true);
    }
    button.disabled = false;
    reload();
  };
  return h("div", { class: "actions" },
    !i.ack_by && h("button", { type: "button", class: "main", id: "acknowledge", onclick: acknowledge }, "Acknowledge"),
    h("button", { type: "button", onclick: () => silenceDialog({ site: i.by?.site ?? Object.keys(i.sites)[0] ?? "", cause: i.cause }) }, "Silence…"));
}
