// The page's frame: which view is shown, the keys, the theme, who is logged in.
import { current } from "./colours.js";
import { help, loadSession, login, logout } from "./dialogs.js";
import { text } from "./dom.js";
import { fleetView } from "./fleetview.js";
import { count } from "./format.js";
import { incidentsView, incidentView } from "./incidentviews.js";
import { follow, incidents } from "./live.js";
import { on, state } from "./state.js";

const root = document.getElementById("main");
let view = null, path = "", shownTitle = "";

const views = [
  [/^\/$/, "fleet", "Fleet", async () => fleetView],
  [/^\/incidents$/, "incidents", "Incidents", async () => incidentsView],
  [/^\/incident\/([^/]+)$/, "incidents", "Incident", async () => incidentView, ["id"]],
  [/^\/host\/([^/]+)\/([^/]+)$/, "fleet", "Host", async () => (await import("./hostview.js")).hostView, ["site", "host"]],
  [/^\/hub$/, "hub", "Hub", async () => (await import("./hubview.js")).hubView],
];

/** go shows another view, as a link does. */
function go(to) {
  history.pushState(null, "", to);
  render();
  scrollTo(0, 0);
  root.focus({ preventScroll: true });
}

/** pathOfLink takes what a page to on-call links to, behind a #, for the address that it means. */
function pathOfLink() {
  if (location.hash.startsWith("#/")) history.replaceState(null, "", location.hash.slice(1));
}

async function render() {
  pathOfLink();
  const asked = location.pathname;
  path = asked;
  for (const [pattern, name, title, load, names = []] of views) {
    const match = pattern.exec(asked);
    if (!match) continue;
    const params = Object.fromEntries(names.map((n, i) => [n, decodeURIComponent(match[i + 1])]));
    const make = await load();
    if (path !== asked) return; // another link was followed meanwhile
    view?.close();
    view = make(root, { ...params, go });
    shownTitle = params.host ?? title;
    entitle();
    document.querySelectorAll("nav a").forEach((a) => {
      if (a.dataset.view === name) a.setAttribute("aria-current", "page");
      else a.removeAttribute("aria-current");
    });
    return;
  }
}

function follows(e) {
  const link = e.target.closest?.("a[href^='/']");
  if (!link || e.defaultPrevented || e.button || e.ctrlKey || e.metaKey || e.shiftKey || e.altKey || link.target) return;
  if (!views.some(([pattern]) => pattern.test(new URL(link.href).pathname))) return;
  e.preventDefault();
  go(link.getAttribute("href"));
}

let before = "";
function key(e) {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName);
  if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]")) return;
  if (typing) {
    if (e.key === "Escape" && e.target.id === "search") {
      e.preventDefault(); // browsers would take the text away
      e.target.blur();
    }
    return;
  }
  const two = before + e.key;
  before = e.key === "g" ? "g" : "";
  if (two === "gf") go("/");
  else if (two === "gi") go("/incidents");
  else if (two === "gh") go("/hub");
  else if (e.key === "?") help();
  else if (e.key === "/") {
    if (!view?.focusSearch) go("/");
    requestAnimationFrame(() => view?.focusSearch?.());
  } else if (e.key === "t") view?.toggleTable?.();
  else return;
  e.preventDefault();
}

/** entitle has the number of open incidents in the tab's title. */
function entitle() {
  const { open } = state.incidents;
  document.title = `${open ? `(${count(open)}) ` : ""}${shownTitle} · ctwarden`;
}

/** theme goes from the system's to the other one and back. */
function theme() {
  const next = current() === "dark" ? "light" : "dark";
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  if (next === system) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    if (next === system) localStorage.removeItem("theme");
    else localStorage.setItem("theme", next);
  } catch { /* for this page only, then */ }
  dispatchEvent(new Event("themechange"));
}

function session() {
  const { user, by, login: possible } = state.session;
  const button = document.getElementById("user");
  button.classList.toggle("unseen", !user && !possible);
  text(button, user || "Log in");
  button.title = user ? (by === "proxy" ? "Named by the proxy" : "Log out") : "To acknowledge, silence or hold";
  button.disabled = by === "proxy";
}

function badge(id, n, kind) {
  const element = document.getElementById(id);
  text(element, n ? count(n) : "");
  element.className = "badge " + kind;
}

function live() {
  const element = document.getElementById("live");
  element.dataset.state = state.live;
  text(element, { live: "live", wait: "connecting", lost: "reconnecting" }[state.live]);
}

function status() {
  const s = state.status;
  const alarm = document.getElementById("alarm");
  const words = !s ? "" : s.problem || (!s.connected ? "The hub does not reach NATS: what is shown is not of now." : !s.leader ? "No hub leads at the moment: nobody is paged." : "");
  alarm.hidden = !words;
  text(alarm, words);
  badge("dead-count", s?.dead_letters ?? 0, "critical");
}

document.addEventListener("click", follows);
document.addEventListener("keydown", key);
addEventListener("popstate", render); // also where what is behind the # was changed
document.getElementById("theme").addEventListener("click", theme);
document.getElementById("help").addEventListener("click", help);
document.getElementById("user").addEventListener("click", () => (state.session.user ? logout() : login()));
on("session", session);
on("live", live);
on("status", status);
on("incidents", entitle);
on("incidents", () => badge("open-count", state.incidents.open, state.incidents.incidents.some((i) => !i.closed_at && i.severity === "critical") ? "critical" : "warning"));
render();
incidents();
follow();
loadSession();
