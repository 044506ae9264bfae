"""Detectors, from a dataset to a model file."""

import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch

import onelook
from onelook import Error, NetworkError, TrainingError
from onelook.conversion import SCORE_THRESHOLD, TRAINED_IOU_THRESHOLD
from onelook.data import read
from onelook.data.augment import FAST_RCNN, YOLO_V1, Augmentation, Labelled, augment
from onelook.data.sample import Dataset, Sample
from onelook.detectors import YoloV1, YoloV1Loss, YoloV2
from onelook.runtime import picture
from onelook.runtime.resize import place
from onelook.trained import load
from onelook.training import train
from onelook.training.detection import PRESETS, build, describe
from onelook.training.run import read_progress
from onelook.training.settings import Settings
from onelook.training.validate import DetectorValidation
from rectangles import ALONE, COLOURS, TINY, classification, detection, settings

SOON = settings(epochs=1)
SMALL = {"backbone": "mobilenet_v1", "alpha": 0.25}
V2 = {**TINY, "model": "yolo_v2"}
TERMS = {"yolo_v2": {"coordinates", "objectness", "no_object", "classes"}, "yolo_v3": {"box", "objectness", "classes"}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return detection(tmp_path_factory.mktemp("detection") / "shapes")


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds."""
    monkeypatch.setattr(sys.modules["onelook.training.train"], "convert", lambda path, output: output)


@pytest.fixture(scope="module", params=["yolo_v3", "yolo_v2"])
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Any:
    """The result of a run."""
    how = settings(epochs=2, average=0.5)
    folder = tmp_path_factory.mktemp("trained") / "run"
    return train(data, **{**TINY, "model": request.param}, settings=how, folder=folder, device="cpu", quiet=True)


def test_the_model_file_finds_what_the_network_does(trained: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the runtime half, which shares no code with the validation but the resizing.

    Boxes that are hardly trained are anchors, of which many overlap by exactly a half: at that, rounding decides.
    """
    monkeypatch.setattr("onelook.training.validate.IOU_THRESHOLD", 0.6)
    about, network = load(trained.folder / "best.safetensors")
    samples = read(data, "val").samples
    found = list(DetectorValidation(samples, about.names, about.size, ALONE, about.resize).detect(network, samples))
    detector = onelook.load(trained.model, engine="onnxruntime")
    assert sum(len(one.boxes) for one in found) > 10
    for sample, one in zip(samples, found, strict=True):
        other = detector(str(sample.image), score_threshold=0.001, iou_threshold=0.6)
        assert len(other) == len(one.boxes)
        # Those of nearly the same score may change places.
        mine, theirs = (
            np.concatenate((10 * x.boxes, 1e3 * x.scores[:, None], 1e3 * x.classes[:, None]), 1) for x in (one, other)
        )
        distance = np.abs(mine[:, None] - theirs).max(2)
        assert (distance.min(0) < 0.1).all()
        assert (distance.min(1) < 0.1).all()


def test_the_files_say_what_was_trained(trained: Any, data: Path) -> None:
    about, _ = load(trained.folder / "best.safetensors")
    assert (about.names, about.size, about.resize) == (tuple(COLOURS), (64, 64), "letterbox")
    assert about.origin["trained_on"] == "shapes"
    facts = {entry.key: entry.value for entry in onnx.load(trained.model).metadata_props}
    assert (facts["task"], json.loads(facts["names"]), json.loads(facts["size"])) == ("detect", list(COLOURS), [64, 64])
    assert json.loads(facts["score_threshold"]) == SCORE_THRESHOLD
    assert json.loads(facts["iou_threshold"]) == TRAINED_IOU_THRESHOLD
    assert json.loads(facts["parameters"]) > 100_000
    origin = json.loads(facts["origin"])
    assert (origin["trained_on"], origin["weights"]) == ("shapes", "best.safetensors")
    names = {path.name for path in trained.folder.iterdir()}
    assert {"best.onnx", "best.safetensors", "last.safetensors", "pictures.jpg"} < names
    assert any(name.startswith("events.out") for name in names)
    assert not any(name.startswith(".") for name in names)
    assert picture.read(trained.folder / "pictures.jpg").shape == (64, 256, 3)


def test_the_history_has_losses_and_measures_of_every_epoch(trained: Any) -> None:
    terms = TERMS[load(trained.folder / "best.safetensors")[0].name]
    assert len(trained.history) == 2
    for epoch in trained.history:
        assert epoch.keys() == terms | {"AP", "AP50", "score"}
        assert all(math.isfinite(value) for value in epoch.values())
        assert 0 <= epoch["AP"] <= epoch["AP50"] <= 1
        assert epoch["score"] == epoch["AP"]
    assert trained.best == max(epoch["score"] for epoch in trained.history)
    assert trained.model == trained.folder / "best.onnx"


@pytest.mark.usefixtures("no_export")
@pytest.mark.parametrize(
    "options",
    [
        {"paper": True},
        *({"switches": {"box": box}} for box in ("squared", "iou", "giou", "diou", "ciou")),
        {"switches": {"focal": "objectness", "gamma": 1.5, "alpha": 0.25}},
        {"switches": {"focal": "classes"}, "paper": True},
        {**V2, "switches": {"box": "giou"}},
        {"settings": replace(SOON, precision="bfloat16", multi_scale=0.5)},
        {"settings": replace(SOON, optimizer="sgd", accumulate=2)},
    ],
    ids=str,
)
def test_every_loss_trains(data: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {
        **TINY,
        "settings": SOON,
        "folder": tmp_path,
        "device": "cpu",
        "quiet": True,
        **options,
    }
    result = train(data, **arguments)
    assert all(math.isfinite(value) for value in result.history[0].values())
    about = read_progress(tmp_path / "last.safetensors")["about"]
    assert options.get("switches", {}).items() <= about["switches"].items()
    assert ("rescore" in about["switches"]) == (arguments["model"] == "yolo_v3" and "paper" not in options)


@pytest.mark.usefixtures("no_export")
def test_without_validation_the_last_network_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = detection(tmp_path / "data", train=12)
    result = train(data, settings=SOON, folder=tmp_path / "run", device="cpu", **TINY)
    assert result.best is None
    assert result.history[0].keys() == TERMS["yolo_v3"]
    assert (tmp_path / "run" / "best.safetensors").exists()
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "there is no split 'val' to measure on" in stderr


@pytest.mark.usefixtures("no_export")
def test_pictures_that_are_missing_or_damaged_are_told_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = detection(tmp_path / "data", train=13, val=3)
    for split in ("train", "val"):  # a header that promises a picture, and nothing behind it
        path = data / "images" / split / "01.png"
        path.write_bytes(path.read_bytes()[:60])
    result = train(data, settings=settings(epochs=1, batch=13), folder=tmp_path / "run", device="cpu", **TINY)
    assert "score" in result.history[0]
    _, stderr = capsys.readouterr()
    assert "01.png" in stderr
    assert all(line.isprintable() for line in stderr.splitlines())


@pytest.mark.usefixtures("no_export")
def test_folders_of_runs_are_counted(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        result = train(os.path.relpath(data), settings=SOON, device="cpu", quiet=True, **TINY)
        assert result.folder == Path("runs") / f"shapes-{number}"


def boxes(sizes: list[tuple[float, float]]) -> Dataset:
    """A picture of 640 x 480 for each size of a box."""
    samples = [Sample(Path("x"), 640, 480, np.float32([[0, 0, *size]]), np.zeros(1, np.int64)) for size in sizes]
    return Dataset(Path("d"), "voc", "train", ("a", "b"), tuple(samples))


def test_anchors_come_from_the_boxes_the_largest_at_the_coarsest_scale() -> None:
    dataset = boxes([(40.0 * i, 30.0 * i) for i in range(1, 10)])
    how = settings(size=(320, 320))
    coarse, middle, fine = describe("yolo_v3", dataset, how, SMALL)["options"]["anchors"]
    expected = [[20.0 * i, 15.0 * i] for i in range(1, 10)]  # in pixels of the input
    assert fine + middle + coarse == pytest.approx(np.array(expected), abs=0.01)
    five = describe("yolo_v2", boxes([(64.0 * i, 64.0 * i) for i in range(1, 6)]), how)["options"]["anchors"]
    assert np.array(five) == pytest.approx(np.array([[i, i] for i in range(1, 6)]), abs=0.01)  # in cells


def test_too_few_boxes_for_anchors_are_said_in_one_line() -> None:
    for dataset in (boxes([]), boxes([(40, 30)] * 20)):
        with pytest.raises(Error) as caught:
            describe("yolo_v3", dataset, SOON)
        assert str(caught.value).isprintable()


def test_yolo_v1_is_built_for_its_size(data: Path) -> None:
    about: Mapping[str, Any] = describe("yolo_v1", read(data), SOON, SMALL)
    job = build(about, (), SOON, ALONE, {})
    assert isinstance(job.network, YoloV1)
    assert isinstance(job.loss, YoloV1Loss)
    with torch.no_grad():
        (raw,) = job.network.eval()(torch.zeros(1, 3, 64, 64))
    assert raw.shape == (1, 1 * (3 + 2 * 5))
    assert job.evaluate(job.network) == {}
    assert job.kind == "boxes"


@pytest.mark.parametrize(("model", "papers"), [("yolo_v1", YOLO_V1), ("fast_rcnn", FAST_RCNN)])
def test_augmentation_is_the_paper_s_if_asked_for(
    model: str, papers: Augmentation, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """YOLOv1 itself has millions of weights even at 64 x 64."""
    seen: list[Settings] = []
    monkeypatch.setattr(sys.modules["onelook.training.train"], "_go", lambda *given: seen.append(given[2]))
    for paper in (True, False):
        train(data, model, settings=SOON, paper=paper, quiet=True)
    assert seen[0].augmentation == papers
    assert seen[1].augmentation == SOON.augmentation


def test_papers_augmentations_are_stretching_and_nothing_but_mirrors() -> None:
    """So that selective search is asked twice about each picture."""
    assert YOLO_V1.resize == "stretch"
    given = Labelled(
        np.arange(96, dtype=np.uint8).reshape(4, 8, 3), np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    )
    made = {
        augment(lambda _: given, 0, 1, (4, 8), np.random.default_rng(seed), FAST_RCNN).image.tobytes()
        for seed in range(20)
    }
    assert made == {given.image.tobytes(), given.image[:, ::-1].tobytes()}


@pytest.mark.parametrize("wrong", [{"mosaic": 1.5}, {"flip": -0.1}, {"scale": 1.0}, {"crop": 0.5}])
def test_an_augmentation_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(TrainingError, match=f"{next(iter(wrong))} must be from 0 to"):
        Settings(augmentation=Augmentation(**wrong))  # type: ignore[arg-type]


AROUND: dict[str, dict[str, Any]] = {
    "ssdlite": {},
    "retinanet": {},
    "localizer": {},
    "fast_rcnn": {"switches": {"regions": 16}},
    "faster_rcnn": {"switches": {"regions": 16}},
    "mask_rcnn": {"switches": {"regions": 16}},
}


@pytest.fixture(scope="module")
def outlined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with outlines in the place of boxes."""
    folder = detection(tmp_path_factory.mktemp("outlined") / "shapes")
    for path in folder.glob("labels/*/*.txt"):
        lines = []
        for line in path.read_text().splitlines():
            kind, x, y, w, h = map(float, line.split())
            corners = ((-w, -h), (w, -h), (w, h), (-w, h))
            lines.append(" ".join(map(str, (int(kind), *(v for dx, dy in corners for v in (x + dx / 2, y + dy / 2))))))
        path.write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("model", AROUND)
def test_the_detectors_around_yolo_are_trained_alike(
    model: str, outlined: Path, tmp_path: Path, no_export: None
) -> None:
    options = {**TINY, "model": model, **AROUND[model]}
    result = train(outlined, **options, settings=SOON, folder=tmp_path / "run", device="cpu", quiet=True)
    assert all(math.isfinite(value) for value in result.history[-1].values())
    assert 0 <= result.history[-1]["AP"] <= 1
    about, network = load(tmp_path / "run" / "best.safetensors")
    assert about.name == model
    boxes, scores = network.decode(network(torch.rand(1, 3, 64, 64)), (64, 64))
    assert boxes.isfinite().all()
    assert scores.shape == (*boxes.shape[:2], len(COLOURS))


def test_mask_rcnn_is_for_pictures_with_masks(data: Path, tmp_path: Path) -> None:
    """Of those that have boxes alone nothing is left to learn from."""
    options = {**TINY, "model": "mask_rcnn", "switches": {"regions": 8}}
    with pytest.raises(TrainingError, match="has no masks in the split 'train'"):
        train(data, **options, settings=SOON, folder=tmp_path / "run", device="cpu", quiet=True)


def test_a_preset_stands_for_its_options(data: Path) -> None:
    about = describe("mobilenet_yolo", read(data), SOON)
    assert about["name"] == PRESETS["mobilenet_yolo"]["name"] == "yolo_v3"
    assert about["options"]["backbone"] == PRESETS["mobilenet_yolo"]["backbone"]
    assert describe("mobilenet_yolo", read(data), SOON, SMALL)["options"]["backbone"] == "mobilenet_v1"
    assert json.loads(json.dumps(about)) == about


def test_options_of_the_network_go_before_those_of_the_data(data: Path) -> None:
    """YOLOv2's anchors are in cells: those of the data are not asked for where there are some already."""
    given = {**SMALL, "anchors": [[1.0, 2.0], [3.0, 4.0]], "width": 16}
    about = describe("yolo_v2", boxes([]), SOON, given)
    assert about["options"] == {**given, "classes": 2}
    network = build(about, [], SOON, ALONE, {}).network
    assert isinstance(network, YoloV2)
    assert network.anchors == ((1, 2), (3, 4))
    three = [[[10.0, 10.0]], [[20.0, 20.0]], [[30.0, 30.0]]]
    assert describe("yolo_v3", boxes([]), SOON, {**SMALL, "anchors": three})["options"]["anchors"] == three
    assert describe("retinanet", read(data), SOON, {"smallest": 8.0})["options"]["smallest"] == 8.0
    plain, pyramid = (describe("faster_rcnn", read(data), SOON, {"pyramid": p})["options"]["anchors"] for p in (0, 64))
    assert (len(plain), len(pyramid)) == (1, 5)


@pytest.mark.parametrize(
    "switches",
    [
        {"box": "round"},
        {"box": None},
        {"focal": "box"},
        {"gamma": -1.0},
        {"gamma": float("nan")},
        {"alpha": float("inf")},
        {"anchors": ()},
        {"zoom": 1},
        {"x" * 1000: 1},
    ],
    ids=lambda switches: str(switches)[:30],
)
def test_a_switch_that_no_loss_has_is_said_in_one_line(data: Path, tmp_path: Path, switches: dict[str, Any]) -> None:
    with pytest.raises(NetworkError) as caught:
        train(data, settings=SOON, folder=tmp_path / "run", switches=switches, device="cpu", quiet=True, **TINY)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert not (tmp_path / "run").exists()


def test_a_batch_of_one_without_statistics_is_said_in_one_line(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="batch must be 2 or more, of each process, for this network: of 32 x 32"):
        train(
            data, settings=settings(batch=1, size=(32, 32)), folder=tmp_path / "run", device="cpu", quiet=True, **TINY
        )


def test_validation_without_objects_keeps_the_last_network(tmp_path: Path, no_export: None) -> None:
    folder = detection(tmp_path / "data")
    for labels in (folder / "labels" / "val").iterdir():
        labels.write_text("")
    found = train(folder, settings=settings(epochs=2), folder=tmp_path / "run", device="cpu", quiet=True, **TINY)
    assert found.model is not None
    assert found.best is None
    assert len(found.history) == 2
    assert (tmp_path / "run/best.safetensors").exists()


def test_pictures_without_boxes_do_not_train_a_detector(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="has no boxes in the split 'train' to train a detector on"):
        train(classification(tmp_path / "data"), settings=SOON, folder=tmp_path / "run", quiet=True, **TINY)


def test_what_is_validated_is_what_the_runtime_shows(data: Path) -> None:
    """The pixels of a picture that is not square."""
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
    canvas = np.zeros((64, 64, 3), np.uint8)
    place(image, canvas, "letterbox", "linear")
    assert (canvas[0] == canvas[0, 0]).all()
    seen = []

    class Seeing(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            seen.append(x)
            return []

        def decode(self, raw: object, size: object) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.zeros(1, 0, 4), torch.zeros(1, 0, 3)

    path = data.parent / "wide.png"
    cv2.imwrite(str(path), image[:, :, ::-1])
    sample = Sample(path, 50, 30)
    (found,) = DetectorValidation([sample], tuple(COLOURS), (64, 64), ALONE, "letterbox").detect(Seeing(), [sample])
    assert torch.equal((seen[0][0] * 255).round().byte(), torch.from_numpy(canvas).permute(2, 0, 1))
    assert found.boxes.shape == (0, 4)
