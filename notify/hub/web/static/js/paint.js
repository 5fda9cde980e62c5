// Painting the part of the grid that is seen. Cells are written as pixels, a row at a time, so that 100,000 of them take a
// few milliseconds; what must be told without colour is drawn upon them as shapes:
//   silent      an empty frame              stopped   an empty frame, crossed out
//   warning     a triangle in a corner      critical  a framed cell with a hole
// Where cells are too small for that, marked hosts stand out of the grid as larger signs of the same shapes.
import { CRITICAL, SILENT, STOPPED, WARNING } from "./columns.js";
import { palette, shade } from "./colours.js";
import { blockAt, HEADING, spot } from "./layout.js";

const MARKED = CRITICAL | WARNING | SILENT | STOPPED;
const smallBelow = 8; // pixels of pitch below which signs are larger than cells
const mostSigns = 4000; // beyond so many on one screen, signs would hide the grid

/** paint fills a canvas with what lies between scroll and scroll + height. */
export function paint(canvas, layout, fleet, view) {
  const { scroll, width, height, ratio, selected, siteText } = view;
  const w = Math.round(width * ratio), tall = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== tall) {
    canvas.width = w;
    canvas.height = tall;
  }
  if (!w || !tall) return;
  const context = canvas.getContext("2d", { alpha: false });
  const colours = palette();
  if (paint.image?.width !== w || paint.image?.height !== tall) paint.image = context.createImageData(w, tall);
  const pixels = new Uint32Array(paint.image.data.buffer);
  pixels.fill(colours.ground);
  const marked = [];
  const frame = { pixels, w, tall, colours, marked, ratio, scroll };
  const first = layout.blocks.length ? blockAt(layout, scroll) : 0;
  for (let b = first; b < layout.blocks.length && layout.blocks[b].top < scroll + height; b++) {
    paintBlock(frame, layout, fleet, layout.blocks[b], scroll, height);
  }
  context.putImageData(paint.image, 0, 0);
  context.setTransform(ratio, 0, 0, ratio, 0, -Math.round(scroll * ratio));
  headings(context, layout, colours, first, scroll + height, siteText);
  signs(context, layout, fleet, colours, marked);
  if (selected >= 0) ring(context, layout, colours, selected);
}

function paintBlock(frame, layout, fleet, block, scroll, height) {
  const { pitch, columns } = layout;
  const from = Math.max(0, Math.floor((scroll - block.cells) / pitch));
  const to = Math.min(block.rows, Math.ceil((scroll + height - block.cells) / pitch));
  for (let row = from; row < to; row++) {
    const start = block.from + row * columns;
    const cells = Math.min(columns, block.from + block.count - start);
    paintRow(frame, layout, fleet, start, cells, block.cells + row * pitch);
  }
}

/** paintRow writes one line of pixels, and copies it for the height of the cells. */
function paintRow({ pixels, w, tall, colours, marked, ratio, scroll }, layout, fleet, start, cells, y) {
  const { pitch, places } = layout;
  const gap = pitch >= 5 ? 1 : 0;
  const top = Math.round(y * ratio) - Math.round(scroll * ratio);
  const bottom = Math.min(tall, Math.round((y + pitch - gap) * ratio) - Math.round(scroll * ratio));
  const line = Math.max(0, top);
  if (bottom <= line) return;
  const base = line * w;
  for (let i = 0; i < cells; i++) {
    const p = places[start + i];
    const flags = fleet.flags[p];
    if (flags & MARKED) marked.push(start + i);
    if (flags & (SILENT | STOPPED) || !fleet.max[p]) {
      if (flags & (SILENT | STOPPED)) continue;
    }
    const left = Math.round(i * pitch * ratio), right = Math.min(w, Math.round((i * pitch + pitch - gap) * ratio));
    pixels.fill(colours.pixels[shade(fleet.max[p] ? fleet.count[p] / fleet.max[p] : 0)], base + left, base + right);
  }
  for (let k = line + 1; k < bottom; k++) pixels.copyWithin(k * w, base, base + w);
}

