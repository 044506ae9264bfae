// The page: models, pictures, the webcam, and what the controls do.

import { ask, Problem, setKey } from "./api.js";
import { openCamera, toJpeg } from "./camera.js";
import * as computer from "./computer.js";
import * as panel from "./panel.js";
import { clearProblem, complain } from "./problems.js";
import { copyJson, saveJson, savePicture } from "./saving.js";
import * as server from "./server.js";
import * as stage from "./stage.js";
import { $, result, state } from "./state.js";

const FLOOR = 0.05; // least score that is asked for; the slider does the rest here
const TOP = 5; // classes of a classifier
const PLACES = { server, computer };
const TASKS = { detect: "objects", classify: "classes", segment: "areas" };

const { say } = panel;

// ---------------------------------------------------------------------------------------------------------- models

async function loadModels() {
  try {
    say("Asking for the models.");
    const { models } = await ask("v1/models", { say });
    state.models = models;
    $("key").hidden = true;
    $("model").replaceChildren(...models.map(({ name, task }) => new Option(`${name} (${TASKS[task]})`, name)));
    $("model").disabled = !models.length;
    if (!models.length) return complain(new Problem("The server has no model."), loadModels);
    say("");
    chooseModel(models[0].name);
  } catch (error) {
    complain(error, loadModels);
  }
}

function chooseModel(name) {
  state.model = state.models.find((model) => model.name === name);
  state.hidden.clear();
  const { task, score_threshold: threshold } = state.model;
  $("threshold").min = floor();
  $("threshold").value = task === "detect" ? threshold : 0;
  showThreshold();
  showPlace();
  lookAgain();
}

const floor = () => Math.min(FLOOR, state.model.score_threshold);

function showPlace() {
  if (!state.model) return;
  const size = (state.model.file_bytes / 1e6).toFixed(1);
  $("where").textContent = {
    server: "Pictures are sent to this server, which looks at them.",
    computer: `Pictures stay on this computer. The model (${size} MB) is fetched once and runs in this browser.`,
  }[state.place];
}

/** From here on nothing goes to the other place, not even while it is asked whether this one can be had. */
async function choosePlace(place) {
  if (!state.camera) {
    stopLooking();
    say("");
    renderControls();
  }
  const checking = place === "computer" ? computer.mustBeThere() : null;
  Object.assign(state, { place, checking });
  showPlace();
  try {
    await checking;
  } catch (error) {
    if (state.checking !== checking) return; // another was chosen meanwhile
    Object.assign(state, { place: "server", checking: null });
    $("server").checked = true;
    showPlace();
    const missing =
      "The server has not got what runs models in a browser; it is in onelook's released wheel, and " +
      "“python hatch_build.py” brings it into a checkout.";
    const problem = error.status === 404 ? new Problem(missing) : error;
    if (state.camera) return stopCamera(problem); // what was to stay here is not sent unasked
    cancel();
    return complain(problem);
  }
  if (state.checking !== checking) return;
  state.checking = null;
  lookAgain();
}

// -------------------------------------------------------------------------------------------------------- pictures

async function addFiles(files) {
  if (!files.length) return;
  await stopCamera();
  const fresh = Array.from(files, (file) => ({ name: file.name || "pasted.png", file }));
  state.items.push(...fresh);
  show(fresh[0]);
  if (!state.running) run(); // else it comes to them
}

/** Everything once more, with another model or at another place. */
function lookAgain() {
  if (state.camera) return;
  for (const item of state.items) item.answer = item.problem = undefined;
  clearProblem();
  render();
  run();
}

/** Looks at all pictures that nothing is known of yet, one after another. */
async function run() {
  const waiting = () => state.items.find((item) => !item.answer && !item.problem);
  stopLooking();
  if (!state.model || state.checking || !waiting()) return;
  const controller = new AbortController();
  state.running = controller;
  clearProblem();
  renderControls();
  let failed = null;
  for (let item; !failed && (item = waiting());) {
    try {
      const many = state.items.length > 1 ? ` (${state.items.indexOf(item) + 1} of ${state.items.length})` : "";
      say(`Looking at ${item.name}${many}.`);
      const answer = await look(item.file, item.name, controller.signal, state.place);
      if (controller.signal.aborted) return;
      item.answer = answer;
    } catch (error) {
      if (controller.signal.aborted) return;
      item.problem = error;
      if (!error.ofPicture) failed = error;
    }
    if (item === state.item) render();
    stage.renderStrip(show);
  }
  state.running = null;
  say("");
  render();
  stage.renderStrip(show);
  if (failed && failed !== state.item?.problem) complain(failed, tryAgain);
}

