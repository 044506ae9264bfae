"""onelook benchmark as a user types it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

import onelook
from onelook import data
from onelook.cli import main
from onelook.data import Dataset, Sample
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
        monkeypatch.setattr(sys, "argv", ["onelook", "benchmark", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return Done(int(stop.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def dataset(model_file: Make, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two pictures of noise in the formats of YOLO and VOC; the objects are what the model finds."""
    folder = tmp_path_factory.mktemp("pictures")
    random, samples = np.random.default_rng(1), []
    detector: Any = onelook.load(model_file("v3"))
    for i in (1, 2):
        path = folder / f"{i}.png"
        cv2.imwrite(str(path), random.integers(0, 255, (48, 64, 3), np.uint8))
        found = detector(path, 0.5)
        found = found[(found.boxes[:, 2:] - found.boxes[:, :2]).min(1) > 2]
        samples.append(Sample(path, found.width, found.height, found.boxes, found.classes))
    made = Dataset(folder, "yolo", "val", ("cat", "dog", "bird"), tuple(samples))
    for name in ("yolo", "voc"):
        data.write([made], folder / name, name)
    return {name: folder / name for name in ("yolo", "voc")}


def test_the_table_and_the_files(run: Run, model_file: Make, dataset: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run(model_file("v3"), "--data", dataset["yolo"], "--runs", 1, "--threads", 1, "--published", "-o", tmp_path)
    assert done.code == 0, done.stderr
    for word in ("onnxruntime", "64x64", "AP50", "pictures/s", "memory", "1 thread used", "speed-accuracy.svg"):
        assert word in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"benchmark.json", "table.md", "speed-accuracy.png",
                                                          "speed-accuracy.svg"}  # fmt: skip


def test_json_is_alone_on_stdout(run: Run, model_file: Make, tmp_path: Path) -> None:
    done = run(model_file("v3"), "--size", 64, "--runs", 2, "--threads", 1, "--json", "-o", tmp_path)
    assert done.code == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["latency_ms"]["runs"] == 2
    assert row["accuracy"] == {}
    assert "table.md" in done.stderr


def test_a_model_that_fails_is_said_in_one_line_and_the_others_go_on(run: Run, model_file: Make) -> None:
    done = run("none.onnx", model_file("v3"), "--engine", "onnxruntime", "--size", 64, "--runs", 1, "--threads", 1)
    assert done.code == 1
    assert done.stderr == "error: none, onnxruntime, 64x64: none.onnx: there is no such model file\n"
    assert "none" in done.stdout
    assert run("none.onnx", "--runs", 1).code == 2


def test_what_is_wrong_is_said_in_one_line(
    run: Run, model_file: Make, dataset: dict[str, Path], tmp_path: Path
) -> None:
    model, missing = model_file("v3"), tmp_path / "none"
    for arguments, message in [
        ((model, "--data", missing), "no such file or folder"),
        ((model, "--runs", "0"), "runs must be 1 or more"),
        ((model, "--published"), "--published needs --output, and --data"),
        ((model, "--published", "-o", tmp_path, "--data", dataset["voc"]), "whose metric is COCO's AP"),
    ]:
        done = run(*arguments)
        assert (done.code, done.stdout) == (2, ""), done
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert message in done.stderr
