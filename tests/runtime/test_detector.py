import contextlib
import io
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import onelook
from onelook import Detections, Detector, Error, ModelError, SourceError
from onelook.runtime import model, sources
from onelook.runtime.sources import Picture

Make = Callable[..., Path]


def photograph(seed: int, height: int = 48, width: int = 80) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def detector(model_file: Make) -> Detector:
    return onelook.load(model_file("v3"), engine="onnxruntime")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(7):
        cv2.imwrite(str(tmp_path / f"{i}.png"), photograph(i)[..., ::-1])
    return tmp_path


def assert_same(a: Detections, b: Detections) -> None:
    assert a.names == b.names
    np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-2)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)


def test_all_kinds_of_one_picture_give_the_same_detections(detector: Detector, folder: Path) -> None:
    path = folder / "3.png"
    expected = detector(photograph(3))
    assert len(expected) > 3
    data = path.read_bytes()
    some = (str(path), path, data, bytearray(data), memoryview(data), Image.open(path), io.BytesIO(data))
    for source in some:
        found = detector(source)
        assert isinstance(found, Detections)
        assert_same(found, expected)
    assert detector(str(path)).source == str(path)
    assert np.array_equal(detector(path).draw(), detector(photograph(3)).draw())


def test_lists_folders_and_patterns_give_lists_in_order(detector: Detector, folder: Path) -> None:
    expected = [detector(photograph(i)) for i in range(7)]
    for source in (
        [photograph(i) for i in range(7)],
        folder,
        str(folder / "*.png"),
        (folder / f"{i}.png" for i in range(7)),
    ):
        found = detector(source)
        assert isinstance(found, list)
        assert len(found) == 7
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b)
    assert isinstance(detector([photograph(1)]), list)
    assert detector([]) == []


def test_files_named_like_pictures_in_memory_are_read_again_to_draw(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("image 1.png", photograph(1)[..., ::-1])
    named, unnamed = detector(["image 1.png", photograph(1)])
    assert np.array_equal(named.draw(), unnamed.draw(photograph(1)))
    with pytest.raises(Error, match="array 1: the picture was not kept"):
        unnamed.draw()


@pytest.mark.parametrize("batch", [1, 2, 3, 16])
def test_batches_change_no_result_and_no_order(model_file: Make, folder: Path, batch: int) -> None:
    detector = Detector(model_file("v3"), "onnxruntime", threads=3)
    found = list(detector.stream(folder, batch=batch, keep_images=True))
    assert [Path(one.source).name for one in found] == [f"{i}.png" for i in range(7)]
    for i, one in enumerate(found):
        assert_same(one, detector(photograph(i)))
        assert np.array_equal(one.image, photograph(i))


def test_model_files_of_a_fixed_batch_take_any_number_of_pictures(model_file: Make, folder: Path) -> None:
    expected = Detector(model_file("v3"), "onnxruntime")
    for one, i in zip(Detector(model_file("v3", batch=4), "onnxruntime").stream(folder), range(7), strict=True):
        assert_same(one, expected(photograph(i)))


def test_a_broken_picture_is_reported_and_the_others_are_done(detector: Detector, folder: Path) -> None:
    (folder / "2.png").write_bytes(b"broken")
    errors: list[SourceError] = []
    found = list(detector.stream([folder, folder / "missing.jpg"], batch=2, on_error=errors.append))
    assert [Path(one.source).stem for one in found] == ["0", "1", "3", "4", "5", "6"]
    assert [str(error).split(":")[0] for error in errors] == [str(folder / "2.png"), str(folder / "missing.jpg")]
    with pytest.raises(SourceError, match=r"2\.png"):
        list(detector.stream(folder))
    with pytest.raises(SourceError, match=r"missing\.jpg"):
        detector(folder / "missing.jpg")


def test_no_more_pictures_are_loaded_than_the_threads_need(detector: Detector) -> None:
    taken = 0

    def endless() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        while True:
            taken += 1
            yield photograph(taken)

    stream = detector.stream(endless())
    for _ in range(3):
        next(stream)
    assert taken <= 3 + 2 * detector.threads
    before = threading.active_count()
    stream.close()
    assert threading.active_count() <= before


class Work:
    """Stands in for a future that is done when it is submitted, or only when it is waited for."""

    def __init__(self, result: Callable[[], Any], done: bool) -> None:
        self._result = result() if done else result
        self._done = done

    def done(self) -> bool:
        return self._done

    def result(self) -> Any:
        return self._result if self._done else self._result()


def executor(done: bool) -> type:
    class Executor(contextlib.AbstractContextManager[Any]):
        def __init__(self, *_: object) -> None: ...

        def __exit__(self, *_: object) -> None: ...

        def submit(self, work: Callable[..., Any], *arguments: Any) -> Work:
            return Work(lambda: work(*arguments), done)

        def shutdown(self, **_: object) -> None: ...

    return Executor


def test_a_result_does_not_wait_for_pictures_that_are_long_in_coming(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "ThreadPoolExecutor", executor(done=True))
    found, before = 0, []

    def doorbell() -> Iterator[NDArray[np.uint8]]:
        for i in range(6):
            before.append(found)
            yield photograph(i)

    for _ in detector.stream(doorbell()):
        found += 1
    assert before == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("source", "ahead"), [("0", 3), (["rtsp://camera/live"], 3), ([], 6)])
