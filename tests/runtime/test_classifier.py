"""Pictures in, classifications out: against ONNX Runtime on pictures that are prepared here."""

import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

import onelook
from onelook import Classification, Classifier, Detector, Error, ModelError, SourceError

Make = Callable[..., Path]
Expected = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
ENGINES = ["onnxruntime", "openvino"]


def photograph(seed: int, height: int = 70, width: int = 80) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def classifier(classifier_file: Make) -> Classifier:
    return Classifier(classifier_file(), "onnxruntime")


@pytest.fixture(scope="module")
def expected(classifier_file: Make) -> Expected:
    """What ONNX Runtime gives for seven eighths of the largest part of 3 : 2 in the middle, resized to 48 x 32."""
    session = onnxruntime.InferenceSession(classifier_file(), providers=["CPUExecutionProvider"])

    def probabilities(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = image.shape[:2]
        wide, tall = (width, width * 32 / 48) if width * 32 <= height * 48 else (height * 48 / 32, height)
        wide, tall = round(wide * 0.875), round(tall * 0.875)
        top, left = (height - tall) // 2, (width - wide) // 2
        small = cv2.resize(image[top : top + tall, left : left + wide], (48, 32))
        return session.run(None, {"image": small[None]})[0][0]

    return probabilities


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(7):
        cv2.imwrite(str(tmp_path / f"{i}.png"), photograph(i)[..., ::-1])
    return tmp_path


def assert_same(found: Classification, expected: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)


# Sources.


def test_all_kinds_of_one_picture_give_the_probabilities_of_its_middle(
    classifier: Classifier, expected: Expected, folder: Path
) -> None:
    path = folder / "3.png"
    for source in (photograph(3), str(path), path, path.read_bytes(), Image.open(path)):
        found = classifier(source)
        assert isinstance(found, Classification)
        assert_same(found, expected(photograph(3)))
        assert (found.width, found.height, found.class_names) == (80, 70, ("cat", "dog", "bird", "=1+1"))
        if isinstance(source, str | Path):
            assert found.image is None
        else:
            np.testing.assert_array_equal(found.image, photograph(3))
    assert classifier(path).source == str(path)
    assert classifier(photograph(3)).source == "array"


@pytest.mark.parametrize("size", [(70, 80), (48, 80), (32, 48), (300, 31), (20, 500), (8, 12), (1, 9)])
def test_pictures_of_any_shape_are_cropped_alike(
    classifier: Classifier, expected: Expected, size: tuple[int, int]
) -> None:
    found = classifier(photograph(1, *size))
    assert np.ptp(found.probabilities) > 0.01
    if min(size) > 1:
        assert_same(found, expected(photograph(1, *size)))


def test_lists_folders_and_patterns_give_lists_in_order(
    classifier: Classifier, expected: Expected, folder: Path
) -> None:
    for source in (
        [photograph(i) for i in range(7)],
        folder,
        str(folder / "*.png"),
        (folder / f"{i}.png" for i in range(7)),
    ):
        found = classifier(source)
        assert isinstance(found, list)
        assert [one.image for one in found] == [None] * 7
        for i, one in enumerate(found):
            assert_same(one, expected(photograph(i)))
    assert isinstance(classifier([photograph(1)]), list)
    assert classifier([]) == []


def test_a_video_gives_its_frames_with_numbers_and_times(
    classifier: Classifier, expected: Expected, tmp_path: Path
) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (80, 70))
    for i in range(5):
        writer.write(cv2.resize(photograph(i, 4, 4), (80, 70), interpolation=cv2.INTER_NEAREST))
    writer.release()
    reader = cv2.VideoCapture(str(path))
    frames = [cv2.cvtColor(reader.read()[1], cv2.COLOR_BGR2RGB) for _ in range(5)]
    found = classifier(path)
    assert [one.frame for one in found] == [0, 1, 2, 3, 4]
    assert [one.time for one in found] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=0.01)
    assert {one.fps for one in found} == {10.0}
    for one, frame in zip(found, frames, strict=True):
        assert_same(one, expected(frame))


def test_cameras_and_live_streams_are_for_stream(classifier: Classifier) -> None:
    for source in (0, "0", "rtsp://127.0.0.1/live"):
        with pytest.raises(SourceError, match="has no end; use stream"):
            classifier(source)


# Streams.


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("batch", "fixed", "threads"), [(1, None, 3), (3, None, 2), (1, 2, 2), (16, None, 1)])
def test_streams_keep_the_order_past_a_broken_picture(
    classifier_file: Make,
    expected: Expected,
    folder: Path,
    engine: str,
    batch: int,
    fixed: int | None,
    threads: int,
) -> None:
    pytest.importorskip(engine)
    (folder / "3.png").write_bytes(b"broken")
    classifier = Classifier(classifier_file(fixed), engine, threads=threads)
    errors: list[SourceError] = []
    found = list(
        classifier.stream([folder, folder / "gone.jpg"], batch=batch, on_error=errors.append, keep_images=True)
    )
    assert [Path(one.source).stem for one in found] == ["0", "1", "2", "4", "5", "6"]
    for one in found:
        assert_same(one, expected(photograph(int(Path(one.source).stem))))
        np.testing.assert_array_equal(one.image, photograph(int(Path(one.source).stem)))
    assert [str(error).split(":")[0] for error in errors] == [str(folder / "3.png"), str(folder / "gone.jpg")]


