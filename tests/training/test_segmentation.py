"""Segmenters, from pictures with class maps to a model file."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import onelook
import painters
from onelook import Error, NetworkError, TrainingError
from onelook.cli import main
from onelook.evaluation import SegmenterEvaluation
from onelook.runtime import terminal
from onelook.training import resume, train
from rectangles import PLAIN, settings

NAMES = ("background", "red", "green")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and green rectangles on grey; of the last picture nobody has made a map."""
    folder = tmp_path_factory.mktemp("maps")
    random = np.random.default_rng(0)
    for split, count in (("train", 9), ("val", 3)):
        for kind in ("images", "masks", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for i in range(count):
            image, classes = np.full((64, 96, 3), 90, np.uint8), np.zeros((64, 96), np.uint8)
            for number, colour in ((1, (220, 30, 30)), (2, (30, 200, 30))):
                left, top = random.integers(0, 60), random.integers(0, 40)
                image[top : top + 24, left : left + 36] = colour
                classes[top : top + 24, left : left + 36] = number
            cv2.imwrite(str(folder / "images" / split / f"{i}.png"), image[..., ::-1])
            (folder / "labels" / split / f"{i}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
            if i < count - 1:
                cv2.imwrite(str(folder / "masks" / split / f"{i}.png"), classes)
    (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [thing]\n")
    lines = "".join(f"  {number}: {name}\n" for number, name in enumerate(NAMES))
    (folder / "mask-classes.yaml").write_text(f"classes:\n{lines}")
    return folder


def test_a_segmenter_learns_and_its_file_says_so_too(data: Path, tmp_path: Path) -> None:
    how = settings(epochs=60, batch=4, average=0.9, learning_rate=1e-2, evaluate_every=60, augmentation=PLAIN)
    found = train(data, "deeplab_v3", alpha=0.35, settings=how, folder=tmp_path / "run", quiet=True)
    assert found.model is not None
    assert found.history[-1]["classes"] < found.history[0]["classes"] / 2
    mean_iou = found.history[-1]["mean_iou"]
    assert mean_iou == found.best > 0.35  # all background: 0.2
    again = onelook.evaluate(found.model, data)
    assert isinstance(again, SegmenterEvaluation)
    assert again.numbers["mean_iou"] == pytest.approx(mean_iou, abs=1e-3)
    assert [row["name"] for row in again.class_rows()] == list(NAMES)
    assert len(again.run.dataset) == 2  # of three one has no map
    assert again.run.size == (65, 65)
    assert (tmp_path / "report").exists() is False
    assert {path.name for path in again.save(tmp_path / "report")} == {"report.json", "confusion.png", "confusion.pdf"}


def test_a_run_goes_on_where_it_was_stopped(data: Path, tmp_path: Path) -> None:
    how = settings(epochs=2, batch=4)
    steps = iter(range(100))
    stop = train(
        data, "deeplab_v3", alpha=0.35, settings=how, folder=tmp_path / "a", quiet=True, stop=lambda: next(steps) == 1
    )
    assert stop.model is None
    went_on = resume(tmp_path / "a", quiet=True)
    torch.manual_seed(1)
    whole = train(data, "deeplab_v3", alpha=0.35, settings=how, folder=tmp_path / "b", quiet=True)
    assert went_on.history == whole.history


def test_what_cannot_be_trained_is_said(data: Path, tmp_path: Path) -> None:
    how = settings(epochs=1)
    with pytest.raises(TrainingError, match="batch must be 2 or more for deeplab_v3"):
        train(data, "deeplab_v3", settings=settings(batch=1), folder=tmp_path / "a", quiet=True)
    with pytest.raises(TrainingError, match="a loss's switches are for detectors"):
        train(data, "deeplab_v3", settings=how, switches={"box": "giou"}, folder=tmp_path / "a", quiet=True)
    with pytest.raises(NetworkError, match="deeplab_v3 is built on mobilenet_v2"):
        train(data, "deeplab_v3", "mobilenet_v1", settings=how, folder=tmp_path / "a", quiet=True)
    for kind in ("images", "labels"):
        (tmp_path / kind).symlink_to(data / kind)
    with pytest.raises(TrainingError, match="has no class maps in the split 'train'"):
        train(tmp_path, "deeplab_v3", settings=how, folder=tmp_path / "a", quiet=True)
    assert not (tmp_path / "a").exists()


def test_only_segmenters_are_measured_on_class_maps(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "silence_native_stderr", lambda: None)  # of this process it would be the tests'
    painted = painters.semantic(tmp_path / "painted.onnx")  # of background, cat, dog and bird
    with pytest.raises(Error, match="the metric coco is not for a model to segment"):
        onelook.evaluate(painted, data, metric="coco")
    instances = painters.instance(tmp_path / "instances.onnx")
    with pytest.raises(Error, match="the metric mean-iou is not for a model to detect"):
        onelook.evaluate(instances, data, metric="mean-iou")
    monkeypatch.setattr("sys.argv", ["onelook", "evaluate", str(painted), str(data)])
    with pytest.raises(SystemExit):
        main()
    out, err = capsys.readouterr()
    assert "the model does not know 2 classes of the maps, taken for background: 'red', 'green'" in err
    assert "mean_iou" in out


def test_class_maps_are_enough_and_those_without_a_known_pixel_are_no_crash(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "silence_native_stderr", lambda: None)
    (tmp_path / "images").symlink_to(data / "images")
    (tmp_path / "labels/val").mkdir(parents=True)  # no boxes
    (tmp_path / "masks/val").mkdir(parents=True)
    for image in (data / "images/val").iterdir():
        cv2.imwrite(str(tmp_path / "masks/val" / image.name), np.full((64, 96), 255, np.uint8))
    painted = painters.semantic(tmp_path / "painted.onnx")
    monkeypatch.setattr("sys.argv", ["onelook", "evaluate", str(painted), str(tmp_path), "--split", "val"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    assert capsys.readouterr().out.splitlines()[0].split() == ["mean_iou", "-"]
