// What the page knows. The other modules change it and draw it.

import { found } from "./draw.js";

export const $ = (id) => document.getElementById(id);

export const state = {
  waiting: "", // what is waited for, a sentence
  models: [],
  model: null,
  place: "server",
  checking: null, // whether that place can be had: a promise until it is known
  items: [], // {name, file, answer, problem}
  item: null, // the one that is shown
  opening: null, // that one while its pixels are on their way
  bitmap: null, // of it
  hidden: new Set(), // names of classes
  highlighted: -1, // row of the result
  running: null, // AbortController of what is being looked at
  camera: null,
};

/** What was found on the picture that is shown, or null. */
export const result = () => state.item?.answer?.results[0] ?? null;

/** Numbers of the rows that the slider and the classes leave, the surest first. */
export function shownRows(of = result()) {
  if (!of) return [];
  const least = of.detections ? Number($("threshold").value) : 0;
  const rows = found(of);
  return rows.map((_, i) => i).filter((i) => (rows[i].score ?? 1) >= least && !state.hidden.has(rows[i].name));
}
