// The hub itself: who leads, what waits, what was ordered, what could not be delivered.
import { acting, holdDialog, silenceDialog, unhold } from "./dialogs.js";
import { get, remove } from "./api.js";
import { clock, h, keep, span, time, toast } from "./dom.js";
import { count } from "./format.js";
import { on } from "./state.js";

const again = 3000; // how often the status is asked for, in milliseconds

export function hubView(root) {
  const page = h("div", { class: "page" }, h("h1", {}, "Hub"));
  const frame = [h("header", { class: "head" }), h("dl", { class: "facts-grid" }), h("p", { class: "muted" }),
    ...["Not delivered", "Senders", "Holds", "Silences"].map((name) => h("section", { "aria-label": name }, h("h2", {}, name), h("div", {})))];
  root.replaceChildren(page);
  let stopped = false, before = "";
  const load = async () => {
    if (stopped || document.hidden) return;
    try {
      const s = await get("status");
      const text = JSON.stringify(s);
      if (stopped || text === before) return;
      before = text;
      if (!page.querySelector("section")) page.replaceChildren(...frame);
      fill(frame, s, load);
    } catch (error) {
      if (!before) page.replaceChildren(h("h1", {}, "Hub"), h("p", {}, error.message));
    }
  };
  load();
  const timer = setInterval(load, again);
  const stops = [on("status", load), on("session", load)];
  return { close() { stopped = true; clearInterval(timer); stops.forEach((s) => s()); } };
}

const fact = (name, value, note) => h("div", {}, h("dt", {}, name), h("dd", {}, value, note && h("small", {}, note)));
const none = (text) => h("p", { class: "muted" }, text);
const zero = (at) => !at || at.startsWith("0001");

/** fill shows the status in the page's parts, each of which is left alone where it would be the same. */
function fill([head, facts, rollout, ...sections], s, reload) {
  keep(head, 0, () => [h("h1", {}, "Hub"), h("div", { class: "actions" },
    h("button", { type: "button", onclick: async () => { await holdDialog({}); reload(); } }, "Hold…"),
    h("button", { type: "button", onclick: async () => { await silenceDialog({}); reload(); } }, "Silence…"))]);
  facts.replaceChildren(
    fact("Leads", s.leader || "nobody", s.leading ? "this hub" : `this hub is ${s.hub}, standing by`),
    fact("NATS", s.connected ? "connected" : "not reached", zero(s.since) ? "" : ["since ", clock(s.since)]),
    fact("Events", count(s.events), "taken here"), fact("Waiting", count(s.pending), s.lag_ns > 1e9 ? `for ${span(s.lag_ns / 1e9)}` : "in the stream"),
    fact("Steps this hour", count(s.budget.used), s.budget.per_hour ? `of ${count(s.budget.per_hour)}${s.budget.spent ? ", the fleet is held" : ""}` : "without a bound"),
    fact("Rollout", s.rollout.matchers.length ? `${count(s.rollout.remediating)} of ${count(s.rollout.hosts)}` : "off",
      s.rollout.matchers.length ? `remediate; ${count(s.rollout.unwilling)} have not opted in` : "each host decides its mode"),
    fact("Version", s.version));
  rollout.hidden = !s.rollout.matchers.length;
  keep(rollout, s.rollout.matchers, () => [h("span", {}, "Rolled out to: "), h("span", { class: "mono" }, s.rollout.matchers.join("; "))]);
  [[s.dead_letters, dead], [s.senders, senders], [s.holds, (all) => holds(all, reload)], [s.silences, (all) => silences(all, reload)]]
    .forEach(([all, make], i) => keep(sections[i].lastChild, all, () => make(all)));
}

function table(columns, rows) {
  return h("div", { class: "wide-box" }, h("table", {}, h("thead", {}, h("tr", {}, columns.map((c) => h("th", { scope: "col", class: c.startsWith("#") ? "n" : null }, c.replace("#", ""))))),
    h("tbody", {}, rows)));
}

function senders(all) {
  if (!all.length) return none("No sender is configured: nobody is paged.");
  return table(["Name", "Kind", "#Waiting", "#Delivered", "#Retried", "#Given up", "Last attempt"], all.map((x) => h("tr", {},
    h("th", { scope: "row" }, x.name), h("td", {}, x.kind), h("td", { class: "n" }, count(x.waiting)), h("td", { class: "n" }, count(x.delivered)),
    h("td", { class: "n" }, count(x.retried)), h("td", { class: "n" + (x.dead ? " bad" : "") }, count(x.dead)),
    h("td", {}, zero(x.at) ? none("none yet") : [x.error ? h("span", { class: "tag critical" }, "failed") : h("span", { class: "tag ok" }, "delivered"), " ", time(x.at)],
      x.error && h("span", { class: "block muted" }, x.error)))));
}

function dead(all) {
  if (!all.length) return none("Everything was delivered, or is still being tried.");
  return table(["When", "Sender", "Message", "#Attempts", "Why"], all.map((x) => h("tr", {},
    h("td", {}, time(x.at)), h("td", {}, x.sender), h("td", {}, x.incident ? h("a", { href: `/incident/${encodeURIComponent(x.incident)}` }, x.title) : x.title, " ", h("span", { class: "tag" }, x.action)),
    h("td", { class: "n" }, count(x.attempts)), h("td", {}, x.error))));
}

const whom = (x) => (x.host ? `${x.site} / ${x.host}` : x.site ? `all at ${x.site}` : "all hosts");
const until = (at) => (zero(at) ? "until released" : [clock(at)]);

function holds(all, reload) {
  if (!all.length) return none("No host is held by the fleet.");
  return table(["Whom", "Until", "By", "Why", "#Hold", "#Refused", "#No answer", ""], all.map((x) => h("tr", {},
    h("th", { scope: "row" }, whom(x)), h("td", {}, until(x.until)), h("td", {}, x.by), h("td", {}, x.why), h("td", { class: "n" }, count(x.done)),
    h("td", { class: "n" + (x.refused ? " bad" : "") }, count(x.refused)), h("td", { class: "n" }, count(x.missing)),
    h("td", {}, h("button", { type: "button", onclick: async () => { await unhold(x); reload(); } }, "Release")))));
}

function silences(all, reload) {
  if (!all.length) return none("Nothing is silenced.");
  const end = async (id) => {
    try {
      await acting(() => remove(`silences/${encodeURIComponent(id)}`));
      toast("Ended");
    } catch (error) {
      if (error.message) toast(error.message, true);
    }
    reload();
  };
  const what = (x) => [x.site && `site ${x.site}`, x.host && `hosts ${x.host}`, x.cause && `cause ${x.cause}`,
    ...Object.entries(x.labels ?? {}).map(([k, v]) => `${k}=${v}`)].filter(Boolean).join(", ");
  return table(["What", "Until", "By", "Comment", ""], all.map((x) => h("tr", {},
    h("th", { scope: "row" }, what(x)), h("td", {}, until(x.until)), h("td", {}, x.by), h("td", {}, x.comment ?? ""),
    h("td", {}, h("button", { type: "button", onclick: () => end(x.id) }, "End")))));
}
