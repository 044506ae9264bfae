// Runs a model file in the browser, away from the page: ONNX Runtime in WebAssembly.
// Messages in: {id, load: bytes, model} and {id, look: Blob or ImageBitmap, source, threshold, top};
// out: {id, result} or {id, problem: {message, ofPicture}}.

import { compress, encode } from "./rle.js";
import { place } from "./placement.js";
import { cutShort, isJpeg } from "./whole.js";

let opened; // {ort, session, model}
let queue = Promise.resolve(); // one thing after another

self.onmessage = ({ data }) => {
  queue = queue.then(() => answer(data));
};

async function answer({ id, load, model, look, ...options }) {
  try {
    if (load) opened = await open(load, model);
    postMessage({ id, result: look ? await detect(opened, look, options) : null });
  } catch (error) {
    const message = error.ofPicture ? error.message : `The model does not run in this browser: ${reason(error)}`;
    postMessage({ id, problem: { message, ofPicture: Boolean(error.ofPicture) } });
  }
}

/** The first line of what was thrown; WebAssembly throws numbers too, where memory is short. */
const reason = (error) =>
  typeof error === "number" ? "not enough memory" : String(error.message ?? error).split("\n")[0];

async function open(bytes, model) {
  const ort = await import("./vendor/ort.wasm.min.mjs");
  ort.env.logLevel = "error";
  ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
  await opened?.session.release();
  const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 });
  return { ort, session, model };
}

async function detect({ ort, session, model }, look, { source, threshold, top }) {
  const start = performance.now();
  const bytes = look instanceof Blob ? new Uint8Array(await look.arrayBuffer()) : undefined;
  if (bytes?.length === 0) throw unread(source, "the file is empty.");
  const cut = bytes && cutShort(bytes);
  if (cut) throw unread(source, `the ${cut} picture is cut short; its end is missing.`);
  const reduce = !bytes || isJpeg(bytes); // a frame of the camera goes to the server as JPEG
  const image = await pixels(look, source);
  const [height, width] = model.size;
  const batch = model.batch ?? 1; // black pictures for those that are missing
  const input = { data: new Uint8Array(batch * height * width * 3), width, height };
  const placement = place(image, { ...input, data: input.data.subarray(0, height * width * 3) }, model, reduce);
  const feeds = { image: new ort.Tensor("uint8", input.data, [batch, height, width, 3]) };
  if (model.task === "detect") {
    feeds.score_threshold = new ort.Tensor("float32", [threshold], []);
    feeds.iou_threshold = new ort.Tensor("float32", [model.iou_threshold], []);
  }
  const outputs = await session.run(feeds);
  const about = { source, width: image.width, height: image.height };
  const result = { ...about, ...READ[model.task](outputs, placement, model, top) };
  return { model: model.name, seconds: (performance.now() - start) / 1000, results: [result] };
}

/** What each task's outputs say, as the server has it. */
const READ = {
  detect({ boxes, scores, classes, batch_index, masks }, placement, { classes: names, size }) {
    const [rows, columns] = masks ? placement.pixels() : [];
    const detections = [];
    for (let i = 0; i < scores.data.length; i++) {
      if (batch_index.data[i] !== 0n) continue;
      const number = Number(classes.data[i]);
      const found = {
        name: names[number],
        class: number,
        score: rounded(scores.data[i], 5),
        box: placement.toPicture(boxes.data.subarray(4 * i, 4 * i + 4)).map((value) => rounded(value, 2)),
      };
      if (masks) {
        const area = size[0] * size[1];
        const mask = masks.data.subarray(i * area, (i + 1) * area);
        found.rle = rle(encode(mask, size[1], 1, rows, columns), placement);
      }
      detections.push(found);
    }
    return { detections };
  },
  classify({ probabilities }, placement, { classes: names }, top) {
    const scores = Array.from(probabilities.data.subarray(0, names.length));
    const order = scores.map((_, i) => i).sort((a, b) => scores[b] - scores[a] || a - b);
    return {
      classes: order.slice(0, top).map((i) => ({ name: names[i], class: i, score: rounded(scores[i], 5) })),
    };
  },
  segment({ mask }, placement, { classes: names, size }) {
    const [rows, columns] = placement.pixels();
    const pixels = mask.data.subarray(0, size[0] * size[1]);
    const classes = Array.from(new Set(pixels), (number) => {
      const ends = encode(pixels, size[1], number, rows, columns);
      let area = 0;
      for (let i = 1; i < ends.length; i += 2) area += ends[i] - ends[i - 1];
      const share = rounded(area / (placement.width * placement.height), 5);
      return { area, row: { name: names[number], class: number, share, rle: rle(ends, placement) } };
    }).filter(({ area }) => area);
    classes.sort((a, b) => b.area - a.area || a.row.class - b.row.class);
    return { classes: classes.map(({ row }) => row) };
  },
};

const rle = (ends, { height, width }) => ({ size: [height, width], counts: compress(ends) });

const rounded = (value, digits) => Number(value.toFixed(digits));

const unread = (source, why) => Object.assign(new Error(`${source}: ${why}`), { ofPicture: true });

/** RGBA of a picture as it is in its file: upright, its colours not converted, as the server reads them. */
async function pixels(look, source) {
  const as = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const refuse = () => Promise.reject(unread(source, "not a picture that this browser can read."));
  const bitmap = look instanceof Blob ? await createImageBitmap(look, as).catch(refuse) : look;
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const image = context.getImageData(0, 0, width, height);
  if (!isOpaque(image.data)) uncover(bitmap, image.data);
  bitmap.close();
  return image;
}

function isOpaque(data) {
  for (let i = 3; i < data.length; i += 4) if (data[i] < 255) return false;
  return true;
}

/**
 * The colours of what is transparent: a canvas keeps them multiplied with the opacity, and so loses them, a texture as they
 * are. Where there is no WebGL, or the picture is too large for it, `data` stays as the canvas has it.
 */
function uncover(bitmap, data) {
  const gl = new OffscreenCanvas(1, 1).getContext("webgl");
  if (!gl) return;
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  gl.readPixels(0, 0, bitmap.width, bitmap.height, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(data.buffer));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
}
