// The colours of the canvas. Up to 80 % it is one quiet hue that grows darker (lighter in the dark); above, it warns. The
// hues are blue, amber and red, which those who do not tell red from green tell apart too.

const ramps = {
  light: [[0, "#e6edf4"], [0.5, "#b7cbe0"], [0.8, "#7b9fc9"], [0.8, "#f3c15c"], [0.9, "#e58a2b"], [0.97, "#cf3e26"], [1, "#b3221b"]],
  dark: [[0, "#1e2833"], [0.5, "#2b4767"], [0.8, "#4b7fb8"], [0.8, "#c48f2c"], [0.9, "#e0792a"], [0.97, "#f5533f"], [1, "#ff6a55"]],
};

const STEPS = 200;

/** current is the theme in force. */
export function current() {
  const chosen = document.documentElement.dataset.theme;
  if (chosen) return chosen;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const pixel = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;

let cached = null;

/** palette is what the canvas is painted with: pixels as the canvas holds them, and the colours of text. */
export function palette() {
  const theme = current();
  if (cached?.theme === theme) return cached;
  const style = getComputedStyle(document.documentElement);
  const css = (name) => style.getPropertyValue(name).trim();
  const pixels = new Uint32Array(STEPS + 1);
  const hexes = [];
  for (let i = 0; i <= STEPS; i++) {
    const colour = at(ramps[theme], i / STEPS);
    pixels[i] = pixel(colour);
    hexes.push(`rgb(${colour.join(" ")})`);
  }
  cached = {
    theme, pixels, hexes, ground: pixel(rgb(css("--surface"))), ink: css("--ink"), muted: css("--muted"), surface: css("--surface"),
    critical: css("--critical"), warning: css("--warning"), silent: pixel(rgb(css("--silent"))), silentText: css("--silent"),
    inkPixel: pixel(rgb(css("--ink"))), accent: css("--accent"),
  };
  return cached;
}

function at(ramp, share) {
  // The later of two stops at one place counts from just above it on.
  let i = 0;
  while (i < ramp.length - 2 && share > ramp[i + 1][0]) i++;
  const [from, a] = ramp[i], [to, b] = ramp[i + 1];
  if (to === from) return rgb(a);
  const t = Math.min(1, Math.max(0, (share - from) / (to - from)));
  const [x, y] = [rgb(a), rgb(b)];
  return x.map((v, k) => Math.round(v + t * (y[k] - v)));
}

/** shade is the index of a fill's colour. */
export const shade = (fill) => (fill >= 1 ? STEPS : (fill * STEPS) | 0);
