"""`onelook.convert` of classifiers and of trained detectors: its options, its errors, and `onelook convert` on top."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflite_files as files
from onelook import CheckpointError, Error, ModelError, checkpoint, convert, detectors, tflite
from onelook.backbones import create
from onelook.checkpoint import Checkpoint
from onelook.conversion import quantise
from onelook.runtime.session import open_session
from onelook.trained import Trained, save
from tflite_files import backbone, zipped

NAMES = ("ant", "bee", "cat", "dog", "elk")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier in TensorFlow Lite's format."""
    folder = tmp_path_factory.mktemp("source")
    return files.classifier(backbone(), 64, "uint8").save(folder / "ants.tflite", zipped("\n".join(NAMES).encode()))


def complaint(*arguments: Any, **options: Any) -> str:
    """What is said where nothing is converted: one line."""
    with pytest.raises(Error) as caught:
        convert(*arguments, **options)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_checkpoint_lies_between_a_file_of_others_and_a_model_file(source: Path, tmp_path: Path) -> None:
    """The folder is made, the names are those asked for, and the model file says where all came from."""
    path = convert(source, tmp_path / "new" / "x.safetensors", NAMES[::-1], size=(96, 32))
    found = checkpoint.load(path)
    assert (found.names, found.size) == (NAMES[::-1], (96, 32))
    assert found.origin["tflite"] == "ants.tflite"
    model = convert(path, batch=2, resize="letterbox")
    assert model == tmp_path / "new" / "x.onnx"
    info = open_session(model, "onnxruntime").info
    assert (info.names, info.size, info.batch, info.resize) == (NAMES[::-1], (96, 32), 2, "letterbox")
    assert (info.origin["network"], info.origin["tflite"]) == ("mobilenet_v1", "ants.tflite")
    assert sorted(x.name for x in model.parent.iterdir()) == ["x.onnx", "x.safetensors"]


def test_a_checkpoint_keeps_what_its_source_says(source: Path, tmp_path: Path) -> None:
    own = tflite.load(source)
    found = checkpoint.load(convert(source, tmp_path / "x.safetensors"))
    assert (found.names, found.size, found.mean, found.std, found.crop) == (
        *(NAMES, (64, 64)),
        *(own.mean, own.std, 0.875),
    )
    assert checkpoint.load(convert(tmp_path / "x.safetensors", tmp_path / "x.safetensors")) is not None  # onto itself


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dynamic_size": True}, "a dynamic size and thresholds are for detectors; this is none"),
        ({"score_threshold": 0.5}, "a dynamic size and thresholds are for detectors; this is none"),
        ({"iou_threshold": 0.0}, "a dynamic size and thresholds are for detectors; this is none"),
        ({"resize": "zoom"}, "resize must be letterbox, stretch or crop; found 'zoom'"),
        ({"size": 100}, "size must be a multiple of 32, from 32 to 8192; found 100 x 100"),
        ({"size": (64, 0)}, "size must be a multiple of 32, from 32 to 8192; found 64 x 0"),
        ({"size": -64}, "size must be a multiple of 32, from 32 to 8192; found -64 x -64"),
        ({"size": 0}, "size must be a multiple of 32, from 32 to 8192; found 0 x 0"),
        ({"size": (64,)}, ""),
        ({"size": (64, 64, 3)}, ""),
        ({"class_names": "coco"}, "coco: has 80 names; the network tells 5 classes apart"),
        ({"class_names": ["ant"]}, "class_names: has 1 names; the network tells 5 classes apart"),
        ({"class_names": "gone.names"}, "gone.names: no such file; expected a text file with one class name a line"),
        ({"batch": 0}, ""),
        ({"batch": -1}, ""),
    ],
    ids=str,
)
def test_an_option_that_a_classifier_cannot_have_is_said_in_one_line(
    source: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    found = complaint(source, tmp_path / "x.onnx", **options)
    assert message in ("", found)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"batch": 2}, {"resize": "stretch"}], ids=str)
