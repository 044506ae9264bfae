"""The table of networks, and what is measured of them, against figures of others and classifiers that know the answers."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from onelook import Classification, Error, SourceError, architectures
from onelook.architectures import accuracy, latency, measured
from onelook.loading import model_file
from onelook.names import imagenet
from onelook.runtime import session
from onelook.runtime.classifier import Classifier

Make = Callable[..., Path]
ZOO = "mobilenet_v1_0.25_128"


@pytest.fixture(scope="module")
def smallest() -> architectures.Architecture:
    (found,) = (one for one in architectures.architectures("mobilenet_v1") if one.published.weights == ZOO)
    return found


def bytes_of_weights(path: Path) -> int:
    tensors = onnx.load(path).graph.initializer
    return sum(4 * onnx.numpy_helper.to_array(x).size for x in tensors if x.data_type == onnx.TensorProto.FLOAT)


# The table.


def test_the_rows_are_the_networks_at_their_published_sizes() -> None:
    found = [
        (a.published.name, a.published.options.get("alpha"), a.published.size) for a in architectures.architectures()
    ]
    assert found == [
        ("xception", None, 299),
        ("vgg16", None, 224),
        ("mobilenet_v1", 1.0, 224),
        ("mobilenet_v1", 0.75, 192),
        ("mobilenet_v1", 0.5, 160),
        ("mobilenet_v1", 0.25, 128),
        ("mobilenet_v2", 1.4, 224),
        ("mobilenet_v2", 1.0, 224),
        ("mobilenet_v2", 0.35, 96),
        ("resnet50", None, 224),
        ("resnet101", None, 224),
        ("se_resnet50", None, 224),
        ("extraction", None, 224),
        ("darknet19", None, 224),
        ("darknet53", None, 256),
    ]


# Parameters as torchvision and Keras count them, multiply-adds as the papers print them.
@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds", "counted"),
    [
        ("vgg16", [138_357_544], [15.5e9], ["learned, cut"]),
        ("resnet50", [25_557_032], [3.8e9], [None]),
        ("mobilenet_v2", [6_108_776, 3_504_872, 1_677_128], [582e6, 300e6, 11.9e6], ["weights"] * 3),
    ],
)
def test_a_name_gives_its_rows_with_the_figures_of_others(
    name: str, parameters: list[int], multiply_adds: list[float], counted: list[str | None]
) -> None:
    rows = architectures.architectures(name)
    assert [row.published.name for row in rows] == [name] * len(parameters)
    assert [row.parameters for row in rows] == parameters
    assert [row.multiply_adds for row in rows] == pytest.approx(multiply_adds, rel=0.02)
    assert [row.counted for row in rows] == counted


def test_an_unknown_name_gives_no_rows() -> None:
    assert architectures.architectures("mobilenet_v9") == []


def test_weights_are_at_hand_when_their_file_is_in_the_cache(
    smallest: architectures.Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELOOK_HOME", str(tmp_path))
    assert not smallest.weights_at_hand
    file = tmp_path / ZOO / f"{ZOO}_quant.tflite"
    file.parent.mkdir()
    file.write_bytes(bytes(525_597))
    assert not smallest.weights_at_hand  # a byte is missing
    file.write_bytes(bytes(525_598))
    assert smallest.weights_at_hand
    assert not architectures.architectures("vgg16")[0].weights_at_hand


def test_latency_runs_new_weights_at_the_networks_size_where_there_are_no_trained_ones(
    smallest: architectures.Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELOOK_HOME", str(tmp_path))
    weights, shapes = [], []

    def look_into(path: Path) -> Any:
        weights.append(bytes_of_weights(path))
        opened = session.open_session(path)

        def run(image: NDArray[np.uint8]) -> list[NDArray[Any]]:
            found = opened.run(image)
            shapes.append((image.shape, found[0].shape))
            return found

        return SimpleNamespace(run=run)

    monkeypatch.setattr(architectures, "open_session", look_into)
    assert 0.0001 < latency(smallest, seconds=0.01) < 1
    assert weights[0] == pytest.approx(smallest.bytes, rel=0.01)  # new biases are equal, and stored once
    assert set(shapes) == {((1, 128, 128, 3), (1, 1000))}
    assert len(shapes) >= 8


# Accuracy.

IDS = list(imagenet())


class Oracle(Classifier):
    """Sees the class in a picture of one colour, red for its hundreds and green for the rest, as its guess number `rank`."""

    def __init__(self, rank: int, classes: int = 1000) -> None:
        self.rank, self.first = rank, classes - 1000
        self.info = SimpleNamespace(names=("x",) * classes, path=Path("oracle.onnx"))  # type: ignore[assignment]

    def stream(self, source: Any, *unused: Any) -> Iterator[Classification]:  # type: ignore[override]
        for path in sorted(path for path in Path(source).rglob("*") if path.is_file()):
            blue, green, red = cv2.imread(str(path))[0, 0].tolist()
            scores = np.zeros(len(self.info.names), np.float32)
            scores[: self.rank] = 0.9
            scores[100 * red + green + self.first + blue] = 0.5
            yield Classification(scores, self.info.names, 2, 2, str(path))


class Padded(Classifier):
    """The small classifier with 996 more classes that no picture is of."""

    def __init__(self, path: Path) -> None:
        self.small = Classifier(path, "onnxruntime")
        self.info = SimpleNamespace(names=("x",) * 1000, path=path)  # type: ignore[assignment]

    def stream(self, source: Any, *unused: Any) -> Iterator[Classification]:  # type: ignore[override]
        for one in self.small.stream(source):
            padded = np.pad(one.probabilities, (0, 996))
            yield Classification(padded, self.info.names, one.width, one.height, one.source)


def photograph(path: Path, place: int, shift: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((2, 2, 3), (shift, place % 100, place // 100), np.uint8)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


@pytest.mark.parametrize("classes", [1000, 1001])
@pytest.mark.parametrize(("rank", "expected"), [(0, (1.0, 1.0)), (4, (0.0, 1.0)), (5, (0.0, 0.0))])
def test_the_class_is_the_id_in_the_name_or_else_in_the_folder(
    tmp_path: Path, classes: int, rank: int, expected: tuple[float, float]
) -> None:
    for place in (10, 388, 999):
        photograph(tmp_path / f"{IDS[place]}_{place}.png", place)
        photograph(tmp_path / f"ILSVRC2012_val_{place:08}_{IDS[place]}.JPEG", place)
        photograph(tmp_path / "val" / IDS[place] / f"ILSVRC2012_val_{place:08}.JPEG", place)
        photograph(tmp_path / IDS[7] / f"n00000000_{place}.png", 7)  # an id of no class of the challenge
        photograph(tmp_path / IDS[7] / f"{IDS[place]}_{place}.png", place)  # its name goes before its folder's
    assert accuracy(Oracle(rank, classes), tmp_path) == (*expected, 15)


def test_the_shares_are_of_all_pictures(tmp_path: Path) -> None:
    for place in range(20, 28):
        photograph(tmp_path / f"{IDS[place]}.png", place, shift=int(place % 4 == 0))
    assert accuracy(Oracle(0), str(tmp_path)) == (0.75, 0.75, 8)


@pytest.mark.parametrize("name", ["cat.png", "n00000000_x.png", "n0144076_tench.png", "n01440764/deeper/x.png"])
def test_a_picture_without_a_known_id_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    photograph(tmp_path / "a" / "n01440764.png", 0)
    photograph(tmp_path / "a" / name, 0)
    with pytest.raises(SourceError) as error:
        accuracy(Oracle(0), tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'a' / name}: neither its name nor its folder's holds a WordNet id")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("folder", ["empty", "n01440764"])
def test_an_empty_folder_is_called_empty(classifier_file: Make, tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    with pytest.raises(SourceError, match=f"{folder}: no pictures or videos in this folder"):
        accuracy(Padded(classifier_file()), tmp_path / folder)


def test_a_broken_picture_is_an_error_that_names_it(classifier_file: Make, tmp_path: Path) -> None:
    (tmp_path / "n01440764.png").write_bytes(b"broken")
    with pytest.raises(SourceError, match=r"n01440764\.png: not a picture"):
        accuracy(Padded(classifier_file()), tmp_path)


def test_a_video_among_the_pictures_is_counted_by_its_frames_or_refused(classifier_file: Make, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "n01440764.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (80, 48))
    for _ in range(3):
        writer.write(np.zeros((48, 80, 3), np.uint8))
    writer.release()
    try:
        assert accuracy(Padded(classifier_file()), tmp_path)[2] == 3
    except Error as error:
        assert "n01440764.avi" in str(error)


def test_a_classifier_of_other_classes_is_refused(classifier_file: Make, tmp_path: Path) -> None:
    photograph(tmp_path / "n01440764.png", 0)
    classifier = Classifier(classifier_file(), "onnxruntime")
    with pytest.raises(Error) as error:
        accuracy(classifier, tmp_path)
    assert str(error.value) == f"{classifier_file()}: tells 4 classes apart, not ImageNet's"


def test_the_trained_network_is_as_accurate_as_published(
    smallest: architectures.Architecture,
    shared: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Published: 0.395 and 0.644. Two hundred pictures of two hundred classes are easier than all the thousand's."""
    monkeypatch.setenv("ONELOOK_HOME", str(tmp_path))
    (tmp_path / ZOO).mkdir()
    shutil.copy(shared(f"weights/tflite/{ZOO}_quant.tflite"), tmp_path / ZOO)
    top1, top5, count = measured(smallest, shared("data/imagenet200"))
    assert count == 200
    assert 0.35 < top1 < 0.7
    assert 0.6 < top5 < 0.95
    # 1001 classes, the last map's 256 channels, and the mean and deviation of the colours.
    assert bytes_of_weights(model_file(ZOO)) == pytest.approx(smallest.bytes + 4 * (256 + 1), abs=24)
    assert 0 < latency(smallest, seconds=0.01) < 1  # of the trained weights
