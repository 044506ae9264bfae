// From a picture of any size to a network's input, and boxes and masks back: runtime/resize.py once more, in the browser.

const GREY = 128; // of the bars
export const ENOUGH = 1.5; // pixels a side of a reduced picture for each pixel of the input

/** Where a picture lies in the network's input; `scale` and `offset` are [along x, along y]. */
export class Placement {
  constructor(scale, offset, width, height) {
    Object.assign(this, { scale, offset, width, height });
  }

  /** A box [x1, y1, x2, y2] in pixels of the input -> in pixels of the picture, cut at its edges. */
  toPicture(box) {
    const edge = [this.width, this.height];
    return Array.from(box, (value, i) =>
      Math.min(Math.max((value - this.offset[i % 2]) / this.scale[i % 2], 0), edge[i % 2]),
    );
  }

  /** The rows and the columns of the input that the picture's rows and columns are nearest to: [H], [W]. */
  pixels() {
    const [columns, rows] = [this.width, this.height].map((side, axis) => {
      const inner = Math.round(side * this.scale[axis]);
      const start = Math.trunc(this.offset[axis]);
      return Int32Array.from({ length: side }, (_, i) => Math.floor(((2 * i + 1) * inner) / (2 * side)) + start);
    });
    return [rows, columns];
  }
}

/**
 * Draws a picture into a network's input.
 *
 * @param image RGBA pixels: {data, width, height}, as of `getImageData`.
 * @param input {data: Uint8Array [height * width * 3], width, height}, overwritten.
 * @param how {resize: "letterbox" | "stretch" | "crop", sampling: "linear" | "darknet", crop: 0..1}
 * @param reduce whether a much larger picture may be averaged first, as the server does with JPEG files.
 */
export function place(image, input, { resize, sampling, crop }, reduce) {
  const { width, height } = image;
  const { part, inner } = fit(width, height, input, resize, crop);
  const bars = [input.width - inner.width, input.height - inner.height];
  [inner.x, inner.y] = bars.map((bar) => Math.floor(bar / 2));
  if (bars[0] || bars[1]) input.data.fill(GREY);
  const most = Math.min(part.width / inner.width, part.height / inner.height) / ENOUGH;
  const factor = reduce ? ([8, 4, 2, 1].find((n) => n <= most) ?? 1) : 1;
  if (sampling === "darknet") {
    betweenCorners(image, part, input, inner);
  } else if (factor > 1) {
    const reduced = average(image, factor);
    const [x, y, w, h] = [part.x, part.y, part.width, part.height].map((value) => value / factor);
    const whole = { x: 0, y: 0, width: reduced.width, height: reduced.height };
    betweenCentres(reduced, whole, { x, y, width: w, height: h }, input, inner);
  } else {
    betweenCentres(image, part, { ...part, x: 0, y: 0 }, input, inner);
  }
  const scale = [inner.width / part.width, inner.height / part.height];
  const [left, top] = sampling === "darknet" ? bars.map((bar) => bar / 2) : [inner.x, inner.y];
  return new Placement(scale, [left - part.x * scale[0], top - part.y * scale[1]], width, height);
}

/** The part of a picture that is taken, and what it becomes in the input. */
function fit(width, height, { width: columns, height: rows }, resize, crop) {
  const part = { x: 0, y: 0, width, height };
  const inner = { width: columns, height: rows };
  if (resize === "crop") {
    const unit = crop * Math.min(height / rows, width / columns); // picture pixels per input pixel
    part.width = Math.max(1, roundToEven(columns * unit));
    part.height = Math.max(1, roundToEven(rows * unit));
    part.x = Math.floor((width - part.width) / 2);
    part.y = Math.floor((height - part.height) / 2);
  } else if (resize === "letterbox") {
    if (columns * height < rows * width) inner.height = Math.max(1, Math.floor((height * columns) / width));
    else inner.width = Math.max(1, Math.floor((width * rows) / height));
  }
  return { part, inner };
}

/** A picture of 1 / factor of the size: the mean of so many pixels a side. */
function average(image, factor) {
  const [width, height] = [image.width, image.height].map((side) => Math.ceil(side / factor));
  const data = new Uint8ClampedArray(width * height * 4);
  const sums = new Uint32Array(width * 4);
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    const below = Math.min((y + 1) * factor, image.height);
    for (let row = y * factor; row < below; row++) {
      for (let x = 0, from = row * image.width * 4; x < image.width; x++, from += 4) {
        const to = Math.floor(x / factor) * 4;
        sums[to] += image.data[from];
        sums[to + 1] += image.data[from + 1];
        sums[to + 2] += image.data[from + 2];
        sums[to + 3]++;
      }
    }
    for (let x = 0, to = y * width * 4; x < sums.length; x += 4, to += 4) {
      for (let channel = 0; channel < 3; channel++) data[to + channel] = sums[x + channel] / sums[x + 3];
    }
  }
  return { data, width, height };
}

