// Pictures looked at by this computer: the model's file comes from the server, once; the picture stays here.

import { ask, Problem, url } from "./api.js";

const CACHE = "onelook-models";
const PATIENCE = 1_800_000; // milliseconds in which a model must have come

let worker; // with the model named `loaded`, or none
let loaded;
let pending = new Map(); // questions to the worker: id -> {resolve, reject}
let count = 0;

/** Throws Problem 404 where ONNX Runtime is not there: a wheel brings it, a checkout need not. */
export const mustBeThere = () => ask("page/vendor/ort.wasm.min.mjs", { method: "HEAD" }, () => null);

/** As of server.js; `file` may be an ImageBitmap too, which is taken over. */
export async function look(model, file, { source, threshold, top, signal, say }) {
  if (model.proposals) throw new Problem("This model runs on the server alone, which proposes the regions it looks at.");
  if (pending.size) stop(); // a question that was cancelled keeps it busy
  if (loaded !== model.name) {
    loaded = undefined;
    const bytes = await fetchModel(model, signal, say);
    say("Preparing the model.");
    await question({ load: bytes, model }, [bytes], signal);
    loaded = model.name;
    say(`Looking at ${source}.`);
  }
  return question({ look: file, source, threshold, top }, file instanceof Blob ? [] : [file], signal);
}

function question(message, transfer, signal) {
  worker ??= start();
  const id = ++count;
  return new Promise((resolve, reject) => {
    pending.set(id, { resolve, reject });
    signal?.addEventListener("abort", () => reject(new DOMException("cancelled", "AbortError")), { once: true });
    worker.postMessage({ id, ...message }, transfer);
  });
}

function start() {
  const started = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  started.onmessage = ({ data: { id, result, problem } }) => {
    const { resolve, reject } = pending.get(id);
    pending.delete(id);
    if (problem) reject(new Problem(problem.message, 0, problem.ofPicture));
    else resolve(result);
  };
  started.onerror = (event) => {
    event.preventDefault();
    for (const { reject } of pending.values()) reject(new Problem("This browser cannot run models."));
    stop();
  };
  return started;
}

function stop() {
  worker?.terminate();
  worker = loaded = undefined;
  pending = new Map();
}

/** The model's file: from the cache where the server has no other one. */
async function fetchModel({ name, file_bytes: size }, signal, say) {
  const path = `v1/models/${encodeURIComponent(name)}/file`;
  const cache = await self.caches?.open(CACHE).catch(() => undefined); // none without HTTPS
  const known = await cache?.match(url(path));
  const etag = known?.headers.get("ETag");
  const options = {
    signal,
    say,
    patience: PATIENCE,
    cache: "no-store",
    headers: etag ? { "If-None-Match": etag } : {},
  };
  const coming = ask(path, options, async (response) => {
    if (known && (response.status === 304 || response.headers.get("ETag") === etag)) {
      await response.body?.cancel();
      return known.arrayBuffer();
    }
    const parts = [];
    let got = 0;
    for (const reader = response.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      got += value.length;
      say(`Fetching the model: ${(got / 1e6).toFixed(1)} of ${(size / 1e6).toFixed(1)} MB.`);
    }
    const blob = new Blob(parts);
    const headers = { ETag: response.headers.get("ETag") ?? "" };
    await cache?.put(url(path), new Response(blob, { headers })).catch(() => {}); // the disk may be full
    return blob.arrayBuffer();
  });
  return coming.catch((error) => {
    if (known && error.status === 0) return known.arrayBuffer(); // without the server it runs all the same
    throw error;
  });
}