async function look(file, source, signal, place) {
  const start = performance.now();
  const options = { source, threshold: floor(), top: TOP, signal, say: (text) => !signal.aborted && say(text) };
  const answer = await PLACES[place].look(state.model, file, options);
  $("key").hidden = true;
  return { ...answer, place, total: (performance.now() - start) / 1000 };
}

function stopLooking() {
  state.running?.abort();
  state.running = null;
}

function cancel() {
  stopLooking();
  for (const item of state.items) {
    if (!item.answer && !item.problem) item.problem = new Problem(`Cancelled: ${item.name} was not looked at.`);
  }
  say("");
  render();
  stage.renderStrip(show);
}

/** As it was in the beginning. */
async function clear() {
  await stopCamera();
  state.running?.abort();
  stage.setBitmap(null);
  Object.assign(state, { items: [], item: null, opening: null, running: null, highlighted: -1 });
  clearProblem();
  say("");
  render();
  stage.renderStrip(show);
}

/** After something went wrong that another try may mend. */
function tryAgain() {
  for (const item of state.items) if (!item.problem?.ofPicture) item.problem = undefined;
  return run();
}

async function show(item) {
  state.item = item;
  state.highlighted = -1;
  state.opening = item; // until then the canvas keeps what it has
  render();
  stage.renderStrip(show);
  const bitmap = await createImageBitmap(item.file).catch(() => null);
  if (state.opening !== item) return bitmap?.close();
  state.opening = null;
  stage.setBitmap(bitmap);
  render();
}

function showThreshold() {
  $("least").textContent = Number($("threshold").value).toFixed(2);
}

function render() {
  stage.renderCanvas();
  panel.renderStatus();
  panel.renderTiming();
  panel.renderClasses();
  panel.renderList();
  renderControls();
  const problem = state.item?.problem;
  if (problem && problem !== $("problem").item) complain(problem, problem.ofPicture ? null : tryAgain);
  else if (!problem && $("problem").item) clearProblem();
  $("problem").item = problem;
}

function renderControls() {
  const of = result();
  $("filter").hidden = !of?.detections;
  $("save").hidden = !of || Boolean(state.camera);
  $("clear").hidden = !state.items.length;
  $("cancel").hidden = !state.running || Boolean(state.camera);
  $("camera").textContent = state.camera ? "Stop webcam" : "Start webcam";
  $("camera").setAttribute("aria-pressed", String(Boolean(state.camera)));
}

function highlight(row, scroll = false) {
  if (row === state.highlighted) return;
  panel.markRow(row, scroll);
  stage.renderCanvas();
}

// ---------------------------------------------------------------------------------------------------------- camera

async function startCamera() {
  $("camera").disabled = true;
  let camera;
  try {
    camera = await openCamera(() => {
      if (state.camera === camera) stopCamera(new Problem("The webcam was taken away."));
    });
  } catch (error) {
    return complain(error);
  } finally {
    $("camera").disabled = false;
  }
  state.running?.abort();
  state.camera = camera;
  state.items = [];
  state.item = { name: "webcam.jpg" };
  state.opening = null;
  stage.setBitmap(null);
  clearProblem();
  render();
  stage.renderStrip(show);
  watch(camera);
}

/** Frame after frame, as fast as they are looked at; a hidden page rests. */
async function watch(camera) {
  const controller = new AbortController();
  state.running = controller;
  renderControls();
  let last = performance.now();
  try {
    while (state.camera === camera) {
      if (state.checking) {
        await state.checking.catch(() => {});
        continue;
      }
      const frame = await camera.frame();
      if (!state.bitmap) {
        stage.setBitmap(await createImageBitmap(frame)); // until the first one is looked at
        say("Looking at the webcam.");
        render();
      }
      const { place } = state;
      const sent = place === "server" ? await toJpeg(frame) : await createImageBitmap(frame);
      const answer = await look(sent, "webcam.jpg", controller.signal, place);
      if (state.camera !== camera) return frame.close();
      const now = performance.now();
      answer.rate = 1000 / (now - last);
      last = now;
      stage.setBitmap(frame);
      state.item.answer = answer;
      say("");
      render();
      await new Promise(requestAnimationFrame);
    }
  } catch (error) {
    if (state.camera === camera && !controller.signal.aborted) stopCamera(error);
  }
}