/**
 * Bilinear between the centres of pixels, in the fixed point of OpenCV's resize: the same bytes, but for a unit here and
 * there. Of the picture only what is within `bounds` is looked at; `area` is what fills `inner`, from the corner of the
 * bounds, in parts of pixels.
 */
function betweenCentres(image, bounds, area, input, inner) {
  const across = taps(area.x, area.width / inner.width, inner.width, bounds.width);
  const down = taps(area.y, area.height / inner.height, inner.height, bounds.height);
  const cache = [new Int32Array(inner.width * 3), new Int32Array(inner.width * 3)];
  const held = [-1, -1]; // which row of the picture each of the two is
  const line = (y) => {
    const slot = y & 1;
    if (held[slot] === y) return cache[slot];
    const row = cache[slot];
    const start = (bounds.y + y) * image.width + bounds.x;
    for (let x = 0, to = 0; x < inner.width; x++) {
      const a = (start + across.first[x]) * 4;
      const b = (start + across.second[x]) * 4;
      const weight = across.weight[x];
      for (let channel = 0; channel < 3; channel++) {
        row[to++] = (image.data[a + channel] * (2048 - weight) + image.data[b + channel] * weight) >> 4;
      }
    }
    held[slot] = y;
    return row;
  };
  for (let y = 0; y < inner.height; y++) {
    const upper = line(down.first[y]);
    const lower = line(down.second[y]);
    const weight = down.weight[y];
    let to = ((inner.y + y) * input.width + inner.x) * 3;
    for (let i = 0; i < upper.length; i++) {
      input.data[to++] = ((((2048 - weight) * upper[i]) >> 16) + ((weight * lower[i]) >> 16) + 2) >> 2;
    }
  }
}

/** For each of `count` places along a side, `step` apart: the two pixels around it, and the second's weight, 0..2048. */
function taps(start, step, count, side) {
  const first = new Int32Array(count);
  const second = new Int32Array(count);
  const weight = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const at = Math.fround(start + (i + 0.5) * step - 0.5);
    const before = Math.floor(at);
    first[i] = Math.min(Math.max(before, 0), side - 1);
    second[i] = Math.min(first[i] + 1, side - 1);
    weight[i] = before < 0 || before >= side - 1 ? 0 : roundToEven(Math.fround(at - before) * 2048);
  }
  return { first, second, weight };
}

/** Bilinear between the corner pixels of both, as Darknet does, with its black last row. */
function betweenCorners(image, part, input, inner) {
  const step = [part.width, part.height].map(
    (side, axis) => (side - 1) / Math.max([inner.width, inner.height][axis] - 1, 1),
  );
  const lastOfPart = { x: part.width - 1, y: part.height - 1 };
  const last = Math.fround((inner.height - 1) * Math.fround(lastOfPart.y / Math.max(inner.height - 1, 1)));
  const pixel = (x, y, channel) => image.data[((part.y + y) * image.width + part.x + x) * 4 + channel];
  for (let y = 0; y < inner.height; y++) {
    const black = y > 0 && y === inner.height - 1 && last < lastOfPart.y;
    const y1 = Math.min(Math.floor(y * step[1]), lastOfPart.y);
    const y2 = Math.min(y1 + 1, lastOfPart.y);
    const v = Math.min(y * step[1] - y1, 1);
    let to = ((inner.y + y) * input.width + inner.x) * 3;
    for (let x = 0; x < inner.width; x++) {
      const x1 = Math.min(Math.floor(x * step[0]), lastOfPart.x);
      const x2 = Math.min(x1 + 1, lastOfPart.x);
      const u = Math.min(x * step[0] - x1, 1);
      for (let channel = 0; channel < 3; channel++) {
        const upper = pixel(x1, y1, channel) * (1 - u) + pixel(x2, y1, channel) * u;
        const lower = pixel(x1, y2, channel) * (1 - u) + pixel(x2, y2, channel) * u;
        input.data[to++] = black ? 0 : Math.round(upper * (1 - v) + lower * v);
      }
    }
  }
}

/** As Python rounds: a half to the even neighbour. */
function roundToEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}
