// The list of incidents, and one of them with its timeline.
import { get, post } from "./api.js";
import { acting, silenceDialog } from "./dialogs.js";
import { clock, h, keep, span, sync, text, time, toast } from "./dom.js";
import { count, hostPath, many, word } from "./format.js";
import { on, state } from "./state.js";

// What hosts do by the cause: many, one, and when it is over.
const causes = {
  full: ["refuse connections", "refuses connections", "refused connections"],
  filling: ["are filling up", "is filling up", "filled up"],
  chains: ["refuse on long hash chains", "refuses on long hash chains", "refused on long hash chains"],
  silent: ["fell silent", "fell silent", "fell silent"],
};

/** title says what an incident is about in a line. */
export function title(i) {
  if (i.kind === "budget") return "The fleet's steps of the hour are used up";
  const one = i.hosts === 1;
  const what = causes[i.cause]?.[!isOpen(i) ? 2 : one ? 1 : 0] ?? word(i.cause);
  const sites = Object.keys(i.sites);
  const who = one ? i.sample[0] || "One host" : many(i.hosts, "host");
  const where = Object.entries(i.by ?? {}).map(([k, v]) => (k === "site" ? `at ${v}` : `with ${k} ${v}`)).join(", ") ||
    (one ? "" : sites.length > 1 ? `at ${sites.length} sites` : `at ${sites[0] ?? ""}`);
  return `${who} ${one ? "" : where + " "}${what}${i.talker ? `, filled by ${i.talker}` : ""}`;
}

/** pathOf leads to a host that an incident names, which says its site only where there is but one. */
function pathOf(i, host) {
  const sites = Object.keys(i.sites);
  return sites.length === 1 ? hostPath(sites[0], host) : "/?q=" + encodeURIComponent("host:" + host);
}

export const isOpen = (i) => !i.closed_at && !i.historical;

function mark(i) {
  const kind = !isOpen(i) ? "closed" : i.kind === "silent" ? "silent" : i.severity;
  return h("span", { class: `sign ${kind}`, role: "img", "aria-label": kind });
}

/** Items are incidents as lines of a list. A line stays the same element for as long as its incident is listed. */
export class Items {
  constructor(list, none) {
    Object.assign(this, { list, none, lines: new Map() });
  }

  /** show has the list show these, and after them what else is given. */
  show(incidents, ...rest) {
    const before = this.lines;
    this.lines = new Map();
    const elements = incidents.map((i) => {
      const line = before.get(i.id) ?? h("a", { href: `/incident/${encodeURIComponent(i.id)}`, dataset: { id: i.id } },
        h("span", {}), h("span", { class: "what" }), h("span", { class: "when muted" }, time(i.opened_at)), h("span", { class: "facts muted" }));
      this.lines.set(i.id, line);
      draw(line, i);
      return line;
    });
    sync(this.list, [...(elements.length ? elements : [h("p", { class: "muted none" }, this.none())]), ...rest]);
  }
}

function draw(line, i) {
  const [sign, what, , facts] = line.children;
  line.className = `incident ${isOpen(i) ? i.severity : "closed"}`;
  keep(sign, [isOpen(i), i.kind, i.severity], () => mark(i));
  text(what, title(i));
  const refused = i.drops + i.early_drops, words = [];
  if (i.hosts > 1) words.push(isOpen(i) ? `${count(i.open_hosts)} of ${many(i.hosts, "host")}` : many(i.hosts, "host"));
  if (refused) words.push(`${count(refused)} refused`);
  if (!isOpen(i) && i.closed_at) words.push(`lasted ${span((Date.parse(i.closed_at) - Date.parse(i.opened_at)) / 1000)}`);
  keep(facts, [words, i.ack_by, i.silenced, i.escalated, i.historical, i.unverified], () => [words.length > 0 && h("span", {}, words.join("  ·  ")), flagsOf(i)]);
}

function flagsOf(i) {
  return [
    i.ack_by && h("span", { class: "tag ok" }, isOpen(i) ? `${i.ack_by} is on it` : `${i.ack_by} took it`), i.silenced && h("span", { class: "tag" }, "silenced"),
    i.escalated > 0 && isOpen(i) && h("span", { class: "tag warning" }, "escalated"), i.historical && h("span", { class: "tag" }, "found in old records"),
    i.unverified > 0 && h("span", { class: "tag" }, "not verified"),
  ].filter(Boolean);
}

/** incidentsView lists them, open ones first. */
export function incidentsView(root) {
  const lists = [h("div", { class: "list" }), h("div", { class: "list" })];
  const loading = (none) => () => (state.incidents.loaded ? none : "Loading…");
  const open = new Items(lists[0], loading("No incident is open.")), over = new Items(lists[1], loading("None in the last day."));
  const show = () => {
    const all = state.incidents.incidents, more = state.incidents.total - all.length;
    open.show(all.filter(isOpen));
    over.show(all.filter((i) => !isOpen(i)), ...(more > 0 ? [h("p", { class: "muted none" }, `and ${count(more)} more, to be had from /api/v1/incidents`)] : []));
  };
  root.replaceChildren(h("div", { class: "page narrow" }, h("h1", {}, "Incidents"), h("section", { "aria-label": "Open" }, lists[0]),
    h("h2", {}, "Over"), h("section", { "aria-label": "Over" }, lists[1])));
  show();
  return { close: on("incidents", show) };
}

