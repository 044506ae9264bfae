"""A disk that is full: what cannot be written is said in one line, and what was there before stays as it was."""

import contextlib
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from onelook import Detections, Error, checkpoint, darknet, data, trained
from onelook.backbones import create
from onelook.conversion import convert
from onelook.data import Dataset, Sample
from onelook.runtime.metadata import set_metadata

Make = Callable[..., Path]
Files = Callable[[str], tuple[Path, Path]]


@contextlib.contextmanager
def full_disk(limit: int = 1000) -> Iterator[None]:
    """No file can grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def complaint(write: Callable[[Path], object], folder: Path, name: str) -> str:
    """What is said of a file that does not fit where an older one of that name is, which stays; nothing else is left."""
    path = folder / name
    path.write_text("earlier")
    with full_disk(), pytest.raises(Error) as caught:
        write(path)
    assert [(one.name, one.read_text()) for one in folder.iterdir()] == [(name, "earlier")]
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_model_file_that_does_not_fit(darknet_files: Files, tmp_path: Path) -> None:
    assert "File too large" in complaint(lambda path: convert(darknet_files("v3"), path), tmp_path, "x.onnx")


def test_metadata_that_do_not_fit(model_file: Make, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(data := model_file("v3").read_bytes())
    with full_disk(), pytest.raises(Error, match=r"cannot write .*x\.onnx: File too large"):
        set_metadata(path, score_threshold="0.5")
    assert [one.name for one in tmp_path.iterdir()] == ["x.onnx"]
    assert path.read_bytes() == data


def test_weights_of_darknet_that_do_not_fit(darknet_files: Files, tmp_path: Path) -> None:
    network = darknet.Darknet(darknet_files("v3")[0])
    assert "File too large" in complaint(lambda path: darknet.save_weights(network, path), tmp_path, "x.weights")


def test_a_checkpoint_that_does_not_fit(tmp_path: Path) -> None:
    network = create("mobilenet_v1", alpha=0.25, classes=2).eval()
    one = checkpoint.Checkpoint(
        network, "mobilenet_v1", {"alpha": 0.25, "classes": 2}, None, (64, 64), (0.0,) * 3, (1.0,) * 3, 1.0
    )
    assert "File too large" in complaint(lambda path: checkpoint.save(one, path), tmp_path, "x.safetensors")


def test_a_trained_detector_that_does_not_fit(tmp_path: Path) -> None:
    about = trained.Trained("yolo_v3", {"classes": 1}, ("cat",), (64, 64))
    weights = {"x": torch.zeros(1000)}
    assert "File too large" in complaint(lambda path: trained.save(about, weights, path), tmp_path, "x.safetensors")


def test_a_drawn_picture_that_does_not_fit(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    found = Detections([[1, 2, 30, 40]], [0.9], [0], ("cat",), 64, 48, image=noise)
    assert "cannot write" in complaint(found.save, tmp_path, "x.png")


@pytest.mark.parametrize("format", ["voc", "coco", "open-images", "yolo"])
def test_a_dataset_that_does_not_fit(tmp_path: Path, format: str) -> None:
    boxes = np.tile(np.array([[1, 2, 10, 20]], np.float32), (200, 1))
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((30, 40, 3), np.uint8))
    sample = Sample(tmp_path / "x.png", 40, 30, boxes, np.zeros(200, np.int64))
    dataset = Dataset(tmp_path, "voc", "train", ("cat",), (sample,))
    with full_disk(), pytest.raises(Error, match="File too large") as caught:
        data.write([dataset], tmp_path / "out", format)
    assert str(caught.value).isprintable()
