// The fleet: its figures, the filter, the grid or the table, and the incidents beside it.
import { CRITICAL, HELD, REMEDIATE, SILENT, STOPPED, WARNING } from "./columns.js";
import { palette } from "./colours.js";
import { ago, h, text } from "./dom.js";
import { byFill, parse, select } from "./filter.js";
import { count, hostPath, many, percent, short } from "./format.js";
import { Grid } from "./grid.js";
import { isOpen, Items } from "./incidentviews.js";
import { on, state } from "./state.js";

const tableRows = 200;
const touch = matchMedia("(pointer: coarse)");
const figures = [
  ["hosts", "Hosts", ""], ["critical", "Refusing", "critical"], ["warning", "Filling", "warning"], ["silent", "Silent", "silent"],
  ["over80", "Over 80\u202f%", ">80%"], ["held", "Held", "held"],
];
// What was chosen stays while other views are open.
const chosen = { filter: "", order: "site", table: false };

/** fleetView fills root, and returns how to leave it. */
export function fleetView(root, { go }) {
  const { fleet } = state;
  const view = { fleet, go, summary: fleet.summary(), places: new Uint32Array(0), filter: parse(""), sites: new Map() };
  chosen.filter = new URLSearchParams(location.search).get("q") ?? chosen.filter;
  build(view, root);
  refilter(view);
  const leave = [
    on("rows", (change) => rows(view, change)), on("incidents", () => incidents(view)),
  ];
  const ticks = setInterval(() => { info(view); if (chosen.table) table(view); if (chosen.order === "fill") refilter(view); }, 3000);
  incidents(view);
  return {
    focusSearch: () => { view.search.focus(); view.search.select(); },
    toggleTable: () => choose(view, { table: !chosen.table }),
    close() {
      leave.forEach((stop) => stop());
      clearInterval(ticks);
      view.grid.close();
    },
  };
}

function build(view, root) {
  view.figures = Object.fromEntries(figures.map(([key, label, filter]) => [key, figure(view, key, label, filter)]));
  view.search = h("input", {
    type: "search", id: "search", value: chosen.filter, placeholder: "Filter: site:gva  rack=r12  >80%  silent  name", autocomplete: "off",
    spellcheck: "false", autocapitalize: "off", "aria-label": "Filter hosts", "aria-keyshortcuts": "/", maxlength: "200",
    oninput: () => later(view),
  });
  view.shown = h("output", { class: "shown", for: "search" });
  view.orders = segments("Order", [["site", "By site"], ["fill", "Fullest"]], chosen.order, (order) => choose(view, { order }));
  view.kinds = segments("Show as", [["grid", "Grid"], ["table", "Table"]], chosen.table ? "table" : "grid",
    (kind) => choose(view, { table: kind === "table" }));
  view.legend = h("canvas", { class: "legend", role: "img", "aria-label": "Number of hosts by how full their table is" });
  view.grid = new Grid({
    fleet: view.fleet, onselect: (place) => { view.place = place; info(view); }, onopen: (place) => open(view, place),
    siteText: (block) => siteText(view, block),
  });
  view.info = h("p", { class: "info", id: "grid-info", "aria-live": "polite" });
  view.table = h("div", { class: "table-box", tabindex: "0", role: "region", "aria-label": "Hosts as a table", hidden: true });
  view.incidents = h("div", { class: "list" });
  view.items = new Items(view.incidents, () => (state.incidents.loaded ? "None. Nothing is being refused that ctwarden knows of." : "Loading…"));
  root.replaceChildren(h("div", { class: "fleet" },
    h("section", { class: "board", "aria-label": "Fleet" },
      h("div", { class: "figures" }, Object.values(view.figures).map((f) => f.element)),
      h("div", { class: "bar" }, h("label", { class: "search" }, view.search), view.shown, view.orders, view.kinds),
      view.grid.box, view.table,
      h("div", { class: "foot" }, view.info, view.legend),
      h("p", { class: "sr", id: "grid-help" }, "Arrow keys move from host to host, Enter opens one, t shows the hosts as a table.")),
    h("aside", { class: "side", "aria-label": "Incidents" }, h("h2", {}, h("a", { href: "/incidents" }, "Open incidents")), view.incidents)));
  shown(view);
  numbers(view);
}

function figure(view, key, label, filter) {
  const value = h("b", {}, "\u2007");
  const element = h("button", {
    type: "button", class: "figure", dataset: { key }, title: filter ? `Show these: ${filter}` : "Show all",
    onclick: () => { view.search.value = filter; chosen.filter = filter; refilter(view); remember(); },
  }, value, h("span", {}, label));
  return { element, value };
}

