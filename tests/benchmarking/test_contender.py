"""One row of a benchmark: what is timed is what is said to be timed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onelook
from onelook.benchmarking.contender import Contender, Source, family_of, names_of
from onelook.errors import Error, ModelError

ModelFile = Callable[..., Path]
PICTURES = [np.random.default_rng(i).integers(0, 256, (48, 64 + 16 * i, 3), np.uint8) for i in range(2)]


@pytest.mark.parametrize(
    ("name", "size", "family"),
    [
        ("m2det-320", (320, 320), "m2det"),
        ("m2det_vgg_512", (512, 512), "m2det_vgg"),
        ("ssd300", (300, 300), "ssd"),
        ("yolov3-416", (416, 416), "yolov3"),
        ("net-640", (384, 640), "net"),
        ("yolo9000", (544, 544), "yolo9000"),
        ("mobilenet_v1_1.0_224", (224, 224), "mobilenet_v1_1.0"),
        ("resnet-50", (224, 224), "resnet-50"),
        ("320", (320, 320), "320"),
    ],
)
def test_sizes_of_a_family_are_known_by_their_names(name: str, size: tuple[int, int], family: str) -> None:
    assert family_of(name, size) == family


def test_names_are_short_and_tell_models_apart() -> None:
    models: list[Source] = ["a/best.onnx", Path("b/best.onnx"), ("c/yolov3.cfg", "c/x.weights"), "yolo-fastest-1.1"]
    assert names_of(models) == ["a/best.onnx", "b/best.onnx", "yolov3", "yolo-fastest-1.1"]


def test_the_session_alone_gets_the_input_that_the_detector_makes(model_file: ModelFile) -> None:
    contender = Contender(model_file("v3"), "onnxruntime", 1, None)
    detector: Any = onelook.load(model_file("v3"), engine="onnxruntime", threads=1)
    whole, alone = contender.whole(PICTURES), contender.session(PICTURES)
    for picture in (*PICTURES, *PICTURES):  # each in turn, and again
        expected: Any = detector(picture)
        found: Any = whole()
        outputs: Any = alone()
        assert len(expected) > 0
        for some in (found.scores, outputs[1]):
            np.testing.assert_array_equal(some, expected.scores)
        np.testing.assert_array_equal(outputs[2], expected.classes)


def test_a_stream_is_timed_while_all_threads_are_busy(model_file: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    contender = Contender(model_file("v3"), "onnxruntime", 2, None)
    clock, seen = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    class Slow:
        """Starts slowly, gives 200 pictures a second, ends slowly."""

        def stream(self, some: list[Any], size: tuple[int, int]) -> Iterator[int]:
            for i in range(len(some)):
                clock[0] += 0.005 if 4 <= i < len(some) - 4 else 1
                seen.append(i)
                yield i

    contender.model = Slow()
    assert contender.stream(PICTURES, 20)() == pytest.approx([200])
    assert len(seen) == 4 + 20 + 4  # to the end, so that no thread works on


def test_a_stream_gives_each_thread_several_pictures(model_file: ModelFile) -> None:
    contender = Contender(model_file("v3"), "onnxruntime", 2, None)
    (rate,) = contender.stream(PICTURES, 1)()
    assert rate > 0


def test_what_an_engine_cannot_run_is_an_error_of_one_line(model_file: ModelFile) -> None:
    contender = Contender(model_file("v3"), "onnxruntime", 1, None)

    def fail(picture: Any, size: tuple[int, int]) -> None:
        raise RuntimeError("first line\nsecond")

    contender.model = fail
    with pytest.raises(ModelError, match=r"onnxruntime \(CPU\) cannot run it: first line second"):
        contender.check(PICTURES[0])


def test_a_size_that_a_model_does_not_take_is_refused(model_file: ModelFile, classifier_file: ModelFile) -> None:
    with pytest.raises(Error, match="takes pictures of 64x64 alone"):
        Contender(model_file("v3"), "onnxruntime", 1, 96).check(PICTURES[0])
    with pytest.raises(Error, match="a model to classify takes pictures of its own size alone"):
        Contender(classifier_file(), "onnxruntime", 1, 96)
    assert Contender(model_file("v3", dynamic_size=True), "onnxruntime", 1, 96).size == (96, 96)
