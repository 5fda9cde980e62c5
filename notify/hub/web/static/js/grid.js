// The grid: a canvas as large as what is seen of it, in a box that scrolls. There is one element, whatever the number of
// hosts.
import { h } from "./dom.js";
import { beside, cellAt, lay, spot } from "./layout.js";
import { paint } from "./paint.js";

const MARGIN = 12; // the box's padding at the left and right, as in app.css

export class Grid {
  /** onselect is called with the place of the host under the cursor or the keys, -1: none; onopen with one to open. */
  constructor({ fleet, onselect, onopen, siteText }) {
    Object.assign(this, { fleet, onselect, onopen, siteText });
    this.places = new Uint32Array(0);
    this.bySite = true;
    this.selected = -1; // index of a cell
    this.kept = -1; // its place, so that it stays selected where cells move
    this.canvas = h("canvas", {
      tabindex: "0", role: "application", "aria-roledescription": "grid of hosts", "aria-describedby": "grid-help grid-info",
      "aria-label": "Hosts, coloured by how full their table is",
    });
    this.spacer = h("div", { class: "spacer" });
    this.box = h("div", { class: "grid-box" }, this.canvas, this.spacer);
    this.listen();
  }

  listen() {
    this.observer = new ResizeObserver(() => this.arrange());
    this.observer.observe(this.box);
    this.box.addEventListener("scroll", () => this.request(), { passive: true });
    this.canvas.addEventListener("pointermove", (e) => e.pointerType === "mouse" && this.point(e));
    this.canvas.addEventListener("pointerleave", (e) => e.pointerType === "mouse" && document.activeElement !== this.canvas && this.choose(-1));
    this.canvas.addEventListener("click", (e) => this.click(e));
    this.canvas.addEventListener("keydown", (e) => this.key(e));
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.repaint = () => this.request();
    this.scheme.addEventListener("change", this.repaint);
    addEventListener("themechange", this.repaint);
  }

  close() {
    this.observer.disconnect();
    this.scheme.removeEventListener("change", this.repaint);
    removeEventListener("themechange", this.repaint);
    cancelAnimationFrame(this.frame);
  }

  /** show takes other hosts to show. */
  show(places, bySite) {
    this.places = places;
    this.bySite = bySite;
    this.arrange();
  }

  arrange() {
    const width = this.inner(), height = this.box.clientHeight;
    if (!width || !height) return;
    this.layout = lay(this.fleet, this.places, { width, height, bySite: this.bySite });
    this.spacer.style.height = Math.max(0, this.layout.height - height) + "px";
    this.canvas.style.width = width + "px";
    this.canvas.style.height = height + "px";
    if (this.kept >= 0) {
      this.selected = this.places.indexOf(this.kept);
      if (this.selected < 0) this.choose(-1);
    }
    this.request();
  }

  /** inner is the width within the box's padding. */
  inner() { return Math.max(0, this.box.clientWidth - 2 * MARGIN); }

  /** request has the grid painted before the next picture is shown, once. */
  request() {
    if (this.frame || !this.layout) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.box.isConnected) return;
      paint(this.canvas, this.layout, this.fleet, {
        scroll: this.box.scrollTop, width: this.inner(), height: this.box.clientHeight, ratio: devicePixelRatio,
        selected: this.selected, siteText: this.siteText,
      });
    });
  }

  cell(e) {
    const at = this.canvas.getBoundingClientRect();
    return cellAt(this.layout, e.clientX - at.left, e.clientY - at.top + this.box.scrollTop);
  }

  point(e) {
    if (this.layout) this.choose(this.cell(e));
  }

  click(e) {
    if (!this.layout) return;
    const cell = this.cell(e);
    if (cell < 0) return;
    // A finger chooses first, and opens with the second touch or by the line below: cells are smaller than it.
    if (e.pointerType === "mouse" || cell === this.selected) this.onopen(this.places[cell]);
    else this.choose(cell);
  }

  choose(cell) {
    if (cell === this.selected) return;
    this.selected = cell;
    this.kept = cell >= 0 ? this.places[cell] : -1;
    this.onselect(this.kept);
    this.request();
  }

  key(e) {
    if (!this.layout?.places.length || e.ctrlKey || e.metaKey || e.altKey) return;
    const last = this.places.length - 1, at = Math.max(0, this.selected);
    const screen = Math.max(1, Math.floor(this.box.clientHeight / this.layout.pitch) - 1);
    const to = {
      ArrowLeft: () => at - 1, ArrowRight: () => at + 1, ArrowUp: () => beside(this.layout, at, -1),
      ArrowDown: () => beside(this.layout, at, 1), Home: () => 0, End: () => last,
      PageUp: () => beside(this.layout, at, -screen), PageDown: () => beside(this.layout, at, screen),
    }[e.key];
    if (to) {
      this.choose(this.selected < 0 ? 0 : Math.min(last, Math.max(0, to())));
      this.reveal();
    } else if (e.key === "Enter" && this.selected >= 0) this.onopen(this.places[this.selected]);
    else if (e.key === "Escape") this.choose(-1);
    else return;
    e.preventDefault();
  }

  reveal() {
    if (this.selected < 0) return;
    const { y } = spot(this.layout, this.selected);
    const { scrollTop, clientHeight } = this.box;
    if (y < scrollTop + 8) this.box.scrollTop = Math.max(0, y - 30);
    else if (y + this.layout.pitch > scrollTop + clientHeight - 8) this.box.scrollTop = y + this.layout.pitch - clientHeight + 30;
  }
}