const between = 1000; // the least time between two loads of one incident, in milliseconds

/** incidentView is one incident. */
export function incidentView(root, { id }) {
  const heading = h("h1", {}, "Incident"), buttons = h("div", { class: "actions" });
  const body = h("div", { class: "stack" });
  root.replaceChildren(h("div", { class: "page narrow" }, h("header", { class: "head" }, heading, buttons), body));
  let stopped = false, timer = 0, last = 0;
  const load = async () => {
    timer = 0;
    last = Date.now();
    try {
      const i = await get(`incidents/${encodeURIComponent(id)}`);
      if (stopped) return;
      keep(heading, [title(i), isOpen(i), i.severity], () => [mark(i), title(i)]);
      keep(buttons, [isOpen(i), i.ack_by, i.by], () => actions(i, load));
      keep(body, i, () => detail(i));
    } catch (error) {
      if (!body.childElementCount) body.replaceChildren(h("p", {}, error.message));
    }
  };
  const later = () => { timer ||= setTimeout(load, Math.max(0, last + between - Date.now())); };
  load();
  const stop = on("incidents", later);
  return { close() { stopped = true; clearTimeout(timer); stop(); } };
}

function detail(i) {
  return [
    h("dl", { class: "facts-grid" },
      !isOpen(i) ? fact("State", "over", i.closed_at ? [time(i.closed_at), i.ack_by ? `, acknowledged by ${i.ack_by}` : ""] : "found in old records") :
        i.ack_by ? fact("State", `acknowledged by ${i.ack_by}`, time(i.ack_at)) : fact("State", "open", "not acknowledged"),
      fact("Since", clock(i.opened_at), time(i.opened_at)),
      fact("Hosts", isOpen(i) ? `${count(i.open_hosts)} of ${count(i.hosts)}` : count(i.hosts), isOpen(i) ? "still concerned" : ""),
      fact("Refused", count(i.drops)), fact("Thrown out", count(i.early_drops)),
      wide("ctwarden did", steps(i)), i.verdict && wide("Verdict", i.verdict), flagsOf(i).length > 0 && wide("Noted", flagsOf(i))),
    h("div", { class: "columns" },
      h("section", {}, h("h2", {}, "Timeline"), timeline(i.timeline)),
      h("div", {},
        section("Sites", Object.entries(i.sites).length > 0 && bars(Object.entries(i.sites).sort((a, b) => b[1] - a[1]).slice(0, 12))),
        section("Hosts, for example", i.sample.length > 0 && h("ul", { class: "plain" }, i.sample.map((s) => h("li", {}, h("a", { href: pathOf(i, s), class: "mono" }, s))))),
        section("Who fills the tables", i.top?.length > 0 && bars(i.top.slice(0, 10).map((t) => [t.address, t.entries]))),
        section("Messages", i.pages.length > 0 && pages(i.pages)))),
  ];
}

const fact = (name, value, note) => h("div", {}, h("dt", {}, name), h("dd", {}, value, note && h("small", {}, note)));
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
    h("span", {}, linked(e)))));
}

/** linked is an entry's text, in which the host that it is about leads to its page. */
function linked(e) {
  if (!e.host) return e.text;
  const link = h("a", { href: hostPath(e.site, e.host) }, e.host);
  const at = e.text.indexOf(e.host);
  return at < 0 ? [e.text, " ", link] : [e.text.slice(0, at), link, e.text.slice(at + e.host.length)];
}

function pages(all) {
  return h("table", {}, h("tbody", {}, all.map((p) => h("tr", {},
    h("td", {}, p.to), h("td", {}, p.action),
    h("td", {}, h("span", { class: `tag ${p.status === "delivered" ? "ok" : p.status === "dead" ? "critical" : ""}` }, p.status),
      p.err && h("span", { class: "muted block" }, p.err)),
    h("td", { class: "n" }, time(p.at && !p.at.startsWith("0001") ? p.at : p.due_at))))));
}

/** filterOf finds the incident's hosts in the fleet. */
function filterOf(i) {
  const by = Object.entries(i.by ?? {}).map(([k, v]) => (k === "site" ? `site:${v}` : `${k}=${v}`));
  return [...by, i.kind === "silent" ? "silent" : "incident"].join(" ");
}

function actions(i, reload) {
  if (!isOpen(i)) return [];
  const act = (verb, done) => async (e) => {
    const button = e.currentTarget;
    button.disabled = true;
    try {
      await acting(() => post(`incidents/${encodeURIComponent(i.id)}/${verb}`));
      toast(done);
    } catch (error) {
      if (error.message) toast(error.message, true);
    }
    button.disabled = false;
    reload();
  };
  return [
    !i.ack_by && h("button", { type: "button", class: "main", id: "acknowledge", onclick: act("acknowledge", "Acknowledged") }, "Acknowledge"),
    h("a", { class: "button", href: "/?q=" + encodeURIComponent(filterOf(i)) }, "Show in the fleet"),
    h("button", { type: "button", onclick: () => silenceDialog({ site: i.by?.site ?? Object.keys(i.sites)[0] ?? "", cause: i.cause }) }, "Silence…"),
    h("button", { type: "button", id: "resolve", title: "For an incident whose end its hosts will never tell", onclick: act("resolve", "Resolved") }, "Resolve"),
  ];
}
