"""Class maps in PNG files, as PIL writes and reads them, and files that are none."""

import io
import itertools
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from onelook.data.class_maps import class_map_of, class_names, read_class_map, read_class_numbers
from onelook.errors import DataError


def numbers(bits: int = 8, height: int = 37, width: int = 53) -> NDArray[np.uint8]:
    return np.random.default_rng(bits).integers(0, 2**bits, (height, width)).astype(np.uint8)


def with_palette(pixels: NDArray[np.uint8], path: Path, bits: int = 8) -> Path:
    """The colours repeat and have nothing to do with the numbers; the first is transparent."""
    image = Image.fromarray(pixels).convert("L")
    image.putpalette(np.random.default_rng(0).integers(0, 2, 768).astype(np.uint8).tobytes())
    image.save(path, bits=bits, transparency=0)
    return path


def complaint(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert text.isprintable()
    return text.removeprefix(str(path))


# ---- maps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_gives_its_numbers_not_its_colours(tmp_path: Path, bits: int) -> None:
    path = with_palette(numbers(bits), tmp_path / "x.png", bits)
    assert path.read_bytes()[24:26] == bytes((bits, 3))
    found = read_class_map(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, numbers(bits))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(bits: int, colour: int, rows: list[bytes], width: int) -> bytes:
    """A file written by hand, its pixels in two pieces."""
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    head = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    parts = [(b"IHDR", head), (b"tEXt", b"a\0b"), (b"IDAT", packed[:5]), (b"IDAT", packed[5:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_gives_the_numbers_of_its_bits(tmp_path: Path, bits: int) -> None:
    pixels = numbers(bits, 9, 16)
    digits = ["".join(f"{value:0{bits}b}" for value in row) for row in pixels.tolist()]
    rows = [int(row, 2).to_bytes(len(row) // 8, "big") for row in digits]
    (tmp_path / "x.png").write_bytes(png(bits, 0, rows, 16))
    np.testing.assert_array_equal(read_class_map(tmp_path / "x.png"), pixels)


def test_what_stands_behind_the_end_of_a_map_is_passed_over(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(numbers()).save(file, "png")
    (tmp_path / "x.png").write_bytes(file.getvalue() + b"more")
    np.testing.assert_array_equal(read_class_map(tmp_path / "x.png"), numbers())


def test_maps_of_real_photographs_are_what_pil_reads(shared: Callable[[str], Path]) -> None:
    folder = shared("data/coco128")
    names = read_class_numbers(folder / "mask-classes.yaml")
    assert (len(names), names[0], names[1], names[63], names[200]) == (
        130, "unlabeled", "person", "couch", "rug-merged",
    )  # fmt: skip
    images = sorted((folder / "images/val2017").glob("*.jpg"))[:10]
    for image in images:
        path = class_map_of(image)
        assert path == folder / "masks/val2017" / f"{image.stem}.png"
        found = read_class_map(path)
        np.testing.assert_array_equal(found, np.asarray(Image.open(path)))
        assert set(np.unique(found).tolist()) <= names.keys()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_a_picture_for_the_eyes_is_no_map(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        Image.fromarray(numbers().astype(np.uint16) * 256).save(tmp_path / "x.png")
    else:
        Image.fromarray(numbers()).convert(mode).save(tmp_path / "x.png")
    assert "expected class numbers, in one channel" in complaint(read_class_map, tmp_path / "x.png")


def test_what_is_no_png_picture_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    assert "No such file" in complaint(read_class_map, path)
    path.mkdir()
    assert complaint(read_class_map, path)
    Image.fromarray(numbers()).save(tmp_path / "y.jpg")
    assert complaint(read_class_map, tmp_path / "y.jpg") == ": not a PNG picture"
    (tmp_path / "empty.png").touch()
    assert complaint(read_class_map, tmp_path / "empty.png") == ": not a PNG picture"


def test_a_damaged_map_is_refused_wherever_it_is_damaged(tmp_path: Path) -> None:
    whole, path = with_palette(numbers(4, 9, 16), tmp_path / "x.png", 4).read_bytes(), tmp_path / "y.png"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert complaint(read_class_map, path)
    for i, mask in itertools.product(range(len(whole)), (0x01, 0x80)):
        damaged = bytearray(whole)
        damaged[i] ^= mask
        path.write_bytes(damaged)
        assert complaint(read_class_map, path)


@pytest.mark.parametrize(
    "parts",
    [
        [(b"IEND", b"")],
        [(b"IHDR", b"\0"), (b"IEND", b"")],
        [(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)), (b"IEND", b"")],
        [(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)), (b"IDAT", b"no"), (b"IEND", b"")],
        [(b"IHDR", struct.pack(">IIBBBBB", 0, 2, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")],
        [(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 0, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")],
        [(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0)), (b"IEND", b"")],
    ],
    ids=["no head", "a short head", "no pixels", "no packed pixels", "no width", "no bits", "too large"],
)
def test_sound_chunks_without_a_picture_are_refused(tmp_path: Path, parts: list[tuple[bytes, bytes]]) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    assert complaint(read_class_map, path)


# ---- where the map of a picture is ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("VOC2012/JPEGImages/2007_000032.jpg", "VOC2012/SegmentationClass/2007_000032.png"),
        ("images/val/a.b.jpeg", "masks/val/a.b.png"),
        ("images/images/x.png", "images/masks/x.png"),
    ],
)
def test_the_map_lies_beside_the_pictures(tmp_path: Path, image: str, expected: str) -> None:
    file = tmp_path / expected
    file.parent.mkdir(parents=True)
    with_palette(numbers(), file)
    assert class_map_of(tmp_path / image) == file


def test_where_there_is_no_map_it_says_where_it_was_looked_for(tmp_path: Path) -> None:
    image = tmp_path / "JPEGImages/x.jpg"
    with pytest.raises(DataError) as caught:
        class_map_of(image)
    assert str(caught.value) == f"{tmp_path}/SegmentationClass/x.png: no such file; expected the class map of x.jpg"
    with pytest.raises(DataError, match=r"x\.jpg: has no class map, as it is in no folder JPEGImages or images"):
        class_map_of(Path("photos/x.jpg"))


# ---- names ------------------------------------------------------------------------------------------------------------


def test_names_are_read_with_gaps_until_the_next_key(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(
        "# of maps\nother:\n  9: no\nclasses:\n  0: unlabeled\n\n  # things\n  13: stop sign \n  255: 鳥\nmore: 1\n"
    )
    assert read_class_numbers(file) == {0: "unlabeled", 13: "stop sign", 255: "鳥"}


def test_a_dataset_that_is_named_by_its_file_has_the_same_names(tmp_path: Path) -> None:
    (tmp_path / "mask-classes.yaml").write_text("classes:\n  0: ground\n  2: tree\n")
    assert class_names(tmp_path) == class_names(tmp_path / "data.yaml") == ("ground", "class 1", "tree")


def test_a_name_with_a_million_blanks_in_it_is_read_in_a_moment(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(f"classes:\n  1: a{' ' * 1_000_000}b  \n")
    assert read_class_numbers(file)[1].split() == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": names no classes"),
        ("names:\n  0: cat\n", ": names no classes"),
        ("classes:\n  0: cat\n  0: dog\n", ":3: expected 'number: name'"),
        ("classes:\n  256: cat\n", ":2: expected 'number: name'"),
        ("classes:\n  cat: 1\n", ":2: expected 'number: name'"),
        ("classes:\n  1:\n", ":2: expected 'number: name'"),
        ("classes:\n  1: a\x07\n", ":2: expected 'number: name'"),
        (f"classes:\n  {'9' * 5000}: a\n", ":2: expected 'number: name'"),
    ],
)
def test_other_lines_are_said(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    assert complaint(read_class_numbers, file).startswith(message)
