// What was found, to take away.

import { draw, found } from "./draw.js";
import { $, result, shownRows, state } from "./state.js";

const LARGEST = 16e6; // pixels of a saved picture: more than that phones refuse
const NORMAL = 800; // pixels a side of a picture whose lines are as thick as on the screen

/** What is shown of all pictures, as the server answers. */
function answerShown() {
  const answers = state.items.map((item) => item.answer).filter(Boolean);
  const results = answers.map(({ results: [one] }) => {
    const rows = shownRows(one).map((i) => found(one)[i]);
    return one.detections ? { ...one, detections: rows } : { ...one, classes: rows };
  });
  const seconds = answers.reduce((sum, answer) => sum + answer.seconds, 0);
  return `${JSON.stringify({ model: state.model.name, seconds: Number(seconds.toFixed(4)), results }, null, 2)}\n`;
}

function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const stem = () => state.item.name.replace(/\.[^.]*$/, "");

export function saveJson() {
  const name = state.items.length > 1 ? "onelook" : stem();
  download(new Blob([answerShown()], { type: "application/json" }), `${name}.json`);
}

export async function copyJson() {
  const content = answerShown();
  try {
    await navigator.clipboard.writeText(content);
  } catch {
    const area = Object.assign(document.createElement("textarea"), { value: content }); // pages without HTTPS
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy JSON"), 2000);
}

export async function savePicture() {
  const of = result();
  const size = state.bitmap ?? of;
  const scale = Math.min(1, Math.sqrt(LARGEST / (size.width * size.height)));
  const whole = document.createElement("canvas");
  [whole.width, whole.height] = [Math.round(size.width * scale), Math.round(size.height * scale)];
  const unit = Math.max(1, Math.sqrt(whole.width * whole.height) / NORMAL);
  draw(whole.getContext("2d"), state.bitmap, of, shownRows(of), -1, unit);
  const jpeg = state.item.file.type === "image/jpeg";
  const blob = await new Promise((resolve) => whole.toBlob(resolve, jpeg ? "image/jpeg" : "image/png", 0.92));
  download(blob, `${stem()}-onelook.${jpeg ? "jpg" : "png"}`);
}
