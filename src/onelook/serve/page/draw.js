// What was found, on a canvas: boxes with labels, masks under them.

import { colour, css, ink } from "./colours.js";
import { ends, has } from "./rle.js";

const LAYER = 1280; // pixels of the longer side in which masks are painted
const FAINT = 0.3; // of what is not highlighted
const SMALL = 28; // pixels of a box that gets no label, unless it is highlighted

const decoded = new WeakMap(); // of each rle: its ends
const layers = new WeakMap(); // of each rle: a canvas with its mask

/** What a result found: detections or classes. */
export const found = (result) => result.detections ?? result.classes;

/** Whether the model's result says where: nothing but the probabilities of a classifier does not. */
export const hasPlaces = (result) => Boolean(result.detections || result.classes?.some((row) => row.rle));

/** The colour of row i: of its class, or of its number where the masks of objects are told apart, as onelook draws them. */
export const colourOf = (result, i) => {
  const row = found(result)[i];
  return row.rle && row.box ? i : row.class;
};

/** Whether a row is painted: the background of a segmenter is not. */
export const isPainted = (row) => !(row.share !== undefined && row.class === 0 && row.name === "background");

/**
 * Draws a picture and what was found on it.
 *
 * @param context of a canvas of which all is covered.
 * @param picture an ImageBitmap, or null where the browser cannot read it.
 * @param result of the picture, or null.
 * @param shown numbers of the rows to draw, the surest first.
 * @param highlighted one of them, or -1.
 * @param unit pixels of the canvas for one of the screen.
 */
export function draw(context, picture, result, shown, highlighted, unit) {
  const { width, height } = context.canvas;
  context.clearRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  if (picture) context.drawImage(picture, 0, 0, width, height);
  if (!result) return;
  if (!hasPlaces(result)) return caption(context, result, shown, unit);
  const rows = found(result);
  const scale = [width / result.width, height / result.height];
  const last = shown.includes(highlighted) ? highlighted : -1;
  const order = [...shown].filter((i) => isPainted(rows[i]) && i !== last).reverse(); // the surest on top
  if (last >= 0) order.push(last);
  const alpha = (i) => (last < 0 || i === last ? 1 : FAINT);
  for (const i of order) {
    if (!rows[i].rle) continue;
    const { canvas, x } = layer(rows[i].rle, colourOf(result, i));
    context.globalAlpha = (i === last ? 0.7 : 0.45) * alpha(i);
    const wide = width / layerSize(rows[i].rle.size)[0];
    context.drawImage(canvas, x * wide, 0, canvas.width * wide, height);
  }
  for (const i of order) {
    if (!rows[i].box) continue;
    context.globalAlpha = alpha(i);
    outline(context, rows[i].box, scale, css(colourOf(result, i)), unit * (i === last ? 4 : 2.5));
  }
  context.globalAlpha = 1;
  labels(context, result, order.reverse(), last, scale, unit, alpha);
  context.globalAlpha = 1;
}

function outline(context, box, scale, style, thickness) {
  const [x1, y1, x2, y2] = box.map((value, i) => Math.round(value * scale[i % 2]));
  const line = Math.max(1, Math.round(Math.min(thickness, Math.max(1, Math.min(x2 - x1, y2 - y1) / 6))));
  context.fillStyle = "#0006"; // a dark edge, seen on bright pictures
  frame(context, x1 - line - 1, y1 - line - 1, x2 + line + 1, y2 + line + 1, line + 2);
  context.fillStyle = style;
  frame(context, x1 - line, y1 - line, x2 + line, y2 + line, line);
}

/** The inside of an edge of whole pixels, which is sharp on every screen. */
function frame(context, x1, y1, x2, y2, line) {
  context.fillRect(x1, y1, x2 - x1, line);
  context.fillRect(x1, y2 - line, x2 - x1, line);
  context.fillRect(x1, y1 + line, line, y2 - y1 - 2 * line);
  context.fillRect(x2 - line, y1 + line, line, y2 - y1 - 2 * line);
}

