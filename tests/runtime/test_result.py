"""What detections and classifications share: the picture they are of, how it is drawn on and saved."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from onelook import Classification, Detections, Error
from onelook.runtime.result import describe, encode, picture_of, rounded

Make = Callable[..., Any]


def detections(**changes: Any) -> Detections:
    return Detections([[1, 2, 30, 20]], [0.9], [1], ("person", "dog"), **{"width": 40, "height": 30, **changes})  # type: ignore[arg-type]


def classification(**changes: Any) -> Classification:
    return Classification([0.1, 0.9], ("person", "dog"), **{"width": 40, "height": 30, **changes})  # type: ignore[arg-type]


both = pytest.mark.parametrize("make", [detections, classification])


def noise(height: int = 30, width: int = 40) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@both
def test_the_picture_is_the_one_given_or_the_one_kept_or_read_again(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "array 1.png"
    Image.fromarray(noise()).save(path)
    kept = np.zeros((30, 40, 3), np.uint8)
    assert picture_of(make(image=kept, source=str(path))) is kept
    np.testing.assert_array_equal(picture_of(make(image=kept), noise()), noise())
    np.testing.assert_array_equal(picture_of(make(source=str(path))), noise())
    np.testing.assert_array_equal(picture_of(make(), noise()[..., 0])[..., 1], noise()[..., 0])  # a grey one serves
    np.testing.assert_array_equal(picture_of(make(), Image.fromarray(noise())), noise())  # type: ignore[arg-type]


@both
@pytest.mark.parametrize(
    ("about", "what"),
    [
        ({}, "array"),
        ({"source": "image 12"}, "image 12"),
        ({"source": "bytes 0"}, "bytes 0"),
        ({"source": "a.mp4", "frame": 0}, "frame 0 of a.mp4"),
        ({"source": "camera 0", "frame": 3}, "frame 3 of camera 0"),
        ({"source": "a\nb.mp4", "frame": 1}, r"'frame 1 of a\nb.mp4'"),
    ],
)
def test_pictures_that_cannot_be_read_again_are_asked_for(make: Make, about: dict[str, Any], what: str) -> None:
    with pytest.raises(Error) as error:
        picture_of(make(**about))
    assert str(error.value) == f"{what}: the picture was not kept; give it to draw: .draw(image)"


@both
@pytest.mark.parametrize("source", ["array", "a\nb.jpg", "\x1b[2J.jpg"])
def test_a_picture_of_another_size_is_refused_in_one_line(make: Make, source: str) -> None:
    with pytest.raises(Error, match="cannot draw on a picture of 30 × 40; the result is of 40 × 30") as error:
        picture_of(make(source=source), noise(40, 30))
    assert str(error.value).isprintable()


@both
def test_a_description_names_the_frame_of_a_video_alone(make: Make) -> None:
    assert describe(make(source="x.jpg", fps=25.0)) == {"source": "x.jpg", "width": 40, "height": 30}
    of_video = make(source="x.mp4", frame=0, time=0.0, fps=25.0)
    assert list(describe(of_video).items())[:3] == [("source", "x.mp4"), ("frame", 0), ("time", 0.0)]
    assert dict(list(of_video.to_dict().items())[:5]) == describe(of_video)


@given(st.lists(st.floats(0, 1, width=32)), st.integers(0, 6))
def test_rounded_numbers_are_pythons_and_as_short_as_can_be(values: list[float], decimals: int) -> None:
    found = rounded(np.array(values, np.float32), decimals)
    assert all(type(value) is float for value in found)
    assert found == pytest.approx(values, abs=0.5001 * 10.0**-decimals)
    assert all(float(f"{value:.{decimals}f}") == value for value in found)
    assert json.dumps(rounded(np.array([0.9, 0.1], np.float32), 5)) == "[0.9, 0.1]"


@both
def test_saving_draws_and_replaces_the_file_there_is(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_text("old")
    found = make(image=np.full((300, 400, 3), 90, np.uint8), width=400, height=300)
    assert found.save(str(path)) == path
    drawn = np.asarray(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(drawn, found.draw())
    assert (drawn != 90).any()
    assert list(tmp_path.iterdir()) == [path]


def test_the_bytes_are_of_the_format_and_quality_of_their_suffix() -> None:
    for name, kind in (("x.jpg", "JPEG"), ("x.JPEG", "JPEG"), ("x.y.png", "PNG"), ("x.webp", "WEBP"), ("x.bmp", "BMP")):
        with Image.open(io.BytesIO(encode(noise(), Path(name)))) as image:
            assert image.format == kind
            if kind == "JPEG":
                reference = io.BytesIO()
                Image.fromarray(noise()).save(reference, "JPEG", quality=90)
                assert image.quantization == Image.open(reference).quantization  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["x", "x.txt", "jpg", "x.jpg.", "x.pdf"])
def test_names_that_tell_no_format_are_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(Error, match=r"^cannot write .* is no picture format known here; try \.jpg or \.png"):
        encode(noise(), Path(name))
