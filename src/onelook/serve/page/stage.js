// The picture that is shown, and the strip of all of them.

import { draw, rowAt } from "./draw.js";
import { element, summary } from "./panel.js";
import { $, result, shownRows, state } from "./state.js";

const TALL = 0.72; // of the window, that a picture takes at most
const LARGER = 3; // times its size, that a small picture is shown at most

const canvas = $("canvas");
const context = canvas.getContext("2d");

export function renderCanvas() {
  if (state.opening) return;
  const of = result();
  const size = state.bitmap ?? of;
  canvas.hidden = !state.item || !size;
  $("empty").hidden = !canvas.hidden;
  if (canvas.hidden) return;
  const room = [$("stage").clientWidth, Math.max(240, innerHeight * TALL)];
  const scale = Math.min(room[0] / size.width, room[1] / size.height, LARGER);
  const [width, height] = [size.width, size.height].map((side) => Math.max(1, Math.floor(side * scale)));
  const ratio = devicePixelRatio || 1;
  const pixels = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) {
    [canvas.width, canvas.height] = pixels;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  draw(context, state.bitmap, of, shownRows(of), state.highlighted, ratio);
  const blind = state.bitmap ? "" : " (this browser cannot show the picture)";
  canvas.setAttribute("aria-label", `${state.item.name}${blind}${of ? `: ${summary()}` : ""}`);
}

/** The row under the pointer, or -1. */
export function rowUnder(event) {
  const of = result();
  if (!of) return -1;
  const x = (event.offsetX * of.width) / canvas.clientWidth;
  const y = (event.offsetY * of.height) / canvas.clientHeight;
  return rowAt(of, shownRows(), x, y);
}

/** The pixels to show, or null; those before are given back. */
export function setBitmap(bitmap) {
  state.bitmap?.close();
  state.bitmap = bitmap;
}

/** A button a picture; `show` is called with the one that is pressed. */
export function renderStrip(show) {
  $("strip").hidden = state.items.length < 2;
  if ($("strip").hidden) return $("strip").replaceChildren();
  for (const item of state.items) {
    item.button ??= stripButton(item, show);
    item.button.setAttribute("aria-current", String(item === state.item));
    const note = item.problem ? (item.problem.ofPicture ? "not read" : "not looked at") : item.answer ? "" : "waiting";
    item.button.querySelector("span").textContent = note ? `${item.name}: ${note}` : item.name;
    item.button.title = item.name;
  }
  const wanted = state.items.map((item) => item.button.parentElement);
  if (wanted.some((entry, i) => $("strip").children[i] !== entry)) $("strip").replaceChildren(...wanted);
}

let painting = Promise.resolve(); // small pictures are made one after another, as each is decoded whole

function stripButton(item, show) {
  const small = document.createElement("canvas");
  [small.width, small.height] = [176, 104];
  painting = painting.then(() => paint(small, item.file)).catch(() => {}); // what is no picture stays grey
  const button = Object.assign(document.createElement("button"), { type: "button" });
  button.append(small, document.createElement("span"));
  button.addEventListener("click", () => show(item));
  element("li", "", button);
  return button;
}

async function paint(small, file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.max(small.width / bitmap.width, small.height / bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  const paper = small.getContext("2d");
  paper.imageSmoothingQuality = "high";
  paper.drawImage(bitmap, (small.width - width) / 2, (small.height - height) / 2, width, height);
  bitmap.close();
}