/** Each label where it hides no other one: above its box, inside at the top, below; else nowhere. */
function labels(context, result, order, last, scale, unit, alpha) {
  const { width, height } = context.canvas;
  const size = 13 * unit;
  const high = Math.round(size * 1.45);
  const pad = Math.round(size * 0.35);
  context.font = `500 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const taken = [];
  for (const i of order) {
    const row = found(result)[i];
    const [x1, y1, x2, y2] = (row.box ?? middle(row.rle)).map((value, j) => Math.round(value * scale[j % 2]));
    if (i !== last && row.box && Math.max(x2 - x1, y2 - y1) < SMALL * unit) continue;
    const text = row.score === undefined ? row.name : `${row.name} ${row.score.toFixed(2)}`;
    const wide = Math.min(Math.ceil(context.measureText(text).width) + 2 * pad, width);
    const x = Math.min(Math.max(x1 - 2 * unit, 0), width - wide);
    const places = [y1 - high - unit, y1, y2 + unit].map((y) => ({ x, y: Math.round(y), wide, high }));
    const inside = ({ y }) => y >= 0 && y + high <= height;
    const free = (one) => taken.every((two) => !overlap(one, two));
    let place = places.find((one) => inside(one) && free(one));
    if (!place && i === last) place = places.find(inside) ?? places[1];
    if (!place) continue;
    taken.push(place);
    context.globalAlpha = alpha(i);
    context.fillStyle = css(colourOf(result, i));
    context.fillRect(place.x, place.y, wide, high);
    context.fillStyle = ink(colourOf(result, i));
    context.fillText(text, place.x + pad, place.y + high / 2, wide - 2 * pad);
  }
}

/** The classes of a whole picture, under one another in its corner. */
function caption(context, result, shown, unit) {
  const size = 14 * unit;
  const high = Math.round(size * 1.6);
  context.font = `500 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  shown.forEach((i, line) => {
    const { name, score, class: number } = result.classes[i];
    const text = `${score.toFixed(2)} ${name}`;
    const wide = Math.min(context.measureText(text).width + size, context.canvas.width);
    context.fillStyle = css(number);
    context.fillRect(0, line * high, wide, high);
    context.fillStyle = ink(number);
    context.fillText(text, size / 2, (line + 0.5) * high, wide - size);
  });
}

const overlap = (one, two) =>
  one.x < two.x + two.wide && two.x < one.x + one.wide && one.y < two.y + two.high && two.y < one.y + one.high;

const endsOf = (rle) => {
  if (!decoded.has(rle)) decoded.set(rle, ends(rle.counts));
  return decoded.get(rle);
};

const layerSize = ([height, width]) => {
  const scale = Math.min(1, LAYER / Math.max(height, width));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
};

/** A mask in one colour, painted once: a canvas of the columns that it has, from column `x` of the layer on. */
function layer(rle, number) {
  if (layers.has(rle)) return layers.get(rle);
  const [height, width] = rle.size;
  const [columns, rows] = layerSize(rle.size);
  const runs = endsOf(rle);
  const column = (place) => Math.floor((Math.floor(place / height) * columns) / width);
  const first = runs.length > 1 ? column(runs[0]) : 0;
  const lastRun = runs.length - (runs.length % 2 ? 2 : 1); // the last one that is inside
  const wide = Math.max(1, lastRun > 0 ? Math.min(column(runs[lastRun] - 1) + 2, columns) - first : 1);
  const pixels = new ImageData(wide, rows);
  const [red, green, blue] = colour(number);
  let run = 0;
  for (let x = 0; x < wide; x++) {
    const left = Math.floor(((first + x + 0.5) * width) / columns) * height;
    for (let y = 0; y < rows; y++) {
      const place = left + Math.floor(((y + 0.5) * height) / rows);
      while (runs[run] <= place) run++; // places only grow, so each run is passed once
      if (run % 2 === 1 && run < runs.length) pixels.data.set([red, green, blue, 255], (y * wide + x) * 4);
    }
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [wide, rows];
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  const made = { canvas, x: first };
  layers.set(rle, made);
  return made;
}

/** The middle of the longest run of a mask, as a box without an extent: inside the mask, where there is room for a name. */
function middle(rle) {
  const runs = endsOf(rle);
  const height = rle.size[0];
  let [place, longest] = [0, 0];
  for (let i = 1; i < runs.length; i += 2) {
    let start = runs[i - 1];
    const end = Math.min(runs[i], (Math.floor(start / height) + 1) * height);
    if (runs[i] - start >= 2 * height) start = end; // whole columns: take the first whole one
    const length = start === end ? height : end - start;
    if (length > longest) [place, longest] = [start + Math.floor(length / 2), length];
  }
  const [x, y] = [Math.floor(place / height), place % height];
  return [x, y, x, y];
}

/** The row at a point of the picture: by its mask where there are masks, else the smallest box around it; -1 for none. */
export function rowAt(result, shown, x, y) {
  if (!hasPlaces(result) || x < 0 || y < 0 || x >= result.width || y >= result.height) return -1;
  const rows = found(result);
  const [column, row] = [Math.floor(x), Math.floor(y)];
  const masked = shown.find(
    (i) => rows[i].rle && isPainted(rows[i]) && has(endsOf(rows[i].rle), result.height, column, row),
  );
  if (masked !== undefined) return masked;
  let best = -1;
  let least = Infinity;
  for (const i of shown) {
    if (!rows[i].box) continue;
    const [x1, y1, x2, y2] = rows[i].box;
    const area = (x2 - x1) * (y2 - y1);
    if (x >= x1 && x <= x2 && y >= y1 && y <= y2 && area < least) [best, least] = [i, area];
  }
  return best;
}
