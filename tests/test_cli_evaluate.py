"""onelook evaluate as a user types it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

import onelook
from onelook.cli import main
from onelook.runtime import terminal

pytest.importorskip("faster_coco_eval")


Make = Callable[..., Path]


class Done(NamedTuple):
    code: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line within this process."""
    monkeypatch.setattr(terminal, "silence_native_stderr", lambda: None)  # of this process it would be the tests'

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["onelook", "evaluate", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def dataset(model_file: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of noise in COCO's format; the objects are what the model finds."""
    folder = tmp_path_factory.mktemp("coco")
    (folder / "val2017").mkdir()
    (folder / "annotations").mkdir()
    random, images, annotations = np.random.default_rng(1), [], []
    detector = onelook.load(model_file("v3"))
    for i in (1, 2):
        path = folder / f"val2017/{i:012d}.png"
        cv2.imwrite(str(path), random.integers(0, 255, (48, 64, 3), np.uint8))
        images.append({"id": i, "file_name": path.name, "width": 64, "height": 48})
        for row in detector(path, 0.5).to_coco():
            extra = {"id": len(annotations) + 1, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
            annotations.append({key: row[key] for key in ("image_id", "category_id", "bbox")} | extra)
    categories = [{"id": i, "name": name} for i, name in enumerate(("cat", "dog", "bird"), start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations/instances_val2017.json").write_text(json.dumps(content))
    return folder


def test_the_figures_the_files_and_the_threshold(run: Run, model_file: Make, dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model = tmp_path / "model.onnx"
    model.write_bytes(model_file("v3").read_bytes())
    done = run(model, dataset, "-o", tmp_path / "out", "--save-threshold")
    assert done.code == 0, done.stderr
    for word in ("cat", "dog", "bird", "ap50", "ar_large", "best threshold", "2 pictures", "mistakes.html"):
        assert word in done.stdout
    report = json.loads((tmp_path / "out/report.json").read_text())
    info = onelook.load(model).info
    assert info.score_threshold == pytest.approx(report["best"]["threshold"], abs=1e-4) != 0.25
    assert info.iou_threshold == report["iou_threshold"]


def test_json_is_alone_on_stdout(run: Run, model_file: Make, dataset: Path) -> None:
    done = run(model_file("v3"), dataset / "annotations/instances_val2017.json", "--json")
    assert done.code == 0, done.stderr
    assert 0 < json.loads(done.stdout)["metrics"]["ap"] <= 1


def test_stored_results(run: Run, model_file: Make, dataset: Path, tmp_path: Path) -> None:
    found = onelook.load(model_file("v3"))(dataset / "val2017", 0.001)
    results = tmp_path / "results.json"
    results.write_text(json.dumps([row for one in found for row in one.to_coco()]))
    done = run(results, dataset, "--metric", "voc", "--json")
    report = json.loads(done.stdout)
    assert report["engine"] == "stored results"
    assert list(report["metrics"]) == ["map"]
    assert report["detections"] == sum(map(len, found))


def test_what_is_wrong_is_said_in_one_line(run: Run, model_file: Make, dataset: Path, tmp_path: Path) -> None:
    model = model_file("v3")
    nothing = tmp_path / "nothing.json"
    nothing.write_text("[]")
    for arguments, message in [
        ((model, tmp_path / "none"), "no such file or folder"),
        ((model, dataset, "--split", "train"), "has no split 'train'; it has val2017"),
        ((model, dataset, "--metric", "best"), "unknown metric 'best'"),
        ((model, dataset, "--size", "100"), "takes pictures of 64x64 alone"),
        (("no-such-model", dataset), "no-such-model"),
        ((nothing, dataset, "--save-threshold"), "--save-threshold needs a model file"),
        ((tmp_path / "none.json", dataset), "none.json: cannot be read"),
    ]:
        done = run(*arguments)
        assert (done.code, done.stdout) == (2, ""), done
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert message in done.stderr


def test_real_pictures_score_as_pycocotools_scores_them(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """Yolo-Fastest-1.1 has an AP50 of 0.244 on all of COCO's val2017, and of 0.36 on these 128 of its 5000 pictures."""
    from onelook.conversion import convert

    weights = shared("weights/darknet/yolo-fastest-1.1.weights")
    model = convert((weights.with_suffix(".cfg"), weights), tmp_path / "model.onnx", "coco")
    found = onelook.evaluate(model, shared("data/coco128"), "val")
    assert found.numbers["ap50"] == pytest.approx(0.36, abs=0.01)
    assert found.run.notes == ()
