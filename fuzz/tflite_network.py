"""A whole MobileNetV1 in TensorFlow Lite's format of which some bytes, none of its weights, are others."""

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from fuzz.files import edited, refusals, written
from onelook.backbones import Backbone, create
from onelook.tflite import classifier, load

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import tflite_files

_FILE = tflite_files.classifier(tflite_files.backbone(classes=3), size=32, kind="int8")
_BASE = _FILE.pack() + tflite_files.zipped(b"cat\ndog\nbird\n")


def _places() -> list[int]:
    """Where the bytes are that are no weights."""
    skipped = bytearray(len(_BASE))
    for tensor in _FILE.tensors:
        if len(tensor.data) > 64:
            start = _BASE.index(tensor.data)
            skipped[start : start + len(tensor.data)] = b"\1" * len(tensor.data)
    return [place for place, skip in enumerate(skipped) if not skip]


_PLACES = _places()


@lru_cache(maxsize=32)
def _made(device: torch.device, name: str, alpha: float, classes: int) -> Backbone:
    with device:
        return create(name, alpha=alpha, classes=classes)


def _create(name: str, **options: Any) -> Backbone:
    """Networks are made once: that takes longer than the reading, and weights of an earlier file are overwritten."""
    return _made(torch.get_default_device(), name, **options)


def one_input(data: bytes) -> None:
    """The edits of the file."""
    with refusals(), patch.object(classifier, "create", _create):
        load(written("x.tflite", edited(_BASE, _PLACES, data)))
