"""Classifiers, from folders of pictures to a model file."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import onelook
from onelook import TrainingError, checkpoint
from onelook.data import read
from onelook.training import train
from onelook.training.classification import Classifier, describe
from onelook.training.validate import CROP, ClassifierValidation
from rectangles import ALONE, classification, detection, settings


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classification(tmp_path_factory.mktemp("classification") / "colours")


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    how = settings(epochs=2, average=0.5)
    folder = tmp_path_factory.mktemp("trained") / "run"
    return train(data, "mobilenet_v1", alpha=0.25, settings=how, folder=folder, device="cpu", quiet=True)


def test_the_model_file_says_what_the_network_does(trained: Any, data: Path) -> None:
    found = checkpoint.load(trained.folder / "best.safetensors")
    dataset = read(data, "val")
    assert found.names == dataset.names == ("blue", "green", "red")
    network, classifier = Classifier(found.network).eval(), onelook.load(trained.model, engine="onnxruntime")
    seen: list[torch.Tensor] = []
    network.register_forward_hook(lambda _module, _inputs, logits: seen.append(logits.softmax(1)))
    measures = ClassifierValidation(dataset.samples, (64, 64), ALONE)(network)
    mine = torch.cat(seen).numpy()
    assert len(mine) == len(dataset) == 6
    for probabilities, sample in zip(mine, dataset.samples, strict=True):
        other = classifier(str(sample.image))
        assert other.class_names == found.names
        assert other.probabilities == pytest.approx(probabilities, abs=1e-4)
    right = np.mean([row.argmax() == sample.labels[0] for row, sample in zip(mine, dataset.samples, strict=True)])
    assert measures == {"top1": right, "top5": 1.0, "score": right}
    assert measures["score"] == trained.best


def test_the_files_say_what_was_trained(trained: Any) -> None:
    found = checkpoint.load(trained.folder / "best.safetensors")
    assert (found.name, found.size, found.crop, found.options) == (
        *("mobilenet_v1", (64, 64), CROP),
        {"classes": 3, "alpha": 0.25},
    )
    facts = {entry.key: entry.value for entry in onnx.load(trained.model).metadata_props}
    assert (facts["task"], json.loads(facts["names"])) == ("classify", ["blue", "green", "red"])
    assert json.loads(facts["origin"])["trained_on"] == "colours"
    assert {"best.onnx", "best.safetensors", "last.safetensors"} < {path.name for path in trained.folder.iterdir()}


def test_the_history_has_losses_and_measures_of_every_epoch(trained: Any) -> None:
    assert len(trained.history) == 2
    for epoch in trained.history:
        assert epoch.keys() == {"classes", "top1", "top5", "score"}
        assert all(math.isfinite(value) for value in epoch.values())


def test_what_a_classifier_cannot_have_is_said_in_one_line(data: Path, tmp_path: Path) -> None:
    for options in ({"backbone": "mobilenet_v1"}, {"switches": {"box": "ciou"}}):
        with pytest.raises(TrainingError, match="mobilenet_v1 is a classifier; a backbone and a loss's switches"):
            train(data, "mobilenet_v1", settings=settings(), folder=tmp_path / "run", quiet=True, **options)  # type: ignore[arg-type]
    boxes = detection(tmp_path / "boxes")
    with pytest.raises(TrainingError, match=r"00\.png: has no class; mobilenet_v1 is a classifier, for pictures"):
        describe("mobilenet_v1", read(boxes))
    assert not (tmp_path / "run").exists()


def test_a_validation_without_pictures_measures_nothing() -> None:
    assert ClassifierValidation((), (64, 64), ALONE)(torch.nn.Identity()) == {}