function segments(label, options, value, choose) {
  return h("div", { class: "segments", role: "radiogroup", "aria-label": label }, options.map(([key, name]) => h("button", {
    type: "button", role: "radio", "aria-checked": String(key === value), dataset: { key }, onclick: () => choose(key),
  }, name)));
}

function choose(view, what) {
  Object.assign(chosen, what);
  for (const [group, key] of [[view.orders, chosen.order], [view.kinds, chosen.table ? "table" : "grid"]]) {
    group.querySelectorAll("button").forEach((b) => b.setAttribute("aria-checked", String(b.dataset.key === key)));
  }
  shown(view);
  refilter(view);
}

function shown(view) {
  view.grid.box.hidden = chosen.table;
  view.table.hidden = !chosen.table;
}

/** later filters before the next picture, however many keys came until then. */
function later(view) {
  if (view.pending) return;
  view.pending = requestAnimationFrame(() => {
    view.pending = 0;
    chosen.filter = view.search.value;
    refilter(view);
    clearTimeout(view.remembering);
    view.remembering = setTimeout(remember, 400);
  });
}

function remember() {
  const q = chosen.filter ? "?q=" + encodeURIComponent(chosen.filter) : "/";
  if (location.pathname === "/") history.replaceState(history.state, "", q);
}

function rows(view, change) {
  view.summary = view.fleet.summary();
  numbers(view);
  // Places move only where the filter looks at what changed, or hosts came or went.
  if (change.fresh || change.named || view.filter.live || view.summary.hosts !== view.hosts) refilter(view);
  else { view.sites.clear(); view.grid.request(); }
  if (view.place >= 0) info(view);
}

function refilter(view) {
  view.filter = parse(chosen.filter);
  view.hosts = view.summary.hosts;
  view.sites.clear();
  let places = select(view.fleet, view.filter);
  if (chosen.order === "fill") places = byFill(view.fleet, places);
  view.places = places;
  view.shown.classList.toggle("all", !view.filter.terms.length);
  text(view.shown, view.filter.terms.length ? `${count(places.length)} of ${count(view.summary.hosts)}` : many(view.summary.hosts, "host"));
  if (chosen.table) table(view);
  else view.grid.show(places, chosen.order === "site");
  info(view);
}

function numbers(view) {
  for (const [key] of figures) {
    const n = view.summary[key];
    text(view.figures[key].value, key === "hosts" ? count(n) : n < 100000 ? count(n) : short(n));
    view.figures[key].element.classList.toggle("some", n > 0);
  }
  legend(view);
}

/** legend shows the scale of colours, and above it how many hosts there are of each. */
function legend(view) {
  const canvas = view.legend, width = 240, ratio = devicePixelRatio, base = 19;
  canvas.width = width * ratio;
  canvas.height = 38 * ratio;
  const context = canvas.getContext("2d");
  const colours = palette();
  const { bins } = view.summary;
  const most = Math.max(1, ...bins), step = width / bins.length;
  context.scale(ratio, ratio);
  for (let i = 0; i < bins.length; i++) {
    // By root: one full host among 100,000 is to be seen.
    const tall = bins[i] ? Math.max(1.5, 18 * Math.sqrt(bins[i] / most)) : 0;
    context.fillStyle = colours.silentText;
    context.globalAlpha = 0.45;
    context.fillRect(i * step, base - tall, step - 1, tall);
    context.globalAlpha = 1;
    context.fillStyle = colours.hexes[Math.round((i + 0.5) * (colours.hexes.length - 1) / bins.length)];
    context.fillRect(i * step, base + 1, step, 5);
  }
  context.fillStyle = colours.muted;
  context.font = "10px system-ui, sans-serif";
  for (const [share, label, align] of [[0, "empty", "left"], [0.8, "80\u202f%", "center"], [1, "full", "right"]]) {
    context.textAlign = align;
    context.fillText(label, share * width, 34);
  }
  canvas.setAttribute("aria-label", `${count(view.summary.over80)} hosts are over 80 percent full, of ${count(view.summary.hosts)}`);
}

function siteText(view, block) {
  let known = view.sites.get(block.site);
  if (!known) {
    let critical = 0, silent = 0;
    for (let i = block.from; i < block.from + block.count; i++) {
      const flags = view.fleet.flags[view.places[i]];
      if (flags & CRITICAL) critical++;
      if (flags & SILENT) silent++;
    }
    const rest = [many(block.count, "host")];
    if (critical) rest.push(`${count(critical)} refusing`);
    if (silent) rest.push(`${count(silent)} silent`);
    known = { name: view.fleet.sites[block.site], rest: rest.join("  ·  ") };
    view.sites.set(block.site, known);
  }
  return known;
}

