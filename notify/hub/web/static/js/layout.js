// Where each cell lies: blocks of rows below each other, one a site, in pixels of the page.

const pitches = [26, 22, 18, 15, 12, 10, 8, 7, 6, 5, 4, 3];
export const HEADING = 22;

/** lay places cells in a width, as large as lets them all be seen in a height, else as small as can be. */
export function lay(fleet, places, { width, height, bySite }) {
  const groups = bySite ? bySites(fleet, places) : [{ site: -1, from: 0, count: places.length }];
  let chosen = null;
  for (const pitch of pitches) {
    chosen = blocks(groups, pitch, width, bySite);
    if (chosen.height <= height) break;
  }
  return { ...chosen, places, width };
}

function bySites(fleet, places) {
  const groups = [];
  let last = null;
  for (let i = 0; i < places.length; i++) {
    const site = fleet.site[places[i]];
    if (!last || last.site !== site) groups.push((last = { site, from: i, count: 0 }));
    last.count++;
  }
  return groups;
}

function blocks(groups, pitch, width, headed) {
  const columns = Math.max(1, Math.floor(width / pitch));
  const out = [];
  let top = 0;
  for (const g of groups) {
    const cells = top + (headed ? HEADING : 0);
    const rows = Math.ceil(g.count / columns);
    out.push({ ...g, top, cells, rows });
    top = cells + rows * pitch + (headed ? Math.max(6, pitch / 2) : 0);
  }
  return { blocks: out, pitch, columns, height: Math.ceil(top) };
}

/** blockAt is the index of the last block that begins at or above y. */
export function blockAt(layout, y) {
  let low = 0, high = layout.blocks.length - 1;
  while (low < high) {
    const mid = (low + high + 1) >> 1;
    if (layout.blocks[mid].top <= y) low = mid;
    else high = mid - 1;
  }
  return low;
}

/** cellAt is the index of the cell at a point, -1: there is none. */
export function cellAt(layout, x, y) {
  if (!layout.blocks.length || x < 0 || y < 0) return -1;
  const block = layout.blocks[blockAt(layout, y)];
  const column = Math.floor(x / layout.pitch), row = Math.floor((y - block.cells) / layout.pitch);
  const i = row * layout.columns + column;
  return column >= layout.columns || row < 0 || i >= block.count ? -1 : block.from + i;
}

/** blockOf is the block of a cell. */
export function blockOf(layout, cell) {
  let low = 0, high = layout.blocks.length - 1;
  while (low < high) {
    const mid = (low + high + 1) >> 1;
    if (layout.blocks[mid].from <= cell) low = mid;
    else high = mid - 1;
  }
  return low;
}

/** spot is the upper left corner of a cell. */
export function spot(layout, cell) {
  const block = layout.blocks[blockOf(layout, cell)];
  const i = cell - block.from;
  return { x: (i % layout.columns) * layout.pitch, y: block.cells + Math.floor(i / layout.columns) * layout.pitch };
}

/** beside is the cell one row up (-1) or down (1), in the same column where that row is long enough. */
export function beside(layout, cell, rows) {
  let b = blockOf(layout, cell);
  const i = cell - layout.blocks[b].from;
  const column = i % layout.columns;
  let row = Math.floor(i / layout.columns) + rows;
  while (row < 0 || row >= layout.blocks[b].rows) {
    if (row < 0) {
      if (b === 0) return cell;
      row += layout.blocks[--b].rows;
    } else {
      row -= layout.blocks[b].rows;
      if (++b >= layout.blocks.length) return cell;
    }
  }
  const block = layout.blocks[b];
  return block.from + Math.min(block.count - 1, row * layout.columns + column);
}
