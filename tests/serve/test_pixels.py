"""What headers claim, against OpenCV's decoder."""

import io
import struct
import time

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onelook.serve.pixels import claimed
from serve_client import jpeg

IMAGE = cv2.resize(np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8), (301, 203))
STARTS = [
    b"",
    b"BM",
    b"II*\0",
    b"MM\0+",
    b"RIFF....WEBP",
    b"\x89PNG",
    b"GIF8",
    b"P6",
    b"P7",
    b"\xff\xd8",
    b"....ftypavif",
]
WEBP = {"lossy": [cv2.IMWRITE_WEBP_QUALITY, 50], "lossless": [cv2.IMWRITE_WEBP_QUALITY, 101]}


@pytest.mark.parametrize(
    "suffix", ["jpg", "png", "webp", "gif", "bmp", "tiff", "jp2", "avif", "ppm", "pgm", "pbm", "pam"]
)
def test_a_header_claims_what_is_decoded(suffix: str) -> None:
    try:
        data = cv2.imencode(f".{suffix}", IMAGE if suffix not in ("pgm", "pbm") else IMAGE[..., 0])[1].tobytes()
    except cv2.error:
        pytest.skip(f"OpenCV writes no {suffix}")
    height, width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]
    assert claimed(data) == height * width


@pytest.mark.parametrize("kind", ["lossy", "lossless", "transparent"])
def test_each_kind_of_webp(kind: str) -> None:
    image = np.dstack([IMAGE, IMAGE[..., :1]]) if kind == "transparent" else IMAGE
    data = cv2.imencode(".webp", image, WEBP.get(kind, WEBP["lossy"]))[1].tobytes()
    assert claimed(data) == 301 * 203


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4, 16])
def test_each_kind_of_tiff(order: str, kind: int) -> None:
    entry = {3: "HHIHxx", 4: "HHII", 16: "HHQQ"}[kind]
    entries = [struct.pack(order + entry, tag, kind, 1, side) for tag, side in ((256, 301), (257, 203))]
    mark = b"II" if order == "<" else b"MM"
    if kind == 16:
        data = mark + struct.pack(order + "HHHQQ", 43, 8, 0, 16, 2)
    else:
        data = mark + struct.pack(order + "HIH", 42, 8, 2)
    assert claimed(data + b"".join(entries) + bytes(8)) == 301 * 203


def test_a_png_with_exif_and_a_jpeg_after_garbage_claim_something_too() -> None:
    exif = Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, "png", exif=exif)
    assert claimed(file.getvalue()) == 301 * 203
    data = jpeg(0, 48, 64)
    assert claimed(data[:2] + b"garbage" + data[2:]) == 48 * 64


def test_a_comment_in_a_pnm() -> None:
    assert claimed(b"P6 # a comment\n# 9 9\n301\t203\n255\n") == 301 * 203


@given(st.sampled_from(STARTS), st.binary())
def test_nothing_is_raised(start: bytes, rest: bytes) -> None:
    assert claimed(start + rest) >= 0


def test_hostile_headers_take_no_time() -> None:
    start = time.perf_counter()
    assert claimed(b"....ftypavif" + b"ispe" + bytes(12) * 100_000 + b"ispe.............." * 1_000_000) >= 2**62
    assert claimed(b"\xff\xd8?" + b"\xff\xc0" * 5_000_000) >= 2**62
    assert claimed(b"P6" + b" " * 10_000 + b"x") == 0
    assert claimed(b"P7" + b"WIDTH 1" * 10_000) == 0
    assert time.perf_counter() - start < 5