function headings(context, layout, colours, first, end, siteText) {
  context.textBaseline = "alphabetic";
  for (let b = first; b < layout.blocks.length && layout.blocks[b].top < end; b++) {
    const block = layout.blocks[b];
    if (block.site < 0) continue;
    const { name, rest } = siteText(block);
    const y = block.top + HEADING - 7;
    context.font = "600 12px system-ui, sans-serif";
    context.fillStyle = colours.ink;
    context.fillText(name, 0, y);
    const x = context.measureText(name).width + 10;
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = colours.muted;
    context.fillText(rest, x, y);
  }
}

function signs(context, layout, fleet, colours, marked) {
  const small = layout.pitch < smallBelow;
  if (small && marked.length > mostSigns) return plainSigns(context, layout, fleet, colours, marked);
  const size = small ? 8 : layout.pitch - 1;
  // The gravest last, so that nothing lies upon it.
  for (const wanted of [STOPPED, SILENT, WARNING, CRITICAL]) {
    for (const cell of marked) {
      const flags = fleet.flags[layout.places[cell]];
      if (gravest(flags) !== wanted) continue;
      const { x, y } = spot(layout, cell);
      const shift = small ? (layout.pitch - size) / 2 : 0;
      sign(context, colours, wanted, x + shift, y + shift, size, small);
    }
  }
}

const gravest = (flags) => (flags & CRITICAL && !(flags & SILENT) ? CRITICAL : flags & SILENT ? SILENT :
  flags & WARNING ? WARNING : STOPPED);

function sign(context, colours, kind, x, y, size, small) {
  if (kind === CRITICAL) {
    context.fillStyle = small ? colours.surface : colours.critical;
    if (small) context.fillRect(x - 1, y - 1, size + 2, size + 2);
    context.fillStyle = colours.critical;
    context.fillRect(x, y, size, size);
    const hole = Math.max(2, Math.round(size / 3));
    context.fillStyle = colours.surface;
    context.fillRect(x + (size - hole) / 2, y + (size - hole) / 2, hole, hole);
    return;
  }
  if (kind === WARNING) {
    const s = small ? size : Math.max(4, size * 0.6);
    context.beginPath();
    context.moveTo(x + size, y + size - s);
    context.lineTo(x + size, y + size);
    context.lineTo(x + size - s, y + size);
    context.closePath();
    context.fillStyle = small ? colours.warning : colours.ink;
    context.fill();
    return;
  }
  if (small) {
    context.fillStyle = colours.surface;
    context.fillRect(x, y, size, size);
  }
  context.strokeStyle = colours.silentText;
  context.lineWidth = 1.25;
  context.strokeRect(x + 0.75, y + 0.75, size - 1.5, size - 1.5);
  if (kind === STOPPED) {
    context.beginPath();
    context.moveTo(x + 1, y + size - 1);
    context.lineTo(x + size - 1, y + 1);
    context.stroke();
  }
}

/** plainSigns has a cell for each marked host where there is no room for more. */
function plainSigns(context, layout, fleet, colours, marked) {
  const size = Math.max(2, layout.pitch - 1);
  for (const cell of marked) {
    const { x, y } = spot(layout, cell);
    const kind = gravest(fleet.flags[layout.places[cell]]);
    if (kind === SILENT || kind === STOPPED) continue; // empty as it is
    context.fillStyle = kind === CRITICAL ? colours.critical : colours.warning;
    context.fillRect(x, y, size, size);
    if (size >= 3 && kind === CRITICAL) {
      context.fillStyle = colours.surface;
      context.fillRect(x + 1, y + 1, 1, 1);
    }
  }
}

function ring(context, layout, colours, cell) {
  if (cell >= layout.places.length) return;
  const { x, y } = spot(layout, cell);
  const grow = layout.pitch < smallBelow ? 3 : 1.5;
  context.strokeStyle = colours.surface;
  context.lineWidth = 4;
  context.strokeRect(x - grow, y - grow, layout.pitch - 1 + 2 * grow, layout.pitch - 1 + 2 * grow);
  context.strokeStyle = colours.ink;
  context.lineWidth = 2;
  context.strokeRect(x - grow, y - grow, layout.pitch - 1 + 2 * grow, layout.pitch - 1 + 2 * grow);
}
