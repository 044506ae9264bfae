"""The size of a picture from its header is that of the decoded picture."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onelook.data.header import picture_size
from onelook.errors import SourceError
from onelook.runtime.picture import read


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_orientation_counts_as_in_the_decoded_picture(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif[0x0112] = orientation
    path = tmp_path / f"x.{suffix}"
    Image.new("RGB", (50, 20)).save(path, exif=exif)
    assert picture_size(path) == read(path).shape[1::-1]


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tiff", "gif"])
@pytest.mark.parametrize("grey", [False, True])
def test_every_format_is_measured(tmp_path: Path, suffix: str, grey: bool) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.new("L" if grey else "RGB", (51, 23)).save(path)
    assert picture_size(path) == (51, 23)


def test_progressive_jpeg_with_large_segments_before_the_frame(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.new("RGB", (51, 23)).save(path, progressive=True, comment=b"x" * 60000, icc_profile=b"y" * 200000)
    assert picture_size(path) == (51, 23)


def test_what_is_no_picture_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("hello")
    with pytest.raises(SourceError, match="not a picture"):
        picture_size(tmp_path / "x.jpg")
    with pytest.raises(SourceError, match="no such file"):
        picture_size(tmp_path / "y.jpg")
    with pytest.raises(SourceError):
        picture_size(tmp_path)


JPEG, PNG = (cv2.imencode(suffix, np.zeros((20, 50, 3), np.uint8))[1].tobytes() for suffix in (".jpg", ".png"))


@given(
    st.sampled_from([JPEG, PNG]), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=4), st.data()
)
def test_damaged_headers_give_a_size_or_a_source_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, changes: list[tuple[int, int]], draw: st.DataObject
) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged[: draw.draw(st.integers(0, len(damaged)))])
    try:
        width, height = picture_size(path)
    except SourceError:
        return
    assert width > 0
    assert height > 0
