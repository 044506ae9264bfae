"""JPEG pictures that are decoded at a fraction of their size, since the model needs no more of them."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from onelook import Classification, Classifier, Detector, SourceError
from onelook.runtime import model, picture
from onelook.runtime.header import jpeg_header
from onelook.runtime.picture import Reduced, decode, decode_reduced
from onelook.runtime.resize import ENOUGH, GREY, place, reduction
from onelook.runtime.sources import Picture, from_bytes, pictures

Make = Callable[..., Path]


def ramps(width: int, height: int) -> NDArray[np.uint8]:
    """A picture whose red tells the column of a pixel and whose green the row, from 0 to 255 along each side."""
    x, y = (255 * (np.arange(side) + 0.5) / side for side in (width, height))
    red, green = np.broadcast_to(x, (height, width)), np.broadcast_to(y[:, None], (height, width))
    return np.stack((red, green, np.full((height, width), 99.0)), -1).round().astype(np.uint8)


def jpeg(image: NDArray[np.uint8], orientation: int = 1, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", exif=exif, **{"quality": 100, "subsampling": 0} | options)
    return buffer.getvalue()


@pytest.mark.parametrize("factor", [4, 8])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("resize", "crop"), [("letterbox", 1.0), ("stretch", 1.0), ("crop", 0.875)])
def test_a_reduced_picture_lies_where_the_whole_one_does_to_an_eighth_of_a_pixel(
    factor: int, orientation: int, resize: str, crop: float
) -> None:
    for width, height in ((385, 391), (393, 312)):  # of one column, and of one row, more than whole blocks
        data = jpeg(ramps(width, height), orientation)
        whole, reduced = decode(data), decode_reduced(data, "x", lambda width, height: factor)
        assert reduced.factor == factor
        assert (reduced.height, reduced.width) == whole.shape[:2]
        expected, found = (np.full((24, 28, 3), 7, np.uint8) for _ in range(2))
        own = place(reduced, found, resize, "linear", crop)
        assert own == place(whole, expected, resize, "linear", crop)
        assert ((found == GREY).all(-1) == (expected == GREY).all(-1)).all()
        inner = (expected != GREY).any(-1)
        rows, columns = (np.flatnonzero(inner.any(axis))[2:-2] for axis in (1, 0))  # ramps are cut at the edges
        seen = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        moved = (found[seen].astype(float) - expected[seen])[..., :2]
        for axis in (0, 1):  # the ramps' slope in steps a pixel of the input, along the rows and down the columns
            mean = expected[seen][..., :2].astype(float).mean(axis)
            slope = np.abs(np.diff(mean, axis=0)).mean(0).max()
            assert (
                np.abs(moved.mean(axis)[..., np.abs(np.diff(mean, axis=0)).mean(0).argmax()]).max() <= slope / 8 + 0.3
            )


@pytest.mark.parametrize(("resize", "crop"), [("letterbox", 1.0), ("stretch", 1.0), ("crop", 0.875)])
def test_no_more_is_left_out_than_the_input_can_do_without(resize: str, crop: float) -> None:
    for width, height in ((4000, 3000), (3000, 4000), (640, 480), (2000, 100), (10, 9000)):
        for size in ((320, 320), (96, 640)):
            factor = reduction(width, height, size, resize, "linear", crop)
            assert factor in (1, 2, 4, 8)
            assert reduction(width, height, size, resize, "darknet", crop) == 1
            canvas = np.zeros((*size, 3), np.uint8)
            scale = place(np.zeros((height, width, 3), np.uint8), canvas, resize, "linear", crop).scale
            assert factor == 1 or max(scale) * factor * ENOUGH <= 1
            assert factor == 8 or max(scale) * factor * 2 * ENOUGH > 1


def test_only_jpegs_are_reduced_and_only_if_asked() -> None:
    image = ramps(80, 64)
    for data in (jpeg(image), cv2.imencode(".png", image)[1].tobytes(), cv2.imencode(".bmp", image)[1].tobytes()):
        found = decode_reduced(data, "x", lambda width, height: 1)
        assert (found.pixels == decode(data)).all()
        assert found[1:] == (80, 64, 1, 0, 0)
    png = cv2.imencode(".png", image)[1].tobytes()
    assert decode_reduced(png, "x", lambda width, height: 8).factor == 1


@pytest.mark.parametrize("options", [{"subsampling": 2}, {"progressive": True}, {"mode": "L"}, {"mode": "CMYK"}])
def test_every_kind_of_jpeg_is_reduced_to_its_own_colours(options: dict[str, Any]) -> None:
    image = np.full((96, 128, 3), (200, 40, 90), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).convert(options.pop("mode", "RGB")).save(buffer, "JPEG", quality=95, **options)
    data = buffer.getvalue()
    found = decode_reduced(data, "x", lambda width, height: 4)
    assert found.pixels.shape == (24, 32, 3)
    assert np.abs(found.pixels.astype(int) - decode(data)[0, 0]).max() <= 2


def test_a_header_that_opencv_reads_otherwise_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    header = jpeg_header(io.BytesIO(jpeg(ramps(80, 64))))
    assert header is not None
    monkeypatch.setattr(picture, "jpeg_header", lambda file: header._replace(width=64, height=80))
    found = decode_reduced(jpeg(ramps(80, 64)), "x", lambda width, height: 2)
    assert (found.width, found.height, found.factor) == (80, 64, 1)


def test_damaged_pictures_are_the_same_errors() -> None:
    for data in (b"", b"\xff\xd8\xff", jpeg(ramps(80, 64))[:-500], b"hello"):
        with pytest.raises(SourceError) as expected:
            decode(data, "x.jpg")
        with pytest.raises(SourceError) as found:
            decode_reduced(data, "x.jpg", lambda width, height: 8)
        assert str(found.value) == str(expected.value)


def test_pictures_of_files_and_bytes_have_their_data(tmp_path: Path) -> None:
    data = jpeg(ramps(80, 64))
    (tmp_path / "x.jpg").write_bytes(data)
    for found in (*pictures([tmp_path, data]), from_bytes(data, "upload")):
        assert found.data is not None
        assert found.data() == data
    (array,) = pictures(ramps(80, 64))
    assert array.data is None


# Models.


@pytest.fixture
def factors(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """By how much each picture was reduced that a model has looked at."""
    seen: list[int] = []

    def spy(image: NDArray[np.uint8] | Reduced, *arguments: Any) -> Any:
        seen.append(image.factor if isinstance(image, Reduced) else 1)
        return place(image, *arguments)

    monkeypatch.setattr(model, "place", spy)
    return seen


@pytest.mark.parametrize("orientation", [1, 6])
def test_results_are_of_the_whole_picture(
    classifier_file: Make, factors: list[int], tmp_path: Path, orientation: int
) -> None:
    classifier = Classifier(classifier_file(), "onnxruntime", threads=1)
    path = tmp_path / "x.jpg"
    path.write_bytes(jpeg(ramps(1001, 799), orientation))
    (kept,) = classifier.stream(path, keep_images=True)
    whole = decode(path.read_bytes())
    assert kept.image is not None
    assert (kept.image == whole).all()
    exact = classifier(whole)
    assert factors == [8, 1]
    np.testing.assert_allclose(kept.probabilities, exact.probabilities, atol=0.01)
    for found in (classifier(path), classifier([path])[0], *classifier.stream(path), *classifier.stream([path] * 2)):
        assert (found.width, found.height) == whole.shape[1::-1]
        assert found.image is None
        assert np.array_equal(found.probabilities, kept.probabilities)
        assert found.draw().shape == whole.shape
    assert factors[2:] == [8] * 5


def test_pictures_that_are_in_no_file_are_kept_unless_not_wanted(classifier_file: Make, factors: list[int]) -> None:
    classifier = Classifier(classifier_file(), "onnxruntime", threads=1)
    data = jpeg(ramps(1000, 800))
    (kept,), (light,) = classifier.stream([data]), classifier.stream([data], keep_images=False)
    assert (light.width, light.height, light.image) == (1000, 800, None)
    assert np.array_equal(kept.image, decode(data))
    assert np.array_equal(kept.probabilities, light.probabilities)
    assert factors == [8, 8]
    one = Picture("upload.jpg", lambda: decode(data))  # of which only `load` is known
    results = classifier.batch([one, from_bytes(data, "a")], classifier.session(1))
    assert [found.width for found in results if isinstance(found, Classification)] == [1000] * 2
    assert factors[2:] == [1, 8]


def test_models_of_darknet_see_the_pixels_that_darknet_saw(
    model_file: Make, factors: list[int], tmp_path: Path
) -> None:
    detector = Detector(model_file("v3"), "onnxruntime", threads=1)
    path = tmp_path / "x.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (640, 960, 3), np.uint8)
    path.write_bytes(jpeg(noise))
    (light,), (kept,) = detector.stream(path), detector.stream(path, keep_images=True)
    assert np.array_equal(light.boxes, kept.boxes)
    assert factors == [1, 1]