def test_options_of_a_model_file_are_refused_for_a_checkpoint(
    source: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    found = complaint(source, tmp_path / "x.safetensors", **options)
    assert found == "batch, resize and half go into a model file; a checkpoint has none"


@pytest.mark.parametrize("name", ["x.txt", "x", "..", ".", "", "/"])
def test_a_source_of_an_unknown_kind_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    assert "expected a .tflite or .safetensors file, or two files: Darknet's .cfg and .weights" in complaint(name)
    with pytest.raises(CheckpointError, match="expected a"):
        convert(name, tmp_path / "x.onnx")


def test_a_place_that_cannot_be_written_is_said_in_one_line(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "x.safetensors", tmp_path / "file" / "folder" / "x.safetensors"):
        assert complaint(source, place).startswith(f"{place}: cannot be written: ")
    (tmp_path / "x.onnx").mkdir()
    with pytest.raises(ModelError, match=r"x\.onnx: cannot be written: Is a directory"):
        convert(source, tmp_path / "x.onnx")
    assert sorted(x.name for x in tmp_path.iterdir()) == ["file", "x.onnx"]


def test_no_source_is_overwritten(
    source: Path, darknet_files: Callable[[str], tuple[Path, Path]], model_file: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "x").mkdir()
    cfg, weights = (Path(shutil.copy(path, tmp_path)) for path in darknet_files("v3"))
    tflite_file, model = (Path(shutil.copy(path, tmp_path)) for path in (source, model_file("v3")))
    link = tmp_path / "link.onnx"
    link.symlink_to(weights)
    before = {path: path.read_bytes() for path in (cfg, weights, tflite_file, model)}
    for output in (cfg, weights, link, tmp_path / "x" / ".." / weights.name):
        assert (
            complaint((cfg, weights), output)
            == f"{output}: is what is converted, and would be lost; choose another output"
        )
    assert "would be lost" in complaint(tflite_file, tflite_file)
    with pytest.raises(Error, match="would be lost"):
        quantise(model, [], model)
    assert before == {path: path.read_bytes() for path in before}


def test_xception_is_converted_at_the_size_it_was_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """299 is no multiple of 32, which its classifier does not need."""
    reached: list[Any] = []
    monkeypatch.setattr("onelook.export.export_classifier", lambda *arguments, **_: reached.append(arguments[3]))
    network = create("xception", classes=2).eval()
    saved = Checkpoint(network, "xception", {"classes": 2}, None, (299, 299), network.mean, network.std, 0.875)
    path = checkpoint.save(saved, tmp_path / "x.safetensors")
    convert(path)
    assert reached == [(299, 299)]


def test_a_checkpoint_without_classes_is_no_classifier(tmp_path: Path) -> None:
    network = create("mobilenet_v1", alpha=0.25, classes=0).eval()
    options = {"alpha": 0.25, "classes": 0}
    path = tmp_path / "x.safetensors"
    with pytest.raises(CheckpointError):
        convert(
            checkpoint.save(
                Checkpoint(network, "mobilenet_v1", options, None, (64, 64), network.mean, network.std, 1.0), path
            )
        )


def test_the_command_line_takes_one_file_or_two(source: Path) -> None:
    command = [sys.executable, "-m", "onelook", "convert", source, source, source]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: expected one file, or a .cfg and its .weights; found 3 files\n"


def test_a_trained_mask_rcnn_becomes_a_file_with_masks(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "classes": 2,
        "backbone": "mobilenet_v1",
        "alpha": 0.25,
        "pyramid": 8,
        "width": 16,
        "proposals": 8,
    }
    network = detectors.create("mask_rcnn", **options)
    about = Trained("mask_rcnn", options, ("a", "b"), (64, 96))
    path = convert(save(about, network.state_dict(), tmp_path / "x.safetensors"), tmp_path / "x.onnx")
    session = open_session(path, "onnxruntime")
    assert session.info.masks
    boxes, _, _, _, masks = session.run(np.zeros((1, 64, 96, 3), np.uint8), 0.0, 0.5)
    assert masks.shape == (len(boxes), 64, 96)
