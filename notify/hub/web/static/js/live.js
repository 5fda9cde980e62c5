// Loading the fleet, and following its changes.
import { get } from "./api.js";
import { setSkew } from "./dom.js";
import { state, tell } from "./state.js";

let source = null, retry = 0, timer = 0, last = 0;

/** follow loads the fleet and keeps it up to date for as long as the page is open. */
export async function follow() {
  stop();
  try {
    const asked = window.fleetAsked; // by early.js, for the first time
    window.fleetAsked = null;
    const answer = await (asked ?? fetch("/api/v1/fleet", { cache: "no-store" }));
    if (!answer.ok) throw new Error(`the hub answered ${answer.status}`);
    const date = Date.parse(answer.headers.get("Date"));
    const change = state.fleet.apply(await answer.arrayBuffer());
    if (date) setSkew(date - Date.now());
    await new Promise((next) => setTimeout(next)); // reading and drawing are two tasks, so that keys are heard in between
    tell("rows", change);
    performance.mark("fleet-shown");
    open();
  } catch {
    again();
  }
}

/** incidents loads them before the fleet is there: on a phone they are what is looked for, and small. */
export async function incidents() {
  try {
    const list = await get("incidents?limit=200");
    if (state.incidents.loaded) return; // the changes were quicker
    state.incidents = { ...list, loaded: true };
    tell("incidents");
  } catch { /* they come with the changes */ }
}

function open() {
  const { epoch, revision } = state.fleet;
  source = new EventSource(`/api/v1/changes?epoch=${encodeURIComponent(epoch)}&since=${revision}`);
  last = Date.now();
  source.onopen = () => { last = Date.now(); };
  source.onerror = () => again(); // reconnecting by itself would ask for changes since long ago
  source.addEventListener("reload", () => again());
  source.addEventListener("beat", () => take(() => {}));
  source.addEventListener("rows", (e) => take(() => {
    const change = state.fleet.apply(decode(e.data));
    tell("rows", change);
  }));
  source.addEventListener("incidents", (e) => take(() => {
    state.incidents = { ...JSON.parse(e.data), loaded: true };
    tell("incidents");
  }));
  source.addEventListener("status", (e) => take(() => {
    state.status = JSON.parse(e.data);
    tell("status");
  }));
}

/** take applies a message; with the first one it is sure that this hub knows what the page has. */
function take(apply) {
  last = Date.now();
  retry = 0;
  say("live");
  try {
    apply();
  } catch (error) {
    console.warn("a change could not be read:", error.message);
    again();
  }
}

function decode(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64).buffer;
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes.buffer;
}

function stop() {
  clearTimeout(timer);
  source?.close();
  source = null;
}

/** again tries once more a little later, spread so that the pages of a whole team do not come at once. */
function again() {
  stop();
  say(state.fleet.length ? "lost" : "wait");
  const wait = Math.min(15000, 500 * 2 ** retry++) * (0.5 + Math.random());
  timer = setTimeout(resume, wait);
}

/** resume follows from where the page is, if the hub is the same still; it answers reload if not. */
async function resume() {
  if (!state.fleet.length || retry > 1) return follow();
  open();
}

function say(live) {
  if (state.live === live) return;
  state.live = live;
  tell("live");
}

// A browser has six connections to a hub, and each page that follows keeps one: a page that nobody looks at lets it go.
let hiding = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(stop, 20000);
  else if (!source) resume();
});

// The hub says something every ten seconds. A machine that slept has a connection that is dead without knowing it.
setInterval(() => {
  if (source && Date.now() - last > 30000) again();
}, 5000);
