"""How many pixels the header of a picture file claims, so that too many are refused before they are decoded."""

import io
import itertools
import re
import struct
from collections.abc import Iterator

from onelook.runtime.header import jpeg_header
from onelook.runtime.picture import costly_sides, is_costly

MOST = 1000  # places where one file may say its sides; a picture of tiles has a few

# Where a JPEG without a plain header has its frame (ITU-T T.81, B.2.2): marker, length, precision, height, width.
_FRAME = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]...(.{4})", re.DOTALL)
# Of PNM, OpenCV passes over any one byte behind a number.
_PNM = re.compile(
    rb"P[1-6Ff](?:\s|#[^\n\r]*[\n\r])+(\d+)(?!\d)(?s:.)(?:\s|#[^\n\r]*[\n\r])*(\d+)"
    rb"|P7(?s:.*?)WIDTH (\d+)(?s:.*?)HEIGHT (\d+)"
)


def claimed(data: bytes) -> int:
    """The pixels of a picture file, as its header has them: JPEG, PNG, WebP, GIF, BMP, TIFF, JPEG 2000, AVIF, PNM.

    Returns:
        0 for another format, and where the header says nothing; never less than OpenCV will decode of these.
    """
    try:
        width, height = _sides(data)
    except (struct.error, IndexError, OverflowError):
        return 0
    return abs(width * height)


def _sides(data: bytes) -> tuple[int, int]:
    if data.startswith(b"\xff\xd8"):
        header = jpeg_header(io.BytesIO(data))
        return header[:2] if header else _largest(_unpack(">HH", frame[1], 0) for frame in _FRAME.finditer(data))
    if data.startswith(b"\x89PNG"):
        return _unpack(">II", data, 16)
    if data.startswith(b"GIF8"):
        return _unpack("<HH", data, 6)
    if data.startswith(b"BM"):
        return _unpack("<HH" if data[14] == 12 else "<ii", data, 18)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith((b"II", b"MM")):
        return _tiff(data)
    if is_costly(data):
        return _largest(costly_sides(data))
    if found := _PNM.match(data[:4096]):
        width, height = filter(None, found.groups())
        return int(width[:20]), int(height[:20])
    return 0, 0


def _unpack(form: str, data: bytes, start: int) -> tuple[int, int]:
    one, other = struct.unpack_from(form, data, start)
    return one, other


def _largest(sides: Iterator[tuple[int, int]]) -> tuple[int, int]:
    """Of several pairs of sides that with the most pixels; of more than `MOST` an absurd one."""
    pairs = list(itertools.islice(sides, MOST + 1))
    if len(pairs) > MOST:
        return 2**32, 2**32
    return max(pairs, key=lambda pair: pair[0] * pair[1], default=(0, 0))


def _webp(data: bytes) -> tuple[int, int]:
    """RFC 9649: lossy (section 2.5), lossless (2.6) or extended (2.7)."""
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = _unpack("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1


def _tiff(data: bytes) -> tuple[int, int]:
    """TIFF 6.0, section 2, and BigTIFF: the tags ImageWidth and ImageLength of the first directory."""
    order = "<" if data.startswith(b"II") else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    start = struct.unpack_from(order + ("8xQ" if big else "4xI"), data)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), data, start)[0]
    size = 20 if big else 12
    sides = {256: 0, 257: 0}
    first = start + (8 if big else 2)
    for entry in range(first, min(first + size * count, len(data) - size + 1), size):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in sides:
            value = {3: "H", 16: "Q"}.get(kind, "I")
            sides[tag] = struct.unpack_from(order + value, data, entry + (12 if big else 8))[0]
    return sides[256], sides[257]