def test_pictures_of_a_camera_are_not_taken_before_a_thread_has_time_for_them(
    source: Any, ahead: int, model_file: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0

    def frames(_: object) -> Iterator[Picture]:
        nonlocal taken
        while True:
            taken += 1
            yield from sources.pictures(photograph(taken))

    monkeypatch.setattr(model, "pictures", frames)
    monkeypatch.setattr(model, "ThreadPoolExecutor", executor(done=False))
    stream = Detector(model_file("v3"), engine="onnxruntime", threads=3).stream(source)
    next(stream)
    assert taken == ahead


def test_the_source_of_a_stream_is_closed_though_its_error_is_kept(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A camera is free again for the next who asks."""
    closed = False

    def frames(_: object) -> Iterator[Picture]:
        nonlocal closed
        try:
            yield from sources.pictures("missing.jpg")
            yield from itertools.cycle(sources.pictures(photograph(0)))
        finally:
            closed = True

    monkeypatch.setattr(model, "pictures", frames)
    with pytest.raises(SourceError) as error:
        next(detector.stream("x"))
    assert error.value.__traceback__ is not None
    assert closed


def test_frames_of_a_video_have_numbers_and_times(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (80, 48))
    for i in range(5):
        writer.write(photograph(i))
    writer.release()
    found = detector(path)
    assert [one.frame for one in found] == [0, 1, 2, 3, 4]
    assert [one.time for one in found] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=0.01)


def test_thresholds_are_passed_on_and_checked(detector: Detector) -> None:
    image = photograph(0)
    assert detector(image, score_threshold=0.6).scores.min() > 0.6
    assert len(detector(image, score_threshold=0.1)) > len(detector(image, score_threshold=0.6))
    assert len(detector(image, iou_threshold=0.9)) > len(detector(image, iou_threshold=0.1))
    for wrong in ({"score_threshold": 1.1}, {"iou_threshold": -0.1}, {"score_threshold": float("nan")}):
        with pytest.raises(Error, match="must be from 0 to 1"):
            detector(image, **wrong)


def test_a_detection_of_exactly_the_threshold_is_left_out_and_kept_by_filter(detector: Detector) -> None:
    found = detector(photograph(0), score_threshold=0.3)
    score = float(found.scores[len(found) // 2])
    at_or_above, above = int((found.scores >= score).sum()), int((found.scores > score).sum())
    assert len(detector(photograph(0), score_threshold=score)) == above < at_or_above
    assert len(found.filter(score=score)) == at_or_above


def test_size_is_for_models_that_take_any(detector: Detector, model_file: Make) -> None:
    dynamic = Detector(model_file("v3", dynamic_size=True), "onnxruntime")
    assert_same(dynamic(photograph(0)), detector(photograph(0)))
    assert dynamic(photograph(0), size=(96, 160)).boxes.max() <= 80
    with pytest.raises(Error, match="takes pictures of 64x64 alone"):
        detector(photograph(0), size=96)
    with pytest.raises(Error, match="multiples of 32"):
        dynamic(photograph(0), size=100)
    for size in (64, np.int64(64), (64, np.int32(64))):
        assert len(detector(photograph(0), size=size)) == len(detector(photograph(0)))


def test_cameras_and_live_streams_are_for_stream(detector: Detector) -> None:
    for source in (0, "0", "rtsp://127.0.0.1/live", ["a.jpg", 0], [("tcp://127.0.0.1:1/",)]):
        with pytest.raises(SourceError, match="has no end; use stream"):
            detector(source)


def test_many_threads_may_use_one_detector(detector: Detector) -> None:
    expected = [detector(photograph(i)) for i in range(8)]
    found: dict[int, Detections] = {}
    threads = [threading.Thread(target=lambda i=i: found.__setitem__(i, detector(photograph(i)))) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(8):
        assert_same(found[i], expected[i])


@pytest.mark.parametrize(
    "changed",
    [
        lambda found: [found[0][:, :3], *found[1:]],
        lambda found: [found[0][:-1], *found[1:]],
        lambda found: [found[0], found[1][:, None], *found[2:]],
        lambda found: [found[0], found[1], found[2].astype(np.float32), found[3]],
        lambda found: [np.array(1.0), *found[1:]],
    ],
)
def test_a_model_that_gives_something_else_than_detections_is_refused(
    model_file: Make, monkeypatch: pytest.MonkeyPatch, changed: Callable[[list[np.ndarray]], list[np.ndarray]]
) -> None:
    detector = Detector(model_file("v3"), streams=1)
    session = detector.session(1)
    run = session.run
    monkeypatch.setattr(session, "run", lambda *arguments: changed(run(*arguments)))
    with pytest.raises(ModelError, match=r"gives boxes, scores, classes and batch_index of shapes \["):
        detector(photograph(0))


def test_detector_prints_what_it_is(detector: Detector) -> None:
    assert "3 classes, 64x64, onnxruntime" in repr(detector)
    with pytest.raises(Error, match="threads must be 1 or more"):
        Detector("x.onnx", threads=0)
