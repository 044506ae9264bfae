"""The size of a picture from the first bytes of its file, without decoding it."""

import os
import struct
from typing import BinaryIO, NamedTuple

_STANDALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length: TEM and the restarts
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame; not Huffman tables, JPG, arithmetic coding
_MOST_SEGMENTS = 1000  # before the frame of a JPEG; a profile and a thumbnail take a few dozen
_MOST_CHUNKS = 100_000  # of a PNG; of the usual 8 KiB, these make 800 MB


class JpegHeader(NamedTuple):
    """What the header of a JPEG says of the picture."""

    width: int
    """Upright, in pixels."""
    height: int
    """Upright, in pixels."""
    orientation: int
    """EXIF's: 1 to 8, and 1 where there is none."""


def size_of(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height in pixels, upright as `runtime.picture.decode` gives the picture (EXIF orientation applied).

    Args:
        file: at its start; of a JPEG or PNG its header is read, which takes microseconds.

    Returns:
        None for another format, and where it takes a decoder to say.
    """
    start = file.read(2)
    if start == b"\x89P":
        return _png(file)
    file.seek(0)
    header = jpeg_header(file)
    return None if header is None else header[:2]


def jpeg_header(file: BinaryIO) -> JpegHeader | None:
    """The header of a JPEG, a file at its start; None of another format, and where it takes a decoder to say."""
    if file.read(2) != b"\xff\xd8":
        return None
    orientation = None
    for _ in range(_MOST_SEGMENTS):
        head = file.read(2)
        if len(head) < 2 or head[0] != 0xFF:
            return None
        marker = head[1]
        if marker == 0xFF:  # any number of these may fill up before a marker
            file.seek(-1, os.SEEK_CUR)
            continue
        if marker in _STANDALONE:
            continue
        length = int.from_bytes(file.read(2), "big") - 2
        if length < 0:
            return None
        if marker in _FRAMES:
            frame = file.read(5)
            if len(frame) < 5:
                return None
            height, width = struct.unpack(">xHH", frame)
            if not height or not width:  # a height of 0 is told after the first scan
                return None
            if orientation is not None and orientation >= 5:
                width, height = height, width
            return JpegHeader(width, height, orientation or 1)
        if marker == 0xE1 and orientation is None:
            segment = file.read(length)
            if segment.startswith(b"Exif\0"):
                orientation = _orientation(segment[6:])
        else:
            file.seek(length, os.SEEK_CUR)
    return None


def _png(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height of the PNG after its first two bytes; None where it is damaged or holds an orientation."""
    head = file.read(22)
    if len(head) < 22 or head[:14] != b"NG\r\n\x1a\n\0\0\0\rIHDR":
        return None
    width, height = struct.unpack(">II", head[14:])
    file.seek(9, os.SEEK_CUR)
    for _ in range(_MOST_CHUNKS):
        chunk = file.read(8)
        if len(chunk) < 8:
            return None
        length, kind = struct.unpack(">I4s", chunk)
        if kind == b"eXIf":
            return None
        if kind == b"IEND":
            return (width, height) if width and height else None
        file.seek(length + 4, os.SEEK_CUR)
    return None


def _orientation(tiff: bytes) -> int:
    """The orientation that EXIF data say (TIFF 6.0, tag 274), 1 to 8; those from 5 on exchange width and height."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    start = struct.unpack(order + "I", tiff[4:8])[0]
    if start + 2 > len(tiff):
        return 1
    count = struct.unpack_from(order + "H", tiff, start)[0]
    for entry in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == 274:
            return int(value) if 1 <= value <= 8 else 1
    return 1