def test_without_a_handler_the_first_broken_picture_ends_the_stream(classifier: Classifier, folder: Path) -> None:
    (folder / "3.png").write_bytes(b"broken")
    stream = classifier.stream(folder)
    assert [next(stream).source for _ in range(3)] == [str(folder / f"{i}.png") for i in range(3)]
    with pytest.raises(SourceError, match=r"3\.png"):
        next(stream)
    for source in (folder, folder / "3.png", folder / "gone.png"):
        with pytest.raises(SourceError, match=r"3\.png|gone\.png"):
            classifier(source)


def test_only_so_many_pictures_are_in_memory_as_the_threads_need(classifier: Classifier) -> None:
    taken = 0
    images: list[weakref.ref[NDArray[np.uint8]]] = []

    def endless() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        while True:
            taken += 1
            image = photograph(taken)
            images.append(weakref.ref(image))
            yield image

    before = threading.active_count()
    stream = classifier.stream(endless())
    for i in range(1, 40):
        assert np.array_equal(next(stream).image, photograph(i))
        assert taken <= i + 2 * classifier.threads
        assert sum(image() is not None for image in images) <= 2 * classifier.threads + 4
    stream.close()
    assert threading.active_count() <= before


def test_many_threads_may_use_one_classifier(classifier: Classifier, expected: Expected) -> None:
    found: dict[int, Classification] = {}
    threads = [threading.Thread(target=lambda i=i: found.__setitem__(i, classifier(photograph(i)))) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(8):
        assert_same(found[i], expected(photograph(i)))


# Model files.


def test_load_gives_the_class_of_the_files_task(classifier_file: Make, model_file: Make, expected: Expected) -> None:
    loaded = onelook.load(classifier_file(), engine="onnxruntime", threads=1)
    assert type(loaded) is Classifier
    assert_same(loaded(photograph(0)), expected(photograph(0)))
    assert type(onelook.load(model_file("v3"))) is Detector
    assert repr(loaded) == f"Classifier({str(classifier_file())!r}, 4 classes, 48x32, onnxruntime (CPU))"


def test_a_file_of_the_other_task_is_refused_in_one_line(classifier_file: Make, model_file: Make) -> None:
    for kind, path, task in ((Classifier, model_file("v3"), "detect"), (Detector, classifier_file(), "classify")):
        with pytest.raises(ModelError) as error:
            kind(path)
        assert str(error.value) == f"{path}: is a model to {task}, not to {kind.task}"


@pytest.mark.parametrize("names", ['["a", "b", "c"]', '["a", "b", "c", "d", "e"]', '["all"]', "[]"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_that_names_another_number_of_classes_is_refused(classifier_file: Make, names: str, engine: str) -> None:
    pytest.importorskip(engine)
    path, count = classifier_file(names=names), names.count('"') // 2
    classifier = Classifier(path, engine)
    for use in (classifier, lambda image: list(classifier.stream([image]))):
        with pytest.raises(ModelError) as error:
            use(photograph(0))
        message = f"{path}: gives probabilities of shape (1, 4); its metadata names {count} classes"
        assert str(error.value) == message


def test_weights_that_are_no_numbers_are_an_error_that_names_the_picture(classifier_file: Make, tmp_path: Path) -> None:
    model = onnx.load(classifier_file())
    for tensor in model.graph.initializer:
        if list(tensor.dims) == [4]:
            tensor.CopyFrom(numpy_helper.from_array(np.full(4, np.nan, np.float32), tensor.name))
    onnx.save(model, tmp_path / "nan.onnx")
    cv2.imwrite(str(tmp_path / "cat.png"), photograph(0))
    with pytest.raises(Error, match=r"cat\.png: the model gave probabilities that are not numbers"):
        Classifier(tmp_path / "nan.onnx", "onnxruntime")(tmp_path / "cat.png")


def test_numbers_that_are_none_are_refused(classifier: Classifier, classifier_file: Make) -> None:
    with pytest.raises(Error, match="threads must be 1 or more; found 0"):
        Classifier(classifier_file(), threads=0)
    with pytest.raises(Error, match="batch must be 1 or more; found 0"):
        classifier.stream([], batch=0)
    with pytest.raises(ModelError, match=r"gone\.onnx: there is no such model file"):
        Classifier("gone.onnx")


def test_classifying_never_imports_torch(classifier_file: Make, tmp_path: Path) -> None:
    code = """
import sys, numpy, onelook
found = onelook.load(sys.argv[1])(numpy.zeros((90, 90, 3), "uint8"))
found.save(sys.argv[2])
print({"torch", "onnx"} & set(sys.modules))
"""
    command = [sys.executable, "-c", code, str(classifier_file()), str(tmp_path / "x.png")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"
