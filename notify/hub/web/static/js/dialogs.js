// Dialogs: login, silence, hold, help.
import { get, post, Refused, remove } from "./api.js";
import { h, toast } from "./dom.js";
import { state, tell } from "./state.js";

/** show opens a dialog and gives what it was closed with; "" where it was left. */
function show(dialog) {
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => {
    dialog.remove();
    done(dialog.returnValue);
  }, { once: true }));
}

/** form is a dialog with fields; submit is called with their values, and keeps it open by throwing. */
function form(title, fields, submit, label) {
  const problem = h("p", { class: "problem", role: "alert" });
  const button = h("button", { type: "submit", class: "main" }, label);
  const dialog = h("dialog", { "aria-label": title });
  dialog.append(h("form", {
    method: "dialog",
    onsubmit: async (e) => {
      e.preventDefault();
      button.disabled = true;
      problem.textContent = "";
      try {
        await submit(Object.fromEntries(new FormData(e.target)));
        dialog.close("done");
      } catch (error) {
        problem.textContent = error.message;
      }
      button.disabled = false;
    },
  }, h("h2", {}, title), fields, problem,
    h("div", { class: "actions" }, button, h("button", { type: "button", onclick: () => dialog.close("") }, "Cancel"))));
  return dialog;
}

const field = (label, attributes) => h("label", { class: "field" }, h("span", {}, label), h("input", attributes));

export async function loadSession() {
  try {
    state.session = await get("session");
  } catch { /* read-only until it is known */ }
  tell("session");
}

/** login asks who it is, and tells whether that is known then. */
export async function login() {
  const done = await show(form("Log in", [
    field("User", { name: "user", autocomplete: "username", required: true, autofocus: true, maxlength: "128" }),
    field("Password", { name: "password", type: "password", autocomplete: "current-password", required: true, maxlength: "72" }),
  ], async (values) => { state.session = await post("session", values); }, "Log in"));
  tell("session");
  return done === "done";
}

export async function logout() {
  try {
    state.session = await remove("session");
  } catch (error) {
    toast(error.message, true);
  }
  tell("session");
}

/** acting does something that needs a user, and asks for one where there is none. */
export async function acting(what) {
  if (!state.session.user) {
    if (!state.session.login) throw new Refused("This page is for reading only: the hub's configuration has neither users nor a trusted header.", 403);
    if (!(await login())) throw new Refused("", 401);
  }
  try {
    return await what();
  } catch (error) {
    if (error.code !== 401) throw error;
    state.session = { ...state.session, user: "" }; // it is over
    if (!(await login())) throw new Refused("", 401);
    return what();
  }
}

const spans = [["30 minutes", 1800], ["2 hours", 7200], ["8 hours", 28800], ["a day", 86400], ["a week", 604800]];
const duration = (label, more = []) => h("label", { class: "field" }, h("span", {}, label),
  h("select", { name: "seconds" }, [...spans, ...more].map(([name, s]) => h("option", { value: s, selected: s === 7200 }, name))));

/** silenceDialog keeps what matches from paging. */
export function silenceDialog({ site = "", cause = "", host = "" }) {
  return show(form("Silence", [
    h("p", { class: "muted" }, "Matching incidents are shown and page nobody. What is still open when the silence ends pages then. Alertmanager goes on to be told of what it has, so that it does not take it for over; silence it there too."),
    field("Site", { name: "site", value: site, placeholder: "any" }), field("Hosts", { name: "host", value: host, placeholder: "any, or a pattern such as gw-*" }),
    field("Cause", { name: "cause", value: cause, placeholder: "any: full, filling, chains, silent" }), duration("For"),
    field("Comment", { name: "comment", placeholder: "why", maxlength: "500" }),
  ], async (v) => {
    await acting(() => post("silences", { site: v.site, host: v.host, cause: v.cause, seconds: Number(v.seconds), comment: v.comment }));
    toast("Silenced");
  }, "Silence"));
}

/** holdDialog stops automatic steps. */
export function holdDialog({ site = "", host = "" }) {
  const whom = host ? `${site} / ${host}` : site ? `all hosts at ${site}` : "all hosts";
  return show(form(`Hold ${whom}`, [
    h("p", { class: "muted" }, "Held hosts watch, explain and page as before, and raise no limit by themselves. A host's own hold stays apart."),
    !host && field("Site", { name: "site", value: site, placeholder: "all sites" }), duration("For", [["until released", 0]]),
    field("Why", { name: "why", required: true, maxlength: "500" }),
  ], async (v) => {
    const at = host ? site : v.site;
    const result = await acting(() => post("hold", { site: at, host, all: !at, seconds: Number(v.seconds), why: v.why }));
    toast(result.text || "Held");
  }, "Hold"));
}

/** unhold releases one; budget: the hub's own. */
export async function unhold({ site = "", host = "", budget = false }) {
  try {
    const result = await acting(() => post("unhold", { site, host, all: !site && !budget, budget }));
    toast(result.text || "Released");
  } catch (error) {
    if (error.message) toast(error.message, true);
  }
}

/** help lists keys and filters. */
export function help() {
  const keys = [["/", "filter"], ["← ↑ ↓ →", "move in the grid"], ["Enter", "open the host"], ["t", "grid or table"], ["g then f, i, h", "fleet, incidents, hub"],
    ["Esc", "leave"], ["?", "this help"]];
  const filters = [["web", "part of the name"], ["site:gva", "the site; * stands for anything"], ["rack=r12", "the label; label:rack any value"],
    [">80%  <10%", "how full"], ["incident  critical  warning", "with an open incident"], ["silent  stopped  held", "the state"],
    ["remediate  observe", "the mode"], ["version:1.4", "the agent's version"], ["-site:gva", "not that"]];
  const list = (rows) => h("dl", { class: "keys" }, rows.map(([k, what]) => [h("dt", {}, h("kbd", {}, k)), h("dd", {}, what)]));
  const dialog = h("dialog", { "aria-label": "Help" });
  dialog.append(h("form", { method: "dialog" }, h("h2", {}, "Keys"), list(keys), h("h2", {}, "Filters"),
    h("p", { class: "muted" }, "Words are put together; all must hold."), list(filters),
    h("h2", {}, "Signs"), h("p", { class: "signs" }, h("span", {}, h("i", { class: "sign critical" }), " refusing"), h("span", {}, h("i", { class: "sign warning" }), " filling"),
      h("span", {}, h("i", { class: "sign silent" }), " silent"), h("span", {}, h("i", { class: "sign stopped" }), " stopped")),
    h("div", { class: "actions" }, h("button", { value: "done", autofocus: true }, "Close"))));
  return show(dialog);
}