/** describe says in words what is known of a host. */
function describe(fleet, p) {
  const flags = fleet.flags[p];
  const words = [fleet.max[p] ? `${percent(fleet.count[p], fleet.max[p])} full, ${count(fleet.count[p])} of ${count(fleet.max[p])}` : "no table seen"];
  if (flags & CRITICAL) words.push("refusing connections");
  else if (flags & WARNING) words.push("filling");
  if (flags & SILENT) words.push("silent");
  if (flags & STOPPED) words.push("agent stopped");
  if (flags & HELD) words.push("held");
  if (fleet.refused[p]) words.push(`${count(fleet.refused[p])} refused`);
  words.push(fleet.seen[p] ? `seen ${ago(fleet.seen[p] * 1000)}` : "never seen");
  return words.join("  ·  ");
}

function info(view) {
  const p = view.place ?? -1;
  if (p < 0) {
    if (view.described !== -1) view.info.replaceChildren(h("span", { class: "muted" }, view.places.length ? (touch.matches ? "Touch a host for its figures, again to open it" : "Point at a host, or move with the arrow keys") :
      view.fleet.length ? "No host matches this filter" : "No host has been seen yet"));
    view.described = view.places.length ? -1 : undefined;
    return;
  }
  if (view.described !== p) {
    view.described = p;
    view.details = h("span", { class: "muted" });
    const { fleet } = view;
    view.info.replaceChildren(h("a", { href: hostPath(fleet.sites[fleet.site[p]], fleet.hosts[p]), tabindex: "-1" },
      `${fleet.sites[fleet.site[p]]} / ${fleet.hosts[p]}`), " ", view.details);
  }
  text(view.details, describe(view.fleet, p));
}

function open(view, p) { view.go(hostPath(view.fleet.sites[view.fleet.site[p]], view.fleet.hosts[p])); }

/** table shows the first hosts that match, for readers who do not see the grid or want to select text. */
function table(view) {
  const { fleet, places } = view;
  const body = Array.from(places.subarray(0, tableRows), (p) => {
    const flags = fleet.flags[p];
    const site = fleet.sites[fleet.site[p]];
    return h("tr", {},
      h("th", { scope: "row" }, h("a", { href: hostPath(site, fleet.hosts[p]) }, fleet.hosts[p])), h("td", {}, site),
      h("td", { class: "n" }, percent(fleet.count[p], fleet.max[p])), h("td", { class: "n" }, count(fleet.count[p])),
      h("td", { class: "n" }, count(fleet.max[p])), h("td", { class: "n" }, count(fleet.refused[p])), h("td", {}, states(flags)),
      h("td", {}, flags & REMEDIATE ? "remediate" : "observe"),
      h("td", { class: "wide" }, (fleet.labels[fleet.labelSet[p]] ?? []).join(" ")),
      h("td", { class: "n" }, fleet.seen[p] ? ago(fleet.seen[p] * 1000) : "never"));
  });
  const columns = ["Host", "Site", "Full", "Entries", "Limit", "Refused", "State", "Mode", "Labels", "Seen"];
  const numeric = new Set(["Full", "Entries", "Limit", "Refused", "Seen"]);
  view.table.replaceChildren(h("table", {},
    h("caption", {}, places.length > tableRows ? `The first ${tableRows} of ${count(places.length)} hosts` : many(places.length, "host")),
    h("thead", {}, h("tr", {}, columns.map((c) => h("th", { scope: "col", class: numeric.has(c) ? "n" : c === "Labels" ? "wide" : null }, c)))),
    h("tbody", {}, body)));
}

function states(flags) {
  const words = [];
  if (flags & CRITICAL) words.push(h("span", { class: "tag critical" }, "refusing"));
  else if (flags & WARNING) words.push(h("span", { class: "tag warning" }, "filling"));
  if (flags & SILENT) words.push(h("span", { class: "tag silent" }, "silent"));
  if (flags & STOPPED) words.push(h("span", { class: "tag silent" }, "stopped"));
  if (flags & HELD) words.push(h("span", { class: "tag" }, "held"));
  return words;
}

function incidents(view) {
  const open = state.incidents.incidents.filter(isOpen).slice(0, 50);
  const more = state.incidents.open - open.length;
  view.items.show(open, ...(more > 0 ? [h("a", { href: "/incidents", class: "none" }, `and ${count(more)} more`)] : []));
}
