"""Class maps, which are PNG pictures whose numbers are read as they are."""

import zlib

from fuzz.files import refusals, written
from onelook.data.class_maps import read_class_map


def one_input(data: bytes) -> None:
    """A file, whose checksums are made right where the first byte is odd."""
    content = data[1:]
    if data[:1] and data[0] % 2:
        content = _mended(content)
    with refusals():
        assert read_class_map(written("x.png", content)).ndim == 2


def _mended(data: bytes) -> bytes:
    mended, position = data[:8], 8
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        mended += data[position:end] + zlib.crc32(data[position + 4 : end]).to_bytes(4, "big")
        position = end + 4
    return mended
