// Plots over time, by uPlot. Their boxes have a fixed height, so that nothing moves when they are drawn.
import { current } from "./colours.js";
import { clock, h } from "./dom.js";
import { count, percent, short } from "./format.js";

let library = null; // loaded with the first plot

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Plots shows count and limit, and below them what was refused, with a line at each step. */
export class Plots {
  constructor() {
    this.upper = h("div", { class: "plot", role: "img", "aria-label": "Entries and limit over time" });
    this.lower = h("div", { class: "plot low", role: "img", "aria-label": "Refused over time" });
    this.reading = h("p", { class: "reading muted" }, "\u00a0");
    this.element = h("div", { class: "plots" }, this.reading, this.upper, h("p", { class: "caption muted" }, "Refused and thrown out"), this.lower);
    this.charts = [];
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.element);
    this.redraw = () => this.data && this.draw();
    addEventListener("themechange", this.redraw);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", this.redraw);
  }

  close() {
    this.observer.disconnect();
    removeEventListener("themechange", this.redraw);
    this.scheme.removeEventListener("change", this.redraw);
    this.charts.forEach((c) => c.destroy());
    this.charts = [];
  }

  async show(points, steps) {
    library ??= (await import("/assets/vendor/uplot/uPlot.esm.js")).default;
    this.steps = steps.filter((s) => s.result !== "refused");
    this.data = [points.map((p) => Date.parse(p.at) / 1000), points.map((p) => p.count), points.map((p) => p.max || null), points.map((p) => p.refused)];
    this.describe();
    const [t, n, max, refused] = this.data;
    if (this.charts.length && this.theme === current()) {
      this.charts[0].setData([t, n, max]);
      this.charts[1].setData([t, refused]);
    } else this.draw();
  }

  describe() {
    const [t, n, max, refused] = this.data;
    if (!t.length) return;
    const most = Math.max(...n), lost = refused.reduce((a, b) => a + b, 0);
    this.upper.setAttribute("aria-label", `Entries since ${clock(t[0] * 1000)}: now ${count(n.at(-1))} of ${count(max.at(-1))}, at most ${count(most)}`);
    this.lower.setAttribute("aria-label", `Refused since ${clock(t[0] * 1000)}: ${count(lost)}`);
    this.read(null);
  }

  draw() {
    this.charts.forEach((c) => c.destroy());
    this.theme = current();
    const [t, n, max, refused] = this.data;
    const axis = { stroke: css("--muted"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const time = { ...axis, values: (_, splits) => splits.map((s) => new Date(s * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", hour12: false })) };
    const shared = {
      width: this.element.clientWidth || 600, legend: { show: false }, padding: [14, 8, 0, 0],
      cursor: { sync: { key: "host" }, drag: { x: false, y: false }, points: { size: 6 }, y: false },
      hooks: { setCursor: [(u) => this.read(u.cursor.idx)] },
    };
    this.charts = [
      new library({
        ...shared, height: 240, axes: [{ ...time, size: 6, values: (_, splits) => splits.map(() => "") }, { ...axis, size: 58, values: (_, v) => v.map(short) }],
        scales: { y: { range: (_, low, high) => [0, Math.max(high, 1) * 1.08] } },
        hooks: { ...shared.hooks, draw: [(u) => this.mark(u)] },
        series: [{}, { stroke: css("--accent"), fill: css("--accent-soft"), width: 1.5, points: { show: false } },
          { stroke: css("--critical"), width: 1.25, dash: [5, 4], points: { show: false }, paths: library.paths.stepped({ align: 1 }) }],
      }, [t, n, max], this.upper),
      new library({
        ...shared, height: 104, padding: [8, 8, 0, 0], axes: [{ ...time, size: 26 }, { ...axis, size: 58, values: (_, v) => v.map(short), splits: (u) => [0, u.scales.y.max] }],
        scales: { y: { range: (_, low, high) => [0, Math.max(high, 10)] } },
        series: [{}, { stroke: css("--critical"), fill: css("--critical"), width: 0, paths: library.paths.bars({ size: [0.7, 12], align: 0 }), points: { show: false } }],
      }, [t, refused], this.lower),
    ];
  }

  /** mark draws a line at each step, with what it changed. */
  mark(u) {
    const { ctx, bbox } = u, ratio = devicePixelRatio;
    ctx.save();
    ctx.strokeStyle = css("--ink");
    ctx.fillStyle = css("--ink");
    ctx.lineWidth = ratio;
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    let free = -Infinity;
    for (const s of this.steps) {
      const x = Math.round(u.valToPos(Date.parse(s.at) / 1000, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.globalAlpha = 0.55;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.globalAlpha = 1;
      const label = `${s.result === "failed" || s.result === "reverted" ? s.result + " " : ""}${short(s.from)} → ${short(s.to)}`;
      const wide = ctx.measureText(label).width;
      const left = Math.min(x + 4 * ratio, bbox.left + bbox.width - wide);
      if (left < free) continue; // it would lie on the one before
      ctx.fillText(label, left, bbox.top - 3 * ratio);
      free = left + wide + 8 * ratio;
    }
    ctx.restore();
  }

  read(at) {
    const [t, n, max, refused] = this.data;
    const i = at ?? t.length - 1;
    if (i < 0) return;
    this.reading.textContent = `${clock(t[i] * 1000)}  ·  ${count(n[i])} of ${count(max[i])} (${percent(n[i], max[i])})  ·  ${count(refused[i])} refused`;
  }

  fit() {
    const width = this.element.clientWidth;
    if (!width) return;
    this.charts.forEach((c) => c.width !== width && c.setSize({ width, height: c.height }));
  }
}