/** The last frame stays, as a picture. */
async function stopCamera(error) {
  if (!state.camera) return;
  state.camera.close();
  state.camera = null;
  stopLooking();
  say("");
  const { item, bitmap } = state;
  if (bitmap && item.answer) {
    delete item.answer.rate;
    state.items = [item];
    item.file = new File([await toJpeg(bitmap)], "webcam.jpg", { type: "image/jpeg" });
  } else if (state.item === item) {
    state.item = null;
  }
  render();
  if (error) complain(error, startCamera);
}

// ---------------------------------------------------------------------------------------------------------- controls

$("model").addEventListener("change", (event) => chooseModel(event.target.value));
for (const radio of document.querySelectorAll('[name="place"]')) {
  radio.addEventListener("change", () => choosePlace(radio.value));
}
$("files").addEventListener("change", (event) => {
  addFiles([...event.target.files]);
  event.target.value = ""; // the same file may be chosen again
});
$("camera").addEventListener("click", () => (state.camera ? stopCamera() : startCamera()));
$("save-json").addEventListener("click", saveJson);
$("save-picture").addEventListener("click", savePicture);
$("copy").addEventListener("click", copyJson);
$("threshold").addEventListener("input", () => {
  showThreshold();
  render();
});
$("classes").addEventListener("change", ({ target }) => {
  if (target.checked) state.hidden.delete(target.value);
  else state.hidden.add(target.value);
  render();
});
for (const [button, action] of [
  [$("cancel"), cancel],
  [$("clear"), clear],
  [$("problem").querySelector(".again"), () => $("problem").again()],
  [$("problem").querySelector(".dismiss"), () => {}],
]) {
  button.addEventListener("click", () => {
    $("problem").hidden = true;
    action();
    $("files").focus(); // as the button goes away
  });
}
$("key").addEventListener("submit", async (event) => {
  event.preventDefault();
  setKey($("key").querySelector("input").value);
  clearProblem();
  await (state.models.length ? tryAgain() : loadModels());
  if ($("key").hidden) $("files").focus();
});

// The list: pointer, focus and arrows.
const rowOf = (event) => Number(event.target.closest("[role=option]")?.dataset.row ?? -1);
$("list").addEventListener("pointerover", (event) => highlight(rowOf(event)));
$("list").addEventListener("pointerleave", () => highlight(panel.focusedRow()));
$("list").addEventListener("focusin", (event) => highlight(rowOf(event)));
$("list").addEventListener("focusout", () => highlight(-1));
$("list").addEventListener("keydown", (event) => {
  const items = [...$("list").children];
  const at = items.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  items[Math.min(Math.max(to, 0), items.length - 1)]?.focus();
});

// The picture: pointing at a box shows its row.
for (const kind of ["pointermove", "pointerdown"]) {
  $("canvas").addEventListener(kind, (event) => highlight(stage.rowUnder(event), true));
}
$("canvas").addEventListener("pointerleave", (event) => event.pointerType === "mouse" && highlight(panel.focusedRow()));

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) {
    event.preventDefault();
    addFiles(files);
  }
});
let inside = 0; // entered elements: a drag leaves one after it has entered the next
document.addEventListener("dragenter", () => ($("drop").hidden = ++inside === 0));
document.addEventListener("dragleave", () => ($("drop").hidden = --inside <= 0));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  $("drop").hidden = true;
  const files = [...event.dataTransfer.files];
  if (files.length) addFiles(files);
  else complain(new Problem("Only files can be dropped here; save the picture first."));
});

addEventListener("pagehide", () => stopCamera());
new ResizeObserver(() => stage.renderCanvas()).observe($("stage"));

loadModels();
