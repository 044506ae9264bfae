// COCO's run lengths: how many pixels, column by column, lie outside the mask, then inside, then outside, ...
// The text is that of onelook/rle.py.

/** The ends of the runs, ascending, of a compressed text: run i covers the places from ends[i - 1] to ends[i]. */
export function ends(text) {
  const numbers = [];
  for (let i = 0; i < text.length;) {
    let value = 0;
    let unit = 1; // 32 to the power of the digit: beyond 32 bits, shifts would overflow
    for (let more = true; more; unit *= 32) {
      const digit = text.charCodeAt(i++) - 48;
      if (!(digit >= 0 && digit < 64)) throw new Error("not a compressed mask");
      value += (digit & 31) * unit;
      more = digit & 32;
      if (!more && digit & 16) value -= 32 * unit;
    }
    numbers.push(numbers.length > 2 ? value + numbers[numbers.length - 2] : value);
  }
  let end = 0;
  return Float64Array.from(numbers, (run) => (end += run));
}

/** The compressed text of ends. */
export function compress(ends) {
  const runs = Array.from(ends, (end, i) => end - (i ? ends[i - 1] : 0));
  let text = "";
  runs.forEach((run, i) => {
    let value = i > 2 ? run - runs[i - 2] : run;
    for (let more = true; more;) {
      const digit = ((value % 32) + 32) % 32;
      value = Math.floor(value / 32);
      more = value !== (digit & 16 ? -1 : 0);
      text += String.fromCharCode(48 + digit + (more ? 32 : 0));
    }
  });
  return text;
}

/** Whether the pixel is inside the mask of a picture of that height. */
export function has(ends, height, x, y) {
  const place = x * height + y;
  let [low, high] = [0, ends.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] > place) high = middle;
    else low = middle + 1;
  }
  return low % 2 === 1 && low < ends.length;
}

/**
 * The ends of the mask of the pixels with one value.
 *
 * @param mask [h * w] of a network's input, row by row, `width` wide.
 * @param rows, columns those of it that the picture's rows [H] and columns [W] are.
 */
export function encode(mask, width, value, rows, columns) {
  const height = rows.length;
  const found = [];
  let inside = false;
  let known = -1; // column of the mask that `edges` is of
  let edges = []; // rows of the picture where what is inside changes, from the outside at the top
  for (let x = 0; x < columns.length; x++) {
    if (columns[x] !== known) {
      known = columns[x];
      edges = [];
      for (let y = 0, was = false; y < height; y++) {
        const is = mask[rows[y] * width + known] === value;
        if (is !== was) edges.push(y);
        was = is;
      }
    }
    const start = x * height;
    if (inside && edges[0] !== 0) found.push(start); // the run ends with the column before
    edges.forEach((y, i) => {
      if (!(inside && i === 0 && y === 0)) found.push(start + y);
    });
    inside = edges.length % 2 === 1;
  }
  found.push(height * columns.length);
  return Float64Array.from(found);
}
