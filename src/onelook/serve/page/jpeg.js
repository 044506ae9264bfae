// What must be known of a JPEG file besides its pixels (ITU-T T.81, B.1.1).

export const isJpeg = (bytes) => bytes[0] === 0xff && bytes[1] === 0xd8;

/**
 * Whether a JPEG's end is there; browsers show what is missing before it in grey, and say nothing.
 * It need not be the last two bytes, as cameras append to their files; the thumbnail's, inside a segment, is not it.
 */
export function isWhole(bytes) {
  let at = 2;
  while (bytes[at] === 0xff && ![0xd9, 0xda].includes(bytes[at + 1])) {
    at += 2 + Math.max(2, 256 * bytes[at + 2] + bytes[at + 3] || 0);
  }
  do at = bytes.indexOf(0xff, at) + 1;
  while (at && bytes[at] !== 0xd9);
  return at > 0;
}
