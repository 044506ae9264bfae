"""Models side by side: the rows, what is in them, and what becomes of those that fail."""

import dataclasses
import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import onelook
from onelook.benchmarking import Benchmark, Failure, Measurement, benchmark
from onelook.data import Dataset, Sample
from onelook.errors import DataError, Error, MissingDependencyError

pytest.importorskip("faster_coco_eval")
ModelFile = Callable[..., Path]


@pytest.fixture(scope="session")
def noise(model_file: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three pictures of noise; their objects are half of what the model finds in them."""
    folder = tmp_path_factory.mktemp("noise")
    random, samples = np.random.default_rng(1), []
    detector: Any = onelook.load(model_file("v3"))
    for i in range(3):
        path = folder / f"{i}.png"
        cv2.imwrite(str(path), random.integers(0, 255, (48 + 16 * i, 64, 3), np.uint8))
        found = detector(path, 0.5)
        samples.append(Sample(path, found.width, found.height, found.boxes[::2], found.classes[::2]))
    return Dataset(folder, "coco", "val", ("cat", "dog", "bird"), tuple(samples), ids=("1", "2", "3"))


def measured(found: Benchmark) -> list[Measurement]:
    assert not found.failures
    return list(found.measurements)


def test_a_row_has_the_figures_of_its_model(model_file: ModelFile, noise: Dataset) -> None:
    path = model_file("v3")
    before = cv2.getNumThreads()
    told: list[str] = []
    found = benchmark([path], noise, runs=3, threads=1, tell=told.append)
    assert cv2.getNumThreads() == before
    assert [words.split()[0] for words in told] == ["loading", "timing", "timing"]
    (row,) = measured(found)
    info = onelook.load(path).info
    evaluation = onelook.evaluate(path, noise)
    assert dict(row.accuracy) == pytest.approx(dict(evaluation.numbers), nan_ok=True)
    assert row.figure == row.accuracy["ap"] > 0.1
    assert (row.parameters, row.multiply_adds, row.size) == (info.parameters, info.multiply_adds, info.size)
    assert (row.file, row.engine, row.task) == (path.stat().st_size, "onnxruntime (CPU)", "detect")
    assert 0 < row.session.p50 <= row.session.p90
    assert 0 < row.latency.p50 <= row.latency.p90
    assert row.latency.runs >= 3
    assert row.memory is None or 20e6 < row.memory < 1e9
    assert 0 < row.pictures_per_second < 1e5
    assert (found.metric, found.dataset, found.threads) == ("coco", noise, 1)


def test_rows_are_in_the_order_asked_for_and_those_that_fail_are_among_them(
    model_file: ModelFile, classifier_file: ModelFile, noise: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = model_file("v3", class_names=("ship", "house", "tree"))
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    models = [classifier_file(), model_file("v3"), other, tmp_path / "broken.onnx", tmp_path / "none.onnx"]
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "openvino" else real(name))
    found = benchmark(models, noise, engines=("openvino", "onnxruntime"), runs=1, threads=1)
    assert [isinstance(row, Measurement) for row in found.rows] == [False] * 3 + [True] + [False] * 6
    errors = [row.error for row in found.rows if isinstance(row, Failure)]
    assert all("\n" not in error for error in errors)
    assert "coco is not for a model to classify" in errors[1]
    assert "the engine openvino is not installed" in errors[2]
    assert "no class of the model is one of the dataset's" in errors[4]
    assert "is not a model that ONNX Runtime can run" in errors[6]
    assert "there is no such model file" in errors[8]


def test_each_size_of_a_model_that_takes_any(model_file: ModelFile) -> None:
    path = model_file("v3", dynamic_size=True)
    found = benchmark([path, model_file("v3")], engines=("onnxruntime",), sizes=(64, 320), runs=5, threads=1)
    small, large, own, failed = found.rows
    assert isinstance(small, Measurement)
    assert isinstance(large, Measurement)
    assert isinstance(own, Measurement)
    assert isinstance(failed, Failure)
    assert "takes pictures of 64x64 alone" in failed.error
    assert small.size == own.size == (64, 64)
    assert large.size == (320, 320)
    assert small.multiply_adds == own.multiply_adds
    assert large.multiply_adds is None
    assert small.family == large.family
    assert large.session.p50 > small.session.p50
    assert large.pictures_per_second < small.pictures_per_second
    assert math.isnan(small.figure)


def test_openvino_takes_its_turns_too(model_file: ModelFile, noise: Dataset) -> None:
    pytest.importorskip("openvino")
    first, second = measured(
        benchmark([model_file("v3")], noise, engines=("onnxruntime", "openvino"), runs=2, threads=2)
    )
    assert (first.short_engine, second.short_engine) == ("onnxruntime", "openvino")
    assert second.figure == pytest.approx(first.figure, abs=0.01)


def test_classifiers(classifier_file: ModelFile, noise: Dataset) -> None:
    labels = tuple(dataclasses.replace(sample, labels=np.array([i])) for i, sample in enumerate(noise.samples))
    data = dataclasses.replace(noise, format="imagenet", samples=labels, ids=())
    found = benchmark([classifier_file(batch=2)], data, runs=2, threads=1)
    (row,) = measured(found)
    assert list(row.accuracy) == ["top1", "top5"]
    assert "top-1" in found.table()[0]


def test_the_report_the_table_and_the_picture(model_file: ModelFile, noise: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = benchmark([model_file("v3"), tmp_path / "a|b.onnx"], noise, runs=1, threads=1)
    files = found.save(tmp_path / "out", published=True)
    assert [file.name for file in files] == ["benchmark.json", "table.md", "speed-accuracy.png", "speed-accuracy.svg"]
    report = json.loads(files[0].read_text(), parse_constant=pytest.fail)
    first, second = report["rows"]
    assert first["latency_ms"]["p50"] == found.measurements[0].latency.p50
    assert first["accuracy"]["ap"] == found.measurements[0].figure
    assert first["size"] == {"width": 64, "height": 64}
    assert second == {"model": "a|b", "engine": "auto", "size": None, "error": found.failures[0].error}
    assert (report["pictures"], report["split"], report["metric"]) == (3, "val", "coco")
    lines = files[1].read_text().splitlines()
    assert len({line.replace(r"\|", "").count("|") for line in lines[:4]}) == 1
    assert lines[3].startswith(r"| a\|b | auto | - | - |")
    assert lines[-1] == f"a|b, auto: {found.failures[0].error}"


def test_without_a_dataset_there_is_no_picture(model_file: ModelFile, tmp_path: Path) -> None:
    found = benchmark([model_file("v3")], runs=1, threads=1)
    assert [file.name for file in found.save(tmp_path)] == ["benchmark.json", "table.md"]
    assert json.loads((tmp_path / "benchmark.json").read_text())["data"] is None
    with pytest.raises(Error, match="published figures are AP on COCO"):
        found.save(tmp_path, published=True)


def test_what_cannot_be_measured_at_all_is_an_error(
    model_file: ModelFile, noise: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Error, match="runs must be 1 or more; found 0"):
        benchmark([model_file("v3")], runs=0)
    with pytest.raises(Error, match="threads must be 1 or more; found -1"):
        benchmark([model_file("v3")], threads=-1)
    with pytest.raises(Error, match="nothing to measure"):
        benchmark([])
    with pytest.raises(DataError, match="no such file or folder"):
        benchmark([model_file("v3")], tmp_path / "none")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="COCO's AP needs it"):
        benchmark([model_file("v3")], noise)
