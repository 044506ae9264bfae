"""Class maps: PNG files in which a pixel's number is that of its class, as VOC's SegmentationClass has them.

JPEGImages/000012.jpg   SegmentationClass/000012.png   with a palette, for people's eyes
images/val/12.jpg       masks/val/12.png               grey, class numbers named in a YAML file
"""

import re
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from onelook.data.files import read_bytes, read_lines
from onelook.data.sample import Sample
from onelook.errors import DataError
from onelook.names import BACKGROUND, VOC
from onelook.runtime.picture import shown

FOLDERS = {"JPEGImages": "SegmentationClass", "images": "masks"}  # of pictures, and of their maps
NAMES_FILE = "mask-classes.yaml"
LARGEST_MAP = 1 << 28  # bytes
LARGEST_NAMES = 1 << 22  # bytes

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3  # kinds of colour
_NAMED = re.compile(r"\s+(\d{1,3}):\s+(\S.*)")


def class_map_of(image: Path) -> Path:
    """Where the class map of a picture is: the last of `FOLDERS` in its path exchanged, and `.png`.

    Raises:
        DataError: none of these folders is in the path, or there is no such file.
    """
    at = max((i for i, part in enumerate(image.parts[:-1]) if part in FOLDERS), default=None)
    if at is None:
        raise DataError(f"{shown(str(image))}: has no class map, as it is in no folder {' or '.join(FOLDERS)}")
    found = Path(*image.parts[:at], FOLDERS[image.parts[at]], *image.parts[at + 1 :]).with_suffix(".png")
    if not found.is_file():
        raise DataError(f"{shown(str(found))}: no such file; expected the class map of {shown(image.name)}")
    return found


def has_class_map(image: Path) -> bool:
    """Whether there is a class map of a picture."""
    try:
        class_map_of(image)
    except DataError:
        return False
    return True


def read_class_map(path: Path) -> NDArray[np.uint8]:
    """The class of each pixel, uint8 [H, W]. What VOC leaves undecided is 255.

    Raises:
        DataError: the file cannot be read, or is not a PNG picture of one channel of at most 8 bits.
    """
    try:
        head, packed = _parts(read_bytes(path, LARGEST_MAP))
    except ValueError as error:
        raise DataError(f"{shown(str(path))}: {error}") from None
    bits, colour = head[8], head[9]
    if colour not in (_GREY, _PALETTE) or bits > 8:
        raise DataError(f"{shown(str(path))}: expected class numbers, in one channel of 8 bits or of a palette")
    # OpenCV would put the palette's colours in place of the numbers; the pixels of a grey picture are stored the same way.
    plain = _SIGNATURE + _chunk(b"IHDR", head[:9] + bytes([_GREY]) + head[10:]) + _chunk(b"IDAT", packed)
    try:
        pixels = cv2.imdecode(np.frombuffer(plain + _chunk(b"IEND", b""), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise DataError(f"{shown(str(path))}: the PNG picture is damaged, or too large")
    return np.asarray(pixels // (255 // (2**bits - 1)), np.uint8)  # of fewer bits the brightest is 255 to OpenCV


def load_class_map(sample: Sample, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The class of each pixel of a sample's picture that was read at another `size` (height, width): uint8 [H, W].

    Raises:
        DataError: it has no class map, or one of another size than the picture.
    """
    path = class_map_of(sample.image)
    found = read_class_map(path)
    if found.shape != (sample.height, sample.width):
        own = f"{found.shape[1]} x {found.shape[0]}"
        raise DataError(f"{shown(str(path))}: is of {own} pixels; its picture is of {sample.width} x {sample.height}")
    return np.asarray(cv2.resize(found, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def class_names(dataset: Path) -> tuple[str, ...]:
    """What the class numbers in the maps of a dataset are called, from 0 on.

    A file `mask-classes.yaml` in its folder says it, see `read_class_numbers`; without one they are VOC's, the background
    first. A number that has no name is "class 12".

    Args:
        dataset: its folder, or a file in it.

    Raises:
        DataError: the file is there, and is no such file.
    """
    file = (dataset if dataset.is_dir() else dataset.parent) / NAMES_FILE
    if not file.is_file():
        return (BACKGROUND, *VOC)
    found = read_class_numbers(file)
    return tuple(found.get(number, f"class {number}") for number in range(max(found) + 1))


def read_class_numbers(file: Path) -> dict[int, str]:
    """The names of the class numbers in the maps, from a YAML file: `classes:`, and below it a line `12: name` for each.

    Raises:
        DataError: the file cannot be read, names none, or has another line there.
    """
    lines = read_lines(file, LARGEST_NAMES)
    found: dict[int, str] = {}
    start = next((i for i, line in enumerate(lines) if line.rstrip() == "classes:"), len(lines))
    for number, line in enumerate(lines[start + 1 :], start=start + 2):
        if line[:1].strip():  # another key
            break
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        named = _NAMED.fullmatch(line.rstrip())
        if named is None or not named[2].isprintable() or int(named[1]) > 255 or int(named[1]) in found:
            raise DataError(f"{shown(str(file))}:{number}: expected 'number: name', a number up to 255 once")
        found[int(named[1])] = named[2]
    if not found:
        raise DataError(f"{shown(str(file))}: names no classes; expected 'classes:' and lines 'number: name' below it")
    return found


def _parts(data: bytes) -> tuple[bytes, bytes]:
    """What the header of a PNG file says, and its pixels, packed. Raises ValueError saying what is wrong."""
    if not data.startswith(_SIGNATURE):
        raise ValueError("not a PNG picture")
    chunks: list[tuple[bytes, bytes]] = []
    position = len(_SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        chunk = data[position:end]
        if len(chunk) < 12 or end > len(data) or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise ValueError("the PNG picture is cut short or damaged")
        chunks.append((chunk[4:8], chunk[8:-4]))
        position = end
    if chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise ValueError("the PNG picture is damaged")
    return chunks[0][1], b"".join(content for kind, content in chunks if kind == b"IDAT")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
