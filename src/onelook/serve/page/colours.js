// A colour a class, the same as in the pictures that onelook draws (runtime/draw.py).

const COLOURS = 512; // classes after these begin again with the first colour

/** Light, 0..1, of an sRGB value 0..255 (IEC 61966-2-1). */
const linear = (value) => (value <= 10.31475 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);

/** OKLab (Ottosson, 2020). */
function oklab([red, green, blue]) {
  const [r, g, b] = [linear(red), linear(green), linear(blue)];
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

/** Of the vivid colours, which stand out on dark and on bright pictures, each is the one least like all before it. */
const palette = (() => {
  const levels = Array.from({ length: 16 }, (_, i) => i * 17);
  const vivid = levels
    .flatMap((red) => levels.flatMap((green) => levels.map((blue) => [red, green, blue])))
    .map((rgb) => ({ rgb, lab: oklab(rgb), distance: Infinity }))
    .filter(({ lab: [lightness, a, b] }) => {
      const chroma = Math.hypot(a, b);
      return lightness > 0.5 && lightness < 0.93 && chroma > 0.08 && chroma < 0.25;
    });
  const orange = [255, 120, 40];
  const apart = ({ rgb }) => rgb.reduce((sum, value, i) => sum + Math.abs(value - orange[i]), 0);
  let last = vivid.reduce((best, colour) => (apart(colour) < apart(best) ? colour : best));
  const chosen = [last];
  while (chosen.length < COLOURS) {
    let farthest = vivid[0];
    for (const colour of vivid) {
      const squares = colour.lab.reduce((sum, value, i) => sum + (value - last.lab[i]) ** 2, 0);
      colour.distance = Math.min(colour.distance, squares);
      if (colour.distance > farthest.distance) farthest = colour;
    }
    chosen.push((last = farthest));
  }
  return chosen.map(({ rgb }) => rgb);
})();

/** RGB 0..255 of a class. */
export const colour = (number) => palette[number % COLOURS];

export const css = (number) => `rgb(${colour(number).join(" ")})`;

/** Black or white, whichever contrasts more with the colour (WCAG 2.2). */
export function ink(number) {
  const [r, g, b] = colour(number).map(linear);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05 < Math.sqrt(1.05 * 0.05) ? "#fff" : "#000";
}
