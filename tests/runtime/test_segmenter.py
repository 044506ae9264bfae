"""Pictures in, masks out: against ONNX Runtime on pictures that are prepared here, and plain loops back to the picture."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import onelook
import painters
from onelook import Classifier, Detections, Detector, ModelError, Segmentation, Segmenter, SourceError
from onelook.runtime.session import open_session
from painters import HEIGHT, INSTANCE, SEMANTIC, WIDTH

Pixels = NDArray[np.uint8]
ENGINES = ["onnxruntime", "openvino"]
SIZES = [(64, 96), (40, 100), (100, 33), (32, 48), (9, 7), (1, 1), (300, 200)]


def photograph(seed: int, height: int = 64, width: int = 96) -> Pixels:
    """A few squares of any colour."""
    squares = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), np.uint8)
    return cv2.resize(squares, (width, height), interpolation=cv2.INTER_NEAREST)


def letterboxed(image: Pixels) -> tuple[Pixels, tuple[int, int, int, int]]:
    """The picture between bars of 128, and where it is: x, y, width, height."""
    height, width = image.shape[:2]
    wide = WIDTH if WIDTH * height < HEIGHT * width else max(1, width * HEIGHT // height)
    tall = HEIGHT if wide < WIDTH or WIDTH * height == HEIGHT * width else max(1, height * WIDTH // width)
    x, y = (WIDTH - wide) // 2, (HEIGHT - tall) // 2
    canvas = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    canvas[y : y + tall, x : x + wide] = cv2.resize(image, (wide, tall))
    return canvas, (x, y, wide, tall)


def of_picture(mask: NDArray[np.generic], image: Pixels, place: tuple[int, int, int, int]) -> NDArray[np.generic]:
    """Each pixel of the picture takes from its part of the input what lies where its centre does."""
    x, y, wide, tall = place
    height, width = image.shape[:2]
    found = np.zeros((height, width), mask.dtype)
    for row in range(height):
        for column in range(width):
            found[row, column] = mask[
                y + (2 * row + 1) * tall // (2 * height), x + (2 * column + 1) * wide // (2 * width)
            ]
    return found


@pytest.fixture(scope="module")
def semantic_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return painters.semantic(tmp_path_factory.mktemp("models") / "semantic.onnx")


@pytest.fixture(scope="module")
def instance_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return painters.instance(tmp_path_factory.mktemp("models") / "instance.onnx")


# Semantic segmentation.


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", SIZES)
def test_each_pixel_gets_the_class_of_the_nearest_one_of_the_input(
    semantic_file: Path, engine: str, size: tuple[int, int]
) -> None:
    pytest.importorskip(engine)
    image = photograph(sum(size), *size)
    found = Segmenter(semantic_file, engine)(image)
    assert isinstance(found, Segmentation)
    assert (found.height, found.width, found.class_names) == (*size, painters.SEMANTIC_NAMES)
    canvas, place = letterboxed(image)
    np.testing.assert_array_equal(found.mask, of_picture(canvas[..., 0] // 64, image, place))
    np.testing.assert_array_equal(found.image, image)


@pytest.mark.parametrize("sampling", ["linear", "darknet"])
def test_a_stretched_picture_comes_back_whole(tmp_path: Path, sampling: str) -> None:
    path = painters.semantic(tmp_path / "x.onnx", resize="stretch", sampling=sampling)
    image = np.zeros((HEIGHT * 4, WIDTH * 2, 3), np.uint8)
    image[: HEIGHT * 2], image[:, WIDTH:] = 70, 200
    mask = Segmenter(path, "onnxruntime")(image).mask
    off = np.abs(mask.astype(int) - image[..., 0] // 64) > 0  # along the borders, which are blurred
    assert not off[8 : HEIGHT * 2 - 8].any(0)[list(range(WIDTH - 8)) + list(range(WIDTH + 8, 2 * WIDTH))].any()
    assert off.mean() < 0.06


def test_bars_are_nobodys_pixels_even_where_darknet_halves_one(tmp_path: Path) -> None:
    path = painters.semantic(tmp_path / "x.onnx", sampling="darknet")
    image = np.full((HEIGHT, WIDTH - 1, 3), 200, np.uint8)  # the bars, 128, are of class 2
    assert (Segmenter(path, "onnxruntime")(image).mask == 3).all()


def test_streams_keep_the_order_past_a_broken_picture(semantic_file: Path, tmp_path: Path) -> None:
    for i in range(5):
        cv2.imwrite(str(tmp_path / f"{i}.png"), photograph(i)[..., ::-1])
    (tmp_path / "3.png").write_bytes(b"broken")
    segmenter = Segmenter(semantic_file, "onnxruntime", threads=2)
    for batch in (1, 3):
        errors: list[SourceError] = []
        found = list(segmenter.stream(tmp_path, batch=batch, on_error=errors.append, keep_images=True))
        assert [Path(one.source).stem for one in found] == ["0", "1", "2", "4"]
        for one in found:
            image = photograph(int(Path(one.source).stem))
            np.testing.assert_array_equal(one.mask, segmenter(image).mask)
            np.testing.assert_array_equal(one.image, image)
        assert [Path(str(error).split(":")[0]).name for error in errors] == ["3.png"]


def test_load_gives_the_class_of_the_files_task(semantic_file: Path, instance_file: Path) -> None:
    loaded = onelook.load(semantic_file, engine="onnxruntime", threads=1)
    assert type(loaded) is Segmenter
    assert repr(loaded) == f"Segmenter({str(semantic_file)!r}, 4 classes, 48x32, onnxruntime (CPU))"
    assert type(onelook.load(instance_file)) is Detector
    for kind in (Classifier, Detector):
        with pytest.raises(ModelError, match=f"is a model to segment, not to {kind.task}"):
            kind(semantic_file)


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        (SEMANTIC.replace("uint8[B, 32, 48] mask", "uint8[B, 48, 32] mask"), r"shape \(1, 48, 32\), uint8"),
        (SEMANTIC.replace("uint8[B, 32, 48] mask", "int64[B, 32, 48] mask"), r"shape \(1, 32, 48\), int64"),
    ],
)
def test_a_mask_of_another_shape_or_type_is_refused(tmp_path: Path, graph: str, found: str) -> None:
    last = "Cast <to: int = 7> (mask_)" if "int64" in found else "Transpose <perm: ints = [0, 2, 1]> (mask_)"
    graph = graph.replace("mask = Cast <to: int = 2> (whole)", f"mask_ = Cast <to: int = 2> (whole)\n mask = {last}")
    segmenter = Segmenter(painters.semantic(tmp_path / "x.onnx", graph), "onnxruntime")
    with pytest.raises(ModelError, match=rf"gives a mask of {found}; expected \(1, 32, 48\), uint8"):
        segmenter(photograph(0))


def test_files_that_contradict_themselves_are_refused_in_one_line(tmp_path: Path) -> None:
    cropped = painters.semantic(tmp_path / "x.onnx", resize="crop")
    with pytest.raises(ModelError, match=r"its metadata is damaged: .* masks are of whole pictures"):
        Segmenter(cropped)
    with pytest.raises(ModelError, match=r"its metadata is damaged: .* masks are of whole pictures"):
        Detector(painters.instance(tmp_path / "x.onnx", resize="crop"))
    few = Segmenter(painters.semantic(tmp_path / "y.onnx", names='["a", "b"]'))
    with pytest.raises(ModelError, match="finds class 3; its metadata names 2 classes"):
        few(np.full((9, 9, 3), 255, np.uint8))
    with pytest.raises(ModelError, match="is no model to segment: expected the inputs image and the outputs mask"):
        Segmenter(painters.semantic(tmp_path / "z.onnx", SEMANTIC.replace("mask", "other")))


# Instance segmentation.


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", SIZES)
def test_each_object_has_the_pixels_nearest_to_those_of_its_mask(
    instance_file: Path, engine: str, size: tuple[int, int]
) -> None:
    pytest.importorskip(engine)
    image = photograph(sum(size), *size)
    found = Detector(instance_file, engine)(image)
    assert isinstance(found, Detections)
    assert found.names == ["dog", "cat"]
    canvas, place = letterboxed(image)
    masks = np.asarray(found.masks)
    assert masks.shape == (2, *size)
    for i in range(2):
        np.testing.assert_array_equal(masks[i], of_picture(canvas[..., i] > 127, image, place))


def test_masks_go_with_their_detections_through_batches_thresholds_and_nothing_found(instance_file: Path) -> None:
    detector = Detector(instance_file, "onnxruntime", threads=2)
    images = [photograph(i) for i in range(5)]
    for batch in (1, 2, 5):
        for image, found in zip(images, detector.stream(images, batch=batch), strict=True):
            np.testing.assert_array_equal(np.asarray(found.masks), np.asarray(detector(image).masks))
    (sure,) = np.asarray(detector(images[0], score_threshold=0.7).masks)
    np.testing.assert_array_equal(sure, detector(images[0]).masks[0])
    nothing = detector(images[0], score_threshold=0.95)
    assert (len(nothing), np.asarray(nothing.masks).shape) == (0, (0, 64, 96))


def test_detectors_without_masks_have_none(tmp_path: Path) -> None:
    graph = INSTANCE.replace(", uint8[N, 32, 48] masks", "")
    detector = Detector(painters.instance(tmp_path / "x.onnx", graph), "onnxruntime")
    assert detector(photograph(0)).masks is None
    assert not detector.info.masks


def test_info_says_whether_there_are_masks(semantic_file: Path, instance_file: Path) -> None:
    for engine in ENGINES:
        pytest.importorskip(engine)
        assert open_session(instance_file, engine).info.masks
        info = open_session(semantic_file, engine).info
        assert (info.task, info.masks, info.outputs) == ("segment", False, ["mask"])


def test_masks_of_another_size_are_refused(tmp_path: Path) -> None:
    graph = INSTANCE.replace("uint8[N, 32, 48] masks", "uint8[N, 48, 32] masks").replace("{-1, 32, 48}", "{-1, 48, 32}")
    detector = Detector(painters.instance(tmp_path / "x.onnx", graph), "onnxruntime")
    with pytest.raises(ModelError, match=r"gives masks of shape \(2, 48, 32\); expected \(2, 32, 48\), one of each"):
        detector(photograph(0))


def test_segmenting_never_imports_torch(semantic_file: Path, instance_file: Path, tmp_path: Path) -> None:
    code = """
import sys, numpy, onelook
for model in sys.argv[1:3]:
    found = onelook.load(model)(numpy.zeros((90, 90, 3), "uint8"))
    found.save(sys.argv[3])
    found.to_dict(), found.to_png(), found.to_polygons()
print({"torch", "onnx"} & set(sys.modules))
"""
    command = [sys.executable, "-c", code, str(semantic_file), str(instance_file), str(tmp_path / "x.png")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"
