// Whether a picture file's end is there: browsers show what is missing in grey, or clear, and say nothing.

const is = (bytes, start, ...expected) => expected.every((value, i) => bytes[start + i] === value);
const word = (bytes, at) => new DataView(bytes.buffer, bytes.byteOffset + at, 4);

export const isJpeg = (bytes) => is(bytes, 0, 0xff, 0xd8);

/** The format of a picture that is cut short; undefined where it is whole, or of a format that is not known here. */
export function cutShort(bytes) {
  if (isJpeg(bytes)) return hasEndOfImage(bytes) ? undefined : "JPEG";
  if (is(bytes, 0, 0x89, 0x50, 0x4e, 0x47)) return hasLastChunk(bytes) ? undefined : "PNG";
  if (is(bytes, 0, 0x52, 0x49, 0x46, 0x46)) return hasAllOfRiff(bytes) ? undefined : "WebP";
  return undefined;
}

/**
 * JPEG, ITU-T T.81, B.1.1. The marker need not be the last two bytes, as cameras append to their files; the
 * thumbnail's, inside a segment, is not it.
 */
function hasEndOfImage(bytes) {
  let at = 2;
  while (bytes[at] === 0xff && ![0xd9, 0xda].includes(bytes[at + 1])) {
    at += 2 + Math.max(2, 256 * bytes[at + 2] + bytes[at + 3] || 0);
  }
  do at = bytes.indexOf(0xff, at) + 1;
  while (at && bytes[at] !== 0xd9);
  return at > 0;
}

/** PNG, section 5.3: chunks of a length, a name, so many bytes and a checksum, the last of which is IEND. */
function hasLastChunk(bytes) {
  for (let at = 8; at + 12 <= bytes.length; at += 12 + word(bytes, at).getUint32(0)) {
    if (is(bytes, at + 4, 0x49, 0x45, 0x4e, 0x44)) return true;
  }
  return false;
}

/** WebP, RFC 9649, section 2.4: the bytes that come behind the first eight. */
const hasAllOfRiff = (bytes) => bytes.length >= 8 && 8 + word(bytes, 4).getUint32(0, true) <= bytes.length;
